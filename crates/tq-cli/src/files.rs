//! Writing files so that nobody ever sees half of one.

use anyhow::{Context as _, Result, anyhow, bail};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Formats that `-o` can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Onnx,
    /// The native file.
    Native,
}

impl Format {
    /// The format that the extension of a file to read names; ONNX where it names none.
    pub(crate) fn of_input(path: &Path) -> Self {
        if has_extension(path, "tq") { Format::Native } else { Format::Onnx }
    }
}

pub(crate) fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| e.eq_ignore_ascii_case(extension))
}

/// The error with the name of the file before it, unless it begins with that.
pub(crate) fn naming(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let shown = path.display().to_string();
    let named = error.to_string().starts_with(&shown);
    let error = anyhow::Error::from(error);
    if named { error } else { error.context(shown) }
}

/// The format that the extension of a file to write names, checked before any work is done.
pub(crate) fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|e| e.to_str()) {
        Some(e) if e.eq_ignore_ascii_case("onnx") => Ok(Format::Onnx),
        Some(e) if e.eq_ignore_ascii_case("tq") => Ok(Format::Native),
        Some(e) => bail!("{}: format .{e} is not supported, .onnx and .tq are", path.display()),
        None => bail!("{}: the name has no extension to tell the format: .onnx or .tq", path.display()),
    }
}

/// Checks that a file can be put at `path`, as far as that can be told before the work.
pub(crate) fn check_target(path: &Path) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let metadata =
        fs::metadata(folder).with_context(|| format!("{}: folder {}", path.display(), folder.display()))?;
    if !metadata.is_dir() {
        bail!("{}: {} is not a folder", path.display(), folder.display());
    }
    if path.is_dir() {
        bail!("{}: it is a folder", path.display());
    }
    if path.metadata().is_ok_and(|m| !m.is_file()) {
        bail!("{}: it is not a regular file", path.display());
    }
    // Whether the folder takes a file only the system knows.
    let probe = Temporary(vec![folder.join(format!(".tq-{}-probe.tmp", std::process::id()))]);
    for file in &probe.0 {
        create(file).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(())
}

/// Writes all files or none: each goes to a temporary name first, and only when all are written are they renamed.
pub(crate) fn write_all(folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let mut written = Temporary(Vec::new());
    for (i, (name, bytes)) in files.iter().enumerate() {
        let path = folder.join(format!(".tq-{}-{i}.tmp", std::process::id()));
        let mut file = create(&path).with_context(|| folder.join(name).display().to_string())?;
        written.0.push(path);
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .with_context(|| folder.join(name).display().to_string())?;
    }
    for (path, (name, _)) in written.0.iter().zip(files) {
        let target = folder.join(name);
        fs::rename(path, &target).with_context(|| target.display().to_string())?;
    }
    Ok(())
}

fn create(path: &Path) -> std::io::Result<File> {
    // A leftover of a process that had the same number is nobody's.
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Files that go away unless they have been renamed.
struct Temporary(Vec<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// File names for these outputs: characters that a file name cannot carry on every system become `_`, and a name
/// that is taken gets a number.
pub(crate) fn file_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>> {
    /// Leaves room for the extension and a number below the 255 bytes of common file systems.
    const LONGEST: usize = 200;
    let mut taken = BTreeSet::new();
    let mut out = Vec::new();
    for name in names {
        let mut stem: String =
            name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
        let end = (0..=LONGEST.min(stem.len())).rev().find(|i| stem.is_char_boundary(*i)).unwrap_or(0);
        stem.truncate(end);
        if stem.is_empty() {
            stem.push('_');
        }
        let file = (1u32..)
            .map(|i| if i == 1 { format!("{stem}.npy") } else { format!("{stem}_{i}.npy") })
            .find(|f| !taken.contains(f))
            .ok_or_else(|| anyhow!("no free file name for output {name}"))?;
        taken.insert(file.clone());
        out.push(file);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_what_files_can() {
        let names = ["a/b", "a\\b", "a_b", "y:0", "", "..", "\u{7}", "ö"];
        let files = file_names(names).unwrap();
        assert_eq!(
            files,
            ["a_b.npy", "a_b_2.npy", "a_b_3.npy", "y_0.npy", "_.npy", "...npy", "__2.npy", "ö.npy"]
        );
        let long = "ä".repeat(300);
        let files = file_names([long.as_str(), long.as_str()]).unwrap();
        assert!(files.iter().all(|f| f.len() < 255) && files[0] != files[1]);
    }

    #[test]
    fn extensions_pick_the_format() {
        assert_eq!(format_of(Path::new("a/b.ONNX")).unwrap(), Format::Onnx);
        assert_eq!(format_of(Path::new("b.tq")).unwrap(), Format::Native);
        assert!(format_of(Path::new("b.pt")).unwrap_err().to_string().contains(".pt"));
        assert_eq!(Format::of_input(Path::new("b.Tq")), Format::Native);
        assert_eq!(Format::of_input(Path::new("b")), Format::Onnx);
        assert!(format_of(Path::new("onnx")).is_err());
    }

    #[test]
    fn all_files_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new");
        let file = |n: &str| (n.to_owned(), vec![1, 2, 3]);
        write_all(&target, &[file("a"), file("b")]).unwrap();
        assert_eq!(fs::read(target.join("b")).unwrap(), [1, 2, 3]);
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        assert!(write_all(&target.join("a"), &[file("c")]).is_err());
        let blocked = folder.path().join("blocked");
        fs::create_dir_all(blocked.join("a")).unwrap();
        assert!(write_all(&blocked, &[file("a")]).is_err());
        assert_eq!(fs::read_dir(&blocked).unwrap().count(), 1);
    }

    #[test]
    fn targets_are_checked_before_the_work() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_target(&folder.path().join("m.onnx")).is_ok());
        assert!(check_target(folder.path()).is_err());
        assert!(check_target(&folder.path().join("no/m.onnx")).is_err());
        assert!(check_target(Path::new("m.onnx")).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        #[cfg(target_os = "linux")]
        for (path, words) in [("/proc/m.onnx", "cannot be written"), ("/dev/null", "not a regular file")] {
            let error = check_target(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(path), "{error}");
        }
    }
}
