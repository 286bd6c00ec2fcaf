//! The closed set of operators.
//!
//! Names and semantics are those of the ONNX operator of the same name at opset 21, whatever version the model
//! came in; inputs stand in the same order, absent optional ones are `None`.

use crate::Tensor;
use tq_qtypes::DType;

/// Functions of one element.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, else `alpha * (exp(x) - 1)`.
    Elu {
        /// Slope of the negative part at zero.
        alpha: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 0.5))`.
    HardSwish,
}

/// Functions of two elements, with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; integers truncate towards zero.
    Div,
}

/// Padding of a window operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// Elements before (`begin`) and after (`end`) each spatial axis.
    Explicit {
        /// Before each spatial axis.
        begin: Vec<usize>,
        /// After each spatial axis.
        end: Vec<usize>,
    },
    /// As much as keeps `ceil(in / stride)` outputs, the odd one at the end.
    SameUpper,
    /// As much as keeps `ceil(in / stride)` outputs, the odd one at the beginning.
    SameLower,
}

/// Attributes of a convolution. The kernel's extent is that of the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvAttrs {
    /// Step along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance between kernel elements along each spatial axis.
    pub dilations: Vec<usize>,
    /// Padding.
    pub padding: Padding,
    /// Number of groups.
    pub groups: usize,
}

/// Attributes of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttrs {
    /// Extent of the window along each spatial axis.
    pub kernel: Vec<usize>,
    /// Step along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance between window elements along each spatial axis.
    pub dilations: Vec<usize>,
    /// Padding.
    pub padding: Padding,
    /// Whether the number of outputs is rounded up instead of down.
    pub ceil_mode: bool,
}

/// How Pad fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PadMode {
    /// With a constant.
    Constant,
    /// With a mirror image that does not repeat the edge.
    Reflect,
    /// With the edge.
    Edge,
    /// As if the tensor went round.
    Wrap,
}

/// An operator with its attributes. Doc comments list inputs -> outputs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// `x, w[, b] -> y`: convolution over 1 to 3 spatial axes, channels first.
    Conv(ConvAttrs),
    /// `a, b[, c] -> y`: `alpha * op(a) * op(b) + beta * c`.
    Gemm {
        /// Factor of the product.
        alpha: f32,
        /// Factor of `c`.
        beta: f32,
        /// Whether `a` is transposed.
        trans_a: bool,
        /// Whether `b` is transposed.
        trans_b: bool,
    },
    /// `a, b -> y`: matrix product as in numpy.
    MatMul,
    /// `x -> y`, element by element.
    Unary(UnaryOp),
    /// `a, b -> y`, element by element with broadcasting.
    Binary(BinaryOp),
    /// `x[, min[, max]] -> y`.
    Clip,
    /// `x, scale, bias, mean, var -> y`, with the given statistics.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x -> y[, indices]`.
    MaxPool {
        /// The window.
        attrs: PoolAttrs,
        /// True when indices count column-major (`storage_order` 1).
        column_major: bool,
    },
    /// `x -> y`.
    AveragePool {
        /// The window.
        attrs: PoolAttrs,
        /// Whether padding counts in the divisor.
        count_include_pad: bool,
    },
    /// `x -> y`: mean over all spatial axes.
    GlobalAveragePool,
    /// `x[, axes] -> y`.
    ReduceMean {
        /// Whether reduced axes stay as 1.
        keep_dims: bool,
        /// Whether no axes means no reduction instead of a full one.
        noop_with_empty_axes: bool,
    },
    /// `x -> y`: two axes, split before `axis` (which may be negative).
    Flatten {
        /// First axis of the second part.
        axis: i64,
    },
    /// `x, shape -> y`.
    Reshape {
        /// Whether a 0 in the shape means zero instead of "as in the input".
        allow_zero: bool,
    },
    /// `x -> y`; no permutation means reversed axes.
    Transpose {
        /// For each output axis the input axis.
        perm: Option<Vec<usize>>,
    },
    /// `x[, axes] -> y`.
    Squeeze,
    /// `x, axes -> y`.
    Unsqueeze,
    /// `x... -> y`.
    Concat {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x, starts, ends[, axes[, steps]] -> y`.
    Slice,
    /// `x[, split] -> y...`.
    Split {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x, pads[, value[, axes]] -> y`.
    Pad {
        /// How it fills.
        mode: PadMode,
    },
    /// `x -> shape`.
    Shape {
        /// First axis reported, may be negative.
        start: i64,
        /// First axis not reported, may be negative.
        end: Option<i64>,
    },
    /// `x, indices -> y`.
    Gather {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x -> y`.
    Cast {
        /// Target type.
        to: DType,
        /// For 8-bit floats: whether too large values become the largest one.
        saturate: bool,
    },
    /// `shape -> y`, filled with one value.
    ConstantOfShape {
        /// The value, a tensor of one element.
        value: Tensor,
    },
    /// `x -> y`, unchanged.
    Identity,
    /// `x -> y[, mask]`: inference only, so `y = x` and the mask is all true.
    Dropout,
    /// `x -> y`.
    Softmax {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x, scale[, zero_point] -> codes`.
    QuantizeLinear {
        /// Axis of per-channel or block parameters, may be negative.
        axis: i64,
        /// Elements a block, 0 for none.
        block_size: usize,
        /// Type of the codes when there is no zero point to tell it.
        output_dtype: Option<DType>,
        /// For 8-bit floats: whether too large values become the largest one.
        saturate: bool,
    },
    /// `codes, scale[, zero_point] -> x`.
    DequantizeLinear {
        /// Axis of per-channel or block parameters, may be negative.
        axis: i64,
        /// Elements a block, 0 for none.
        block_size: usize,
    },
    /// `x -> codes, scale, zero_point`.
    DynamicQuantizeLinear,
    /// `a, b[, a_zero_point[, b_zero_point]] -> i32`.
    MatMulInteger,
    /// `x, w[, x_zero_point[, w_zero_point]] -> i32`.
    ConvInteger(ConvAttrs),
    /// `a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp -> codes`.
    QLinearMatMul,
    /// `x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp[, bias] -> codes`.
    QLinearConv(ConvAttrs),
}

impl Op {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::Gemm { .. } => "Gemm",
            Op::MatMul => "MatMul",
            Op::Unary(u) => match u {
                UnaryOp::Relu => "Relu",
                UnaryOp::Elu { .. } => "Elu",
                UnaryOp::Sigmoid => "Sigmoid",
                UnaryOp::HardSigmoid { .. } => "HardSigmoid",
                UnaryOp::HardSwish => "HardSwish",
            },
            Op::Binary(b) => match b {
                BinaryOp::Add => "Add",
                BinaryOp::Sub => "Sub",
                BinaryOp::Mul => "Mul",
                BinaryOp::Div => "Div",
            },
            Op::Clip => "Clip",
            Op::BatchNormalization { .. } => "BatchNormalization",
            Op::MaxPool { .. } => "MaxPool",
            Op::AveragePool { .. } => "AveragePool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::ReduceMean { .. } => "ReduceMean",
            Op::Flatten { .. } => "Flatten",
            Op::Reshape { .. } => "Reshape",
            Op::Transpose { .. } => "Transpose",
            Op::Squeeze => "Squeeze",
            Op::Unsqueeze => "Unsqueeze",
            Op::Concat { .. } => "Concat",
            Op::Slice => "Slice",
            Op::Split { .. } => "Split",
            Op::Pad { .. } => "Pad",
            Op::Shape { .. } => "Shape",
            Op::Gather { .. } => "Gather",
            Op::Cast { .. } => "Cast",
            Op::ConstantOfShape { .. } => "ConstantOfShape",
            Op::Identity => "Identity",
            Op::Dropout => "Dropout",
            Op::Softmax { .. } => "Softmax",
            Op::QuantizeLinear { .. } => "QuantizeLinear",
            Op::DequantizeLinear { .. } => "DequantizeLinear",
            Op::DynamicQuantizeLinear => "DynamicQuantizeLinear",
            Op::MatMulInteger => "MatMulInteger",
            Op::ConvInteger(_) => "ConvInteger",
            Op::QLinearMatMul => "QLinearMatMul",
            Op::QLinearConv(_) => "QLinearConv",
        }
    }

    /// Fewest and most inputs the operator takes.
    #[must_use]
    pub const fn input_arity(&self) -> (usize, usize) {
        match self {
            Op::Conv(_) | Op::Gemm { .. } => (2, 3),
            Op::MatMul | Op::Binary(_) | Op::Reshape { .. } | Op::Unsqueeze | Op::Gather { .. } => (2, 2),
            Op::Unary(_)
            | Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Shape { .. }
            | Op::Cast { .. }
            | Op::ConstantOfShape { .. }
            | Op::Identity
            | Op::Dropout
            | Op::Softmax { .. }
            | Op::DynamicQuantizeLinear => (1, 1),
            Op::Clip => (1, 3),
            Op::BatchNormalization { .. } => (5, 5),
            Op::ReduceMean { .. } | Op::Squeeze | Op::Split { .. } => (1, 2),
            Op::Concat { .. } => (1, usize::MAX),
            Op::Slice => (3, 5),
            Op::Pad { .. } => (2, 4),
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => (2, 3),
            Op::MatMulInteger | Op::ConvInteger(_) => (2, 4),
            Op::QLinearMatMul => (8, 8),
            Op::QLinearConv(_) => (8, 9),
        }
    }

    /// Fewest and most outputs the operator gives.
    #[must_use]
    pub const fn output_arity(&self) -> (usize, usize) {
        match self {
            Op::MaxPool { .. } | Op::Dropout => (1, 2),
            Op::Split { .. } => (1, usize::MAX),
            Op::DynamicQuantizeLinear => (3, 3),
            _ => (1, 1),
        }
    }
}
