//! What a folder of pictures holds.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

/// Extensions of the files that are read; the content tells which of the formats it is.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Folders within folders that are followed.
const MAX_DEPTH: usize = 64;

/// Names that a message lists before it says how many more there are.
const NAMED: usize = 5;

/// Pictures in their order, and what is not one.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    pub(crate) pictures: Vec<PathBuf>,
    /// When the pictures lie in folders of their classes.
    pub(crate) classes: Option<Classes>,
    /// Hidden entries and files that are no pictures, by their extension.
    skipped: Vec<PathBuf>,
}

/// Classes, numbered from 0 in the order of their folders' names.
#[derive(Debug, Default)]
pub(crate) struct Classes {
    pub(crate) names: Vec<String>,
    /// One a picture.
    pub(crate) labels: Vec<i64>,
}

impl Folder {
    /// One line about what was left out, if anything was.
    pub(crate) fn note(&self) -> Option<String> {
        let names: Vec<String> = self.skipped.iter().take(NAMED).map(|p| p.display().to_string()).collect();
        let more = match self.skipped.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        (!names.is_empty()).then(|| format!("left out, no PNG or JPEG: {}{more}", names.join(", ")))
    }
}

/// Lists a folder: either pictures, or one folder a class with pictures in it and in its folders.
///
/// Everything is in the order of names, byte by byte: the files of a folder, then its folders. Links are followed.
/// Hidden entries and files with other extensions are left out, and kept for [`Folder::note`].
pub(crate) fn open(path: &Path) -> Result<Folder> {
    let mut out = Folder::default();
    let top = entries(path, &mut out.skipped)?;
    if let (Some(picture), Some(class)) = (top.files.first(), top.folders.first()) {
        bail!(
            "{}: it holds pictures ({}) beside folders ({}): either all pictures are in folders of their classes, \
             or none is",
            path.display(),
            picture.display(),
            class.display()
        );
    }
    if !top.folders.is_empty() {
        let mut classes = Classes::default();
        let mut above = vec![canonical(path)?];
        for (label, folder) in (0i64..).zip(&top.folders) {
            let before = out.pictures.len();
            walk(folder, &mut above, &mut out)?;
            if out.pictures.len() == before {
                bail!("{}: the class has no pictures", folder.display());
            }
            classes.names.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
            classes.labels.resize(out.pictures.len(), label);
        }
        out.classes = Some(classes);
    }
    out.pictures.extend(top.files);
    if out.pictures.is_empty() {
        let rest = out.note().map_or(String::new(), |n| format!(" ({n})"));
        bail!("{}: it holds no PNG or JPEG pictures{rest}", path.display());
    }
    Ok(out)
}

/// Takes the pictures of a class folder and of those in it. `above` are the folders around it, without links.
fn walk(folder: &Path, above: &mut Vec<PathBuf>, out: &mut Folder) -> Result<()> {
    let real = canonical(folder)?;
    if above.contains(&real) {
        bail!("{}: the link leads back to {}", folder.display(), real.display());
    }
    if above.len() > MAX_DEPTH {
        bail!("{}: folders more than {MAX_DEPTH} deep are not read", folder.display());
    }
    let inside = entries(folder, &mut out.skipped)?;
    out.pictures.extend(inside.files);
    above.push(real);
    for folder in &inside.folders {
        walk(folder, above, out)?;
    }
    above.pop();
    Ok(())
}

fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}

/// Files that may be pictures and folders, each sorted by name.
struct Entries {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

fn entries(folder: &Path, skipped: &mut Vec<PathBuf>) -> Result<Entries> {
    let failed = || folder.display().to_string();
    let mut paths = fs::read_dir(folder)
        .with_context(failed)?
        .map(|e| Ok(e?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()
        .with_context(failed)?;
    paths.sort();
    let mut out = Entries { files: Vec::new(), folders: Vec::new() };
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            skipped.push(path);
            continue;
        }
        let metadata = fs::metadata(&path).with_context(|| path.display().to_string())?;
        if metadata.is_dir() {
            out.folders.push(path);
        } else if !is_picture(&path) {
            skipped.push(path);
        } else if metadata.is_file() {
            out.files.push(path);
        } else {
            bail!("{}: it is no regular file", path.display());
        }
    }
    Ok(out)
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)))
}
