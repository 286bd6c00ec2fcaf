//! `tq qat`.

mod report;

use super::export::write_model;
use super::prepare::prepared_as;
use super::quantize::float_nodes;
use super::{file_bytes, is_same_file, load};
use crate::args::{OptimizerName, Qat, ScheduleName};
use crate::arrays::{self, Given};
use crate::files::{check_target, format_of};
use crate::output::{emit, one_line, say};
use crate::progress::Progress;
use anyhow::{Context as _, Result, bail};
use report::{Integers, Report, fixed_batch, outputs};
use std::path::{Path, PathBuf};
use torsh_quantization::analysis::{Dataset, concat_rows};
use torsh_quantization::export::Provenance;
use torsh_quantization::model::{Graph, Tensor};
use torsh_quantization::ptq::convert;
use torsh_quantization::qat::{
    BatchNorm, Criterion, Distillation, Event, LearnableFakeQuantize, OptimizerConfig, QatError, QatModel,
    QatOptions, Samples, Schedule, Tape, Targets, TrainOptions, Trainer,
};
use torsh_quantization::qconfig::Configuration;

/// Samples a step when nobody says.
const DEFAULT_BATCH: usize = 32;

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

pub(crate) fn qat(args: &Qat) -> Result<()> {
    format_of(&args.output)?;
    check_target(&args.output)?;
    if is_same_file(&args.model, &args.output) {
        bail!("{}: would replace the float model it is made from", args.output.display());
    }
    if let Some(file) = &args.checkpoint {
        check_target(file)?;
        if file == &args.output || is_same_file(file, &args.output) {
            bail!("{}: the checkpoint would replace the output", file.display());
        }
        if let Some(given) = given_files(args).into_iter().find(|given| is_same_file(file, given)) {
            bail!("{}: the checkpoint would replace {}, which is read", file.display(), given.display());
        }
        if !args.resume && file.exists() {
            bail!(
                "{}: a checkpoint is there already: --resume goes on from it; delete it to begin anew",
                file.display()
            );
        }
    }
    if args.data.sequences || !args.data.zeros.is_empty() {
        bail!("--sequences and --zeros are not for training: samples lie along axis 0 of every input");
    }
    let graph = load(&args.model)?;
    let (train, validation) = samples(&graph, args)?;
    let config = configuration(args)?;
    let options = options(args);
    let model = || args.model.display().to_string();
    let original = graph.clone();
    let prepared = prepared_as(graph, config.clone(), &args.plan, &args.model)?;
    let qat_model = QatModel::from_prepared_of(prepared, &original, &quantizers(args)).with_context(model)?;
    if args.bn_epochs.is_some() && qat_model.trained_batch_norms() == 0 {
        say("--bn-epochs: the model has no batch normalization behind a layer that it could be trained with");
    }
    let counts = (train.len(), validation.len());
    let held_out = validation.clone();
    let mut trainer =
        Trainer::new(qat_model, train, validation, options.clone()).map_err(|e| blame(e, args))?;
    if args.resume
        && let Some(file) = &args.checkpoint
    {
        trainer.resume(file)?;
        let (epoch, step) = trainer.position();
        say(&format!("{}: going on in epoch {epoch}, after step {step}", file.display()));
    }
    // What was best so far is kept, whatever ends training.
    let failed = run(&mut trainer, args).err();

    let history = trainer.history().to_vec();
    let best = trainer.best();
    let (others, fixed_constants) = (trainer.outputs()?, trainer.fixed_constants());
    let trained = trainer.finish()?;
    let fixed = fixed_batch(trained.prepared().graph());
    let imitated = outputs(&held_out, fixed, |inputs| {
        let outputs = trained.run(&Tape::without_gradients(), inputs)?;
        outputs.first().map(|v| v.value().clone()).context("the model has no output")
    });
    let imitated = imitated.with_context(model)?;
    let mut quantized = convert(trained).with_context(model)?;
    let integers = Integers::measure(&quantized.graph, &original, &held_out, &imitated)?;
    Provenance::default().config(&config).apply(&mut quantized.graph);
    let opset = write_model(&quantized.graph, &args.output, format_of(&args.output)?, args.opset)?;
    let (float_bytes, quantized_bytes) = (file_bytes(&args.model)?, file_bytes(&args.output)?);
    let report = Report {
        output: args.output.display().to_string(),
        opset,
        config: &config,
        training: &options,
        training_rows: counts.0,
        validation_rows: counts.1,
        validation_split: args.val.is_empty(),
        history: &history,
        best,
        integers,
        outputs: others,
        fixed: fixed_constants,
        stopped: failed.as_ref().map(one_line),
        integer_nodes: quantized.report.integer_nodes().count(),
        float_nodes: quantized.report.float_nodes().count(),
        float: float_nodes(&quantized.report),
        float_bytes,
        quantized_bytes,
        compression_ratio: float_bytes as f64 / quantized_bytes.max(1) as f64,
    };
    emit(args.json, &report, || report.text())?;
    match failed {
        None => Ok(()),
        Some(error) => Err(error.context(format!(
            "training stopped; {} was written to {}",
            match best.epoch {
                0 => "the model before training (calibrated only)".to_owned(),
                n => format!("the best epoch before that, {n},"),
            },
            args.output.display()
        ))),
    }
}

/// All steps that are left.
fn run(trainer: &mut Trainer, args: &Qat) -> Result<()> {
    let (steps, epochs) = (trainer.steps_per_epoch(), args.training.epochs as usize);
    let mut progress = Progress::new("training", steps * epochs);
    let save = |trainer: &Trainer| match &args.checkpoint {
        Some(file) => trainer.save_checkpoint(file),
        None => Ok(()),
    };
    loop {
        match trainer.advance().map_err(|e| blame(e, args))? {
            None => return Ok(()),
            Some(Event::Epoch(_)) => save(trainer)?,
            Some(Event::Step(report)) => {
                let done = (report.epoch - 1) * steps + report.step;
                progress.set(done);
                if args.every.is_some_and(|n| done % n as usize == 0) {
                    save(trainer)?;
                }
            }
        }
    }
}

/// Names what is to blame: the labels, or the model.
fn blame(error: QatError, args: &Qat) -> anyhow::Error {
    let is_label = |e: &QatError| matches!(e, QatError::LabelRange { .. });
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

/// What is trained on, and what is measured on.
fn samples(graph: &Graph, args: &Qat) -> Result<(Samples, Samples)> {
    let given = arrays::load(graph, &args.train, &args.data)?;
    let sources = args.data.sources(&args.train).join(", ");
    let train = of_given(&given, args.labels.as_deref(), args, &sources)?;
    if args.val.is_empty() {
        let (train, validation) = train.split(args.val_split, args.training.seed).context("--val-split")?;
        return Ok((train, validation));
    }
    let mut data = arrays::load_files(graph, &args.val, &args.data)?;
    data.classes = None;
    let validation = of_given(&data, args.val_labels.as_deref(), args, &args.val.join(", "))?;
    Ok((train, validation))
}

/// Errors begin with `sources`, the files of the samples, or with the one that is to blame.
fn of_given(given: &Given, labels: Option<&Path>, args: &Qat, sources: &str) -> Result<Samples> {
    let of_sources = || sources.to_owned();
    let targets = match (given.labels(labels).with_context(of_sources)?, args.training.distill) {
        (Some(labels), _) => Targets::Classes(labels),
        (None, Some(0.0)) => bail!("{sources}: labels are missing: with --distill=0 they alone would teach"),
        (None, Some(_)) => Targets::Teacher,
        (None, None) => bail!(
            "{sources}: labels are missing: --labels and --val-labels give them, or --distill lets the float model teach"
        ),
    };
    Samples::new(in_memory(&given.data).with_context(of_sources)?, targets).map_err(|error| {
        let place = match &error {
            QatError::SampleNotFinite { input: Some(input), sample, .. } => given.place(*input, *sample),
            _ => None,
        };
        match (place, error) {
            (Some((file, row)), QatError::SampleNotFinite { input, element, value, .. }) => {
                let error = QatError::SampleNotFinite { input, sample: row, element, value };
                anyhow::Error::new(error).context(file.to_owned())
            }
            (_, error) => anyhow::Error::new(error).context(of_sources()),
        }
    })
}

/// All rows, one tensor an input.
fn in_memory(data: &Dataset) -> Result<Vec<Tensor>> {
    let mut parts: Vec<Vec<Tensor>> = Vec::new();
    for batch in data.batches(None) {
        let batch = batch?;
        for (i, input) in batch.inputs.iter().enumerate() {
            let input = batch.trim(input.clone())?;
            match parts.get_mut(i) {
                Some(part) => part.push(input),
                None => parts.push(vec![input]),
            }
        }
    }
    parts.iter().map(|part| Ok(concat_rows(part)?)).collect()
}

/// What is quantized, and how.
fn configuration(args: &Qat) -> Result<Configuration> {
    args.plan.configuration_of_bits(args.bits.unwrap_or(8), args.act_bits.unwrap_or(8))
}

fn quantizers(args: &Qat) -> QatOptions {
    let batch_norm = if args.bn_epochs.is_some() { BatchNorm::Trained } else { BatchNorm::Folded };
    match args.lsq {
        false => QatOptions { batch_norm, ..QatOptions::default() },
        true => QatOptions {
            activation: LearnableFakeQuantize::default().into(),
            weight: LearnableFakeQuantize::default().into(),
            batch_norm,
        },
    }
}

fn options(args: &Qat) -> TrainOptions {
    let t = &args.training;
    let weight_decay = t.weight_decay;
    TrainOptions {
        epochs: t.epochs as usize,
        batch: args.data.batch().unwrap_or(DEFAULT_BATCH),
        optimizer: match t.optimizer {
            OptimizerName::Adam => OptimizerConfig::Adam { weight_decay },
            OptimizerName::Adamw => OptimizerConfig::AdamW { weight_decay },
            OptimizerName::Sgd => OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay },
        },
        lr: t.lr,
        schedule: match t.schedule {
            ScheduleName::Cosine => None,
            ScheduleName::Constant => Some(Schedule::Constant),
        },
        criterion: Criterion::CrossEntropy { label_smoothing: t.label_smoothing },
        distillation: t.distill.map(|weight| Distillation { temperature: t.temperature, weight }),
        max_grad_norm: t.max_grad_norm,
        observe_epochs: Some(t.observe_epochs as usize),
        bn_epochs: args.bn_epochs.map(|n| n as usize),
        seed: t.seed,
        ..TrainOptions::default()
    }
}
