//! From 32-bit sums to real numbers.
//!
//! Bit-identical to the scalar definition: the same f32 operations in the same order, none fused.

use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::Addend;
use tq_kernels::row::dequantize_row;

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

/// See [`tq_kernels::RowKernel::dequantize_tile`].
#[target_feature(enable = "avx2")]
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
) {
    let columns = offset.len().min(scale.len());
    let mut tile = Tile { rows, acc, acc_stride, offset, scale, out, out_stride };
    // Loops of their own for every addend: rows are a few vectors long, and leave no time to ask.
    let done = match addend {
        Addend::None => all(&mut tile, columns, |_| (), |product, (), _| product),
        Addend::Columns(bias) => {
            let of = |c: usize| load_8_f32(first(&bias[c..]));
            all(&mut tile, columns, of, |product, bias, _| _mm256_add_ps(product, bias))
        }
        Addend::Output => {
            all(&mut tile, columns, |_| (), |product, (), out| _mm256_add_ps(product, load_8_f32(out)))
        }
    };
    if done < columns {
        let (offset, scale, addend) = (&offset[done..columns], &scale[done..columns], addend.from(done));
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride + done..], &mut tile.out[r * out_stride + done..]);
            dequantize_row(acc, offset, scale, addend, out);
        }
    }
}

/// Vectors of columns: of each `of` gives what is added, which `add` does. Gives the number of columns done.
#[inline]
#[target_feature(enable = "avx2")]
fn all<A: Copy>(
    tile: &mut Tile,
    columns: usize,
    of: impl Fn(usize) -> A,
    add: impl Fn(__m256, A, &[f32; 8]) -> __m256,
) -> usize {
    let mut c = 0;
    while c + 16 <= columns {
        vectors::<_, 2, 16>(tile, c, [of(c), of(c + 8)], &add);
        c += 16;
    }
    if c + 8 <= columns {
        vectors::<_, 1, 8>(tile, c, [of(c)], &add);
        c += 8;
    }
    c
}

/// `N` columns from `c` on: `H` vectors.
#[inline]
#[target_feature(enable = "avx2")]
fn vectors<A: Copy, const H: usize, const N: usize>(
    tile: &mut Tile,
    c: usize,
    addend: [A; H],
    add: impl Fn(__m256, A, &[f32; 8]) -> __m256,
) {
    const { assert!(N == 8 * H) };
    let (offset, scale): (&[_; H], &[_; H]) =
        (first(tile.offset[c..].as_chunks().0), first(tile.scale[c..].as_chunks().0));
    let columns: [_; H] = std::array::from_fn(|h| (load_8_i32(&offset[h]), load_8_f32(&scale[h]), addend[h]));
    let acc = strided::<i32, N>(&tile.acc[c..], tile.rows, tile.acc_stride);
    let out = strided_mut::<f32, N>(&mut tile.out[c..], tile.rows, tile.out_stride);
    for (acc, out) in acc.zip(out) {
        let vectors = acc.as_chunks().0.iter().zip(out.as_chunks_mut().0);
        for ((acc, out), (offset, scale, addend)) in vectors.zip(columns) {
            let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(load_8_i32(acc), offset));
            store_8_f32(out, add(_mm256_mul_ps(sums, scale), addend, out));
        }
    }
}
