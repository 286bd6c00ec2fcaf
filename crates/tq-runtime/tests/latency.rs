//! Latency of whole networks, int8 against float, read from the folder that `TQ_MODELS_DIR` names.
//!
//! Prints figures and asserts none: `cargo test --release -p tq-runtime --test latency -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;

use common::models::cases;
use std::time::Instant;
use tq_graph::{Graph, Tensor};
use tq_runtime::{Session, SessionOptions};

/// The median of repeated runs, in milliseconds.
fn median(graph: &Graph, x: &[Tensor], threads: usize) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let session = Session::new(graph, SessionOptions::default()).unwrap();
        let mut out = session.run(x).unwrap();
        let start = Instant::now();
        session.run_into(x, &mut out).unwrap();
        let once = start.elapsed().as_secs_f64();
        let mut times: Vec<f64> = (0..(1.0 / once).clamp(5.0, 300.0) as usize)
            .map(|_| {
                let start = Instant::now();
                session.run_into(x, &mut out).unwrap();
                1e3 * start.elapsed().as_secs_f64()
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    })
}

#[test]
#[ignore = "a measurement"]
fn latency() {
    for case in cases() {
        let (float, quantized) = (case.float_graph(), case.quantized_graph());
        let x = [case.data("eval").batch(0, 1)];
        for threads in [1, 2] {
            let (f, q) = (median(&float, &x, threads), median(&quantized, &x, threads));
            println!("{:28} {threads} threads: float {f:8.3} ms, int8 {q:8.3} ms, {:.2} x", case.name, f / q);
        }
    }
}
