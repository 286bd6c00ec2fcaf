//! Which parameters an element of a tensor uses.

use crate::{DType, Granularity, QTypeError};
use std::ops::Range;

/// Number of elements of a shape.
///
/// # Errors
/// [`QTypeError::TooLarge`] when a tensor of that many f32 elements would not fit memory.
pub(crate) fn numel(dims: &[usize]) -> Result<usize, QTypeError> {
    DType::F32.checked_numel(dims).ok_or_else(|| QTypeError::TooLarge { dims: dims.to_vec() })
}

/// Index of the scale and zero point that element `index` (row-major) of a tensor uses.
///
/// Made once a tensor by [`ParamIndex::new`], so that loops need neither the shape nor the granularity.
#[derive(Debug, Clone, Copy)]
pub struct ParamIndex {
    /// Elements below the axis.
    inner: usize,
    /// Length of the axis.
    axis_len: usize,
    /// Indices of the axis that share parameters.
    group: usize,
    /// Parameters along the axis.
    groups: usize,
    /// False where all positions of the other axes share parameters.
    per_position: bool,
}

/// Elements that follow each other and either share their parameters or use parameters that follow each other too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The elements, row-major.
    pub elements: Range<usize>,
    /// Parameters of the first element.
    pub param: usize,
    /// True where all of them use `param`; false where each next element uses the next parameters.
    pub shared: bool,
}

impl ParamIndex {
    /// The index map of `granularity` on a tensor of shape `dims`.
    ///
    /// # Errors
    /// As [`Granularity::param_count`].
    pub fn new(granularity: Granularity, dims: &[usize]) -> Result<Self, QTypeError> {
        granularity.param_count(dims)?;
        // `param_count` has checked the axis and the product of the dimensions that are not zero.
        let inner = |axis: usize| dims[axis + 1..].iter().filter(|d| **d != 0).product::<usize>();
        Ok(match granularity {
            // No element is beyond the first block of all.
            Granularity::PerTensor => {
                Self { inner: usize::MAX, axis_len: 1, group: 1, groups: 1, per_position: false }
            }
            Granularity::PerChannel { axis } => Self {
                inner: inner(axis),
                axis_len: dims[axis].max(1),
                group: 1,
                groups: dims[axis],
                per_position: false,
            },
            Granularity::PerGroup { axis, group_size } => Self {
                inner: inner(axis),
                axis_len: dims[axis].max(1),
                group: group_size,
                groups: dims[axis].div_ceil(group_size),
                per_position: true,
            },
        })
    }

    /// Which parameters element `index` uses.
    #[must_use]
    pub fn of(&self, index: usize) -> usize {
        let row = index / self.inner;
        let along = (row % self.axis_len) / self.group;
        if self.per_position {
            ((row / self.axis_len) * self.groups + along) * self.inner + index % self.inner
        } else {
            along
        }
    }

    /// The elements of `elements` cut into the longest runs, in order.
    pub fn runs(&self, elements: Range<usize>) -> impl Iterator<Item = Run> + '_ {
        let mut next = elements.start;
        std::iter::from_fn(move || {
            if next >= elements.end {
                return None;
            }
            let start = next;
            let (row, below) = (start / self.inner, start % self.inner);
            let along = row % self.axis_len;
            let (len, shared) = match (self.per_position, self.inner) {
                (false, 1) => (self.axis_len - along, false),
                (false, inner) => (inner - below, true),
                (true, 1) => {
                    let end = (along / self.group + 1).saturating_mul(self.group).min(self.axis_len);
                    (end - along, true)
                }
                (true, inner) => (inner - below, false),
            };
            next = start + len.min(elements.end - start);
            Some(Run { elements: start..next, param: self.of(start), shared })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn groups_follow_the_block_grid_with_a_ragged_end() {
        // Shape 2x5, groups of 2 along axis 1: three scales a row.
        let g = Granularity::PerGroup { axis: 1, group_size: 2 };
        assert_eq!(g.param_count(&[2, 5]).unwrap(), 6);
        let index = ParamIndex::new(g, &[2, 5]).unwrap();
        let got: Vec<usize> = (0..10).map(|i| index.of(i)).collect();
        assert_eq!(got, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]);
        // Along axis 0 each column has its own scales.
        let g = Granularity::PerGroup { axis: 0, group_size: 2 };
        let index = ParamIndex::new(g, &[3, 2]).unwrap();
        let got: Vec<usize> = (0..6).map(|i| index.of(i)).collect();
        assert_eq!(got, [0, 1, 0, 1, 2, 3]);
    }

    #[test]
    fn impossible_shapes_are_errors_even_beside_a_zero() {
        let group = Granularity::PerGroup { axis: 0, group_size: 1 };
        for dims in [&[usize::MAX, 2][..], &[0, usize::MAX, 2], &[2, 0, usize::MAX / 4]] {
            assert!(matches!(ParamIndex::new(group, dims), Err(QTypeError::TooLarge { .. })), "{dims:?}");
        }
        assert_eq!(group.param_count(&[0, 7]), Ok(0));
    }

    /// A granularity that fits a shape of three axes.
    fn granularity() -> impl Strategy<Value = Granularity> {
        prop_oneof![
            Just(Granularity::PerTensor),
            (0usize..3).prop_map(|axis| Granularity::PerChannel { axis }),
            (0usize..3, prop_oneof![1usize..6, Just(usize::MAX)])
                .prop_map(|(axis, group_size)| Granularity::PerGroup { axis, group_size }),
        ]
    }

    proptest! {
        #[test]
        fn runs_say_what_of_says(
            dims in proptest::array::uniform3(1usize..6),
            granularity in granularity(),
            cut in 0usize..120,
            len in 0usize..120,
        ) {
            let index = ParamIndex::new(granularity, &dims).unwrap();
            let numel: usize = dims.iter().product();
            let elements = cut.min(numel)..(cut + len).min(numel);
            let mut next = elements.start;
            for run in index.runs(elements.clone()) {
                prop_assert_eq!(run.elements.start, next);
                prop_assert!(!run.elements.is_empty());
                for (k, i) in run.elements.clone().enumerate() {
                    prop_assert_eq!(index.of(i), run.param + if run.shared { 0 } else { k });
                }
                next = run.elements.end;
            }
            prop_assert_eq!(next, elements.end.max(elements.start));
            // The written-out definition.
            let count = granularity.param_count(&dims).unwrap();
            for i in 0..numel {
                let at = [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
                let want = match granularity {
                    Granularity::PerTensor => 0,
                    Granularity::PerChannel { axis } => at[axis],
                    Granularity::PerGroup { axis, group_size } => {
                        let (mut grid, mut block) = (dims, at);
                        grid[axis] = dims[axis].div_ceil(group_size);
                        block[axis] /= group_size;
                        (block[0] * grid[1] + block[1]) * grid[2] + block[2]
                    }
                };
                prop_assert_eq!(index.of(i), want);
                prop_assert!(want < count);
            }
        }
    }
}
