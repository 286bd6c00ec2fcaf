//! What every observer does with the request it serves.

use crate::{Mode, ObserverError, Range};
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
        let (setting, allowed) = ("eps", "it must be finite and above 0");
        return Err(ObserverError::Setting { observer, setting, value: eps.to_string(), allowed });
    }
    let fits = match spec.granularity {
        Granularity::PerTensor => serves == Serves::Tensor,
        Granularity::PerChannel { .. } => serves == Serves::Channels,
        Granularity::PerGroup { .. } => serves == Serves::Groups,
    };
    if fits {
        Ok(())
    } else {
        Err(ObserverError::Granularity { observer, granularity: spec.granularity.to_string() })
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

/// [`params_of`] in a mode: PyTorch has other zero points for a few types, see [`pytorch_zero_point`].
pub(crate) fn params_in(
    mode: Mode,
    ranges: impl ExactSizeIterator<Item = Range> + Clone,
    spec: &QuantSpec,
    eps: f32,
) -> Result<AffineParams, ObserverError> {
    let mut params = params_of(ranges.clone(), spec, eps)?;
    if mode == Mode::PyTorch {
        let all = params.zero_point.iter_mut().zip(&params.scale).zip(ranges);
        all.for_each(|((zero, scale), range)| *zero = pytorch_zero_point(spec, *zero, *scale, range));
    }
    Ok(params)
}

/// PyTorch's zero point, where `native` is the one that fits.
///
/// * Symmetric codes have 0 but for those of 8 or 16 unsigned bits: with 4 unsigned bits negative values are lost.
/// * Affine codes of 32 bits subtract in 32 bits, where more than 2^31 steps below zero become -2^31 and the difference
///   wraps around.
fn pytorch_zero_point(spec: &QuantSpec, native: i32, scale: f32, range: Range) -> i32 {
    match (spec.scheme, spec.dtype) {
        (QScheme::Symmetric, DType::U8 | DType::U16) => native,
        (QScheme::Symmetric, _) => 0,
        (QScheme::Affine, DType::I32) => {
            let steps = (range.min.min(0.0) / scale).round_ties_even();
            // What x86 makes of numbers beyond 32 bits is the saturated cast's value: none is above zero.
            spec.quant_min.wrapping_sub(steps as i32).clamp(spec.quant_min, spec.quant_max)
        }
        _ => native,
    }
}

/// The sum of two numbers of values, which only a forged state can overflow.
pub(crate) fn add_counts(observer: &'static str, a: u64, b: u64) -> Result<u64, ObserverError> {
    a.checked_add(b).ok_or_else(|| ObserverError::State { observer, why: "it counts beyond 2^64".to_owned() })
}
