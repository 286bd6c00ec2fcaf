//! Which layers err, which would err most by themselves, and what observers have seen.
//!
//! `cargo run --release -p torsh-quantization --example debug`

mod shared;

use torsh_quantization::analysis::*;
use torsh_quantization::debug::*;
use torsh_quantization::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = shared::model()?;
    let calibration_data = Dataset::new(&model, vec![shared::images(1, 32)?])?;
    let test_data = Dataset::new(&model, vec![shared::images(2, 64)?])?;

    let prepared = prepare_static(model.clone(), QuantConfig::default())?;
    for batch in calibration_data.batches(Some(8)) {
        prepared.forward(&batch?)?;
    }
    for (name, observer) in get_observer_dict(&prepared) {
        if let Some(range) = observer.range() {
            println!("{name}: range [{:.3}, {:.3}]", range.min, range.max);
        }
    }
    let quantized = convert(prepared)?.graph;

    // One layer at a time: the share of answers that it alone would change.
    let options = SensitivityOptions::default();
    let sensitivity = sensitivity_analysis(&model, &calibration_data, &test_data, None, &options)?;
    for (layer, metrics) in sensitivity {
        println!("{layer}: {:.1} dB, drop {:.2} %", metrics.sqnr_db, metrics.accuracy_drop * 100.0);
    }

    let debugger = QuantizationDebugger::new(&model, &quantized, &test_data)?;
    let layer_errors = debugger.calculate_layer_errors()?;
    for layer in layer_errors.worst_first() {
        println!("{}: {:.1} dB of its own, {:.1} dB in all", layer.node, layer.introduced_db, layer.total_db);
    }
    let folder = tempfile::tempdir()?;
    debugger.plot_error_heatmap(folder.path().join("quantization_errors.png"))?;
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
