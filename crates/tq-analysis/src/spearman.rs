//! Rank correlation of similarity scores with those that people gave.

use crate::auc::average_ranks;
use crate::{AnalysisError, accuracy};
use tq_graph::Tensor;

/// Similarities of pairs of embeddings with their gold scores.
///
/// The similarity of a pair is the cosine of the angle between the two rows, as sentence encoders are compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairSimilarity {
    similarity: Vec<f64>,
}

impl PairSimilarity {
    /// Takes the embeddings of as many pairs as there are rows: two arrays of one shape `[rows, …]`.
    ///
    /// # Errors
    /// [`AnalysisError::Incomparable`] when the shapes differ, [`AnalysisError::Output`] when there are no rows of
    /// numbers.
    pub fn add(&mut self, name: &str, a: &Tensor, b: &Tensor) -> Result<(), AnalysisError> {
        if a.dims() != b.dims() || a.rank() < 2 {
            return Err(AnalysisError::Incomparable {
                float: a.dims().to_vec(),
                float_dtype: a.dtype(),
                quantized: b.dims().to_vec(),
                quantized_dtype: b.dtype(),
            });
        }
        let row = a.dims()[1..].iter().product::<usize>().max(1);
        let (x, y) = (accuracy::numbers(name, a)?, accuracy::numbers(name, b)?);
        self.similarity.extend(x.chunks_exact(row).zip(y.chunks_exact(row)).map(|(x, y)| cosine(x, y)));
        Ok(())
    }

    /// Spearman's rank correlation of the similarities with `gold`, one score a pair.
    ///
    /// # Errors
    /// [`AnalysisError::Labels`] when there are not as many scores as pairs, or as [`spearman`].
    pub fn correlation(&self, gold: &[f64]) -> Result<f64, AnalysisError> {
        if gold.len() != self.similarity.len() {
            return Err(AnalysisError::Labels(format!(
                "{} gold scores for {} pairs",
                gold.len(),
                self.similarity.len()
            )));
        }
        spearman(&self.similarity, gold)
    }
}

/// Cosine of the angle between two vectors; 0 where one of them is zero.
pub(crate) fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    if norms == 0.0 { 0.0 } else { dot(x, y) / norms }
}

/// Spearman's rank correlation: Pearson's correlation of the ranks, equal values sharing the mean of theirs, as
/// `scipy.stats.spearmanr` has it.
///
/// # Errors
/// [`AnalysisError::Labels`] when the lengths differ, there are less than two values, one is NaN, or all of one side
/// are equal: then there is no order to compare.
///
/// ```
/// let rho = tq_analysis::spearman(&[0.1, 0.9, 0.4, 0.5], &[1.0, 5.0, 2.0, 4.0])?;
/// assert_eq!(rho, 1.0);
/// # Ok::<(), tq_analysis::AnalysisError>(())
/// ```
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, AnalysisError> {
    let fail = |message: String| Err(AnalysisError::Labels(message));
    if x.len() != y.len() || x.len() < 2 {
        return fail(format!("rank correlation of {} and {} values", x.len(), y.len()));
    }
    if x.iter().chain(y).any(|v| v.is_nan()) {
        return fail("a score is NaN: it has no place in an order".into());
    }
    let centred = |values: &[f64]| {
        // Ranks have the mean (n + 1) / 2, however many are equal.
        let mean = (values.len() as f64 + 1.0) / 2.0;
        average_ranks(values).into_iter().map(|r| r - mean).collect::<Vec<f64>>()
    };
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (xx, yy) = (dot(&x, &x), dot(&y, &y));
    if xx == 0.0 || yy == 0.0 {
        return fail("all scores are equal: there is no order to compare".into());
    }
    Ok((dot(&x, &y) / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_scipy() {
        // scipy.stats.spearmanr, the first from its documentation.
        let rho = spearman(&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0]).unwrap();
        assert!((rho - 0.820_782_681_668_123_3).abs() < 1e-15, "{rho}");
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).unwrap(), -1.0);
        // By hand: ranks 1.5 1.5 3 4 and 2 1 3.5 3.5, centred product 4, squares 4.5 each.
        let tied = spearman(&[1.0, 1.0, 2.0, 3.0], &[7.0, 5.0, 9.0, 9.0]).unwrap();
        assert!((tied - 4.0 / 4.5).abs() < 1e-15, "{tied}");
    }

    #[test]
    fn no_order_no_correlation() {
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_err());
        assert!(spearman(&[1.0], &[1.0]).is_err());
        assert!(spearman(&[1.0, f64::NAN], &[1.0, 2.0]).is_err());
        assert!(spearman(&[1.0, 2.0], &[1.0, 2.0, 3.0]).is_err());
    }

    #[test]
    fn pairs_are_compared_by_their_angle() {
        let t = |v: Vec<f32>| Tensor::new(&[3, 2], v).unwrap();
        let mut pairs = PairSimilarity::default();
        let a = t(vec![1.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
        pairs.add("y", &a, &t(vec![5.0, 0.0, 1.0, 1.0, 0.0, 1.0])).unwrap();
        assert_eq!(pairs.correlation(&[5.0, 3.0, 1.0]).unwrap(), 1.0);
        assert!(pairs.correlation(&[5.0, 3.0]).is_err());
        assert!(pairs.add("y", &a, &Tensor::vector(vec![1.0f32; 6])).is_err());
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
    }
}
