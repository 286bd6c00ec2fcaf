//! The configurations for servers and for mobile devices, and the one that goes with the processor at hand.
//!
//! `cargo run --release -p torsh-quantization --example backends`
//!
//! A backend names defaults of quantization, not kernels: every processor runs the models of both, to the same bits.

mod shared;

use torsh_quantization::backends::{Isa, Requantization};
use torsh_quantization::prelude::*;

/// What is usual on this processor.
fn usual() -> QuantConfig {
    // FBGEMM (x86 optimized): a weight scale a channel.
    #[cfg(target_arch = "x86_64")]
    let config = QuantConfig::default().backend(Backend::FBGEMM);

    // QNNPACK (mobile optimized): a weight scale a tensor.
    #[cfg(not(target_arch = "x86_64"))]
    let config = QuantConfig::default().backend(Backend::QNNPACK);

    config
}

/// Quantizes, runs on the kernels of this processor, and compares with the portable ones. Gives the kernels that ran.
fn run(config: QuantConfig) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let prepared = prepare_static(shared::model()?, config)?;
    for seed in 0..4 {
        prepared.forward(&shared::images(seed, 8)?)?;
    }
    let quantized = convert(prepared)?;
    let images = [shared::images(100, 4)?];
    let session = Session::new(&quantized.graph, SessionOptions::default())?;
    let outputs = session.run(&images)?;
    let portable = Session::new(&quantized.graph, SessionOptions::with_isa(Isa::Scalar))?;
    assert_eq!(outputs, portable.run(&images)?);
    Ok(session.explain().kernels())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("usual here, {}: {}", usual().backend, run(usual())?.join(", "));
    for backend in [Backend::FBGEMM, Backend::QNNPACK] {
        for requantization in Requantization::ALL {
            let config = QuantConfig::default().backend(backend).requantization(requantization);
            println!("{backend}, requantized in {requantization}: {}", run(config)?.join(", "));
        }
    }
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
