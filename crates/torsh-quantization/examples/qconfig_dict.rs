//! Rules by module type and by name: PyTorch's defaults, observers of one's own, mixed precision.
//!
//! `cargo run --release -p torsh-quantization --example qconfig_dict`

mod shared;

use torsh_quantization::ptq::quantize_fx;
use torsh_quantization::qconfig::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = shared::model()?;

    // Per-layer configuration.
    let qconfig_dict = QConfigDict::new()
        .set_global(get_default_qconfig())
        .set_module_name(
            "conv0",
            QConfig {
                activation: HistogramObserver::with_args(1024).into(),
                weight: PerChannelMinMaxObserver::with_args(0).into(),
            },
        )
        .set_module_type::<Conv2d>(QConfig {
            activation: MovingAverageMinMaxObserver::default().into(),
            weight: default_weight_observer(),
        });
    let backend_config = BackendConfig::default();
    let prepared = quantize_fx(model.clone(), qconfig_dict, backend_config.clone())?;
    prepared.forward(&shared::images(1, 32)?)?;
    for node in prepared.explain() {
        println!("{}: {}", node.node, node.rule);
    }
    let quantized = torsh_quantization::ptq::convert(prepared)?;
    assert!(quantized.report.nodes.iter().all(|n| !n.to_string().is_empty()));

    // Mixed precision: linear layers in 8 bits, convolutions in 4, the classifier in half precision.
    let mixed_qconfig = QConfigDict::new()
        .set_module_type::<Linear>(int8_qconfig())
        .set_module_type::<Conv2d>(int4_qconfig())
        .set_module_name("classifier", fp16_qconfig());
    let prepared = quantize_fx(model, mixed_qconfig, backend_config)?;
    prepared.forward(&shared::images(1, 32)?)?;
    let nodes = torsh_quantization::ptq::convert(prepared)?.report.nodes;
    for node in &nodes {
        println!("{node}");
    }
    // The 4-bit convolutions compute in integers, the classifier in float.
    let in_integers = |op| nodes.iter().filter(|n| n.op == op).all(|n| n.placement.is_quantized());
    assert!(in_integers("Conv"));
    assert!(nodes.iter().any(|n| n.node.starts_with("classifier") && !n.placement.is_quantized()));
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
