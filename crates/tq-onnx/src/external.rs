//! Tensor data that lies in files beside the model.

use crate::proto::StringStringEntryProto;
use crate::tensor::Problem;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// All external data of one model together stays below this.
const MAX_TOTAL: u64 = 64 << 30;

/// External data of one model is at most this many times the size of the files it lies in: tensors may share
/// bytes, but a small file must not fill the memory by being read again and again.
const MAX_SHARING: u64 = 4;

/// The model's own folder: external data is read from inside it and from nowhere else.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    base: Option<PathBuf>,
    /// Files read from, with their sizes.
    files: BTreeMap<PathBuf, u64>,
    /// Bytes read so far.
    read: u64,
}

impl Folder {
    /// No folder at all when `base` is `None`: external data is an error then.
    pub(crate) fn new(base: Option<&Path>) -> Self {
        Self { base: base.map(Path::to_owned), ..Self::default() }
    }

    /// The `want` bytes that `entries` (`location`, `offset`, `length`) point at.
    pub(crate) fn read(&mut self, entries: &[StringStringEntryProto], want: usize) -> Result<Bytes, Problem> {
        let bad = |m: String| Problem::Malformed(format!("external data: {m}"));
        let get = |key: &str| entries.iter().find(|e| e.key() == key).map(StringStringEntryProto::value);
        let number = |key: &str| -> Result<Option<u64>, Problem> {
            get(key).map(|v| v.parse().map_err(|_| bad(format!("{key} is {v:?}")))).transpose()
        };
        let location = get("location").ok_or_else(|| bad("it has no location".into()))?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?;
        let want = u64::try_from(want).unwrap_or(u64::MAX);
        if let Some(length) = length
            && length != want
        {
            return Err(bad(format!("{length} bytes, its shape needs {want}")));
        }
        let path = self.resolve(location).map_err(bad)?;
        let shown = |e: std::io::Error| bad(format!("{location}: {e}"));
        let mut file = File::open(&path).map_err(shown)?;
        let size = file.metadata().map_err(shown)?.len();
        let end = offset.checked_add(want).filter(|end| *end <= size).ok_or_else(|| {
            bad(format!("bytes {offset} to {offset} + {want} of {location}, which has {size}"))
        })?;
        if length.is_none() && offset == 0 && end != size {
            return Err(bad(format!("{location} has {size} bytes, its shape needs {want}")));
        }
        self.files.insert(path, size);
        self.read = self.read.saturating_add(want);
        let limit = self.files.values().fold(0u64, |a, b| a.saturating_add(*b)).saturating_mul(MAX_SHARING);
        if self.read > limit.min(MAX_TOTAL) {
            return Err(bad(format!("{} bytes in all are more than the files in question hold", self.read)));
        }
        let want = usize::try_from(want).map_err(|_| bad(format!("{want} bytes")))?;
        let mut data = Vec::new();
        data.try_reserve_exact(want).map_err(|_| bad(format!("no memory for {want} bytes")))?;
        data.resize(want, 0);
        file.seek(SeekFrom::Start(offset)).map_err(shown)?;
        file.read_exact(&mut data).map_err(shown)?;
        Ok(Bytes::from(data))
    }

    /// The regular file of this name, inside the folder after all links are followed.
    fn resolve(&self, location: &str) -> Result<PathBuf, String> {
        let base = self.base.as_ref().ok_or("the model has no folder, it came as bytes")?;
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base.as_path() };
        let relative = Path::new(location);
        let inside = relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
            && relative.components().any(|c| matches!(c, Component::Normal(_)))
            && !location.contains(['\\', '\0']);
        if !inside {
            return Err(format!("location {location:?} is not inside the model's folder"));
        }
        let base = base.canonicalize().map_err(|e| format!("the model's folder: {e}"))?;
        let path = base.join(relative).canonicalize().map_err(|e| format!("{location}: {e}"))?;
        if !path.starts_with(&base) {
            return Err(format!("location {location:?} leads out of the model's folder"));
        }
        // Before it is opened: opening a pipe would wait for a writer.
        if !path.metadata().map_err(|e| format!("{location}: {e}"))?.is_file() {
            return Err(format!("{location} is not a regular file"));
        }
        Ok(path)
    }
}
