//! Other schemes than the default: symmetric activations, per-tensor weights, fewer bits.
//!
//! `cargo run --release -p torsh-quantization --example custom_config`

mod shared;

use torsh_quantization::prelude::*;
use torsh_quantization::qconfig::ObserverConfig;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let original = shared::model()?;
    let data = Dataset::new(&original, vec![shared::images(2, 64)?])?;
    let options = CompareOptions { latency: None, ..CompareOptions::default() };
    let configurations = [
        ("default: affine u8, weights i8 a channel", QuantConfig::default()),
        ("mobile: one weight scale a tensor", QuantConfig::default().backend(Backend::QNNPACK)),
        (
            "symmetric activations",
            QuantConfig::default()
                .activation(MinMaxObserver::symmetric())
                .weight(PerChannelMinMaxObserver::symmetric()),
        ),
        ("4-bit activations", QuantConfig::default().activation(MinMaxObserver::with_bits(4)?)),
    ];
    for (name, config) in configurations {
        let prepared = prepare_static(original.clone(), config)?;
        prepared.forward(&shared::images(1, 32)?)?;

        // What an observer has seen, and what that becomes.
        if let Some(observer) = prepared.observers().get("image") {
            println!("{name}: image {:?} -> {:?}", observer.range(), observer.calculate_qparams()?);
        }
        let quantized = convert(prepared)?;
        let c = compare_models(&original, &quantized.graph, &data, None, &options)?;
        println!("  SQNR {:.1} dB, same answer on {:?} %", c.sqnr_db, c.argmax_agreement);
    }

    // Configurations are plain data.
    let observer: ObserverConfig = MinMaxObserver::symmetric().into();
    println!("{observer:?}");
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
