//! How faithful a model is to another, without labels.

use crate::accuracy::{argmax, numbers, score_rows};
use crate::spearman::cosine;
use crate::{AnalysisError, OutputError};
use tq_graph::Tensor;

/// Pairs of outputs, of the float model and of another, fed batch by batch.
///
/// * Agreement: how often both decide alike. Rows of scores `[rows, classes]` (further dimensions of 1 may follow) with
///   two or more classes decide for the class of the largest score, the lowest of equal ones; each element of any other
///   output, as of a probability, decides by whether it is above the threshold.
/// * Cosine: the mean over rows (axis 0) of the cosine of the angle between the two; an output of rank 0 or 1 is one row
///   a run.
/// * Error: that of all elements together, as [`OutputError`] has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Fidelity {
    threshold: f64,
    rows: usize,
    decisions: usize,
    alike: usize,
    cosines: f64,
    vectors: usize,
    absolute: f64,
    elements: usize,
    error: OutputError,
}

/// What [`Fidelity`] comes to.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct FidelityFigures {
    /// Rows compared.
    pub n: usize,
    /// Percent of decisions that are the same.
    pub agreement: f64,
    /// Mean over rows of the cosine of the angle between the outputs.
    pub cosine: f64,
    /// Signal to quantization noise of all elements in dB.
    pub sqnr_db: f64,
    /// Mean absolute difference of two elements.
    pub mean_error: f64,
    /// Largest absolute difference of two elements.
    pub max_error: f64,
}

impl Fidelity {
    /// Nothing compared yet; outputs that are no rows of scores decide at `threshold`.
    #[must_use]
    pub fn new(threshold: f64) -> Self {
        Self {
            threshold,
            rows: 0,
            decisions: 0,
            alike: 0,
            cosines: 0.0,
            vectors: 0,
            absolute: 0.0,
            elements: 0,
            error: OutputError::default(),
        }
    }

    /// Takes one pair of outputs of `rows` rows in.
    ///
    /// # Errors
    /// [`AnalysisError::Incomparable`] when the shapes differ or one holds no floats.
    pub fn add(
        &mut self,
        name: &str,
        float: &Tensor,
        other: &Tensor,
        rows: usize,
    ) -> Result<(), AnalysisError> {
        self.error.add(float, other)?;
        let (x, y) = (numbers(name, float)?, numbers(name, other)?);
        match score_rows(name, float, rows) {
            Ok((_, classes)) => {
                self.decisions += x.len() / classes;
                let rows = x.chunks_exact(classes).zip(y.chunks_exact(classes));
                self.alike += rows.filter(|(x, y)| argmax(x) == argmax(y)).count();
            }
            Err(_) => {
                self.decisions += x.len();
                let same = |(x, y): &(&f64, &f64)| {
                    (**x > self.threshold) == (**y > self.threshold) && x.is_nan() == y.is_nan()
                };
                self.alike += x.iter().zip(&y).filter(same).count();
            }
        }
        let row = match float.dims() {
            [_, rest @ ..] if !rest.is_empty() => rest.iter().product::<usize>(),
            _ => x.len(),
        };
        for (x, y) in x.chunks_exact(row.max(1)).zip(y.chunks_exact(row.max(1))) {
            // Two rows of zeros are the same.
            let same = x == y;
            self.cosines += if same { 1.0 } else { cosine(x, y) };
            self.vectors += 1;
        }
        self.absolute += x.iter().zip(&y).map(|(x, y)| if x == y { 0.0 } else { (x - y).abs() }).sum::<f64>();
        self.elements += x.len();
        self.rows += rows;
        Ok(())
    }

    /// Decisions compared, and how many of them are the same.
    pub(crate) fn decisions(&self) -> (usize, usize) {
        (self.decisions, self.alike)
    }

    /// The figures of all that was taken in; 100 percent and 1 where that is nothing.
    #[must_use]
    pub fn figures(&self) -> FidelityFigures {
        let mean = |sum: f64, n: usize, none: f64| if n == 0 { none } else { sum / n as f64 };
        FidelityFigures {
            n: self.rows,
            agreement: 100.0 * mean(self.alike as f64, self.decisions, 1.0),
            cosine: mean(self.cosines, self.vectors, 1.0),
            sqnr_db: self.error.sqnr_db(),
            mean_error: mean(self.absolute, self.elements, 0.0),
            max_error: self.error.max_error(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(dims: &[usize], x: &[f32], y: &[f32], rows: usize) -> FidelityFigures {
        let t = |v: &[f32]| Tensor::new(dims, v.to_vec()).unwrap();
        let mut f = Fidelity::new(0.5);
        f.add("y", &t(x), &t(y), rows).unwrap();
        f.figures()
    }

    #[test]
    fn classes_agree_by_the_largest_score() {
        let f = figures(&[2, 3], &[1.0, 2.0, 0.0, 5.0, 0.0, 0.0], &[0.0, 9.0, 0.0, 0.0, 0.0, 1.0], 2);
        assert_eq!((f.n, f.agreement), (2, 50.0));
        // (2 / sqrt 5 + 0) / 2
        assert!((f.cosine - 1.0 / 5f64.sqrt()).abs() < 1e-15, "{}", f.cosine);
        assert_eq!((f.mean_error, f.max_error), (14.0 / 6.0, 7.0));
    }

    #[test]
    fn probabilities_agree_on_their_side_of_the_threshold() {
        let f = figures(&[4], &[0.4, 0.6, 0.5, 0.9], &[0.5, 0.4, 0.0, 0.6], 4);
        assert_eq!(f.agreement, 75.0);
        let column = figures(&[4, 1], &[0.4, 0.6, 0.5, 0.9], &[0.5, 0.4, 0.0, 0.6], 4);
        assert_eq!((column.n, column.agreement), (4, 75.0));
    }

    #[test]
    fn nan_agrees_with_nothing_that_is_a_number() {
        let nan = f32::NAN;
        assert_eq!(figures(&[2], &[nan, 0.1], &[0.1, 0.1], 2).agreement, 50.0);
        assert!(figures(&[2], &[nan, 0.1], &[0.1, 0.1], 2).cosine.is_nan());
    }

    #[test]
    fn the_same_is_perfect_even_where_it_is_zero() {
        let f = figures(&[2, 2], &[0.0, 0.0, 1.0, 2.0], &[0.0, 0.0, 1.0, 2.0], 2);
        assert_eq!((f.agreement, f.cosine, f.mean_error), (100.0, 1.0, 0.0));
        assert_eq!(Fidelity::new(0.5).figures().agreement, 100.0);
    }
}
