//! Convolutions of ResNet: a session of one int8 convolution against a session of the same in float32, one thread.
//!
//! `cargo bench -p benches --bench conv`. The int8 time contains quantizing the float input and dequantizing the
//! output, which a whole network pays once. The throughput is in multiply-adds a second.
#![forbid(unsafe_code)]

use benches::{CONV_SHAPES, conv_model, one_thread};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use torsh_quantization::prelude::*;

fn conv(c: &mut Criterion) {
    one_thread();
    for shape in &CONV_SHAPES {
        let (model, x) = conv_model(shape);
        let prepared = prepare_static(model.clone(), QuantConfig::default()).expect("one convolution");
        prepared.forward(&x).expect("the input fits");
        let quantized = convert(prepared).expect("it was calibrated");
        let float = Session::new(&model, SessionOptions::default()).expect("a float session");
        let int8 = Session::new(&quantized.graph, SessionOptions::default()).expect("an int8 session");

        let inputs = [x];
        let expected = float.run(&inputs).expect("the input fits");
        let got = int8.run(&inputs).expect("the input fits");
        check(expected[0].as_slice().expect("f32"), got[0].as_slice().expect("f32"), shape.name);

        let out = (shape.size / shape.stride).pow(2);
        let macs = out * shape.channels_in * shape.channels_out * shape.kernel.pow(2);
        let mut group = c.benchmark_group(format!("conv/{}", shape.name));
        group.throughput(Throughput::Elements(macs as u64));
        for (name, session) in [("int8", &int8), ("f32", &float)] {
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| session.run(black_box(&inputs)).expect("it ran before"));
            });
        }
        group.finish();
    }
}

/// The int8 result must be the float one but for quantization noise.
fn check(expected: &[f32], got: &[f32], name: &str) {
    let signal: f64 = expected.iter().map(|v| f64::from(*v).powi(2)).sum();
    let noise: f64 = expected.iter().zip(got).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let sqnr = 10.0 * (signal / noise.max(f64::MIN_POSITIVE)).log10();
    assert!(sqnr > 30.0, "{name}: {sqnr} dB");
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = conv
}
criterion_main!(benches);
