//! Losses of class scores, one row a sample.

use super::on_tape;
use crate::{QatError, Var};
use tq_graph::Tensor;

/// Mean over the rows of `-ln softmax(logits)[label]`, for logits of shape `[rows, classes]`.
///
/// # Errors
/// [`QatError::LossShape`] when the logits are no matrix, [`QatError::LabelCount`] when there is not one label a row,
/// [`QatError::LabelRange`] for a label that is no class, [`QatError::LossNotFinite`].
pub fn cross_entropy(logits: &Var, labels: &[i64]) -> Result<Var, QatError> {
    cross_entropy_smoothed(logits, labels, 0.0)
}

/// [`cross_entropy`] against `1 - smoothing` for the label, and `smoothing` shared out evenly over all classes, the label
/// among them (Szegedy et al., 2016).
///
/// # Errors
/// As [`cross_entropy`]; [`QatError::Hyperparameter`] when `smoothing` is not within 0 and 1.
pub fn cross_entropy_smoothed(logits: &Var, labels: &[i64], smoothing: f32) -> Result<Var, QatError> {
    const NAME: &str = "cross_entropy";
    if !(0.0..=1.0).contains(&smoothing) {
        let (what, value, allowed) = ("label smoothing", smoothing, "it is between 0 and 1");
        return Err(QatError::Hyperparameter { what, value, allowed });
    }
    let [rows, classes] = matrix(NAME, logits)?;
    if labels.len() != rows {
        return Err(QatError::LabelCount { rows, labels: labels.len() });
    }
    let x = logits.value().as_slice::<f32>()?;
    let (even, mut sum) = (f64::from(smoothing) / classes as f64, 0.0);
    let mut gradient = Vec::with_capacity(x.len());
    for (row, (x, label)) in x.chunks_exact(classes).zip(labels).enumerate() {
        let label = usize::try_from(*label).ok().filter(|l| *l < classes).ok_or(QatError::LabelRange {
            row,
            label: *label,
            classes,
        })?;
        let log_p = log_softmax(x, 1.0);
        for (c, log_p) in log_p.iter().enumerate() {
            let target = even + if c == label { 1.0 - f64::from(smoothing) } else { 0.0 };
            // What has no weight counts nothing, be it infinitely unlikely.
            if target > 0.0 {
                sum -= target * log_p;
            }
            gradient.push(((libm::exp(*log_p) - target) / rows as f64) as f32);
        }
    }
    on_tape(NAME, logits, sum / rows as f64, gradient)
}

/// How far the class probabilities are from those of a teacher: mean over the rows of `t^2 * sum p (ln p - ln q)`, where `p`
/// and `q` are the softmaxes of the teacher's logits and of these, both divided by the temperature `t` (Hinton et al.,
/// 2015). The teacher gets no gradient.
///
/// # Errors
/// [`QatError::LossShape`] when the logits are no matrices of one shape, [`QatError::Hyperparameter`] for a temperature
/// that is not finite and positive, [`QatError::LossNotFinite`].
pub fn distillation(logits: &Var, teacher: &Tensor, temperature: f32) -> Result<Var, QatError> {
    const NAME: &str = "distillation";
    if !(temperature.is_finite() && temperature > 0.0) {
        let (what, value, allowed) = ("temperature", temperature, "it is finite and positive");
        return Err(QatError::Hyperparameter { what, value, allowed });
    }
    let [rows, classes] = matrix(NAME, logits)?;
    super::elements::same_shape(NAME, logits, teacher)?;
    let (x, teacher) = (logits.value().as_slice::<f32>()?, teacher.as_slice::<f32>()?);
    let (t, mut sum) = (f64::from(temperature), 0.0);
    let mut gradient = Vec::with_capacity(x.len());
    for (x, teacher) in x.chunks_exact(classes).zip(teacher.chunks_exact(classes)) {
        for (log_q, log_p) in log_softmax(x, t).into_iter().zip(log_softmax(teacher, t)) {
            let (p, q) = (libm::exp(log_p), libm::exp(log_q));
            if p != 0.0 {
                sum += p * (log_p - log_q);
            }
            gradient.push((t * (q - p) / rows as f64) as f32);
        }
    }
    on_tape(NAME, logits, t * t * sum / rows as f64, gradient)
}

/// The shape of logits, which have at least one row and one class.
fn matrix(loss: &'static str, logits: &Var) -> Result<[usize; 2], QatError> {
    match *logits.shape() {
        [rows, classes] if rows > 0 && classes > 0 => Ok([rows, classes]),
        _ => {
            let expected = "rows and classes, at least one of each".to_owned();
            Err(QatError::LossShape { loss, got: logits.shape().to_vec(), expected })
        }
    }
}

/// Logarithms of the softmax of `x / t`.
fn log_softmax(x: &[f32], t: f64) -> Vec<f64> {
    // Not `f32::max`, which would pass over a NaN.
    let largest = x.iter().fold(f32::NEG_INFINITY, |m, v| if *v <= m { m } else { *v });
    let shifted: Vec<f64> = x.iter().map(|v| (f64::from(*v) - f64::from(largest)) / t).collect();
    let log_sum = libm::log(shifted.iter().map(|v| libm::exp(*v)).sum::<f64>());
    shifted.into_iter().map(|v| v - log_sum).collect()
}
