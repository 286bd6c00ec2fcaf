//! Quantized for mobile here, run there: the same file gives the same bytes on every processor.
//!
//!     cargo run --release -p torsh-quantization --example mobile -- write FOLDER
//!     cargo run --release -p torsh-quantization --no-default-features --features runtime --example mobile -- check FOLDER
//!
//! The first writes models, an input and what this machine answers; the second, which needs the runtime alone, may be built for
//! another processor and compares its own answers with them. `cargo xtask test-arm` does both, the second in qemu.

#[cfg(feature = "full")]
#[allow(dead_code, reason = "the network here is built below")]
mod shared;

use std::error::Error;
use std::path::Path;
use torsh_quantization::backends::Isa;
use torsh_quantization::export::load;
use torsh_quantization::model::Tensor;
use torsh_quantization::runtime::{Session, SessionOptions};

/// Rows of images in the input.
const ROWS: usize = 64;

/// The models: with one f32 multiplier a product, and in fixed point as TensorFlow Lite's reference kernels.
const MODELS: [&str; 2] = ["float", "fixed_point"];

#[cfg(feature = "full")]
fn write(folder: &Path) -> Result<(), Box<dyn Error>> {
    use torsh_quantization::backends::Requantization;
    use torsh_quantization::export::optimize_for_mobile;
    use torsh_quantization::prelude::*;

    std::fs::create_dir_all(folder)?;
    let input = shared::images(9, ROWS)?;
    std::fs::write(folder.join("input.bin"), input.le_bytes())?;
    for (name, requantization) in MODELS.iter().zip(Requantization::ALL) {
        let config = QuantConfig::default().backend(Backend::QNNPACK).requantization(requantization);
        let prepared = prepare_static(network()?, config)?;
        for seed in 0..4 {
            prepared.forward(&shared::images(seed, 8)?)?;
        }
        let mobile_model = optimize_for_mobile(&convert(prepared)?.graph)?;
        let file = folder.join(format!("{name}.tq"));
        mobile_model.save(&file)?;
        assert_eq!(load(&file)?.requantization, requantization, "how to requantize stands in the file");
        let session = Session::new(&mobile_model.graph, SessionOptions::default())?;
        let output = session.run(std::slice::from_ref(&input))?.remove(0);
        std::fs::write(folder.join(format!("{name}.bin")), output.le_bytes())?;
        println!("{name}: written, {} kernels", session.kernels().library().name());
    }
    Ok(())
}

/// A block as networks for mobile devices have them: a stem, a pointwise and a depthwise convolution around which a sum goes, a mean,
/// a classifier.
#[cfg(feature = "full")]
fn network() -> Result<torsh_quantization::model::Graph, torsh_quantization::model::GraphError> {
    use torsh_quantization::model::builder::{AdaptiveAvgPool2d, Conv2d, Flatten, Linear, ReLU6, Sequential};
    use torsh_quantization::model::{DType, Dim, Model};
    let mut b = Model::builder();
    let x = b.input("image", DType::F32, [Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()])?;
    let x = b.layer("stem", x, Sequential::new().push(Conv2d::new(3, 24, 3).padding(1)).push(ReLU6))?;
    let block = Sequential::new()
        .push(Conv2d::new(24, 40, 1))
        .push(ReLU6)
        .push(Conv2d::new(40, 40, 3).padding(1).groups(40))
        .push(ReLU6)
        .push(Conv2d::new(40, 24, 1));
    let y = b.layer("block", x, block)?;
    let x = b.add(x, y)?;
    let x = b.layer("pool", x, AdaptiveAvgPool2d::new(1))?;
    let x = b.layer("flatten", x, Flatten::default())?;
    let y = b.layer("classifier", x, Linear::new(24, 10))?;
    b.output("logits", y)?;
    b.initialize(3)?;
    b.build()
}

/// Runs what [`write`] wrote, on the kernels of this processor and on the portable ones.
fn check(folder: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = std::fs::read(folder.join("input.bin"))?;
    let values = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let input = Tensor::new(&[ROWS, 3, 8, 8], values)?;
    for name in MODELS {
        let graph = load(&folder.join(format!("{name}.tq")))?;
        let expected = std::fs::read(folder.join(format!("{name}.bin")))?;
        for options in [SessionOptions::default(), SessionOptions::with_isa(Isa::Scalar)] {
            let session = Session::new(&graph, options)?;
            let output = session.run(std::slice::from_ref(&input))?.remove(0);
            let library = session.kernels().library().name();
            if output.le_bytes() != expected {
                return Err(format!("{name}: {library} kernels give other bytes").into());
            }
            println!("{name}: the same {} bytes, {library} kernels", expected.len());
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        #[cfg(feature = "full")]
        ["write", folder] => write(Path::new(folder)),
        ["check", folder] => check(Path::new(folder)),
        _ => Err("usage: mobile write FOLDER, or mobile check FOLDER".into()),
    }
}

/// Writes where that can be done, and checks. The folder is that of `TQ_MOBILE_DIR`, which another machine may have written.
#[test]
fn runs() -> Result<(), Box<dyn Error>> {
    let own = tempfile::tempdir()?;
    let given = std::env::var_os("TQ_MOBILE_DIR");
    let folder = given.as_deref().map_or(own.path(), Path::new);
    #[cfg(feature = "full")]
    write(folder)?;
    if cfg!(not(feature = "full")) && given.is_none() {
        eprintln!("SKIPPED: TQ_MOBILE_DIR names no folder that another machine has written");
        return Ok(());
    }
    check(folder)?;
    // `cargo xtask test-arm` knows what the processor that it emulates has to give.
    if let Ok(expected) = std::env::var("TQ_EXPECT_ISA") {
        let session =
            Session::new(&load(&folder.join(format!("{}.tq", MODELS[0])))?, SessionOptions::default())?;
        assert_eq!(session.kernels().library().isa().name(), expected);
    }
    Ok(())
}
