//! Packing: which groups of weights are multiplied beside each other, and how.

use super::panel::{
    BLOCK, BlockMut, CLASSES, Correction, SEGMENTS, Segments, Step, Way, block_groups, class_max, walk_steps,
};
use super::proof::{Bound, PairSums};
use super::{Group, GroupPair, HALF, KU};
use tq_kernels::{Effort, RhsColumns};

/// Packs columns; see [`tq_kernels::Microkernel::pack_panel`].
#[target_feature(enable = "avx2")]
pub(in super::super) fn pack_panel(columns: RhsColumns, effort: Effort, panel: &mut [i8]) -> u8 {
    let mut rest = bytemuck::cast_slice_mut::<i8, u8>(panel);
    let mut shortest_up_to = u8::MAX;
    let (mut from, groups) = (0, columns.k.div_ceil(KU));
    while from < groups {
        let count = block_groups(from, groups);
        let (block, behind) = BlockMut::take(rest, count);
        let (start, len) = (from * KU, (count * KU).min(columns.k - from * KU));
        // Memory for a whole block takes longer to clear than a small one takes to pack.
        shortest_up_to = shortest_up_to.min(match count {
            0..=16 => pack_block::<16>(columns, start, len, effort, block),
            17..=64 => pack_block::<64>(columns, start, len, effort, block),
            _ => pack_block::<BLOCK>(columns, start, len, effort, block),
        });
        (rest, from) = (behind, from + count);
    }
    shortest_up_to
}

/// Packs elements `start..start + len` of K, at most `G` groups. Gives the largest code with which all run two deep.
#[target_feature(enable = "avx2")]
fn pack_block<const G: usize>(
    columns: RhsColumns,
    start: usize,
    len: usize,
    effort: Effort,
    block: BlockMut,
) -> u8 {
    let mut weights = [[[0; HALF * KU]; 2]; G];
    for (c, column) in columns.data.chunks_exact(columns.k).enumerate().take(2 * HALF) {
        let (half, c) = (c / HALF, c % HALF);
        let (whole, rest) = column[start..start + len].as_chunks::<KU>();
        for (group, w) in weights.iter_mut().zip(whole) {
            group[half].as_chunks_mut::<KU>().0[c] = *w;
        }
        if !rest.is_empty() {
            weights[whole.len()][half].as_chunks_mut::<KU>().0[c][..rest.len()].copy_from_slice(rest);
        }
    }
    let groups = len.div_ceil(KU);
    let mut pairs = [Pair::default(); BLOCK / 2];
    let pairs = &mut pairs[..groups.div_ceil(2)];
    pair_up::<G>(&weights[..groups.next_multiple_of(2)], effort, pairs);
    pairs.sort_unstable_by_key(|pair| (pair.segment(CLASSES - 1), pair.groups));

    for (pair, packed) in pairs.iter().zip(&mut *block.weights) {
        *packed = pair.groups.map(|g| weights[usize::from(g)]);
    }
    let mut all_two_up_to = 0;
    let walks = block.steps.chunks_exact_mut(walk_steps(pairs.len()));
    for (class, (walk, packed)) in walks.zip(block.segments).enumerate() {
        let mut segments = [0; BLOCK / 2];
        for (segment, pair) in segments.iter_mut().zip(&*pairs) {
            *segment = pair.segment(class);
        }
        let (mut end, mut ends) = (0, [0; SEGMENTS.len()]);
        for (number, segment_end) in (0..).zip(&mut ends) {
            for (p, pair) in pairs.iter().enumerate().filter(|(p, _)| segments[*p] == number) {
                // The group of zeros that fills the last pair up may stand anywhere in K.
                let places = pair.groups.map(|g| if usize::from(g) < groups { g } else { 0 });
                let weights = ((p * size_of::<GroupPair>()) as u16).to_ne_bytes();
                walk[end] = Step { places, weights };
                end += 1;
            }
            *segment_end = end as u8;
        }
        *packed = Segments::ending(ends);
        if segments[..pairs.len()].iter().all(|&segment| segment == 0) {
            all_two_up_to = class_max(class);
        }
    }
    correct(pairs, block.weights, block.corrections);
    all_two_up_to
}

/// Two groups that are multiplied beside each other.
#[derive(Clone, Copy, Default)]
struct Pair {
    groups: [u8; 2],
    /// Of each half, the larger one of both groups.
    one: [Bound; 2],
    /// Of each half, of the sum of both.
    two: [Bound; 2],
}

impl Pair {
    /// How half `half` is multiplied with codes of class `class`.
    fn way(&self, half: usize, class: usize) -> Way {
        let max = class_max(class);
        match () {
            () if !self.one[half].exact_up_to(max) => Way::Magnitude,
            () if self.two[half].exact_up_to(max) => Way::Two,
            () => Way::One,
        }
    }

    /// The number of the segment that it belongs to with codes of class `class`.
    fn segment(&self, class: usize) -> u8 {
        let ways = [self.way(0, class), self.way(1, class)];
        SEGMENTS.iter().zip(0..).find_map(|(segment, n)| (*segment == ways).then_some(n)).unwrap_or_default()
    }
}

/// With the most effort, gives every group, worst first, the partner that costs least: with which the fewest halves have to go by magnitude that would
/// not have to by themselves, then the most go two deep, both for codes up to 255, and then whose sums are smallest.
///
/// Weights of one group often make up for those of another. With the least, every group gets its neighbour.
#[target_feature(enable = "avx2")]
fn pair_up<const G: usize>(weights: &[[Group; 2]], effort: Effort, pairs: &mut [Pair]) {
    let mut sums = [[PairSums::zero(); 2]; G];
    let mut bounds = [[Bound::default(); 2]; G];
    for ((sums, bounds), group) in sums.iter_mut().zip(&mut bounds).zip(weights) {
        *sums = [PairSums::of(&group[0]), PairSums::of(&group[1])];
        *bounds = [sums[0].largest(), sums[1].largest()];
    }
    let by_magnitude = |g: u8| bounds[usize::from(g)].map(|bound| !bound.exact_up_to(u8::MAX));
    let mut order: [u8; G] = std::array::from_fn(|g| g as u8);
    let mut left = &mut order[..weights.len()];
    if effort == Effort::Most {
        left.sort_unstable_by_key(|&g| {
            let [a, b] = bounds[usize::from(g)];
            (std::cmp::Reverse(a.max(b)), g)
        });
    }
    for pair in pairs {
        let Some((&mut worst, others)) = left.split_first_mut() else { return };
        let mine = by_magnitude(worst);
        let together = |g: u8| {
            let (a, b) = (sums[usize::from(worst)], sums[usize::from(g)]);
            [a[0].plus(b[0]).largest(), a[1].plus(b[1]).largest()]
        };
        let (mut best, mut least) = (0, u32::MAX);
        let candidates: &[u8] = if effort == Effort::Most { others } else { &[] };
        for (i, &g) in candidates.iter().enumerate() {
            let theirs = by_magnitude(g);
            let differ = u32::from(mine[0] != theirs[0]) + u32::from(mine[1] != theirs[1]);
            // Units of two groups and halves are 1024 at most.
            if differ << 16 > least {
                continue;
            }
            let two = together(g);
            let beyond = two.map(|bound| u32::from(!bound.exact_up_to(u8::MAX)));
            let cost = (differ << 16) + ((beyond[0] + beyond[1]) << 12) + two[0].units() + two[1].units();
            if cost < least {
                (best, least) = (i, cost);
            }
        }
        let partner = others[best];
        let [a, b] = [worst, partner].map(|g| bounds[usize::from(g)]);
        *pair =
            Pair { groups: [worst, partner], one: [a[0].max(b[0]), a[1].max(b[1])], two: together(partner) };
        // The order of the others stays.
        others.copy_within(..best, 1);
        left = &mut others[1..];
    }
}

/// The correction of each class, for the pairs that it multiplies by magnitude.
///
/// A weight `w` and a code `a` come to `|w| (a - 128)` there where `w` is positive, and to `|w| (127 - a)` where it is negative:
/// 128 or 127 times `w` less than their product.
fn correct(pairs: &[Pair], weights: &[GroupPair], corrections: &mut [Correction]) {
    for half in 0..2 {
        for (pair, weights) in pairs.iter().zip(weights) {
            // The larger the codes, the fewer proofs: the last classes, if any.
            let first = (0..CLASSES).find(|&class| pair.way(half, class) == Way::Magnitude);
            let Some(first) = first else { continue };
            let mut left_out = [0i32; HALF];
            for group in weights {
                for (sum, weights) in left_out.iter_mut().zip(group[half].as_chunks::<KU>().0) {
                    *sum +=
                        weights.iter().map(|&w| i32::from(w) * if w < 0 { 127 } else { 128 }).sum::<i32>();
                }
            }
            for correction in &mut corrections[first..] {
                for (sum, left_out) in correction[half].iter_mut().zip(left_out) {
                    // Sums may go round: what they correct goes round as often.
                    *sum = sum.wrapping_add(left_out);
                }
            }
        }
    }
}
