//! Quantized data types, schemes, and the only copy of the affine arithmetic.
//!
//! * [`DType`]: the element types of tensors, quantized ones included.
//! * [`QScheme`], [`Granularity`], [`QuantSpec`]: what is asked of a quantizer.
//! * [`QParams`]: what a quantizer decided: scales and zero points.
//! * [`affine`]: choosing parameters, quantizing, dequantizing.
//! * [`mod@requantize`]: from a 32-bit accumulator to output codes.
//! * [`float8`]: the four 8-bit floating-point formats of ONNX.
//! * [`capability`]: the one table type that says which operator takes which types.
#![forbid(unsafe_code)]

pub mod affine;
pub mod capability;
pub mod dtype;
pub mod error;
pub mod float8;
pub mod qparams;
pub mod requantize;
pub mod scheme;

pub use capability::{CapabilityTable, OperatorKind, OperatorSupport};
pub use dtype::DType;
pub use error::QTypeError;
pub use qparams::{AffineParams, QParams};
pub use scheme::{Granularity, QScheme, QuantSpec, Rounding};
