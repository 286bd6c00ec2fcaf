//! Matrix products.

use super::data::Pattern;
use super::reference::{self, Channel};
use super::{Check, Failure};
use crate::gemm::{ChannelSums, is_wide};
use crate::{
    Addend, Epilogue, GatheredRows, GemmOut, KernelError, Lhs, Multipliers, OutputStage, PAD, QGemm,
    RhsMatrix,
};

/// One problem: the operands as the reference wants them.
struct Problem {
    rows: usize,
    n: usize,
    k: usize,
    /// `[rows][k]`
    lhs: Vec<u8>,
    /// `[n][k]`
    rhs: Vec<i8>,
    lhs_zero_point: i32,
    zero_points: Vec<i32>,
    bias: Option<Vec<i32>>,
    name: String,
}

impl Problem {
    fn random(check: &mut Check, rows: usize, n: usize, k: usize) -> Self {
        let data = &mut check.data;
        let (lhs_pattern, rhs_pattern) = (data.pick(&Pattern::ALL), data.pick(&Pattern::ALL));
        Self {
            rows,
            n,
            k,
            lhs: data.lhs(lhs_pattern, rows * k),
            rhs: data.rhs(rhs_pattern, n * k),
            lhs_zero_point: data.pick(&[0, 1, 128, 255]),
            zero_points: data.rhs_zero_points(n),
            bias: data.bias(n),
            name: format!("{rows}x{n}x{k} (M, N, K) {lhs_pattern:?} x {rhs_pattern:?}"),
        }
    }

    fn matrix(&self) -> RhsMatrix<'_> {
        let matrix = RhsMatrix::new(&self.rhs, self.n, self.k);
        RhsMatrix { zero_point: &self.zero_points, bias: self.bias.as_deref(), ..matrix }
    }

    fn accumulators(&self) -> Vec<i64> {
        let channel = Channel { zero_points: &self.zero_points, bias: self.bias.as_deref() };
        let sizes = (self.rows, self.n, self.k);
        reference::gemm(&self.lhs, &self.rhs, sizes, self.lhs_zero_point, channel)
    }

    /// True when some input could bring some channel outside 32 bits.
    fn may_be_wide(&self) -> bool {
        (0..self.n).any(|c| {
            let row = self.rhs[c * self.k..][..self.k].iter().map(|&w| i64::from(w));
            let bias = self.bias.as_ref().map_or(0, |bias| bias[c]);
            is_wide(ChannelSums::of(row), self.k, self.matrix().zero_point_of(c), bias)
        })
    }
}

pub(super) fn check(gemm: &dyn QGemm, check: &mut Check) -> Result<(), Failure> {
    let sizes_k = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 130, 257];
    let sizes_m = [1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 17, 25, 33];
    let sizes_n = [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48, 65, 130];
    for k in sizes_k {
        for _ in 0..6 {
            let (m, n) = (check.data.pick(&sizes_m), check.data.pick(&sizes_n));
            random(gemm, check, (m, n, k))?;
        }
    }
    for m in sizes_m {
        for n in sizes_n {
            let k = check.data.pick(&sizes_k);
            random(gemm, check, (m, n, k))?;
        }
    }
    // Large enough to be split between threads, by rows and by columns.
    for (m, n, k) in [(200, 70, 300), (1, 2100, 1030), (7, 500, 800)] {
        random(gemm, check, (m, n, k))?;
    }
    all_extremes(gemm, check)?;
    for max in [1, 15, 16, 63, 64, 100, 127, 128, 143, 144, 191, 200, 239, 240, 254, 255] {
        largest_sums(gemm, check, max)?;
    }
    wide(gemm, check)?;
    for _ in 0..60 {
        indirect(gemm, check)?;
    }
    bad_arguments(gemm, check)
}

fn random(gemm: &dyn QGemm, check: &mut Check, (m, n, k): (usize, usize, usize)) -> Result<(), Failure> {
    let problem = Problem::random(check, m, n, k);
    every_stage(gemm, check, &problem)
}

/// Every combination of whole matrices at the ends of their ranges.
fn all_extremes(gemm: &dyn QGemm, check: &mut Check) -> Result<(), Failure> {
    for lhs in Pattern::ALL {
        for rhs in Pattern::ALL {
            for lhs_zero_point in [0, 255] {
                let (rows, n, k) = (9, 18, 515);
                let problem = Problem {
                    rows,
                    n,
                    k,
                    lhs: check.data.lhs(lhs, rows * k),
                    rhs: check.data.rhs(rhs, n * k),
                    lhs_zero_point,
                    zero_points: vec![check.data.pick(&[0, 0, -128, 127])],
                    bias: None,
                    name: format!("extremes {lhs:?} x {rhs:?}"),
                };
                every_stage(gemm, check, &problem)?;
            }
        }
    }
    Ok(())
}

/// Weights of all sizes, and codes that are `max` where a channel's weights have one sign and 0 elsewhere: every sum of
/// neighbouring products of that channel is as far from zero as codes up to `max` can bring it.
fn largest_sums(gemm: &dyn QGemm, check: &mut Check, max: u8) -> Result<(), Failure> {
    for k in [4, 24, 70, 1030] {
        let (n, data) = (21, &mut check.data);
        let mut rhs = Vec::with_capacity(n * k);
        while rhs.len() < n * k {
            // Runs of one size, so that some groups of neighbours are small throughout.
            let size = data.pick(&[3, 20, 40, 64, 65, 90, 110, 127, 128]);
            // In some of them the ends alone: few neighbours are both at an end by chance.
            let ends = data.below(4) == 0;
            rhs.extend((0..data.below(40)).map(|_| match ends {
                true => data.pick(&[-size, size.min(127)]) as i8,
                false => data.int(-size, size.min(127)) as i8,
            }));
        }
        rhs.truncate(n * k);
        rhs.shrink_to_fit();
        let channels = [0, 7, 8, 15, 16, n - 1];
        let mut lhs = Vec::with_capacity(2 * channels.len() * k);
        for channel in channels {
            let weights = &rhs[channel * k..][..k];
            lhs.extend(weights.iter().map(|&w| if w > 0 { max } else { 0 }));
            lhs.extend(weights.iter().map(|&w| if w < 0 { max } else { 0 }));
        }
        let name = format!("largest sums of codes up to {max}, K {k}");
        let rows = 2 * channels.len();
        let problem =
            Problem { rows, n, k, lhs, rhs, lhs_zero_point: 0, zero_points: vec![0], bias: None, name };
        every_stage(gemm, check, &problem)?;
    }
    Ok(())
}

/// Channels that need 64 bits: by their length, by their bias, by a zero point.
fn wide(gemm: &dyn QGemm, check: &mut Check) -> Result<(), Failure> {
    let (n, k) = (5, 70_000);
    for (rows, zeros) in [(3, k), (1, k / 2)] {
        let mut long = Problem {
            rows,
            n,
            k,
            lhs: vec![255; rows * k],
            rhs: vec![-128; n * k],
            lhs_zero_point: 0,
            zero_points: vec![0],
            bias: None,
            name: format!("255 x -128 at K {k}, {rows} rows"),
        };
        every_stage(gemm, check, &long)?;
        long.rhs[2 * k..3 * k].fill(0);
        long.rhs[3 * k..4 * k].fill(127);
        long.lhs_zero_point = 255;
        long.lhs[..zeros].fill(0);
        long.zero_points = vec![0, 127, 3, -128, -1];
        long.name += ", with zero points";
        every_stage(gemm, check, &long)?;
    }
    for (bias, rows, n, channel) in
        [(i32::MAX, 4, 33, 19), (i32::MIN, 4, 33, 19), (i32::MAX, 1, 97, 19), (i32::MIN, 1, 97, 96)]
    {
        let mut problem = Problem::random(check, rows, n, 40);
        let mut biases = vec![7; n];
        biases[channel] = bias;
        problem.bias = Some(biases);
        problem.name += ", one bias at the end of 32 bits";
        every_stage(gemm, check, &problem)?;
    }
    Ok(())
}

/// A dense lhs with an odd stride, through every output stage.
fn every_stage(gemm: &dyn QGemm, check: &mut Check, problem: &Problem) -> Result<(), Failure> {
    let Problem { rows, k, .. } = *problem;
    let stride = k + check.data.below(12);
    // Every other time the last row ends where its codes end, and so does the memory: nothing may be read behind it. Else codes
    // of no meaning stand behind all rows, which change no result where they are read.
    let last = if check.data.below(2) == 0 { k } else { stride };
    let end = if rows == 0 { 0 } else { (rows - 1) * stride + last };
    let noise = check.data.lhs(Pattern::Random, end);
    let data = reference::spread(&problem.lhs, k, stride, &noise);
    let lhs = Lhs::Dense { data: &data, rows, row_stride: stride };
    stages(gemm, check, problem, lhs)
}

fn stages(gemm: &dyn QGemm, check: &mut Check, problem: &Problem, lhs: Lhs) -> Result<(), Failure> {
    let Problem { rows, n, .. } = *problem;
    let packed = if check.cases.is_multiple_of(2) {
        gemm.pack(&problem.matrix())
    } else {
        // In memory that has held other weights, with other sums, biases and zero points.
        let other = [-128; 37 * 19];
        let before =
            RhsMatrix { zero_point: &[3], ..RhsMatrix::new(&other, 37, 19).with_bias(&[i32::MAX; 37]) };
        gemm.pack(&before).and_then(|mut packed| {
            gemm.pack_into(&problem.matrix(), &mut packed)?;
            Ok(packed)
        })
    };
    let packed = packed.map_err(|e| check.failure(&problem.name, e.to_string()))?;
    if packed.kernel() != gemm.name() {
        return Err(check.failure(&problem.name, "packed weights do not name their kernel"));
    }
    let acc = problem.accumulators();
    let row_stride = n + check.data.below(4);
    let len = if rows == 0 { 0 } else { (rows - 1) * row_stride + n } + check.data.below(2);
    let lhs_zero_point = problem.lhs_zero_point;
    let largest = acc.iter().map(|a| a.unsigned_abs()).max().unwrap_or(0).max(1);

    let multiplier = check.data.multipliers(n, largest as f32 / 200.0);
    let (zero_point, clamp) = (check.data.int(0, 255), check.data.clamp());
    let stage = OutputStage::Requantize { multiplier: Multipliers::Float(&multiplier), zero_point, clamp };
    let epilogue = Epilogue { lhs_zero_point, stage };
    let fill = vec![0xA5u8; len];
    let expected = reference::spread(&reference::codes(&acc, n, &epilogue), n, row_stride, &fill);
    check.compare(&format_args!("{}, requantize", problem.name), &fill, &expected, |out| {
        gemm.run(lhs, &packed, &epilogue, GemmOut::U8 { data: out, row_stride })
    })?;

    let multiplier = check.data.fixed_multipliers(n, largest as f32 / 200.0);
    let (zero_point, clamp) = (check.data.int(0, 255), check.data.clamp());
    let stage =
        OutputStage::Requantize { multiplier: Multipliers::FixedPoint(&multiplier), zero_point, clamp };
    let epilogue = Epilogue { lhs_zero_point, stage };
    let expected = reference::spread(&reference::codes(&acc, n, &epilogue), n, row_stride, &fill);
    check.compare(&format_args!("{}, requantize in fixed point", problem.name), &fill, &expected, |out| {
        gemm.run(lhs, &packed, &epilogue, GemmOut::U8 { data: out, row_stride })
    })?;

    let scale = check.data.multipliers(n, largest as f32);
    let (lhs_scale, bias) = check.data.reals(n);
    let fill = reference::held(len);
    for (lhs_scale, addend) in
        [(1.0, Addend::None), (lhs_scale, Addend::Columns(&bias)), (lhs_scale, Addend::Output)]
    {
        let epilogue =
            Epilogue { lhs_zero_point, stage: OutputStage::Dequantize { scale: &scale, lhs_scale, addend } };
        let expected =
            reference::spread(&reference::reals(&acc, n, &epilogue, &fill, row_stride), n, row_stride, &fill);
        check.compare(
            &format_args!("{}, dequantize, {addend:?}", problem.name),
            &fill,
            &expected,
            |out| gemm.run(lhs, &packed, &epilogue, GemmOut::F32 { data: out, row_stride }),
        )?;
    }

    let epilogue = Epilogue { lhs_zero_point, stage: OutputStage::Accumulators };
    let fill = vec![0x5A5A_5A5Ai32; len];
    let case = format!("{}, accumulators", problem.name);
    if problem.may_be_wide() {
        let mut out = fill;
        let result = gemm.run(lhs, &packed, &epilogue, GemmOut::I32 { data: &mut out, row_stride });
        return check.expect_error(&case, result, |e| matches!(e, KernelError::WideChannel { .. }));
    }
    let narrow: Vec<i32> = acc.iter().map(|&acc| acc as i32).collect();
    let expected = reference::spread(&narrow, n, row_stride, &fill);
    check.compare(&case, &fill, &expected, |out| {
        gemm.run(lhs, &packed, &epilogue, GemmOut::I32 { data: out, row_stride })
    })
}

/// Rows gathered from runs, some of them padding, some adjacent.
fn indirect(gemm: &dyn QGemm, check: &mut Check) -> Result<(), Failure> {
    let data = &mut check.data;
    let (rows, n) = (data.pick(&[1, 2, 5, 6, 7, 13, 30]), data.pick(&[1, 8, 16, 17, 40]));
    let (taps, run) = (data.pick(&[1, 2, 3, 9, 10]), data.pick(&[1, 2, 3, 4, 8, 15, 16, 33]));
    let pattern = data.pick(&Pattern::ALL);
    let len = run * (taps + 3) + data.below(5);
    let image = data.lhs(pattern, len);
    let mut offsets = Vec::new();
    for i in 0..rows * taps {
        let previous = if i % taps == 0 { PAD } else { offsets[i - 1] };
        let next = previous.wrapping_add(run);
        offsets.push(match data.below(4) {
            0 => PAD,
            1 | 2 if previous != PAD && next + run <= image.len() => next,
            _ => data.below(image.len() - run + 1),
        });
    }
    offsets.shrink_to_fit();
    let mut problem = Problem::random(check, rows, n, taps * run);
    let pad = problem.lhs_zero_point as u8;
    let mut gathered = Vec::new();
    for &offset in &offsets {
        match offset {
            PAD => gathered.extend(std::iter::repeat_n(pad, run)),
            _ => gathered.extend_from_slice(&image[offset..offset + run]),
        }
    }
    problem.lhs = gathered;
    problem.name = format!("{rows}x{n}, {taps} runs of {run}, {pattern:?}");
    // Rows behind those that are run, as of images that a last batch lacks: they may read what is not there.
    let more = check.data.below(3);
    offsets.extend((0..more * taps).map(|tap| image.len() + tap));
    let gather = GatheredRows::new(&offsets, rows + more, taps, run);
    let gather = gather.map_err(|e| check.failure(&problem.name, e.to_string()))?;
    let lhs = Lhs::Indirect { data: &image, gather: &gather, rows, pad };
    stages(gemm, check, &problem, lhs)
}

fn bad_arguments(gemm: &dyn QGemm, check: &mut Check) -> Result<(), Failure> {
    let (rows, n, k) = (3, 4, 6);
    let weights = vec![1i8; n * k];
    let codes = vec![1u8; rows * k];
    let failed = |check: &Check, error: KernelError| check.failure(&"packing", error.to_string());
    let packed = gemm.pack(&RhsMatrix::new(&weights, n, k)).map_err(|e| failed(check, e))?;
    let short = gemm.pack(&RhsMatrix::new(&weights[1..], n, k)).map(|_| ());
    check.expect_error(&"short weights", short, |_| true)?;
    let huge = gemm.pack(&RhsMatrix::new(&weights, usize::MAX, 2)).map(|_| ());
    check.expect_error(&"huge weights", huge, |_| true)?;
    let many = gemm.pack(&RhsMatrix::new(&[], usize::MAX, 0)).map(|_| ());
    check.expect_error(&"channels without weights", many, |_| true)?;

    let epilogue = Epilogue { lhs_zero_point: 0, stage: OutputStage::Accumulators };
    let dense = |rows, row_stride| Lhs::Dense { data: &codes, rows, row_stride };
    let gathered =
        |offsets: &[usize], run| GatheredRows::new(offsets, 1, 2, run).map_err(|error| failed(check, error));
    let (behind, narrow, one) =
        (gathered(&[0, rows * k - 2], 3)?, gathered(&[0, 2], 2)?, gathered(&[0, 3], 3)?);
    let indirect = |gather, rows| Lhs::Indirect { data: &codes, gather, rows, pad: 0 };
    let cases = [
        ("short lhs", dense(rows + 1, k), n, rows * n + n),
        ("overlapping lhs", dense(rows, k - 1), n, rows * n),
        ("huge lhs", dense(usize::MAX, usize::MAX), n, rows * n),
        ("short output", dense(rows, k), n, rows * n - 1),
        ("overlapping output", dense(rows, k), n - 1, rows * n),
    ];
    for (case, lhs, row_stride, len) in cases {
        let mut out = vec![0i32; len];
        let result = gemm.run(lhs, &packed, &epilogue, GemmOut::I32 { data: &mut out, row_stride });
        check.expect_error(&case, result, |_| true)?;
    }
    let cases = [
        ("codes behind the end", indirect(&behind, 1)),
        ("more rows than are gathered", indirect(&one, 2)),
        ("shorter rows than those of weights", indirect(&narrow, 1)),
    ];
    for (case, lhs) in cases {
        let mut out = vec![0i32; 2 * n];
        let result = gemm.run(lhs, &packed, &epilogue, GemmOut::I32 { data: &mut out, row_stride: n });
        check.expect_error(&case, result, |e| matches!(e, KernelError::Length { .. }))?;
    }
    let mut out = vec![0u8; rows * n];
    let result = gemm.run(dense(rows, k), &packed, &epilogue, GemmOut::U8 { data: &mut out, row_stride: n });
    check.expect_error(&"wrong output type", result, |e| matches!(e, KernelError::OutputType { .. }))?;
    let stage = OutputStage::Requantize {
        multiplier: Multipliers::Float(&[1.0, 2.0]),
        zero_point: 0,
        clamp: (0, 255),
    };
    let epilogue = Epilogue { lhs_zero_point: 0, stage };
    let result = gemm.run(dense(rows, k), &packed, &epilogue, GemmOut::U8 { data: &mut out, row_stride: n });
    check.expect_error(&"two multipliers", result, |_| true)?;
    let mut out = vec![0f32; rows * n];
    let stage = OutputStage::Dequantize { scale: &[1.0], lhs_scale: 1.0, addend: Addend::Columns(&[0.0; 2]) };
    let epilogue = Epilogue { lhs_zero_point: 0, stage };
    let result = gemm.run(dense(rows, k), &packed, &epilogue, GemmOut::F32 { data: &mut out, row_stride: n });
    check.expect_error(&"two biases", result, |_| true)
}
