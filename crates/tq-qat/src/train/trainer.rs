//! The loop.

use super::batches::Batches;
use super::lookups::check_lookups;
use super::measure::{Measured, Task, Teacher, fits};
use super::options::{Criterion, TrainOptions};
use super::order::permutation;
use super::outputs::Reference;
use super::report::{EpochReport, Event, Score, StepReport};
use super::samples::{Samples, Targets};
use crate::fake::learned_scales;
use crate::model::{FixedConstant, ModelState};
use crate::optim::{Optimizer, Schedule, clip_grad_norm};
use crate::{Activation, QatError, QatModel, Tape};
use tq_eval::{Evaluator, Precision, eval_op};
use tq_graph::op::UnaryOp;
use tq_graph::{Op, Tensor};
use tq_passes::{Quantized, convert};
use tq_qtypes::DType;

/// Trains a model on samples, and keeps what was best on validation samples.
///
/// The model as calibration leaves it counts as epoch 0, so what comes out is at least as good as that, on the validation
/// samples. It is given up only for an epoch with more right answers, or with as many and a loss that is smaller by more than
/// twice the standard error of the difference. Among such epochs the best is kept.
pub struct Trainer {
    pub(super) model: QatModel,
    pub(super) options: TrainOptions,
    pub(super) train: Task,
    pub(super) validation: Task,
    pub(super) optimizer: Box<dyn Optimizer>,
    pub(super) progress: Progress,
    /// What tells this training from others.
    pub(super) identity: super::checkpoint::Identity,
    pub(super) batches: Batches,
    /// The model before training.
    start: Measured,
    /// The same without any rounding.
    float: Score,
    /// A loss beyond this is no training any more.
    largest_loss: f64,
    /// The float model, where more than one output is to be held to it.
    pub(super) reference: Option<Reference>,
    schedule: Schedule,
    /// The order of the samples of an epoch.
    order: (usize, Vec<usize>),
}

/// How many times that of the model before training, or of one that knows nothing, a loss is that has exploded.
const EXPLODED: f64 = 1e4;

/// How far training has come.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    /// The epoch, counted from 1.
    pub(super) epoch: usize,
    /// Steps of it that were made.
    pub(super) step: usize,
    /// Sum of the losses of the samples of this epoch so far.
    pub(super) loss: f64,
    pub(super) history: Vec<EpochReport>,
    pub(super) best: EpochReport,
    pub(super) best_state: ModelState,
}

impl Trainer {
    /// Gets ready: a model whose activations were not calibrated is calibrated on the training samples, and it is measured
    /// on the validation samples.
    ///
    /// A model whose rounding is switched off ([`QatModel::set_quantizing`]) is trained in float.
    ///
    /// # Errors
    /// [`QatError::Training`] and [`QatError::Hyperparameter`] for options that cannot be, or do not go with the samples;
    /// [`QatError::Scores`] and [`QatError::TargetShape`] when the first output is none that the criterion takes;
    /// [`QatError::TargetProbability`] for what binary cross-entropy cannot come near; [`QatError::SigmoidOfClasses`];
    /// [`QatError::NothingToTrain`]; [`QatError::LabelRange`] naming the first sample whose label is no class, and
    /// [`QatError::Lookup`] the first that looks up what is in no table; [`QatError::Samples`] when a model that insists on a
    /// batch has fewer training samples; [`QatError::Validation`], and what a forward pass says.
    pub fn new(
        model: QatModel,
        train: Samples,
        validation: Samples,
        options: TrainOptions,
    ) -> Result<Self, QatError> {
        options.validate()?;
        let batches = Batches::of(model.prepared().graph(), &options, &train)?;
        if train.is_one_by_one() != validation.is_one_by_one() {
            let message = "those for training are given one by one, or these, but not both".to_owned();
            return Err(QatError::Samples { what: "validation samples", message });
        }
        if batches.used(train.len()) == 0 {
            let message = format!("{}, but the model takes batches of {}", train.len(), batches.pass);
            return Err(QatError::Samples { what: "training samples", message });
        }
        let of_validation = |source| QatError::Validation { epoch: 0, source: Box::new(source) };
        check_lookups(model.prepared().graph(), &train)?;
        check_lookups(model.prepared().graph(), &validation).map_err(of_validation)?;
        check_output(&model, &train, &options, batches)?;
        let (train, validation) =
            (taught(&model, train, &options, batches)?, taught(&model, validation, &options, batches)?);
        check_probabilities(&train, &options)?;
        check_probabilities(&validation, &options).map_err(of_validation)?;
        let task = |samples: Samples| {
            let teacher = match options.distillation {
                Some(_) => Some(Teacher::of(&model, &samples, batches)?),
                None => None,
            };
            Task::new(samples, &options, teacher)
        };
        let (train, validation) = (task(train)?, task(validation)?);
        if model.is_quantizing() && !model.is_calibrated() {
            calibrate(&model, &train.samples, batches)?;
        }
        model.set_observing_activations(options.observe_epochs != Some(0));
        model.train(false);
        // All scales begin now, those too that no loss needs.
        let probe: Vec<usize> = batches.filled(&[0]);
        model.run(&Tape::without_gradients(), &train.samples.inputs(&probe)?)?;
        // All labels are looked at before the first step.
        let output = train.forward(&model, &Tape::without_gradients(), options.criterion, &probe)?;
        if let [_, classes] = output.shape() {
            train.check_labels(*classes)?;
            validation.check_labels(*classes).map_err(of_validation)?;
        }
        let start = validation.measure(&model, &options, batches).map_err(of_validation)?;
        let float = match model.is_quantizing() {
            false => start.score,
            true => {
                model.set_quantizing(false);
                let measured = validation.measure(&model, &options, batches);
                model.set_quantizing(true);
                measured.map_err(of_validation)?.score
            }
        };
        let largest_loss = EXPLODED * start.score.loss.max(train.loss_of_nothing(options.criterion)?);
        let reference = Reference::of(&model, &validation.samples, batches).map_err(of_validation)?;
        model.train(true);
        if !model.is_trained(train.heads()) {
            return Err(QatError::NothingToTrain { constants: model.fixed_constants() });
        }
        // All scales are there now.
        let mut optimizer = options.optimizer.build(model.parameters(), options.lr)?;
        for (group, lr) in model.group_rates() {
            optimizer.set_group_lr(group, lr)?;
        }
        if options.optimizer.normalizes() {
            // Steps that are as long as the learning rate says, whatever the gradient, would be far too long for small
            // scales and nothing for large ones: they are taken relative to where a scale begins.
            for parameter in model.quantizers().flat_map(learned_scales) {
                let values = parameter.value();
                let values = values.as_slice::<f32>()?;
                let mean =
                    values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len().max(1) as f64;
                optimizer.set_parameter_lr(parameter.name(), options.lr * mean as f32)?;
            }
        }
        let total = (options.epochs * batches.steps(train.samples.len())) as u64;
        let schedule = options.schedule.clone().unwrap_or(Schedule::Cosine { steps: total, least: 0.0 });
        let best = EpochReport { epoch: 0, loss: None, validation: start.score, is_best: true };
        let best_state = model.state_dict();
        let identity = super::checkpoint::Identity::new(
            &best_state,
            model.quantization()?,
            &options,
            &train,
            &validation,
        )?;
        let progress = Progress { epoch: 1, step: 0, loss: 0.0, history: vec![best], best, best_state };
        let order = (0, Vec::new());
        Ok(Self {
            model,
            options,
            train,
            validation,
            optimizer,
            progress,
            identity,
            batches,
            start,
            float,
            largest_loss,
            reference,
            schedule,
            order,
        })
    }

    /// One step more, or the end of an epoch; `None` once all epochs are over.
    ///
    /// # Errors
    /// [`QatError::Step`] naming epoch and step: a loss that is not finite or has exploded, a gradient that is not (with the name of its
    /// parameter), and what forward and backward passes say. [`QatError::Validation`] for the same at the end of an epoch.
    /// Training cannot go on then, but [`Trainer::finish`] gives what was best.
    pub fn advance(&mut self) -> Result<Option<Event>, QatError> {
        if self.is_over() {
            return Ok(None);
        }
        let Progress { epoch, step, .. } = self.progress;
        if step < self.steps_per_epoch() {
            let named = |source| QatError::Step { epoch, step: step + 1, source: Box::new(source) };
            return self.step().map(|report| Some(Event::Step(report))).map_err(named);
        }
        let named = |source| QatError::Validation { epoch, source: Box::new(source) };
        self.end_epoch().map(|report| Some(Event::Epoch(report))).map_err(named)
    }

    fn step(&mut self) -> Result<StepReport, QatError> {
        let Progress { epoch, step, .. } = self.progress;
        let n = self.train.samples.len();
        if self.order.0 != epoch {
            self.order = (epoch, permutation(self.options.seed, epoch as u64, n));
        }
        if self.options.observe_epochs.is_some_and(|last| epoch > last) {
            self.model.set_observing_activations(false);
        }
        if self.options.bn_epochs.is_some_and(|last| epoch > last) {
            self.model.freeze_bn_stats();
        }
        let (first, used) = (step * self.batches.step, self.batches.used(n));
        let rows = &self.order.1[first..used.min(first + self.batches.step)];
        self.optimizer.zero_grad();
        let mut sum = 0.0;
        for pass in rows.chunks(self.batches.pass) {
            let tape = Tape::new();
            let scores = self.train.scores(&self.model, &tape, self.options.criterion, pass)?;
            let loss = self.train.loss(&scores, &self.options, pass)?;
            sum += f64::from(loss.item()?) * pass.len() as f64;
            // Losses are means over samples: a pass counts as much of the step as it has samples.
            match pass.len() == rows.len() {
                true => loss.backward()?,
                false => loss
                    .backward_with(Tensor::new(loss.shape(), vec![pass.len() as f32 / rows.len() as f32])?)?,
            }
        }
        let (loss, lr) = (sum / rows.len() as f64, self.optimizer.lr(""));
        if loss > self.largest_loss {
            return Err(QatError::Exploded { loss, start: self.start.score.loss, lr });
        }
        let parameters = self.optimizer.parameters();
        let gradient_norm =
            self.options.max_grad_norm.map(|norm| clip_grad_norm(&parameters, norm)).transpose()?;
        let steps = self.steps_per_epoch();
        self.optimizer.schedule(&self.schedule, ((epoch - 1) * steps + step) as u64);
        self.optimizer.step()?;
        let report =
            StepReport { epoch, step: step + 1, steps, loss, lr: self.optimizer.lr(""), gradient_norm };
        self.progress.step += 1;
        self.progress.loss += sum;
        Ok(report)
    }

    fn end_epoch(&mut self) -> Result<EpochReport, QatError> {
        self.model.train(false);
        let score = self.validation.measure(&self.model, &self.options, self.batches);
        self.model.train(true);
        let measured = score?;
        let validation = measured.score;
        let is_best = validation.is_better_than(&self.progress.best.validation)
            && (self.progress.best.epoch > 0 || measured.is_clearly_better_than(&self.start));
        let used = self.batches.used(self.train.samples.len());
        let loss = Some(self.progress.loss / used as f64);
        let report = EpochReport { epoch: self.progress.epoch, loss, validation, is_best };
        if is_best {
            self.progress.best = report;
            self.progress.best_state = self.model.state_dict();
        }
        self.progress.history.push(report);
        (self.progress.epoch, self.progress.step, self.progress.loss) = (self.progress.epoch + 1, 0, 0.0);
        Ok(report)
    }

    /// Whether all epochs are over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress.epoch > self.options.epochs
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps_per_epoch(&self) -> usize {
        self.batches.steps(self.train.samples.len())
    }

    /// The epoch that [`Trainer::advance`] goes on with, counted from 1, and how many of its steps were made.
    #[must_use]
    pub fn position(&self) -> (usize, usize) {
        (self.progress.epoch, self.progress.step)
    }

    /// All epochs so far, beginning with number 0: the model before training.
    #[must_use]
    pub fn history(&self) -> &[EpochReport] {
        &self.progress.history
    }

    /// The float model on the validation samples: what training can come near.
    #[must_use]
    pub fn float(&self) -> Score {
        self.float
    }

    /// The best epoch so far.
    #[must_use]
    pub fn best(&self) -> EpochReport {
        self.progress.best
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &QatModel {
        &self.model
    }

    /// The constants of floats that this training does not change, each with the reason: those that no training changes
    /// ([`QatModel::fixed_constants`]), and those that only outputs need that are not trained.
    #[must_use]
    pub fn fixed_constants(&self) -> Vec<FixedConstant> {
        let mut fixed = self.model.fixed_constants();
        fixed.extend(self.model.out_of_reach(self.train.heads()));
        fixed
    }

    /// The best epoch so far as a model of codes; training can go on.
    ///
    /// # Errors
    /// As converting says.
    pub fn converted(&self) -> Result<Quantized, QatError> {
        let now = self.model.state_dict();
        self.model.load_state_dict(&self.progress.best_state)?;
        let quantized = convert(&self.model);
        self.model.load_state_dict(&now)?;
        quantized
    }

    /// The model as it was at the end of the best epoch, ready to be converted.
    ///
    /// # Errors
    /// [`QatError::ModelState`] when it cannot become that again.
    pub fn finish(self) -> Result<QatModel, QatError> {
        self.model.load_state_dict(&self.progress.best_state)?;
        self.optimizer.zero_grad();
        self.model.train(false);
        Ok(self.model)
    }
}

/// The samples; where the criterion takes values and they have none, with those that the float model gives. Binary
/// cross-entropy takes probabilities: of a model that ends in scores, those that they stand for.
fn taught(
    model: &QatModel,
    samples: Samples,
    options: &TrainOptions,
    batches: Batches,
) -> Result<Samples, QatError> {
    let of_values = !matches!(options.criterion, Criterion::CrossEntropy { .. });
    if !of_values || !matches!(samples.targets(), Targets::Teacher) {
        return Ok(samples);
    }
    let graph = model.float_graph()?;
    let float = Evaluator::new(&graph, Precision::F32)?;
    let are_scores = options.criterion == Criterion::Bce
        && model.heads().first().is_some_and(|head| head.activation == Activation::None);
    let target = |output: Tensor| match are_scores {
        true => {
            Ok(eval_op(&Op::Unary(UnaryOp::Sigmoid), &[Some(&output)], 1, Precision::F32)?.swap_remove(0))
        }
        false => Ok::<_, QatError>(output),
    };
    if samples.is_one_by_one() {
        let output = |i: usize| target(float.run(&samples.inputs(&[i])?)?.swap_remove(0));
        let outputs = (0..samples.len()).map(output).collect::<Result<_, QatError>>()?;
        return samples.with_targets(Targets::Whole(outputs));
    }
    let mut outputs = samples.outputs(&graph, batches.pass, |x| Ok::<_, QatError>(float.run(x)?))?;
    samples.with_targets(Targets::Values(target(outputs.swap_remove(0))?))
}

/// Checks that what binary cross-entropy is to come near are probabilities.
fn check_probabilities(samples: &Samples, options: &TrainOptions) -> Result<(), QatError> {
    if options.criterion != Criterion::Bce {
        return Ok(());
    }
    let outside = |values: &Tensor| -> Result<Option<(usize, f32)>, QatError> {
        let values = values.as_slice::<f32>()?;
        Ok(values.iter().enumerate().find(|(_, v)| !(0.0..=1.0).contains(*v)).map(|(at, v)| (at, *v)))
    };
    let fail = |row: usize, element: usize, value: f32| {
        Err(QatError::TargetProbability { sample: samples.place(row), element, value })
    };
    match samples.targets() {
        Targets::Values(values) => match outside(values)? {
            Some((at, value)) => {
                let each = (values.len() / samples.len()).max(1);
                fail(at / each, at % each, value)
            }
            None => Ok(()),
        },
        Targets::Whole(all) => {
            for (row, values) in all.iter().enumerate() {
                if let Some((at, value)) = outside(values)? {
                    return fail(row, at, value);
                }
            }
            Ok(())
        }
        Targets::Classes(_) | Targets::Teacher => Ok(()),
    }
}

/// Checks on the float model, before all else, that the first output is what the criterion takes: f32, one row of classes a
/// sample, or of the shape of the targets.
fn check_output(
    model: &QatModel,
    samples: &Samples,
    options: &TrainOptions,
    batches: Batches,
) -> Result<(), QatError> {
    let graph = model.prepared().graph();
    let Some(output) = graph.outputs.first() else {
        return Err(QatError::Training("the model has no output".to_owned()));
    };
    let rows: Vec<usize> = (0..samples.len().min(batches.pass)).collect();
    let filled = batches.filled(&rows);
    let float = Evaluator::new(&model.float_graph()?, Precision::F32)?;
    let outputs = float.run(&samples.inputs(&filled)?)?;
    let Some(first) = outputs.first() else { return Ok(()) };
    let fail = |expected: &str| {
        let (output, dtype, dims) = (graph.value(*output).name.clone(), first.dtype(), first.dims().to_vec());
        Err(QatError::Scores { output, dtype, dims, samples: filled.len(), expected: expected.to_owned() })
    };
    if first.dtype() != DType::F32 {
        return fail("training takes scores that are f32");
    }
    let n = filled.len();
    match (options.criterion, samples.targets()) {
        (Criterion::CrossEntropy { .. }, _) => match first.dims() {
            [rows, classes, ones @ ..] if *rows == n && *classes > 1 && ones.iter().all(|d| *d == 1) => {
                Ok(())
            }
            [rows, ..] if *rows != n && n > 0 && rows % n == 0 => fail(
                "training for classes takes one row of at least two scores a sample; what gives several rows a sample is \
                 trained on values",
            ),
            _ => fail("training for classes takes one row of at least two scores a sample"),
        },
        (_, Targets::Whole(values)) => match values.first() {
            Some(one) if fits(one.dims(), first.dims()) => Ok(()),
            Some(one) => Err(QatError::TargetShape {
                got: one.dims().to_vec(),
                expected: first.dims().to_vec(),
                output: graph.value(*output).name.clone(),
            }),
            None => Ok(()),
        },
        (_, Targets::Values(values)) => {
            let (got, expected) = (&values.dims()[1..], first.dims().get(1..).unwrap_or_default());
            match first.dims().first() == Some(&n) {
                false => fail("training on values takes one part a sample"),
                true if got == expected => Ok(()),
                true => Err(QatError::TargetShape {
                    got: got.to_vec(),
                    expected: expected.to_vec(),
                    output: graph.value(*output).name.clone(),
                }),
            }
        }
        _ => Ok(()),
    }
}

/// Shows all samples to the observers, as calibration does.
fn calibrate(model: &QatModel, samples: &Samples, batches: Batches) -> Result<(), QatError> {
    model.train(true);
    // The model as it is, not as its batches would have it.
    let batch_statistics = model.set_batch_statistics(false);
    model.set_observing(true);
    model.set_quantizing(false);
    let all: Vec<usize> = (0..samples.len()).collect();
    for rows in all.chunks(batches.pass) {
        model.run(&Tape::without_gradients(), &samples.inputs(&batches.filled(rows))?)?;
    }
    model.set_quantizing(true);
    model.set_batch_statistics(batch_statistics);
    Ok(())
}
