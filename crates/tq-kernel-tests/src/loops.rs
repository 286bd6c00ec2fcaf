//! The innermost loops, called with slices that are as short as their contracts allow, against the portable ones.

use tq_kernels::row::{
    binary_row, depthwise_channels, dequantize_row, lookup_row, quantize_row, requantize_row,
};
use tq_kernels::scalar::ScalarRows;
use tq_kernels::{
    Addend, AffineU8, BinaryOp, BinaryParams, Effort, LhsTile, Microkernel, Requantize, RhsColumns, RhsPanel,
    RowKernel, RowMultipliers, Tap,
};

/// Numbers of 31 bits that look random.
fn noise(seed: u32, len: usize) -> impl Iterator<Item = u32> {
    let mut x = seed.wrapping_mul(2_654_435_761) | 1;
    (0..len).map(move |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x >> 1
    })
}

fn codes(seed: u32, len: usize) -> Vec<u8> {
    noise(seed, len).map(|v| (v >> 9) as u8).collect()
}

/// Tiles of every number of rows and columns; rows that follow each other and rows that lie apart.
///
/// # Panics
/// Where a sum is wrong, or a range of codes.
pub fn check_tiles<K: Microkernel>(kernel: K) {
    ranges(kernel);
    for k in [1, 3, 4, 5, 8, 16, 31, 64, 100, 257, 1024, 1100] {
        let padded = usize::next_multiple_of(k, K::KU);
        for columns in [1, 7, 8, 16, 17, K::NR].into_iter().filter(|&c| c <= K::NR) {
            // Small weights run deep, large ones by magnitude.
            for size in [20, 64, 128] {
                let weight = |v: u32| ((v >> 5) as i32 % (2 * size + 1) - size).min(127) as i8;
                let weights: Vec<i8> = noise(3, columns * k).map(weight).collect();
                for effort in [Effort::Least, Effort::Most] {
                    let mut panel = vec![0i8; K::panel_bytes(padded).expect("it fits memory")];
                    kernel.pack_panel(RhsColumns { data: &weights, k }, effort, &mut panel);
                    for rows in 1..=K::MR {
                        tile(kernel, (rows, columns, k, padded), &weights, &panel);
                    }
                }
            }
        }
    }
}

/// Where the kernel asks how large codes are, it is told exactly: a range that is too wide would cost speed and no test would see it.
fn ranges<K: Microkernel>(kernel: K) {
    if kernel.range(&[7], 1, 1, 1) == (0, u8::MAX) {
        return;
    }
    for k in 0..=70 {
        for stride in [k, k + 1, k + 33] {
            for rows in 1..=K::MR {
                // Around the middle, so that neither end comes from anything but a code.
                let len = (rows - 1) * stride + k;
                let codes: Vec<u8> =
                    codes(k as u32 + 11, len).into_iter().map(|code| 64 + code / 2).collect();
                let all = || (0..rows).flat_map(|r| &codes[r * stride..][..k]);
                let expected = (all().min().map_or(u8::MAX, |&c| c), all().max().map_or(0, |&c| c));
                let got = kernel.range(&codes, rows, stride, k);
                assert_eq!(got, expected, "{}: {rows} rows of {k}, {stride} apart", kernel.name());
            }
        }
    }
}

fn tile<K: Microkernel>(
    kernel: K,
    (rows, columns, k, padded): (usize, usize, usize, usize),
    weights: &[i8],
    panel: &[i8],
) {
    let stride = padded + rows % 3;
    let mut lhs = codes(5, (rows - 1) * stride + padded);
    for r in 0..rows {
        lhs[r * stride..][k..padded].fill(0);
    }
    // The range is looked for in rows as they come, without what pads them.
    let rows_alone = lhs[..(rows - 1) * stride + k].to_vec();
    let (least, max) = kernel.range(&rows_alone, rows, stride, k);
    assert!((0..rows).flat_map(|r| &lhs[r * stride..][..k]).all(|a| (least..=max).contains(a)));
    let tile = LhsTile { rows, codes: &lhs, stride, max };
    let mut out = vec![0x5A5A_5A5Ai32; rows * K::NR];
    kernel.tile(&tile, 0..padded, RhsPanel { data: panel, columns }, &mut out);
    for r in 0..rows {
        for c in 0..columns {
            let products = lhs[r * stride..][..k].iter().zip(&weights[c * k..][..k]);
            let sum: i32 = products.map(|(&a, &w)| i32::from(a) * i32::from(w)).sum();
            assert_eq!(out[r * K::NR + c], sum, "{} rows {rows} columns {columns} K {k}", kernel.name());
        }
    }
}

const LENGTHS: [usize; 17] = [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 257];

/// The loops that make outputs of a tile of sums, on tiles of many widths: those that a level may have alone.
///
/// # Panics
/// Where a result differs from that of the portable loop.
pub fn check_outputs(kernel: impl RowKernel) {
    for len in LENGTHS {
        requantize(kernel, len);
        dequantize_tile(kernel, len);
    }
    requantize_full_range(kernel);
}

/// Every loop over rows that has a portable body, on rows of many lengths.
///
/// # Panics
/// Where a result differs from that of the portable loop.
pub fn check_rows(kernel: impl RowKernel) {
    check_outputs(kernel);
    for len in LENGTHS {
        depthwise(kernel, len);
        let (a, b) = (codes(1, len), codes(2, len));
        let mut max = a.clone();
        kernel.max_row(&mut max, &b);
        assert!(max.iter().zip(a.iter().zip(&b)).all(|(m, (a, b))| m == a.max(b)), "max of {len}");
        let mut sums: Vec<i32> = noise(3, len).map(|v| v as i32 >> 3).collect();
        let before = sums.clone();
        kernel.sum_row(&mut sums, &b);
        let right = sums.iter().zip(before.iter().zip(&b)).all(|(s, (acc, &b))| *s == acc + i32::from(b));
        assert!(right, "sum of {len}");

        let (lhs, rhs) = (AffineU8 { scale: 0.1, zero_point: 3 }, AffineU8 { scale: 0.2, zero_point: 99 });
        let (mut out, mut expected) = (vec![0u8; len], vec![0u8; len]);
        for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::ReverseSub, BinaryOp::Mul] {
            let params = BinaryParams { op, lhs, rhs, out: lhs, clamp: (2, 250) };
            kernel.binary(&params, &a, &b, &mut out);
            binary_row(&params, &a, &b, &mut expected);
            assert_eq!(out, expected, "{op:?} of {len}");
        }
        let reals: Vec<f32> = noise(7, len).map(|v| v as f32 / 1e8 - 10.0).collect();
        kernel.quantize(&reals, lhs, (1, 254), &mut out);
        quantize_row(&reals, lhs, (1, 254), &mut expected);
        assert_eq!(out, expected, "quantize {len}");
        let positive: Vec<f32> = reals.iter().map(|x| x.abs() + 1.0).collect();
        for reals in [&reals, &positive] {
            assert_eq!(kernel.real_range(reals), ScalarRows.real_range(reals), "range of {len}");
        }
        let (mut reals, mut expected) = (vec![0f32; len], vec![0f32; len]);
        kernel.dequantize(&a, rhs, &mut reals);
        ScalarRows.dequantize(&a, rhs, &mut expected);
        assert_eq!(reals, expected, "dequantize {len}");

        let values = codes(4, 256);
        let table = std::array::from_fn(|code| values[code]);
        let (mut out, mut expected) = (vec![0u8; len], vec![0u8; len]);
        kernel.lookup(&table, &a, &mut out);
        lookup_row(&table, &a, &mut expected);
        assert_eq!(out, expected, "lookup of {len}");
    }
}

fn requantize(kernel: impl RowKernel, columns: usize) {
    let reals: Vec<f32> = noise(3, columns).map(|v| v as f32 / 1e11).collect();
    let fixed: Vec<i32> = noise(8, columns).map(|v| (v >> 2 | 1 << 30) as i32).collect();
    let shift: Vec<i32> = noise(9, columns).map(|v| -((v % 32) as i32)).collect();
    let left: Vec<i32> = shift.iter().map(|s| s + 8).collect();
    let far: Vec<i32> = (0..columns).map(|c| [-31, -32, -256, i32::MIN, 0, i32::MAX][c % 6]).collect();
    requantize_by(kernel, columns, RowMultipliers::Float(&reals));
    // Products that leave 32 bits, and none at all.
    for large in [1.0, -3e9, f32::INFINITY, f32::NAN] {
        let mut reals = reals.clone();
        reals.iter_mut().skip(columns / 2).step_by(3).for_each(|real| *real = large);
        requantize_by(kernel, columns, RowMultipliers::Float(&reals));
    }
    requantize_by(kernel, columns, RowMultipliers::FixedPoint { multiplier: &fixed, shift: &shift });
    requantize_by(kernel, columns, RowMultipliers::FixedPoint { multiplier: &fixed, shift: &left });
    requantize_by(kernel, columns, RowMultipliers::FixedPoint { multiplier: &fixed, shift: &far });
}

fn requantize_by(kernel: impl RowKernel, columns: usize, multipliers: RowMultipliers) {
    // Numbers of all sizes, so that every shift has some between its codes.
    let size = |i: usize| 31 - (i % 29) as u32;
    for rows in [1, 2, 5] {
        let (acc_stride, out_stride) = (columns + 3, columns + 2);
        let len = |stride: usize| (rows - 1) * stride + columns;
        let acc: Vec<i32> =
            noise(1, len(acc_stride)).enumerate().map(|(i, v)| v as i32 >> (31 - size(i)) >> 1).collect();
        let offset: Vec<i32> = noise(2, columns).map(|v| (v % 1000) as i32).collect();
        let params = Requantize { zero_point: 100, clamp: (4, 251) };
        let (mut out, mut expected) = (vec![0xA5u8; len(out_stride)], vec![0xA5u8; len(out_stride)]);
        kernel.requantize_tile(rows, &acc, acc_stride, &offset, multipliers, params, &mut out, out_stride);
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..][..columns], &mut expected[r * out_stride..][..columns]);
            requantize_row(acc, &offset, multipliers, params, out);
        }
        assert_eq!(out, expected, "requantize {rows} x {columns} by {multipliers:?}");
    }
}

/// Sums of 32 bits of both signs, every zero point, clamps of all widths, multipliers about 1 and -1.
fn requantize_full_range(kernel: impl RowKernel) {
    let (rows, most) = (3, 64);
    let whole =
        |seed: u32, len: usize| noise(seed, len).zip(noise(!seed, len)).map(|(a, b)| (a << 1 ^ b) as i32);
    for zero_point in 0..=255 {
        let seed = zero_point as u32;
        let columns = [8, 15, 16, 24, 31, 32, 33, 40, 48, most][zero_point as usize % 10];
        let len = rows * columns;
        // Sums of all sizes, in offsets and what is left of them: the two do not leave 32 bits.
        let offset: Vec<i32> = whole(seed + 1, columns).enumerate().map(|(c, v)| v >> (c % 32)).collect();
        let sums = whole(seed + 1000, len).enumerate().map(|(i, v)| match v.rem_euclid(9) {
            0 => i32::MIN,
            1 => i32::MAX,
            2 => i32::MAX - v.rem_euclid(512),
            _ => v >> (i % 30),
        });
        let acc: Vec<i32> =
            sums.enumerate().map(|(i, sum)| sum.saturating_sub(offset[i % columns])).collect();
        let [a, b] = [seed + 2000, seed + 3000].map(|seed| i32::from(codes(seed, 1)[0]));
        let clamp = [(0, 255), (a.min(b), a.max(b)), (a, a), (zero_point, 255)][zero_point as usize / 10 % 4];
        let params = Requantize { zero_point, clamp };
        let check = |multipliers: RowMultipliers| {
            let (mut out, mut expected) = (vec![0u8; len], vec![0u8; len]);
            kernel.requantize_tile(rows, &acc, columns, &offset, multipliers, params, &mut out, columns);
            for (acc, out) in acc.chunks(columns).zip(expected.chunks_mut(columns)) {
                requantize_row(acc, &offset, multipliers, params, out);
            }
            assert_eq!(out, expected, "requantize {rows} x {columns} by {multipliers:?}, {params:?}");
        };
        // Below one in magnitude, with numbers beside it, and any.
        let below = 1.0f32.next_down();
        for ends in
            [[below, 0.5, -below, 2e-8], [1.0, -below, -1.0, 1.0f32.next_up()], [1e-9, 3e9, -2.0, -0.0]]
        {
            let reals: Vec<f32> = whole(seed + 4000, columns)
                .map(|v| match v.rem_euclid(3) {
                    0 => 2.0f32.powi(-(v >> 8 & 31)) * if v < 0 { -1.0 } else { 1.0 } * below,
                    _ => ends[(v >> 8 & 3) as usize],
                })
                .collect();
            check(RowMultipliers::Float(&reals));
        }
        let multiplier: Vec<i32> = whole(seed + 5000, columns)
            .map(|v| match v.rem_euclid(5) {
                0 => i32::MAX,
                1 => 1 << 30,
                _ => v & i32::MAX | 1 << 30,
            })
            .collect();
        for most in [0, 4] {
            let shift: Vec<i32> = whole(seed + 6000, columns).map(|v| most - (v & 31)).collect();
            check(RowMultipliers::FixedPoint { multiplier: &multiplier, shift: &shift });
        }
    }
}

fn dequantize_tile(kernel: impl RowKernel, columns: usize) {
    let offset: Vec<i32> = noise(2, columns).map(|v| ((v % 3) as i32 - 1) * (v % 1000) as i32).collect();
    let scale = noise(3, columns).enumerate().map(|(c, v)| match c % 11 {
        3 => -(v as f32) / 1e11,
        5 => f32::MIN_POSITIVE / 16.0,
        8 => -0.0,
        _ => v as f32 / 1e11,
    });
    let scale: Vec<f32> = scale.collect();
    let bias: Vec<f32> = noise(4, columns).map(|v| v as f32 / 1e4 - 1e5).collect();
    for rows in [1, 2, 5] {
        let (acc_stride, out_stride) = (columns + 3, columns + 2);
        let len = |stride: usize| (rows - 1) * stride + columns;
        // Sums of all sizes, also of more bits than f32 holds, and the largest that there are.
        let acc = noise(1, len(acc_stride)).enumerate().map(|(i, v)| {
            let sum =
                [(v as i32 - (1 << 30)) >> (i % 29), i32::MAX - (v % 2 * 150) as i32, i32::MIN][i % 9 / 4];
            sum.saturating_sub(offset.get(i % acc_stride).copied().unwrap_or(0))
        });
        let acc: Vec<i32> = acc.collect();
        for addend in [Addend::None, Addend::Columns(&bias), Addend::Output] {
            let held: Vec<f32> = (0..len(out_stride)).map(|i| i as f32 * 0.375 - 5.0).collect();
            let (mut out, mut expected) = (held.clone(), held);
            kernel.dequantize_tile(rows, &acc, acc_stride, &offset, &scale, addend, &mut out, out_stride);
            for r in 0..rows {
                let acc = &acc[r * acc_stride..][..columns];
                dequantize_row(acc, &offset, &scale, addend, &mut expected[r * out_stride..][..columns]);
            }
            let bits = |reals: &[f32]| reals.iter().map(|real| real.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&out), bits(&expected), "dequantize {rows} x {columns}, {addend:?}");
        }
    }
}

fn depthwise(kernel: impl RowKernel, channels: usize) {
    for positions in [1, 2, 3, 8] {
        let (steps, weight_stride) = ([channels, 2 * channels, 0], channels + 1);
        let data: Vec<Vec<u8>> =
            steps.iter().map(|step| codes(4, (positions - 1) * step + channels)).collect();
        let taps: Vec<Tap> = data.iter().zip(steps).map(|(codes, step)| Tap { codes, step }).collect();
        let weights: Vec<i16> =
            noise(5, 2 * weight_stride + channels).map(|v| (v % 511) as i16 - 255).collect();
        let mut acc: Vec<i32> = noise(6, positions * channels).map(|v| v as i32 >> 4).collect();
        let mut expected = acc.clone();
        kernel.depthwise(positions, channels, &taps, &weights, weight_stride, &mut acc);
        depthwise_channels(0, positions, channels, &taps, &weights, weight_stride, &mut expected);
        assert_eq!(acc, expected, "depthwise {positions} x {channels}");
    }
}
