//! Smallest and largest value of every channel.

use crate::observer::check_len;
use crate::range::union;
use crate::scan::{Scan, scan, scan_columns};
use crate::spec::{Serves, add_counts, check, full_range, params_in};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QTypeError, QuantSpec};

const NAME: &str = "per_channel_min_max";

/// Observes the smallest and largest value at every index of one axis.
///
/// In [`Mode::PyTorch`] it takes infinities and NaN as PyTorch does; with finite data both modes agree.
#[derive(Debug, Clone, PartialEq)]
pub struct PerChannelMinMaxObserver {
    spec: QuantSpec,
    axis: usize,
    eps: f32,
    mode: Mode,
    count: u64,
    ranges: Vec<Range>,
}

impl Default for PerChannelMinMaxObserver {
    /// Unsigned 8-bit, affine, channels along axis 0.
    fn default() -> Self {
        Self::asymmetric()
    }
}

/// Channels along `axis`: symmetric means i8 codes -127..=127, affine means u8 codes 0..=255.
pub(crate) const fn channel_spec(axis: usize, qscheme: QScheme) -> QuantSpec {
    let granularity = Granularity::PerChannel { axis };
    match qscheme {
        QScheme::Symmetric => QuantSpec::i8_symmetric(granularity),
        QScheme::Affine => QuantSpec { granularity, ..QuantSpec::u8_affine() },
    }
}

impl PerChannelMinMaxObserver {
    /// Channels along `ch_axis`: symmetric means i8 codes -127..=127, affine means u8 codes 0..=255.
    #[must_use]
    pub fn new(ch_axis: usize, qscheme: QScheme) -> Self {
        Self::unchecked(channel_spec(ch_axis, qscheme), ch_axis, DEFAULT_EPS)
    }

    const fn unchecked(spec: QuantSpec, axis: usize, eps: f32) -> Self {
        Self { spec, axis, eps, mode: Mode::Native, count: 0, ranges: Vec::new() }
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
    /// [`ObserverError::Granularity`] unless `spec` is per channel; those of [`QuantSpec::validate`].
    pub fn with_spec(spec: QuantSpec, eps: f32) -> Result<Self, ObserverError> {
        check(NAME, &spec, eps, Serves::Channels)?;
        Ok(Self::unchecked(spec, axis_of(&spec), eps))
    }

    /// The same observer for codes of another type, over that type's full range
    /// (symmetric signed codes leave out the smallest one), forgetting what was seen.
    ///
    /// # Errors
    /// [`ObserverError::QType`] when `dtype` cannot hold codes.
    pub fn with_dtype(self, dtype: DType) -> Result<Self, ObserverError> {
        Ok(Self::with_spec(full_range(self.spec, dtype)?, self.eps)?.with_mode(self.mode))
    }

    /// The same observer in this mode, forgetting what was seen.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..Self::unchecked(self.spec, self.axis, self.eps) }
    }
}

/// The channel axis of a per-channel request, which [`check`] has made sure of.
pub(crate) const fn axis_of(spec: &QuantSpec) -> usize {
    match spec.granularity {
        Granularity::PerChannel { axis } | Granularity::PerGroup { axis, .. } => axis,
        Granularity::PerTensor => 0,
    }
}

/// The range of every channel of one batch, or nothing when it has no elements.
///
/// `known` is the number of channels seen before, 0 for none.
pub(crate) fn batch_ranges(
    data: &[f32],
    dims: &[usize],
    axis: usize,
    known: usize,
    mode: Mode,
) -> Result<Vec<Range>, ObserverError> {
    check_len(data, dims)?;
    // No elements are fine, whatever the shape: PyTorch passes them over too.
    if data.is_empty() && mode == Mode::PyTorch {
        return Ok(Vec::new());
    }
    let channels = *dims.get(axis).ok_or(QTypeError::BadAxis { axis, rank: dims.len() })?;
    if known != 0 && known != channels {
        return Err(ObserverError::Channels { axis, expected: known, got: channels });
    }
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let inner: usize = dims.iter().skip(axis + 1).product();
    let mut min = vec![f32::INFINITY; channels];
    let mut max = vec![f32::NEG_INFINITY; channels];
    let mut non_finite = 0;
    if inner == 1 {
        non_finite = scan_columns(data, &mut min, &mut max);
    } else {
        for (i, run) in data.chunks_exact(inner).enumerate() {
            let c = i % channels;
            let Scan { min: lo, max: hi, non_finite: bad } = scan(run);
            min[c] = min[c].min(lo);
            max[c] = max[c].max(hi);
            non_finite += bad;
        }
    }
    if non_finite > 0 {
        if mode == Mode::Native {
            return Err(ObserverError::NonFinite { count: non_finite, len: data.len() as u64 });
        }
        // The scan passes NaN over; PyTorch's minimum and maximum are then NaN.
        for (i, _) in data.iter().enumerate().filter(|(_, v)| v.is_nan()) {
            let c = (i / inner) % channels;
            (min[c], max[c]) = (f32::NAN, f32::NAN);
        }
    }
    Ok(min.into_iter().zip(max).map(|(min, max)| Range::found(min, max)).collect())
}

impl Observer for PerChannelMinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        let ranges = batch_ranges(data, dims, self.axis, self.ranges.len(), self.mode)?;
        self.merge_state(&ObserverState::PerChannelMinMax { count: data.len() as u64, ranges })
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        params_in(self.mode, self.ranges.iter().copied(), &self.spec, self.eps)
    }

    fn range(&self) -> Option<Range> {
        self.ranges.iter().copied().map(Some).fold(None, union)
    }

    fn channel_ranges(&self) -> Vec<Range> {
        self.ranges.clone()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.spec)
    }

    fn config(&self) -> ObserverConfig {
        ObserverConfig::PerChannelMinMax { spec: self.spec, eps: self.eps, mode: self.mode }
    }

    fn state(&self) -> ObserverState {
        ObserverState::PerChannelMinMax { count: self.count, ranges: self.ranges.clone() }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::PerChannelMinMax { count, ranges } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        if self.mode == Mode::Native {
            ranges.iter().try_for_each(|r| r.check(NAME))?;
        }
        if (*count == 0) != ranges.is_empty() {
            let why = format!("{count} values do not belong to {} ranges", ranges.len());
            return Err(ObserverError::State { observer: NAME, why });
        }
        if ranges.is_empty() {
            return Ok(());
        }
        if !self.ranges.is_empty() && self.ranges.len() != ranges.len() {
            let (expected, got) = (self.ranges.len(), ranges.len());
            return Err(ObserverError::Channels { axis: self.axis, expected, got });
        }
        self.count = add_counts(NAME, self.count, *count)?;
        if self.ranges.is_empty() {
            self.ranges.clone_from(ranges);
        } else {
            for (mine, other) in self.ranges.iter_mut().zip(ranges) {
                *mine = mine.union_with_nan(*other);
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.count = 0;
        self.ranges.clear();
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_channel_has_its_own_scale() {
        let mut o = PerChannelMinMaxObserver::new(0, QScheme::Symmetric);
        o.observe(&[1.27, -0.5, 0.0, 0.0, -2.54, 1.0], &[3, 2]).unwrap();
        let p = o.calculate_qparams().unwrap();
        assert_eq!(p.scale, [0.01, f32::EPSILON, 0.02]);
        assert_eq!(p.zero_point, [0, 0, 0]);
        assert_eq!(o.range(), Some(Range { min: -2.54, max: 1.27 }));
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let mut o = PerChannelMinMaxObserver::with_args(1);
        assert!(matches!(o.observe(&[1.0], &[1]), Err(ObserverError::QType(QTypeError::BadAxis { .. }))));
        assert!(matches!(o.observe(&[1.0; 4], &[3, 2]), Err(ObserverError::DataLength { .. })));
        o.observe(&[1.0; 6], &[3, 2]).unwrap();
        assert_eq!(
            o.observe(&[1.0; 6], &[2, 3]),
            Err(ObserverError::Channels { axis: 1, expected: 2, got: 3 })
        );
        o.observe(&[], &[0, 2]).unwrap();
        let bad = o.observe(&[1.0, f32::NAN], &[1, 2]).unwrap_err();
        assert_eq!(bad, ObserverError::NonFinite { count: 1, len: 2 });
    }

    proptest! {
        #[test]
        fn equals_one_observer_a_channel(
            dims in proptest::collection::vec(1usize..5, 1..5),
            axis in 0usize..4,
            seed in 0u32..1000,
        ) {
            let axis = axis % dims.len();
            let numel: usize = dims.iter().product();
            let data: Vec<f32> = (0..numel as u32)
                .map(|i| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 977)) % 2003) as f32 - 1001.0)
                .collect();
            let mut o = PerChannelMinMaxObserver::with_args(axis);
            o.observe(&data, &dims).unwrap();
            let inner: usize = dims[axis + 1..].iter().product();
            let expected: Vec<Range> = (0..dims[axis])
                .map(|c| {
                    let of_channel = || data.iter().enumerate()
                        .filter(|(i, _)| (i / inner) % dims[axis] == c).map(|(_, v)| *v);
                    Range {
                        min: of_channel().fold(f32::INFINITY, f32::min),
                        max: of_channel().fold(f32::NEG_INFINITY, f32::max),
                    }
                })
                .collect();
            prop_assert_eq!(o.channel_ranges(), expected);
        }
    }
}
