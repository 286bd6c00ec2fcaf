//! Values of one tensor in equal bins, and the range that its codes keep.

use crate::AnalysisError;
use crate::plot::histogram_sheet;
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;
use tq_graph::save::replace_file;
use tq_observers::{Bin, HistogramObserver, Observer as _, ObserverState};
use tq_qtypes::AffineParams;

/// Bins of a histogram.
pub(crate) const BINS: usize = 96;

/// How often the values of a tensor lie where, and what its codes can say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// Name of the tensor.
    pub tensor: String,
    /// Where the first bin begins: the smallest value, or a little less where all values are equal.
    pub low: f64,
    /// Where the last bin ends.
    pub high: f64,
    /// Values in bins of equal width.
    pub counts: Vec<u64>,
    /// The smallest and the largest number that the codes stand for; none where the tensor has no codes.
    pub clip: Option<(f64, f64)>,
    /// Percent of the values that lie beyond that, to the accuracy of the bins they were counted in.
    pub clipped: Option<f64>,
}

impl Histogram {
    /// Counts of any width in equal ones; none for no counts. The values of a bin are taken as spread evenly over it.
    pub(crate) fn of_bins(tensor: &str, bins: &[Bin], clip: Option<(f64, f64)>) -> Option<Self> {
        let (first, last) = (bins.first()?, bins.last()?);
        let (mut low, mut high) = (first.low, last.high);
        if low >= high {
            let margin = (low.abs() * 0.5).max(0.5);
            (low, high) = (low - margin, high + margin);
        }
        let edge = |i: usize| if i == BINS { high } else { low + (high - low) * i as f64 / BINS as f64 };
        // Whole numbers of values, and none lost: differences of rounded sums.
        let up_to = |i: usize| if i == 0 { 0 } else { below(bins, edge(i)).round() as u64 };
        let up_to: Vec<u64> = (0..=BINS).map(up_to).collect();
        let counts = up_to.windows(2).map(|w| w[1] - w[0]).collect();
        let clipped = clip.map(|(from, to)| {
            let all = bins.iter().map(|b| b.count as f64).sum::<f64>();
            let inside = if from <= to { below(bins, to) - before(bins, from) } else { 0.0 };
            100.0 * (all - inside) / all
        });
        Some(Self { tensor: tensor.to_owned(), low, high, counts, clip, clipped })
    }

    /// What a plot of it spans: the values and what the codes can say, of which no more than the width of the values to either
    /// side, so that these can be seen.
    pub(crate) fn span(&self) -> (f64, f64) {
        let width = self.high - self.low;
        let (from, to) = self.clip.unwrap_or((self.low, self.high));
        (from.min(self.low).max(self.low - width), to.max(self.high).min(self.high + width))
    }

    /// The bins that hold values: where each begins and ends as shares of [`Histogram::span`], its height by the logarithm
    /// of its count, and whether its middle is beyond what the codes can say.
    pub(crate) fn bars(&self) -> impl Iterator<Item = Bar> {
        let (from, to) = self.span();
        let step = (self.high - self.low) / self.counts.len().max(1) as f64;
        let share = move |x: f64| (x - from) / (to - from);
        let heights = log_shares(&self.counts).into_iter().enumerate().filter(|(_, height)| *height > 0.0);
        heights.map(move |(i, height)| {
            let low = self.low + step * i as f64;
            let middle = low + step / 2.0;
            // What is told as nothing is not shown as something.
            let beyond = self.clip.is_some_and(|(a, b)| middle < a || middle > b);
            let is_beyond = beyond && self.clipped != Some(0.0);
            Bar { from: share(low), to: share(low + step), height, is_beyond }
        })
    }

    /// The ends of what the codes can say, as shares of [`Histogram::span`], where they are in it.
    pub(crate) fn limits(&self) -> impl Iterator<Item = f64> {
        let (from, to) = self.span();
        let ends = self.clip.into_iter().flat_map(|(low, high)| [low, high]);
        ends.map(move |x| (x - from) / (to - from)).filter(|s| (0.0..=1.0).contains(s))
    }
}

/// A bar of a plot, in shares of its width and height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bar {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) height: f64,
    pub(crate) is_beyond: bool,
}

/// Heights of bars, from 0 to 1, by the logarithm of their counts.
fn log_shares(counts: &[u64]) -> Vec<f64> {
    let most = counts.iter().copied().max().unwrap_or(0);
    let log = |n: u64| ((n + 1) as f64).ln();
    counts.iter().map(|n| if *n == 0 { 0.0 } else { (log(*n) / log(most)).max(0.02) }).collect()
}

/// Values that are at most `x`.
fn below(bins: &[Bin], x: f64) -> f64 {
    let part = |b: &Bin| match (b.high <= x, b.low < x) {
        (true, _) => 1.0,
        (false, true) => (x - b.low) / (b.high - b.low),
        (false, false) => 0.0,
    };
    bins.iter().map(|b| b.count as f64 * part(b)).sum()
}

/// Values that are less than `x`.
fn before(bins: &[Bin], x: f64) -> f64 {
    below(bins, x) - bins.iter().filter(|b| b.low == x && b.high == x).map(|b| b.count as f64).sum::<f64>()
}

/// The numbers that these codes can say, where one scale serves all.
pub(crate) fn representable(params: &AffineParams) -> Option<(f64, f64)> {
    let (scale, zero) = params.uniform()?;
    let real = |code: i32| f64::from(scale) * (f64::from(code) - f64::from(zero));
    Some((real(params.quant_min), real(params.quant_max)))
}

/// A histogram that is being counted.
#[derive(Debug, Default)]
pub(crate) struct Counting(HistogramObserver);

impl Counting {
    /// Takes values in; those that are not finite have no place in a histogram.
    pub(crate) fn add(&mut self, values: &[f32]) -> Result<(), AnalysisError> {
        if values.iter().all(|x| x.is_finite()) {
            return Ok(self.0.observe(values, &[values.len()])?);
        }
        let finite: Vec<f32> = values.iter().copied().filter(|x| x.is_finite()).collect();
        Ok(self.0.observe(&finite, &[finite.len()])?)
    }

    /// What was counted; none where there were no finite values.
    pub(crate) fn histogram(
        &self,
        tensor: &str,
        params: Option<&AffineParams>,
    ) -> Result<Option<Histogram>, AnalysisError> {
        let ObserverState::Histogram(counts) = self.0.state() else { return Ok(None) };
        Ok(Histogram::of_bins(tensor, &counts.bins()?, params.and_then(representable)))
    }
}

/// Writes histograms as a picture: a PNG file with a plot a tensor, the range that its codes keep between two lines and what
/// lies beyond in red. The file is written whole or not at all.
///
/// # Errors
/// [`AnalysisError::Write`] when the file cannot be written, [`AnalysisError::Plot`] when there are too many.
pub fn plot_histograms(histograms: &[Histogram], path: impl AsRef<Path>) -> Result<(), AnalysisError> {
    let (png, path) = (histogram_sheet(histograms)?, path.as_ref());
    replace_file(path, |file| file.write_all(&png))
        .map_err(|source| AnalysisError::Write { path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tq_qtypes::DType;

    #[test]
    fn equal_values_fill_one_bin_and_nothing_is_nothing() {
        let bins = [Bin { low: 2.0, high: 2.0, count: 7 }];
        let h = Histogram::of_bins("t", &bins, Some((0.0, 2.0))).unwrap();
        assert_eq!((h.low, h.high, h.counts.iter().sum::<u64>()), (1.0, 3.0, 7));
        assert_eq!((h.counts.iter().filter(|n| **n > 0).count(), h.clipped), (1, Some(0.0)));
        assert_eq!(Histogram::of_bins("t", &bins, Some((0.0, 1.0))).unwrap().clipped, Some(100.0));
        assert_eq!(Histogram::of_bins("t", &bins, Some((2.0, 3.0))).unwrap().clipped, Some(0.0));
        assert!(Histogram::of_bins("t", &[], None).is_none());
        assert!(Counting::default().histogram("t", None).unwrap().is_none());
    }

    #[test]
    fn plots_span_values_and_codes() {
        let h = |clip| Histogram {
            tensor: "t".into(),
            low: 0.0,
            high: 4.0,
            counts: vec![1, 0, 9, 1],
            clip,
            clipped: None,
        };
        assert_eq!((h(None).span(), h(Some((1.0, 5.0))).span()), ((0.0, 4.0), (0.0, 5.0)));
        // A range far too wide does not make the values a line.
        assert_eq!(h(Some((-100.0, 100.0))).span(), (-4.0, 8.0));
        assert_eq!(h(Some((-100.0, 100.0))).limits().count(), 0);
        assert_eq!(h(Some((1.0, 2.0))).limits().collect::<Vec<_>>(), [0.25, 0.5]);
        let bars: Vec<Bar> = h(Some((1.0, 3.0))).bars().collect();
        assert_eq!(bars.iter().map(|b| b.is_beyond).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!((bars[1].from, bars[1].to, bars[1].height), (0.5, 0.75, 1.0));
        assert_eq!(log_shares(&[0, 1, 1_000_000])[..2], [0.0, 2f64.ln() / 1_000_001f64.ln()]);
    }

    #[test]
    fn codes_stand_for_what_quantization_says() {
        let p = AffineParams::per_tensor(DType::U8, 0.5, 10).unwrap();
        assert_eq!(representable(&p), Some((-5.0, 122.5)));
    }

    #[test]
    fn what_is_not_finite_is_left_out() {
        let mut c = Counting::default();
        c.add(&[1.0, f32::NAN, f32::INFINITY, -1.0]).unwrap();
        let h = c.histogram("t", None).unwrap().unwrap();
        assert_eq!((h.counts.iter().sum::<u64>(), h.low, h.high, h.clip), (2, -1.0, 1.0, None));
    }

    proptest! {
        /// Against counting the values themselves: a value may be off by the width of the bin it was counted in.
        #[test]
        fn bins_hold_what_lies_there(data in proptest::collection::vec(-8f32..8.0, 1..300), cut in -8f64..8.0) {
            let mut c = Counting::default();
            c.add(&data).unwrap();
            let h = c.histogram("t", None).unwrap().unwrap();
            prop_assert_eq!(h.counts.iter().sum::<u64>(), data.len() as u64);
            let step = (h.high - h.low) / BINS as f64;
            let at = ((cut - h.low) / step).floor().clamp(0.0, BINS as f64) as usize;
            let edge = h.low + at as f64 * step;
            let counted: u64 = h.counts[..at].iter().sum();
            let between = |from: f64, to: f64| data.iter().filter(|x| (from..=to).contains(&f64::from(**x))).count() as u64;
            prop_assert!(counted >= between(h.low, edge - 0.02).saturating_sub(1), "{counted}");
            prop_assert!(counted <= between(h.low, edge + 0.02) + 1, "{counted}");
        }
    }
}
