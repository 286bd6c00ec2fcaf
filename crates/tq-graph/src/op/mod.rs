//! The closed set of operators.
//!
//! Names and semantics are those of the ONNX operator of the same name at opset 21, whatever version the model
//! came in; inputs stand in the same order, absent optional ones are `None`.

mod einsum;
mod elementwise;
mod recurrent;
mod reduce;
mod resize;
mod signature;
mod window;

pub use einsum::{EinsumEquation, EinsumTerm};
pub use elementwise::{BinaryOp, BitwiseOp, CompareOp, LogicOp, UnaryOp, VariadicOp};
pub use recurrent::{Activation, Direction, RecurrentAttrs, RecurrentKind};
pub use reduce::{ArgAttrs, ReduceKind};
pub use resize::{
    AspectPolicy, Coordinates, NearestRounding, ResizeAttrs, ResizeMode, fitted_lens, scaled_len,
};
pub use window::{ConvAttrs, ConvTransposeAttrs, Padding, PoolAttrs};

use crate::Tensor;
use tq_qtypes::{DType, DynamicFormula};

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

/// What Scatter does with an element that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScatterReduction {
    /// Replaces it; of several updates of one element the last stays.
    None,
    /// Adds to it.
    Add,
    /// Multiplies it.
    Mul,
    /// Takes the larger one.
    Max,
    /// Takes the smaller one.
    Min,
}

/// An operator with its attributes. Doc comments list inputs -> outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// `x, w[, b] -> y`: convolution over 1 to 3 spatial axes, channels first.
    Conv(ConvAttrs),
    /// `x, w[, b] -> y`: transposed convolution over 1 to 3 spatial axes, channels first; the weights have the axes
    /// input channels, output channels of a group, kernel.
    ConvTranspose(ConvTransposeAttrs),
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
    /// `a, b -> bool`, element by element with broadcasting.
    Compare(CompareOp),
    /// `a, b -> bool`, element by element with broadcasting.
    Logic(LogicOp),
    /// `x -> bool`: the other truth value.
    Not,
    /// `a, b -> y`, element by element with broadcasting.
    Bitwise(BitwiseOp),
    /// `x -> y`: all bits the other way round.
    BitwiseNot,
    /// `x -> bool`.
    IsNaN,
    /// `x -> bool`.
    IsInf {
        /// Whether negative infinity counts.
        negative: bool,
        /// Whether positive infinity counts.
        positive: bool,
    },
    /// `condition, a, b -> y`: elements of `a` where true, of `b` where false, with broadcasting of all three.
    Where,
    /// `x... -> y`, element by element with broadcasting.
    Variadic(VariadicOp),
    /// `x[, min[, max]] -> y`.
    Clip,
    /// `x, scale, bias, mean, var -> y`, with the given statistics.
    BatchNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x, scale[, bias] -> y[, mean[, inv_std]]`: brought to mean 0 and variance 1 over `axis` and all axes after it,
    /// then scaled and shifted; `scale` and `bias` broadcast to `x`.
    LayerNormalization {
        /// First normalized axis, may be negative.
        axis: i64,
        /// Added to the variance.
        epsilon: f32,
        /// Type of the mean and of the reciprocal standard deviation.
        stash: DType,
    },
    /// `x, scale, bias -> y`: brought to mean 0 and variance 1 over the spatial axes, then scaled and shifted by
    /// channel.
    InstanceNormalization {
        /// Added to the variance.
        epsilon: f32,
    },
    /// `x, scale, bias -> y`: brought to mean 0 and variance 1 over groups of channels and the spatial axes, then
    /// scaled and shifted. `scale` and `bias` have one element a channel (opset 21) or one a group (opset 18).
    GroupNormalization {
        /// Added to the variance.
        epsilon: f32,
        /// Number of groups.
        groups: usize,
    },
    /// LSTM, GRU or RNN; inputs and outputs stand at [`RecurrentKind`]. All outputs but the first may be absent.
    Recurrent {
        /// Which one.
        kind: RecurrentKind,
        /// Attributes that all have.
        attrs: RecurrentAttrs,
    },
    /// `x... -> y`: sums of products as the equation says. Axes of the same letter are equally long, or 1.
    Einsum(EinsumEquation),
    /// `boxes, scores[, max_boxes[, iou_threshold[, score_threshold]]] -> indices`: for each sample and class the boxes
    /// of the highest scores that do not overlap more than the threshold, as rows of sample, class and box.
    NonMaxSuppression {
        /// Whether boxes are given by centre and extents (across first) instead of two corners (down first).
        center_point_box: bool,
    },
    /// `x[, roi[, scales[, sizes]]] -> y`: an empty list is an absent one.
    Resize(ResizeAttrs),
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
    /// `x -> y`: `(sum of |x|^p)^(1/p)` of every window; padding counts as zero.
    LpPool {
        /// The window.
        attrs: PoolAttrs,
        /// The exponent.
        p: u32,
    },
    /// `x -> y`: mean over all spatial axes.
    GlobalAveragePool,
    /// `x -> y`: maximum over all spatial axes.
    GlobalMaxPool,
    /// `x -> y`: `(sum of |x|^p)^(1/p)` over all spatial axes.
    GlobalLpPool {
        /// The exponent.
        p: u32,
    },
    /// `x -> y`: brought to mean 0 and standard deviation 1 over these axes, which may be negative.
    MeanVarianceNormalization {
        /// The axes.
        axes: Vec<i64>,
    },
    /// `x -> y`: every element over `(bias + alpha / size * s)^beta`, where `s` is the sum of squares of the `size`
    /// channels around it.
    Lrn {
        /// Number of channels.
        size: usize,
        /// Factor of the mean square.
        alpha: f32,
        /// The exponent.
        beta: f32,
        /// Added to the mean square.
        bias: f32,
    },
    /// `x[, axes] -> y`.
    Reduce {
        /// What is made of the elements.
        kind: ReduceKind,
        /// Whether reduced axes stay as 1.
        keep_dims: bool,
        /// Whether no axes means that each element is reduced by itself, instead of all of them together.
        noop_with_empty_axes: bool,
    },
    /// `x -> positions`: where the largest elements along an axis are.
    ArgMax(ArgAttrs),
    /// `x -> positions`: where the smallest elements along an axis are.
    ArgMin(ArgAttrs),
    /// `x, k -> values, positions`: the k first elements of an axis in order, of equal ones the first.
    TopK {
        /// Axis, may be negative.
        axis: i64,
        /// Whether the largest elements come first instead of the smallest.
        largest: bool,
        /// Whether the order of the results is asked for. They are always sorted.
        sorted: bool,
    },
    /// `x, axis -> y`: running sums.
    CumSum {
        /// Whether each sum leaves its own element out.
        exclusive: bool,
        /// Whether it starts at the end.
        reverse: bool,
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
    /// `x, indices -> y`: `indices` has the rank of `x` and tells for each element of the output which one of its
    /// line along the axis it is.
    GatherElements {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x, indices -> y`: the last axis of `indices` holds positions in the leading axes of `x`.
    GatherND {
        /// How many leading axes both have in common.
        batch_dims: usize,
    },
    /// `x, indices, updates -> y`: the inverse of GatherElements.
    ScatterElements {
        /// Axis, may be negative.
        axis: i64,
        /// What becomes of the element that was there.
        reduction: ScatterReduction,
    },
    /// `x, indices, updates -> y`: the inverse of GatherND.
    ScatterND {
        /// What becomes of the element that was there.
        reduction: ScatterReduction,
    },
    /// `x, shape -> y`: repeated to the shape that `x` and `shape` broadcast to.
    Expand,
    /// `x, repeats -> y`: copies side by side along every axis.
    Tile,
    /// `x[, k] -> y`: the upper or lower triangle of each matrix, zero elsewhere.
    Trilu {
        /// Which triangle stays.
        upper: bool,
    },
    /// `x -> y`: channels become blocks of `block` by `block` elements.
    DepthToSpace {
        /// Extent of a block.
        block: usize,
        /// Whether the channel (instead of the place in the block) is the outer part of the old channel (mode `CRD`).
        channel_first: bool,
    },
    /// `x -> y`: blocks of `block` by `block` elements become channels.
    SpaceToDepth {
        /// Extent of a block.
        block: usize,
    },
    /// `x -> n`: the number of elements.
    Size,
    /// `x -> positions`: one column for each element that is not zero, one row for each axis.
    NonZero,
    /// `start, limit, delta -> y`: the numbers from start (with it) to limit (without it).
    Range,
    /// `indices, depth, values -> y`: a new axis of `depth` elements, `values[1]` at the index, `values[0]` elsewhere.
    OneHot {
        /// Where the new axis stands in the output, may be negative.
        axis: i64,
    },
    /// `x -> y`: a matrix of the shape of `x`, ones on a diagonal, zeros elsewhere.
    EyeLike {
        /// Type of the output; that of `x` where absent.
        dtype: Option<DType>,
        /// Which diagonal: 0 is the main one, positive ones lie above.
        k: i64,
    },
    /// `x -> y`.
    Cast {
        /// Target type.
        to: DType,
        /// For 8-bit floats: whether too large values become the largest one.
        saturate: bool,
    },
    /// `x, like -> y`, of the type of `like`.
    CastLike {
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
    /// `x -> y`: logarithm of the softmax.
    LogSoftmax {
        /// Axis, may be negative.
        axis: i64,
    },
    /// `x -> y`: one at the first of the largest elements along the axis, zero elsewhere.
    Hardmax {
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
    /// `x -> codes, scale, zero_point`: parameters from the range of `x` itself.
    DynamicQuantizeLinear {
        /// How they follow from the range; ONNX has one way.
        formula: DynamicFormula,
    },
    /// `a, b[, a_zero_point[, b_zero_point]] -> i32`.
    MatMulInteger,
    /// `x, w[, x_zero_point[, w_zero_point]] -> i32`.
    ConvInteger(ConvAttrs),
    /// `a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp -> codes`.
    QLinearMatMul,
    /// `x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp[, bias] -> codes`.
    QLinearConv(ConvAttrs),
}
