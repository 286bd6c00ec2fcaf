//! Writes the networks of `cargo xtask bench-x86` as ONNX files, quantized in each mode, with their input, for
//! `benches/peers/networks.py`: a folder for each, with `case.json`, `x.npy`, `A1.onnx`, `A2.onnx`, `B.onnx` and `float.onnx`.
//!
//! `cargo run --release -p benches --example networks -- FOLDER`
#![forbid(unsafe_code)]

use benches::Mode;
use benches::models::{Error, Net};
use std::fs;
use std::path::Path;
use torsh_quantization::export::{ExportOptions, export_onnx};

fn write(net: &Net, folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder)?;
    let options = ExportOptions::default();
    export_onnx(&net.graph, &folder.join("float.onnx"), &options)?;
    let modes: &[Mode] = if net.dynamic { &[Mode::B] } else { &Mode::ALL };
    for &mode in modes {
        export_onnx(&net.quantized(mode)?, &folder.join(format!("{}.onnx", mode.name())), &options)?;
    }
    let input = net.inputs.first().ok_or("a network without inputs")?;
    let array = ndarray::ArrayView::from_shape(input.dims(), input.as_slice::<f32>()?)?;
    ndarray_npy::write_npy(folder.join("x.npy"), &array)?;
    fs::write(folder.join("case.json"), "{\"eval\": \"x.npy\", \"whole\": true}\n")?;
    Ok(())
}

fn main() -> Result<(), Error> {
    let folder = std::env::args().nth(1).ok_or("expected a folder")?;
    for net in benches::suite::networks(false)? {
        write(&net, &Path::new(&folder).join(&net.name))?;
        println!("{}", net.name);
    }
    Ok(())
}
