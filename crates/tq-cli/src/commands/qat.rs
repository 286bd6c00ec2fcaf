//! `tq qat`.

mod report;

use super::export::write_model;
use super::prepare::prepared_as;
use super::quantize::float_nodes;
use super::{file_bytes, is_same_file, load};
use crate::args::{OptimizerName, Qat, ScheduleName};
use crate::arrays::{self, Given};
use crate::files::{check_target, format_of};
use crate::output::{emit, say};
use crate::progress::Progress;
use anyhow::{Context as _, Result, bail};
use report::{Integers, Report, fixed_batch, outputs};
use std::path::{Path, PathBuf};
use torsh_quantization::analysis::{Dataset, concat_rows};
use torsh_quantization::export::Provenance;
use torsh_quantization::model::{Graph, Tensor};
use torsh_quantization::ptq::convert;
use torsh_quantization::qat::{
    Criterion, Distillation, Event, LearnableFakeQuantize, OptimizerConfig, QatError, QatModel, QatOptions,
    Samples, Schedule, Tape, Targets, TrainOptions, Trainer,
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
    }
    if args.data.sequences || !args.data.zeros.is_empty() {
        bail!("--sequences and --zeros are not for training: samples lie along axis 0 of every input");
    }
    let graph = load(&args.model)?;
    let (train, validation) = samples(&graph, args)?;
    let config = configuration(args)?;
    let options = options(args);
    let model = || args.model.display().to_string();
    let prepared = prepared_as(graph, config.clone(), &args.plan, &args.model)?;
    let qat_model = QatModel::from_prepared(prepared, &quantizers(args)).with_context(model)?;
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
    run(&mut trainer, args)?;

    let history = trainer.history().to_vec();
    let best = trainer.best();
    let trained = trainer.finish()?;
    let fixed = fixed_batch(trained.prepared().graph());
    let imitated = outputs(&held_out, fixed, |inputs| {
        let outputs = trained.run(&Tape::without_gradients(), inputs)?;
        outputs.first().map(|v| v.value().clone()).context("the model has no output")
    });
    let imitated = imitated.with_context(model)?;
    let mut quantized = convert(trained).with_context(model)?;
    let integers = Integers::measure(&quantized.graph, &held_out, &imitated)?;
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
        integer_nodes: quantized.report.integer_nodes().count(),
        float_nodes: quantized.report.float_nodes().count(),
        float: float_nodes(&quantized.report),
        float_bytes,
        quantized_bytes,
        compression_ratio: float_bytes as f64 / quantized_bytes.max(1) as f64,
    };
    emit(args.json, &report, || report.text())
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
    let labels = [&args.labels, &args.val_labels].into_iter().flatten().map(|p| p.display().to_string());
    let labels: Vec<String> = labels.collect();
    match (&error, labels.is_empty()) {
        (QatError::LabelRange { .. }, false) => anyhow::Error::new(error).context(labels.join(", ")),
        _ => anyhow::Error::new(error).context(args.model.display().to_string()),
    }
}

/// What is trained on, and what is measured on.
fn samples(graph: &Graph, args: &Qat) -> Result<(Samples, Samples)> {
    let given = arrays::load(graph, &args.train, &args.data)?;
    let train = of_given(&given, args.labels.as_deref(), args)
        .with_context(|| args.data.sources(&args.train).join(", "))?;
    if args.val.is_empty() {
        let (train, validation) = train.split(args.val_split, args.training.seed).context("--val-split")?;
        return Ok((train, validation));
    }
    let mut data = arrays::load_files(graph, &args.val, &args.data)?;
    data.classes = None;
    let validation =
        of_given(&data, args.val_labels.as_deref(), args).with_context(|| args.val.join(", "))?;
    Ok((train, validation))
}

fn of_given(given: &Given, labels: Option<&Path>, args: &Qat) -> Result<Samples> {
    let targets = match given.labels(labels)? {
        Some(labels) => Targets::Classes(labels),
        None if args.training.distill.is_some() => Targets::Teacher,
        None => bail!(
            "labels are missing: --labels and --val-labels give them, or --distill lets the float model teach"
        ),
    };
    Ok(Samples::new(in_memory(&given.data)?, targets)?)
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
    match args.lsq {
        false => QatOptions::default(),
        true => QatOptions {
            activation: LearnableFakeQuantize::default().into(),
            weight: LearnableFakeQuantize::default().into(),
            ..QatOptions::default()
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
        seed: t.seed,
        ..TrainOptions::default()
    }
}
