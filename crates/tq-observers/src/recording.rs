//! A sample of the values themselves.

use crate::min_max::batch_range;
use crate::observer::check_len;
use crate::range::union;
use crate::spec::{Serves, add_counts, check, params_of};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use serde::{Deserialize, Serialize};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, QuantSpec};

const NAME: &str = "recording";

/// Values kept where no capacity is given.
pub(crate) const DEFAULT_CAPACITY: usize = 4096;
/// The largest capacity: a setting in a file must not ask for all memory.
const MAX_CAPACITY: usize = 1 << 24;

/// One value of the sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// Pseudo-random: the values with the smallest keys are kept.
    pub key: u64,
    /// Position of the value in the stream that its observer saw.
    pub index: u64,
    /// The value.
    pub value: f32,
}

impl Sampled {
    /// The order of the sample: total, so that the same values are kept whatever the order of merging.
    fn rank(&self) -> (u64, u64, u32) {
        (self.key, self.index, self.value.to_bits())
    }
}

/// Keeps a sample of the values seen, besides their range: up to `capacity` values, so memory stays bounded.
///
/// Every value gets a pseudo-random key made of its position in the stream and its bits; the `capacity` values of
/// the smallest keys are kept. So all values are kept while there are no more than `capacity`, and a uniform sample
/// without replacement after that. The same stream in the same order always gives the same sample, however it is cut
/// into batches. Merging keeps the smallest keys of both samples: a uniform sample of both streams, the same for
/// any order of merging, though not the one that a single observer of both streams would have drawn.
///
/// Parameters are those of the range, as from a [`crate::MinMaxObserver`].
#[derive(Debug, Clone, PartialEq)]
pub struct RecordingObserver {
    spec: QuantSpec,
    eps: f32,
    capacity: usize,
    count: u64,
    range: Option<Range>,
    /// Ascending by rank, at most `capacity`.
    sample: Vec<Sampled>,
}

impl Default for RecordingObserver {
    /// Keeps up to 4096 values; unsigned 8-bit, affine.
    fn default() -> Self {
        Self::with_args(DEFAULT_CAPACITY)
    }
}

impl RecordingObserver {
    /// Keeps up to `capacity` values; unsigned 8-bit, affine. A capacity of zero or above 2^24 is an error when data
    /// comes or the configuration is built.
    #[must_use]
    pub const fn with_args(capacity: usize) -> Self {
        let spec = QuantSpec::u8_affine();
        Self { spec, eps: DEFAULT_EPS, capacity, count: 0, range: None, sample: Vec::new() }
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `capacity` is 1 to 2^24; [`ObserverError::Granularity`] unless `spec` is per
    /// tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, capacity: usize) -> Result<Self, ObserverError> {
        let observer = Self { spec, eps, ..Self::with_args(capacity) };
        observer.check()?;
        Ok(observer)
    }

    /// The values kept, in the order in which they were seen; those of merged states are interleaved by position.
    #[must_use]
    pub fn sample(&self) -> Vec<f32> {
        let mut kept = self.sample.clone();
        kept.sort_unstable_by_key(|s| (s.index, s.key, s.value.to_bits()));
        kept.iter().map(|s| s.value).collect()
    }

    fn check(&self) -> Result<(), ObserverError> {
        check(NAME, &self.spec, self.eps, Serves::Tensor)?;
        if (1..=MAX_CAPACITY).contains(&self.capacity) {
            return Ok(());
        }
        let (value, allowed) = (self.capacity.to_string(), "it must be 1 to 16777216");
        Err(ObserverError::Setting { observer: NAME, setting: "capacity", value, allowed })
    }

    /// Sorts the candidates in and drops what is beyond the capacity.
    fn keep(&mut self) {
        self.sample.sort_unstable_by_key(Sampled::rank);
        self.sample.truncate(self.capacity);
    }
}

/// A pseudo-random number for the value `bits` at `index`: the output function of SplitMix64 (Steele, Lea, Flood
/// 2014), whose every output bit depends on every input bit.
fn key(index: u64, bits: u32) -> u64 {
    let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(bits) << 32 | u64::from(bits));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Observer for RecordingObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        self.check()?;
        check_len(data, dims)?;
        let range = batch_range(data, Mode::Native)?;
        let start = self.count;
        self.count = add_counts(NAME, start, data.len() as u64)?;
        self.range = union(self.range, range);
        // Candidates gather behind the sample until there are as many as may be kept, so sorting is rare.
        let bound_of = |sample: &[Sampled]| sample.last().map_or(u64::MAX, |s| s.key);
        let full = self.sample.len() == self.capacity;
        let mut bound = if full { bound_of(&self.sample) } else { u64::MAX };
        for (index, &value) in (start..).zip(data) {
            let key = key(index, value.to_bits());
            if key <= bound {
                self.sample.push(Sampled { key, index, value });
                if self.sample.len() >= self.capacity.saturating_mul(2) {
                    self.keep();
                    bound = bound_of(&self.sample);
                }
            }
        }
        self.keep();
        Ok(())
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        params_of(self.range.into_iter(), &self.spec, self.eps)
    }

    fn range(&self) -> Option<Range> {
        self.range
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.spec)
    }

    fn config(&self) -> ObserverConfig {
        ObserverConfig::Recording { spec: self.spec, eps: self.eps, capacity: self.capacity }
    }

    fn state(&self) -> ObserverState {
        ObserverState::Recording { count: self.count, range: self.range, sample: self.sample.clone() }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::Recording { count, range, sample } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        self.check()?;
        range.iter().try_for_each(|r| r.check(NAME))?;
        let wrong = |why: &str| Err(ObserverError::State { observer: NAME, why: why.to_owned() });
        if sample.len() as u64 > *count || range.is_none() && *count > 0 {
            return wrong("its sample, range and number of values do not go together");
        }
        if range.is_some_and(|r| sample.iter().any(|s| !(r.min..=r.max).contains(&s.value))) {
            return wrong("its sample holds values outside its range");
        }
        self.count = add_counts(NAME, self.count, *count)?;
        self.range = union(self.range, *range);
        self.sample.extend_from_slice(sample);
        self.keep();
        Ok(())
    }

    fn reset(&mut self) {
        self.count = 0;
        self.range = None;
        self.sample.clear();
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}
