//! Walks over a block, and the rows of the lhs that they read.
#![allow(unsafe_code, reason = "one bound for a whole walk in place of one for each step")]

use super::panel::{Block, CLASSES, Correction, Segments, Step};
use super::{GroupPair, KU};
use crate::memory::load_32;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use tq_kernels::LhsRows;

/// The walks over a block that have been asked for, by class.
pub(super) struct Walks<'a, 'b> {
    block: &'b Block<'a>,
    walks: [Option<Walk<'a>>; CLASSES],
}

impl<'a, 'b> Walks<'a, 'b> {
    /// None yet.
    pub(super) fn new(block: &'b Block<'a>) -> Self {
        Self { block, walks: [const { None }; CLASSES] }
    }

    /// That of a class. Panics where a step leads out of the block.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(&mut self, class: usize) -> &Walk<'a> {
        let walk = &mut self.walks[class];
        match walk {
            Some(walk) => walk,
            None => walk.insert(Walk::new(self.block, class)),
        }
    }
}

/// How the pairs of a block are multiplied for a class of codes. Every step stays inside the block.
pub(super) struct Walk<'a> {
    steps: &'a [Step],
    segments: &'a Segments,
    /// What is added where something is multiplied by magnitude.
    pub(super) correction: &'a Correction,
    weights: &'a [GroupPair],
}

impl<'a> Walk<'a> {
    /// That of a class of a block. Panics where a step leads out of the block.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(block: &Block<'a>, class: usize) -> Self {
        let (steps, segments, correction) = block.class(class);
        let (mut places, mut offsets) = (_mm256_setzero_si256(), _mm256_setzero_si256());
        for steps in steps {
            let steps = load_32(bytemuck::cast_ref::<_, [u8; 32]>(steps));
            places = _mm256_max_epu8(places, steps);
            offsets = _mm256_max_epu16(offsets, steps);
        }
        // What is left above the last group and the last pair: in the two bytes of places, and in the word of the offset of weights. A
        // block has at most 256 groups, the last of which fits a byte, and 128 pairs, where the last of which begins fits a word; one
        // without weights has no steps.
        debug_assert!(block.groups <= 1 << u8::BITS && size_of_val(block.weights) <= 1 << u16::BITS);
        let last_place = block.groups as i32 - 1;
        let last_offset = size_of_val(block.weights) as i32 - size_of::<GroupPair>() as i32;
        let last_place = _mm256_set1_epi32(last_place | last_place << 8 | 0xFFFF << 16);
        let last_offset = _mm256_set1_epi32(last_offset << 16 | 0xFFFF);
        let above =
            _mm256_or_si256(_mm256_subs_epu8(places, last_place), _mm256_subs_epu16(offsets, last_offset));
        assert!(_mm256_testz_si256(above, above) == 1, "a step leads out of its block");
        Self { steps: steps.as_flattened(), segments, correction, weights: block.weights }
    }

    /// One of the segments `from..to` has steps.
    #[inline(always)]
    pub(super) fn any(&self, from: usize, to: usize) -> bool {
        self.segments.any(from, to)
    }

    /// The steps of a segment.
    #[inline(always)]
    pub(super) fn segment(&self, number: usize) -> impl Iterator<Item = Inside<'a>> {
        self.segments.of(self.steps, number).iter().map(Inside)
    }

    /// The weights of a step, which is one of this walk.
    #[inline(always)]
    pub(super) fn weights(&self, step: Inside) -> &'a GroupPair {
        let at = usize::from(u16::from_ne_bytes(step.0.weights));
        // SAFETY: the loops of tiles ask for weights of steps of the same walk alone, for which `new` proved that a pair of groups
        // that begins `at` bytes from the first weight on ends within the weights, which live for `'a`. Arrays of bytes are aligned anywhere.
        unsafe { &*self.weights.as_ptr().byte_add(at) }
    }
}

/// A step of a [`Walk`], which proved it.
#[derive(Clone, Copy)]
pub(super) struct Inside<'a>(&'a Step);

/// The codes of a block in all rows of the lhs, which walks over the block read.
#[derive(Clone, Copy)]
pub(super) struct Lhs<'a> {
    first: *const u8,
    rows: usize,
    stride: usize,
    _codes: PhantomData<&'a [u8]>,
}

impl<'a> Lhs<'a> {
    /// Rows whose groups begin with code `from` of each. Panics where there are too few codes for the groups of `block`.
    pub(super) fn new(lhs: &LhsRows<'a>, from: usize, block: &Block) -> Self {
        let LhsRows { rows, codes, stride, .. } = *lhs;
        let data = &codes[from..];
        let len = block.groups.checked_mul(KU);
        let end = stride.checked_mul(rows.saturating_sub(1)).and_then(|start| start.checked_add(len?));
        assert!(end.is_some_and(|end| end <= data.len()), "rows of the lhs are too short");
        Self { first: data.as_ptr(), rows, stride, _codes: PhantomData }
    }

    /// `R` rows from `row` on. Panics where there are fewer.
    #[inline(always)]
    pub(super) fn tile<const R: usize>(&self, row: usize) -> Rows<'a, R> {
        assert!(R <= self.rows && row <= self.rows - R, "a tile lies outside of the rows");
        // SAFETY: `new` proved that `(rows - 1) * stride` and a block's codes from `first` on lie in one slice, and `row < rows`.
        let first = unsafe { self.first.add(row * self.stride) };
        Rows { first, stride: self.stride, _codes: PhantomData }
    }
}

/// `R` rows of groups of KU codes, which are read at the places of a walk over the block that they were made for.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, const R: usize> {
    first: *const u8,
    stride: usize,
    _codes: PhantomData<&'a [u8]>,
}

impl<const R: usize> Rows<'_, R> {
    /// The groups of a pair: what each has in row after row.
    #[inline(always)]
    pub(super) fn pair(&self, step: Inside) -> [impl Fn(usize) -> [u8; KU]; 2] {
        step.0.places.map(|place| move |row: usize| self.group(row, place))
    }

    /// The group at `place`, which is one of the walk's places, of row `row`; of the last one where there is none.
    #[inline(always)]
    fn group(&self, row: usize, place: u8) -> [u8; KU] {
        let (row, place) = (row.min(R - 1), usize::from(place));
        // SAFETY: `Lhs::new` and `Lhs::tile` proved that `(R - 1) * stride + groups * KU` codes from `first` on lie in one slice, which
        // lives for `'a`, and `Walk::new` that all places are below the `groups` of its block. `tiles` makes rows and walks
        // of one block, and its loops read rows at steps of that walk. With `row <= R - 1` the KU codes end within them. An
        // array of bytes is aligned anywhere.
        unsafe { self.first.add(row * self.stride + place * KU).cast::<[u8; KU]>().read() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{pack_panel, panel_bytes, tiles};
    use super::*;
    use tq_kernels::buffer::AlignedBuffer;
    use tq_kernels::{Effort, RhsColumns};

    /// 20 pairs of groups: a walk of three vectors of steps.
    const K: usize = 160;
    /// Where the walk of the first class begins: behind the segments.
    const WALK: usize = 64;

    /// What `rows` rows of zeros give with a packed panel of which byte `at` has been made `byte`, or the message that it ends with.
    fn with_byte(rows: usize, at: usize, byte: u8) -> Result<(), String> {
        let data = [1; K];
        let mut buffer = AlignedBuffer::zeroed(panel_bytes(K).unwrap());
        let panel = buffer.as_mut_slice::<i8>();
        // SAFETY: the tests ask for AVX2 before they come here.
        unsafe { pack_panel(RhsColumns { data: &data, k: K }, Effort::Most, panel) };
        panel[at] = byte as i8;
        let lhs = LhsRows { rows, codes: &vec![0; rows * K], stride: K, max: &[0, 0] };
        let run = || {
            // SAFETY: as above.
            unsafe { tiles(&lhs, 0..K, panel, 1, &mut [0; 6 * 16]) }
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            .map_err(|e| e.downcast_ref::<&str>().copied().unwrap_or_default().to_owned())
    }

    fn has_avx2() -> bool {
        let has = is_x86_feature_detected!("avx2");
        if !has {
            eprintln!("SKIPPED: this processor has no AVX2");
        }
        has
    }

    #[test]
    fn steps_that_lead_outside_are_refused() {
        if !has_avx2() {
            return;
        }
        let outside = Err("a step leads out of its block".to_owned());
        for rows in [1, 4] {
            // A step is two places and an offset of weights; those of equal weights stand in their order.
            for step in [0, 7, 8, 19] {
                let at = WALK + 4 * step;
                for place in [at, at + 1] {
                    assert_eq!(with_byte(rows, place, 39), Ok(()));
                    for byte in [40, 255] {
                        assert_eq!(with_byte(rows, place, byte), outside);
                    }
                }
                for byte in [10, 255] {
                    assert_eq!(with_byte(rows, at + 3, byte), outside);
                }
            }
            // The last pair begins with byte 19 * 128 = 0x980 of the weights.
            let last = WALK + 4 * 19 + 2;
            assert_eq!(with_byte(rows, last, 0x7F), Ok(()));
            assert_eq!(with_byte(rows, last, 0x80), Ok(()));
            assert_eq!(with_byte(rows, last, 0x81), outside);
        }
    }

    #[test]
    fn segments_of_any_bytes_stay_inside_their_walk() {
        if !has_avx2() {
            return;
        }
        for rows in [1, 4] {
            for (at, byte) in (0..WALK).flat_map(|at| [0, 1, 20, 255].map(|byte| (at, byte))) {
                assert_eq!(with_byte(rows, at, byte), Ok(()), "byte {at} is {byte}");
            }
        }
    }
}
