//! A quantized model for mobile devices, for ONNX Runtime, and for TensorRT.
//!
//! `cargo run --release -p torsh-quantization --example deploy`

mod shared;

use torsh_quantization::export::{export_quantized_onnx, export_tensorrt, load, optimize_for_mobile};
use torsh_quantization::prelude::*;

fn quantized(backend: Backend) -> Result<Graph, Box<dyn std::error::Error>> {
    let prepared = prepare_static(shared::model()?, QuantConfig::default().backend(backend))?;
    prepared.forward(&shared::images(1, 16)?)?;
    Ok(convert(prepared)?.graph)
}

fn deploy(folder: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let example_input = [shared::images(2, 1)?];
    let run = |graph: &Graph| Session::new(graph, SessionOptions::default())?.run(&example_input);

    // Export for mobile (QNNPACK backend).
    let quantized_model = quantized(Backend::QNNPACK)?;
    let mobile_model = optimize_for_mobile(&quantized_model)?;
    let path = folder.join("model_mobile.tq");
    mobile_model.save(&path)?;
    assert_eq!(run(&load(&path)?)?, run(&quantized_model)?);
    println!("mobile: {} bytes; {}", std::fs::metadata(&path)?.len(), mobile_model.notes.join("; "));

    // Export to ONNX with quantization.
    let onnx_model = export_quantized_onnx(&quantized_model, &example_input, 13)?;
    println!("ONNX: {} bytes", onnx_model.len());

    // TensorRT export: its codes are asked for when a model is prepared.
    let quantized_model = quantized(Backend::TensorRt)?;
    let trt_model =
        export_tensorrt(&quantized_model, "INT8".parse()?, Some(&folder.join("calibration.cache")))?;
    println!("TensorRT: {}", trt_model.save(&folder.join("model_trt.onnx"))?);
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("deploy-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let done = deploy(&folder);
    std::fs::remove_dir_all(&folder)?;
    done
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
