//! The range that holds a given share of the values.

use crate::distribution::{Distribution, observe_distribution};
use crate::histogram::DEFAULT_BINS;
use crate::octaves::{Bin, Octaves};
use crate::{ObserverConfig, ObserverError, Range};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{Granularity, QScheme, QuantSpec};

const NAME: &str = "percentile";

/// The share kept unless told otherwise, in percent.
pub(crate) const DEFAULT_PERCENTILE: f64 = 99.99;

/// Observes a histogram, and chooses the range that holds `percentile` percent of all values.
///
/// * affine: as many values are cut at either end, `(100 - percentile) / 2` percent of all; an end on the wrong side of
///   zero cuts nothing, since the range is widened to zero.
/// * symmetric: `-t..t`, where `percentile` percent of the magnitudes are at most `t`.
///
/// Ends fall within the bin that holds the value of that rank, values taken as spread evenly over their bins; 100 is the
/// range of all data exactly. Counts are exact and merging is exact, as with [`crate::HistogramObserver`], whose bins
/// these are.
#[derive(Debug, Clone, PartialEq)]
pub struct PercentileObserver {
    pub(crate) all: Distribution,
    percentile: f64,
}

impl Default for PercentileObserver {
    /// Unsigned 8-bit, affine, 99.99 percent, 2048 bins.
    fn default() -> Self {
        Self::with_args(DEFAULT_PERCENTILE)
    }
}

impl PercentileObserver {
    /// Unsigned 8-bit, affine, 2048 bins. A share that is not above 0 and at most 100 is an error when data comes or the
    /// configuration is built.
    #[must_use]
    pub const fn with_args(percentile: f64) -> Self {
        let all = Distribution::new(QuantSpec::u8_affine(), DEFAULT_EPS, DEFAULT_BINS);
        Self { all, percentile }
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `percentile` is above 0 and at most 100 and `bins` is 1 to 65536;
    /// [`ObserverError::Granularity`] unless `spec` is per tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, percentile: f64, bins: usize) -> Result<Self, ObserverError> {
        let observer = Self { all: Distribution::new(spec, eps, bins), percentile };
        observer.check()?;
        Ok(observer)
    }

    /// Unsigned 8-bit, affine, 99.99 percent.
    #[must_use]
    pub const fn asymmetric() -> Self {
        Self::with_args(DEFAULT_PERCENTILE)
    }

    /// Signed 8-bit, symmetric, codes -127..=127, 99.99 percent.
    #[must_use]
    pub const fn symmetric() -> Self {
        let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
        Self { all: Distribution::new(spec, DEFAULT_EPS, DEFAULT_BINS), percentile: DEFAULT_PERCENTILE }
    }

    fn check(&self) -> Result<(), ObserverError> {
        self.all.check(NAME)?;
        if self.percentile > 0.0 && self.percentile <= 100.0 {
            return Ok(());
        }
        Err(ObserverError::Setting {
            observer: NAME,
            setting: "percentile",
            value: self.percentile.to_string(),
            allowed: "it must be above 0 and at most 100",
        })
    }

    fn as_config(&self) -> ObserverConfig {
        let Distribution { spec, eps, bins, .. } = self.all;
        ObserverConfig::Percentile { spec, eps, percentile: self.percentile, bins }
    }

    fn choose(&self) -> Option<Range> {
        let seen = &self.all.seen;
        let range = seen.range()?;
        let cut = 1.0 - self.percentile / 100.0;
        if cut <= 0.0 {
            return Some(range);
        }
        Some(match self.all.spec.scheme {
            QScheme::Affine => {
                let (low, high) = (quantile(seen, cut / 2.0), quantile(seen, 1.0 - cut / 2.0));
                Range {
                    min: if range.min < 0.0 { low.min(0.0) } else { range.min },
                    max: if range.max > 0.0 { high.max(0.0) } else { range.max },
                }
            }
            QScheme::Symmetric => {
                let end = magnitude(seen, 1.0 - cut);
                Range { min: range.min.max(-end), max: range.max.min(end).max(range.min.max(-end)) }
            }
        })
    }
}

observe_distribution!(PercentileObserver, NAME, Percentile);

/// The value that `share` of all values do not exceed.
fn quantile(seen: &Octaves, share: f64) -> f32 {
    rank(seen.bins(), seen.count(), share)
}

/// The magnitude that `share` of all magnitudes do not exceed.
fn magnitude(seen: &Octaves, share: f64) -> f32 {
    let mut bins: Vec<Bin> = seen
        .bins()
        .map(|b| match b {
            b if b.low >= 0.0 => b,
            b if b.high <= 0.0 => Bin { low: -b.high, high: -b.low, ..b },
            b => Bin { low: 0.0, high: b.high.max(-b.low), ..b },
        })
        .collect();
    bins.sort_by(|a, b| a.low.total_cmp(&b.low));
    rank(bins.into_iter(), seen.count(), share)
}

/// Goes up through ascending bins until `share` of `count` values lie below.
fn rank(bins: impl Iterator<Item = Bin>, count: u64, share: f64) -> f32 {
    let wanted = share * count as f64;
    let (mut below, mut end) = (0.0, 0.0);
    for bin in bins {
        let here = bin.count as f64;
        end = bin.high;
        if below + here >= wanted {
            let within = ((wanted - below) / here).clamp(0.0, 1.0);
            return (bin.low + (bin.high - bin.low) * within) as f32;
        }
        below += here;
    }
    end as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observer;
    use proptest::prelude::*;

    fn seen(o: PercentileObserver, data: &[f32]) -> PercentileObserver {
        let mut o = o;
        o.observe(data, &[data.len()]).unwrap();
        o
    }

    #[test]
    fn outliers_are_cut_at_both_ends() {
        let mut data: Vec<f32> = (0..10_000).map(|i| (i as f32 - 4999.5) / 5000.0).collect();
        data.extend([1e3, -1e5]);
        let range = seen(PercentileObserver::with_args(99.9), &data).choose().unwrap();
        assert!((range.min + 0.999).abs() < 0.003 && (range.max - 0.999).abs() < 0.003, "{range:?}");
        let whole = seen(PercentileObserver::with_args(100.0), &data).choose().unwrap();
        assert_eq!(whole, Range { min: -1e5, max: 1e3 });
    }

    #[test]
    fn the_settings_must_make_sense() {
        for percentile in [0.0, -1.0, 100.1, f64::NAN] {
            let mut o = PercentileObserver::with_args(percentile);
            assert!(matches!(o.observe(&[1.0], &[1]), Err(ObserverError::Setting { .. })));
        }
    }

    proptest! {
        /// Against the sorted data: the end lies within a bin of the value of that rank.
        #[test]
        fn ends_are_those_of_the_sorted_data(
            mut data in proptest::collection::vec(-100.0f32..100.0, 2..400),
            percentile in 50.0f64..100.0,
        ) {
            let o = seen(PercentileObserver::with_args(percentile), &data);
            let range = o.choose().unwrap();
            data.sort_by(f32::total_cmp);
            let at = |share: f64| {
                let rank = (share * data.len() as f64).ceil() as usize;
                data[rank.clamp(1, data.len()) - 1]
            };
            let cut = (1.0 - percentile / 100.0) / 2.0;
            // 512 bins an octave: a bin is at most 1/512 of its magnitude; the bin around zero ends at 2^-20 of the
            // largest magnitude.
            let close = |a: f32, b: f32| (a - b).abs() <= b.abs().max(a.abs()) / 500.0 + 1e-3;
            if data[0] < 0.0 {
                prop_assert!(close(range.min, at(cut).min(0.0)), "{range:?} {}", at(cut));
            }
            if data[data.len() - 1] > 0.0 {
                prop_assert!(close(range.max, at(1.0 - cut).max(0.0)), "{range:?} {}", at(1.0 - cut));
            }
            let o = seen(PercentileObserver::symmetric(), &data);
            prop_assert!(o.choose().unwrap().min <= o.choose().unwrap().max);
        }
    }
}
