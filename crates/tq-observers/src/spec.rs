//! What every observer does with the request it serves.

use crate::{ObserverError, Range};
use tq_qtypes::affine::choose_qparams;
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QTypeError, QuantSpec};

/// Kinds of granularity, as observers serve them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    Tensor,
    Channels,
    Groups,
}

/// Checks the request, the smallest scale and that the observer can serve the granularity.
pub(crate) fn check(
    observer: &'static str,
    spec: &QuantSpec,
    eps: f32,
    serves: Serves,
) -> Result<(), ObserverError> {
    spec.validate()?;
    if !(eps.is_finite() && eps > 0.0) {
        return Err(QTypeError::BadScale { index: 0, scale: eps }.into());
    }
    let fits = match spec.granularity {
        Granularity::PerTensor => serves == Serves::Tensor,
        Granularity::PerChannel { .. } => serves == Serves::Channels,
        Granularity::PerGroup { .. } => serves == Serves::Groups,
    };
    if fits {
        Ok(())
    } else {
        Err(ObserverError::Granularity { observer, granularity: format!("{:?}", spec.granularity) })
    }
}

/// `spec` over the full range of `dtype`; -127 instead of -128 and its like where symmetric.
pub(crate) fn full_range(spec: QuantSpec, dtype: DType) -> Result<QuantSpec, ObserverError> {
    let (lo, hi) = dtype.quant_range().ok_or(QTypeError::NotQuantized(dtype))?;
    let quant_min = if spec.scheme == QScheme::Symmetric && lo < 0 { -hi } else { lo };
    Ok(QuantSpec { dtype, quant_min, quant_max: hi, ..spec })
}

/// Parameters for these ranges, one pair each.
pub(crate) fn params_of(
    ranges: impl ExactSizeIterator<Item = Range>,
    spec: &QuantSpec,
    eps: f32,
) -> Result<AffineParams, ObserverError> {
    let mut scale = Vec::with_capacity(ranges.len());
    let mut zero_point = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (s, z) = choose_qparams(range.min, range.max, spec, eps)?;
        scale.push(s);
        zero_point.push(z);
    }
    if scale.is_empty() {
        return Err(ObserverError::NoData);
    }
    Ok(AffineParams {
        dtype: spec.dtype,
        quant_min: spec.quant_min,
        quant_max: spec.quant_max,
        granularity: spec.granularity,
        scale,
        zero_point,
    })
}

/// The sum of two numbers of values, which only a forged state can overflow.
pub(crate) fn add_counts(observer: &'static str, a: u64, b: u64) -> Result<u64, ObserverError> {
    a.checked_add(b).ok_or_else(|| ObserverError::State { observer, why: "it counts beyond 2^64".to_owned() })
}
