//! Which layers err, which would err most by themselves, why, what observers have seen, and all of it on one page.
//!
//! `cargo run --release -p torsh-quantization --example debug`

mod shared;

use torsh_quantization::analysis::*;
use torsh_quantization::debug::*;
use torsh_quantization::prelude::*;
use torsh_quantization::qconfig::HistogramObserver;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = shared::model()?;
    let calibration_data = Dataset::new(&model, vec![shared::images(1, 32)?])?;
    let test_data = Dataset::new(&model, vec![shared::images(2, 64)?])?;

    let folder = tempfile::tempdir()?;
    let prepared =
        prepare_static(model.clone(), QuantConfig::default().observer(HistogramObserver::default()))?;
    for batch in calibration_data.batches(Some(8)) {
        prepared.forward(&batch?)?;
    }
    let observer_dict = get_observer_dict(&prepared);
    for (name, observer) in &observer_dict {
        if let Some(range) = observer.range() {
            println!("{name}: range [{:.3}, {:.3}]", range.min, range.max);
        }
    }
    plot_histograms(&observer_histograms(&observer_dict)?, folder.path().join("observers.png"))?;
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
    debugger.plot_error_heatmap(folder.path().join("quantization_errors.png"))?;
    debugger.plot_histograms(folder.path().join("histograms.png"))?;
    plot_weight_ranges(&weight_ranges(&quantized), folder.path().join("weights.png"))?;

    // What is proved of the sums of each layer, and what kernels that saturate would answer.
    for c in overflow_certificates(&quantized) {
        let fitting = c.pairs.map_or(100.0, |p| p.fitting());
        println!("{}: sums up to {}, {fitting:.1} % of pairs fit 16 bits", c.node, c.largest_accumulator);
    }
    for f in forecast_peers(&quantized, &test_data, None, None, 16, |_| ())? {
        println!("{}: {:.1} dB from our answers", f.peer.title(), f.sqnr_db);
    }

    // All of it on one page.
    let report = Report::new(&model, &quantized, &test_data, None, &ReportOptions::default(), |_, _, _| ())?;
    report.save_html(folder.path().join("report.html"))?;

    // Causes in words, with the setting to change.
    let options = AdviceOptions { calibration: Some(calibration_data), ..AdviceOptions::default() };
    let advice = advise(&model, &quantized, &test_data, &options)?;
    for finding in &advice.findings {
        println!("{:.0} % of the error: {}\n{}", finding.share, finding.says, finding.advice);
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
