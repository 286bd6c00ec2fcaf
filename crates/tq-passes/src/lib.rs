//! From a float graph to a quantized one.
//!
//! * [`QuantConfig`], [`QConfigDict`], [`Configuration`]: what is asked for, as plain data.
//! * [`fold_constants`]: computes what depends on constants only.
//! * [`fuse()`]: batch normalization, constant factors and paddings into convolutions and linear layers; hard-swish
//!   patterns into one operator; a [`FusionReport`] of what fused, what did not, and why.
//! * [`equalize()`]: channels of layers in a row brought to the same reach, the function being the same bit for bit.
//! * [`prepare_static`], [`quantize_fx`]: decide what runs in integers and which tensors are observed; [`Prepared::forward`]
//!   calibrates; [`CalibrationState`] is what it gathers, to be saved and merged; [`CalibrationRanges`] are those of other
//!   tools' files, to be used instead.
//! * [`quantize_dynamic`]: linear and recurrent layers whose activations are quantized at run time, without calibration.
//! * [`training`]: where training with fake quantization has to imitate codes, and the way back from it.
//! * [`convert()`]: the graph with Quantize and Dequantize pairs, and a [`ConvertReport`] in which nothing is left in
//!   float without its reason.
#![forbid(unsafe_code)]

pub mod calibration;
pub mod config;
pub mod convert;
pub mod dynamic;
pub mod equalize;
pub mod error;
pub mod explain;
pub mod fold;
pub mod fuse;
pub mod module_type;
mod names;
mod place;
pub mod prepare;
pub mod ranges;
mod scheme;
pub mod training;

pub use calibration::CalibrationState;
pub use config::{
    Backend, BackendConfig, CodeRange, Configuration, CustomBackend, GroupWiseQuantConfig, ObserverSetting,
    QConfig, QConfigDict, QuantConfig, Recipe, Rule, bf16_qconfig, default_dynamic_qconfig,
    default_per_channel_weight_observer, default_weight_observer, fp16_qconfig, get_default_qconfig,
    get_default_qconfig_for, int4_qconfig, int8_qconfig, pytorch_dynamic_qconfig, w4_qconfig, w4a8_qconfig,
    w8_qconfig, w8a16_qconfig,
};
pub use convert::{BiasAdjustment, ConvertReport, Convertible, NodeReport, Quantized, convert};
pub use dynamic::{DynamicSpec, quantize_dynamic};
pub use equalize::{EqualizationReport, EqualizedLink, equalize};
pub use error::PassError;
pub use explain::{NodePlan, explain};
pub use fold::fold_constants;
pub use fuse::{FusionEntry, FusionOutcome, FusionReport, fuse};
pub use place::Placement;
pub use prepare::{Prepared, get_observer_dict, prepare_static, quantize_fx};
pub use ranges::{
    CacheAlgorithm, CalibrationCache, CalibrationRanges, IgnoredRange, RangesFormat, RangesReport,
};
pub use tq_qtypes::Requantization;
