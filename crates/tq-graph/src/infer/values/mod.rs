//! Symbolic values of small integer tensors.
//!
//! Shape arithmetic is ordinary operators on tensors of i64; following their elements as expressions makes the
//! shapes known that they are used for.

mod elementwise;
mod movement;
mod reduce;

use super::context::{Context, Fact, normalize_axis};
use super::movement::shape_range;
use crate::op::Op;
use crate::{Dim, Tensor};
use ndarray::{ArrayD, ArrayViewD, Axis, IxDyn};
use std::rc::Rc;
use tq_qtypes::DType;

/// The elements of a tensor.
pub(super) type Content = Rc<ArrayD<Dim>>;

/// Elements up to which tensors are followed.
const MAX_ELEMENTS: usize = 4096;

/// Elements up to which tensors with symbolic elements, and constants of other types than i64, are followed;
/// shapes are far smaller.
const MAX_SYMBOLIC: usize = 256;

/// The contents of a constant, when it is a small tensor of integers.
pub(super) fn of_constant(tensor: &Tensor) -> Option<Content> {
    // Other types than that of shapes are biases or codes, except the short ones.
    let limit = if tensor.dtype() == DType::I64 { MAX_ELEMENTS } else { MAX_SYMBOLIC };
    if extent(tensor.dims()).is_none_or(|n| n > limit) {
        return None;
    }
    let dims = tensor.to_i64_vec()?.into_iter().map(Dim::from).collect();
    ArrayD::from_shape_vec(IxDyn(tensor.dims()), dims).ok().map(Rc::new)
}

/// The number of elements, axes of length 0 not counted: beside one of these the others can be of any length, which
/// array functions do not take.
fn extent(dims: &[usize]) -> Option<usize> {
    dims.iter().filter(|d| **d > 0).try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// The numbers, if all are known.
pub(super) fn known(content: &ArrayD<Dim>) -> Option<Vec<i64>> {
    content.iter().map(Dim::known).collect()
}

/// The constant of this type that the contents are, if all are known and the type can hold them.
pub(super) fn to_tensor(content: &ArrayD<Dim>, dtype: DType) -> Option<Tensor> {
    let values = known(content)?;
    let dims = content.shape();
    fn convert<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
        values.iter().map(|v| T::try_from(*v).ok()).collect()
    }
    match dtype {
        DType::I64 => Tensor::new(dims, values),
        DType::U64 => Tensor::new(dims, convert::<u64>(&values)?),
        DType::I32 => Tensor::new(dims, convert::<i32>(&values)?),
        DType::U32 => Tensor::new(dims, convert::<u32>(&values)?),
        DType::I16 => Tensor::new(dims, convert::<i16>(&values)?),
        DType::U16 => Tensor::new(dims, convert::<u16>(&values)?),
        DType::I8 | DType::I4 | DType::I2 => Tensor::with_dtype(dtype, dims, convert::<i8>(&values)?),
        DType::U8 | DType::U4 | DType::U2 => Tensor::with_dtype(dtype, dims, convert::<u8>(&values)?),
        DType::Bool => {
            let flags = values.iter().map(|v| u8::try_from(*v).ok().filter(|v| *v <= 1).map(|v| v == 1));
            Tensor::new(dims, flags.collect::<Option<Vec<bool>>>()?)
        }
        _ => return None,
    }
    .ok()
}

/// Smallest and largest value of a type that contents can have.
fn range_of(dtype: DType) -> Option<(i64, i64)> {
    match dtype {
        DType::I64 => Some((i64::MIN, i64::MAX)),
        DType::U64 => Some((0, i64::MAX)),
        DType::U32 => Some((0, i64::from(u32::MAX))),
        DType::Bool => Some((0, 1)),
        d => d.quant_range().map(|(lo, hi)| (i64::from(lo), i64::from(hi))),
    }
}

/// The contents, when they are small enough and tensors of this type hold them without wrapping.
fn conform(content: ArrayD<Dim>, dtype: DType) -> Option<Content> {
    let (lo, hi) = range_of(dtype)?;
    let mut symbolic = false;
    for d in &content {
        match d.known() {
            Some(n) if n < lo || n > hi => return None,
            Some(_) => {}
            // Sizes fit the signed types that shapes are made of; smaller types might wrap.
            None if matches!(dtype, DType::I64 | DType::I32) => symbolic = true,
            None => return None,
        }
    }
    let limit = if symbolic { MAX_SYMBOLIC } else { MAX_ELEMENTS };
    extent(content.shape()).is_some_and(|n| n <= limit).then(|| Rc::new(content))
}

/// The contents of the outputs of a node, whose types and shapes have been inferred.
pub(super) fn of_outputs(ctx: &Context<'_>, facts: &[Fact]) -> Vec<Option<Content>> {
    let mut out: Vec<Option<Content>> = facts.iter().map(|_| None).collect();
    if let Op::Split { axis } = ctx.node.op {
        movement::split(ctx, axis, facts, &mut out);
    } else if let (Some(fact), Some(slot)) = (facts.first(), out.first_mut()) {
        *slot = match (fact.dtype, single(ctx, fact)) {
            (Some(dtype), Some(content)) => conform(content, dtype),
            _ => None,
        };
    }
    out
}

/// The contents of the only output.
fn single(ctx: &Context<'_>, fact: &Fact) -> Option<ArrayD<Dim>> {
    match &ctx.node.op {
        Op::Identity | Op::Squeeze | Op::Unsqueeze | Op::Reshape { .. } | Op::Flatten { .. } => {
            let dims = crate::dim::known_shape(fact.shape.as_ref()?)?;
            let content = ctx.content(0)?;
            ArrayD::from_shape_vec(IxDyn(&dims), content.iter().cloned().collect()).ok()
        }
        Op::Cast { .. } | Op::CastLike { .. } => elementwise::cast(ctx.content(0)?, fact.dtype?),
        Op::Unary(op) => elementwise::unary(*op, ctx.content(0)?),
        Op::Binary(op) => elementwise::binary(*op, ctx.content(0)?, ctx.content(1)?),
        Op::Compare(op) => elementwise::compare(*op, ctx.content(0)?, ctx.content(1)?),
        Op::Logic(op) => elementwise::logic(*op, ctx.content(0)?, ctx.content(1)?),
        Op::Not => elementwise::not(ctx.content(0)?),
        Op::Where => elementwise::choose(ctx.content(0)?, ctx.content(1)?, ctx.content(2)?),
        Op::Variadic(op) => elementwise::variadic(ctx, *op),
        Op::Reduce { kind, .. } => reduce::reduce(ctx, fact, *kind),
        Op::Range => reduce::range(ctx),
        Op::Size => {
            let size = ctx.shape(0)?.iter().try_fold(Dim::from(1i64), |p, d| p.checked_mul(d))?;
            Some(ArrayD::from_elem(IxDyn(&[]), size))
        }
        Op::Expand => movement::expand(ctx, fact),
        Op::Tile => movement::tile(ctx, fact),
        Op::NonZero => movement::non_zero(ctx),
        Op::Shape { start, end } => {
            let input = ctx.shape(0)?;
            let dims = input.get(shape_range(*start, *end, input.len()))?.to_vec();
            ArrayD::from_shape_vec(IxDyn(&[dims.len()]), dims).ok()
        }
        Op::ConstantOfShape { value } => {
            let element = Dim::from(*value.to_i64_vec()?.first()?);
            let dims = crate::dim::known_shape(fact.shape.as_ref()?)?;
            (extent(&dims)? <= MAX_ELEMENTS).then(|| ArrayD::from_elem(IxDyn(&dims), element))
        }
        Op::Transpose { perm } => {
            let content = ctx.content(0)?;
            let axes = match perm {
                Some(perm) => perm.clone(),
                None => (0..content.ndim()).rev().collect(),
            };
            // A valid permutation, since the shape has been inferred.
            Some(content.view().permuted_axes(IxDyn(&axes)).as_standard_layout().into_owned())
        }
        Op::Concat { axis } => {
            let parts: Option<Vec<&Content>> = (0..ctx.node.inputs.len()).map(|i| ctx.content(i)).collect();
            let parts = parts?;
            let total = parts.iter().try_fold(0usize, |n, p| n.checked_add(p.len()))?;
            let axis = normalize_axis(*axis, parts.first()?.ndim())?;
            let views: Vec<ArrayViewD<'_, Dim>> = parts.iter().map(|p| p.view()).collect();
            if total > MAX_ELEMENTS {
                return None;
            }
            ndarray::concatenate(Axis(axis), &views).ok()
        }
        Op::Gather { axis } => movement::gather(ctx, *axis),
        Op::Slice => movement::slice(ctx),
        _ => None,
    }
}
