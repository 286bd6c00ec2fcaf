//! Packed panels: groups of weights sorted by how far they can be trusted in 16 bits.
//!
//! K is cut into blocks of 256 groups. A block is
//!
//! | bytes | |
//! |---|---|
//! | 16 | by class of the largest code: pairs of groups, from the first on, in which each group alone is exact |
//! | 16 | by class: pairs of groups whose sum is exact in 16 bits, from the first on of the walk |
//! | 1 a pair | the pairs by how far their sum is exact: the walk where all groups alone are exact |
//! | 1 a group | where in the block's K the group belongs; a group of zeros makes their number even |
//! | | zeros up to a multiple of 64 |
//! | 64 a group | weights `[NR][KU]` |
//!
//! Codes `16 c ..= 16 c + 15` are class `c`. Pairs stand in the order of how far each of their groups alone is exact, and are
//! walked in it where some have to be widened.

use super::proof::PairSums;
use super::{Group, KU, NR};
use crate::memory::prefetch;
use std::array::from_fn;
use tq_kernels::{Depths, RhsColumns};

/// Groups of a whole block: a place in it fits a byte.
const BLOCK: usize = 256;
/// Elements of K of a whole block.
pub(super) const BLOCK_K: usize = BLOCK * KU;
/// Classes of codes.
const CLASSES: usize = 16;
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

/// Bytes before the weights of a block of `groups` groups.
const fn header_bytes(groups: usize) -> usize {
    (2 * CLASSES + groups.div_ceil(2) * 3).next_multiple_of(64)
}

/// Bytes of a block of `groups` groups.
const fn block_bytes(groups: usize) -> usize {
    header_bytes(groups) + groups.next_multiple_of(2) * GROUP_BYTES
}

/// Bytes of a panel of `k` elements of K, a multiple of KU.
pub(in super::super) fn panel_bytes(k: usize) -> Option<usize> {
    let groups = k / KU;
    (groups / BLOCK).checked_mul(block_bytes(BLOCK))?.checked_add(match groups % BLOCK {
        0 => 0,
        rest => block_bytes(rest),
    })
}

/// One block of a packed panel.
pub(super) struct Block<'a> {
    /// Groups of K in this block.
    pub(super) groups: usize,
    one: &'a [u8; CLASSES],
    two: &'a [u8; CLASSES],
    by_two: &'a [u8],
    /// Where each group belongs, in pairs.
    pub(super) order: &'a [[u8; 2]],
    /// The weights of each group, in the same order.
    pub(super) weights: &'a [[u8; GROUP_BYTES]],
}

/// How the pairs of a block are computed for a class of codes.
pub(super) struct Walk<'a> {
    /// Pairs that are added in 16 bits.
    pub(super) two: &'a [u8],
    /// Pairs in which each group is widened by itself.
    pub(super) one: &'a [u8],
    /// The first of the pairs that need factors of 16 bits; those behind it need them too.
    pub(super) widened: usize,
}

/// The pairs as they stand.
const IN_ORDER: [u8; BLOCK / 2] = {
    let mut places = [0; BLOCK / 2];
    let mut i = 0;
    while i < places.len() {
        places[i] = i as u8;
        i += 1;
    }
    places
};

impl Block<'_> {
    /// The walk over the pairs for a class of codes.
    #[inline(always)]
    pub(super) fn walk(&self, class: usize) -> Walk<'_> {
        let pairs = self.order.len();
        let one = usize::from(self.one[class]).min(pairs);
        let places = if one == pairs { self.by_two } else { &IN_ORDER[..one] };
        let (two, one) = places.split_at(usize::from(self.two[class]).min(places.len()));
        Walk { two, one, widened: two.len() + one.len() }
    }
}

/// The panel from the block on in which element `from` of K lies. Panics where the panel is too short.
#[inline]
pub(super) fn blocks_from(panel: &[i8], from: usize) -> &[u8] {
    &bytemuck::cast_slice(panel)[from / BLOCK_K * block_bytes(BLOCK)..]
}

impl<'a> Block<'a> {
    /// Asks for the weights that pair `pair` of a whole block behind this one would have. A tile of one row is bound by
    /// memory, and the processor does not guess where a walk goes.
    #[inline(always)]
    pub(super) fn prefetch_behind(&self, pair: usize) {
        let pair_bytes = 2 * GROUP_BYTES;
        prefetch(self.weights.as_ptr().cast::<u8>().wrapping_add(block_bytes(BLOCK) + pair * pair_bytes));
        prefetch(
            self.weights.as_ptr().cast::<u8>().wrapping_add(block_bytes(BLOCK) + pair * pair_bytes + 64),
        );
    }

    /// The first block of `panel`, which has as many of the `left` groups as it can hold, and the panel behind it.
    ///
    /// Panics where the panel is too short.
    #[inline(always)]
    pub(super) fn take(panel: &'a [u8], left: usize) -> (Self, &'a [u8]) {
        let groups = left.min(BLOCK);
        let pairs = groups.div_ceil(2);
        let (block, behind) = panel.split_at(block_bytes(groups));
        let (header, weights) = block.split_at(header_bytes(groups));
        let (counts, places) = header.split_at(2 * CLASSES);
        let counts = counts.as_chunks::<CLASSES>().0;
        let (by_two, order) = places.split_at(pairs);
        let order = &order.as_chunks::<2>().0[..pairs];
        let block = Block {
            groups,
            one: &counts[0],
            two: &counts[1],
            by_two,
            order,
            weights: &weights.as_chunks::<GROUP_BYTES>().0[..2 * pairs],
        };
        (block, behind)
    }
}

/// Packs columns; see [`tq_kernels::Microkernel::pack_panel`].
#[target_feature(enable = "avx2")]
pub(in super::super) fn pack_panel(columns: RhsColumns, panel: &mut [i8]) -> u8 {
    let mut rest = bytemuck::cast_slice_mut::<i8, u8>(panel);
    let mut plain = u8::MAX;
    for start in (0..columns.k).step_by(BLOCK_K) {
        let len = BLOCK_K.min(columns.k - start);
        let (block, others) = rest.split_at_mut(block_bytes(len.div_ceil(KU)));
        rest = others;
        // Memory for a whole block takes longer to clear than a small one takes to pack.
        plain = plain.min(match len.div_ceil(KU) {
            0..=16 => pack_block::<16>(columns, start, len, block),
            17..=64 => pack_block::<64>(columns, start, len, block),
            _ => pack_block::<BLOCK>(columns, start, len, block),
        });
    }
    plain
}

/// Packs elements `start..start + len` of K, at most `G` groups. Gives the largest code with which no group has to be widened.
#[target_feature(enable = "avx2")]
fn pack_block<const G: usize>(columns: RhsColumns, start: usize, len: usize, block: &mut [u8]) -> u8 {
    let groups = len.div_ceil(KU);
    let mut weights = [[0i8; NR * KU]; G];
    for (c, column) in columns.data.chunks_exact(columns.k).enumerate().take(NR) {
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

    let (header, packed) = block.split_at_mut(header_bytes(groups));
    let (counts, places) = header.split_at_mut(2 * CLASSES);
    for class in 0..CLASSES {
        let max = class_max(class);
        let one = pairs.partition_point(|pair| pair.one >= max);
        let in_order = || pairs.iter().take_while(|pair| pair.two >= max).count();
        let anywhere = || pairs.iter().filter(|pair| pair.two >= max).count();
        counts[class] = one as u8;
        counts[CLASSES + class] = if one == pairs.len() { anywhere() } else { in_order() } as u8;
    }
    let (by_two, places) = places.split_at_mut(pairs.len());
    by_two.copy_from_slice(&IN_ORDER[..pairs.len()]);
    by_two.sort_unstable_by_key(|&p| (u8::MAX - pairs[usize::from(p)].two, p));
    let packed: &mut [[Group; 2]] = bytemuck::cast_slice_mut(packed);
    for ((pair, place), packed) in pairs.iter().zip(places.as_chunks_mut::<2>().0).zip(packed) {
        // The group of zeros that fills the last pair up may stand anywhere in K.
        *place = pair.order.map(|g| if usize::from(g) < groups { g } else { 0 });
        *packed = pair.order.map(|g| weights[usize::from(g)]);
    }
    // Tiles go by classes: the largest code of the last class without widened groups.
    let whole = (0..CLASSES).rev().find(|&class| usize::from(counts[CLASSES + class]) == pairs.len());
    whole.map_or(0, class_max)
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

/// See [`tq_kernels::Microkernel::depths`]; the unit is a pair of groups.
pub(in super::super) fn depths(k: usize, panel: &[i8], max: u8) -> Depths {
    let mut depths = Depths::default();
    let (mut panel, mut left) = (blocks_from(panel, 0), k / KU);
    while left > 0 {
        let (block, behind) = Block::take(panel, left);
        let walk = block.walk(class_of(max));
        depths.two += walk.two.len();
        depths.one += walk.one.len();
        depths.widened += block.order.len() - walk.widened;
        (panel, left) = (behind, left - block.groups);
    }
    depths
}
