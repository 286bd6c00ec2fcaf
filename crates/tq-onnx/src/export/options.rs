//! How a graph is written.

use crate::MIN_OPSET;

/// How a graph is written. What is `None` stays as the graph has it.
///
/// ```
/// use tq_onnx::{BiasForm, ExportOptions, WeightForm};
/// let for_tensorrt = ExportOptions {
///     weights: Some(WeightForm::FloatPair),
///     bias: Some(BiasForm::Float),
///     ..ExportOptions::at(19)
/// };
/// assert_eq!(for_tensorrt.opset, Some(19));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportOptions {
    /// The operator set, 13 to 25. Without one the lowest that has words for the whole graph: 13 for 8-bit codes, 19 for
    /// 8-bit floats, 21 for 4-bit, 16-bit and block-wise codes, 25 for 2-bit codes.
    pub opset: Option<i64>,
    /// How quantized operators are written.
    pub form: OperatorForm,
    /// How constant codes are written.
    pub weights: Option<WeightForm>,
    /// How biases of quantized operators are written.
    pub bias: Option<BiasForm>,
    /// Whether products with constant 4-bit weights in blocks become `com.microsoft` `MatMulNBits`, which ONNX Runtime
    /// alone knows.
    pub matmul_nbits: bool,
    /// Constants of at least this many bytes go to a file beside the model.
    pub external_data: Option<usize>,
}

impl ExportOptions {
    /// The graph as it is, at this operator set.
    #[must_use]
    pub fn at(opset: i64) -> Self {
        Self { opset: Some(opset), ..Self::default() }
    }

    /// The operator set to try first.
    pub(super) fn lowest(&self) -> i64 {
        self.opset.unwrap_or(MIN_OPSET)
    }
}

/// How quantized operators are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OperatorForm {
    /// Float operators between Dequantize and Quantize.
    #[default]
    Qdq,
    /// Operators on codes where ONNX has one that gives the same codes: QLinearConv and QLinearMatMul, and MatMulInteger
    /// or ConvInteger where the result is float; pools of maxima and what moves data read and write codes. What else
    /// there is stays between Dequantize and Quantize: a linear layer with a bias and codes as its result, sums,
    /// concatenations, averages, tables.
    QOperator,
}

/// How constant codes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightForm {
    /// As codes behind a Dequantize.
    Codes,
    /// As floats, Quantize, Dequantize: four times the size for 8 bits, but the form in which TensorRT's tools write.
    FloatPair,
}

/// How biases of quantized operators are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BiasForm {
    /// As 32-bit codes behind a Dequantize whose scale is that of the input times that of the weights.
    Int32,
    /// As floats.
    Float,
}
