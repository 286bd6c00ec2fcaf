//! Tensors whose size is a matter of values.

use super::{Context, Inputs};
use crate::number::{Number, with_number, with_storage};
use crate::shape::{axis_index, numel, strides};
use crate::{OpError, Precision};
use tq_graph::infer::{integer_range_len, range_len};
use tq_graph::{Element, Tensor};
use tq_qtypes::DType;

/// The number of elements.
pub(crate) fn size(x: &Tensor) -> Result<Tensor, OpError> {
    Ok(Tensor::scalar(i64::try_from(x.len()).unwrap_or(i64::MAX)))
}

/// The only element of a tensor, which is called `what`.
fn scalar<T: Element>(t: &Tensor, what: &str) -> Result<T, OpError> {
    match t.as_slice::<T>()? {
        [v] => Ok(*v),
        v => Err(OpError::Shape(format!("{what} has {} elements, expected one", v.len()))),
    }
}

/// Numbers from `start` in steps of `delta` as long as they are before `limit`: `start + i * delta` each.
pub(crate) fn range(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let (start, limit, delta) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
    super::same_dtype(start, limit, "limit")?;
    super::same_dtype(start, delta, "delta")?;
    with_number!(start.dtype(), T => {
        let (from, to, by) = (scalar::<T>(start, "start")?, scalar::<T>(limit, "limit")?, scalar::<T>(delta, "delta")?);
        let integers = |t: &Tensor| t.to_i64_vec()?.first().copied();
        let len = match (integers(start), integers(limit), integers(delta)) {
            (Some(s), Some(l), Some(d)) => integer_range_len(s, l, d),
            _ => range_len(from.to_f64(), to.to_f64(), by.to_f64()),
        };
        let len = len.ok_or_else(|| {
            OpError::Attribute(format!("no number of steps of {by:?} leads from {from:?} to {to:?}"))
        })?;
        let mut out = ctx.zeros::<T>(&[len])?;
        for (i, o) in out.iter_mut().enumerate() {
            *o = element(from, by, i, start.dtype());
        }
        Ok(Tensor::new(&[len], out)?)
    })
}

fn element<T: Number>(from: T, by: T, i: usize, dtype: DType) -> T {
    if dtype.is_float() {
        return T::of_f64(from.to_f64() + i as f64 * by.to_f64());
    }
    // Every element lies between start and limit, so only the counter must not be rounded.
    let mut step = T::ZERO;
    let (mut left, mut square) = (i, by);
    while left > 0 {
        if left & 1 == 1 {
            step = step.plus(square);
        }
        square = square.plus(square);
        left >>= 1;
    }
    from.plus(step)
}

/// `values[1]` at each index along a new axis of `depth` elements, `values[0]` elsewhere. Indices count from the end
/// where negative; those outside are nowhere. Fractions are cut off.
pub(crate) fn one_hot(ctx: &Context, inputs: Inputs, axis: i64) -> Result<Tensor, OpError> {
    let (indices, depth, values) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
    let whole = |t: &Tensor| {
        let cut = |v: Vec<f64>| v.into_iter().map(i64::of_f64).collect();
        t.to_i64_vec().or_else(|| t.to_f64_vec().map(cut)).ok_or_else(|| OpError::DType {
            what: "an input",
            got: t.dtype(),
            expected: "a number".into(),
        })
    };
    let axis = axis_index(axis, indices.rank() + 1)?;
    let depth = match whole(depth)?.as_slice() {
        [d] => usize::try_from(*d).map_err(|_| OpError::Attribute(format!("depth is {d}")))?,
        d => return Err(OpError::Shape(format!("depth has {} elements, expected one", d.len()))),
    };
    let places = whole(indices)?;
    let mut dims = indices.dims().to_vec();
    dims.insert(axis, depth);
    let inner = numel(&indices.dims()[axis..]);
    with_storage!(values.dtype(), T => {
        let [off, on] = *values.as_slice::<T>()? else {
            return Err(OpError::Shape(format!("values have shape {:?}, expected two", values.dims())));
        };
        let mut out = ctx.filled(&dims, off)?;
        for (i, index) in places.iter().enumerate() {
            let from_start = if *index < 0 { index.saturating_add(depth as i64) } else { *index };
            if let Some(place) = usize::try_from(from_start).ok().filter(|p| *p < depth) {
                let (outer, lane) = (i / inner, i % inner);
                out[(outer * depth + place) * inner + lane] = on;
            }
        }
        Ok(Tensor::with_dtype(values.dtype(), &dims, out)?)
    })
}

/// Ones on a diagonal of a matrix of the shape of `x`.
pub(crate) fn eye_like(ctx: &Context, x: &Tensor, dtype: Option<DType>, k: i64) -> Result<Tensor, OpError> {
    let [rows, columns] = *x.dims() else {
        return Err(OpError::Shape(format!("{:?} is no matrix", x.dims())));
    };
    let dtype = match dtype.unwrap_or_else(|| x.dtype()) {
        d if ctx.precision == Precision::F64 && d.is_float() => DType::F64,
        d => d,
    };
    let mut ones = ctx.zeros::<bool>(x.dims())?;
    // A matrix without columns may have any number of rows.
    for row in 0..if columns > 0 { rows } else { 0 } {
        let column = usize::try_from((row as i64).saturating_add(k)).ok().filter(|c| *c < columns);
        if let Some(column) = column {
            ones[row * columns + column] = true;
        }
    }
    super::cast::cast(ctx, &Tensor::new(x.dims(), ones)?, dtype, true)
}

/// Where the elements are not zero: one row an axis (one for a scalar too), one column an element.
pub(crate) fn non_zero(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    let places: Vec<usize> = match x.dtype() {
        DType::Bool => nonzero_places(x.as_slice::<bool>()?, |v| v),
        dtype => with_number!(dtype, T => Ok(nonzero_places(x.as_slice::<T>()?, |v| v != T::ZERO)))?,
    };
    let rows = x.rank().max(1);
    let own = strides(x.dims());
    let mut out = ctx.zeros::<i64>(&[rows, places.len()])?;
    if !places.is_empty() {
        for (axis, row) in out.chunks_mut(places.len()).enumerate() {
            if let (Some(step), Some(len)) = (own.get(axis), x.dims().get(axis)) {
                row.iter_mut().zip(&places).for_each(|(o, place)| *o = (place / step % len) as i64);
            }
        }
    }
    Ok(Tensor::new(&[rows, places.len()], out)?)
}

fn nonzero_places<T: Element>(x: &[T], test: impl Fn(T) -> bool) -> Vec<usize> {
    (0..x.len()).filter(|i| test(x[*i])).collect()
}
