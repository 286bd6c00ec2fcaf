//! From 32-bit sums to real numbers.
//!
//! Bit-identical to the scalar definition: the same f32 operations in the same order, none fused.

use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::Addend;
use tq_kernels::row::dequantize_row;

/// The loops over rows and columns for one length of vectors; columns that fill none are left to `$rest`.
macro_rules! dequantize {
    (
        $(#[$what:meta])* $name:ident, $feature:literal, $lanes:literal, $vector:ty, $rest:path,
        $load_sums:path, $load:path, $store:path, $add_sums:path, $convert:path, $multiply:path, $add:path
    ) => {
        $(#[$what])*
        pub(crate) mod $name {
            use super::*;

            /// Columns of a vector.
            const LANES: usize = $lanes;

            /// See [`tq_kernels::RowKernel::dequantize_tile`].
            #[target_feature(enable = $feature)]
            #[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
            pub(crate) fn dequantize_tile(
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
                        let of = |c: usize| $load(first(&bias[c..]));
                        all(&mut tile, columns, of, |product, bias, _| $add(product, bias))
                    }
                    Addend::Output => all(&mut tile, columns, |_| (), |product, (), out| $add(product, $load(out))),
                };
                if done < columns {
                    let (offset, scale) = (&offset[done..columns], &scale[done..columns]);
                    let (acc, out) = (&acc[done..], &mut tile.out[done..]);
                    $rest(rows, acc, acc_stride, offset, scale, addend.from(done), out, out_stride);
                }
            }

            /// Vectors of columns: of each `of` gives what is added, which `add` does. Gives the number of columns done.
            #[inline]
            #[target_feature(enable = $feature)]
            fn all<A: Copy>(
                tile: &mut Tile,
                columns: usize,
                of: impl Fn(usize) -> A,
                add: impl Fn($vector, A, &[f32; LANES]) -> $vector,
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
            #[target_feature(enable = $feature)]
            fn vectors<A: Copy, const H: usize, const N: usize>(
                tile: &mut Tile,
                c: usize,
                addend: [A; H],
                add: impl Fn($vector, A, &[f32; LANES]) -> $vector,
            ) {
                const { assert!(N == LANES * H) };
                // A loop: closures that library functions call are not always compiled into the function that has the instructions.
                let mut columns = [($load_sums(first(&tile.offset[c..])), $load(first(&tile.scale[c..]))); H];
                for (h, (offset, scale)) in columns.iter_mut().enumerate().skip(1) {
                    let c = c + h * LANES;
                    (*offset, *scale) = ($load_sums(first(&tile.offset[c..])), $load(first(&tile.scale[c..])));
                }
                let acc = strided::<i32, N>(&tile.acc[c..], tile.rows, tile.acc_stride);
                let out = strided_mut::<f32, N>(&mut tile.out[c..], tile.rows, tile.out_stride);
                for (acc, out) in acc.zip(out) {
                    for (h, (acc, out)) in acc.as_chunks().0.iter().zip(out.as_chunks_mut().0).enumerate() {
                        let (offset, scale) = columns[h];
                        let sums = $convert($add_sums($load_sums(acc), offset));
                        $store(out, add($multiply(sums, scale), addend[h], out));
                    }
                }
            }
        }
    };
}

dequantize!(
    /// 8 columns a vector.
    avx2, "avx2", 8, __m256, portable,
    load_8_i32, load_8_f32, store_8_f32, _mm256_add_epi32, _mm256_cvtepi32_ps, _mm256_mul_ps, _mm256_add_ps
);
dequantize!(
    /// 16 columns a vector.
    avx512, "avx512f", 16, __m512, avx2::dequantize_tile,
    load_16_i32, load_16_f32, store_16_f32, _mm512_add_epi32, _mm512_cvtepi32_ps, _mm512_mul_ps, _mm512_add_ps
);

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

/// Columns that fill no vector, row by row.
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
fn portable(
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    scale: &[f32],
    addend: Addend,
    out: &mut [f32],
    out_stride: usize,
) {
    for r in 0..rows {
        dequantize_row(&acc[r * acc_stride..], offset, scale, addend, &mut out[r * out_stride..]);
    }
}
