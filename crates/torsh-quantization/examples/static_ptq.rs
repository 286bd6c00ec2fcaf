//! Static quantization from end to end: calibrate, convert, run in integers, write ONNX.
//!
//! `cargo run --release -p torsh-quantization --example static_ptq [MODEL.onnx]`

mod shared;

use std::path::Path;
use torsh_quantization::export::{ExportOptions, export_onnx_bytes};
use torsh_quantization::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A trained model comes from a file; without one, a small network is built here.
    let model = match std::env::args().nth(1) {
        Some(path) => load_model(Path::new(&path))?,
        None => shared::model()?,
    };

    // Prepare the model for calibration.
    let prepared = prepare_static(
        model,
        QuantConfig::default().backend(Backend::FBGEMM).observer(MinMaxObserver::default()),
    )?;

    // Calibrate with representative data: of the shape that the model takes.
    for seed in 0..8 {
        let batch = shared::images(seed, 4)?;
        prepared.forward(&batch)?;
    }

    // Convert to the quantized model. Nothing is left in float without its reason.
    let quantized = convert(prepared)?;
    for node in &quantized.report.nodes {
        println!("{node}");
    }

    // Run it on integer kernels.
    let session = Session::new(&quantized.graph, SessionOptions::default())?;
    let outputs = session.run(&[shared::images(100, 2)?])?;
    println!("\n{}\n\nlogits {:?}", session.explain(), outputs[0].to_f32_vec());

    // Write it for other runtimes.
    let bytes = export_onnx_bytes(&quantized.graph, &ExportOptions::default())?;
    println!("{} bytes of ONNX", bytes.len());
    Ok(())
}
