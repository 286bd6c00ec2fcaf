//! Where the bytes of a file come from.

use crate::FormatError;
use std::fs::File;
use std::io;
use std::path::Path;

/// A file of known length that several threads can read at once, each at its own place.
pub(crate) trait Source: Sync {
    /// Bytes in all.
    fn len(&self) -> u64;

    /// Fills `bytes` from the byte `at` on.
    fn fill(&self, bytes: &mut [u8], at: u64) -> io::Result<()>;

    /// Fills `bytes`; `what` is what the file ends within where it cannot.
    fn exact(&self, bytes: &mut [u8], at: u64, what: &'static str) -> Result<(), FormatError> {
        self.fill(bytes, at).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => FormatError::Truncated(what),
            _ => e.into(),
        })
    }
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn fill(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..bytes.len()));
        bytes.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// A file on the disk.
pub(crate) struct Opened {
    #[cfg(unix)]
    file: File,
    #[cfg(not(unix))]
    file: std::sync::Mutex<File>,
    len: u64,
}

/// Opens the file at `path`.
pub(crate) fn open(path: &Path) -> Result<Opened, FormatError> {
    let of_file = |e: io::Error| FormatError::from(e).of_file(path);
    // Before it is opened: opening a pipe would wait for a writer.
    if !path.metadata().map_err(of_file)?.is_file() {
        return Err(of_file(io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(of_file)?;
    let len = file.metadata().map_err(of_file)?.len();
    #[cfg(not(unix))]
    let file = std::sync::Mutex::new(file);
    Ok(Opened { file, len })
}

impl Source for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(unix)]
    fn fill(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, at)
    }

    #[cfg(not(unix))]
    fn fill(&self, bytes: &mut [u8], at: u64) -> io::Result<()> {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(bytes)
    }
}
