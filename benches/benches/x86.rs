//! Every kernel family, sessions of one operator and whole networks on every library of this processor, and matrix products in
//! float32, one thread: what `cargo xtask bench-x86` and `bench-arm` run and put in a table.
//!
//! `cargo bench -p benches --bench x86`. `TQ_BENCH_QUICK=1` times the small shapes alone, and shortly. Every result is held to that
//! of the scalar kernels before it is timed. The processor's name, its peak and that of its memory go
//! to `machine.json` in the folder `CRITERION_HOME`, where it is set.
#![forbid(unsafe_code)]

use benches::operators::{Operator, float_product};
use benches::suite::{kernels, libraries, networks, operators, products};
use benches::{Mode, Work, one_thread, reals};
use criterion::{BenchmarkId, Criterion, Throughput};
use ndarray::{Array2, linalg::general_mat_mul};
use std::hint::black_box;
use std::time::Duration;
use torsh_quantization::backends::{Isa, KernelChoice};
use torsh_quantization::prelude::*;

fn products_and_rows(c: &mut Criterion, quick: bool) {
    let libraries = libraries();
    for spec in kernels(quick) {
        let mut group = c.benchmark_group(&spec.name);
        group.throughput(match spec.work {
            Work::Macs(n) | Work::Elements(n) => Throughput::Elements(n),
        });
        let mut seen = Vec::new();
        for library in &libraries {
            let mut case = spec.checked(library).expect("kernels agree");
            // Two libraries may share a kernel.
            if seen.contains(&case.kernel) {
                continue;
            }
            seen.push(case.kernel);
            let id = BenchmarkId::from_parameter(format!("{}@{}", case.kernel, library.library().isa()));
            group.bench_function(id, |b| b.iter(|| case.run().expect("it ran before")));
        }
        group.finish();
    }
}

/// The same products in float32, beside those of codes.
fn float_products(c: &mut Criterion, quick: bool) {
    for (m, k, n) in products(quick) {
        let matrix = |seed, rows, columns| {
            Array2::from_shape_vec((rows, columns), reals(seed, rows * columns))
                .expect("the data fits the shape")
        };
        let (a, b, mut out) = (matrix(1, m, k), matrix(2, k, n), Array2::zeros((m, n)));
        let mut group = c.benchmark_group(format!("gemm/{m}x{k}x{n}/f32"));
        group.throughput(Throughput::Elements((m * k * n) as u64));
        // ndarray hands products of this size to matrixmultiply.
        group.bench_function(BenchmarkId::from_parameter("matrixmultiply@f32"), |bench| {
            bench.iter(|| general_mat_mul(1.0f32, black_box(&a), &b, 0.0, &mut out));
        });
        // Sessions multiply single rows without packing.
        if m == 1 {
            let product = float_product((m, k, n), reals(1, m * k), reals(2, k * n)).expect("it fits");
            let session = Session::new(&product.graph, SessionOptions::default()).expect("it is valid");
            let mut outputs = session.run(&product.inputs).expect("the input fits");
            general_mat_mul(1.0, &a, &b, 0.0, &mut out);
            let sums = outputs[0].as_slice::<f32>().expect("a product of f32 is f32");
            // They are added in another order.
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6 * k as f32;
            assert!(out.iter().zip(sums).all(near), "the session's product differs from matrixmultiply's");
            group.bench_function(BenchmarkId::from_parameter("session@f32"), |bench| {
                bench.iter(|| session.run_into(&product.inputs, &mut outputs).expect("it ran before"));
            });
        }
        group.finish();
    }
}

/// Sessions of one operator: what is more than a call of a kernel, or has no kernel of its own.
fn single_operators(c: &mut Criterion, quick: bool) {
    for Operator { name, work, graph, inputs } in operators(quick).expect("the shapes fit each other") {
        let session = |isa: Isa| {
            let options = SessionOptions { kernels: KernelChoice::Isa(isa), ..SessionOptions::default() };
            Session::new(&graph, options).expect("this processor has it")
        };
        let expected = session(Isa::Scalar).run(&inputs).expect("the inputs fit");
        let mut group = c.benchmark_group(format!("operator/{name}"));
        group.throughput(Throughput::Elements(work));
        let mut seen = Vec::new();
        for library in libraries() {
            let isa = library.library().isa();
            let session = session(isa);
            let mut outputs = session.run(&inputs).expect("the inputs fit");
            assert_eq!(outputs, expected, "{name} on {isa} differs from the scalar session");
            // Two libraries may share the kernels; not all operators name theirs.
            let kernels = session.explain().kernels();
            if !kernels.is_empty() && seen.contains(&kernels) {
                continue;
            }
            let id = BenchmarkId::from_parameter(format!("session@{isa}"));
            group.bench_function(id, |b| {
                b.iter(|| session.run_into(&inputs, &mut outputs).expect("it ran before"));
            });
            seen.push(kernels);
        }
        group.finish();
    }
}

fn whole_networks(c: &mut Criterion, quick: bool) {
    for net in networks(quick).expect("the layers fit each other") {
        // Activations with parameters of every run have all 8 bits.
        let modes: &[Mode] = if net.dynamic { &[Mode::B] } else { &Mode::ALL };
        for &mode in modes {
            let quantized = net.quantized(mode).expect("it is quantized");
            let session = |isa: Isa| {
                let options = SessionOptions { kernels: KernelChoice::Isa(isa), ..SessionOptions::default() };
                Session::new(&quantized, options).expect("this processor has it")
            };
            let expected = session(Isa::Scalar).run(&net.inputs).expect("the inputs fit");
            let mut group = c.benchmark_group(format!("network/{}/{}", net.name, mode.name()));
            for library in libraries() {
                let isa = library.library().isa();
                let session = session(isa);
                let mut outputs = session.run(&net.inputs).expect("the inputs fit");
                assert_eq!(outputs, expected, "{} on {isa} differs from the scalar session", net.name);
                let id = BenchmarkId::from_parameter(format!("session@{isa}"));
                let run = |b: &mut criterion::Bencher| {
                    b.iter(|| session.run_into(&net.inputs, &mut outputs).expect("it ran before"));
                };
                group.bench_function(id, run);
            }
            group.finish();
        }
    }
}

/// Writes the processor's name, and what it and its memory can do at most, beside criterion's results.
fn machine() {
    let Some(folder) = std::env::var_os("CRITERION_HOME") else { return };
    use torsh_quantization::runtime::machine::{bandwidth, facts, peaks};
    let (facts, each) = (facts(), Duration::from_millis(100));
    let machine = serde_json::json!({
        "processor": facts.processor, "emulated": facts.emulated,
        "peaks": peaks(each), "bandwidth": bandwidth(&facts.caches, each),
    });
    let text = serde_json::to_string_pretty(&machine).expect("names and numbers");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(std::path::Path::new(&folder).join("machine.json"), text));
    written.expect("CRITERION_HOME can be written");
}

fn main() {
    one_thread();
    let quick = std::env::var_os("TQ_BENCH_QUICK").is_some();
    let (warm, measured) = if quick { (50, 150) } else { (200, 800) };
    let mut c = Criterion::default()
        .sample_size(if quick { 10 } else { 20 })
        .warm_up_time(Duration::from_millis(warm))
        .measurement_time(Duration::from_millis(measured))
        .configure_from_args();
    machine();
    products_and_rows(&mut c, quick);
    float_products(&mut c, quick);
    single_operators(&mut c, quick);
    whole_networks(&mut c, quick);
    c.final_summary();
}
