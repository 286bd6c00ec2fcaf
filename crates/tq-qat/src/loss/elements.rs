//! Losses element by element.

use super::on_tape;
use crate::{QatError, Var};
use tq_graph::Tensor;

/// Mean of `(x - target)^2`.
///
/// # Errors
/// [`QatError::LossShape`] when the shapes differ or there are no elements, [`QatError::LossNotFinite`].
pub fn mse(x: &Var, target: &Tensor) -> Result<Var, QatError> {
    mean("mse", x, target, |x, t| Ok(((x - t) * (x - t), 2.0 * (x - t))))
}

/// Binary cross-entropy, the mean of `-t ln p - (1 - t) ln(1 - p)`, for probabilities `p`. Logarithms are at least -100 and
/// the gradient divides by at least 1e-12, as in PyTorch, so that a wrong certainty costs much but not everything.
///
/// # Errors
/// As [`mse`]; [`QatError::Probability`] for a `p` or `t` that is not within 0 and 1.
pub fn bce(p: &Var, target: &Tensor) -> Result<Var, QatError> {
    mean("bce", p, target, |p, t| {
        probability("probability", p)?;
        probability("target", t)?;
        // `f64::max` would pass over a NaN.
        let log = |v: f64| if v < 1e-44 { -100.0 } else { libm::log(v) };
        let value = -t * log(p) - (1.0 - t) * log(1.0 - p);
        Ok((value, (p - t) / (p * (1.0 - p)).max(1e-12)))
    })
}

/// [`bce`] of `sigmoid(x)`, without the loss of accuracy far from zero: the mean of
/// `max(x, 0) - x t + ln(1 + exp(-|x|))`.
///
/// # Errors
/// As [`mse`]; [`QatError::Probability`] for a `t` that is not within 0 and 1: the loss would have no lower end.
pub fn bce_with_logits(x: &Var, target: &Tensor) -> Result<Var, QatError> {
    mean("bce_with_logits", x, target, |x, t| {
        probability("target", t)?;
        let small = libm::exp(-x.abs());
        let sigmoid = if x >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
        let positive = if x <= 0.0 { 0.0 } else { x };
        Ok((positive - x * t + libm::log1p(small), sigmoid - t))
    })
}

/// Refuses what is not within 0 and 1. A NaN passes: it makes a loss that is not finite.
fn probability(what: &'static str, value: f64) -> Result<(), QatError> {
    if (0.0..=1.0).contains(&value) || value.is_nan() {
        return Ok(());
    }
    Err(QatError::Probability { what, value: value as f32 })
}

/// The mean of what `of` gives for every element, the second of which is the derivative.
fn mean(
    name: &'static str,
    x: &Var,
    target: &Tensor,
    of: impl Fn(f64, f64) -> Result<(f64, f64), QatError>,
) -> Result<Var, QatError> {
    same_shape(name, x, target)?;
    let (data, target) = (x.value().as_slice::<f32>()?, target.as_slice::<f32>()?);
    let (len, mut sum) = (data.len() as f64, 0.0);
    let mut gradient = Vec::with_capacity(data.len());
    for (x, t) in data.iter().zip(target) {
        let (value, derivative) = of(f64::from(*x), f64::from(*t))?;
        sum += value;
        gradient.push((derivative / len) as f32);
    }
    on_tape(name, x, sum / len, gradient)
}

pub(super) fn same_shape(loss: &'static str, x: &Var, target: &Tensor) -> Result<(), QatError> {
    if x.shape() == target.dims() && !target.is_empty() {
        return Ok(());
    }
    let expected = format!("that of the target, {:?}, with at least one element", target.dims());
    Err(QatError::LossShape { loss, got: x.shape().to_vec(), expected })
}
