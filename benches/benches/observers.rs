//! Observers against what one core reads from memory.
//!
//! `cargo bench -p benches --bench observers`. One thread; bytes a second of f32 data, once in the cache and once far
//! beyond it. `read` is a plain sum over the same data: what the others are measured by.
#![forbid(unsafe_code)]

use benches::{one_thread, reals};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tq_observers::{
    EntropyObserver, HistogramObserver, MinMaxObserver, Mode, MovingAverageMinMaxObserver, MseObserver,
    ObserverConfig, PerChannelMinMaxObserver, PerGroupMinMaxObserver, PercentileObserver, RecordingObserver,
};

/// The data as a matrix of this many columns, for observers of channels and groups.
const COLUMNS: usize = 256;

/// Names and numbers of values: what the second-level cache holds, and what no cache does.
const SIZES: [(&str, usize); 2] = [("cache-512KiB", 1 << 17), ("memory-256MiB", 1 << 26)];

fn observers() -> Vec<(&'static str, ObserverConfig)> {
    vec![
        ("min_max", MinMaxObserver::default().into()),
        ("moving_average_min_max", MovingAverageMinMaxObserver::default().into()),
        ("per_channel_axis_0", PerChannelMinMaxObserver::with_args(0).into()),
        ("per_channel_axis_1", PerChannelMinMaxObserver::with_args(1).into()),
        ("per_group_32", PerGroupMinMaxObserver::with_args(1, 32).into()),
        ("histogram", HistogramObserver::default().into()),
        ("histogram_pytorch", HistogramObserver::default().with_mode(Mode::PyTorch).into()),
        ("percentile", PercentileObserver::default().into()),
        ("entropy", EntropyObserver::default().into()),
        ("mse", MseObserver::default().into()),
        ("recording", RecordingObserver::default().into()),
    ]
}

/// The sum, in as many chains as keep a core busy.
fn read(data: &[f32]) -> f32 {
    let mut sums = [0.0f32; 64];
    let (rows, rest) = data.as_chunks::<64>();
    for row in rows {
        for (sum, v) in sums.iter_mut().zip(row) {
            *sum += v;
        }
    }
    sums.iter().chain(rest).sum()
}

fn observe(c: &mut Criterion) {
    one_thread();
    for (size, len) in SIZES {
        let data = reals(5, len);
        let dims = [len / COLUMNS, COLUMNS];
        let ends = data.iter().fold((0.0f32, 0.0f32), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        let mut group = c.benchmark_group(format!("observers/{size}"));
        group.throughput(Throughput::Bytes(4 * len as u64));
        group.bench_function(BenchmarkId::from_parameter("read"), |b| b.iter(|| read(black_box(&data))));
        for (name, config) in observers() {
            let mut observer = config.build().expect("the defaults are sound");
            observer.observe(&data, &dims).expect("the data is finite and fits");
            let range = observer.range().expect("there is data");
            assert_eq!((range.min, range.max), ends, "{name} missed an end of the data");
            assert_eq!(observer.count(), len as u64, "{name} missed a value");
            group.bench_function(BenchmarkId::from_parameter(name), |b| {
                b.iter(|| observer.observe(black_box(&data), &dims).expect("as before"));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = observe
}
criterion_main!(benches);
