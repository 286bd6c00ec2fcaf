//! The range that loses least information.

use crate::clip::search;
use crate::distribution::{Distribution, observe_distribution};
use crate::histogram::DEFAULT_BINS;
use crate::mass::{Mass, Side};
use crate::{ObserverConfig, ObserverError, Range};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams};
use tq_qtypes::{Granularity, QScheme, QuantSpec};

const NAME: &str = "entropy";

/// Parts that the interval of one code is cut into.
const PARTS: usize = 4;
/// With more codes than this nothing is clipped: what rounding loses is less than what clipping does.
const MOST_CODES: i64 = 4096;
/// Steps an octave of the first, coarse search.
const COARSE: u32 = 2;
/// Stands for a probability of zero where a logarithm is taken.
const TINY: f64 = 1e-12;

/// Observes a histogram, and chooses the range whose quantization has the least Kullback-Leibler divergence from the
/// data.
///
/// The interval of every code is cut into four parts. `P` is the share of the values in each part, those beyond the
/// range counted in the outermost part of their side; `Q` is what is left of that when only the codes are known: the
/// unclipped values of each code's interval, spread evenly over those of its parts that hold any. The cost of a range is
///
/// ```text
/// sum over all parts of P * ln(P / Q),   P and Q each summing to 1
/// ```
///
/// This is the entropy calibration of TensorRT (8-bit Inference with TensorRT, GTC 2017), for affine ranges too, with
/// both ends free, and with a resolution that follows the range instead of one fixed by the largest value. Values around
/// zero, which has a code of its own, are left out as they are there: no range changes what becomes of them. With more
/// than 4096 codes the range is that of the data.
///
/// Counts are exact and merging is exact, as with [`crate::HistogramObserver`], whose bins these are.
#[derive(Debug, Clone, PartialEq)]
pub struct EntropyObserver {
    pub(crate) all: Distribution,
}

impl Default for EntropyObserver {
    /// Unsigned 8-bit, affine, 2048 bins.
    fn default() -> Self {
        Self::with_args(DEFAULT_BINS)
    }
}

impl EntropyObserver {
    /// Unsigned 8-bit, affine, with this many bins. No bins or more than 65536 are an error when data comes or the
    /// configuration is built.
    #[must_use]
    pub const fn with_args(bins: usize) -> Self {
        Self { all: Distribution::new(QuantSpec::u8_affine(), DEFAULT_EPS, bins) }
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless `bins` is 1 to 65536; [`ObserverError::Granularity`] unless `spec` is per
    /// tensor; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32, bins: usize) -> Result<Self, ObserverError> {
        let observer = Self { all: Distribution::new(spec, eps, bins) };
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
        Self { all: Distribution::new(spec, DEFAULT_EPS, DEFAULT_BINS) }
    }

    fn check(&self) -> Result<(), ObserverError> {
        self.all.check(NAME)
    }

    fn as_config(&self) -> ObserverConfig {
        let Distribution { spec, eps, bins, .. } = self.all;
        ObserverConfig::Entropy { spec, eps, bins }
    }

    fn choose(&self) -> Option<Range> {
        let Distribution { spec, eps, seen, .. } = &self.all;
        let range = seen.range()?;
        if i64::from(spec.quant_max) - i64::from(spec.quant_min) > MOST_CODES {
            return Some(range);
        }
        let mass = Mass::new(seen)?;
        Some(search(range, spec.scheme == QScheme::Symmetric, COARSE, |range| {
            match choose_qparams(range.min, range.max, spec, *eps) {
                Ok((scale, zero_point)) => divergence(&mass, spec, scale, zero_point),
                Err(_) => f64::INFINITY,
            }
        }))
    }
}

observe_distribution!(EntropyObserver, NAME, Entropy);

/// The divergence of the data from what this quantizer leaves of it.
fn divergence(mass: &Mass, spec: &QuantSpec, scale: f32, zero_point: i32) -> f64 {
    let codes = |a: i32, b: i32| (i64::from(a) - i64::from(b)).clamp(0, MOST_CODES) as usize;
    let step = f64::from(scale);
    let up = Cells::new(&mass.positive, step, codes(spec.quant_max, zero_point));
    let down = Cells::new(&mass.negative, step, codes(zero_point, spec.quant_min));
    let total = mass.positive.mass() + mass.negative.mass();
    let kept = up.kept + down.kept;
    if total <= 0.0 {
        return 0.0;
    }
    if kept <= 0.0 {
        return f64::INFINITY;
    }
    // Half of the interval of zero's code is on either side: its parts are spread over together.
    let zero = [up.cells.first(), down.cells.first()];
    let around_zero: f64 = zero.iter().flatten().flat_map(|c| c.iter()).sum();
    let filled = zero.iter().flatten().flat_map(|c| c.iter()).filter(|m| **m > 0.0).count();
    let mut sum = 0.0;
    for side in [&up, &down] {
        for (i, cell) in side.cells.iter().enumerate() {
            let (in_cell, parts) = match i {
                0 => (around_zero, filled),
                _ => (cell.iter().sum(), cell.iter().filter(|m| **m > 0.0).count()),
            };
            let last = i + 1 == side.cells.len();
            for (part, here) in cell.iter().enumerate() {
                let outermost = last && part + 1 == cell.len();
                let p = (here + if outermost { side.clipped } else { 0.0 }) / total;
                if p > 0.0 {
                    let q = if *here > 0.0 { in_cell / parts as f64 / kept } else { 0.0 };
                    sum += p * (p / q.max(TINY)).ln();
                }
            }
        }
    }
    sum
}

/// How much is in every part of every code's interval, on one side of zero.
struct Cells {
    /// Half of the interval of zero's code, then one interval a code.
    cells: Vec<Vec<f64>>,
    /// What is in them.
    kept: f64,
    /// What is beyond them.
    clipped: f64,
}

impl Cells {
    fn new(side: &Side, step: f64, last: usize) -> Self {
        let part = step / PARTS as f64;
        let mut below = 0.0;
        let mut next = 0usize;
        let mut cells = Vec::new();
        for code in 0..=last {
            let parts = if code == 0 { PARTS / 2 } else { PARTS };
            let cell = (0..parts).map(|_| {
                next += 1;
                let up_to = side.mass_within(next as f64 * part);
                std::mem::replace(&mut below, up_to)
            });
            let before: Vec<f64> = cell.collect();
            let ends = before.iter().skip(1).copied().chain([below]);
            let masses = before.iter().zip(ends).map(|(low, high)| (high - low).max(0.0)).collect();
            cells.push(masses);
            if below >= side.mass() && code > 0 {
                break;
            }
        }
        Self { cells, kept: below, clipped: (side.mass() - below).max(0.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Observer;

    /// The divergence by its definition, from the values themselves.
    fn direct(data: &[f32], spec: &QuantSpec, scale: f32, zero_point: i32) -> f64 {
        let largest = data.iter().fold(0.0f32, |m, x| m.max(x.abs()));
        // What the observer takes for zero itself.
        let zero = f64::from(largest) * 2f64.powi(-19);
        let part = f64::from(scale) / PARTS as f64;
        let (low, high) = (spec.quant_min - zero_point, spec.quant_max - zero_point);
        // Parts are numbered from the middle of zero's code; code c has parts 4c-2..4c+2.
        let (first, last) = (i64::from(low) * 4 - 2, i64::from(high) * 4 + 1);
        let parts = (last - first + 1) as usize;
        let (mut kept, mut all) = (vec![0.0; parts], vec![0.0; parts]);
        for x in data.iter().map(|x| f64::from(*x)).filter(|x| x.abs() > zero) {
            let part = (x / part).floor() as i64;
            let inside = part.clamp(first, last);
            all[(inside - first) as usize] += 1.0;
            if part == inside {
                kept[(part - first) as usize] += 1.0;
            }
        }
        let (total, kept_total): (f64, f64) = (all.iter().sum(), kept.iter().sum());
        let mut sum = 0.0;
        for (cell, all) in kept.chunks(PARTS).zip(all.chunks(PARTS)) {
            let (in_cell, filled): (f64, usize) =
                (cell.iter().sum(), cell.iter().filter(|m| **m > 0.0).count());
            for (here, p) in cell.iter().zip(all) {
                let q = if *here > 0.0 { in_cell / filled as f64 / kept_total } else { 0.0 };
                if *p > 0.0 {
                    sum += p / total * (p / total / q.max(TINY)).ln();
                }
            }
        }
        sum
    }

    /// Values of a bell curve, the same on every machine.
    fn bell(n: usize) -> Vec<f32> {
        let mut state = 1u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        (0..n).map(|_| (0..6).map(|_| uniform() - 0.5).sum::<f32>()).collect()
    }

    #[test]
    fn the_choice_is_as_good_as_any_on_a_dense_grid_by_the_direct_definition() {
        let mut data = bell(40_000);
        // Outliers that 4-bit codes cannot afford.
        data.extend([20.0, -15.0, 19.0]);
        for (spec, fold) in [
            (QuantSpec::u8_affine(), false),
            (QuantSpec { quant_max: 15, ..QuantSpec::u8_affine() }, false),
            (QuantSpec::i8_symmetric(Granularity::PerTensor), false),
            (QuantSpec { quant_max: 15, ..QuantSpec::u8_affine() }, true),
        ] {
            let data: Vec<f32> = data.iter().map(|x| if fold { x.max(0.0) } else { *x }).collect();
            let mut o = EntropyObserver::new(spec, DEFAULT_EPS, DEFAULT_BINS).unwrap();
            o.observe(&data, &[data.len()]).unwrap();
            let cost = |r: Range| {
                let (s, z) = choose_qparams(r.min, r.max, &spec, DEFAULT_EPS).unwrap();
                direct(&data, &spec, s, z)
            };
            let range = o.range().unwrap();
            let chosen = cost(o.choose().unwrap());
            let mut best = f64::INFINITY;
            for i in 1..=32 {
                for j in 1..=32 {
                    let r = Range { min: range.min * i as f32 / 32.0, max: range.max * j as f32 / 32.0 };
                    best = best.min(cost(r));
                }
            }
            assert!(chosen <= best * 1.15 + 1e-3, "{spec:?}: {chosen} against {best}");
        }
    }

    #[test]
    fn data_of_every_kind_gives_a_range() {
        let kinds: [&[f32]; 8] = [
            &[0.0; 5],
            &[3.0; 5],
            &[-3.0; 5],
            &[1.0, 2.0],
            &[-1e-42, 1e-42],
            &[f32::MAX, f32::MIN],
            &[0.1, 0.2, 0.3, 1e30],
            &[f32::MIN_POSITIVE, 0.0, -0.0],
        ];
        for data in kinds {
            for mut o in [EntropyObserver::asymmetric(), EntropyObserver::symmetric()] {
                o.observe(data, &[data.len()]).unwrap();
                let range = o.choose().unwrap();
                assert!(range.min.is_finite() && range.min <= range.max, "{data:?} {range:?}");
                assert!(o.calculate_qparams().is_ok(), "{data:?}");
            }
        }
    }
}
