//! Weights whose products do not saturate on machines that add pairs of them in 16 bits.
//!
//! x86 processors without VNNI multiply u8 codes with i8 weights by `vpmaddubsw`, which adds the products of two neighbours
//! along the reduction in 16 bits and saturates there. With codes up to 255 no such sum does where the positive weights of
//! every pair of neighbours sum up to at most 128, and the negative ones to at least -128: `255 * 128 = 32640`. Runtimes that
//! use the instruction without proof give right answers with such weights, and kernels that prove take their short way.
//!
//! A channel whose weights break the rule has two ways out: a larger scale, or weights that are pulled towards zero. Of a number of
//! scales the one is taken with which the channel's sums err least. Activations that do not depend on each other and have a mean as
//! large as their deviation, which is about what a ReLU leaves, make of errors `e` of the weights a squared error in proportion to
//! `Σ e² + (Σ e)²`: pulled weights, unlike rounded ones, all err to the same side.

use crate::PassError;
use crate::place::convolution;
use tq_graph::{Node, Op};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind, QTypeError, Rounding, affine};

/// The largest sum of two neighbours of one sign.
const LIMIT: i32 = 128;
/// Scales that are tried between the own one and the one with which no weight has to be pulled.
const STEPS: i32 = 24;

/// Where the weights of a product stand: for every output channel `outer` sets of `inner`, in the order in which kernels sum
/// them up.
struct Layout {
    channels: usize,
    outer: usize,
    inner: usize,
    /// From a channel, an outer and an inner place to the next.
    strides: [usize; 3],
}

impl Layout {
    /// Of weights of these dimensions; `None` where no two of them meet in one sum of 16 bits.
    fn of(op: &Op, dims: &[usize]) -> Option<Self> {
        let spatial = |dims: &[usize]| dims[2..].iter().product::<usize>();
        Some(match (op, dims) {
            // Depthwise kernels add up no neighbours in 16 bits. One input channel alone does not make a depthwise layer.
            (Op::Conv(attrs), _) if convolution(attrs.groups, dims) == OperatorKind::DepthwiseConv => {
                return None;
            }
            // Channels come last in kernels.
            (Op::Conv(_), [o, i, ..]) => {
                let s = spatial(dims);
                Self { channels: *o, outer: s, inner: *i, strides: [i * s, 1, s] }
            }
            (Op::ConvTranspose(_), [i, o, ..]) => {
                let s = spatial(dims);
                Self { channels: *o, outer: s, inner: *i, strides: [s, 1, o * s] }
            }
            (Op::Gemm { trans_b: true, .. }, [n, k]) => {
                Self { channels: *n, outer: 1, inner: *k, strides: [*k, 0, 1] }
            }
            (Op::Gemm { .. } | Op::MatMul, [.., k, n]) => {
                let outer = dims[..dims.len() - 2].iter().product();
                Self { channels: *n, outer, inner: *k, strides: [1, k * n, *n] }
            }
            _ => return None,
        })
    }

    /// The places of every pair of neighbours of a channel. A last one without a neighbour is in none.
    fn pairs(&self, channel: usize) -> impl Iterator<Item = [usize; 2]> + '_ {
        let [c, o, i] = self.strides;
        let place = move |n: usize| channel * c + n / self.inner * o + n % self.inner * i;
        (0..self.outer * self.inner / 2).map(move |pair| [place(2 * pair), place(2 * pair + 1)])
    }
}

/// Enlarges the scales of weights that break the rule; [`constrain`] pulls what then still does.
///
/// # Errors
/// [`PassError::OverflowSafe`] for codes of more than 7 bits that are not symmetric i8 or have scales of groups.
pub(super) fn enlarge(
    node: &Node,
    data: &[f32],
    dims: &[usize],
    params: &mut AffineParams,
    rounding: Rounding,
) -> Result<(), PassError> {
    let refused = |reason: &str| PassError::OverflowSafe { node: node.name.clone(), reason: reason.into() };
    if params.quant_min >= -LIMIT / 2 && params.quant_max <= LIMIT / 2 {
        return Ok(());
    }
    if params.dtype != DType::I8 || params.zero_point.iter().any(|z| *z != 0) {
        return Err(refused("its weights are not i8 codes without zero points"));
    }
    let Some(layout) = Layout::of(&node.op, dims) else { return Ok(()) };
    let pairs: Vec<Vec<f32>> =
        (0..layout.channels).map(|c| layout.pairs(c).flatten().map(|i| data[i]).collect()).collect();
    let sets: Vec<Vec<&[f32]>> = match params.granularity {
        Granularity::PerTensor => vec![pairs.iter().map(Vec::as_slice).collect()],
        Granularity::PerChannel { .. } => {
            // The groups of a transposed convolution share the scales of their channels.
            pairs.iter().map(|channel| vec![channel.as_slice()]).collect()
        }
        Granularity::PerGroup { .. } => {
            return Err(refused("its weights have scales of groups, not of channels or the tensor"));
        }
    };
    let of = params.clone();
    for (set, scale) in sets.iter().zip(&mut params.scale) {
        *scale = best(set, *scale, &of, rounding).map_err(|source| PassError::Observer {
            tensor: format!("weights of {}", node.name),
            source: source.into(),
        })?;
    }
    Ok(())
}

/// The scale, at least `own`, with which the sums of these weights, in pairs, err least once they keep the rule.
fn best(pairs: &[&[f32]], own: f32, params: &AffineParams, rounding: Rounding) -> Result<f32, QTypeError> {
    let error = |scale: f32| -> Result<(f64, i32), QTypeError> {
        let one = AffineParams {
            granularity: Granularity::PerTensor,
            scale: vec![scale],
            zero_point: vec![0],
            ..params.clone()
        };
        let (mut error, mut most) = (0.0, 0);
        for pairs in pairs {
            let mut codes = affine::quantize(pairs, &[pairs.len()], &one, rounding)?;
            for pair in codes.as_chunks_mut::<2>().0 {
                most = most.max(same_sign_sum(*pair).abs());
                *pair = pulled(*pair);
            }
            let reals = affine::dequantize(&codes, &[codes.len()], &one)?;
            let (mut sum, mut squares) = (0.0, 0.0);
            for (x, y) in pairs.iter().zip(reals) {
                let e = f64::from(y) - f64::from(*x);
                sum += e;
                squares += e * e;
            }
            error += squares + sum * sum;
        }
        Ok((error, most))
    };
    let (mut least, most) = error(own)?;
    let mut best = own;
    if most <= LIMIT {
        return Ok(own);
    }
    // With the last one no pair breaks the rule, but for rounding.
    let last = most as f32 / LIMIT as f32;
    for step in 1..=STEPS {
        let scale = own * (1.0 + (last - 1.0) * step as f32 / STEPS as f32);
        let (error, _) = error(scale)?;
        if error < least {
            (least, best) = (error, scale);
        }
    }
    Ok(best)
}

/// Pulls codes that break the rule towards zero, by as much each.
pub(super) fn constrain(op: &Op, dims: &[usize], codes: &mut [i32]) {
    let Some(layout) = Layout::of(op, dims) else { return };
    for channel in 0..layout.channels {
        for [a, b] in layout.pairs(channel) {
            [codes[a], codes[b]] = pulled([codes[a], codes[b]]);
        }
    }
}

/// The sum of both where they have the same sign, else the one that is further from zero.
fn same_sign_sum([a, b]: [i32; 2]) -> i32 {
    if a.signum() * b.signum() >= 0 {
        a + b
    } else if a.abs() > b.abs() {
        a
    } else {
        b
    }
}

/// The nearest pair that keeps the rule.
fn pulled([a, b]: [i32; 2]) -> [i32; 2] {
    let sum = same_sign_sum([a, b]);
    let excess = (sum.abs() - LIMIT).max(0) * sum.signum();
    if a.signum() * b.signum() < 0 {
        return [a, b];
    }
    // The larger one gives the odd one.
    let half = excess / 2;
    if a.abs() > b.abs() { [a - (excess - half), b - half] } else { [a - half, b - (excess - half)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulled_pairs_keep_the_rule_and_are_the_nearest_that_do() {
        for a in -128..=127i32 {
            for b in -128..=127i32 {
                let [x, y] = pulled([a, b]);
                let (positive, negative) = (x.max(0) + y.max(0), x.min(0) + y.min(0));
                assert!(positive <= LIMIT && negative >= -LIMIT, "{a} {b}");
                // `vpmaddubsw` of the largest codes, on either or both.
                for (p, q) in [(0, 255), (255, 0), (255, 255)] {
                    assert!(i16::try_from(p * x + q * y).is_ok());
                }
                let distance = (a - x).pow(2) + (b - y).pow(2);
                let excess = ((a + b).abs() - LIMIT).max(0) * i32::from(a.signum() * b.signum() >= 0);
                // Half of the excess each, which is the least, but for an odd one.
                assert_eq!(distance, (excess / 2).pow(2) + (excess - excess / 2).pow(2), "{a} {b}");
            }
        }
    }
}
