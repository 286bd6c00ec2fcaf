//! Every kernel family and whole networks on every library of this processor, one thread: what `cargo xtask bench-x86` runs and
//! puts in a table.
//!
//! `cargo bench -p benches --bench x86`. `TQ_BENCH_QUICK=1` times the small shapes alone, and shortly. Every result is held to that
//! of the scalar kernels before it is timed. The peak of the processor goes to `peaks.json` in the folder `CRITERION_HOME`, where
//! it is set.
#![forbid(unsafe_code)]

use benches::suite::{kernels, libraries, networks};
use benches::{Mode, Work, one_thread};
use criterion::{BenchmarkId, Criterion, Throughput};
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

/// Writes what the processor can do at most beside criterion's results.
fn peaks() {
    let Some(folder) = std::env::var_os("CRITERION_HOME") else { return };
    let machine = torsh_quantization::runtime::machine::peaks(Duration::from_millis(100));
    let text = serde_json::to_string_pretty(&machine).expect("names and numbers");
    let written = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(std::path::Path::new(&folder).join("peaks.json"), text));
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
    peaks();
    products_and_rows(&mut c, quick);
    whole_networks(&mut c, quick);
    c.final_summary();
}
