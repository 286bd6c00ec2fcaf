//! What the data makes of one activation in codes.

use crate::beyond::is_beyond;
use tq_graph::Tensor;
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QuantSpec, Rounding, affine};

/// Narrower ranges that are looked at: a half of the largest code's value, a quarter, and so on. Sixteen halves reach from the
/// whole of a 16-bit range to its smallest step.
const HALVES: usize = 16;

/// Codes of at most so many values are counted one by one.
const MOST_CODES: i64 = 1 << 16;

/// One channel of an activation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub(super) min: f32,
    pub(super) max: f32,
    /// Of magnitudes.
    sum: f64,
    count: u64,
}

impl Default for Channel {
    fn default() -> Self {
        Self { min: f32::INFINITY, max: f32::NEG_INFINITY, sum: 0.0, count: 0 }
    }
}

impl Channel {
    /// The largest magnitude.
    pub(super) fn size(&self) -> f32 {
        if self.count == 0 { 0.0 } else { self.min.abs().max(self.max.abs()) }
    }

    /// The mean magnitude.
    pub(super) fn mean(&self) -> f32 {
        (self.sum / self.count.max(1) as f64) as f32
    }
}

/// Sums over the values of one activation, taken batch by batch from the float model.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    scale: f32,
    zero: i32,
    codes: (i32, i32),
    pub(super) scheme: QScheme,
    dtype: DType,
    /// Smallest and largest value that there is a code for.
    pub(super) range: (f32, f32),
    /// Smallest and largest value of the data.
    pub(super) data: (f32, f32),
    pub(super) values: u64,
    /// NaN and infinities beside them.
    pub(super) not_finite: u64,
    /// Values beyond the range by more than half a step.
    pub(super) beyond: u64,
    /// Energy of the error of values beyond the range.
    pub(super) clipped: f64,
    /// Energy of the error of all other values.
    pub(super) rounding: f64,
    /// `within[k]` values lie within `2^-k` of the range's larger end, and not within half of that (the last: no matter how far within).
    within: [u64; HALVES + 1],
    used: Vec<bool>,
    /// Axis of channels.
    pub(super) axis: Option<usize>,
    /// What each channel holds.
    pub(super) channels: Vec<Channel>,
}

impl Seen {
    /// Nothing yet; `None` where codes have more than one scale or too many values.
    pub(super) fn new(params: &AffineParams, axis: Option<usize>) -> Option<Self> {
        let (scale, zero) = params.uniform()?;
        let (lo, hi) = (params.quant_min, params.quant_max);
        let count = i64::from(hi) - i64::from(lo) + 1;
        if count > MOST_CODES {
            return None;
        }
        let real = |q: i32| affine::dequantize_f32(q, scale, zero);
        // Signed codes around zero, and unsigned ones around their middle, are what symmetric schemes give.
        let middle = if lo == 0 { (hi + 1) / 2 } else { 0 };
        let scheme = if zero == middle { QScheme::Symmetric } else { QScheme::Affine };
        Some(Self {
            scale,
            zero,
            codes: (lo, hi),
            scheme,
            dtype: params.dtype,
            range: (real(lo), real(hi)),
            data: (f32::INFINITY, f32::NEG_INFINITY),
            values: 0,
            not_finite: 0,
            beyond: 0,
            clipped: 0.0,
            rounding: 0.0,
            within: [0; HALVES + 1],
            used: vec![false; count as usize],
            axis,
            channels: Vec::new(),
        })
    }

    /// Takes values in. Those that are not finite are counted, and else left out: they are nobody's range.
    pub(super) fn add(&mut self, tensor: &Tensor) {
        let Some(values) = tensor.to_f32_vec() else { return };
        let dims = tensor.dims();
        let (count, inner) = match self.axis {
            Some(axis) if axis < dims.len() => (dims[axis], dims[axis + 1..].iter().product::<usize>()),
            _ => (1, values.len()),
        };
        if self.channels.len() < count {
            self.channels.resize(count, Channel::default());
        }
        let top = f64::from(self.range.0.abs().max(self.range.1.abs()));
        for (i, run) in values.chunks(inner.max(1)).enumerate() {
            let mut own = self.channels[i % count];
            for x in run.iter().copied() {
                if !x.is_finite() {
                    self.not_finite += 1;
                    continue;
                }
                own.min = own.min.min(x);
                own.max = own.max.max(x);
                own.sum += f64::from(x.abs());
                own.count += 1;
                self.add_one(x, top);
            }
            self.channels[i % count] = own;
            self.data = (self.data.0.min(own.min), self.data.1.max(own.max));
        }
    }

    fn add_one(&mut self, x: f32, top: f64) {
        self.values += 1;
        let code =
            affine::quantize_f32(x, self.scale, self.zero, self.codes.0, self.codes.1, Rounding::Divide);
        if let Some(used) = usize::try_from(code - self.codes.0).ok().and_then(|i| self.used.get_mut(i)) {
            *used = true;
        }
        self.beyond += u64::from(is_beyond(x, self.scale, self.zero, self.codes));
        let error = f64::from(x) - f64::from(affine::dequantize_f32(code, self.scale, self.zero));
        if x < self.range.0 || x > self.range.1 {
            self.clipped += error * error;
        } else {
            self.rounding += error * error;
        }
        // floor(log2(top / |x|)), which is -1 or less beyond the range.
        let halves = libm::ilogb(top / f64::from(x).abs().max(f64::MIN_POSITIVE));
        if let Ok(k) = usize::try_from(halves) {
            self.within[k.min(HALVES)] += 1;
        }
    }

    /// Percent of values beyond the range.
    pub(super) fn saturated(&self) -> f64 {
        100.0 * self.beyond as f64 / self.values.max(1) as f64
    }

    /// Percent of codes that no value becomes.
    pub(super) fn dead_codes(&self) -> f64 {
        100.0 * self.used.iter().filter(|u| !**u).count() as f64 / self.used.len() as f64
    }

    /// Bits that tell the codes apart.
    pub(super) fn bits(&self) -> u32 {
        let (lo, hi) = self.codes;
        (i64::from(hi) - i64::from(lo)).max(1).ilog2() + 1
    }

    /// The data's range with zero in it; none without values.
    pub(super) fn data_range(&self) -> Option<(f32, f32)> {
        (self.values > 0).then(|| (self.data.0.min(0.0), self.data.1.max(0.0)))
    }

    /// The narrowest range, of those with no end beyond `2^-k` of the larger one, that leaves at most this share of the values
    /// out, and its `k`.
    pub(super) fn holding_all_but(&self, share: f64) -> (u32, (f32, f32)) {
        let most = share * self.values as f64;
        let mut outside = self.values - self.within.iter().sum::<u64>();
        let mut k = 0;
        for n in &self.within[..HALVES] {
            outside += n;
            if outside as f64 > most {
                break;
            }
            k += 1;
        }
        let (lo, hi) = self.range;
        let end = lo.abs().max(hi.abs()) / (1u32 << k) as f32;
        (k, (lo.max(-end), hi.min(end)))
    }

    /// Parameters of the same kind of codes for another range.
    pub(super) fn params_for(&self, (lo, hi): (f32, f32), scheme: QScheme) -> Option<AffineParams> {
        let spec = self.spec(scheme);
        let (scale, zero) = affine::choose_qparams(lo, hi, &spec, affine::DEFAULT_EPS).ok()?;
        let (quant_min, quant_max) = self.codes;
        Some(AffineParams { quant_min, quant_max, ..AffineParams::per_tensor(self.dtype, scale, zero).ok()? })
    }

    /// Parameters of the same kind of codes with a scale for each channel, each within the range that all share now.
    pub(super) fn params_per_channel(&self) -> Option<AffineParams> {
        let axis = self.axis?;
        let spec = self.spec(self.scheme);
        let (mut scale, mut zero_point) = (Vec::new(), Vec::new());
        for channel in &self.channels {
            let within = |x: f32| if x.is_finite() { x.clamp(self.range.0, self.range.1) } else { 0.0 };
            let range = (within(channel.min).min(0.0), within(channel.max).max(0.0));
            let (s, z) = affine::choose_qparams(range.0, range.1, &spec, affine::DEFAULT_EPS).ok()?;
            scale.push(s);
            zero_point.push(z);
        }
        let (quant_min, quant_max) = self.codes;
        let granularity = Granularity::PerChannel { axis };
        Some(AffineParams { dtype: self.dtype, quant_min, quant_max, granularity, scale, zero_point })
    }

    fn spec(&self, scheme: QScheme) -> QuantSpec {
        let (lo, hi) = self.codes;
        // Symmetric signed codes leave out the smallest, as everywhere here.
        let lo = if scheme == QScheme::Symmetric && lo < 0 { -hi } else { lo };
        QuantSpec {
            dtype: self.dtype,
            quant_min: lo,
            quant_max: hi,
            scheme,
            granularity: Granularity::PerTensor,
            power_of_two: false,
        }
    }
}
