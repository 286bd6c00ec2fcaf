//! Symmetric and affine codes, fewer bits, channels, groups: each on the same model, with what it costs.
//!
//! `cargo run --release -p torsh-quantization --example schemes`

mod shared;

use torsh_quantization::prelude::*;
use torsh_quantization::ptq::quantize_fx;
use torsh_quantization::qconfig::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let symmetric_qconfig =
        QConfig::new().activation(MinMaxObserver::symmetric()).weight(MinMaxObserver::symmetric());
    let asymmetric_qconfig = QConfig::new()
        .activation(MinMaxObserver::asymmetric())
        .weight(PerChannelMinMaxObserver::asymmetric());
    let int4_qconfig =
        QConfig::new().activation(MinMaxObserver::with_bits(4)?).weight(MinMaxObserver::with_bits(4)?);
    let per_channel_qconfig = QConfig::new().weight(PerChannelMinMaxObserver::new(0, QScheme::Symmetric));
    // Groups of 32 input features, 4 bits; weights alone.
    let group_wise_qconfig = GroupWiseQuantConfig::new(32, 4);

    let model = shared::model()?;
    let data = Dataset::new(&model, vec![shared::images(2, 64)?])?;
    let options = CompareOptions { latency: None, ..CompareOptions::default() };
    let mut sqnr = Vec::new();
    for (name, qconfig) in [
        ("symmetric", symmetric_qconfig),
        ("asymmetric", asymmetric_qconfig),
        ("4 bits", int4_qconfig),
        ("a scale a channel", per_channel_qconfig),
        ("4-bit weights in groups of 32", group_wise_qconfig.try_into()?),
    ] {
        let prepared = quantize_fx(model.clone(), qconfig, BackendConfig::default())?;
        prepared.forward(&shared::images(1, 32)?)?;
        let quantized = convert(prepared)?;
        let comparison = compare_models(&model, &quantized.graph, &data, None, &options)?;
        println!("{name}: SQNR {:.1} dB", comparison.sqnr_db);
        sqnr.push(comparison.sqnr_db);
    }
    // Half the bits cost much; eight of them are close to the original.
    assert!(sqnr[2] < sqnr[0] && sqnr[0] > 25.0 && sqnr[1] > 25.0 && sqnr[3] > 25.0, "{sqnr:?}");
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
