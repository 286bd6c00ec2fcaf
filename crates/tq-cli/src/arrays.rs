//! Arrays and pictures given on the command line, for the inputs of a model.

use crate::args::DataArgs;
use crate::inputs::assign_numbered;
pub(crate) use crate::inputs::{assign, input_names};
use crate::npy::read_array;
use crate::output::say;
use crate::pictures::{self, Classes, Pictures};
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::Path;
use std::sync::Arc;
use torsh_quantization::analysis::{AnalysisError, Dataset, Source, zeros_of};
use torsh_quantization::model::{DType, Graph, Tensor};

/// Rows a batch when neither the model nor the user says: few, since memory grows with them and speed hardly does.
pub(crate) const DEFAULT_BATCH: usize = 8;

/// What the command line gives a model.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) data: Dataset,
    /// Of pictures in folders of their classes.
    pub(crate) classes: Option<Classes>,
    /// Whether rows are read batch by batch, because they may be more than memory holds.
    pub(crate) streamed: bool,
    pub(crate) places: Places,
}

/// For each input the files that its rows come from, with their numbers of rows.
#[derive(Debug, Clone)]
pub(crate) struct Places(Vec<Vec<(String, usize)>>);

impl Places {
    /// The file that a row of an input comes from, and its number there.
    pub(crate) fn place(&self, input: usize, row: usize) -> Option<(&str, usize)> {
        let mut row = row;
        for (file, rows) in self.0.get(input)? {
            match row < *rows {
                true => return Some((file, row)),
                false => row -= rows,
            }
        }
        None
    }
}

impl Given {
    /// Classes of the rows: those of `--labels`, or those of the folders that pictures are in.
    pub(crate) fn labels(&self, file: Option<&Path>) -> Result<Option<Vec<i64>>> {
        match (file, &self.classes) {
            (Some(file), _) => load_labels(file).map(Some),
            (None, classes) => Ok(classes.as_ref().map(|c| c.labels.clone())),
        }
    }

    /// Refuses data with NaN or infinities, of which no comparison of models tells anything; names the file.
    pub(crate) fn finite(self) -> Result<Self> {
        match self.data.require_finite() {
            Ok(()) => Ok(self),
            Err(AnalysisError::NotFinite { input, name, row, element, value }) => {
                let place = self.places.place(input, row).map(|(file, row)| (file.to_owned(), row));
                let row = place.as_ref().map_or(row, |(_, row)| *row);
                let error = AnalysisError::NotFinite { input, name, row, element, value };
                Err(match place {
                    Some((file, _)) => anyhow::Error::new(error).context(file),
                    None => error.into(),
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Reads the files of `--input` or `--calib`, and lists the pictures of `--data`.
pub(crate) fn load(graph: &Graph, specs: &[String], args: &DataArgs) -> Result<Given> {
    if args.sequences && args.batch.is_some() {
        bail!("--batch is not for --sequences: each run is given to the model whole");
    }
    load_steps(graph, specs, args)
}

/// As [`load`], where `--batch` says how many samples make a step of training.
pub(crate) fn load_steps(graph: &Graph, specs: &[String], args: &DataArgs) -> Result<Given> {
    load_all(graph, specs, args.sources(specs), args)
}

/// As [`load`], without pictures.
pub(crate) fn load_files(graph: &Graph, specs: &[String], args: &DataArgs) -> Result<Given> {
    load_all(graph, specs, specs.to_vec(), args)
}

fn load_all(graph: &Graph, specs: &[String], all: Vec<String>, args: &DataArgs) -> Result<Given> {
    let mut preprocess = args.preprocess();
    preprocess.validate()?;
    let (mut classes, mut streamed) = (None, false);
    let zeros: Vec<Tensor> =
        args.zeros.iter().map(|name| zeros_of(graph, name).context("--zeros")).collect::<Result<_>>()?;
    // Inputs that are zeros take no data.
    let names: Vec<&str> =
        input_names(graph).into_iter().filter(|n| !args.zeros.iter().any(|z| z == n)).collect();
    let is_for = |spec: &str, name: &str| spec.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
    for name in &args.zeros {
        if let Some(spec) =
            all.iter().find(|spec| is_for(spec, name) && !names.iter().any(|n| is_for(spec, n)))
        {
            bail!("{spec}: data for input {name}, which --zeros makes zeros");
        }
    }
    if let (Some(first), []) = (all.first(), &names[..])
        && !args.zeros.is_empty()
    {
        bail!("{first}: no input is left that it could be for: --zeros makes all of them zeros");
    }
    let mut assigned = assign_numbered(&names, &all)?.into_iter();
    let (mut segments, mut parts) = (Vec::new(), Vec::new());
    for id in &graph.inputs {
        let name = &graph.value(*id).name;
        if let Some(i) = args.zeros.iter().position(|z| z == name) {
            segments.push(vec![Source::Array(zeros[i].clone())]);
            parts.push(Vec::new());
            continue;
        }
        let (mut sources, mut files) = (Vec::new(), Vec::new());
        for (number, path) in assigned.next().unwrap_or_default() {
            sources.push(match number < specs.len() {
                true => {
                    if let (Some((before, _)), false) = (path.split_once('='), Path::new(path).exists()) {
                        bail!(
                            "{path}: there is no such file, and the model has no input `{before}`: it has [{}]",
                            input_names(graph).join(", ")
                        );
                    }
                    let array = read(path)?;
                    files.push((path.to_owned(), array.dims().first().copied().unwrap_or(0)));
                    Source::Array(array)
                }
                false => {
                    let folder = pictures::open(Path::new(path))?;
                    files.push((path.to_owned(), folder.pictures.len()));
                    if let Some(note) = folder.note() {
                        say(&format!("{path}: {note}"));
                    }
                    let rows = Pictures::new(
                        folder.pictures,
                        graph.value(*id),
                        args.preprocess.layout,
                        args.shaping(),
                    )
                    .with_context(|| path.to_owned())?;
                    preprocess.channel_axis = rows.layout().channel_axis();
                    (classes, streamed) = (folder.classes, true);
                    Source::Rows(Arc::new(rows))
                }
            });
        }
        segments.push(sources);
        parts.push(files);
    }
    let data = match args.sequences {
        true => Dataset::with_sequences(graph, arrays_of(segments), preprocess),
        false => Dataset::with_sources(graph, segments, preprocess),
    };
    Ok(Given { data: data.with_context(|| all.join(", "))?, classes, streamed, places: Places(parts) })
}

/// The arrays of sources that are nothing else: pictures are no sequences, and the command line says so.
fn arrays_of(segments: Vec<Vec<Source>>) -> Vec<Vec<Tensor>> {
    let array = |source| match source {
        Source::Array(tensor) => Some(tensor),
        Source::Rows(_) => None,
    };
    segments.into_iter().map(|sources| sources.into_iter().filter_map(array).collect()).collect()
}

/// Reads gold scores: numbers of any type, in any shape.
pub(crate) fn load_scores(path: &Path) -> Result<Vec<f64>> {
    let tensor = read_array(path).with_context(|| path.display().to_string())?;
    let integers = || Some(tensor.to_i64_vec()?.into_iter().map(|v| v as f64).collect());
    tensor
        .to_f64_vec()
        .or_else(integers)
        .with_context(|| format!("{}: scores are {}, expected numbers", path.display(), tensor.dtype()))
}

/// Reads labels of any shape, one a score.
pub(crate) fn load_flat_labels(path: &Path) -> Result<Vec<i64>> {
    let tensor = read_array(path).with_context(|| path.display().to_string())?;
    let n = tensor.len();
    tensor
        .reshape(&[n])
        .map_err(anyhow::Error::new)
        .and_then(|flat| labels_of(&flat))
        .with_context(|| path.display().to_string())
}

/// Reads one class a row.
pub(crate) fn load_labels(path: &Path) -> Result<Vec<i64>> {
    let tensor = read_array(path).with_context(|| path.display().to_string())?;
    labels_of(&tensor).with_context(|| path.display().to_string())
}

/// One class a row: an integer array of which only axis 0 is longer than 1.
pub(crate) fn labels_of(tensor: &Tensor) -> Result<Vec<i64>> {
    if tensor.dims().iter().skip(1).any(|d| *d != 1) {
        bail!("labels of shape {:?} are not one a row", tensor.dims());
    }
    let labels = if tensor.dtype() == DType::Bool { None } else { tensor.to_i64_vec() };
    labels.ok_or_else(|| match tensor.dtype().is_integer() {
        true => anyhow!("a label does not fit a 64-bit signed integer"),
        false => anyhow!("labels are {}, expected integers", tensor.dtype()),
    })
}

fn read(file: &str) -> Result<Tensor> {
    read_array(Path::new(file)).with_context(|| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(names: &[&str], specs: &[&str]) -> Result<Vec<Vec<String>>> {
        let specs: Vec<String> = specs.iter().map(|s| (*s).to_owned()).collect();
        Ok(assign(names, &specs)?.into_iter().map(|v| v.into_iter().map(str::to_owned).collect()).collect())
    }

    #[test]
    fn names_count_only_when_they_are_inputs() {
        assert_eq!(assigned(&["x"], &["x=a", "b", "y=c", "x=d"]).unwrap(), [["a", "b", "y=c", "d"]]);
        assert_eq!(assigned(&["x", "x=y"], &["x=y=f", "x=g"]).unwrap(), [["g"], ["f"]]);
        assert_eq!(assigned(&["a", "b"], &["b=1", "2", "b=3"]).unwrap(), [vec!["2"], vec!["1", "3"]]);
        let none: &[Vec<String>] = &[vec![], vec![]];
        assert_eq!(assigned(&["a", "b"], &[]).unwrap(), none);
    }

    #[test]
    fn unclear_arguments_are_named() {
        let text = assigned(&["a", "b"], &["f.npy"]).unwrap_err().to_string();
        assert_eq!(text, "f.npy: say which input it is for, NAME=...; the model has inputs [a, b]");
        assert!(assigned(&["a", "b"], &["a=1", "b=2", "3"]).is_err());
        assert!(assigned(&[], &["3"]).is_err());
    }

    #[test]
    fn labels_are_integers_one_a_row() {
        assert_eq!(labels_of(&Tensor::new(&[2, 1], vec![3u8, 4]).unwrap()).unwrap(), [3, 4]);
        assert!(labels_of(&Tensor::new(&[1, 2], vec![3u8, 4]).unwrap()).is_err());
        assert!(labels_of(&Tensor::vector(vec![1.0f32])).unwrap_err().to_string().contains("f32"));
        assert!(labels_of(&Tensor::vector(vec![u64::MAX])).is_err());
        assert!(labels_of(&Tensor::vector(vec![true])).is_err());
    }
}
