//! The files that `tq qat` reads and writes, and the samples in them.

use crate::args::{DataArgs, LossName, Qat};
use crate::arrays::{self, Given, Places};
use crate::files::{check_target, format_of};
use crate::npy::read_array;
use anyhow::{Context as _, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use torsh_quantization::analysis::{Dataset, concat_rows, take_rows};
use torsh_quantization::model::{DType, Graph, Tensor};
use torsh_quantization::qat::{QatError, SampleInput, Samples, Targets};

use super::super::is_same_file;

/// The files that the command line gives to read.
fn given_files(args: &Qat) -> Vec<&Path> {
    // What stands behind a name and `=` is a file, and so may be a text with `=` in it.
    let arrays = args.train.iter().chain(&args.val).flat_map(|spec| {
        let behind = spec.match_indices('=').map(|(at, _)| &spec[at + 1..]);
        std::iter::once(spec.as_str()).chain(behind).map(Path::new)
    });
    let others =
        [Some(&args.model), args.labels.as_ref(), args.val_labels.as_ref(), args.plan.config.as_ref()];
    arrays.chain(others.into_iter().flatten().map(PathBuf::as_path)).collect()
}

/// Checks, before any work, that what is written can be, and replaces nothing that is read.
pub(super) fn check_files(args: &Qat) -> Result<()> {
    format_of(&args.output)?;
    check_target(&args.output)?;
    if is_same_file(&args.model, &args.output) {
        bail!("{}: would replace the float model it is made from", args.output.display());
    }
    let replaced = |file: &Path| given_files(args).into_iter().find(|given| is_same_file(file, given));
    if let Some(given) = replaced(&args.output) {
        bail!("{}: the output would replace {}, which is read", args.output.display(), given.display());
    }
    let Some(file) = &args.checkpoint else { return Ok(()) };
    check_target(file)?;
    if is_same_file(file, &args.output) {
        bail!("{}: the checkpoint would replace the output", file.display());
    }
    if let Some(given) = replaced(file) {
        bail!("{}: the checkpoint would replace {}, which is read", file.display(), given.display());
    }
    if !args.resume && file.exists() {
        bail!(
            "{}: a checkpoint is there already: --resume goes on from it; delete it to begin anew",
            file.display()
        );
    }
    Ok(())
}

/// What is trained on, and what is measured on, with the files that they come from.
pub(super) struct Data {
    pub(super) train: Samples,
    pub(super) validation: Samples,
    pub(super) places: DataPlaces,
}

/// The files that samples come from.
pub(super) struct DataPlaces {
    train: Places,
    /// Those of `--val`; otherwise validation samples are of the files for training.
    validation: Option<Places>,
}

/// Names what is to blame: the samples, the labels, or the model.
pub(super) fn blame(error: QatError, args: &Qat, places: &DataPlaces) -> anyhow::Error {
    let error = match error {
        QatError::Validation { source, .. } if matches!(*source, QatError::Lookup { .. }) => {
            return looked_up(*source, places.validation.as_ref().unwrap_or(&places.train));
        }
        error @ QatError::Lookup { .. } => return looked_up(error, &places.train),
        QatError::Validation { source, .. } if matches!(*source, QatError::SigmoidOfClasses) => *source,
        error => error,
    };
    if matches!(error, QatError::SigmoidOfClasses) {
        return anyhow!("{}: {error}: --loss bce", args.model.display());
    }
    let is_label = |e: &QatError| {
        matches!(
            e,
            QatError::LabelRange { .. } | QatError::TargetShape { .. } | QatError::TargetProbability { .. }
        )
    };
    let (error, labels) = match error {
        // Samples that were split off are of the file of all.
        QatError::Validation { source, .. } if is_label(&source) => {
            (*source, if args.val.is_empty() { &args.labels } else { &args.val_labels })
        }
        error => (error, &args.labels),
    };
    let folder = || args.data.pictures.clone().unwrap_or_default();
    let context = match is_label(&error) {
        true => labels.as_ref().map_or_else(folder, |file| file.display().to_string()),
        false => args.model.display().to_string(),
    };
    anyhow::Error::new(error).context(context)
}

/// Names the file of a sample that looks up what is not there, and its number in that file.
fn looked_up(error: QatError, places: &Places) -> anyhow::Error {
    match error {
        QatError::Lookup { input, name, sample, element, index, node, len } => {
            let place = places.place(input, sample);
            let row = place.map_or(sample, |(_, row)| row);
            let error = QatError::Lookup { input, name, sample: row, element, index, node, len };
            match place {
                Some((file, _)) => anyhow::Error::new(error).context(file.to_owned()),
                None => error.into(),
            }
        }
        error => error.into(),
    }
}

/// What is trained on, and what is measured on.
pub(super) fn samples(graph: &Graph, args: &Qat) -> Result<Data> {
    let given = arrays::load_steps(graph, &args.train, &args.data)?;
    let sources = args.data.sources(&args.train).join(", ");
    let train = of_given(graph, &given, args.labels.as_deref(), args, &sources)?;
    if args.val.is_empty() {
        let (train, validation) = train.split(args.val_split, args.training.seed).context("--val-split")?;
        let places = DataPlaces { train: given.places, validation: None };
        return Ok(Data { train, validation, places });
    }
    let mut data = arrays::load_files(graph, &args.val, &args.data)?;
    data.classes = None;
    let validation = of_given(graph, &data, args.val_labels.as_deref(), args, &args.val.join(", "))?;
    let places = DataPlaces { train: given.places, validation: Some(data.places) };
    Ok(Data { train, validation, places })
}

/// What is expected of samples: classes, values, or what the float model says.
fn targets(given: &Given, labels: Option<&Path>, args: &Qat, sources: &str) -> Result<Targets> {
    let teaches = args.training.distill.is_some() || args.training.loss == LossName::Kl;
    if args.training.loss.of_values() {
        return match labels {
            Some(file) if args.data.sequences => runs(&values(file)?).map(Targets::Whole),
            Some(file) => values(file).map(Targets::Values),
            None if teaches => Ok(Targets::Teacher),
            None => bail!(
                "{sources}: values are missing: --labels and --val-labels give them, or --distill lets the float model teach"
            ),
        };
    }
    match (given.labels(labels)?, args.training.distill) {
        (Some(labels), _) => Ok(Targets::Classes(labels)),
        (None, Some(0.0)) => bail!("{sources}: labels are missing: with --distill=0 they alone would teach"),
        (None, _) if teaches => Ok(Targets::Teacher),
        (None, _) => bail!(
            "{sources}: labels are missing: --labels and --val-labels give them, or --distill lets the float model teach"
        ),
    }
}

/// Values of floats, as f32.
fn values(file: &Path) -> Result<Tensor> {
    let name = || file.display().to_string();
    let tensor = read_array(file).with_context(name)?;
    if !tensor.dtype().is_float() {
        let dtype = tensor.dtype();
        return Err(anyhow!("values are {dtype}, expected floats: classes are for --loss cross-entropy"))
            .with_context(name);
    }
    match (tensor.dtype(), tensor.to_f32_vec()) {
        (DType::F32, _) => Ok(tensor),
        (_, Some(values)) => Tensor::new(tensor.dims(), values).with_context(name),
        (dtype, None) => Err(anyhow!("values are {dtype}, expected f32")).with_context(name),
    }
}

/// The values of each sequence.
fn runs(values: &Tensor) -> Result<Vec<Tensor>> {
    let n = values.dims().first().copied().unwrap_or(0);
    (0..n).map(|k| Ok(take_rows(values, k, k + 1, 1)?.reshape(&values.dims()[1..])?)).collect()
}

/// Errors begin with `sources`, the files of the samples, or with the one that is to blame.
fn of_given(
    graph: &Graph,
    given: &Given,
    labels: Option<&Path>,
    args: &Qat,
    sources: &str,
) -> Result<Samples> {
    let targets = targets(given, labels, args, sources)?;
    let of_sources = || sources.to_owned();
    let inputs = in_memory(&given.data, graph, &args.data).with_context(of_sources)?;
    Samples::of_inputs(inputs, targets).map_err(|error| {
        let labels = || labels.map_or_else(of_sources, |file| file.display().to_string());
        let place = match &error {
            QatError::SampleNotFinite { input: Some(input), sample, .. } => {
                given.places.place(*input, *sample)
            }
            _ => None,
        };
        match (place, error) {
            (Some((file, row)), QatError::SampleNotFinite { input, element, value, .. }) => {
                let error = QatError::SampleNotFinite { input, sample: row, element, value };
                anyhow::Error::new(error).context(file.to_owned())
            }
            (_, error @ QatError::SampleNotFinite { input: None, .. }) => {
                anyhow::Error::new(error).context(labels())
            }
            (_, error @ QatError::LabelCount { .. }) => {
                anyhow!("{}: {error} of {sources}", labels())
            }
            (_, error) => anyhow::Error::new(error).context(of_sources()),
        }
    })
}

/// All of it: rows, one tensor an input; or run by run, where it is sequences. Zeros go with each sample.
fn in_memory(data: &Dataset, graph: &Graph, args: &DataArgs) -> Result<Vec<SampleInput>> {
    let is_zeros = |i: usize| {
        graph.inputs.get(i).is_some_and(|v| args.zeros.iter().any(|name| *name == graph.value(*v).name))
    };
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); graph.inputs.len()];
    for batch in data.batches(None) {
        let batch = batch?;
        for (i, (part, input)) in parts.iter_mut().zip(&batch.inputs).enumerate() {
            part.push(match args.sequences || is_zeros(i) {
                true => input.clone(),
                false => batch.trim(input.clone())?,
            });
        }
    }
    let input = |(i, mut part): (usize, Vec<Tensor>)| match (is_zeros(i), args.sequences) {
        (true, _) => Ok(SampleInput::Same(part.swap_remove(0))),
        (false, true) => Ok(SampleInput::Whole(part)),
        (false, false) => Ok(SampleInput::Rows(concat_rows(&part)?)),
    };
    parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()).map(input).collect()
}
