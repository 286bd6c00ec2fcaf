//! Smallest and largest value of the whole tensor.

use crate::observer::check_len;
use crate::range::union;
use crate::spec::{Serves, add_counts, check, full_range, params_in};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range, scan};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, DType, Granularity, QuantSpec};

const NAME: &str = "min_max";

/// Observes the smallest and largest value ever seen.
///
/// The range, widened to contain zero, is spread over the codes: see [`tq_qtypes::affine::choose_qparams`].
/// In [`Mode::PyTorch`] it takes infinities and NaN as PyTorch does, and then has a range that no parameters
/// can be chosen for; with finite data both modes agree.
#[derive(Debug, Clone, PartialEq)]
pub struct MinMaxObserver {
    spec: QuantSpec,
    eps: f32,
    mode: Mode,
    count: u64,
    range: Option<Range>,
}

impl Default for MinMaxObserver {
    /// Unsigned 8-bit, affine, codes 0..=255.
    fn default() -> Self {
        Self::asymmetric()
    }
}

impl MinMaxObserver {
    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Granularity`] unless `spec` is per tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32) -> Result<Self, ObserverError> {
        check(NAME, &spec, eps, Serves::Tensor)?;
        Ok(Self::unchecked(spec, eps))
    }

    const fn unchecked(spec: QuantSpec, eps: f32) -> Self {
        Self { spec, eps, mode: Mode::Native, count: 0, range: None }
    }

    /// Unsigned 8-bit, affine, codes 0..=255: the usual choice for activations.
    #[must_use]
    pub fn asymmetric() -> Self {
        Self::unchecked(QuantSpec::u8_affine(), DEFAULT_EPS)
    }

    /// Signed 8-bit, symmetric, codes -127..=127.
    #[must_use]
    pub fn symmetric() -> Self {
        Self::unchecked(QuantSpec::i8_symmetric(Granularity::PerTensor), DEFAULT_EPS)
    }

    /// Affine, codes `0..2^bits`, for 2 to 8 bits. Codes of fewer than 8 bits are kept as u8.
    ///
    /// # Errors
    /// [`ObserverError::Bits`] for other numbers of bits.
    pub fn with_bits(bits: u32) -> Result<Self, ObserverError> {
        if !(2..=8).contains(&bits) {
            return Err(ObserverError::Bits { bits });
        }
        let spec = QuantSpec { quant_max: (1 << bits) - 1, ..QuantSpec::u8_affine() };
        Self::new(spec, DEFAULT_EPS)
    }

    /// The same observer for codes of another type, over that type's full range
    /// (symmetric signed codes leave out the smallest one), forgetting what was seen.
    ///
    /// # Errors
    /// [`ObserverError::QType`] when `dtype` cannot hold codes.
    pub fn with_dtype(self, dtype: DType) -> Result<Self, ObserverError> {
        Ok(Self::new(full_range(self.spec, dtype)?, self.eps)?.with_mode(self.mode))
    }

    /// The same observer in this mode, forgetting what was seen.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self { mode, ..Self::unchecked(self.spec, self.eps) }
    }
}

/// The range of one batch, `None` when it has no elements; `Mode::PyTorch` keeps infinities and NaN.
pub(crate) fn batch_range(data: &[f32], mode: Mode) -> Result<Option<Range>, ObserverError> {
    let seen = scan::scan(data);
    if seen.non_finite == 0 {
        return Ok(seen.range());
    }
    if mode == Mode::Native {
        return Err(ObserverError::NonFinite { count: seen.non_finite, len: data.len() as u64 });
    }
    let nan = Range { min: f32::NAN, max: f32::NAN };
    Ok(if data.iter().any(|v| v.is_nan()) { Some(nan) } else { seen.range() })
}

impl Observer for MinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        check_len(data, dims)?;
        let range = batch_range(data, self.mode)?;
        self.count = add_counts(NAME, self.count, data.len() as u64)?;
        self.range = union(self.range, range);
        Ok(())
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        params_in(self.mode, self.range.into_iter(), &self.spec, self.eps)
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
        ObserverConfig::MinMax { spec: self.spec, eps: self.eps, mode: self.mode }
    }

    fn state(&self) -> ObserverState {
        ObserverState::MinMax { count: self.count, range: self.range }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::MinMax { count, range } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        if let (Some(range), Mode::Native) = (range, self.mode) {
            range.check(NAME)?;
        }
        if (*count == 0) != range.is_none() {
            let why = format!("{count} values do not belong to its range");
            return Err(ObserverError::State { observer: NAME, why });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bits_choose_the_codes() {
        let mut o = MinMaxObserver::with_bits(4).unwrap();
        o.observe(&[0.0, 15.0], &[2]).unwrap();
        assert_eq!(o.calculate_qparams().unwrap().uniform(), Some((1.0, 0)));
        assert_eq!(MinMaxObserver::with_bits(1), Err(ObserverError::Bits { bits: 1 }));
        assert_eq!(MinMaxObserver::with_bits(40), Err(ObserverError::Bits { bits: 40 }));
    }

    #[test]
    fn other_types_take_their_full_range() {
        let spec = |o: MinMaxObserver| (o.spec.dtype, o.spec.quant_min, o.spec.quant_max);
        let s = MinMaxObserver::symmetric();
        assert_eq!(spec(s.clone().with_dtype(DType::I16).unwrap()), (DType::I16, -32_767, 32_767));
        assert_eq!(spec(MinMaxObserver::asymmetric().with_dtype(DType::I8).unwrap()), (DType::I8, -128, 127));
        assert!(s.with_dtype(DType::F32).is_err());
    }

    #[test]
    fn non_finite_data_is_refused_whole_and_counted() {
        let mut o = MinMaxObserver::default();
        o.observe(&[1.0], &[1]).unwrap();
        let error = o.observe(&[5.0, f32::NAN, f32::INFINITY], &[3]).unwrap_err();
        assert_eq!(error, ObserverError::NonFinite { count: 2, len: 3 });
        assert_eq!((o.range(), o.count()), (Some(Range { min: 1.0, max: 1.0 }), 1));
    }

    #[test]
    fn nothing_seen_is_an_error_and_no_elements_are_fine() {
        let mut o = MinMaxObserver::default();
        o.observe(&[], &[0, 3]).unwrap();
        assert_eq!(o.calculate_qparams(), Err(ObserverError::NoData));
        assert!(matches!(o.observe(&[1.0], &[2]), Err(ObserverError::DataLength { .. })));
        assert!(o.observe(&[1.0], &[usize::MAX, 2]).is_err());
    }

    #[test]
    fn values_of_pytorch() {
        // torch.ao.quantization.MinMaxObserver on [-1, 1] then [-2, 4].
        let mut o = MinMaxObserver::default();
        o.observe(&[-1.0, 1.0], &[2]).unwrap();
        o.observe(&[-2.0, 4.0], &[2]).unwrap();
        assert_eq!(o.calculate_qparams().unwrap().uniform(), Some((0.023_529_412, 85)));
        // All zeros: the smallest scale, zero point 0.
        let mut o = MinMaxObserver::default();
        o.observe(&[0.0], &[1]).unwrap();
        assert_eq!(o.calculate_qparams().unwrap().uniform(), Some((f32::EPSILON, 0)));
    }

    proptest! {
        #[test]
        fn any_split_and_order_gives_the_same_state(
            data in proptest::collection::vec(-1e20f32..1e20, 1..80),
            cut in 0usize..80,
        ) {
            let cut = cut.min(data.len());
            let mut whole = MinMaxObserver::default();
            whole.observe(&data, &[data.len()]).unwrap();
            let (mut a, mut b) = (MinMaxObserver::default(), MinMaxObserver::default());
            a.observe(&data[..cut], &[cut]).unwrap();
            b.observe(&data[cut..], &[data.len() - cut]).unwrap();
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.merge(&b).unwrap();
            ba.merge(&a).unwrap();
            prop_assert_eq!(&ab, &whole);
            prop_assert_eq!(&ba, &whole);
        }
    }
}
