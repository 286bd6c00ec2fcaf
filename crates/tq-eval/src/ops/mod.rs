//! The operators, by family.

mod binary;
mod cast;
pub(crate) mod conv;
mod conv_transpose;
mod create;
mod detection;
mod einsum;
mod few_rows;
mod gather;
mod integer;
mod lanes;
mod layer_norm;
mod logic;
mod matmul;
mod movement;
mod norm;
mod order;
mod pad;
mod pool;
mod pow;
mod quant;
pub(crate) mod recurrent;
mod reduce;
mod repeat;
pub(crate) mod resize;
mod scan;
mod select;
mod softmax;
mod unary;
mod variadic;

use crate::number::{f64_to_bf16, f64_to_f16};
use crate::{OpError, Precision, parallel};
use half::{bf16, f16};
use tq_graph::op::ScatterReduction;
use tq_graph::tensor::checked_numel;
use tq_graph::{Element, Op, Tensor};
use tq_qtypes::DType;

/// The most bytes of one tensor, unless [`crate::Evaluator::max_tensor_bytes`] says otherwise: 8 GiB.
pub const DEFAULT_MAX_TENSOR_BYTES: usize = if usize::BITS > 32 { 8 << 30 } else { 1 << 30 };

/// Elements that one task of an element-wise loop takes. Smaller work stays serial.
const CHUNK: usize = 1 << 14;

/// What every operator is told besides its inputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    pub(crate) precision: Precision,
    pub(crate) max_tensor_bytes: usize,
}

impl Context {
    /// Number of elements of a new tensor, if it may be made.
    pub(crate) fn numel<T: Element>(&self, dims: &[usize]) -> Result<usize, OpError> {
        let numel = checked_numel(dims, T::DTYPE)?;
        if numel > self.max_tensor_bytes / size_of::<T>() {
            let (dims, dtype, limit) = (dims.to_vec(), T::DTYPE, self.max_tensor_bytes);
            return Err(OpError::TooLarge { dims, dtype, limit });
        }
        Ok(numel)
    }

    /// Room for the elements of a new tensor, of which there are none yet.
    pub(crate) fn empty<T: Element>(&self, dims: &[usize]) -> Result<Vec<T>, OpError> {
        let numel = self.numel::<T>(dims)?;
        let mut data = Vec::new();
        data.try_reserve_exact(numel).map_err(|_| OpError::TooLarge {
            dims: dims.to_vec(),
            dtype: T::DTYPE,
            limit: self.max_tensor_bytes,
        })?;
        Ok(data)
    }

    /// Room for the elements of a new tensor, all of them `value`.
    pub(crate) fn filled<T: Element>(&self, dims: &[usize], value: T) -> Result<Vec<T>, OpError> {
        let mut data = self.empty(dims)?;
        data.resize(self.numel::<T>(dims)?, value);
        Ok(data)
    }

    /// Room for the elements of a new tensor.
    pub(crate) fn zeros<T: Element>(&self, dims: &[usize]) -> Result<Vec<T>, OpError> {
        self.filled(dims, T::default())
    }
}

/// The inputs of an operator.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a>(&'a [Option<&'a Tensor>]);

impl<'a> Inputs<'a> {
    /// Input `i`, if it is there.
    pub(crate) fn get(&self, i: usize) -> Option<&'a Tensor> {
        self.0.get(i).copied().flatten()
    }

    /// Input `i`.
    pub(crate) fn need(&self, i: usize) -> Result<&'a Tensor, OpError> {
        self.get(i).ok_or(OpError::MissingInput { index: i })
    }

    /// All inputs.
    pub(crate) fn all(&self) -> Result<Vec<&'a Tensor>, OpError> {
        (0..self.0.len()).map(|i| self.need(i)).collect()
    }
}

/// Evaluates one operator.
///
/// `inputs` stand in the operator's order, absent optional ones as `None`; `n_outputs` outputs come back
/// (Split makes that many equal parts when it has no `split` input). In [`Precision::F64`] float inputs are promoted
/// to f64 first, and every float output is f64.
///
/// # Errors
/// [`OpError`], with the numbers, for inputs that the operator is not defined on, and for outputs of more than
/// [`DEFAULT_MAX_TENSOR_BYTES`].
///
/// ```
/// use tq_eval::{Precision, eval_op};
/// use tq_graph::{Op, Tensor, op::UnaryOp};
/// let x = Tensor::vector(vec![-1.0f32, 2.0]);
/// let y = eval_op(&Op::Unary(UnaryOp::Relu), &[Some(&x)], 1, Precision::F32)?;
/// assert_eq!(y[0].as_slice::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), tq_eval::OpError>(())
/// ```
pub fn eval_op(
    op: &Op,
    inputs: &[Option<&Tensor>],
    n_outputs: usize,
    precision: Precision,
) -> Result<Vec<Tensor>, OpError> {
    eval_in(&Context { precision, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES }, op, inputs, n_outputs)
}

pub(crate) fn eval_in(
    ctx: &Context,
    op: &Op,
    inputs: &[Option<&Tensor>],
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let (min, max) = op.input_arity();
    if inputs.len() < min || inputs.len() > max {
        return Err(OpError::InputCount { min, max, got: inputs.len() });
    }
    if let Some(index) = inputs[..min].iter().position(Option::is_none) {
        return Err(OpError::MissingInput { index });
    }
    let (min, max) = op.output_arity();
    if n_outputs < min || n_outputs > max {
        return Err(OpError::OutputCount { min, max, got: n_outputs });
    }
    let widen = |t: &Tensor| match ctx.precision {
        Precision::F64 => t.dtype().is_float() && t.dtype() != DType::F64,
        Precision::F32 => matches!(t.dtype(), DType::F16 | DType::BF16) && is_arithmetic(op),
    };
    if !inputs.iter().flatten().any(|t| widen(t)) {
        return dispatch(ctx, op, Inputs(inputs), n_outputs);
    }
    let target = match ctx.precision {
        Precision::F64 => DType::F64,
        Precision::F32 => DType::F32,
    };
    let owned: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|t| t.map(|t| if widen(t) { cast::float_to(ctx, t, target) } else { Ok(t.clone()) }).transpose())
        .collect::<Result<_, _>>()?;
    let wide: Vec<Option<&Tensor>> = owned.iter().map(Option::as_ref).collect();
    let outputs = dispatch(ctx, op, Inputs(&wide), n_outputs)?;
    let narrow = inputs.first().copied().flatten().map(Tensor::dtype);
    match (ctx.precision, narrow) {
        (Precision::F32, Some(narrow @ (DType::F16 | DType::BF16))) => outputs
            .into_iter()
            .map(|t| if t.dtype().is_float() { cast::float_to(ctx, &t, narrow) } else { Ok(t) })
            .collect(),
        _ => Ok(outputs),
    }
}

/// Promotes a float tensor to f64; leaves others.
pub(crate) fn promoted(ctx: &Context, t: &Tensor) -> Result<Tensor, OpError> {
    if t.dtype().is_float() && t.dtype() != DType::F64 {
        cast::float_to(ctx, t, DType::F64)
    } else {
        Ok(t.clone())
    }
}

/// Operators whose f16 and bf16 inputs are computed in f32.
fn is_arithmetic(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Gemm { .. }
            | Op::MatMul
            | Op::Unary(_)
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::IsNaN
            | Op::IsInf { .. }
            | Op::Variadic(_)
            | Op::Clip
            | Op::BatchNormalization { .. }
            | Op::Recurrent { .. }
            | Op::Resize(_)
            | Op::Einsum(_)
            | Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::LpPool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::GlobalLpPool { .. }
            | Op::MeanVarianceNormalization { .. }
            | Op::Lrn { .. }
            | Op::Reduce { .. }
            | Op::Softmax { .. }
            | Op::LogSoftmax { .. }
            | Op::Hardmax { .. }
            | Op::ArgMax(_)
            | Op::ArgMin(_)
            | Op::TopK { .. }
            | Op::CumSum { .. }
    ) || matches!(op, Op::ScatterElements { reduction, .. } | Op::ScatterND { reduction }
        if *reduction != ScatterReduction::None)
}

fn dispatch(ctx: &Context, op: &Op, x: Inputs, n_outputs: usize) -> Result<Vec<Tensor>, OpError> {
    let one = |t: Result<Tensor, OpError>| t.map(|t| vec![t]);
    match op {
        Op::Conv(attrs) => one(conv::conv(ctx, x, attrs)),
        Op::ConvTranspose(attrs) => one(conv_transpose::conv_transpose(ctx, x, attrs)),
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            one(matmul::gemm(ctx, x, (*alpha, *beta), (*trans_a, *trans_b)))
        }
        Op::MatMul => one(matmul::matmul(ctx, x.need(0)?, x.need(1)?)),
        Op::Unary(f) => one(unary::unary(ctx, *f, x.need(0)?)),
        Op::Binary(f) => one(binary::binary(ctx, *f, x.need(0)?, x.need(1)?)),
        Op::Compare(f) => one(logic::compare(ctx, *f, x.need(0)?, x.need(1)?)),
        Op::Logic(f) => one(logic::logic(ctx, *f, x.need(0)?, x.need(1)?)),
        Op::Not => one(logic::not(ctx, x.need(0)?)),
        Op::Bitwise(f) => one(logic::bitwise(ctx, *f, x.need(0)?, x.need(1)?)),
        Op::BitwiseNot => one(logic::bitwise_not(ctx, x.need(0)?)),
        Op::IsNaN => one(logic::is_nan(ctx, x.need(0)?)),
        Op::IsInf { negative, positive } => one(logic::is_inf(ctx, x.need(0)?, *negative, *positive)),
        Op::Where => one(logic::choose(ctx, x)),
        Op::Variadic(f) => one(variadic::variadic(ctx, *f, &x.all()?)),
        Op::Clip => one(unary::clip(ctx, x)),
        Op::BatchNormalization { epsilon } => one(norm::batch_normalization(ctx, x, *epsilon)),
        Op::LayerNormalization { axis, epsilon, stash } => {
            layer_norm::layer_normalization(ctx, x, *axis, *epsilon, *stash, n_outputs)
        }
        Op::InstanceNormalization { epsilon } => one(layer_norm::instance_normalization(ctx, x, *epsilon)),
        Op::GroupNormalization { epsilon, groups } => {
            one(layer_norm::group_normalization(ctx, x, *epsilon, *groups))
        }
        Op::Einsum(equation) => one(einsum::einsum(ctx, &x.all()?, equation)),
        Op::NonMaxSuppression { center_point_box } => {
            one(detection::non_max_suppression(ctx, x, *center_point_box))
        }
        Op::Resize(attrs) => one(resize::resize(ctx, x, attrs)),
        Op::Recurrent { kind, attrs } => recurrent::recurrent(ctx, x, *kind, attrs, n_outputs),
        Op::MaxPool { attrs, column_major } => {
            pool::max_pool(ctx, x.need(0)?, attrs, *column_major, n_outputs > 1)
        }
        Op::AveragePool { attrs, count_include_pad } => {
            one(pool::average_pool(ctx, x.need(0)?, attrs, *count_include_pad))
        }
        Op::LpPool { attrs, p } => one(pool::lp_pool(ctx, x.need(0)?, attrs, *p)),
        Op::GlobalMaxPool => one(pool::global_max_pool(ctx, x.need(0)?)),
        Op::GlobalLpPool { p } => one(pool::global_lp_pool(ctx, x.need(0)?, *p)),
        Op::MeanVarianceNormalization { axes } => {
            one(layer_norm::mean_variance_normalization(ctx, x.need(0)?, axes))
        }
        Op::Lrn { size, alpha, beta, bias } => one(norm::lrn(ctx, x.need(0)?, *size, [*alpha, *beta, *bias])),
        Op::GlobalAveragePool => one(reduce::global_average_pool(ctx, x.need(0)?)),
        Op::Reduce { kind, keep_dims, noop_with_empty_axes } => {
            one(reduce::reduce(ctx, x, *kind, *keep_dims, *noop_with_empty_axes))
        }
        Op::ArgMax(attrs) => one(order::arg(ctx, x.need(0)?, *attrs, true)),
        Op::ArgMin(attrs) => one(order::arg(ctx, x.need(0)?, *attrs, false)),
        Op::TopK { axis, largest, .. } => order::top_k(ctx, x, *axis, *largest),
        Op::CumSum { exclusive, reverse } => {
            one(scan::cumulative_sum(ctx, x.need(0)?, x.need(1)?, *exclusive, *reverse))
        }
        Op::Flatten { axis } => one(movement::flatten(x.need(0)?, *axis)),
        Op::Reshape { allow_zero } => one(movement::reshape(x.need(0)?, x.need(1)?, *allow_zero)),
        Op::Transpose { perm } => one(movement::transpose(ctx, x.need(0)?, perm.as_deref())),
        Op::Squeeze => one(movement::squeeze(x)),
        Op::Unsqueeze => one(movement::unsqueeze(x)),
        Op::Concat { axis } => one(select::concat(ctx, &x.all()?, *axis)),
        Op::Slice => one(movement::slice(ctx, x)),
        Op::Split { axis } => select::split(ctx, x, *axis, n_outputs),
        Op::Pad { mode } => one(pad::pad(ctx, x, *mode)),
        Op::Shape { start, end } => one(movement::shape(x.need(0)?, *start, *end)),
        Op::Gather { axis } => one(select::gather(ctx, x.need(0)?, x.need(1)?, *axis)),
        Op::GatherElements { axis } => one(gather::gather_elements(ctx, x.need(0)?, x.need(1)?, *axis)),
        Op::GatherND { batch_dims } => one(gather::gather_nd(ctx, x.need(0)?, x.need(1)?, *batch_dims)),
        Op::ScatterElements { axis, reduction } => {
            one(gather::scatter_elements(x.need(0)?.clone(), x, *axis, *reduction))
        }
        Op::ScatterND { reduction } => one(gather::scatter_nd(ctx, x.need(0)?.clone(), x, *reduction)),
        Op::Expand => one(repeat::expand(ctx, x.need(0)?, x.need(1)?)),
        Op::Tile => one(repeat::tile(ctx, x.need(0)?, x.need(1)?)),
        Op::Trilu { upper } => one(repeat::trilu(ctx, x, *upper)),
        Op::DepthToSpace { block, channel_first } => {
            one(repeat::depth_to_space(ctx, x.need(0)?, *block, *channel_first))
        }
        Op::SpaceToDepth { block } => one(repeat::space_to_depth(ctx, x.need(0)?, *block)),
        Op::Size => one(create::size(x.need(0)?)),
        Op::NonZero => one(create::non_zero(ctx, x.need(0)?)),
        Op::Range => one(create::range(ctx, x)),
        Op::OneHot { axis } => one(create::one_hot(ctx, x, *axis)),
        Op::EyeLike { dtype, k } => one(create::eye_like(ctx, x.need(0)?, *dtype, *k)),
        Op::Cast { to, saturate } => one(cast::cast(ctx, x.need(0)?, *to, *saturate)),
        Op::CastLike { saturate } => one(cast::cast(ctx, x.need(0)?, x.need(1)?.dtype(), *saturate)),
        Op::ConstantOfShape { value } => one(movement::constant_of_shape(ctx, x.need(0)?, value)),
        Op::Identity => Ok(vec![x.need(0)?.clone()]),
        Op::Dropout => movement::dropout(ctx, x.need(0)?, n_outputs > 1),
        Op::Softmax { axis } => one(softmax::softmax(ctx, x.need(0)?, *axis)),
        Op::LogSoftmax { axis } => one(softmax::log_softmax(ctx, x.need(0)?, *axis)),
        Op::Hardmax { axis } => one(softmax::hardmax(ctx, x.need(0)?, *axis)),
        Op::QuantizeLinear { axis, block_size, output_dtype, saturate } => {
            let attrs = quant::Attributes { axis: *axis, block_size: *block_size };
            one(quant::quantize(ctx, x, attrs, *output_dtype, *saturate))
        }
        Op::DequantizeLinear { axis, block_size } => {
            one(quant::dequantize(ctx, x, quant::Attributes { axis: *axis, block_size: *block_size }))
        }
        Op::DynamicQuantizeLinear { formula } => quant::dynamic_quantize(ctx, x.need(0)?, *formula),
        Op::MatMulInteger => one(integer::matmul_integer(ctx, x)),
        Op::ConvInteger(attrs) => one(integer::conv_integer(ctx, x, attrs)),
        Op::QLinearMatMul => one(integer::qlinear_matmul(ctx, x)),
        Op::QLinearConv(attrs) => one(integer::qlinear_conv(ctx, x, attrs)),
    }
}

/// The elements of an integer tensor that acts as an attribute (axes, pads, a shape).
pub(crate) fn integers(t: &Tensor, what: &str) -> Result<Vec<i64>, OpError> {
    if t.rank() > 1 {
        return Err(OpError::Shape(format!("{what} has shape {:?}, expected rank 1", t.dims())));
    }
    t.to_i64_vec().ok_or_else(|| OpError::Attribute(format!("{what} is {}, expected integers", t.dtype())))
}

/// Requires two tensors of one type.
pub(crate) fn same_dtype(a: &Tensor, b: &Tensor, what: &'static str) -> Result<(), OpError> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    Err(OpError::DType { what, got: b.dtype(), expected: a.dtype().name().into() })
}

/// A tensor of `dims` whose elements are `f` of those of `x`, one by one.
pub(crate) fn map<T: Element, U: Element>(
    ctx: &Context,
    x: &[T],
    dims: &[usize],
    f: impl Fn(T) -> U + Sync,
) -> Result<Tensor, OpError> {
    let mut out = ctx.zeros::<U>(dims)?;
    parallel::chunks(&mut out, CHUNK, 1, &|i, out| {
        for (o, v) in out.iter_mut().zip(&x[i * CHUNK..]) {
            *o = f(*v);
        }
    });
    Ok(Tensor::new(dims, out)?)
}

/// Rounds f64 values to `dtype`, which is a float type.
pub(crate) fn tensor_of_f64(dtype: DType, dims: &[usize], values: Vec<f64>) -> Result<Tensor, OpError> {
    Ok(match dtype {
        DType::F64 => Tensor::new(dims, values)?,
        DType::F16 => Tensor::new(dims, values.into_iter().map(f64_to_f16).collect::<Vec<f16>>())?,
        DType::BF16 => Tensor::new(dims, values.into_iter().map(f64_to_bf16).collect::<Vec<bf16>>())?,
        _ => Tensor::new(dims, values.into_iter().map(|v| v as f32).collect::<Vec<f32>>())?,
    })
}

/// The type in which a float operator of the inputs computes: f64 as soon as one of them is f64.
pub(crate) fn compute_dtype(inputs: &[&Tensor]) -> DType {
    if inputs.iter().any(|t| t.dtype() == DType::F64) { DType::F64 } else { DType::F32 }
}
