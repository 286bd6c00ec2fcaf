//! The range of least squared error.

use crate::clip::search;
use crate::mass::Mass;
use crate::observer::check_len;
use crate::octaves::Octaves;
use crate::pytorch_histogram::PyTorchHistogram;
use crate::scan::scan;
use crate::spec::{Serves, add_counts, check, full_range, params_in};
use crate::{Mode, Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams};
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QuantSpec};

const NAME: &str = "histogram";

/// PyTorch's number of bins.
pub(crate) const DEFAULT_BINS: usize = 2048;
/// The largest number of bins: a setting in a file must not ask for all memory.
pub(crate) const MAX_BINS: usize = 1 << 16;
/// Octaves below the largest magnitude that are kept apart.
pub(crate) const OCTAVES: u32 = 20;
/// Steps an octave of the first, coarse search.
const COARSE: u32 = 2;

/// Observes a histogram, and chooses the range whose quantization has the least squared error.
///
/// Clipping a few outliers often costs less than the wider steps that keeping them would. The error of a range is
/// that of the scale `s` and zero point `z` it leads to, over the codes `q`:
///
/// ```text
/// sum over all values x of (x - s * (q(x) - z))^2,   q(x) = clamp(round(x / s) + z, quant_min, quant_max)
/// ```
///
/// with the values spread evenly over their bins. PyTorch's error model is the same integral, but over equal bins with
/// codes at `(i + 1/2)` steps from the lower end, none of them at zero; and its search follows one greedy path.
///
/// In [`Mode::Native`] bins have a constant relative width: every octave of each sign is cut into `bins / 4` bins
/// (rounded up to a power of two), so near the ends they are about as wide as `bins` equal bins, and finer towards
/// zero. Counts are exact and merging is exact: no order and no split of the data changes anything.
///
/// In [`Mode::PyTorch`] histogram, range, scale and zero point are those of PyTorch 2.5 to the last bit (on AVX2, with
/// up to 32768 bins): f32 counts that stay at 2^24 within a batch, old counts spread over a growing range, infinite
/// values left out, NaN refused. PyTorch itself cannot merge; here the merged counts are spread as old ones are, so a
/// value may be counted a bin beside its own.
#[derive(Debug, Clone, PartialEq)]
pub struct HistogramObserver {
    spec: QuantSpec,
    eps: f32,
    bins: usize,
    seen: Counts,
}

#[derive(Debug, Clone, PartialEq)]
enum Counts {
    Native(Octaves),
    PyTorch { count: u64, histogram: Option<PyTorchHistogram> },
}

impl Counts {
    const fn new(bins: usize, mode: Mode) -> Self {
        match mode {
            Mode::Native => Counts::Native(octaves(bins)),
            Mode::PyTorch => Counts::PyTorch { count: 0, histogram: None },
        }
    }

    const fn mode(&self) -> Mode {
        match self {
            Counts::Native(_) => Mode::Native,
            Counts::PyTorch { .. } => Mode::PyTorch,
        }
    }
}

/// The histogram that `bins` stands for.
pub(crate) const fn octaves(bins: usize) -> Octaves {
    Octaves::new(bins.div_ceil(4), OCTAVES)
}

/// [`ObserverError::Setting`] unless `bins` is 1 to 65536.
pub(crate) fn check_bins(observer: &'static str, bins: usize) -> Result<(), ObserverError> {
    if (1..=MAX_BINS).contains(&bins) {
        return Ok(());
    }
    let (value, allowed) = (bins.to_string(), "it must be 1 to 65536");
    Err(ObserverError::Setting { observer, setting: "bins", value, allowed })
}

impl Default for HistogramObserver {
    /// Unsigned 8-bit, affine, 2048 bins.
    fn default() -> Self {
        Self::with_args(DEFAULT_BINS)
    }
}

impl HistogramObserver {
    /// Unsigned 8-bit, affine, with this many bins. No bins or more than 65536 are an error when data comes or the
    /// configuration is built.
    #[must_use]
    pub const fn with_args(bins: usize) -> Self {
        Self::unchecked(QuantSpec::u8_affine(), DEFAULT_EPS, bins, Mode::Native)
    }

    const fn unchecked(spec: QuantSpec, eps: f32, bins: usize, mode: Mode) -> Self {
        Self { spec, eps, bins, seen: Counts::new(bins, mode) }
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `bins` is 1 to 65536; [`ObserverError::Granularity`] unless `spec` is per
    /// tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, bins: usize) -> Result<Self, ObserverError> {
        let observer = Self::unchecked(spec, eps, bins, Mode::Native);
        observer.check()?;
        Ok(observer)
    }

    /// Unsigned 8-bit, affine, 2048 bins.
    #[must_use]
    pub const fn asymmetric() -> Self {
        Self::with_args(DEFAULT_BINS)
    }

    /// Signed 8-bit, symmetric, codes -127..=127, 2048 bins.
    #[must_use]
    pub const fn symmetric() -> Self {
        let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
        Self::unchecked(spec, DEFAULT_EPS, DEFAULT_BINS, Mode::Native)
    }

    /// The same observer for codes of another type, over that type's full range
    /// (symmetric signed codes leave out the smallest one), forgetting what was seen.
    ///
    /// # Errors
    /// [`ObserverError::QType`] when `dtype` cannot hold codes.
    pub fn with_dtype(self, dtype: DType) -> Result<Self, ObserverError> {
        Ok(Self::unchecked(full_range(self.spec, dtype)?, self.eps, self.bins, self.seen.mode()))
    }

    /// The same observer in this mode, forgetting what was seen.
    #[must_use]
    pub fn with_mode(self, mode: Mode) -> Self {
        Self::unchecked(self.spec, self.eps, self.bins, mode)
    }

    fn check(&self) -> Result<(), ObserverError> {
        check(NAME, &self.spec, self.eps, Serves::Tensor)?;
        check_bins(NAME, self.bins)
    }
}

/// The range of least squared error.
fn least_squares(octaves: &Octaves, spec: &QuantSpec, eps: f32) -> Option<Range> {
    let (mass, range) = (Mass::new(octaves)?, octaves.range()?);
    Some(search(range, spec.scheme == QScheme::Symmetric, COARSE, |range| {
        match choose_qparams(range.min, range.max, spec, eps) {
            Ok((scale, zero_point)) => mass.squared_error(spec, scale, zero_point),
            Err(_) => f64::INFINITY,
        }
    }))
}

/// The finite part of a batch, and its range, as PyTorch takes it.
fn finite_part(data: &[f32]) -> Result<(Vec<f32>, Option<Range>), ObserverError> {
    let finite: Vec<f32> = data.iter().copied().filter(|x| !x.is_infinite()).collect();
    let seen = scan(&finite);
    if seen.non_finite > 0 {
        return Err(ObserverError::NonFinite { count: seen.non_finite, len: data.len() as u64 });
    }
    Ok((finite, seen.range()))
}

impl Observer for HistogramObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        self.check()?;
        check_len(data, dims)?;
        match &mut self.seen {
            Counts::Native(octaves) => octaves.observe(NAME, data),
            Counts::PyTorch { count, histogram } => {
                let (finite, Some(range)) = finite_part(data)? else { return Ok(()) };
                *count = add_counts(NAME, *count, finite.len() as u64)?;
                match histogram {
                    Some(h) => h.add(&finite, range),
                    None => *histogram = Some(PyTorchHistogram::first(&finite, range, self.bins)),
                }
                Ok(())
            }
        }
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        let range = match &self.seen {
            Counts::Native(octaves) => least_squares(octaves, &self.spec, self.eps),
            // PyTorch keeps codes of fewer than 8 bits in bytes.
            Counts::PyTorch { histogram, .. } => {
                let bits = self.spec.dtype.bits().max(8) as u32;
                histogram.as_ref().map(|h| h.search(bits))
            }
        };
        params_in(self.seen.mode(), range.into_iter(), &self.spec, self.eps)
    }

    fn range(&self) -> Option<Range> {
        match &self.seen {
            Counts::Native(octaves) => octaves.range(),
            Counts::PyTorch { histogram, .. } => histogram.as_ref().map(|h| h.range),
        }
    }

    fn count(&self) -> u64 {
        match &self.seen {
            Counts::Native(octaves) => octaves.count(),
            Counts::PyTorch { count, .. } => *count,
        }
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.spec)
    }

    fn config(&self) -> ObserverConfig {
        let (spec, eps, bins) = (self.spec, self.eps, self.bins);
        ObserverConfig::Histogram { spec, eps, bins, mode: self.seen.mode() }
    }

    fn state(&self) -> ObserverState {
        match &self.seen {
            Counts::Native(octaves) => ObserverState::Histogram(octaves.state()),
            Counts::PyTorch { count, histogram } => ObserverState::PytorchHistogram {
                count: *count,
                range: histogram.as_ref().map(|h| h.range),
                counts: histogram.as_ref().map_or_else(Vec::new, |h| h.counts.clone()),
            },
        }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        self.check()?;
        match (&mut self.seen, state) {
            (Counts::Native(octaves), ObserverState::Histogram(other)) => octaves.merge(NAME, other),
            (
                Counts::PyTorch { count, histogram },
                ObserverState::PytorchHistogram { count: other_count, range, counts },
            ) => {
                let Some(other) = checked(*other_count, *range, counts, self.bins)? else { return Ok(()) };
                *count = add_counts(NAME, *count, *other_count)?;
                match histogram {
                    Some(h) => h.merge(&other),
                    None => *histogram = Some(other),
                }
                Ok(())
            }
            (seen, state) => Err(ObserverError::Merge {
                observer: match seen {
                    Counts::Native(_) => NAME,
                    Counts::PyTorch { .. } => "pytorch_histogram",
                },
                other: state.observer_name(),
            }),
        }
    }

    fn reset(&mut self) {
        self.seen = Counts::new(self.bins, self.seen.mode());
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}

/// A saved histogram of PyTorch's kind, after checking that it is one.
fn checked(
    count: u64,
    range: Option<Range>,
    counts: &[f32],
    bins: usize,
) -> Result<Option<PyTorchHistogram>, ObserverError> {
    let wrong = |why: String| Err(ObserverError::State { observer: NAME, why });
    let Some(range) = range else {
        return if count == 0 && counts.is_empty() {
            Ok(None)
        } else {
            wrong("it has counts and no range".to_owned())
        };
    };
    range.check(NAME)?;
    if counts.len() != bins {
        return wrong(format!("it has {} bins, this one has {bins}", counts.len()));
    }
    if count == 0 || !counts.iter().all(|c| c.is_finite() && *c >= 0.0) {
        return wrong("its counts are not numbers of values".to_owned());
    }
    Ok(Some(PyTorchHistogram { range, counts: counts.to_vec() }))
}
