//! Moving average of the smallest and of the largest value of batches.

use crate::averages::{Averages, Settings};
use crate::min_max::batch_range;
use crate::observer::check_len;
use crate::spec::{Serves, full_range};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::{AffineParams, DType, Granularity, QuantSpec};

const NAME: &str = "moving_average_min_max";

/// Observes a moving average of the smallest and of the largest value of each batch.
///
/// The first batch sets both; each further one moves them: `m + averaging_constant * (batch - m)`, in f32, as in
/// PyTorch. So the order of batches matters here. Merging means that the merged state's batches came later, and gives
/// what one observer of both has, up to a rounding error of about `1e-6` of the largest magnitude seen.
#[derive(Debug, Clone, PartialEq)]
pub struct MovingAverageMinMaxObserver {
    settings: Settings,
    seen: Averages,
}

impl Default for MovingAverageMinMaxObserver {
    /// Unsigned 8-bit, affine, codes 0..=255, averaging constant 0.01.
    fn default() -> Self {
        Self::asymmetric()
    }
}

impl MovingAverageMinMaxObserver {
    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `0 < averaging_constant <= 1`; [`ObserverError::Granularity`] unless `spec`
    /// is per tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, averaging_constant: f32) -> Result<Self, ObserverError> {
        let settings = Settings { eps, constant: averaging_constant, ..Settings::of(spec) };
        settings.check(NAME, Serves::Tensor)?;
        Ok(Self::unchecked(settings))
    }

    const fn unchecked(settings: Settings) -> Self {
        Self { settings, seen: Averages::EMPTY }
    }

    /// Unsigned 8-bit, affine, codes 0..=255.
    #[must_use]
    pub fn asymmetric() -> Self {
        Self::unchecked(Settings::of(QuantSpec::u8_affine()))
    }

    /// Signed 8-bit, symmetric, codes -127..=127.
    #[must_use]
    pub fn symmetric() -> Self {
        Self::unchecked(Settings::of(QuantSpec::i8_symmetric(Granularity::PerTensor)))
    }

    /// Unsigned 8-bit, affine, with this averaging constant; one outside `0 < c <= 1` is an error when data comes or
    /// the configuration is built.
    #[must_use]
    pub fn with_args(averaging_constant: f32) -> Self {
        Self::unchecked(Settings { constant: averaging_constant, ..Settings::of(QuantSpec::u8_affine()) })
    }

    /// The same observer for codes of another type, over that type's full range
    /// (symmetric signed codes leave out the smallest one), forgetting what was seen.
    ///
    /// # Errors
    /// [`ObserverError::QType`] when `dtype` cannot hold codes.
    pub fn with_dtype(self, dtype: DType) -> Result<Self, ObserverError> {
        let spec = full_range(self.settings.spec, dtype)?;
        Ok(Self::unchecked(Settings { spec, ..self.settings }))
    }

    /// The same observer in this mode, forgetting what was seen.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self::unchecked(Settings { mode, ..self.settings })
    }
}

impl Observer for MovingAverageMinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        self.settings.check(NAME, Serves::Tensor)?;
        check_len(data, dims)?;
        let range = batch_range(data, self.settings.mode)?;
        self.seen.push(
            NAME,
            data.len() as u64,
            range.into_iter().collect(),
            (self.settings.constant, self.settings.mode),
        )
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        self.settings.params(&self.seen)
    }

    fn range(&self) -> Option<Range> {
        self.seen.average.first().copied()
    }

    fn count(&self) -> u64 {
        self.seen.count
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.settings.spec)
    }

    fn config(&self) -> ObserverConfig {
        let Settings { spec, eps, constant, mode } = self.settings;
        ObserverConfig::MovingAverageMinMax { spec, eps, averaging_constant: constant, mode }
    }

    fn state(&self) -> ObserverState {
        ObserverState::MovingAverageMinMax {
            count: self.seen.count,
            batches: self.seen.batches,
            first: self.seen.first.first().copied(),
            average: self.seen.average.first().copied(),
        }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::MovingAverageMinMax { count, batches, first, average } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        let (first, average) = (first.iter().copied().collect(), average.iter().copied().collect());
        let later = Averages { count: *count, batches: *batches, first, average };
        later.check(NAME, self.settings.mode)?;
        self.seen.append(NAME, &later, self.settings.constant)
    }

    fn reset(&mut self) {
        self.seen = Averages::EMPTY;
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}
