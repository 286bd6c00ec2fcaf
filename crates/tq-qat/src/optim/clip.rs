//! Keeping gradients within bounds.

use super::groups::check;
use crate::{Parameter, QatError};
use tq_graph::Tensor;

/// Scales all gradients so that their common Euclidean norm is at most `max_norm`, and tells what it was. The factor is
/// `max_norm / (norm + 1e-6)`, as in PyTorch; the norm is summed in f64.
///
/// # Errors
/// [`QatError::GradientNotFinite`] naming the first parameter whose gradient is not finite, [`QatError::Hyperparameter`]
/// when `max_norm` is not finite or below 0. Nothing is changed then.
pub fn clip_grad_norm(parameters: &[Parameter], max_norm: f32) -> Result<f32, QatError> {
    check("largest gradient norm", max_norm)?;
    check_gradients(parameters)?;
    let mut squares = 0.0;
    for gradient in parameters.iter().filter_map(Parameter::gradient) {
        squares += gradient.as_slice::<f32>()?.iter().map(|g| f64::from(*g) * f64::from(*g)).sum::<f64>();
    }
    let norm = libm::sqrt(squares);
    let factor = (f64::from(max_norm) / (norm + 1e-6)) as f32;
    if factor < 1.0 {
        map_gradients(parameters, |g| g * factor)?;
    }
    Ok(norm as f32)
}

/// Clamps every element of every gradient to `-max_value..=max_value`.
///
/// # Errors
/// As [`clip_grad_norm`].
pub fn clip_grad_value(parameters: &[Parameter], max_value: f32) -> Result<(), QatError> {
    check("largest gradient", max_value)?;
    check_gradients(parameters)?;
    map_gradients(parameters, |g| g.clamp(-max_value, max_value))
}

fn map_gradients(parameters: &[Parameter], of: impl Fn(f32) -> f32) -> Result<(), QatError> {
    for parameter in parameters {
        if let Some(gradient) = parameter.gradient() {
            let values = gradient.as_slice::<f32>()?.iter().map(|g| of(*g)).collect();
            parameter.set_gradient(Some(Tensor::new(gradient.dims(), values)?))?;
        }
    }
    Ok(())
}

/// [`QatError::GradientNotFinite`] for the first gradient that is not.
pub(super) fn check_gradients<'p>(
    parameters: impl IntoIterator<Item = &'p Parameter>,
) -> Result<(), QatError> {
    for parameter in parameters {
        let Some(gradient) = parameter.gradient() else { continue };
        let gradient = gradient.as_slice::<f32>()?;
        let count = gradient.iter().filter(|g| !g.is_finite()).count();
        if count > 0 {
            let (parameter, len) = (parameter.name().to_owned(), gradient.len());
            return Err(QatError::GradientNotFinite { parameter, count, len });
        }
    }
    Ok(())
}
