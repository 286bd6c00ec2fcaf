//! Element-wise work in chunks of one length, so that results do not depend on the number of threads.

use crate::QatError;
use rayon::prelude::*;
use tq_graph::Tensor;
use tq_qtypes::QTypeError;
use tq_qtypes::affine::Side;
use tq_qtypes::fake_quantize::FakeQuantizer;

/// Elements of a chunk.
const LEN: usize = 1 << 14;

/// `work` gets the index of the first element of a chunk, the chunk of `x`, and where its results go.
pub(super) fn mapped(x: &[f32], work: impl Fn(usize, &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let chunks = x.par_chunks(LEN).zip(y.par_chunks_mut(LEN)).enumerate();
    chunks.for_each(|(i, (x, y))| work(i * LEN, x, y));
    y
}

/// `gradient` where `sides` says that the element of `x`, of shape `dims`, is inside, zero elsewhere; it is written over
/// where nobody else has it.
pub(super) fn gradient_of_x(
    (x, dims): (&[f32], &[usize]),
    mut gradient: Tensor,
    sides: impl Fn(usize, &[f32], &mut [Side]) + Sync,
) -> Result<Tensor, QatError> {
    let (expected, got) = (x.len(), gradient.len());
    if expected != got {
        return Err(QTypeError::Length { what: "elements of the gradient", expected, got }.into());
    }
    let chunks = x.par_chunks(LEN).zip(gradient.as_mut_slice::<f32>()?.par_chunks_mut(LEN)).enumerate();
    chunks.for_each_init(Vec::new, |side, (i, (x, g))| {
        side.clear();
        side.resize(x.len(), Side::Inside);
        sides(i * LEN, x, side);
        for (g, side) in g.iter_mut().zip(side) {
            *g = if *side == Side::Inside { *g } else { 0.0 };
        }
    });
    Ok(gradient.reshape(dims)?)
}

/// For each of `count` parameters the sum of two terms over the elements that use it. `terms` writes those of a chunk;
/// they are added in the order of the elements, in f64.
pub(super) fn sums_by_parameter(
    quantizer: &FakeQuantizer<'_>,
    len: usize,
    count: usize,
    terms: impl Fn(usize, usize, &mut [[f32; 2]]) + Sync,
) -> Vec<[f64; 2]> {
    // A run of elements with one parameter is added up within its chunk; only the sums come out of it.
    let of_chunk = |i: usize| {
        let (first, last) = (i * LEN, len.min((i + 1) * LEN));
        let mut values = vec![[0.0; 2]; last - first];
        terms(first, last, &mut values);
        let mut sums: Vec<(usize, [f64; 2])> = Vec::new();
        for run in quantizer.runs(first..last) {
            let values = &values[run.elements.start - first..run.elements.end - first];
            if run.shared {
                let add = |s: [f64; 2], v: &[f32; 2]| [s[0] + f64::from(v[0]), s[1] + f64::from(v[1])];
                sums.push((run.param, values.iter().fold([0.0; 2], add)));
            } else {
                let each = values.iter().enumerate();
                sums.extend(each.map(|(k, v)| (run.param + k, [f64::from(v[0]), f64::from(v[1])])));
            }
        }
        sums
    };
    let chunks: Vec<_> = (0..len.div_ceil(LEN)).into_par_iter().map(of_chunk).collect();
    let mut out = vec![[0.0; 2]; count];
    for (param, sums) in chunks.into_iter().flatten() {
        out[param][0] += sums[0];
        out[param][1] += sums[1];
    }
    out
}
