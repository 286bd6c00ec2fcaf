//! Figures that a user defines, for both models, with the interval of their difference.

use crate::{AnalysisError, concat_rows};
use rayon::prelude::*;
use serde::Serialize;
use tq_graph::Tensor;

/// Samples that the bootstrap draws.
const RESAMPLES: u64 = 1000;

/// What makes a figure impossible.
pub type MetricError = Box<dyn std::error::Error + Send + Sync>;

/// A figure of a model's outputs, of one's own making.
///
/// A pair of a name and a closure is one; so a metric that knows the labels is a closure that holds them.
pub trait Metric: Sync {
    /// What the figure is called.
    fn name(&self) -> &str;

    /// The figure for some rows of the data.
    ///
    /// `outputs` are the outputs of the model for all rows of the data, in the order of the graph's outputs, row `i` on index
    /// `i` of axis 0. `rows` are the rows that count, where one may stand several times: the interval comes from samples of
    /// rows drawn with replacement. It is called from several threads.
    ///
    /// # Errors
    /// Whatever makes the figure impossible.
    fn measure(&self, outputs: &[Tensor], rows: &[usize]) -> Result<f64, MetricError>;
}

impl<F> Metric for (&str, F)
where
    F: Fn(&[Tensor], &[usize]) -> Result<f64, MetricError> + Sync,
{
    fn name(&self) -> &str {
        self.0
    }

    fn measure(&self, outputs: &[Tensor], rows: &[usize]) -> Result<f64, MetricError> {
        (self.1)(outputs, rows)
    }
}

/// A user's figure of both models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricComparison {
    /// What the figure is called.
    pub name: String,
    /// That of the float model.
    pub float: f64,
    /// That of the quantized model.
    pub quantized: f64,
    /// The first less the second.
    pub drop: f64,
    /// Bounds of that in the population that the rows are a sample of, at 95 %: the percentile interval of the paired bootstrap
    /// (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3), from 1000 samples of rows, the same for
    /// both models. None where there are less than two rows, or a sample of them has no figure.
    pub drop_interval: Option<(f64, f64)>,
}

/// Outputs of both models, gathered batch by batch.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    float: Vec<Vec<Tensor>>,
    quantized: Vec<Vec<Tensor>>,
}

impl Gathered {
    pub(crate) fn add(&mut self, float: Vec<Tensor>, quantized: Vec<Tensor>) {
        self.float.push(float);
        self.quantized.push(quantized);
    }

    /// All figures.
    pub(crate) fn compare(
        self,
        metrics: &[&dyn Metric],
        rows: usize,
    ) -> Result<Vec<MetricComparison>, AnalysisError> {
        if metrics.is_empty() {
            return Ok(Vec::new());
        }
        let (float, quantized) = (joined(self.float)?, joined(self.quantized)?);
        metrics.iter().map(|m| compare(*m, &float, &quantized, rows)).collect()
    }
}

/// Each output of all batches in one.
fn joined(batches: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>, AnalysisError> {
    let count = batches.first().map_or(0, Vec::len);
    (0..count)
        .map(|i| concat_rows(&batches.iter().filter_map(|b| b.get(i).cloned()).collect::<Vec<_>>()))
        .collect()
}

fn compare(
    metric: &dyn Metric,
    float: &[Tensor],
    quantized: &[Tensor],
    rows: usize,
) -> Result<MetricComparison, AnalysisError> {
    let all: Vec<usize> = (0..rows).collect();
    let figure = |outputs: &[Tensor]| {
        let failed = |source| AnalysisError::Metric { name: metric.name().to_owned(), source };
        metric.measure(outputs, &all).map_err(failed)
    };
    let (f, q) = (figure(float)?, figure(quantized)?);
    let difference = |seed: u64| -> Option<f64> {
        let rows = sample(rows, seed);
        let d = metric.measure(float, &rows).ok()? - metric.measure(quantized, &rows).ok()?;
        (!d.is_nan()).then_some(d)
    };
    // Every sample has its own seed, so that the interval does not depend on the number of threads.
    let drawn: Option<Vec<f64>> =
        if rows < 2 { None } else { (0..RESAMPLES).into_par_iter().map(difference).collect() };
    let drop_interval = drawn.map(|mut drawn| {
        drawn.sort_by(f64::total_cmp);
        let last = drawn.len() - 1;
        // Of 1000 samples 25 lie below and 25 above.
        let cut = drawn.len() / 40;
        (drawn[cut], drawn[last - cut])
    });
    Ok(MetricComparison {
        name: metric.name().to_owned(),
        float: f,
        quantized: q,
        drop: f - q,
        drop_interval,
    })
}

/// As many rows as there are, drawn with replacement.
fn sample(rows: usize, seed: u64) -> Vec<usize> {
    // SplitMix64 (Steele, Lea and Flood, 2014). The seed is mixed too: neighbouring ones would give the same numbers one
    // place later. The high half of the product spreads a number over the rows.
    let mut state = mixed(seed.wrapping_add(1));
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(state)
    };
    (0..rows).map(|_| ((u128::from(next()) * rows as u128) >> 64) as usize).collect()
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: Vec<f32>) -> Vec<Tensor> {
        let n = values.len();
        vec![Tensor::new(&[n, 1], values).unwrap()]
    }

    fn mean(outputs: &[Tensor], rows: &[usize]) -> Result<f64, MetricError> {
        let y = outputs[0].as_slice::<f32>()?;
        Ok(rows.iter().map(|r| f64::from(y[*r])).sum::<f64>() / rows.len() as f64)
    }

    #[test]
    fn the_interval_is_that_of_the_normal_for_a_mean() {
        // Differences of mean 0 (400 rows, half -1 and half 1): the standard error of the mean is 1/20.
        let (x, y) =
            (column(vec![0.0; 400]), (0..400).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect());
        let c = compare(&("mean", mean), &x, &column(y), 400).unwrap();
        let (low, high) = c.drop_interval.unwrap();
        assert_eq!((c.name.as_str(), c.float, c.quantized, c.drop), ("mean", 0.0, 0.0, 0.0));
        // 1.96 standard errors; 1000 samples find it to within some percent.
        for end in [-low, high] {
            assert!((end / (1.96 / 20.0) - 1.0).abs() < 0.12, "{low} {high}");
        }
    }

    #[test]
    fn samples_are_paired() {
        // Rows differ much from each other, but the models differ by the same in each: nothing is left to chance.
        let x: Vec<f32> = (0..50).map(|i| i as f32 * 8.0).collect();
        let y: Vec<f32> = x.iter().map(|v| v - 0.5).collect();
        let c = compare(&("mean", mean), &column(x), &column(y), 50).unwrap();
        let (low, high) = c.drop_interval.unwrap();
        assert!((low - 0.5).abs() < 1e-9 && (high - 0.5).abs() < 1e-9, "{low} {high}");
    }

    #[test]
    fn what_has_no_figure_has_no_interval() {
        let (x, y) = (column(vec![0.0, 1.0]), column(vec![0.0, 1.0]));
        assert_eq!(
            compare(&("mean", mean), &column(vec![1.0]), &column(vec![1.0]), 1).unwrap().drop_interval,
            None
        );
        let picky = |outputs: &[Tensor], rows: &[usize]| {
            if rows.contains(&0) { mean(outputs, rows) } else { Err("no figure".into()) }
        };
        assert_eq!(compare(&("picky", picky), &x, &y, 2).unwrap().drop_interval, None);
        let never = |_: &[Tensor], _: &[usize]| Err("no figure".into());
        let error = compare(&("never", never), &x, &y, 2).unwrap_err().to_string();
        assert_eq!(error, "metric never: no figure");
    }

    #[test]
    fn every_row_is_drawn_alike() {
        let mut counts = [0u32; 7];
        (0..1000).flat_map(|seed| sample(7, seed)).for_each(|r| counts[r] += 1);
        // 1000 of each are expected; five standard deviations are 146.
        assert!(counts.iter().all(|c| c.abs_diff(1000) < 146), "{counts:?}");
    }
}
