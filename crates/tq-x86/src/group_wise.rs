//! Products with 4-bit weights in groups: 4 rows by 8 columns, whose weights are unpacked to bytes once for all rows.
//!
//! Weights less their zero point are -15..=15, so that AVX2 adds eight products in 16 bits without a look at them:
//! 8 · 255 · 15 = 30600.

use crate::memory::{first, first_mut, load_8_f32, load_8_i32, load_32, store_8_f32};
use std::arch::x86_64::*;
use tq_kernels::{GroupPanel, GroupRows};

/// Rows of a tile.
pub(crate) const MR: usize = 4;
/// Columns of a tile.
pub(crate) const NR: usize = 8;
/// Elements of K that lie beside each other in a column.
pub(crate) const KU: usize = 4;

/// The loops over groups and steps of K for one way to add products.
macro_rules! group_wise {
    ($(#[$what:meta])* $name:ident, $features:literal, $two:path, $one:path) => {
        $(#[$what])*
        pub(crate) mod $name {
            use super::*;

            /// See [`tq_kernels::GroupKernel::tile`]. Panics where a slice is too short.
            #[target_feature(enable = $features)]
            pub(crate) fn tile(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
                match lhs.rows {
                    1 => rows::<1>(lhs, rhs, sums),
                    2 => rows::<2>(lhs, rhs, sums),
                    3 => rows::<3>(lhs, rhs, sums),
                    _ => rows::<MR>(lhs, rhs, sums),
                }
            }

            #[target_feature(enable = $features)]
            fn rows<const R: usize>(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
                let mut rows: [&[[u8; KU]]; R] = [&[]; R];
                for (r, row) in rows.iter_mut().enumerate() {
                    *row = &lhs.codes[r * lhs.stride..].as_chunks().0[..rhs.codes.len() / (NR * KU) * 2];
                }
                let lhs_zero_point = _mm256_set1_epi32(lhs.zero_point);
                let mut totals = [_mm256_setzero_ps(); R];
                for group in rhs.groups::<NR>() {
                    let zero_points = of_columns(group.zero_points);
                    let (pairs, rest) = group.codes.as_chunks::<{ NR * KU }>().0.as_chunks::<2>();
                    // Of each row the codes of pairs of steps, and of the step behind them.
                    let (mut fours, mut two): ([&[[[u8; KU]; 4]]; R], [&[[u8; KU]]; R]) = ([&[]; R], [&[]; R]);
                    for r in 0..R {
                        let (now, behind) = rows[r].split_at(4 * pairs.len() + 2 * rest.len());
                        let (all, end) = now.as_chunks();
                        (fours[r], two[r], rows[r]) = (&all[..pairs.len()], end, behind);
                    }
                    let mut acc = [_mm256_setzero_si256(); R];
                    for (s, [a, b]) in pairs.iter().enumerate() {
                        let [a, b] = [unpack(a, zero_points), unpack(b, zero_points)];
                        for r in 0..R {
                            acc[r] = $two(acc[r], &fours[r][s], [a, b]);
                        }
                    }
                    if let [last] = rest {
                        let weights = unpack(last, zero_points);
                        for r in 0..R {
                            acc[r] = $one(acc[r], first(two[r]), weights);
                        }
                    }
                    let moved = _mm256_mullo_epi32(load_8_i32(group.sums), lhs_zero_point);
                    let scales = load_8_f32(group.scales);
                    for r in 0..R {
                        let real = _mm256_cvtepi32_ps(_mm256_sub_epi32(acc[r], moved));
                        totals[r] = _mm256_add_ps(totals[r], _mm256_mul_ps(real, scales));
                    }
                }
                for (r, total) in totals.into_iter().enumerate() {
                    store_8_f32(first_mut(&mut sums[r * NR..]), total);
                }
            }
        }
    };
}

group_wise!(
    /// By `vpmaddubsw`, eight products deep in 16 bits.
    avx2, "avx2", two_in_16_bits, one_in_16_bits
);
group_wise!(
    /// By `vpdpbusd` of AVX-VNNI.
    avxvnni, "avx2,avxvnni", two_avxvnni, one_avxvnni
);
group_wise!(
    /// By `vpdpbusd` of AVX-512 VNNI, in 256 bits: unpacking takes the byte instructions of AVX2.
    avx512vnni, "avx2,avx512f,avx512vl,avx512vnni", two_avx512vnni, one_avx512vnni
);

/// The zero points of 8 columns, each in all bytes of its column.
#[inline]
#[target_feature(enable = "avx2")]
fn of_columns(zero_points: &[u8; NR]) -> __m256i {
    let all = _mm256_set1_epi64x(bytemuck::cast(*zero_points));
    let places = _mm256_setr_epi8(
        0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, //
        4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7,
    );
    _mm256_shuffle_epi8(all, places)
}

/// The weights of the first four elements of K, and of the other four.
#[inline]
#[target_feature(enable = "avx2")]
fn unpack(codes: &[u8; NR * KU], zero_points: __m256i) -> [__m256i; 2] {
    let (codes, four_bits) = (load_32(codes), _mm256_set1_epi8(15));
    let low = _mm256_and_si256(codes, four_bits);
    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), four_bits);
    [_mm256_sub_epi8(low, zero_points), _mm256_sub_epi8(high, zero_points)]
}

/// Four codes of a row in every lane of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(codes: &[u8; KU]) -> __m256i {
    _mm256_set1_epi32(bytemuck::cast(*codes))
}

/// Products of eight elements of K in 16 bits, four to each sum.
#[inline]
#[target_feature(enable = "avx2")]
fn products(low: &[u8; KU], high: &[u8; KU], weights: [__m256i; 2]) -> __m256i {
    let low = _mm256_maddubs_epi16(broadcast(low), weights[0]);
    _mm256_add_epi16(low, _mm256_maddubs_epi16(broadcast(high), weights[1]))
}

#[inline]
#[target_feature(enable = "avx2")]
fn two_in_16_bits(acc: __m256i, codes: &[[u8; KU]; 4], weights: [[__m256i; 2]; 2]) -> __m256i {
    let [a, b] = weights;
    let sums = _mm256_add_epi16(products(&codes[0], &codes[1], a), products(&codes[2], &codes[3], b));
    _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn one_in_16_bits(acc: __m256i, codes: &[[u8; KU]; 2], weights: [__m256i; 2]) -> __m256i {
    let sums = products(&codes[0], &codes[1], weights);
    _mm256_add_epi32(acc, _mm256_madd_epi16(sums, _mm256_set1_epi16(1)))
}

/// Adds products in 32 bits with a dot product of four bytes.
macro_rules! dot_products {
    ($features:literal, $dot:path, $two:ident, $one:ident) => {
        #[inline]
        #[target_feature(enable = $features)]
        fn $two(acc: __m256i, codes: &[[u8; KU]; 4], [a, b]: [[__m256i; 2]; 2]) -> __m256i {
            let acc = $dot($dot(acc, broadcast(&codes[0]), a[0]), broadcast(&codes[1]), a[1]);
            $dot($dot(acc, broadcast(&codes[2]), b[0]), broadcast(&codes[3]), b[1])
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn $one(acc: __m256i, codes: &[[u8; KU]; 2], weights: [__m256i; 2]) -> __m256i {
            let acc = $dot(acc, broadcast(&codes[0]), weights[0]);
            $dot(acc, broadcast(&codes[1]), weights[1])
        }
    };
}

dot_products!("avx2,avxvnni", _mm256_dpbusd_avx_epi32, two_avxvnni, one_avxvnni);
dot_products!("avx2,avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32, two_avx512vnni, one_avx512vnni);
