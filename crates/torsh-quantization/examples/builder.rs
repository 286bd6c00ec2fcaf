//! A model without an ONNX file: layers under dotted names, weights from safetensors, quantized with a rule by name.
//!
//! `cargo run --release -p torsh-quantization --example builder`

#[allow(dead_code, reason = "the network here is built below")]
mod shared;

use torsh_quantization::model::builder::{
    AdaptiveAvgPool2d, Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential,
};
use torsh_quantization::model::{Dim, GraphError, Model, builder::Builder};
use torsh_quantization::prelude::*;
use torsh_quantization::ptq::quantize_fx;
use torsh_quantization::qconfig::{BackendConfig, QConfigDict, int8_qconfig};

/// The network, without weights.
fn network() -> Result<Builder, GraphError> {
    let mut b = Model::builder();
    let x = b.input("image", DType::F32, [Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()])?;
    let stem = Sequential::new().push(Conv2d::new(3, 8, 3).padding(1)).push(ReLU).push(MaxPool2d::new(2));
    let x = b.layer("features", x, stem)?;
    let branch = b.layer("branch", x, Conv2d::new(8, 8, 3).padding(1))?;
    let x = b.add(x, branch)?;
    let x = b.layer("pool", x, AdaptiveAvgPool2d::new(1))?;
    let x = b.layer("flatten", x, Flatten::default())?;
    let y = b.layer("classifier", x, Linear::new(8, 5))?;
    b.output("logits", y)?;
    Ok(b)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Trained weights come from a file of PyTorch's; here a network with random ones writes it.
    let mut untrained = network()?;
    untrained.initialize(7)?;
    let file = untrained.save_weights()?;

    // Names and shapes have to be those of the layers, no more and no less.
    let mut b = network()?;
    b.load_weights(&file)?;
    let model = b.build()?;

    // The first convolution stays in float, everything else becomes integers.
    let rules = QConfigDict::new().set_global(int8_qconfig()).set_module_name("features.0", None);
    let prepared = quantize_fx(model.clone(), rules, BackendConfig::default())?;
    for seed in 0..4 {
        prepared.forward(&shared::images(seed, 8)?)?;
    }
    let quantized = convert(prepared)?;
    for node in &quantized.report.nodes {
        println!("{node}");
    }

    let images = [shared::images(9, 2)?];
    let float = Session::new(&model, SessionOptions::default())?.run(&images)?;
    let int8 = Session::new(&quantized.graph, SessionOptions::default())?.run(&images)?;
    println!("float {:?}\nint8  {:?}", float[0].to_f32_vec(), int8[0].to_f32_vec());
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
