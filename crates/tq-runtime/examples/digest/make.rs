//! The models: quantized, with inputs that they were made for.

use crate::Result;
use crate::case::Case;
use crate::models;
use ndarray_npy::{ReadNpyExt, ReadableElement};
use std::fs::File;
use std::path::{Path, PathBuf};
use tq_graph::{Element, Graph, Tensor};
use tq_passes::{Configuration, QConfigDict, Recipe, convert, default_dynamic_qconfig, int8_qconfig};

/// Inputs of each model, in runs of [`BATCH`]: several threads have something to share then.
const INPUTS: usize = 32;
const BATCH: usize = 8;

/// Writes every model that there is.
pub(crate) fn all(folder: &Path) -> Result<()> {
    let mut cases = vec![demo()?];
    cases.extend(models::cases().iter().map(of_classifier));
    if let Some(root) = std::env::var_os("TQ_MODELS_DIR").map(PathBuf::from) {
        cases.push(digits_in_groups(&root)?);
        cases.extend(spoken_digits(&root)?);
        cases.extend(voices(&root)?);
        cases.extend(sentences(&root)?);
    }
    for case in cases {
        case.save(folder)?;
        eprintln!("{}: {} inputs", case.name, case.inputs());
    }
    Ok(())
}

/// The model that the program embeds.
pub(crate) fn demo() -> Result<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tq-cli/demo");
    Ok(of_classifier(&models::case_in("demo", &folder)?))
}

fn of_classifier(case: &models::Case) -> Case {
    Case { name: case.name.clone(), graph: case.quantized_graph(), runs: runs_of(case) }
}

fn runs_of(case: &models::Case) -> Vec<Vec<Tensor>> {
    let data = case.data("eval");
    (0..INPUTS).step_by(BATCH).map(|first| vec![data.batch(first, BATCH)]).collect()
}

/// A linear layer of 4-bit weights in groups behind convolutions of 8 bits.
fn digits_in_groups(root: &Path) -> Result<Case> {
    let folder = root.join("mnist_cnn");
    let case = models::case_in("mnist_cnn", &folder)?;
    let data = case.data("calib");
    let calibration: Vec<Vec<Tensor>> =
        (0..64).step_by(BATCH).map(|first| vec![data.batch(first, BATCH)]).collect();
    let graph = quantized(&folder, Recipe::W4a8, &calibration)?;
    Ok(Case { name: "mnist_cnn w4a8".to_owned(), graph, runs: runs_of(&case) })
}

/// An LSTM whose activations are quantized at run time.
fn spoken_digits(root: &Path) -> Result<Vec<Case>> {
    let folder = root.join("fsdd_lstm");
    let graph = quantized(&folder, Recipe::Int8Dynamic, &[])?;
    let batch = |first| Ok(vec![rows::<f32>(&folder.join("eval_x_f32.npy"), first, BATCH)?]);
    let runs = (0..INPUTS).step_by(BATCH).map(batch).collect::<Result<_>>()?;
    Ok(vec![Case { name: "fsdd_lstm int8-dynamic".to_owned(), graph, runs }])
}

/// Convolutions around an LSTM: one float product among integers, and the same with that LSTM quantized at run time.
fn voices(root: &Path) -> Result<Vec<Case>> {
    let folder = root.join("silero_vad_lstm");
    let clip = |part: &str, i| -> Result<Vec<Tensor>> {
        let frames = rows::<f32>(&folder.join(format!("{part}_frames_f32.npy")), i, 1)?;
        let length = frames.dims()[1..].to_vec();
        let state = Tensor::new(&[1, 1, 128], vec![0.0f32; 128])?;
        Ok(vec![frames.reshape(&length)?, state.clone(), state])
    };
    let calibration = (0..6).map(|i| clip("calib", i)).collect::<Result<Vec<_>>>()?;
    let runs = (0..INPUTS / BATCH)
        .map(|i| {
            let mut run = clip("eval", i)?;
            run[0] = first_rows(&run[0], BATCH)?;
            Ok(run)
        })
        .collect::<Result<Vec<_>>>()?;
    let dynamic =
        QConfigDict::new().set_global(int8_qconfig()).set_module_type_name("LSTM", default_dynamic_qconfig());
    let case = |name: &str, configuration: Configuration| -> Result<Case> {
        let graph = quantized(&folder, configuration, &calibration)?;
        Ok(Case { name: format!("silero_vad_lstm {name}"), graph, runs: runs.clone() })
    };
    Ok(vec![case("int8", Recipe::Int8.into())?, case("int8 with a dynamic LSTM", dynamic.into())?])
}

/// A transformer, with calibrated ranges and with those of every run.
fn sentences(root: &Path) -> Result<Vec<Case>> {
    let folder = root.join("minilm_l3_sts");
    let batch = |ids: &str, mask: &str, first| -> Result<Vec<Tensor>> {
        let file = |name: &str| folder.join(format!("{name}_i64.npy"));
        Ok(vec![rows::<i64>(&file(ids), first, BATCH)?, rows::<i64>(&file(mask), first, BATCH)?])
    };
    let all = |ids: &str, mask: &str, count: usize| {
        (0..count).step_by(BATCH).map(|first| batch(ids, mask, first)).collect::<Result<Vec<_>>>()
    };
    let calibration = all("calib_ids", "calib_mask", 64)?;
    let runs = all("eval_ids_a", "eval_mask_a", INPUTS)?;
    let case = |recipe: Recipe| -> Result<Case> {
        let graph = quantized(&folder, recipe, &calibration)?;
        Ok(Case { name: format!("minilm_l3_sts {recipe}"), graph, runs: runs.clone() })
    };
    Ok(vec![case(Recipe::Int8)?, case(Recipe::W4a8)?, case(Recipe::Int8Dynamic)?])
}

fn quantized(
    folder: &Path,
    configuration: impl Into<Configuration>,
    calibration: &[Vec<Tensor>],
) -> Result<Graph> {
    let model = tq_onnx::import(&folder.join("model.onnx"))?;
    let prepared = tq_passes::prepare_static(model, configuration)?;
    for batch in calibration {
        prepared.forward(batch)?;
    }
    Ok(convert(prepared)?.graph)
}

/// Rows `first..first + count` of an array in a file.
fn rows<T: Element + ReadableElement>(path: &Path, first: usize, count: usize) -> Result<Tensor> {
    let all = ndarray::ArrayD::<T>::read_npy(File::open(path)?)?;
    let row: usize = all.shape()[1..].iter().product();
    let mut dims = all.shape().to_vec();
    dims[0] = count;
    let data = all.into_iter().skip(first * row).take(count * row).collect();
    Ok(Tensor::new(&dims, data)?)
}

fn first_rows(tensor: &Tensor, count: usize) -> Result<Tensor> {
    let mut dims = tensor.dims().to_vec();
    dims[0] = count;
    let length = dims.iter().product();
    Ok(Tensor::new(&dims, tensor.as_slice::<f32>()?[..length].to_vec())?)
}
