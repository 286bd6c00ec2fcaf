//! Rows of the lhs, read in groups of K.
#![allow(unsafe_code, reason = "one bound for all rows and places in place of one for each")]

use super::KU;
use super::codes::largest;
use std::marker::PhantomData;

/// Where the groups of a block belong in K, in pairs: each of `groups` groups.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pairs: &'a [[u8; 2]],
    groups: usize,
}

impl<'a> Places<'a> {
    /// Panics where a place is not below `groups`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(pairs: &'a [[u8; 2]], groups: usize) -> Self {
        assert!(usize::from(largest(pairs.as_flattened())) < groups, "a group lies outside of K");
        Self { pairs, groups }
    }

    /// How many pairs.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }
}

/// `R` rows of groups of KU codes, which are read at [`Places`].
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const R: usize> {
    first: *const u8,
    stride: usize,
    places: Places<'a>,
    _codes: PhantomData<&'a [u8]>,
}

impl<'a, const R: usize> Rows<'a, R> {
    /// Rows whose groups begin with code `from` of each; the rows are `stride` codes apart.
    ///
    /// Panics where `data` is too short.
    #[inline]
    pub(super) fn new(data: &'a [u8], stride: usize, from: usize, places: Places<'a>) -> Self {
        let data = &data[from..];
        let len = places.groups.checked_mul(KU);
        let end = stride.checked_mul(R - 1).and_then(|start| start.checked_add(len?));
        assert!(end.is_some_and(|end| end <= data.len()), "rows of the lhs are too short");
        Self { first: data.as_ptr(), stride, places, _codes: PhantomData }
    }

    /// The groups of pair `pair`: what each has in row after row. Panics where there is none.
    #[inline(always)]
    pub(super) fn pair(&self, pair: usize) -> [impl Fn(usize) -> [u8; KU]; 2] {
        self.places.pairs[pair].map(|place| move |row: usize| self.group(row, place))
    }

    /// The group at `place`, which is one of these rows' places, of row `row`; of the last one where there is none.
    #[inline(always)]
    fn group(&self, row: usize, place: u8) -> [u8; KU] {
        let (row, place) = (row.min(R - 1), usize::from(place));
        // SAFETY: `new` proved that `(R - 1) * stride + groups * KU` codes from `first` on lie in one slice, which lives for
        // `'a`, and `Places::new` that all places are below `groups`. With `row <= R - 1` the KU codes end within them. An
        // array of bytes is aligned anywhere.
        unsafe { self.first.add(row * self.stride + place * KU).cast::<[u8; KU]>().read() }
    }
}
