//! What quantization costs and what it gains.
//!
//! `cargo run --release -p torsh-quantization --example compare`

mod shared;

use torsh_quantization::analysis::{MetricError, compare_with_metrics};
use torsh_quantization::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let original = shared::model()?;
    let prepared = prepare_static(original.clone(), QuantConfig::default())?;
    prepared.forward(&shared::images(1, 32)?)?;
    let quantized = convert(prepared)?;

    // The float model's own answers serve as labels here; real ones come with the data.
    let images = shared::images(2, 256)?;
    let answers = Session::new(&original, SessionOptions::default())?.run(std::slice::from_ref(&images))?;
    let labels: Vec<i64> = answers[0]
        .as_slice::<f32>()?
        .chunks(5)
        .map(|row| (0..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best }) as i64)
        .collect();

    let data = Dataset::new(&original, vec![images])?;
    let options = CompareOptions { batch: Some(32), ..CompareOptions::default() };
    let comparison = compare_models(&original, &quantized.graph, &data, Some(&labels), &options)?;
    if let Some(drop) = comparison.accuracy_drop {
        println!("Accuracy drop: {drop:.2} points");
    }
    if let Some(speedup) = comparison.speedup {
        println!("Speedup: {speedup:.2}x");
    }
    println!("Compression: {:.2}x", comparison.compression_ratio);
    println!("SQNR: {:.1} dB, cosine {:.6}", comparison.sqnr_db, comparison.cosine);

    // A figure of one's own: by how much the largest score leads.
    let margin = |outputs: &[Tensor], rows: &[usize]| -> Result<f64, MetricError> {
        let scores = outputs[0].as_slice::<f32>()?;
        let lead = |row: &usize| {
            let mut sorted = scores[row * 5..row * 5 + 5].to_vec();
            sorted.sort_by(f32::total_cmp);
            f64::from(sorted[4] - sorted[3])
        };
        Ok(rows.iter().map(lead).sum::<f64>() / rows.len() as f64)
    };
    let metric = ("mean margin", margin);
    let comparison =
        compare_with_metrics(&original, &quantized.graph, &data, None, &[&metric], &options, |_| ())?;
    for m in &comparison.metrics {
        println!("{}: {:.4} and {:.4}, drop within {:?}", m.name, m.float, m.quantized, m.drop_interval);
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
