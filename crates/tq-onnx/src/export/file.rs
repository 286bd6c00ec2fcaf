//! The file on the disk.

use super::{ExportOptions, encoded, external, form, message};
use crate::OnnxError;
use std::io::Write;
use std::path::Path;
use tq_graph::Graph;
use tq_graph::save::replace_file;

/// Writes the graph to the file at `path`, replacing what is there; returns the operator set that was written.
///
/// The file appears whole or not at all ([`replace_file`]). External data goes first, to a file beside it whose name
/// (`STEM.DIGEST.data`) no other data has: data of a model that is replaced stays where it is.
///
/// # Errors
/// As [`super::export_bytes`], and [`OnnxError::Io`] when a file cannot be written; no half of one is left behind then.
pub fn export(graph: &Graph, path: &Path, options: &ExportOptions) -> Result<i64, OnnxError> {
    let (mut model, opset) = message(&form(graph, options)?, options)?;
    let data = match options.external_data {
        Some(least) => external::move_out(&mut model, path, least)?,
        None => None,
    };
    let bytes = encoded(&model)?;
    if let Some((name, data)) = data {
        write(&path.with_file_name(name), &data)?;
    }
    write(path, &bytes)?;
    Ok(opset)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), OnnxError> {
    replace_file::<std::io::Error>(path, |out| out.write_all(bytes)).map_err(|e| OnnxError::io(path, &e))
}
