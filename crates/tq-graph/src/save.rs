//! Writing a file so that nobody ever sees half of it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use tempfile::NamedTempFile;

/// How temporary files end.
const END: &str = ".tmp";
/// Temporary files that are tried.
const ATTEMPTS: usize = 8;
/// Bytes gathered before the system is asked to write them.
const CHUNK: usize = 256 << 10;

/// Puts at `path` the file that `write` writes, in place of what is there.
///
/// The file appears whole or not at all, whenever the process or the machine stops: the bytes go into a temporary file
/// of the same folder, which takes the place of `path` once they are on the disk. It is called `.NAME.tq-` and random
/// letters, `NAME` being that of the file. One that fails removes it; a process that is killed leaves it behind, and the
/// next one that writes the same file takes it away. Writers hold a lock on theirs, so that none loses it to another one.
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
    let prefix = prefix_of(path);
    sweep(folder, &prefix);
    let mut file = locked(folder, &prefix)?;
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

/// How temporary files begin that are to become `path`.
fn prefix_of(path: &Path) -> String {
    /// Leaves room for what follows below the 255 bytes of common file systems.
    const LONGEST: usize = 200;
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if name.len() <= LONGEST => format!(".{name}.tq-"),
        _ => ".tq-".to_owned(),
    }
}

/// A temporary file of its own, locked.
fn locked(folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As any new file: readable as the umask says, not by its owner alone.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.prefix(prefix).suffix(END);
    for _ in 0..ATTEMPTS {
        let file = builder.tempfile_in(folder)?;
        // Where a file system has no locks, leftovers stay, as nobody can tell them from files in use.
        let _ = file.as_file().try_lock();
        // Before it was locked, somebody may have taken it for a leftover.
        if file.path().exists() {
            return Ok(file);
        }
    }
    Err(io::Error::other("temporary files disappear"))
}

/// Takes away what killed processes have left of the same file. What cannot be removed does no harm.
fn sweep(folder: &Path, prefix: &str) {
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_leftover = name.to_str().is_some_and(|n| n.starts_with(prefix) && n.ends_with(END));
        if !is_leftover || !entry.file_type().is_ok_and(|t| t.is_file()) {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fails, wherever it does, is told, and leaves the old file and nothing beside it.
    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        type Fails = fn(&Path, &mut BufWriter<&mut File>) -> io::Result<()>;
        let writer: Fails = |_, out| {
            out.write_all(&[1; 1 << 20])?;
            Err(io::ErrorKind::StorageFull.into())
        };
        // Less than what is gathered before it is written: the system refuses when all is said to be written.
        let flush: Fails = |path, out| {
            out.write_all(b"short")?;
            **out.get_mut() = File::open(path)?;
            Ok(())
        };
        let rename: Fails = |path, _| {
            std::fs::remove_file(path)?;
            std::fs::create_dir_all(path.join("in the way"))
        };
        for (what, fails) in [("writer", writer), ("flush", flush), ("rename", rename)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("f");
            replace_file::<io::Error>(&path, |out| out.write_all(b"old")).unwrap();
            replace_file::<io::Error>(&path, |out| fails(&path, out)).expect_err(what);
            let names = folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(names.collect::<Vec<_>>(), ["f"], "{what}");
            if what != "rename" {
                assert_eq!(std::fs::read(&path).unwrap(), b"old", "{what}");
                replace_file::<io::Error>(&path, |out| out.write_all(b"new")).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), b"new", "{what}");
            }
        }
    }

    #[test]
    fn a_writer_that_panics_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let write = || replace_file::<io::Error>(&path, |_| panic!("a fault of the writer"));
        assert!(std::panic::catch_unwind(write).is_err());
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_killed_writers_go_and_files_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let left = folder.path().join(".f.tq-abcdef.tmp");
        let other = folder.path().join(".g.tq-abcdef.tmp");
        let used = folder.path().join(".f.tq-inuse.tmp");
        [&left, &other, &used].iter().for_each(|p| std::fs::write(p, b"half").unwrap());
        let writer = File::open(&used).unwrap();
        writer.lock().unwrap();
        replace_file::<io::Error>(&path, |out| out.write_all(b"whole")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert!(!left.exists() && other.exists() && used.exists());
        drop(writer);
        replace_file::<io::Error>(&path, |out| out.write_all(b"again")).unwrap();
        assert!(!used.exists());
        // A writer within another one's time has its own file.
        replace_file::<io::Error>(&path, |out| {
            replace_file::<io::Error>(&path, |out| out.write_all(b"inner"))?;
            out.write_all(b"outer")
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"outer");
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
