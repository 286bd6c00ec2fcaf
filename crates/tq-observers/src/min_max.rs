//! Smallest and largest value of the whole tensor.

use crate::observer::check_len;
use crate::{Observer, ObserverConfig, ObserverError, ObserverState, Range, scan};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams};
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QuantSpec};

/// Observes the smallest and largest value ever seen.
///
/// The range, widened to contain zero, is spread over the codes: see [`choose_qparams`].
#[derive(Debug, Clone, PartialEq)]
pub struct MinMaxObserver {
    spec: QuantSpec,
    eps: f32,
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
        spec.validate()?;
        check_eps(eps)?;
        if spec.granularity != Granularity::PerTensor {
            return Err(ObserverError::Granularity {
                observer: "min_max",
                granularity: format!("{:?}", spec.granularity),
            });
        }
        Ok(Self { spec, eps, count: 0, range: None })
    }

    /// Unsigned 8-bit, affine, codes 0..=255: the usual choice for activations.
    #[must_use]
    pub fn asymmetric() -> Self {
        Self { spec: QuantSpec::u8_affine(), eps: DEFAULT_EPS, count: 0, range: None }
    }

    /// Signed 8-bit, symmetric, codes -127..=127.
    #[must_use]
    pub fn symmetric() -> Self {
        let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
        Self { spec, eps: DEFAULT_EPS, count: 0, range: None }
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
        let spec = full_range(self.spec, dtype)?;
        Self::new(spec, self.eps)
    }
}

/// `spec` over the full range of `dtype`; -127 instead of -128 and its like where symmetric.
pub(crate) fn full_range(spec: QuantSpec, dtype: DType) -> Result<QuantSpec, ObserverError> {
    let (lo, hi) = dtype.quant_range().ok_or(tq_qtypes::QTypeError::NotQuantized(dtype))?;
    let quant_min = if spec.scheme == QScheme::Symmetric && lo < 0 { -hi } else { lo };
    Ok(QuantSpec { dtype, quant_min, quant_max: hi, ..spec })
}

/// The smallest scale must itself be a valid scale.
pub(crate) fn check_eps(eps: f32) -> Result<(), ObserverError> {
    if eps.is_finite() && eps > 0.0 {
        Ok(())
    } else {
        Err(tq_qtypes::QTypeError::BadScale { index: 0, scale: eps }.into())
    }
}

impl Observer for MinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        check_len(data, dims)?;
        let seen = scan::scan(data);
        let len = data.len() as u64;
        if seen.non_finite > 0 {
            return Err(ObserverError::NonFinite { count: seen.non_finite, len });
        }
        self.merge_state(&ObserverState::MinMax { count: len, range: seen.range() })
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        let range = self.range.ok_or(ObserverError::NoData)?;
        let (scale, zero_point) = choose_qparams(range.min, range.max, &self.spec, self.eps)?;
        Ok(AffineParams {
            dtype: self.spec.dtype,
            quant_min: self.spec.quant_min,
            quant_max: self.spec.quant_max,
            granularity: Granularity::PerTensor,
            scale: vec![scale],
            zero_point: vec![zero_point],
        })
    }

    fn range(&self) -> Option<Range> {
        self.range
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn spec(&self) -> &QuantSpec {
        &self.spec
    }

    fn config(&self) -> ObserverConfig {
        ObserverConfig::MinMax { spec: self.spec, eps: self.eps }
    }

    fn state(&self) -> ObserverState {
        ObserverState::MinMax { count: self.count, range: self.range }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::MinMax { count, range } = state else {
            return Err(ObserverError::Merge { observer: "min_max", other: state.observer_name() });
        };
        self.count = self.count.saturating_add(*count);
        self.range = match (self.range, *range) {
            (Some(a), Some(b)) => Some(a.union(b)),
            (a, b) => a.or(b),
        };
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
