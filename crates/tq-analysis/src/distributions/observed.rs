//! What observers have counted, as histograms.

use super::histogram::{Histogram, representable};
use crate::AnalysisError;
use std::collections::BTreeMap;
use tq_observers::{Bin, Observer, ObserverState};

/// The histograms of those observers that keep one of the whole tensor, each with the range it chose, by their names.
///
/// Observers that keep no more than a range have none; [`QuantizationDebugger::calculate_histograms`] counts the values
/// anew whatever a model was calibrated with.
///
/// ```
/// use std::collections::BTreeMap;
/// use tq_analysis::observer_histograms;
/// use tq_observers::{HistogramObserver, Observer};
///
/// let mut observer = HistogramObserver::default();
/// observer.observe(&[0.0, 0.5, 1.0, 40.0], &[4])?;
/// let observers = BTreeMap::from([("relu".to_owned(), observer.boxed_clone())]);
/// let histograms = observer_histograms(&observers)?;
/// assert_eq!((histograms[0].tensor.as_str(), histograms[0].high), ("relu", 40.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`QuantizationDebugger::calculate_histograms`]: crate::QuantizationDebugger::calculate_histograms
///
/// # Errors
/// [`AnalysisError::Observer`] for a state that no observer can have.
pub fn observer_histograms(
    observers: &BTreeMap<String, Box<dyn Observer>>,
) -> Result<Vec<Histogram>, AnalysisError> {
    let mut histograms = Vec::new();
    for (name, observer) in observers {
        let bins = match observer.state() {
            ObserverState::Histogram(c) | ObserverState::Percentile(c) | ObserverState::Entropy(c) => {
                c.bins()?
            }
            ObserverState::Mse { channels } if channels.len() == 1 => channels[0].bins()?,
            ObserverState::PytorchHistogram { range: Some(range), counts, .. } => {
                let (low, high) = (f64::from(range.min), f64::from(range.max));
                let edge = |i: usize| low + (high - low) * i as f64 / counts.len() as f64;
                let bin =
                    |(i, n): (usize, &f32)| Bin { low: edge(i), high: edge(i + 1), count: n.round() as u64 };
                counts.iter().enumerate().map(bin).filter(|b| b.count > 0).collect()
            }
            _ => continue,
        };
        let chosen = observer.calculate_qparams().ok();
        histograms.extend(Histogram::of_bins(name, &bins, chosen.as_ref().and_then(representable)));
    }
    Ok(histograms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_observers::{HistogramObserver, MinMaxObserver, Mode, MseObserver, PercentileObserver};

    #[test]
    fn every_kind_that_counts_has_one_and_its_clip() {
        // A thousand small values and one far out: the clip of those that clip ends before it.
        let mut data: Vec<f32> = (0..20_000).map(|i| (i % 1000) as f32 / 1000.0).collect();
        data.push(30.0);
        let pytorch = HistogramObserver::default().with_mode(Mode::PyTorch);
        let all: [(&str, Box<dyn Observer>); 5] = [
            ("h", Box::new(HistogramObserver::default())),
            ("p", Box::new(PercentileObserver::default())),
            ("m", Box::new(MseObserver::default())),
            ("t", Box::new(pytorch)),
            ("none", Box::new(MinMaxObserver::default())),
        ];
        let mut observers = BTreeMap::new();
        for (name, mut observer) in all {
            observer.observe(&data, &[data.len()]).unwrap();
            observers.insert(name.to_owned(), observer);
        }
        let found = observer_histograms(&observers).unwrap();
        let names: Vec<&str> = found.iter().map(|h| h.tensor.as_str()).collect();
        assert_eq!(names, ["h", "m", "p", "t"]);
        for h in &found {
            let params = observers[&h.tensor].calculate_qparams().unwrap();
            assert_eq!(h.clip, representable(&params), "{h:?}");
            assert_eq!(h.counts.iter().sum::<u64>(), data.len() as u64, "{h:?}");
            let (_, end) = h.clip.unwrap();
            assert_eq!(h.clipped.unwrap() > 0.0, end < 30.0, "{h:?}");
        }
        assert!(found.iter().any(|h| h.clipped.unwrap() > 0.0));
    }
}
