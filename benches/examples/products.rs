//! Times matrix products on request, for `benches/peers/gemm.py`.
//!
//! Reads lines `M K N LARGEST_CODE MILLISECONDS` and answers each with the kernel's name, the fastest call in
//! nanoseconds, and the shares of the products that run two deep, one deep and widened. One thread. Weights are normally
//! distributed, the largest of each channel is 127; codes are uniform up to the largest one. Every product is held to
//! the scalar kernel before it is timed.
#![forbid(unsafe_code)]

use benches::{noise, one_thread};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};
use tq_kernels::{Epilogue, GemmOut, Kernels, Lhs, OutputStage, PackedRhs, RhsMatrix};

/// A product, ready to run.
struct Product {
    lhs: Vec<u8>,
    packed: PackedRhs,
    out: Vec<u8>,
    multiplier: [f32; 1],
    sizes: (usize, usize, usize),
}

/// Sums of twelve numbers of 0..1 less 6: nearly normal.
fn normal(seed: u32, len: usize) -> Vec<f32> {
    let noise = noise(seed, 12 * len);
    noise.chunks_exact(12).map(|n| n.iter().map(|&v| v as f32 / u32::MAX as f32).sum::<f32>() - 6.0).collect()
}

fn weights(n: usize, k: usize) -> Vec<i8> {
    let reals = normal(3, n * k);
    let channel = |row: &[f32]| -> Vec<i8> {
        let largest = row.iter().fold(0f32, |most, w| most.max(w.abs()));
        row.iter().map(|w| (w / largest * 127.0).round_ties_even() as i8).collect()
    };
    reals.chunks_exact(k).flat_map(channel).collect()
}

impl Product {
    fn new(kernels: &Kernels, (m, k, n): (usize, usize, usize), largest: u32) -> Self {
        let rhs = weights(n, k);
        let lhs: Vec<u8> = noise(1, m * k).into_iter().map(|v| ((v >> 7) % (largest + 1)) as u8).collect();
        let pack = |kernels: &Kernels| kernels.gemm().pack(&RhsMatrix::new(&rhs, n, k)).expect("lengths fit");
        let multiplier = [1.0 / (k as f32 * 64.0)];
        let product =
            |packed| Self { lhs: lhs.clone(), packed, out: vec![0; m * n], multiplier, sizes: (m, k, n) };
        let (mut ours, mut reference) = (product(pack(kernels)), product(pack(&Kernels::scalar())));
        ours.run(kernels);
        reference.run(&Kernels::scalar());
        assert!(ours.out == reference.out, "{} differs from the scalar kernel", kernels.gemm().name());
        ours
    }

    fn run(&mut self, kernels: &Kernels) {
        let (m, k, n) = self.sizes;
        let stage =
            OutputStage::Requantize { multiplier: &self.multiplier, zero_point: 128, clamp: (0, 255) };
        let lhs = Lhs::Dense { data: &self.lhs, rows: m, row_stride: k };
        let out = GemmOut::U8 { data: &mut self.out, row_stride: n };
        let epilogue = Epilogue { lhs_zero_point: 0, stage };
        kernels.gemm().run(lhs, &self.packed, &epilogue, out).expect("lengths fit");
    }
}

fn main() -> std::io::Result<()> {
    one_thread();
    #[cfg(target_arch = "x86_64")]
    let kernels = Kernels::new(tq_x86::library());
    #[cfg(not(target_arch = "x86_64"))]
    let kernels = Kernels::scalar();
    let mut products = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let numbers: Vec<usize> = line?.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [m, k, n, largest, milliseconds] = numbers[..] else {
            return Err(std::io::Error::other("expected M K N LARGEST_CODE MILLISECONDS"));
        };
        let key = (m, k, n, largest);
        let product =
            products.entry(key).or_insert_with(|| Product::new(&kernels, (m, k, n), largest.min(255) as u32));
        let until = Instant::now() + Duration::from_millis(milliseconds as u64);
        let mut best = u128::MAX;
        while Instant::now() < until {
            let start = Instant::now();
            product.run(&kernels);
            best = best.min(start.elapsed().as_nanos());
        }
        let depths = kernels.gemm().depths(&product.packed, largest.min(255) as u8);
        let all = (depths.two + depths.one + depths.widened).max(1) as f64;
        let share = |part: usize| part as f64 / all;
        let (two, one, widened) = (share(depths.two), share(depths.one), share(depths.widened));
        println!("{} {best} {two:.3} {one:.3} {widened:.3}", kernels.gemm().name());
        std::io::stdout().flush()?;
    }
    Ok(())
}
