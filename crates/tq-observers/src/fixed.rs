//! Scale and zero point that are known beforehand.

use crate::min_max::batch_range;
use crate::observer::check_len;
use crate::range::union;
use crate::spec::{Serves, add_counts, check};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, QTypeError, QuantSpec};

const NAME: &str = "fixed_qparams";

/// Gives a fixed scale and zero point, whatever the data: for operators whose output range is known, as that of a
/// sigmoid or a tanh.
///
/// It notes the range of the data nevertheless, and refuses non-finite data, but needs none.
#[derive(Debug, Clone, PartialEq)]
pub struct FixedQParamsObserver {
    spec: QuantSpec,
    scale: f32,
    zero_point: i32,
    count: u64,
    range: Option<Range>,
}

impl Default for FixedQParamsObserver {
    /// As [`FixedQParamsObserver::zero_to_one`].
    fn default() -> Self {
        Self::zero_to_one()
    }
}

impl FixedQParamsObserver {
    /// Scale 1/256, zero point 0, u8 codes: for values of 0 to 1, such as those of a sigmoid.
    #[must_use]
    pub const fn zero_to_one() -> Self {
        Self { spec: QuantSpec::u8_affine(), scale: 1.0 / 256.0, zero_point: 0, count: 0, range: None }
    }

    /// Scale 1/128, zero point 128, u8 codes: for values of -1 to 1, such as those of a tanh.
    #[must_use]
    pub const fn minus_one_to_one() -> Self {
        Self { spec: QuantSpec::u8_affine(), scale: 1.0 / 128.0, zero_point: 128, count: 0, range: None }
    }

    /// Unsigned 8-bit, codes 0..=255, with this scale and zero point; ones that cannot be are errors when data comes,
    /// parameters are asked for, or the configuration is built.
    #[must_use]
    pub const fn with_args(scale: f32, zero_point: i32) -> Self {
        Self { spec: QuantSpec::u8_affine(), scale, zero_point, count: 0, range: None }
    }

    /// An observer for `spec`.
    ///
    /// # Errors
    /// [`ObserverError::Granularity`] unless `spec` is per tensor; [`ObserverError::QType`] unless the scale is
    /// finite and positive and the zero point one of the codes; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, scale: f32, zero_point: i32) -> Result<Self, ObserverError> {
        let observer = Self { spec, scale, zero_point, count: 0, range: None };
        observer.calculate_qparams()?;
        Ok(observer)
    }
}

impl Observer for FixedQParamsObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        self.calculate_qparams()?;
        check_len(data, dims)?;
        let range = batch_range(data, Mode::Native)?;
        self.merge_state(&ObserverState::FixedQParams { count: data.len() as u64, range })
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        check(NAME, &self.spec, DEFAULT_EPS, Serves::Tensor)?;
        let QuantSpec { dtype, quant_min, quant_max, granularity, .. } = self.spec;
        if !(quant_min..=quant_max).contains(&self.zero_point) {
            let zero_point = self.zero_point;
            return Err(QTypeError::BadZeroPoint { index: 0, zero_point, quant_min, quant_max }.into());
        }
        let (scale, zero_point) = (vec![self.scale], vec![self.zero_point]);
        let params = AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point };
        params.validate()?;
        Ok(params)
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
        ObserverConfig::FixedQParams { spec: self.spec, scale: self.scale, zero_point: self.zero_point }
    }

    fn state(&self) -> ObserverState {
        ObserverState::FixedQParams { count: self.count, range: self.range }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::FixedQParams { count, range } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        range.iter().try_for_each(|r| r.check(NAME))?;
        self.count = add_counts(NAME, self.count, *count)?;
        self.range = union(self.range, *range);
        Ok(())
    }

    fn reset(&mut self) {
        self.count = 0;
        self.range = None;
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}
