//! Shapes: axes, strides, broadcasting.

use crate::OpError;

/// An axis that may count from the end, as an index.
///
/// # Errors
/// [`OpError::Attribute`] when it is outside `-rank..rank`.
pub(crate) fn axis_index(axis: i64, rank: usize) -> Result<usize, OpError> {
    let bad = || OpError::Attribute(format!("axis {axis} is outside a tensor of rank {rank}"));
    let signed_rank = i64::try_from(rank).map_err(|_| bad())?;
    let index = if axis < 0 { axis.checked_add(signed_rank).ok_or_else(bad)? } else { axis };
    usize::try_from(index).ok().filter(|i| *i < rank).ok_or_else(bad)
}

/// Several axes, each given once, as indices in the given order.
///
/// # Errors
/// [`OpError::Attribute`] when one is outside, or given twice.
pub(crate) fn axis_indices(axes: &[i64], rank: usize) -> Result<Vec<usize>, OpError> {
    let mut seen = vec![false; rank];
    axes.iter()
        .map(|a| {
            let index = axis_index(*a, rank)?;
            if std::mem::replace(&mut seen[index], true) {
                return Err(OpError::Attribute(format!("axis {a} is given twice")));
            }
            Ok(index)
        })
        .collect()
}

/// Row-major strides, in elements.
pub(crate) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut out = vec![1usize; dims.len()];
    for i in (1..dims.len()).rev() {
        // Beside a zero dimension the product may be anything: such strides are never used.
        out[i - 1] = out[i].saturating_mul(dims[i]);
    }
    out
}

/// The shape to which both broadcast, as in numpy.
///
/// # Errors
/// [`OpError::Shape`] when they do not.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, OpError> {
    let rank = a.len().max(b.len());
    (0..rank)
        .map(|i| match (dim_from(a, rank, i), dim_from(b, rank, i)) {
            (x, y) if x == y => Ok(x),
            (1, y) => Ok(y),
            (x, 1) => Ok(x),
            _ => Err(OpError::Shape(format!("shapes {a:?} and {b:?} do not broadcast"))),
        })
        .collect()
}

/// Dimension `i` of `dims` when it is extended on the left to `rank`.
fn dim_from(dims: &[usize], rank: usize, i: usize) -> usize {
    let missing = rank - dims.len();
    if i < missing { 1 } else { dims[i - missing] }
}

/// Strides of a tensor of shape `dims` read as if it had shape `target`: zero along repeated axes.
/// `dims` must broadcast to `target`.
pub(crate) fn broadcast_strides(dims: &[usize], target: &[usize]) -> Vec<usize> {
    let missing = target.len() - dims.len();
    let own = strides(dims);
    (0..target.len())
        .map(|i| if i < missing || dims[i - missing] == 1 { 0 } else { own[i - missing] })
        .collect()
}

/// Whether `dims` broadcasts to `target` without changing it.
pub(crate) fn broadcasts_to(dims: &[usize], target: &[usize]) -> bool {
    broadcast(dims, target).is_ok_and(|d| d == target)
}

/// Adjacent axes along which every operand moves evenly, merged; axes of length 1 left out.
/// Each entry holds the length and the stride of every operand.
pub(crate) fn coalesce<const N: usize>(dims: &[usize], strides: [&[usize]; N]) -> Vec<(usize, [usize; N])> {
    let mut out: Vec<(usize, [usize; N])> = Vec::with_capacity(dims.len());
    for (i, &len) in dims.iter().enumerate() {
        if len == 1 {
            continue;
        }
        let step = strides.map(|s| s[i]);
        if let Some((last_len, last_step)) = out.last_mut()
            && (0..N).all(|n| step[n].checked_mul(len) == Some(last_step[n]))
        {
            *last_len *= len;
            *last_step = step;
            continue;
        }
        out.push((len, step));
    }
    out
}

/// Product of dimensions that are known to fit memory.
pub(crate) fn numel(dims: &[usize]) -> usize {
    dims.iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_the_end_and_stand_once() {
        assert_eq!(axis_index(-1, 3), Ok(2));
        assert!(axis_index(3, 3).is_err());
        assert!(axis_index(i64::MIN, 3).is_err());
        assert!(axis_index(0, 0).is_err());
        assert!(axis_indices(&[0, -3], 3).is_err());
    }

    #[test]
    fn broadcasting_is_numpys() {
        assert_eq!(broadcast(&[3, 1], &[2, 1, 4]), Ok(vec![2, 3, 4]));
        assert_eq!(broadcast(&[0], &[1]), Ok(vec![0]));
        assert!(broadcast(&[0], &[2]).is_err());
        assert_eq!(broadcast_strides(&[3, 1], &[2, 3, 4]), [0, 1, 0]);
    }

    #[test]
    fn even_axes_merge() {
        let dims = [2, 3, 4, 5];
        let a = strides(&dims);
        let b = broadcast_strides(&[3, 1, 1], &dims);
        assert_eq!(coalesce(&dims, [&a, &b]), [(2, [60, 0]), (3, [20, 1]), (20, [1, 0])]);
    }
}
