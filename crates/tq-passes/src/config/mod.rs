//! What is asked of quantization, as plain data.
//!
//! * [`QuantConfig`]: one configuration for the whole model.
//! * [`QConfig`] and [`QConfigDict`]: configurations by module type, regular expression and name.
//! * [`BackendConfig`]: which operators take which types.
//! * [`Configuration`]: a backend and a dictionary, as TOML or JSON; [`Recipe`]: one by a word.

mod backend;
mod check;
mod configuration;
mod custom_backend;
mod dict;
mod file;
mod group_wise;
pub(crate) mod module_path;
pub(crate) mod onnx_operators;
pub(crate) mod presets;
mod qconfig;
mod quant_config;
mod recipe;
pub(crate) mod rules;

pub use backend::{Backend, BackendConfig, CodeRange};
pub use configuration::Configuration;
pub use custom_backend::CustomBackend;
pub use dict::QConfigDict;
pub use group_wise::GroupWiseQuantConfig;
pub use presets::{
    bf16_qconfig, default_dynamic_qconfig, default_per_channel_weight_observer, default_weight_observer,
    fp16_qconfig, get_default_qconfig, get_default_qconfig_for, int4_qconfig, int8_qconfig,
    pytorch_dynamic_qconfig, w4_qconfig, w4a8_qconfig, w8_qconfig, w8a16_qconfig,
};
pub use qconfig::QConfig;
pub use quant_config::{ObserverSetting, QuantConfig};
pub use recipe::Recipe;
pub use rules::Rule;
