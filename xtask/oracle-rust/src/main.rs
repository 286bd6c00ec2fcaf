//! Runs exported files in tract and rten.
//!
//! usage: oracle-rust FOLDER
//!
//! For each NAME.safetensors of the folder, which holds the inputs of NAME.onnx by name (and `y`, our answer, which is not
//! read), writes the first output of each program as raw f32 to NAME.tract and NAME.rten, or says why there is none.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow, bail};
use rten::{Model, NodeId, ValueOrView};
use rten_tensor::AsView;
use safetensors::{Dtype, SafeTensors};
use std::fs;
use std::path::Path;
use tract_onnx::prelude::*;

/// An input as both programs take it.
enum Data {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

struct Input {
    name: String,
    shape: Vec<usize>,
    data: Data,
}

fn inputs(path: &Path) -> Result<Vec<Input>> {
    let bytes = fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let mut found = Vec::new();
    for (name, view) in file.tensors().into_iter().filter(|(name, _)| name != "y") {
        let data = match view.dtype() {
            Dtype::F32 => {
                Data::F32(view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            Dtype::I64 => {
                Data::I64(view.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            other => bail!("{name} is {other:?}"),
        };
        found.push(Input { name, shape: view.shape().to_vec(), data });
    }
    Ok(found)
}

fn in_tract(model: &Path, inputs: &[Input]) -> Result<Vec<f32>> {
    let mut model = tract_onnx::onnx().model_for_path(model)?;
    let mut tensors = tvec!();
    for (i, outlet) in model.input_outlets()?.to_vec().into_iter().enumerate() {
        let name = model.node(outlet.node).name.clone();
        let input = inputs.iter().find(|x| x.name == name).with_context(|| format!("no data for {name}"))?;
        let tensor = match &input.data {
            Data::F32(data) => Tensor::from_shape(&input.shape, data)?,
            Data::I64(data) => Tensor::from_shape(&input.shape, data)?,
        };
        model.set_input_fact(i, InferenceFact::dt_shape(tensor.datum_type(), tensor.shape()))?;
        tensors.push(tensor.into_tvalue());
    }
    let outputs = model.into_optimized()?.into_runnable()?.run(tensors)?;
    Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())
}

fn in_rten(model: &Path, inputs: &[Input]) -> Result<Vec<f32>> {
    let model = Model::load_file(model).map_err(|e| anyhow!("{e}"))?;
    let mut values: Vec<(NodeId, ValueOrView)> = Vec::new();
    for input in inputs {
        let id = model.node_id(&input.name).map_err(|e| anyhow!("{e}"))?;
        let value: ValueOrView = match &input.data {
            Data::F32(data) => rten_tensor::Tensor::from_data(&input.shape, data.clone()).into(),
            // It has i32 in the place of i64.
            Data::I64(data) => {
                let data: Vec<i32> = data.iter().map(|v| i32::try_from(*v)).collect::<Result<_, _>>()?;
                rten_tensor::Tensor::from_data(&input.shape, data).into()
            }
        };
        values.push((id, value));
    }
    let output = *model.output_ids().first().context("no output")?;
    let outputs = model.run(values, &[output], None).map_err(|e| anyhow!("{e}"))?;
    let first = outputs.into_iter().next().and_then(rten::Value::into_tensor::<f32>);
    Ok(first.context("its output is not f32")?.to_vec())
}

fn main() -> Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: oracle-rust FOLDER")?;
    let mut files: Vec<_> = fs::read_dir(folder)?.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    files.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    files.sort();
    for file in files {
        let model = file.with_extension("onnx");
        let inputs = inputs(&file).with_context(|| file.display().to_string())?;
        type Run = fn(&Path, &[Input]) -> Result<Vec<f32>>;
        for (program, run) in [("tract", in_tract as Run), ("rten", in_rten as Run)] {
            match run(&model, &inputs) {
                Ok(y) => {
                    let bytes: Vec<u8> = y.iter().flat_map(|v| v.to_le_bytes()).collect();
                    fs::write(file.with_extension(program), bytes)?;
                }
                Err(e) => println!("{} {program}: {}", model.display(), format!("{e:#}").replace('\n', " ")),
            }
        }
    }
    Ok(())
}
