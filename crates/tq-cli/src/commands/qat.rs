//! `tq qat`.

mod given;
mod report;
mod settings;

use super::export::write_model;
use super::prepare::prepared_as;
use super::quantize::float_nodes;
use super::{file_bytes, load};
use crate::args::Qat;
use crate::files::format_of;
use crate::output::{emit, one_line, say};
use crate::progress::Progress;
use anyhow::{Context as _, Result, anyhow, bail};
use given::{Data, DataPlaces, blame, check_files, samples};
use report::{Measured, Report};
use settings::{configuration, options, quantizers};
use torsh_quantization::export::Provenance;
use torsh_quantization::model::infer::infer;
use torsh_quantization::ptq::{NodeReport, Placement};
use torsh_quantization::qat::{Event, QatModel, Trainer, check_batch_axis};

pub(crate) fn qat(args: &Qat) -> Result<()> {
    check_files(args)?;
    let options = options(args)?;
    options.validate()?;
    let config = configuration(args)?;
    let graph = load(&args.model)?;
    // Before samples are counted along an axis that has none.
    let mut shaped = graph.clone();
    if !args.data.sequences && args.data.zeros.is_empty() && infer(&mut shaped).is_ok() {
        check_batch_axis(&shaped).map_err(|e| {
            let model = args.model.display();
            anyhow!(
                "{model}: {e}: with --sequences, arrays [samples, ...] of what the model is given for one"
            )
        })?;
    }
    let Data { train, validation, places } = samples(&graph, args)?;
    let model = || args.model.display().to_string();
    let original = graph.clone();
    let prepared = prepared_as(graph, config.clone(), &args.plan, &args.model)?;
    let is_float = |n: &NodeReport| matches!(n.placement, Placement::Float { .. } | Placement::Data);
    if prepared.placements().iter().all(is_float) {
        bail!("{}: nothing in it would be quantized: there is nothing to train for", args.model.display());
    }
    let qat_model = QatModel::from_prepared_of(prepared, &original, &quantizers(args)).with_context(model)?;
    if args.training.observe_epochs > args.training.epochs {
        say(
            "--observe-epochs: there are no more epochs than --epochs says: ranges follow the data to the end",
        );
    }
    if args.bn_epochs.is_some() && qat_model.trained_batch_norms() == 0 {
        say("--bn-epochs: the model has no batch normalization behind a layer that it could be trained with");
    }
    let counts = (train.len(), validation.len());
    let held_out = validation.clone();
    let mut trainer =
        Trainer::new(qat_model, train, validation, options.clone()).map_err(|e| blame(e, args, &places))?;
    if args.resume
        && let Some(file) = &args.checkpoint
    {
        trainer.resume(file)?;
        let (epoch, step) = trainer.position();
        say(&format!("{}: going on in epoch {epoch}, after step {step}", file.display()));
    }
    // What was best so far is kept, whatever ends training.
    let failed = run(&mut trainer, args, &places).err();

    // It is written before anything is measured, so that nothing that goes wrong then loses it.
    let history = trainer.history().to_vec();
    let (best, float, fixed) = (trainer.best(), trainer.float(), trainer.fixed_constants());
    let mut quantized = trainer.converted().with_context(model)?;
    Provenance::default().config(&config).apply(&mut quantized.graph);
    // It was there when training began, which may be hours ago.
    if let Some(folder) = args.output.parent().filter(|f| !f.as_os_str().is_empty() && !f.exists()) {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        say(&format!("{}: the folder was gone, and is made again", folder.display()));
    }
    let opset = write_model(&quantized.graph, &args.output, format_of(&args.output)?, args.opset)?;
    let written = || format!("{} was written, but measuring it failed", args.output.display());
    let outputs = trainer.outputs().with_context(written)?;
    let trained = trainer.finish().with_context(written)?;
    let measured = Measured::of(&trained, &quantized.graph, &original, &held_out).with_context(written)?;
    let (float_bytes, quantized_bytes) = (file_bytes(&args.model)?, file_bytes(&args.output)?);
    let report = Report {
        output: args.output.display().to_string(),
        opset,
        config: &config,
        training: &options,
        training_rows: counts.0,
        validation_rows: counts.1,
        validation_split: args.val.is_empty(),
        float_model: float,
        history: &history,
        best,
        measured,
        outputs,
        fixed,
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
fn run(trainer: &mut Trainer, args: &Qat, places: &DataPlaces) -> Result<()> {
    let (steps, epochs) = (trainer.steps_per_epoch(), args.training.epochs as usize);
    let mut progress = Progress::new("training", steps * epochs);
    let save = |trainer: &Trainer| match &args.checkpoint {
        Some(file) => trainer.save_checkpoint(file),
        None => Ok(()),
    };
    loop {
        match trainer.advance().map_err(|e| blame(e, args, places))? {
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
