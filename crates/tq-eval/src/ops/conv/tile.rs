//! Tiles of sums of products, kept in vector registers: what convolutions of f32 spend their time in.
//!
//! Vectors are those of [`vectors::arch`], and their multiply-add is the fused one where there is one.

use crate::vectors;
use pulp::{Simd, WithSimd};

/// Output channels of a tile.
pub(super) const FILTERS: usize = 4;

/// Vectors of positions, or taps, of a tile: with 16 registers, 12 for sums, one for each vector, one for a weight.
const VECTORS: usize = 3;

/// More than the elements of the widest vector: what has to follow the last plane.
pub(super) const SLACK: usize = 16;

/// Elements of a vector; 1 on machines without any.
pub(super) fn lanes() -> usize {
    struct Lanes;
    impl WithSimd for Lanes {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::F32_LANES
        }
    }
    vectors::arch().dispatch(Lanes)
}

/// A vector of neighbouring positions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where it is in the padded planes.
    pub(super) from: usize,
    /// Where its first result belongs.
    pub(super) to: usize,
    /// How many of its results count.
    pub(super) len: usize,
}

/// Weights that the nearer caches hold beside the input.
const CACHED_WEIGHTS: usize = 1 << 15;

/// Products of weights with what every position meets, plus one bias an output channel.
pub(super) struct Correlate<'a, 'o> {
    /// Padded planes, and [`SLACK`].
    pub(super) x: &'a [f32],
    /// Where the taps are in them.
    pub(super) taps: &'a [usize],
    /// For every block of [`FILTERS`] output channels one group of weights a tap.
    pub(super) weights: &'a [[f32; FILTERS]],
    /// One block's worth each.
    pub(super) bias: &'a [[f32; FILTERS]],
    pub(super) places: &'a [Place],
    /// How far results of neighbours are apart.
    pub(super) step: usize,
    /// One slice an output channel.
    pub(super) out: &'a mut [&'o mut [f32]],
}

impl WithSimd for Correlate<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many blocks at a time as the nearer caches hold the weights of.
        let blocks = (CACHED_WEIGHTS / (FILTERS * self.taps.len()).max(1)).max(1);
        for (i, (out, bias)) in
            self.out.chunks_mut(blocks * FILTERS).zip(self.bias.chunks(blocks)).enumerate()
        {
            let weights = &self.weights[i * blocks * self.taps.len()..][..bias.len() * self.taps.len()];
            let mut part = Correlate { weights, bias, out, ..self };
            let mut places = self.places;
            while !places.is_empty() {
                // One vector alone would wait for its sums: two and two instead of three and one.
                let count = if places.len() == 4 { 2 } else { places.len().min(VECTORS) };
                let (now, later) = places.split_at(count);
                match count {
                    VECTORS => part.tile::<S, VECTORS>(simd, now),
                    2 => part.tile::<S, 2>(simd, now),
                    _ => part.tile::<S, 1>(simd, now),
                }
                places = later;
            }
        }
    }
}

impl Correlate<'_, '_> {
    /// All output channels of some places.
    // With iterators over the arrays, compilers keep the sums in memory, not in registers: half as fast.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn tile<S: Simd, const V: usize>(&mut self, simd: S, places: &[Place]) {
        let mut from = [0; V];
        from.iter_mut().zip(places).for_each(|(f, p)| *f = p.from);
        for (i, (out, bias)) in self.out.chunks_mut(FILTERS).zip(self.bias).enumerate() {
            let weights = &self.weights[i * self.taps.len()..][..self.taps.len()];
            let mut sums = [[simd.splat_f32s(0.0); V]; FILTERS];
            for f in 0..FILTERS {
                sums[f] = [simd.splat_f32s(bias[f]); V];
            }
            for (tap, weights) in self.taps.iter().zip(weights) {
                let x = &self.x[*tap..];
                let mut met = [simd.splat_f32s(0.0); V];
                for v in 0..V {
                    met[v] = load::<S>(x, from[v]);
                }
                for f in 0..FILTERS {
                    let weight = simd.splat_f32s(weights[f]);
                    for v in 0..V {
                        sums[f][v] = simd.mul_add_e_f32s(weight, met[v], sums[f][v]);
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                for (place, sum) in places.iter().zip(sums) {
                    store::<S>(*sum, &mut out[place.to..], place.len, self.step);
                }
            }
        }
    }
}

/// For every output channel and tap the sum over all positions of the products of the gradient with what the tap meets.
pub(super) struct SumProducts<'a> {
    /// Padded planes, and [`SLACK`].
    pub(super) x: &'a [f32],
    /// Where the taps are in them.
    pub(super) taps: &'a [usize],
    /// Where vectors of positions are in them.
    pub(super) places: &'a [usize],
    /// One vector a place, zero where that is none; one run of them an output channel.
    pub(super) gradient: &'a [f32],
    /// Gets them added, taps of one output channel after the other.
    pub(super) sums: &'a mut [f32],
}

impl WithSimd for SumProducts<'_> {
    type Output = ();

    // Indices as above.
    #[allow(clippy::needless_range_loop)]
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let run = self.places.len() * S::F32_LANES;
        let blocks = self.gradient.chunks(FILTERS * run).zip(self.sums.chunks_mut(FILTERS * self.taps.len()));
        for (gradient, sums) in blocks {
            // Missing channels are the last one again, and left out of what is written.
            let last = gradient.len() / run - 1;
            let mut rows = [gradient; FILTERS];
            for (f, row) in rows.iter_mut().enumerate() {
                *row = &gradient[f.min(last) * run..][..run];
            }
            for first in (0..self.taps.len()).step_by(VECTORS) {
                let count = VECTORS.min(self.taps.len() - first);
                let mut x = [self.x; VECTORS];
                for (t, x) in x.iter_mut().enumerate() {
                    *x = &self.x[self.taps[first + t.min(count - 1)]..];
                }
                let mut tile = [[simd.splat_f32s(0.0); VECTORS]; FILTERS];
                for (i, place) in self.places.iter().enumerate() {
                    let mut met = [simd.splat_f32s(0.0); VECTORS];
                    for t in 0..VECTORS {
                        met[t] = load::<S>(x[t], *place);
                    }
                    for f in 0..FILTERS {
                        let g = load::<S>(rows[f], i * S::F32_LANES);
                        for t in 0..VECTORS {
                            tile[f][t] = simd.mul_add_e_f32s(g, met[t], tile[f][t]);
                        }
                    }
                }
                for (sums, tile) in sums.chunks_exact_mut(self.taps.len()).zip(&tile) {
                    for (sum, vector) in sums[first..][..count].iter_mut().zip(tile) {
                        *sum += simd.reduce_sum_f32s(*vector);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn load<S: Simd>(x: &[f32], at: usize) -> S::f32s {
    S::as_simd_f32s(&x[at..at + S::F32_LANES]).0[0]
}

/// The first `len` elements of a vector, `step` apart.
#[inline(always)]
fn store<S: Simd>(vector: S::f32s, out: &mut [f32], len: usize, step: usize) {
    if len == S::F32_LANES && step == 1 {
        S::as_mut_simd_f32s(&mut out[..S::F32_LANES]).0[0] = vector;
        return;
    }
    let mut elements = [0.0; SLACK];
    S::as_mut_simd_f32s(&mut elements[..S::F32_LANES]).0[0] = vector;
    out.iter_mut().step_by(step).zip(&elements[..len]).for_each(|(o, e)| *o = *e);
}
