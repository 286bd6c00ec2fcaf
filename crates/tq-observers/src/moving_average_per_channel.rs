//! Moving average of the smallest and of the largest value of every channel.

use crate::averages::{Averages, Settings};
use crate::per_channel::{axis_of, batch_ranges, channel_spec};
use crate::range::union;
use crate::spec::{Serves, full_range};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::{AffineParams, DType, QScheme, QuantSpec};

const NAME: &str = "moving_average_per_channel_min_max";

/// Observes a moving average, batch by batch, of the smallest and of the largest value at every index of one axis.
///
/// See [`crate::MovingAverageMinMaxObserver`] for the average and for what merging means.
#[derive(Debug, Clone, PartialEq)]
pub struct MovingAveragePerChannelMinMaxObserver {
    settings: Settings,
    seen: Averages,
}

impl Default for MovingAveragePerChannelMinMaxObserver {
    /// Unsigned 8-bit, affine, channels along axis 0, averaging constant 0.01.
    fn default() -> Self {
        Self::asymmetric()
    }
}

impl MovingAveragePerChannelMinMaxObserver {
    /// Channels along `ch_axis`: symmetric means i8 codes -127..=127, affine means u8 codes 0..=255.
    #[must_use]
    pub fn new(ch_axis: usize, qscheme: QScheme) -> Self {
        Self::unchecked(Settings::of(channel_spec(ch_axis, qscheme)))
    }

    const fn unchecked(settings: Settings) -> Self {
        Self { settings, seen: Averages::EMPTY }
    }

    /// Unsigned 8-bit, affine, channels along `ch_axis`.
    #[must_use]
    pub fn with_args(ch_axis: usize) -> Self {
        Self::new(ch_axis, QScheme::Affine)
    }

    /// Signed 8-bit, symmetric, codes -127..=127, channels along axis 0.
    #[must_use]
    pub fn symmetric() -> Self {
        Self::new(0, QScheme::Symmetric)
    }

    /// Unsigned 8-bit, affine, channels along axis 0.
    #[must_use]
    pub fn asymmetric() -> Self {
        Self::new(0, QScheme::Affine)
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `0 < averaging_constant <= 1`; [`ObserverError::Granularity`] unless `spec`
    /// is per channel; those of [`QuantSpec::validate`].
    pub fn with_spec(spec: QuantSpec, eps: f32, averaging_constant: f32) -> Result<Self, ObserverError> {
        let settings = Settings { eps, constant: averaging_constant, ..Settings::of(spec) };
        settings.check(NAME, Serves::Channels)?;
        Ok(Self::unchecked(settings))
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

    fn axis(&self) -> usize {
        axis_of(&self.settings.spec)
    }
}

impl Observer for MovingAveragePerChannelMinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        let ranges = batch_ranges(data, dims, self.axis(), self.seen.average.len(), self.settings.mode)?;
        self.seen.push(NAME, data.len() as u64, ranges, (self.settings.constant, self.settings.mode))
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        self.settings.params(&self.seen)
    }

    fn range(&self) -> Option<Range> {
        self.seen.average.iter().copied().map(Some).fold(None, union)
    }

    fn channel_ranges(&self) -> Vec<Range> {
        self.seen.average.clone()
    }

    fn count(&self) -> u64 {
        self.seen.count
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.settings.spec)
    }

    fn config(&self) -> ObserverConfig {
        let Settings { spec, eps, constant, mode } = self.settings;
        ObserverConfig::MovingAveragePerChannelMinMax { spec, eps, averaging_constant: constant, mode }
    }

    fn state(&self) -> ObserverState {
        let Averages { count, batches, first, average } = self.seen.clone();
        ObserverState::MovingAveragePerChannelMinMax { count, batches, first, average }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::MovingAveragePerChannelMinMax { count, batches, first, average } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        let (first, average) = (first.clone(), average.clone());
        let later = Averages { count: *count, batches: *batches, first, average };
        later.check(NAME, self.settings.mode)?;
        let (expected, got) = (self.seen.average.len(), later.average.len());
        if expected != 0 && got != 0 && expected != got {
            return Err(ObserverError::Channels { axis: self.axis(), expected, got });
        }
        self.seen.append(NAME, &later, self.settings.constant)
    }

    fn reset(&mut self) {
        self.seen = Averages::EMPTY;
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}
