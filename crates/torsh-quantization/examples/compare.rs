//! What quantization costs and what it gains.
//!
//! `cargo run --release -p torsh-quantization --example compare`

mod shared;

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
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
