//! From 32-bit sums to real numbers, 16 columns a vector.
//!
//! Bit-identical to the scalar definition: the same f32 operations in the same order, none fused.

use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::Addend;

/// Columns of a vector.
const LANES: usize = 16;

/// One tile: two strided matrices, and what belongs to its columns.
struct Tile<'a> {
    rows: usize,
    acc: &'a [i32],
    acc_stride: usize,
    offset: &'a [i32],
    scale: &'a [f32],
    out: &'a mut [f32],
    out_stride: usize,
}

/// [`tq_kernels::RowKernel::dequantize_tile`] of as many columns as there are vectors for. Gives the number of columns done.
#[target_feature(enable = "avx512f")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
pub(super) fn dequantize_tile(
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    scale: &[f32],
    addend: Addend,
    out: &mut [f32],
    out_stride: usize,
) -> usize {
    let columns = offset.len().min(scale.len());
    let mut tile = Tile { rows, acc, acc_stride, offset, scale, out, out_stride };
    // Loops of their own for every addend: rows are a few vectors long, and leave no time to ask.
    match addend {
        Addend::None => all(&mut tile, columns, |_| (), |product, (), _| product),
        Addend::Columns(bias) => {
            let of = |c: usize| load_16_f32(first(&bias[c..]));
            all(&mut tile, columns, of, |product, bias, _| _mm512_add_ps(product, bias))
        }
        Addend::Output => {
            all(&mut tile, columns, |_| (), |product, (), out| _mm512_add_ps(product, load_16_f32(out)))
        }
    }
}

/// Vectors of columns: of each `of` gives what is added, which `add` does. Gives the number of columns done.
#[inline]
#[target_feature(enable = "avx512f")]
fn all<A: Copy>(
    tile: &mut Tile,
    columns: usize,
    of: impl Fn(usize) -> A,
    add: impl Fn(__m512, A, &[f32; LANES]) -> __m512,
) -> usize {
    let mut c = 0;
    while c + 2 * LANES <= columns {
        vectors::<_, 2, { 2 * LANES }>(tile, c, [of(c), of(c + LANES)], &add);
        c += 2 * LANES;
    }
    if c + LANES <= columns {
        vectors::<_, 1, LANES>(tile, c, [of(c)], &add);
        c += LANES;
    }
    c
}

/// `N` columns from `c` on: `H` vectors.
#[inline]
#[target_feature(enable = "avx512f")]
fn vectors<A: Copy, const H: usize, const N: usize>(
    tile: &mut Tile,
    c: usize,
    addend: [A; H],
    add: impl Fn(__m512, A, &[f32; LANES]) -> __m512,
) {
    const { assert!(N == LANES * H) };
    // A loop: closures that library functions call are not always compiled into the function that has the instructions.
    let mut columns = [(_mm512_setzero_si512(), _mm512_setzero_ps()); H];
    for (h, (offset, scale)) in columns.iter_mut().enumerate() {
        let c = c + h * LANES;
        (*offset, *scale) = (load_16_i32(first(&tile.offset[c..])), load_16_f32(first(&tile.scale[c..])));
    }
    let acc = strided::<i32, N>(&tile.acc[c..], tile.rows, tile.acc_stride);
    let out = strided_mut::<f32, N>(&mut tile.out[c..], tile.rows, tile.out_stride);
    for (acc, out) in acc.zip(out) {
        for (h, (acc, out)) in acc.as_chunks().0.iter().zip(out.as_chunks_mut().0).enumerate() {
            let (offset, scale) = columns[h];
            let sums = _mm512_cvtepi32_ps(_mm512_add_epi32(load_16_i32(acc), offset));
            store_16_f32(out, add(_mm512_mul_ps(sums, scale), addend[h], out));
        }
    }
}
