//! What a model answered, as files.

use crate::files::{file_names, write_all};
use crate::npy::npy_bytes;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;
use torsh_quantization::model::{Graph, Tensor};

/// One output and the file that has it.
#[derive(Serialize)]
pub(crate) struct Written {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
}

/// Writes the outputs of `graph` to `folder`, each as NAME.npy: all of them, or none.
pub(crate) fn write_outputs(graph: &Graph, outputs: &[Tensor], folder: &Path) -> Result<Vec<Written>> {
    let names: Vec<&str> = graph.outputs.iter().map(|id| graph.value(*id).name.as_str()).collect();
    let mut written = Vec::with_capacity(outputs.len());
    let mut files = Vec::with_capacity(outputs.len());
    for ((name, file), tensor) in names.iter().zip(file_names(names.iter().copied())?).zip(outputs) {
        files.push((file.clone(), npy_bytes(tensor)?));
        written.push(Written {
            name: (*name).to_owned(),
            file: folder.join(&file).display().to_string(),
            dtype: tensor.dtype().name(),
            shape: tensor.dims().to_vec(),
        });
    }
    write_all(folder, &files)?;
    Ok(written)
}
