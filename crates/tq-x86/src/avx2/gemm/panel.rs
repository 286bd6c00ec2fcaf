//! Packed panels: groups of weights sorted by how far they can be trusted in 16 bits.
//!
//! A panel is two halves of 8 columns. K is cut into blocks of 256 groups; a block of a half is
//!
//! | bytes | |
//! |---|---|
//! | 16 | by class of the largest code: pairs of groups, from the first on, in which each group alone is exact |
//! | 16 | by class: pairs of groups whose sum is exact in 16 bits, from the first on of the walk |
//! | 16 | by class: the correction to take; the highest bit is set where the walk is that of the next row |
//! | 1 a pair | the pairs by how far their sum is exact: the walk where all groups alone are exact, and more go two deep by it |
//! | 2 a pair | where in the block's K its groups belong; a group of zeros makes their number even |
//! | | zeros up to a multiple of 64 |
//! | 32 a pair, 512 at most | corrections: 32-bit sums a column |
//! | 32 a group | weights `[HALF][KU]` |
//!
//! Codes `16 c ..= 16 c + 15` are class `c`. Pairs stand in the order of how far each of their groups alone is exact, and are
//! walked in it where some have to be multiplied by magnitude, which leaves out a sum of weights for each column: the correction.

use super::proof::PairSums;
use super::{Group, HALF, KU};
use crate::memory::prefetch;
use std::array::from_fn;
use tq_kernels::{Depths, RhsColumns, RhsPanel};

/// Groups of a whole block: a place in it fits a byte.
const BLOCK: usize = 256;
/// Elements of K of a whole block.
pub(super) const BLOCK_K: usize = BLOCK * KU;
/// Classes of codes.
const CLASSES: usize = 16;
/// Beside the number of a correction: the pairs are walked by how far their sum is exact.
const BY_TWO: u8 = 0x80;
/// Bytes of a group's weights.
const GROUP_BYTES: usize = size_of::<Group>();

/// The class that a tile belongs to by its largest code.
pub(super) fn class_of(max: u8) -> usize {
    usize::from(max >> 4)
}

/// The largest code of a class.
fn class_max(class: usize) -> u8 {
    (class * 16 + 15) as u8
}

/// Bytes before the corrections of a block of `pairs` pairs of groups.
const fn header_bytes(pairs: usize) -> usize {
    (3 * CLASSES + 3 * pairs).next_multiple_of(64)
}

/// Corrections of a block of `pairs` pairs: no more than there are places where a walk can end, or classes.
const fn corrections(pairs: usize) -> usize {
    if pairs < CLASSES { pairs } else { CLASSES }
}

/// Bytes of a block of `groups` groups.
const fn block_bytes(groups: usize) -> usize {
    let pairs = groups.div_ceil(2);
    header_bytes(pairs) + corrections(pairs) * size_of::<Correction>() + 2 * pairs * GROUP_BYTES
}

/// Bytes of the half of a panel of `k` elements of K, a multiple of KU.
fn half_bytes(k: usize) -> Option<usize> {
    let groups = k / KU;
    (groups / BLOCK).checked_mul(block_bytes(BLOCK))?.checked_add(match groups % BLOCK {
        0 => 0,
        rest => block_bytes(rest),
    })
}

/// Bytes of a panel of `k` elements of K, a multiple of KU.
pub(in super::super) fn panel_bytes(k: usize) -> Option<usize> {
    half_bytes(k)?.checked_mul(2)
}

/// What products by magnitude leave out, a column.
pub(super) type Correction = [i32; HALF];

/// One block of half a packed panel.
pub(super) struct Block<'a> {
    /// Groups of K in this block.
    pub(super) groups: usize,
    bytes: usize,
    one: &'a [u8; CLASSES],
    two: &'a [u8; CLASSES],
    correction: &'a [u8; CLASSES],
    by_two: &'a [u8],
    /// Where each group belongs, in pairs.
    pub(super) order: &'a [[u8; 2]],
    corrections: &'a [Correction],
    /// The weights of each pair of groups, in the same order.
    pub(super) weights: &'a [[Group; 2]],
}

/// How the pairs of a block are computed for a class of codes.
pub(super) struct Walk<'a> {
    /// How many pairs, of those that the walk starts with, are added in 16 bits.
    pub(super) two: usize,
    /// The first of the pairs that are multiplied by magnitude; those behind it are too. Those before it are exact alone.
    pub(super) plain: usize,
    /// What is to be added where there are such.
    pub(super) correction: &'a Correction,
    /// All the pairs in the order of the walk, where it is not that in which they stand.
    pub(super) order: Option<&'a [u8]>,
}

impl Block<'_> {
    /// The walk over the pairs for a class of codes.
    #[inline(always)]
    pub(super) fn walk(&self, class: usize) -> Walk<'_> {
        let pairs = self.order.len();
        let plain = usize::from(self.one[class]).min(pairs);
        let two = usize::from(self.two[class]).min(plain);
        let order = (self.correction[class] & BY_TWO != 0).then_some(self.by_two);
        let number = usize::from(self.correction[class] & !BY_TWO).min(self.corrections.len() - 1);
        let correction = &self.corrections[number];
        Walk { two, plain, correction, order }
    }
}

/// Half `half` of a panel from the block on in which element `from` of K lies. Panics where the panel is too short.
#[inline]
pub(super) fn blocks_from(panel: &[i8], half: usize, from: usize) -> &[u8] {
    let panel: &[u8] = bytemuck::cast_slice(panel);
    let bytes = panel.len() / 2;
    &panel[half * bytes..][..bytes][from / BLOCK_K * block_bytes(BLOCK)..]
}

impl<'a> Block<'a> {
    /// Asks for the weights that stand where `weights` do in the block behind this one. It is needed next, and the processor does not
    /// guess where a walk goes.
    #[inline(always)]
    pub(super) fn prefetch_behind(&self, weights: &[Group; 2]) {
        prefetch(weights.as_ptr().wrapping_byte_add(self.bytes).cast());
    }

    /// The first block of `panel`, which has as many of the `left` groups as it can hold, and the panel behind it.
    ///
    /// Panics where the panel is too short.
    #[inline(always)]
    pub(super) fn take(panel: &'a [u8], left: usize) -> (Self, &'a [u8]) {
        let groups = left.min(BLOCK);
        let pairs = groups.div_ceil(2);
        let (block, behind) = panel.split_at(block_bytes(groups));
        let (header, rest) = block.split_at(header_bytes(pairs));
        let (corrections, weights) = rest.split_at(corrections(pairs) * size_of::<Correction>());
        let (counts, places) = header.split_at(3 * CLASSES);
        let counts = counts.as_chunks::<CLASSES>().0;
        let (by_two, order) = places.split_at(pairs);
        let block = Block {
            groups,
            bytes: block_bytes(groups),
            one: &counts[0],
            two: &counts[1],
            correction: &counts[2],
            by_two,
            order: &order.as_chunks::<2>().0[..pairs],
            corrections: bytemuck::cast_slice(corrections),
            weights: bytemuck::cast_slice(weights),
        };
        (block, behind)
    }
}

/// Packs columns; see [`tq_kernels::Microkernel::pack_panel`].
#[target_feature(enable = "avx2")]
pub(in super::super) fn pack_panel(columns: RhsColumns, panel: &mut [i8]) -> u8 {
    let bytes = panel.len() / 2;
    let halves = bytemuck::cast_slice_mut::<i8, u8>(panel).chunks_exact_mut(bytes.max(1));
    let mut shortest_up_to = u8::MAX;
    for (half, mut rest) in halves.enumerate() {
        let data = columns.data.get(half * HALF * columns.k..).unwrap_or_default();
        let columns = RhsColumns { data, k: columns.k };
        for start in (0..columns.k).step_by(BLOCK_K) {
            let len = BLOCK_K.min(columns.k - start);
            let (block, others) = rest.split_at_mut(block_bytes(len.div_ceil(KU)));
            rest = others;
            // Memory for a whole block takes longer to clear than a small one takes to pack.
            shortest_up_to = shortest_up_to.min(match len.div_ceil(KU) {
                0..=16 => pack_block::<16>(columns, start, len, block),
                17..=64 => pack_block::<64>(columns, start, len, block),
                _ => pack_block::<BLOCK>(columns, start, len, block),
            });
        }
    }
    shortest_up_to
}

/// Packs elements `start..start + len` of K of half a panel, at most `G` groups. Gives the largest code with which all
/// run two deep.
#[target_feature(enable = "avx2")]
fn pack_block<const G: usize>(columns: RhsColumns, start: usize, len: usize, block: &mut [u8]) -> u8 {
    let groups = len.div_ceil(KU);
    let mut weights = [[0i8; HALF * KU]; G];
    for (c, column) in columns.data.chunks_exact(columns.k).enumerate().take(HALF) {
        let (whole, rest) = column[start..start + len].as_chunks::<KU>();
        for (group, w) in weights.iter_mut().zip(whole) {
            group.as_chunks_mut::<KU>().0[c] = *w;
        }
        if !rest.is_empty() {
            weights[whole.len()].as_chunks_mut::<KU>().0[c][..rest.len()].copy_from_slice(rest);
        }
    }
    let even = groups.next_multiple_of(2);
    // How far each group alone is exact; the safest first, so that those beside each other are alike.
    let mut safe = [u8::MAX; G];
    for (safe, group) in safe.iter_mut().zip(&weights[..groups]) {
        *safe = PairSums::of(group).exact_up_to();
    }
    let mut order: [u8; G] = from_fn(|g| g as u8);
    order[..even].sort_unstable_by_key(|&g| (u8::MAX - safe[usize::from(g)], g));
    let mut pairs = [Pair::default(); BLOCK / 2];
    let pairs = &mut pairs[..even / 2];
    for (pair, order) in pairs.iter_mut().zip(order.as_chunks::<2>().0) {
        let [a, b] = order.map(usize::from);
        let sum = PairSums::of(&weights[a]).plus(PairSums::of(&weights[b]));
        *pair = Pair { two: sum.exact_up_to(), one: safe[a].min(safe[b]), order: *order };
    }
    pairs.sort_unstable_by_key(|pair| (u8::MAX - pair.one, u8::MAX - pair.two, pair.order));

    let (header, rest) = block.split_at_mut(header_bytes(pairs.len()));
    let (corrections, packed) = rest.split_at_mut(corrections(pairs.len()) * size_of::<Correction>());
    let (counts, places) = header.split_at_mut(3 * CLASSES);
    let mut by_sum = [false; CLASSES];
    for class in 0..CLASSES {
        let max = class_max(class);
        let one = pairs.partition_point(|pair| pair.one >= max);
        let in_order = pairs.iter().take_while(|pair| pair.two >= max).count();
        let anywhere = pairs.iter().filter(|pair| pair.two >= max).count();
        by_sum[class] = one == pairs.len() && anywhere > in_order;
        counts[class] = one as u8;
        counts[CLASSES + class] = if by_sum[class] { anywhere } else { in_order } as u8;
    }
    let (by_two, places) = places.split_at_mut(pairs.len());
    for (place, pair) in by_two.iter_mut().zip(0..) {
        *place = pair;
    }
    by_two.sort_unstable_by_key(|&p| (u8::MAX - pairs[usize::from(p)].two, p));
    let packed: &mut [[Group; 2]] = bytemuck::cast_slice_mut(packed);
    for ((pair, place), packed) in pairs.iter().zip(places.as_chunks_mut::<2>().0).zip(&mut *packed) {
        // The group of zeros that fills the last pair up may stand anywhere in K.
        *place = pair.order.map(|g| if usize::from(g) < groups { g } else { 0 });
        *packed = pair.order.map(|g| weights[usize::from(g)]);
    }
    let (one, others) = counts.split_at_mut(CLASSES);
    let of_class = &mut others[CLASSES..];
    correct(packed, one, of_class, bytemuck::cast_slice_mut(corrections));
    for (of_class, by_sum) in of_class.iter_mut().zip(by_sum) {
        *of_class |= if by_sum { BY_TWO } else { 0 };
    }
    // Tiles go by classes: the largest code of the last class that runs two deep.
    let whole = (0..CLASSES).rev().find(|&class| usize::from(counts[CLASSES + class]) == pairs.len());
    whole.map_or(0, class_max)
}

/// The correction of each class, whose walk ends with the first `one[class]` pairs: all the others are multiplied by magnitude.
///
/// A weight `w` and a code `a` come to `|w| (a - 128)` there where `w` is positive, and to `|w| (127 - a)` where it is negative:
/// 128 or 127 times `w` less than their product.
fn correct(pairs: &[[Group; 2]], one: &[u8], of_class: &mut [u8], corrections: &mut [Correction]) {
    let mut sum = Correction::default();
    let (mut behind, mut found) = (pairs.len(), 0);
    // The larger the codes, the earlier a walk ends.
    for (&one, of_class) in one.iter().zip(of_class) {
        let one = usize::from(one);
        if one < behind {
            for pair in &pairs[one..behind] {
                for (c, weights) in pair.as_flattened().as_chunks::<KU>().0.iter().enumerate() {
                    let left_out = |&w: &i8| i32::from(w) * if w < 0 { 127 } else { 128 };
                    // Sums may go round: what they correct goes round as often.
                    sum[c % HALF] = sum[c % HALF].wrapping_add(weights.iter().map(left_out).sum());
                }
            }
            corrections[found] = sum;
            (behind, found) = (one, found + 1);
        }
        *of_class = found.saturating_sub(1) as u8;
    }
}

/// Two groups whose products may be added in 16 bits.
#[derive(Clone, Copy, Default)]
struct Pair {
    /// The largest code with which their sum is exact.
    two: u8,
    /// The largest code with which each alone is.
    one: u8,
    order: [u8; 2],
}

/// See [`tq_kernels::Microkernel::depths`]; the unit is a pair of groups of half a panel.
pub(in super::super) fn depths(k: usize, rhs: RhsPanel, max: u8) -> Depths {
    let mut depths = Depths::default();
    for half in 0..rhs.columns.div_ceil(HALF) {
        let (mut panel, mut left) = (blocks_from(rhs.data, half, 0), k / KU);
        while left > 0 {
            let (block, behind) = Block::take(panel, left);
            let walk = block.walk(class_of(max));
            depths.two += walk.two;
            depths.one += walk.plain - walk.two;
            depths.plain += block.order.len() - walk.plain;
            (panel, left) = (behind, left - block.groups);
        }
    }
    depths
}
