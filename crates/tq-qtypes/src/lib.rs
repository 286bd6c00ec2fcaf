//! Quantized data types, schemes, and the only copy of the affine arithmetic.
//!
//! * [`DType`]: the element types of tensors, quantized ones included.
//! * [`QScheme`], [`Granularity`], [`QuantSpec`]: what is asked of an integer quantizer; [`QuantFormat`]: of any.
//! * [`QParams`]: what a quantizer decided: scales and zero points.
//! * [`QTensor`]: a quantized tensor, its codes packed.
//! * [`affine`]: choosing parameters, quantizing, dequantizing; [`mod@dynamic`]: choosing them while a network runs.
//! * [`narrow_float`], [`codebook`], [`block_float`]: f16, bf16 and 8-bit floats; NF4; the MX formats.
//! * [`mod@fake_quantize`]: what values become on their way through codes of any scheme.
//! * [`packing`]: codes of 2, 3 and 4 bits without gaps.
//! * [`mod@requantize`]: from a 32-bit accumulator to output codes; [`mod@fixed_point`]: the same without float.
//! * [`float8`]: the four 8-bit floating-point formats of ONNX.
//! * [`capability`]: the one table type that says which operator takes which types.
#![forbid(unsafe_code)]

pub mod affine;
pub mod block_float;
pub mod capability;
pub mod codebook;
pub mod dtype;
pub mod dynamic;
pub mod error;
pub mod fake_quantize;
pub mod fixed_point;
pub mod float8;
pub mod format;
pub mod index;
pub mod narrow_float;
pub mod packing;
pub mod qparams;
pub mod qtensor;
pub mod requantize;
pub mod scheme;

pub use block_float::{BlockFloatParams, BlockFormat};
pub use capability::{CapabilityTable, OperatorKind, OperatorSupport};
pub use codebook::{Codebook, CodebookParams};
pub use dtype::DType;
pub use dynamic::DynamicFormula;
pub use error::QTypeError;
pub use format::QuantFormat;
pub use narrow_float::FloatParams;
pub use qparams::{AffineParams, QParams};
pub use qtensor::QTensor;
pub use requantize::Requantization;
pub use scheme::{Granularity, QScheme, QuantSpec, Rounding};
