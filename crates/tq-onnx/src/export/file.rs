//! The file on the disk.

use super::{ExportOptions, export_bytes};
use crate::OnnxError;
use std::io::Write;
use std::path::Path;
use tq_graph::Graph;

/// Writes the graph to the file at `path`, replacing what is there.
///
/// The file appears whole or not at all: the bytes go into a temporary file of the same folder, which takes the
/// place of `path` once they are on the disk.
///
/// # Errors
/// As [`export_bytes`], and [`OnnxError::Io`] when the file cannot be written; nothing is left behind then.
pub fn export(graph: &Graph, path: &Path, options: &ExportOptions) -> Result<(), OnnxError> {
    let bytes = export_bytes(graph, options)?;
    let io = |e: std::io::Error| OnnxError::io(path, &e);
    // Renaming over a device or a pipe would replace it by a file.
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        return Err(OnnxError::Io { path: path.to_owned(), message: "it is not a regular file".into() });
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As any new file: readable as the umask says, not by its owner alone.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.prefix(".tq-").suffix(".onnx").tempfile_in(folder).map_err(io)?;
    file.write_all(&bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    // The rename itself is safe once the folder is on the disk; not every file system can do that.
    #[cfg(unix)]
    if let Ok(folder) = std::fs::File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}
