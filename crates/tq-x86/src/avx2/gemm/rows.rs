//! Rows of the lhs, read in groups of K.
#![allow(unsafe_code, reason = "one bound for all rows in place of one for each")]

use super::KU;
use std::marker::PhantomData;

/// `R` rows of groups of KU elements.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T, const R: usize> {
    first: *const T,
    stride: usize,
    last_group: usize,
    _elements: PhantomData<&'a [T]>,
}

impl<'a, T: bytemuck::Pod, const R: usize> Rows<'a, T, R> {
    /// `groups` groups, one at least, from element `from` of each row on; the rows are `stride` elements apart.
    ///
    /// Panics where `data` is too short.
    #[inline]
    pub(super) fn new(data: &'a [T], stride: usize, from: usize, groups: usize) -> Self {
        let data = &data[from..];
        let end = stride.checked_mul(R - 1).and_then(|start| start.checked_add(groups.checked_mul(KU)?));
        assert!(groups > 0 && end.is_some_and(|end| end <= data.len()), "rows of the lhs are too short");
        Self { first: data.as_ptr(), stride, last_group: groups - 1, _elements: PhantomData }
    }

    /// The rows from row `row` on, `P` of them. Panics where there are not so many.
    #[inline]
    pub(super) fn starting_at<const P: usize>(&self, row: usize) -> Rows<'a, T, P> {
        assert!(P > 0 && row + P <= R, "rows of the lhs are too few");
        // SAFETY: `row` is a row, so its first element lies in the slice that `new` looked at; the rows behind it do too.
        let first = unsafe { self.first.add(row * self.stride) };
        Rows { first, stride: self.stride, last_group: self.last_group, _elements: PhantomData }
    }

    /// Group `group` of row `row`; the last one of either where there is none.
    #[inline]
    pub(super) fn group(&self, row: usize, group: u8) -> [T; KU] {
        let (row, group) = (row.min(R - 1), usize::from(group).min(self.last_group));
        // SAFETY: `new` proved that `(R - 1) * stride + (last_group + 1) * KU` elements from `first` on lie in one slice,
        // which lives for `'a`. With `row <= R - 1` and `group <= last_group` the KU elements end within them. An
        // array is no more aligned than its elements.
        unsafe { self.first.add(row * self.stride + group * KU).cast::<[T; KU]>().read() }
    }
}
