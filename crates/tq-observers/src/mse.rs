//! The range of least squared error on a grid of clipping factors.

use crate::histogram::{DEFAULT_BINS, check_bins, octaves};
use crate::mass::Mass;
use crate::observer::check_len;
use crate::octaves::Octaves;
use crate::range::union;
use crate::spec::{Serves, add_counts, check, params_of};
use crate::{Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams};
use tq_qtypes::{AffineParams, Granularity, QScheme, QTypeError, QuantSpec};

const NAME: &str = "mse";

/// Clipping factors tried for each end unless told otherwise.
pub(crate) const DEFAULT_STEPS: usize = 50;
/// The most clipping factors: the work grows with their square.
const MOST_STEPS: usize = 1000;
/// Bins of each channel: many channels have many histograms.
const CHANNEL_BINS: usize = 256;

/// Observes histograms, and chooses the clipping factors whose quantization has the least squared error.
///
/// The ends of the data are multiplied by `1, 1 - 1/n, …, 1/n`: both by the same factor for symmetric codes, each by its
/// own for affine ones. The cost of a range is that of [`crate::HistogramObserver`]; that observer searches the ends
/// without a grid and in octaves, this one the plain grid that the literature on weight quantization uses (as in LAPQ
/// and in AIMET's and MQBench's MSE observers), and it serves channels as well as whole tensors. Of equally good ranges
/// the wider is taken.
///
/// Counts are exact and merging is exact. Memory is at most about `80 * bins` bytes for each channel, however much data
/// comes.
#[derive(Debug, Clone, PartialEq)]
pub struct MseObserver {
    spec: QuantSpec,
    eps: f32,
    bins: usize,
    steps: usize,
    /// One a channel, or one for the tensor; none before any value.
    seen: Vec<Octaves>,
}

impl Default for MseObserver {
    /// Unsigned 8-bit, affine, per tensor, 50 steps, 2048 bins.
    fn default() -> Self {
        Self::asymmetric()
    }
}

impl MseObserver {
    const fn unchecked(spec: QuantSpec, eps: f32, steps: usize, bins: usize) -> Self {
        Self { spec, eps, bins, steps, seen: Vec::new() }
    }

    /// An observer for `spec`, per tensor or per channel, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `steps` is 1 to 1000 and `bins` is 1 to 65536; [`ObserverError::Granularity`]
    /// for groups; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, steps: usize, bins: usize) -> Result<Self, ObserverError> {
        let observer = Self::unchecked(spec, eps, steps, bins);
        observer.check()?;
        Ok(observer)
    }

    /// Unsigned 8-bit, affine, per tensor.
    #[must_use]
    pub const fn asymmetric() -> Self {
        Self::unchecked(QuantSpec::u8_affine(), DEFAULT_EPS, DEFAULT_STEPS, DEFAULT_BINS)
    }

    /// Signed 8-bit, symmetric, codes -127..=127, per tensor.
    #[must_use]
    pub const fn symmetric() -> Self {
        let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
        Self::unchecked(spec, DEFAULT_EPS, DEFAULT_STEPS, DEFAULT_BINS)
    }

    /// Signed 8-bit, symmetric, codes -127..=127, channels along `ch_axis`, 256 bins a channel: for weights.
    #[must_use]
    pub const fn per_channel(ch_axis: usize) -> Self {
        let spec = QuantSpec::i8_symmetric(Granularity::PerChannel { axis: ch_axis });
        Self::unchecked(spec, DEFAULT_EPS, DEFAULT_STEPS, CHANNEL_BINS)
    }

    fn axis(&self) -> Option<usize> {
        match self.spec.granularity {
            Granularity::PerChannel { axis } => Some(axis),
            _ => None,
        }
    }

    fn check(&self) -> Result<(), ObserverError> {
        let serves = if self.axis().is_some() { Serves::Channels } else { Serves::Tensor };
        check(NAME, &self.spec, self.eps, serves)?;
        check_bins(NAME, self.bins)?;
        if (1..=MOST_STEPS).contains(&self.steps) {
            return Ok(());
        }
        let (value, allowed) = (self.steps.to_string(), "it must be 1 to 1000");
        Err(ObserverError::Setting { observer: NAME, setting: "steps", value, allowed })
    }

    fn same_channels(&self, got: usize) -> Result<(), ObserverError> {
        let expected = self.seen.len();
        if expected == 0 || expected == got {
            return Ok(());
        }
        Err(ObserverError::Channels { axis: self.axis().unwrap_or(0), expected, got })
    }

    /// The best range for one histogram.
    fn best(&self, seen: &Octaves) -> Option<Range> {
        let (mass, range) = (Mass::new(seen)?, seen.range()?);
        let factor = |i: usize| (self.steps - i) as f32 / self.steps as f32;
        let symmetric = self.spec.scheme == QScheme::Symmetric;
        let tried = |moves: bool| 0..if moves { self.steps } else { 1 };
        let mut best = (f64::INFINITY, range);
        for i in tried(symmetric || range.max > 0.0) {
            for j in tried(!symmetric && range.min < 0.0) {
                let low = if symmetric { factor(i) } else { factor(j) };
                // An end on the wrong side of zero is not used, and stays.
                let end = |x: f32, factor: f32, outside: bool| if outside { x * factor } else { x };
                let (min, max) =
                    (end(range.min, low, range.min < 0.0), end(range.max, factor(i), range.max > 0.0));
                let tried = Range { min, max: max.max(min) };
                let Ok((scale, zero_point)) = choose_qparams(tried.min, tried.max, &self.spec, self.eps)
                else {
                    continue;
                };
                let cost = mass.squared_error(&self.spec, scale, zero_point);
                if cost < best.0 {
                    best = (cost, tried);
                }
            }
        }
        Some(best.1)
    }
}

impl Observer for MseObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        self.check()?;
        check_len(data, dims)?;
        let Some(axis) = self.axis() else {
            let mut next = self.seen.first().cloned().unwrap_or_else(|| octaves(self.bins));
            next.observe(NAME, data)?;
            if !data.is_empty() {
                self.seen = vec![next];
            }
            return Ok(());
        };
        let channels = *dims.get(axis).ok_or(QTypeError::BadAxis { axis, rank: dims.len() })?;
        self.same_channels(channels)?;
        if data.is_empty() {
            return Ok(());
        }
        let non_finite = data.iter().filter(|x| !x.is_finite()).count() as u64;
        if non_finite > 0 {
            return Err(ObserverError::NonFinite { count: non_finite, len: data.len() as u64 });
        }
        let inner: usize = dims.iter().skip(axis + 1).product();
        let mut next =
            if self.seen.is_empty() { vec![octaves(self.bins); channels] } else { self.seen.clone() };
        let mut values = Vec::with_capacity(data.len() / channels);
        for (c, seen) in next.iter_mut().enumerate() {
            values.clear();
            for run in data.chunks_exact(inner).skip(c).step_by(channels) {
                values.extend_from_slice(run);
            }
            seen.observe(NAME, &values)?;
        }
        self.seen = next;
        Ok(())
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        self.check()?;
        let ranges: Option<Vec<Range>> = self.seen.iter().map(|seen| self.best(seen)).collect();
        params_of(ranges.unwrap_or_default().into_iter(), &self.spec, self.eps)
    }

    fn range(&self) -> Option<Range> {
        self.seen.iter().map(Octaves::range).fold(None, union)
    }

    fn channel_ranges(&self) -> Vec<Range> {
        self.seen.iter().filter_map(Octaves::range).collect()
    }

    fn count(&self) -> u64 {
        self.seen.iter().map(Octaves::count).fold(0, u64::saturating_add)
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.spec)
    }

    fn config(&self) -> ObserverConfig {
        let Self { spec, eps, bins, steps, .. } = *self;
        ObserverConfig::Mse { spec, eps, steps, bins }
    }

    fn state(&self) -> ObserverState {
        ObserverState::Mse { channels: self.seen.iter().map(Octaves::state).collect() }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        self.check()?;
        let ObserverState::Mse { channels } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        if channels.is_empty() {
            return Ok(());
        }
        self.same_channels(channels.len())?;
        if self.axis().is_none() && channels.len() != 1 {
            let why = format!("it has {} histograms of one tensor", channels.len());
            return Err(ObserverError::State { observer: NAME, why });
        }
        if let Some(empty) = channels.iter().position(|c| c.range.is_none()) {
            let why = format!("channel {empty} has no data");
            return Err(ObserverError::State { observer: NAME, why });
        }
        let mut next = match self.seen.is_empty() {
            true => vec![octaves(self.bins); channels.len()],
            false => self.seen.clone(),
        };
        let mut count = 0;
        for (mine, theirs) in next.iter_mut().zip(channels) {
            mine.merge(NAME, theirs)?;
            count = add_counts(NAME, count, mine.count())?;
        }
        self.seen = next;
        Ok(())
    }

    fn reset(&mut self) {
        self.seen.clear();
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_qtypes::affine::{dequantize_f32, quantize_f32};
    use tq_qtypes::{DType, Rounding};

    /// The squared error of quantizing the values themselves.
    fn error(data: &[f32], spec: &QuantSpec, (s, z): (f32, i32)) -> f64 {
        let one = |x: &f32| {
            let q = quantize_f32(*x, s, z, spec.quant_min, spec.quant_max, Rounding::Divide);
            (f64::from(*x) - f64::from(dequantize_f32(q, s, z))).powi(2)
        };
        data.iter().map(one).sum()
    }

    fn values(n: usize) -> Vec<f32> {
        let mut state = 7u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..n).map(|_| ((0..5).map(|_| uniform()).sum::<f32>() - 2.3).powi(3)).collect()
    }

    #[test]
    fn no_factor_on_the_grid_is_better_on_the_data_itself() {
        let data = values(5000);
        for bits in [3, 4, 8] {
            for spec in [
                QuantSpec::bits(false, bits, QScheme::Affine, Granularity::PerTensor).unwrap(),
                QuantSpec::bits(true, bits, QScheme::Symmetric, Granularity::PerTensor).unwrap(),
            ] {
                let mut o = MseObserver::new(spec, DEFAULT_EPS, 20, 2048).unwrap();
                o.observe(&data, &[50, 100]).unwrap();
                let chosen = error(&data, &spec, o.calculate_qparams().unwrap().uniform().unwrap());
                let Range { min, max } = o.range().unwrap();
                let mut best = f64::INFINITY;
                for i in 1..=20 {
                    for j in 1..=20 {
                        let (i, j) = (i as f32 / 20.0, j as f32 / 20.0);
                        let j = if spec.scheme == QScheme::Symmetric { i } else { j };
                        let params = choose_qparams(min * j, max * i, &spec, DEFAULT_EPS).unwrap();
                        best = best.min(error(&data, &spec, params));
                    }
                }
                assert!(chosen <= best * 1.02, "{bits} bits {:?}: {chosen} against {best}", spec.scheme);
            }
        }
    }

    #[test]
    fn channels_are_whole_tensors_of_their_own() {
        let data = values(6 * 40);
        let spec = QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 1 });
        let spec = QuantSpec { dtype: DType::I4, quant_min: -7, quant_max: 7, ..spec };
        let mut all = MseObserver::new(spec, DEFAULT_EPS, 30, 2048).unwrap();
        all.observe(&data, &[2, 3, 40]).unwrap();
        let params = all.calculate_qparams().unwrap();
        for c in 0..3 {
            let spec = QuantSpec { granularity: Granularity::PerTensor, ..spec };
            let mut one = MseObserver::new(spec, DEFAULT_EPS, 30, 2048).unwrap();
            one.observe(&data[c * 40..(c + 1) * 40], &[40]).unwrap();
            one.observe(&data[(c + 3) * 40..(c + 4) * 40], &[40]).unwrap();
            assert_eq!(one.calculate_qparams().unwrap().scale[0], params.scale[c]);
        }
        assert!(matches!(all.observe(&[1.0; 4], &[2, 2]), Err(ObserverError::Channels { .. })));
        assert!(all.observe(&[1.0; 4], &[4]).is_err());
        let mut bad = data.clone();
        bad[17] = f32::NAN;
        let before = all.clone();
        assert!(matches!(all.observe(&bad, &[2, 3, 40]), Err(ObserverError::NonFinite { count: 1, .. })));
        assert_eq!(all, before);
    }

    #[test]
    fn data_of_every_kind_gives_parameters() {
        let kinds: [&[f32]; 6] =
            [&[0.0; 3], &[3.0; 3], &[-3.0; 3], &[-1e-42, 1e-42], &[f32::MAX, f32::MIN], &[0.1, 1e30]];
        for data in kinds {
            for mut o in [MseObserver::asymmetric(), MseObserver::symmetric()] {
                o.observe(data, &[data.len()]).unwrap();
                assert!(o.calculate_qparams().is_ok(), "{data:?}");
            }
        }
        assert_eq!(MseObserver::default().calculate_qparams(), Err(ObserverError::NoData));
    }
}
