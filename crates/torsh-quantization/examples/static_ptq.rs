//! Static quantization from end to end: calibrate, convert, run in integers, write ONNX.
//!
//! `cargo run --release -p torsh-quantization --example static_ptq`

mod shared;

use torsh_quantization::export::{ExportOptions, export_onnx, export_onnx_bytes};
use torsh_quantization::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A trained model comes from a file; here a small network is written to one first.
    let file = std::env::temp_dir().join(format!("static_ptq-{}.onnx", std::process::id()));
    export_onnx(&shared::model()?, &file, &ExportOptions::default())?;
    let model = load_model(&file)?;
    std::fs::remove_file(&file)?;

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

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
