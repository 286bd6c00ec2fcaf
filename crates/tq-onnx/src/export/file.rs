//! The file on the disk.

use super::{ExportOptions, export_bytes};
use crate::OnnxError;
use std::io::Write;
use std::path::Path;
use tq_graph::Graph;
use tq_graph::save::replace_file;

/// Writes the graph to the file at `path`, replacing what is there.
///
/// The file appears whole or not at all ([`replace_file`]).
///
/// # Errors
/// As [`export_bytes`], and [`OnnxError::Io`] when the file cannot be written; nothing is left behind then.
pub fn export(graph: &Graph, path: &Path, options: &ExportOptions) -> Result<(), OnnxError> {
    let bytes = export_bytes(graph, options)?;
    replace_file::<std::io::Error>(path, |out| out.write_all(&bytes)).map_err(|e| OnnxError::io(path, &e))
}
