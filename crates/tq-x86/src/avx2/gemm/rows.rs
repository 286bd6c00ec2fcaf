//! Rows of the lhs, read in groups of K.
#![allow(unsafe_code, reason = "one bound for all rows and places in place of one for each")]

use super::KU;
use crate::memory::{first, load_16};
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// `R` rows of groups of KU codes, and places of groups that lie within them.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const R: usize> {
    first: *const u8,
    stride: usize,
    places: &'a [[u8; 2]],
    _codes: PhantomData<&'a [u8]>,
}

/// The place of a group that lies within rows.
#[derive(Clone, Copy)]
pub(super) struct Place<'r>(usize, PhantomData<&'r ()>);

impl<'a, const R: usize> Rows<'a, R> {
    /// `groups` groups, one at least, from code `from` of each row on; the rows are `stride` codes apart. Groups are read where
    /// `places` says.
    ///
    /// Panics where `data` is too short, and where a place is not below `groups`.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(
        data: &'a [u8],
        stride: usize,
        from: usize,
        groups: usize,
        places: &'a [[u8; 2]],
    ) -> Self {
        let data = &data[from..];
        let end = stride.checked_mul(R - 1).and_then(|start| start.checked_add(groups.checked_mul(KU)?));
        assert!(groups > 0 && end.is_some_and(|end| end <= data.len()), "rows of the lhs are too short");
        assert!(usize::from(largest(places.as_flattened())) < groups, "a group lies outside the rows");
        Self { first: data.as_ptr(), stride, places, _codes: PhantomData }
    }

    /// The places of pair `pair`. Panics where there is none.
    #[inline(always)]
    pub(super) fn places(&self, pair: usize) -> [Place<'_>; 2] {
        self.places[pair].map(|place| Place(usize::from(place), PhantomData))
    }

    /// The group at `place` of row `row`, or of the last one where there is none.
    #[inline(always)]
    pub(super) fn group(&self, row: usize, place: Place<'_>) -> [u8; KU] {
        let row = row.min(R - 1);
        // SAFETY: `new` proved that `(R - 1) * stride + groups * KU` codes from `first` on lie in one slice, which lives for
        // `'a`, and that all places are below `groups`: a `Place` is one of these, or of rows that `places` was called on
        // while it lived. With `row <= R - 1` the KU codes end within them. An array of bytes is aligned anywhere.
        unsafe { self.first.add(row * self.stride + place.0 * KU).cast::<[u8; KU]>().read() }
    }
}

/// The largest of some bytes, 0 of none.
#[inline]
#[target_feature(enable = "avx2")]
fn largest(bytes: &[u8]) -> u8 {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let mut largest = _mm_setzero_si128();
    for chunk in chunks {
        largest = _mm_max_epu8(largest, load_16(chunk));
    }
    if bytes.len() >= 16 {
        largest = _mm_max_epu8(largest, load_16(first(&bytes[bytes.len() - 16..])));
    } else {
        return rest.iter().copied().fold(0, u8::max);
    }
    let complement = _mm_xor_si128(largest, _mm_set1_epi8(-1));
    let words = _mm_min_epu8(complement, _mm_srli_epi16::<8>(complement));
    !(_mm_cvtsi128_si32(_mm_minpos_epu16(words)) as u8)
}
