//! Walks over a block, and the rows of the lhs that they read.
#![allow(unsafe_code, reason = "one bound for a whole walk in place of one for each step")]

use super::codes::{most_byte, most_word};
use super::panel::{Block, CLASSES, Correction, Ends, STEPS, Step, segment};
use super::{GroupPair, KU};
use crate::memory::load_32;
use std::arch::x86_64::*;
use std::marker::PhantomData;

/// The classes of a block whose steps are known to stay inside it.
#[derive(Default)]
pub(super) struct Proved([bool; CLASSES]);

/// How the pairs of a block are multiplied for a class of codes. Every step stays inside the block.
pub(super) struct Walk<'a> {
    steps: &'a [[Step; STEPS]],
    ends: &'a Ends,
    /// What is added where something is multiplied by magnitude.
    pub(super) correction: &'a Correction,
    weights: &'a [GroupPair],
    groups: usize,
}

impl<'a> Walk<'a> {
    /// That of a class of a block, of which some have been `proved`. Panics where a step leads out of the block.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(block: &Block<'a>, class: usize, proved: &mut Proved) -> Self {
        let (steps, ends, correction) = block.class(class);
        if !proved.0[class] {
            let (mut places, mut weights) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for steps in steps {
                let steps = load_32(bytemuck::cast_ref::<_, [u8; 32]>(steps));
                places = _mm256_max_epu8(places, steps);
                weights = _mm256_max_epu16(weights, steps);
            }
            let place = most_byte(_mm256_and_si256(places, _mm256_set1_epi32(0xFFFF)));
            let weights = most_word(_mm256_srli_epi32::<16>(weights));
            assert!(usize::from(place) < block.groups, "a group lies outside of K");
            let end = usize::from(weights) + size_of::<GroupPair>();
            assert!(end <= size_of_val(block.weights), "weights lie outside of their block");
            proved.0[class] = true;
        }
        Self { steps, ends, correction, weights: block.weights, groups: block.groups }
    }

    /// The steps of a segment.
    #[inline(always)]
    pub(super) fn segment(&self, number: usize) -> impl Iterator<Item = Inside<'a>> {
        segment(self.steps, self.ends, number).iter().map(Inside)
    }

    /// There are steps in segment `number` or behind it.
    #[inline(always)]
    pub(super) fn reaches(&self, number: usize) -> bool {
        usize::from(self.ends[number - 1]) < self.weights.len()
    }

    /// The weights of a step of this walk.
    #[inline(always)]
    pub(super) fn weights(&self, step: Inside) -> &'a GroupPair {
        let at = usize::from(u16::from_ne_bytes(step.0.weights));
        // SAFETY: only this type makes steps of this kind, and `new` proved that a pair of groups that begins `at` bytes from the first weight on ends within the weights, which
        // live for `'a`. Arrays of bytes are aligned anywhere.
        unsafe { &*self.weights.as_ptr().byte_add(at) }
    }
}

/// A step of a [`Walk`], which proved it.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a>(&'a Step);

/// `R` rows of groups of KU codes, which are read at the places of a walk.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const R: usize> {
    first: *const u8,
    stride: usize,
    _codes: PhantomData<&'a [u8]>,
}

impl<'a, const R: usize> Rows<'a, R> {
    /// Rows whose groups begin with code `from` of each; the rows are `stride` codes apart.
    ///
    /// Panics where `data` is too short for the groups of `walk`.
    #[inline]
    pub(super) fn new(data: &'a [u8], stride: usize, from: usize, walk: &Walk) -> Self {
        let data = &data[from..];
        let len = walk.groups.checked_mul(KU);
        let end = stride.checked_mul(R - 1).and_then(|start| start.checked_add(len?));
        assert!(end.is_some_and(|end| end <= data.len()), "rows of the lhs are too short");
        Self { first: data.as_ptr(), stride, _codes: PhantomData }
    }

    /// The groups of a pair: what each has in row after row.
    #[inline(always)]
    pub(super) fn pair(&self, step: Inside) -> [impl Fn(usize) -> [u8; KU]; 2] {
        step.0.places.map(|place| move |row: usize| self.group(row, place))
    }

    /// The group at `place`, which is one of the walk's places, of row `row`; of the last one where there is none.
    #[inline(always)]
    fn group(&self, row: usize, place: u8) -> [u8; KU] {
        let (row, place) = (row.min(R - 1), usize::from(place));
        // SAFETY: `new` proved that `(R - 1) * stride + groups * KU` codes from `first` on lie in one slice, which lives for
        // `'a`, and `Walk::new` that all places are below `groups`. With `row <= R - 1` the KU codes end within them. An
        // array of bytes is aligned anywhere.
        unsafe { self.first.add(row * self.stride + place * KU).cast::<[u8; KU]>().read() }
    }
}
