//! Fake quantizers by themselves: one that learns its scale and zero point, and one that rounds by chance.
//!
//! `cargo run --release -p torsh-quantization --example fake_quantize`

use torsh_quantization::prelude::*;
use torsh_quantization::qat::*;
use torsh_quantization::qconfig::MovingAverageMinMaxObserver;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Values from -1 to 1, and one far outside, for which the observer makes the scale far too large.
    let mut values: Vec<f32> = (0..=64).map(|i| i as f32 / 32.0 - 1.0).collect();
    values.push(20.0);
    let x = Tensor::vector(values);

    // Learnable quantization parameters: the observer's first, then what makes the error smallest.
    let learnable_fake_quant =
        LearnableFakeQuantize::new(MovingAverageMinMaxObserver::default(), -128, 127, 0.01, 0.01);
    let learnable: Quantizer = QuantizerConfig::from(learnable_fake_quant).build("x")?;
    let mut optimizer = Adam::new(learnable.parameters().to_vec(), 1e-3)?;
    let mut errors = Vec::new();
    for _step in 0..50 {
        let tape = Tape::new();
        let loss = mse(&learnable.forward(&tape.constant(x.clone()))?, &x)?;
        optimizer.zero_grad();
        loss.backward()?;
        optimizer.step()?;
        errors.push(loss.item()?);
    }
    let (first, last) = (errors[0], errors[errors.len() - 1]);
    let codes = learnable.qparams()?;
    println!("learned: scale {:.5}, squared error {first:.2e} to {last:.2e}", codes.scale[0]);

    // Stochastic quantization: up or down by chance while training, so that the mean of many is the value itself.
    let stochastic_quant = StochasticQuantize::new(8, 1.0);
    let stochastic: Quantizer = QuantizerConfig::from(stochastic_quant).build("x")?;
    let nearest: Quantizer = QuantizerConfig::from(FakeQuantize::default()).build("x")?;
    let mean_of = |quantizer: &Quantizer| -> Result<f64, Box<dyn std::error::Error>> {
        let mut sum = 0.0;
        for _draw in 0..200 {
            let y = quantizer.forward(&Tape::without_gradients().constant(x.clone()))?;
            sum += f64::from(y.value().as_slice::<f32>()?[40]);
        }
        Ok(sum / 200.0)
    };
    let value = x.as_slice::<f32>()?[40];
    let (by_chance, to_nearest) = (mean_of(&stochastic)?, mean_of(&nearest)?);
    println!("{value} on average: {by_chance:.4} by chance, {to_nearest:.4} to the nearest");
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
