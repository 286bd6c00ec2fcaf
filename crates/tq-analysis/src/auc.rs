//! Area under the ROC curve of a detector.

use crate::{AnalysisError, accuracy};
use tq_graph::Tensor;

/// Scores of two classes with their labels: the area under the receiver operating characteristic.
///
/// The area is the chance that a positive drawn at random has a larger score than a negative drawn at random, where
/// equal scores count half: `(R - P (P + 1) / 2) / (P N)`, with `R` the sum of the ranks of the `P` positives among all
/// scores, the smallest being 1, and equal scores sharing the mean of their ranks (Mann and Whitney 1947). This is what
/// scikit-learn's `roc_auc_score` gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RocAuc {
    scores: Vec<f64>,
    positive: Vec<bool>,
}

impl RocAuc {
    /// Takes scores with one label each, 0 or 1: any array with as many elements as labels, or `[labels, 2]`, where the
    /// score is what class 1 has more than class 0.
    ///
    /// # Errors
    /// [`AnalysisError::Output`] when the scores do not go with the labels or hold NaN, [`AnalysisError::Labels`] when
    /// a label is neither 0 nor 1.
    pub fn add(&mut self, name: &str, scores: &Tensor, labels: &[i64]) -> Result<(), AnalysisError> {
        let fail = |message: String| AnalysisError::Output { name: name.to_owned(), message };
        let values = accuracy::numbers(name, scores)?;
        let values = match scores.dims() {
            _ if values.len() == labels.len() => values,
            [n, 2, rest @ ..] if *n == labels.len() && rest.iter().all(|d| *d == 1) => {
                values.chunks_exact(2).map(|pair| pair[1] - pair[0]).collect()
            }
            dims => {
                return Err(fail(format!(
                    "shape {dims:?} does not hold a score for {} labels",
                    labels.len()
                )));
            }
        };
        if values.iter().any(|v| v.is_nan()) {
            return Err(fail("a score is NaN: it has no place in an order".into()));
        }
        for (i, label) in labels.iter().enumerate() {
            if !(0..=1).contains(label) {
                let row = self.scores.len() + i;
                return Err(AnalysisError::Labels(format!("label {row} is {label}: 0 and 1 are expected")));
            }
        }
        self.scores.extend(values);
        self.positive.extend(labels.iter().map(|l| *l == 1));
        Ok(())
    }

    /// Scores taken.
    #[must_use]
    pub fn n(&self) -> usize {
        self.scores.len()
    }

    /// The area, from 0 to 1.
    ///
    /// # Errors
    /// [`AnalysisError::Labels`] when there are not both positives and negatives.
    pub fn area(&self) -> Result<f64, AnalysisError> {
        let positives = self.positive.iter().filter(|p| **p).count();
        let negatives = self.positive.len() - positives;
        if positives == 0 || negatives == 0 {
            return Err(AnalysisError::Labels(format!(
                "{positives} are 1 and {negatives} are 0: the area under the curve needs both"
            )));
        }
        let ranks = average_ranks(&self.scores);
        let sum: f64 = ranks.iter().zip(&self.positive).filter(|(_, p)| **p).map(|(r, _)| r).sum();
        let (p, n) = (positives as f64, negatives as f64);
        Ok((sum - p * (p + 1.0) / 2.0) / (p * n))
    }

    /// Percent of scores on the right side: above `threshold` where the label is 1, else not.
    #[must_use]
    pub fn accuracy(&self, threshold: f64) -> f64 {
        let right = self.scores.iter().zip(&self.positive).filter(|(s, p)| (**s > threshold) == **p).count();
        100.0 * right as f64 / self.n().max(1) as f64
    }
}

/// Ranks from 1 in ascending order; equal values share the mean of their ranks.
pub(crate) fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        // 0 and -0 are equal, though the order tells them apart.
        let same = order[start..].iter().take_while(|i| values[**i] == values[order[start]]).count().max(1);
        let mean = (start + 1 + start + same) as f64 / 2.0;
        order[start..start + same].iter().for_each(|i| ranks[*i] = mean);
        start += same;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn area(scores: &[f32], labels: &[i64]) -> Result<f64, AnalysisError> {
        let mut auc = RocAuc::default();
        auc.add("y", &Tensor::vector(scores.to_vec()), labels)?;
        auc.area()
    }

    #[test]
    fn figures_of_the_textbook() {
        // The example in scikit-learn's documentation of roc_auc_score.
        assert_eq!(area(&[0.1, 0.4, 0.35, 0.8], &[0, 0, 1, 1]).unwrap(), 0.75);
        assert_eq!(area(&[1.0, 2.0], &[0, 1]).unwrap(), 1.0);
        assert_eq!(area(&[1.0, 2.0], &[1, 0]).unwrap(), 0.0);
        assert_eq!(area(&[-0.0, 0.0], &[1, 0]).unwrap(), 0.5);
        assert_eq!(area(&[f32::NEG_INFINITY, 0.0, f32::INFINITY], &[0, 0, 1]).unwrap(), 1.0);
    }

    #[test]
    fn two_classes_are_one_score() {
        let t = Tensor::new(&[3, 2], vec![0.9f32, 0.1, 0.4, 0.6, 0.2, 0.8]).unwrap();
        let mut auc = RocAuc::default();
        auc.add("y", &t, &[0, 1, 1]).unwrap();
        assert_eq!((auc.area().unwrap(), auc.n(), auc.accuracy(0.0)), (1.0, 3, 100.0));
    }

    #[test]
    fn what_cannot_be_is_named() {
        assert!(area(&[1.0], &[1]).unwrap_err().to_string().contains("1 are 1 and 0 are 0"));
        assert!(area(&[1.0], &[2]).unwrap_err().to_string().contains("label 0 is 2"));
        assert!(area(&[f32::NAN], &[1]).unwrap_err().to_string().contains("NaN"));
        assert!(area(&[1.0, 2.0, 3.0], &[1]).unwrap_err().to_string().contains("[3]"));
    }

    #[test]
    fn equal_values_share_ranks() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0, 3.0]), [4.0, 1.0, 4.0, 2.0, 4.0]);
        assert!(average_ranks(&[]).is_empty());
    }

    proptest! {
        /// The definition, pair by pair.
        #[test]
        fn area_is_the_share_of_pairs_in_order(rows in proptest::collection::vec((-3i8..4, 0i64..2), 2..40)) {
            let (scores, labels): (Vec<f32>, Vec<i64>) = rows.iter().map(|(s, l)| (f32::from(*s), *l)).unzip();
            let (mut won, mut pairs) = (0.0, 0.0);
            for (a, la) in rows.iter().filter(|r| r.1 == 1) {
                for (b, lb) in rows.iter().filter(|r| r.1 == 0) {
                    prop_assert!(la != lb);
                    pairs += 1.0;
                    won += if a > b { 1.0 } else if a == b { 0.5 } else { 0.0 };
                }
            }
            match area(&scores, &labels) {
                Ok(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                Err(_) => prop_assert_eq!(pairs, 0.0),
            }
        }
    }
}
