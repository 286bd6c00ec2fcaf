//! Prints the throughput of the chosen kernels on one thread: `cargo run --release -p tq-x86 --example throughput`.

use std::hint::black_box;
use std::time::Instant;
use tq_kernels::parallel::serially;
use tq_kernels::{
    AffineU8, BinaryOp, BinaryParams, Broadcast, DepthwiseRhs, Epilogue, GatheredRows, GemmOut, Kernels, Lhs,
    Multipliers, OutputStage, RhsMatrix, Window2d, Window3d, WindowAxis,
};

/// The least seconds of a call, over half a second of calls.
fn seconds(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::INFINITY;
    while start.elapsed().as_secs_f64() < 0.5 {
        let call = Instant::now();
        f();
        best = best.min(call.elapsed().as_secs_f64());
    }
    best
}

/// Codes that repeat after a while.
fn codes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7919 % 256) as u8).collect()
}

fn weights(len: usize) -> Vec<i8> {
    codes(len).into_iter().map(|code| (code / 2) as i8 - 63).collect()
}

const STAGE: OutputStage =
    OutputStage::Requantize { multiplier: Multipliers::Float(&[1e-4]), zero_point: 3, clamp: (0, 255) };
const EPILOGUE: Epilogue = Epilogue { lhs_zero_point: 3, stage: STAGE };

fn gemm(kernels: &Kernels, m: usize, k: usize, n: usize) -> tq_kernels::Result<()> {
    let (lhs, rhs) = (codes(m * k), weights(n * k));
    let packed = kernels.gemm().pack(&RhsMatrix::new(&rhs, n, k))?;
    let mut out = vec![0u8; m * n];
    let best = seconds(|| {
        let lhs = Lhs::Dense { data: &lhs, rows: m, row_stride: k };
        let out = GemmOut::U8 { data: &mut out, row_stride: n };
        black_box(kernels.gemm().run(lhs, &packed, &EPILOGUE, out)).ok();
    });
    let macs = (m * k * n) as f64;
    println!("gemm {m} x {k} x {n} (M, K, N): {:.1} GMAC/s", macs / best / 1e9);
    Ok(())
}

/// A 3x3 convolution over `side` x `side` pixels of `c` channels to `n` channels, by offsets.
fn conv(kernels: &Kernels, side: usize, c: usize, n: usize) -> tq_kernels::Result<()> {
    let (rows, k) = (side * side, 9 * c);
    let (image, rhs) = (codes(rows * c), weights(n * k));
    let mut offsets = Vec::new();
    for row in 0..rows {
        for tap in 0..9 {
            let (y, x) = (row / side + tap / 3, row % side + tap % 3);
            let inside = (1..=side).contains(&y) && (1..=side).contains(&x);
            offsets.push(if inside { ((y - 1) * side + x - 1) * c } else { tq_kernels::PAD });
        }
    }
    let packed = kernels.gemm().pack(&RhsMatrix::new(&rhs, n, k))?;
    let mut out = vec![0u8; rows * n];
    let gather = GatheredRows::new(&offsets, rows, 9, c)?;
    let best = seconds(|| {
        let lhs = Lhs::Indirect { data: &image, gather: &gather, rows, pad: 3 };
        let out = GemmOut::U8 { data: &mut out, row_stride: n };
        black_box(kernels.gemm().run(lhs, &packed, &EPILOGUE, out)).ok();
    });
    let macs = (rows * k * n) as f64;
    println!("conv 3x3 {rows} x {k} x {n} (M, K, N): {:.1} GMAC/s", macs / best / 1e9);
    Ok(())
}

/// Over `depth` images; over one of them a window of 3 x 3, over more one of 3 x 3 x 3.
fn depthwise(kernels: &Kernels, depth: usize, side: usize, channels: usize) -> tq_kernels::Result<()> {
    let plane = Window2d::new(1, (side, side), channels, (3, 3), (1, 1), (1, 1), [1; 4])?;
    let pad = usize::from(depth > 1);
    let window = Window3d { plane, depth: WindowAxis::new(depth, 1 + 2 * pad, 1, 1, (pad, pad))? };
    let (image, rhs) = (codes(depth * side * side * channels), weights(window.taps() * channels));
    let rhs = DepthwiseRhs { data: &rhs, channels, kernel: window.kernel(), zero_point: &[0], bias: None };
    let packed = kernels.depthwise().pack(&rhs)?;
    let mut out = vec![0u8; image.len()];
    let best = seconds(|| {
        let out = GemmOut::U8 { data: &mut out, row_stride: channels };
        black_box(kernels.depthwise().run(&window, &image, &packed, &EPILOGUE, out)).ok();
    });
    let macs = (window.taps() * image.len()) as f64;
    println!(
        "depthwise {:?} {depth}x{side}x{side}x{channels}: {:.1} GMAC/s",
        window.kernel(),
        macs / best / 1e9
    );
    Ok(())
}

fn elementwise(kernels: &Kernels, len: usize) -> tq_kernels::Result<()> {
    let side = AffineU8 { scale: 0.1, zero_point: 3 };
    let params = BinaryParams { op: BinaryOp::Add, lhs: side, rhs: side, out: side, clamp: (0, 255) };
    let (a, b, mut out) = (codes(len), codes(len), vec![0u8; len]);
    let mut reals = vec![0f32; len];
    let report = |what: &str, best: f64| println!("{what} {len}: {:.2} Gelement/s", len as f64 / best / 1e9);
    report(
        "add",
        seconds(|| {
            black_box(kernels.binary().run(&params, &a, &b, Broadcast::Same, &mut out)).ok();
        }),
    );
    report(
        "dequantize",
        seconds(|| {
            black_box(kernels.convert().dequantize(&a, side, &mut reals)).ok();
        }),
    );
    report(
        "quantize",
        seconds(|| {
            black_box(kernels.convert().quantize(&reals, side, (0, 255), &mut out)).ok();
        }),
    );
    report(
        "lookup",
        seconds(|| {
            black_box(kernels.lookup().lookup(&[7; 256], &a, &mut out)).ok();
        }),
    );
    Ok(())
}

fn main() -> tq_kernels::Result<()> {
    let kernels = Kernels::new(tq_x86::library());
    println!("{}", kernels.gemm().name());
    serially(|| {
        for size in [256, 512, 768, 1024] {
            gemm(&kernels, size, size, size)?;
        }
        for (m, k, n) in [(1, 2048, 1000), (3136, 64, 64), (3136, 64, 256), (196, 1024, 256)] {
            gemm(&kernels, m, k, n)?;
        }
        for (side, c, n) in [(56, 64, 64), (28, 128, 128), (14, 256, 256), (7, 512, 512)] {
            conv(&kernels, side, c, n)?;
        }
        for (side, channels) in [(112, 32), (56, 72), (14, 240), (7, 960)] {
            depthwise(&kernels, 1, side, channels)?;
        }
        depthwise(&kernels, 8, 28, 32)?;
        elementwise(&kernels, 200_000)
    })
}
