//! How far a quantized model's output is from the float model's.

use crate::AnalysisError;
use tq_graph::Tensor;

/// SQNR in dB beyond what the rounding of f32 leaves: so much and more is said to be exact.
pub const EXACT_DB: f64 = 130.0;

/// Sums over pairs of outputs `x` (float) and `y` (quantized), fed batch by batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct OutputError {
    xx: f64,
    yy: f64,
    xy: f64,
    ee: f64,
    max: f64,
}

impl OutputError {
    /// Takes one pair of outputs in. Computed in f64.
    ///
    /// # Errors
    /// [`AnalysisError::Incomparable`] when the shapes differ or one holds no floats.
    pub fn add(&mut self, float: &Tensor, quantized: &Tensor) -> Result<(), AnalysisError> {
        let incomparable = || AnalysisError::Incomparable {
            float: float.dims().to_vec(),
            float_dtype: float.dtype(),
            quantized: quantized.dims().to_vec(),
            quantized_dtype: quantized.dtype(),
        };
        if float.dims() != quantized.dims() {
            return Err(incomparable());
        }
        let (Some(x), Some(y)) = (float.to_f64_vec(), quantized.to_f64_vec()) else {
            return Err(incomparable());
        };
        let square = |v: f64| if v.is_infinite() { 0.0 } else { v * v };
        for (x, y) in x.into_iter().zip(y) {
            // The same infinity, as of a mask, is neither signal nor noise; another one is noise without end.
            if x == y && x.is_infinite() {
                continue;
            }
            let e = if x == y { 0.0 } else { (x - y).abs() };
            self.xx += square(x);
            self.yy += square(y);
            self.xy += if x.is_infinite() || y.is_infinite() { 0.0 } else { x * y };
            self.ee += e * e;
            // `max` would drop a NaN; an output that is none must not look perfect.
            if e > self.max || e.is_nan() {
                self.max = e;
            }
        }
        Ok(())
    }

    /// Signal to quantization noise in dB: `20 log10(|x| / |x - y|)`, both norms at least f64's epsilon. Equal infinities
    /// count for neither; where both outputs are zero the signal counts as 1, so that what is equal looks equal.
    #[must_use]
    pub fn sqnr_db(&self) -> f64 {
        let signal = if self.xx == 0.0 && self.ee == 0.0 { 1.0 } else { floored(self.xx) };
        20.0 * (signal / floored(self.ee)).log10()
    }

    /// Energy of the noise over that of the signal, `|x - y|² / |x|²`: [`OutputError::sqnr_db`] without the logarithm, so that
    /// independent errors add up. NaN, and noise where there is no signal, are infinite.
    #[must_use]
    pub fn relative_noise(&self) -> f64 {
        match (self.ee, self.xx) {
            (ee, _) if ee.is_nan() => f64::INFINITY,
            (0.0, _) => 0.0,
            (_, 0.0) => f64::INFINITY,
            (ee, xx) => ee / xx,
        }
    }

    /// Cosine of the angle between the outputs: `<x, y> / (|x| |y|)`, both norms at least f64's epsilon;
    /// 1 when both outputs are zero.
    #[must_use]
    pub fn cosine(&self) -> f64 {
        if self.xx == 0.0 && self.yy == 0.0 { 1.0 } else { self.xy / (floored(self.xx) * floored(self.yy)) }
    }

    /// Largest absolute difference.
    #[must_use]
    pub fn max_error(&self) -> f64 {
        self.max
    }
}

/// The norm of a sum of squares, at least epsilon; NaN stays NaN.
fn floored(squares: f64) -> f64 {
    let norm = squares.sqrt();
    if norm < f64::EPSILON { f64::EPSILON } else { norm }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(x: &[f32], y: &[f32]) -> OutputError {
        let mut e = OutputError::default();
        e.add(&Tensor::vector(x.to_vec()), &Tensor::vector(y.to_vec())).unwrap();
        e
    }

    #[test]
    fn known_values() {
        let e = of(&[3.0, 4.0], &[3.0, 4.5]);
        assert!((e.sqnr_db() - 20.0).abs() < 1e-12);
        assert!((e.relative_noise() - 0.01).abs() < 1e-15);
        assert_eq!(e.max_error(), 0.5);
        assert!((e.cosine() - 27.0 / (5.0 * 29.25f64.sqrt())).abs() < 1e-15);
    }

    #[test]
    fn equal_outputs_are_finite_and_nan_is_not_hidden() {
        let e = of(&[1.0], &[1.0]);
        assert!((e.sqnr_db() - 20.0 * (1.0 / f64::EPSILON).log10()).abs() < 1e-9);
        assert_eq!((e.cosine(), e.max_error()), (1.0, 0.0));
        assert_eq!(of(&[0.0], &[0.0]).cosine(), 1.0);
        assert_eq!(of(&[0.0], &[0.0]).sqnr_db(), of(&[1.0], &[1.0]).sqnr_db());
        let (inf, low) = (f32::INFINITY, f32::NEG_INFINITY);
        assert_eq!(of(&[low, 3.0, 4.0], &[low, 3.0, 4.5]).sqnr_db(), of(&[3.0, 4.0], &[3.0, 4.5]).sqnr_db());
        for (x, y) in [(inf, low), (inf, 1.0), (1.0, inf)] {
            assert_eq!(of(&[x, 1.0], &[y, 1.0]).sqnr_db(), f64::NEG_INFINITY, "{x} {y}");
        }
        assert_eq!([of(&[1.0], &[1.0]), of(&[0.0], &[0.0])].map(|e| e.relative_noise()), [0.0, 0.0]);
        for (x, y) in [(0.0, 1.0), (inf, 1.0), (1.0, f32::NAN)] {
            assert_eq!(of(&[x], &[y]).relative_noise(), f64::INFINITY, "{x} {y}");
        }
        assert!(of(&[1.0, 2.0], &[f32::NAN, 2.0]).sqnr_db().is_nan());
        assert!(of(&[1.0, 2.0], &[f32::NAN, 2.0]).max_error().is_nan());
    }

    #[test]
    fn batches_add_up() {
        let mut parts = of(&[1.0, 2.0], &[1.5, 2.0]);
        parts.add(&Tensor::vector(vec![-3.0f64]), &Tensor::vector(vec![-3.25f32])).unwrap();
        assert_eq!(parts, of(&[1.0, 2.0, -3.0], &[1.5, 2.0, -3.25]));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let mut e = OutputError::default();
        assert!(e.add(&Tensor::vector(vec![1.0f32]), &Tensor::scalar(1.0f32)).is_err());
        assert!(e.add(&Tensor::vector(vec![1u8]), &Tensor::vector(vec![1u8])).is_err());
    }
}
