//! Matrix products: int8 kernels against float32, one thread.
//!
//! `cargo bench -p benches --bench gemm`. The throughput is in multiply-adds a second.
#![forbid(unsafe_code)]

use benches::{GEMM_SHAPES, noise, one_thread, reals};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, linalg::general_mat_mul};
use std::hint::black_box;
use tq_kernels::{Epilogue, GemmOut, Kernels, Lhs, Multipliers, OutputStage, RhsMatrix};

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
        let stage = OutputStage::Requantize {
            multiplier: Multipliers::Float(&multiplier),
            zero_point: 128,
            clamp: (0, 255),
        };
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
        let matrix = |seed, rows, columns| {
            Array2::from_shape_vec((rows, columns), reals(seed, rows * columns))
                .expect("the data fits the shape")
        };
        let (a, b, mut c) = (matrix(1, m, k), matrix(2, k, n), Array2::zeros((m, n)));
        // ndarray hands products of this size to matrixmultiply.
        group.bench_function(BenchmarkId::from_parameter("f32-matrixmultiply"), |bench| {
            bench.iter(|| general_mat_mul(1.0f32, black_box(&a), &b, 0.0, &mut c));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = gemm
}
criterion_main!(benches);
