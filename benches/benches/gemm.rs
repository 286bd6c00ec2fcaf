//! Matrix products: int8 kernels against float32, one thread.
//!
//! `cargo bench -p benches --bench gemm`. The throughput is in multiply-adds a second.

use benches::{GEMM_SHAPES, noise, one_thread, reals};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tq_kernels::{Epilogue, GemmOut, Kernels, Lhs, OutputStage, RhsMatrix};

/// The libraries this machine can run, scalar first.
fn libraries() -> Vec<Kernels> {
    let mut all = vec![Kernels::scalar()];
    #[cfg(target_arch = "x86_64")]
    if let Some(library) = tq_x86::library() {
        all.push(Kernels::new(Some(library)));
    }
    all
}

fn gemm(c: &mut Criterion) {
    one_thread();
    for (m, k, n) in GEMM_SHAPES {
        let mut group = c.benchmark_group(format!("gemm/{m}x{k}x{n}"));
        group.throughput(Throughput::Elements((m * n * k) as u64));
        let lhs: Vec<u8> = noise(1, m * k).into_iter().map(|v| (v >> 11) as u8).collect();
        let rhs: Vec<i8> = noise(2, n * k).into_iter().map(|v| (v >> 11) as i8).collect();
        let multiplier = [1.0 / (k as f32 * 64.0)];
        let stage = OutputStage::Requantize { multiplier: &multiplier, zero_point: 128, clamp: (0, 255) };
        let epilogue = Epilogue { lhs_zero_point: 128, stage };
        let mut expected: Option<Vec<u8>> = None;
        for kernels in libraries() {
            let kernel = kernels.gemm();
            let packed = kernel.pack(&RhsMatrix::new(&rhs, n, k)).expect("the weights fit their shape");
            let mut out = vec![0u8; m * n];
            let run = |out: &mut Vec<u8>| {
                let lhs = Lhs::Dense { data: black_box(&lhs), rows: m, row_stride: k };
                let out = GemmOut::U8 { data: out, row_stride: n };
                kernel.run(lhs, &packed, &epilogue, out).expect("all lengths fit");
            };
            run(&mut out);
            let expected = expected.get_or_insert_with(|| out.clone());
            assert_eq!(expected, &out, "{} differs from the scalar kernel", kernel.name());
            group.bench_function(BenchmarkId::from_parameter(kernel.name()), |b| b.iter(|| run(&mut out)));
        }
        let (a, b) = (reals(1, m * k), reals(2, k * n));
        group.bench_function(BenchmarkId::from_parameter("f32-matrixmultiply"), |bench| {
            let mut c = vec![0f32; m * n];
            bench.iter(|| sgemm(m, k, n, black_box(&a), &b, &mut c));
        });
        group.finish();
    }
}

/// `c = a * b`, all row-major.
#[allow(unsafe_code, reason = "the peer's interface takes pointers")]
fn sgemm(m: usize, k: usize, n: usize, a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    // SAFETY: the lengths are checked above and the strides are those of row-major matrices.
    unsafe {
        matrixmultiply::sgemm(
            m,
            k,
            n,
            1.0,
            a.as_ptr(),
            k as isize,
            1,
            b.as_ptr(),
            n as isize,
            1,
            0.0,
            c.as_mut_ptr(),
            n as isize,
            1,
        );
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = gemm
}
criterion_main!(benches);
