//! One pass over floats: smallest, largest, number of non-finite values.

use crate::Range;

/// Independent accumulators, so that the loop has no chain of dependent instructions and fills vector registers.
const LANES: usize = 32;

/// Smallest and largest of what was scanned so far, and how many values were not finite.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    pub(crate) min: f32,
    pub(crate) max: f32,
    pub(crate) non_finite: u64,
}

impl Scan {
    pub(crate) const EMPTY: Scan = Scan { min: f32::INFINITY, max: f32::NEG_INFINITY, non_finite: 0 };

    /// The range, if any value was seen.
    pub(crate) fn range(&self) -> Option<Range> {
        (self.min <= self.max).then_some(Range::found(self.min, self.max))
    }
}

/// 1 for NaN and infinities. All exponent bits are set in those and in no other value.
#[inline(always)]
fn is_non_finite(v: f32) -> u32 {
    const EXPONENT: u32 = 0x7f80_0000;
    u32::from(v.to_bits() & EXPONENT == EXPONENT)
}

/// `min` and `max` in the form that one machine instruction computes (a NaN `v` is passed over).
#[inline(always)]
fn lower(m: f32, v: f32) -> f32 {
    if v < m { v } else { m }
}
#[inline(always)]
fn upper(m: f32, v: f32) -> f32 {
    if v > m { v } else { m }
}

/// Scans `data`.
pub(crate) fn scan(data: &[f32]) -> Scan {
    // Setting up and joining the accumulators is not worth it for the few elements of a small kernel.
    if data.len() < 4 * LANES {
        return data.iter().fold(Scan::EMPTY, |s, &v| Scan {
            min: lower(s.min, v),
            max: upper(s.max, v),
            non_finite: s.non_finite + u64::from(is_non_finite(v)),
        });
    }
    let mut min = [f32::INFINITY; LANES];
    let mut max = [f32::NEG_INFINITY; LANES];
    let mut total = Scan::EMPTY;
    // The counters of one block are 32 bits wide; a block is short enough not to overflow them.
    for block in data.chunks(LANES << 20) {
        let mut bad = [0u32; LANES];
        let (rows, rest) = block.as_chunks::<LANES>();
        for row in rows {
            for i in 0..LANES {
                min[i] = lower(min[i], row[i]);
                max[i] = upper(max[i], row[i]);
                bad[i] += is_non_finite(row[i]);
            }
        }
        for &v in rest {
            min[0] = lower(min[0], v);
            max[0] = upper(max[0], v);
            bad[0] += is_non_finite(v);
        }
        total.non_finite += bad.iter().map(|n| u64::from(*n)).sum::<u64>();
    }
    total.min = min.into_iter().fold(total.min, lower);
    total.max = max.into_iter().fold(total.max, upper);
    total
}

/// Scans rows of one value a channel into one [`Scan`] a channel: the case of the channel axis being the last.
/// Returns the number of non-finite values.
pub(crate) fn scan_columns(data: &[f32], min: &mut [f32], max: &mut [f32]) -> u64 {
    let channels = min.len();
    if channels == 0 {
        return 0;
    }
    let mut bad = 0u64;
    for row in data.chunks_exact(channels) {
        let mut bad_row = 0u32;
        for ((lo, hi), &v) in min.iter_mut().zip(max.iter_mut()).zip(row) {
            *lo = lower(*lo, v);
            *hi = upper(*hi, v);
            bad_row += is_non_finite(v);
        }
        bad += u64::from(bad_row);
    }
    bad
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_what_is_not_finite_wherever_it_stands() {
        for at in [0, 1, 31, 32, 63, 64, 99, 127, 128, 199] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN] {
                let mut data = vec![1.0f32; if at < 100 { 100 } else { 200 }];
                data[at] = bad;
                assert_eq!(scan(&data).non_finite, 1);
            }
        }
        let extreme = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -0.0];
        assert_eq!(scan(&extreme).non_finite, 0);
        assert_eq!(scan(&extreme).range(), Some(Range { min: f32::MIN, max: f32::MAX }));
        assert!(scan(&[]).range().is_none());
    }

    proptest! {
        #[test]
        fn equals_the_plain_loop(data in proptest::collection::vec(-1e30f32..1e30, 1..300)) {
            let s = scan(&data);
            prop_assert_eq!(s.min, data.iter().copied().fold(f32::INFINITY, f32::min));
            prop_assert_eq!(s.max, data.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            prop_assert_eq!(s.non_finite, 0);
        }
    }
}
