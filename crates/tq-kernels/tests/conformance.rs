//! The suite passes for exact kernels of any tile shape and fails for broken ones.

use std::ops::Range;
use tq_kernels::conformance::Suite;
use tq_kernels::scalar::{ScalarRows, ScalarTile};
use tq_kernels::{
    AffineU8, BinaryDriver, BinaryParams, ConvertDriver, DepthwiseDriver, Effort, Epilogue, GemmOut,
    GroupKernel, GroupPanel, GroupRows, GroupWiseDriver, KernelError, Lhs, LhsTile, LookupDriver,
    Microkernel, OutputStage, PoolDriver, QGemm, RhsColumns, RhsMatrix, RhsPanel, RowKernel, RowNames,
    ScalarLibrary, Tap, TiledGemm,
};

#[test]
fn the_scalar_library_conforms() {
    let report = Suite::default().check(&ScalarLibrary::new()).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.missing.is_empty() && report.cases > 3000, "{report:?}");
}

fn tile_conforms<const MR: usize, const NR: usize, const KU: usize>(name: &'static str) {
    let gemm = TiledGemm(ScalarTile::<MR, NR, KU>::new(name));
    Suite { seed: 2, ..Suite::default() }.check_gemm(&gemm).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn odd_tiles_conform() {
    tile_conforms::<3, 5, 2>("3x5c2");
    tile_conforms::<1, 1, 1>("1x1c1");
    tile_conforms::<7, 3, 5>("7x3c5");
    tile_conforms::<2, 64, 4>("2x64c4");
    tile_conforms::<8, 8, 8>("8x8c8");
    tile_conforms::<32, 16, 3>("32x16c3");
}

fn groups_conform<const MR: usize, const NR: usize, const KU: usize>(name: &'static str) {
    let kernel = GroupWiseDriver(ScalarTile::<MR, NR, KU>::new(name));
    Suite { seed: 2, ..Suite::default() }.check_group_wise(&kernel).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn odd_tiles_of_groups_conform() {
    groups_conform::<3, 5, 2>("3x5c2");
    groups_conform::<1, 1, 1>("1x1c1");
    groups_conform::<7, 3, 5>("7x3c5");
    groups_conform::<4, 16, 8>("4x16c8");
}

#[test]
fn weights_run_on_the_kernel_that_packed_them() {
    let (one, other) =
        (TiledGemm(ScalarTile::<2, 2, 1>::new("one")), TiledGemm(ScalarTile::<2, 2, 1>::new("other")));
    let packed = one.pack(&RhsMatrix::new(&[1, 2], 1, 2)).unwrap();
    let epilogue = Epilogue { lhs_zero_point: 0, stage: OutputStage::Accumulators };
    let lhs = Lhs::Dense { data: &[3, 4], rows: 1, row_stride: 2 };
    let error =
        other.run(lhs, &packed, &epilogue, GemmOut::I32 { data: &mut [0], row_stride: 1 }).unwrap_err();
    assert_eq!(error, KernelError::KernelMismatch { packed: "one", running: "other" });
}

/// A scalar tile that saturates where told.
#[derive(Debug, Clone, Copy)]
struct Saturating {
    limit: i32,
    /// The largest code at which sums of two products saturate.
    up_to: u8,
}

impl RowKernel for Saturating {
    fn row_names(&self) -> RowNames {
        ScalarRows.row_names()
    }
}

impl Microkernel for Saturating {
    const MR: usize = 4;
    const NR: usize = 8;
    const KU: usize = 2;

    fn name(&self) -> &'static str {
        "saturating-4x8c2"
    }

    fn range(&self, codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
        let codes = || (0..rows).flat_map(|r| &codes[r * stride..][..k]).copied();
        (codes().min().unwrap_or(255), codes().max().unwrap_or(0))
    }

    fn pack_panel(&self, columns: RhsColumns, _: Effort, panel: &mut [i8]) -> u8 {
        for (c, column) in columns.data.chunks_exact(columns.k.max(1)).enumerate() {
            for (k, &w) in column.iter().enumerate() {
                panel[(k / 2 * 8 + c) * 2 + k % 2] = w;
            }
        }
        100
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        for r in 0..lhs.rows {
            for c in 0..8 {
                let pair = |g: usize| {
                    let code = |k: usize| i32::from(lhs.codes[r * lhs.stride + k]);
                    let product = |u: usize| code(2 * g + u) * i32::from(rhs.data[(g * 8 + c) * 2 + u]);
                    let sum = product(0) + product(1);
                    if lhs.max > self.up_to { sum } else { sum.clamp(-self.limit - 1, self.limit) }
                };
                tile[r * 8 + c] = (k.start / 2..k.end / 2).map(pair).sum();
            }
        }
    }
}

#[test]
fn a_saturating_tile_fails_and_its_exact_twin_passes() {
    let suite = Suite::serial();
    let check = |limit, up_to| suite.check_gemm(&TiledGemm(Saturating { limit, up_to }));
    check(i32::MAX - 1, 255).unwrap_or_else(|e| panic!("{e}"));
    // What `vpmaddubsw` does, and what a proof does that is one code off: 128 times 256 is one above 16 bits.
    check(32_767, 127).unwrap_or_else(|e| panic!("{e}"));
    for failure in
        [check(32_767, 255).unwrap_err(), check(32_766, 129).unwrap_err(), check(32_767, 143).unwrap_err()]
    {
        assert_eq!(failure.kernel, "saturating-4x8c2");
    }
}

/// Row loops with one plausible mistake each.
#[derive(Debug, Clone, Copy)]
struct Mistaken;

impl RowKernel for Mistaken {
    fn row_names(&self) -> RowNames {
        RowNames {
            depthwise: "bad-depthwise",
            binary: "bad-binary",
            pool: "bad-pool",
            convert: "bad-convert",
            lookup: "bad-lookup",
        }
    }

    fn depthwise(
        &self,
        positions: usize,
        channels: usize,
        taps: &[Tap],
        weights: &[i16],
        weight_stride: usize,
        acc: &mut [i32],
    ) {
        // 16-bit products wrap.
        for (p, acc) in acc.chunks_exact_mut(channels).take(positions).enumerate() {
            for (t, tap) in taps.iter().enumerate() {
                let codes = &tap.codes[p * tap.step..];
                for ((acc, &a), &w) in acc.iter_mut().zip(codes).zip(&weights[t * weight_stride..]) {
                    *acc += i32::from(i16::from(a).wrapping_mul(w));
                }
            }
        }
    }

    fn sum_row(&self, acc: &mut [i32], row: &[u8]) {
        // The remainder of a vector loop is forgotten.
        for (acc, &a) in acc.iter_mut().zip(&row[..row.len() / 8 * 8]) {
            *acc += i32::from(a);
        }
    }

    fn binary(&self, p: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
        // The output scale is inverted once.
        let reciprocal = 1.0 / p.out.scale;
        let mut scaled = *p;
        scaled.lhs.scale *= reciprocal;
        scaled.rhs.scale *= reciprocal;
        scaled.out.scale = 1.0;
        ScalarRows.binary(&scaled, lhs, rhs, out);
    }

    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) {
        // NaN goes up instead of down.
        let src: Vec<f32> = src.iter().map(|x| if x.is_nan() { f32::INFINITY } else { *x }).collect();
        ScalarRows.quantize(&src, params, clamp, dst);
    }

    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
        // The first code of the upper half finds nothing.
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = if s == 0x80 { 0 } else { table[usize::from(s)] };
        }
    }
}

/// The operands of `vminps` the other way round: what follows a NaN begins anew.
#[derive(Debug, Clone, Copy)]
struct BeginsAnew;

impl RowKernel for BeginsAnew {
    fn row_names(&self) -> RowNames {
        RowNames { convert: "bad-range", ..ScalarRows.row_names() }
    }

    fn real_range(&self, src: &[f32]) -> (f32, f32) {
        let behind = src.iter().rposition(|x| x.is_nan()).map_or(0, |at| at + 1);
        ScalarRows.real_range(&src[behind..])
    }
}

#[test]
fn plausible_mistakes_fail() {
    let suite = Suite::serial();
    let names = [
        suite.check_depthwise(&DepthwiseDriver(Mistaken)).unwrap_err().kernel,
        suite.check_binary(&BinaryDriver(Mistaken)).unwrap_err().kernel,
        suite.check_pool(&PoolDriver(Mistaken)).unwrap_err().kernel,
        suite.check_convert(&ConvertDriver(Mistaken)).unwrap_err().kernel,
        suite.check_convert(&ConvertDriver(BeginsAnew)).unwrap_err().kernel,
        suite.check_lookup(&LookupDriver(Mistaken)).unwrap_err().kernel,
    ];
    assert_eq!(names, ["bad-depthwise", "bad-binary", "bad-pool", "bad-convert", "bad-range", "bad-lookup"]);
}

/// A tile of groups with one mistake, or none.
#[derive(Debug, Clone, Copy)]
enum PlainGroups {
    /// As the contract has it.
    Right,
    /// Products and sums of groups are rounded once together.
    Contracted,
    /// The last group is added first.
    Backwards,
}

impl GroupKernel for PlainGroups {
    const MR: usize = 1;
    const NR: usize = 2;
    const KU: usize = 1;

    fn name(&self) -> &'static str {
        "plain-1x2c1"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        let mut codes = lhs.codes;
        let mut terms = Vec::new();
        for group in rhs.groups::<2>() {
            let (now, behind) = codes.split_at(group.codes.len());
            codes = behind;
            let of = |c: usize| -> f32 {
                let weight = |k: usize| {
                    i32::from(group.codes[k / 2 * 2 + c] >> (4 * (k % 2)) & 15)
                        - i32::from(group.zero_points[c])
                };
                let acc: i32 = now.iter().enumerate().map(|(k, a)| i32::from(*a) * weight(k)).sum();
                (acc - lhs.zero_point * group.sums[c]) as f32
            };
            terms.push([(of(0), group.scales[0]), (of(1), group.scales[1])]);
        }
        if matches!(self, PlainGroups::Backwards) {
            terms.reverse();
        }
        for c in 0..2 {
            sums[c] = terms.iter().fold(0.0, |sum, term| match self {
                PlainGroups::Contracted => term[c].0.mul_add(term[c].1, sum),
                PlainGroups::Right | PlainGroups::Backwards => sum + term[c].0 * term[c].1,
            });
        }
    }
}

#[test]
fn groups_in_another_order_or_rounding_fail() {
    let check = |kernel| Suite::default().check_group_wise(&GroupWiseDriver(kernel));
    assert!(check(PlainGroups::Right).is_ok());
    for wrong in [PlainGroups::Contracted, PlainGroups::Backwards] {
        let failure = check(wrong).unwrap_err();
        assert!(failure.detail.contains("expected"), "{wrong:?}: {failure}");
    }
}
