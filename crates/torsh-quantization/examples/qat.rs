//! Training with fake quantization: observed scales, learned ones, and random rounding.
//!
//! `cargo run --release -p torsh-quantization --example qat`

mod shared;

use torsh_quantization::analysis::Dataset;
use torsh_quantization::prelude::*;
use torsh_quantization::qat::*;
use torsh_quantization::qconfig::MovingAverageMinMaxObserver;

const ROWS: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = shared::model()?;
    // The float model's own answers are the targets here; real ones come with the data.
    let images = shared::images(1, 4 * ROWS)?;
    let teacher = Session::new(&model, SessionOptions::default())?;
    let train_loader: Vec<(Tensor, Tensor)> = Dataset::new(&model, vec![images])?
        .batches(Some(ROWS))
        .map(|batch| {
            let input = batch?.inputs.remove(0);
            let target = teacher.run(std::slice::from_ref(&input))?.remove(0);
            Ok((input, target))
        })
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;

    let qat_model = prepare_qat(
        model.clone(),
        QuantConfig::default()
            .backend(Backend::Qnnpack)
            .activation(FakeQuantize::default())
            .weight(FakeQuantize::default()),
    )?;
    let (first, last) = train(&qat_model, &train_loader)?;
    println!("observed scales: loss {first:.5} to {last:.5}");
    let quantized = convert(qat_model)?;
    println!("{} nodes in integers", quantized.report.integer_nodes().count());

    // Scales and zero points that are trained, with learning rates of their own.
    let learnable_fake_quant =
        LearnableFakeQuantize::new(MovingAverageMinMaxObserver::default(), -128, 127, 0.01, 0.01);
    // Rounding up or down at random.
    let stochastic_quant = StochasticQuantize::new(8, 1.0);
    let kinds: [(&str, QuantizerConfig); 2] =
        [("learned scales", learnable_fake_quant.into()), ("random rounding", stochastic_quant.into())];
    for (name, activation) in kinds {
        let options = QatOptions { activation, ..QatOptions::default() };
        let qat_model = prepare_qat_with(model.clone(), QuantConfig::default(), &options)?;
        let (first, last) = train(&qat_model, &train_loader)?;
        println!("{name}: loss {first:.5} to {last:.5}");
        convert(qat_model)?;
    }
    Ok(())
}

/// Two rounds of training; the first and the last loss.
fn train(model: &QatModel, train_loader: &[(Tensor, Tensor)]) -> Result<(f32, f32), QatError> {
    let mut optimizer = Adam::new(model.parameters(), 1e-3)?;
    for (group, lr) in model.group_rates() {
        optimizer.set_group_lr(group, lr)?;
    }
    let mut losses = Vec::new();
    for _epoch in 0..2 {
        for (input, target) in train_loader {
            let output = model.forward(input)?;
            let loss = mse(&output, target)?;
            optimizer.zero_grad();
            loss.backward()?;
            optimizer.step()?;
            losses.push(loss.item()?);
        }
    }
    Ok((losses[0], losses[losses.len() - 1]))
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
