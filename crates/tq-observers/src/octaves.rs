//! Counts of values in bins of constant relative width: exact, mergeable, of bounded size.
//!
//! The magnitude of a value falls into an octave (from a power of two to the next), every octave is cut into `2^m` bins
//! of equal width, and each sign has its own. So the bin of a value is its sign and the leading bits of its f32
//! pattern: nothing is rounded. Only a number of octaves below the largest magnitude are kept apart; everything
//! smaller shares one bin around zero. When the largest magnitude reaches a new octave, the smallest octaves go to that
//! bin, whole. Hence the counts are a function of the data alone: its order, and how it was split and merged, do not
//! matter. A single huge value costs the others no resolution, as it would with bins of equal width.

use crate::scan::scan;
use crate::spec::add_counts;
use crate::{BinCounts, ObserverError, Range};

/// Bits of the fraction of an f32.
const FRACTION: u32 = 23;
/// Bins an octave at most: 2^14.
const MOST_LOG2_BINS: u32 = 14;
/// Values that are scanned and then counted while they are in the cache.
const CHUNK: usize = 1 << 15;
/// Values whose slots are computed in one go.
const ROW: usize = 256;

/// Which bins there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    /// Every octave has `2^log2_bins` bins.
    log2_bins: u32,
    /// Octaves below the largest magnitude that are kept apart.
    octaves: u32,
    /// What brings the leading bits of a pattern to the slot: depends on the octave of the largest magnitude.
    offset: i32,
}

impl Grid {
    /// `bins` bins an octave, a power of two, for data of this range.
    fn new(bins: usize, octaves: u32, range: Range) -> Self {
        let log2_bins = bins.trailing_zeros().min(MOST_LOG2_BINS);
        let largest = range.min.abs().max(range.max.abs());
        let exponent = largest.to_bits() >> FRACTION;
        let smallest = (exponent + 1).saturating_sub(octaves) << log2_bins;
        // Leading bits of 0 are those of zero itself: they belong to the bin around zero in any case.
        Self { log2_bins, octaves, offset: smallest.max(1) as i32 - 1 }
    }

    /// The slot of a value: 0 around zero, 1, 2, … outwards from it, and -1, -2, … for negative values.
    #[inline(always)]
    pub(crate) fn slot(self, x: f32) -> i32 {
        let bits = x.to_bits();
        let magnitude = ((bits & 0x7fff_ffff) >> (FRACTION - self.log2_bins)) as i32 - self.offset;
        let sign = bits as i32 >> 31;
        (magnitude.max(0) ^ sign) - sign
    }

    /// The magnitude at which slot `slot` (and `-slot`) begins; it ends where the next one begins.
    pub(crate) fn edge(self, slot: i32) -> f64 {
        let leading = (slot.max(0) + self.offset) as u32;
        match f32::from_bits(leading << (FRACTION - self.log2_bins)) {
            edge if edge.is_finite() => f64::from(edge),
            _ => 2f64.powi(128),
        }
    }

    /// The slot, on this grid, of what was in `slot` on a grid of the same bins and no larger magnitudes.
    fn coarser(self, finer: Grid, slot: i32) -> i32 {
        (slot.abs() - (self.offset - finer.offset)).max(0) * slot.signum()
    }
}

/// What is in one bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Where it begins.
    pub low: f64,
    /// Where it ends; the same where all its values are equal to its one end.
    pub high: f64,
    /// Values in it.
    pub count: u64,
}

/// The counts of all data seen, and its exact range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Octaves {
    bins: usize,
    octaves: u32,
    count: u64,
    seen: Option<Seen>,
}

/// One count a slot, from that of the smallest value to that of the largest.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    range: Range,
    grid: Grid,
    first: i32,
    counts: Vec<u64>,
}

impl Seen {
    fn new(bins: usize, octaves: u32, range: Range) -> Self {
        let grid = Grid::new(bins, octaves, range);
        let (first, last) = (grid.slot(range.min), grid.slot(range.max));
        let slots = (last - first).max(0) as usize + 1;
        Self { range, grid, first, counts: vec![0; slots] }
    }

    /// Adds the counts of data whose range is no larger.
    fn add(&mut self, other: &Seen) {
        for (slot, count) in (other.first..).zip(&other.counts) {
            let at = self.grid.coarser(other.grid, slot) - self.first;
            if let Some(mine) = self.counts.get_mut(at as usize) {
                *mine += count;
            }
        }
    }

    /// Counts few values.
    fn count(&mut self, data: &[f32]) {
        for &x in data {
            let at = self.grid.slot(x) - self.first;
            if let Some(mine) = self.counts.get_mut(at as usize) {
                *mine += 1;
            }
        }
    }
}

/// Counts of a long run of values, several times side by side: equal values that follow one another would otherwise
/// wait for each other's count to reach memory.
struct Tally {
    counts: Vec<u32>,
    slots: usize,
    taken: usize,
}

impl Tally {
    const SIDE: usize = 4;

    fn new(seen: &Seen) -> Self {
        let slots = seen.counts.len();
        Self { counts: vec![0; slots * Self::SIDE], slots, taken: 0 }
    }

    fn count(&mut self, seen: &Seen, data: &[f32]) {
        let (grid, first, slots) = (seen.grid, seen.first, self.slots);
        self.taken += data.len();
        let mut at = [0u32; ROW];
        for row in data.chunks(ROW) {
            for (at, x) in at.iter_mut().zip(row) {
                *at = (grid.slot(*x) - first) as u32;
            }
            let (a, rest) = self.counts.split_at_mut(slots);
            let (b, rest) = rest.split_at_mut(slots);
            let (c, d) = rest.split_at_mut(slots);
            let (fours, odd) = at[..row.len()].as_chunks::<{ Self::SIDE }>();
            for four in fours {
                for (counts, at) in [&mut *a, &mut *b, &mut *c, &mut *d].into_iter().zip(four) {
                    if let Some(n) = counts.get_mut(*at as usize) {
                        *n += 1;
                    }
                }
            }
            for at in odd {
                if let Some(n) = a.get_mut(*at as usize) {
                    *n += 1;
                }
            }
        }
    }

    /// Moves the counts to `seen`.
    fn flush(&mut self, seen: &mut Seen) {
        for part in self.counts.chunks_exact_mut(self.slots) {
            for (mine, n) in seen.counts.iter_mut().zip(part) {
                *mine += u64::from(std::mem::take(n));
            }
        }
        self.taken = 0;
    }
}

impl Octaves {
    /// Empty counts; every octave has `bins` bins, rounded up to a power of two and at most 2^14.
    pub(crate) const fn new(bins: usize, octaves: u32) -> Self {
        let most = 1 << MOST_LOG2_BINS;
        let bins = if bins < most { bins.next_power_of_two() } else { most };
        Self { bins, octaves, count: 0, seen: None }
    }

    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.bins, self.octaves);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn range(&self) -> Option<Range> {
        self.seen.as_ref().map(|s| s.range)
    }

    /// Takes data, all or nothing.
    pub(crate) fn observe(&mut self, name: &'static str, data: &[f32]) -> Result<(), ObserverError> {
        let len = data.len() as u64;
        let count = add_counts(name, self.count, len)?;
        if data.len() <= CHUNK {
            let seen = scan(data);
            if seen.non_finite > 0 {
                return Err(ObserverError::NonFinite { count: seen.non_finite, len });
            }
            if let Some(range) = seen.range() {
                self.grown(range).count(data);
            }
        } else {
            let mut next = self.clone();
            let non_finite = next.observe_chunks(data);
            if non_finite > 0 {
                return Err(ObserverError::NonFinite { count: non_finite, len });
            }
            *self = next;
        }
        self.count = count;
        Ok(())
    }

    /// Scans and counts chunk by chunk, each while it is in the cache. Returns how many values are not finite; what
    /// was counted is useless then.
    fn observe_chunks(&mut self, data: &[f32]) -> u64 {
        let mut non_finite = 0;
        let mut tally: Option<Tally> = None;
        for chunk in data.chunks(CHUNK) {
            let scanned = scan(chunk);
            non_finite += scanned.non_finite;
            let (0, Some(range)) = (non_finite, scanned.range()) else { continue };
            let fits = self.seen.as_ref().is_some_and(|s| s.range.union(range) == s.range);
            let full = tally.as_ref().is_some_and(|t| t.taken >= 1 << 31);
            if let (false, Some(tally), Some(seen)) = (fits && !full, &mut tally, &mut self.seen) {
                tally.flush(seen);
            }
            if !fits {
                tally = None;
            }
            let seen = self.grown(range);
            tally.get_or_insert_with(|| Tally::new(seen)).count(seen, chunk);
        }
        if let (Some(mut tally), Some(seen)) = (tally, &mut self.seen) {
            tally.flush(seen);
        }
        non_finite
    }

    /// The counts, with room for values of this range.
    fn grown(&mut self, range: Range) -> &mut Seen {
        let old = self.seen.take();
        let union = old.as_ref().map_or(range, |s| s.range.union(range));
        self.seen.insert(match old {
            Some(same) if same.range == union => same,
            old => {
                let mut seen = Seen::new(self.bins, self.octaves, union);
                if let Some(old) = old {
                    seen.add(&old);
                }
                seen
            }
        })
    }

    pub(crate) fn state(&self) -> BinCounts {
        let counts = self.seen.as_ref().map_or_else(Vec::new, |s| s.counts.clone());
        BinCounts { bins_per_octave: self.bins, count: self.count, range: self.range(), counts }
    }

    /// Adds a saved state after checking that it is one.
    pub(crate) fn merge(&mut self, name: &'static str, state: &BinCounts) -> Result<(), ObserverError> {
        let wrong = |why: String| Err(ObserverError::State { observer: name, why });
        let BinCounts { bins_per_octave, count, range, counts } = state;
        if *bins_per_octave != self.bins {
            return wrong(format!("it has {bins_per_octave} bins an octave, this one has {}", self.bins));
        }
        let Some(range) = range else {
            return if *count == 0 && counts.is_empty() {
                Ok(())
            } else {
                wrong("it has counts and no range".to_owned())
            };
        };
        range.check(name)?;
        let grid = Grid::new(self.bins, self.octaves, *range);
        let first = grid.slot(range.min);
        let slots = (grid.slot(range.max) - first) as usize + 1;
        let sum = counts.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
        if counts.len() != slots || sum != Some(*count) {
            return wrong(format!(
                "{} counts do not belong to its range and its number of values",
                counts.len()
            ));
        }
        if counts.first() == Some(&0) || counts.last() == Some(&0) {
            return wrong("nothing is counted at an end of its range".to_owned());
        }
        let total = add_counts(name, self.count, *count)?;
        self.grown(*range).add(&Seen { range: *range, grid, first, counts: counts.clone() });
        self.count = total;
        Ok(())
    }

    /// The grid, the slot of the first count, and the counts.
    pub(crate) fn slots(&self) -> Option<(Grid, i32, &[u64])> {
        self.seen.as_ref().map(|s| (s.grid, s.first, s.counts.as_slice()))
    }

    /// The bins that are not empty, ascending; the outermost ones end at the smallest and largest value.
    pub(crate) fn bins(&self) -> impl Iterator<Item = Bin> {
        self.seen.iter().flat_map(|seen| {
            let (min, max) = (f64::from(seen.range.min), f64::from(seen.range.max));
            (seen.first..).zip(&seen.counts).filter(|(_, count)| **count > 0).map(move |(slot, count)| {
                let (inner, outer) = (seen.grid.edge(slot.abs()), seen.grid.edge(slot.abs() + 1));
                let (low, high) = match slot.signum() {
                    0 => (-outer, outer),
                    1 => (inner, outer),
                    _ => (-outer, -inner),
                };
                Bin { low: low.max(min), high: high.min(max), count: *count }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octaves(data: &[f32]) -> Octaves {
        let mut o = Octaves::new(8, 4);
        o.observe("test", data).unwrap();
        o
    }

    #[test]
    fn bins_hold_their_values() {
        let o = octaves(&[1.0, 1.1, 1.125, 1.99, 0.5, 0.13, 0.124, 0.0, -0.0, -1.0, -1.05]);
        let bins: Vec<Bin> = o.bins().collect();
        let expected = [
            (-1.05f32 as f64, -1.0, 2),
            (-0.125, 0.125, 3),
            (0.125, 0.140_625, 1),
            (0.5, 0.5625, 1),
            (1.0, 1.125, 2),
            (1.125, 1.25, 1),
            (1.875, 1.99f32 as f64, 1),
        ];
        assert_eq!(bins.len(), expected.len());
        for (bin, (low, high, count)) in bins.iter().zip(expected) {
            assert_eq!((bin.low as f32, bin.high as f32, bin.count), (low as f32, high as f32, count));
        }
    }

    #[test]
    fn long_and_short_batches_count_alike() {
        let data: Vec<f32> = (0..3 * CHUNK + 17).map(|i| ((i * 7919) % 10_007) as f32 - 3000.0).collect();
        let whole = octaves(&data);
        let mut parts = Octaves::new(8, 4);
        data.chunks(999).for_each(|part| parts.observe("test", part).unwrap());
        assert_eq!(whole, parts);
        // One bad value in the last chunk: nothing is taken.
        let mut bad = data.clone();
        bad[3 * CHUNK + 3] = f32::NAN;
        bad[5] = f32::INFINITY;
        let error = parts.observe("test", &bad).unwrap_err();
        assert_eq!(error, ObserverError::NonFinite { count: 2, len: data.len() as u64 });
        assert_eq!(whole, parts);
    }

    proptest! {
        #[test]
        fn every_value_is_in_a_bin_that_holds_it(data in proptest::collection::vec(any::<f32>(), 1..50)) {
            let data: Vec<f32> = data.into_iter().filter(|v| v.is_finite()).collect();
            prop_assume!(!data.is_empty());
            let o = octaves(&data);
            let bins: Vec<Bin> = o.bins().collect();
            prop_assert_eq!(bins.iter().map(|b| b.count).sum::<u64>(), data.len() as u64);
            prop_assert!(bins.windows(2).all(|w| w[0].high <= w[1].low));
            for x in data.iter().map(|x| f64::from(*x)) {
                prop_assert!(bins.iter().any(|b| b.low <= x && x <= b.high), "{x} {bins:?}");
            }
        }
    }
}
