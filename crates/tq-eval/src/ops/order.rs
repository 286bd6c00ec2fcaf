//! Operators that compare the elements of a line: ArgMax, ArgMin, TopK.

use super::lanes::{lanes, one_integer};
use super::{Context, Inputs, gather};
use crate::OpError;
use crate::number::{Number, with_number};
use crate::shape::axis_index;
use std::cmp::Ordering;
use tq_graph::Tensor;
use tq_graph::op::ArgAttrs;

/// The order of numbers, in which NaN is above all others.
fn compare<T: Number>(a: &T, b: &T) -> Ordering {
    let nan = |v: &T| v.partial_cmp(v).is_none();
    a.partial_cmp(b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
}

/// Where the largest (or smallest) element of a line is, the first or the last of equal ones. As in numpy, NaN is
/// both the largest and the smallest.
pub(super) fn best<T: Number>(x: &[T], largest: bool, last: bool) -> Option<usize> {
    let nan = |v: &T| v.partial_cmp(v).is_none();
    let order = |a: &T, b: &T| match (nan(a) || nan(b), largest) {
        (false, false) => compare(b, a),
        _ => compare(a, b),
    };
    (0..x.len()).reduce(|best, i| match order(&x[i], &x[best]) {
        Ordering::Greater => i,
        Ordering::Equal if last => i,
        _ => best,
    })
}

/// ArgMax and ArgMin.
pub(crate) fn arg(ctx: &Context, x: &Tensor, attrs: ArgAttrs, largest: bool) -> Result<Tensor, OpError> {
    let axis = axis_index(attrs.axis, x.rank())?;
    if x.dims()[axis] == 0 {
        return Err(OpError::Shape(format!("axis {axis} of {:?} has no element to choose from", x.dims())));
    }
    let mut dims = x.dims().to_vec();
    dims[axis] = 1;
    let found = with_number!(x.dtype(), T => {
        lanes::<T, i64>(ctx, x, axis, &dims, |x, out| {
            let place = best(x, largest, attrs.select_last).unwrap_or(0);
            out.fill(place as i64);
        })
    })?;
    if !attrs.keep_dims {
        dims.remove(axis);
    }
    Ok(Tensor::new(&dims, found)?)
}

/// The first `k` elements along an axis in order, and where they were. NaN counts as the largest number.
pub(crate) fn top_k(ctx: &Context, inputs: Inputs, axis: i64, largest: bool) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.need(0)?;
    let axis = axis_index(axis, x.rank())?;
    let k = one_integer(inputs.need(1)?, "k")?;
    let mut dims = x.dims().to_vec();
    let Some(k) = usize::try_from(k).ok().filter(|k| *k <= dims[axis]) else {
        return Err(OpError::Attribute(format!("k is {k} for {} elements on axis {axis}", dims[axis])));
    };
    dims[axis] = k;
    let places = with_number!(x.dtype(), T => {
        lanes::<T, i64>(ctx, x, axis, &dims, |x, out| top(x, largest, out))
    })?;
    let places = Tensor::new(&dims, places)?;
    let values = gather::gather_elements(ctx, x, &places, axis as i64)?;
    Ok(vec![values, places])
}

fn top<T: Number>(x: &[T], largest: bool, out: &mut [i64]) {
    let order = |a: &usize, b: &usize| {
        let by_value = if largest { compare(&x[*b], &x[*a]) } else { compare(&x[*a], &x[*b]) };
        by_value.then(a.cmp(b))
    };
    let mut places: Vec<usize> = (0..x.len()).collect();
    if let Some(last) = out.len().checked_sub(1).filter(|_| out.len() < places.len()) {
        places.select_nth_unstable_by(last, order);
        places.truncate(out.len());
    }
    places.sort_unstable_by(order);
    out.iter_mut().zip(places).for_each(|(o, place)| *o = place as i64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_found_first_and_sorted_above_infinity() {
        let x = [1.0f32, f32::NAN, f32::INFINITY, f32::NAN, -1.0, 1.0];
        assert_eq!((best(&x, true, false), best(&x, true, true)), (Some(1), Some(3)));
        assert_eq!((best(&x, false, false), best(&x, false, true)), (Some(1), Some(3)));
        assert_eq!(best::<f32>(&[], true, false), None);
        let mut out = [0; 4];
        top(&x, true, &mut out);
        assert_eq!(out, [1, 3, 2, 0]);
        top(&x, false, &mut out);
        assert_eq!(out, [4, 0, 5, 2]);
    }
}
