//! Calls the kernels that a level has of its own, and loops of NEON that all share, for `cargo xtask bench-arm`, which has an emulator tell every instruction.
//!
//! What is counted runs between [`begin`] and [`end`]; making operands and packing lie outside. The names of the cases go to
//! stdout, one a line, in the order of the calls. One thread, on the best library that the processor has.

use std::hint::black_box;
use tq_kernels::parallel::serially;
use tq_kernels::{
    AffineU8, BinaryOp, BinaryParams, Broadcast, DepthwiseRhs, Epilogue, GemmOut, GroupWiseLhs, GroupWiseRhs,
    KernelError, Kernels, Lhs, Multipliers, OutputStage, RhsMatrix, Window2d,
};

/// Counting starts behind this call. Its number keeps linkers from making one function of this and the other one.
#[inline(never)]
fn begin() {
    black_box(1);
}

/// Counting ends here.
#[inline(never)]
fn end() {
    black_box(2);
}

fn counted(name: &str, mut call: impl FnMut() -> Result<(), KernelError>) -> Result<(), KernelError> {
    // Once before, so that memory which kernels keep is there.
    call()?;
    println!("{name}");
    begin();
    let result = call();
    end();
    result
}

/// Weights that share a scale.
const GROUP: usize = 32;

/// Codes that look random.
fn codes(len: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9u32;
    let next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 9) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Weights of up to 127, whose products with codes less 128 fit 16 bits in pairs.
fn weights(len: usize) -> Vec<i8> {
    codes(len).into_iter().map(|code| (i32::from(code) - 128).max(-127) as i8).collect()
}

const STAGE: OutputStage =
    OutputStage::Requantize { multiplier: Multipliers::Float(&[1e-4]), zero_point: 3, clamp: (0, 255) };
const EPILOGUE: Epilogue = Epilogue { lhs_zero_point: 3, stage: STAGE };

fn gemm(
    kernels: &Kernels,
    (m, k, n): (usize, usize, usize),
    name: &str,
    weights: fn(usize) -> Vec<i8>,
) -> Result<(), KernelError> {
    let (lhs, rhs) = (codes(m * k), weights(n * k));
    let packed = kernels.gemm().pack(&RhsMatrix::new(&rhs, n, k))?;
    let mut out = vec![0u8; m * n];
    counted(&format!("gemm/{m}x{k}x{n}/{name}"), || {
        let lhs = Lhs::Dense { data: &lhs, rows: m, row_stride: k };
        kernels.gemm().run(lhs, &packed, &EPILOGUE, GemmOut::U8 { data: &mut out, row_stride: n })
    })
}

fn group_wise(kernels: &Kernels, (m, k, n): (usize, usize, usize)) -> Result<(), KernelError> {
    let data: Vec<i8> = weights(n * k).into_iter().map(|w| w >> 4).collect();
    let scale = vec![0.01; n * k / GROUP];
    let rhs =
        GroupWiseRhs { data: &data, n, k, group_size: GROUP, scale: &scale, zero_point: &[0], bias: None };
    let packed = kernels.group_wise().pack(&rhs)?;
    let (lhs, mut out) = (codes(m * k), vec![0f32; m * n]);
    counted(&format!("group_wise/{m}x{k}x{n}"), || {
        let lhs = GroupWiseLhs { data: &lhs, rows: m, row_stride: k, scale: 0.1, zero_point: 3 };
        kernels.group_wise().run(&lhs, &packed, &mut out, n)
    })
}

fn depthwise(kernels: &Kernels, side: usize, channels: usize, kernel: usize) -> Result<(), KernelError> {
    let (input, rhs) = (codes(side * side * channels), weights(channels * kernel * kernel));
    let pad = kernel / 2;
    let window = Window2d::new(1, (side, side), channels, (kernel, kernel), (1, 1), (1, 1), [pad; 4])?.into();
    let rhs =
        DepthwiseRhs { data: &rhs, channels, kernel: [1, kernel, kernel], zero_point: &[0], bias: None };
    let packed = kernels.depthwise().pack(&rhs)?;
    let mut out = vec![0u8; side * side * channels];
    counted(&format!("depthwise/{kernel}x{kernel}/{side}x{side}x{channels}"), || {
        let out = GemmOut::U8 { data: &mut out, row_stride: channels };
        kernels.depthwise().run(&window, &input, &packed, &EPILOGUE, out)
    })
}

fn rows(kernels: &Kernels, len: usize) -> Result<(), KernelError> {
    let (a, b, mut out) = (codes(len), codes(len), vec![0u8; len]);
    let (lhs, rhs) = (AffineU8 { scale: 0.1, zero_point: 3 }, AffineU8 { scale: 0.2, zero_point: 99 });
    for (op, name) in [(BinaryOp::Add, "add"), (BinaryOp::Mul, "mul")] {
        let params = BinaryParams { op, lhs, rhs, out: lhs, clamp: (0, 255) };
        counted(&format!("{name}/{len}"), || {
            kernels.binary().run(&params, &a, &b, Broadcast::Same, &mut out)
        })?;
    }
    let mut reals = vec![0f32; len];
    counted(&format!("dequantize/{len}"), || kernels.convert().dequantize(&a, rhs, &mut reals))?;
    counted(&format!("quantize/{len}"), || kernels.convert().quantize(&reals, rhs, (0, 255), &mut out))
}

fn all(kernels: &Kernels) -> Result<(), KernelError> {
    // Two products of the least weight do not fit 16 bits, which plain NEON has to widen each.
    let least: fn(usize) -> Vec<i8> = |len| vec![-128; len];
    for (name, weights) in [("pairs", weights as fn(usize) -> Vec<i8>), ("widened", least)] {
        for shape in [(4, 256, 16), (8, 256, 16), (48, 256, 64), (1, 512, 64)] {
            gemm(kernels, shape, name, weights)?;
        }
    }
    for shape in [(4, 256, 8), (48, 256, 64), (1, 512, 64)] {
        group_wise(kernels, shape)?;
    }
    depthwise(kernels, 14, 32, 3)?;
    depthwise(kernels, 14, 32, 5)?;
    rows(kernels, 4096)
}

fn main() -> Result<(), KernelError> {
    let kernels = Kernels::new(tq_arm::library());
    eprintln!("{}", kernels.gemm().name());
    serially(|| all(&kernels))
}
