//! Writing a file so that nobody ever sees half of it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Bytes gathered before the system is asked to write them.
const CHUNK: usize = 256 << 10;

/// Puts at `path` the file that `write` writes, in place of what is there.
///
/// The file appears whole or not at all, whenever the process or the machine stops: the bytes go into a temporary file
/// of the same folder (`.tq-` and random letters), which takes the place of `path` once they are on the disk. A process
/// that is killed leaves that temporary file behind, and one that fails removes it.
///
/// # Errors
/// What `write` says, and what the system says; `path` is as it was then. A `path` that is there and is no regular file
/// (a device, a pipe, a folder) is refused, as renaming would replace it.
pub fn replace_file<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), E>,
) -> Result<(), E> {
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        return Err(io::Error::other("it is not a regular file").into());
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
    let mut file = builder.prefix(".tq-").suffix(".tmp").tempfile_in(folder)?;
    let mut out = BufWriter::with_capacity(CHUNK, file.as_file_mut());
    write(&mut out)?;
    out.flush()?;
    drop(out);
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The rename itself is safe once the folder is on the disk; not every file system can do that.
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        replace_file::<io::Error>(&path, |out| out.write_all(b"old")).unwrap();
        let failed = replace_file::<io::Error>(&path, |out| {
            out.write_all(&[1; 1 << 20])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        replace_file::<io::Error>(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace_file::<io::Error>(folder.path(), |_| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "it is not a regular file");
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, plain) = (folder.path().join("f"), folder.path().join("g"));
        replace_file::<io::Error>(&path, |out| out.write_all(b"x")).unwrap();
        std::fs::write(&plain, b"x").unwrap();
        let mode = |p: &Path| p.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&path), mode(&plain));
    }
}
