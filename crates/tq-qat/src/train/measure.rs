//! Losses of batches, and how good a model is.

use super::batches::Batches;
use super::options::{Criterion, TrainOptions};
use super::report::Score;
use super::samples::{Samples, Targets, gather};
use crate::{QatError, QatModel, Tape, Var, loss};
use tq_graph::Tensor;

/// Samples with all that losses need.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) samples: Samples,
    /// The classes, of the samples or of the teacher.
    labels: Option<Vec<i64>>,
    /// Scores of the float model.
    teacher: Option<Tensor>,
    /// How much of the loss is the teacher's.
    weight: f32,
}

impl Task {
    pub(super) fn new(
        samples: Samples,
        options: &TrainOptions,
        teacher: Option<Tensor>,
    ) -> Result<Self, QatError> {
        let is_classes = matches!(options.criterion, Criterion::CrossEntropy { .. });
        let mut weight = options.distillation.map_or(0.0, |d| d.weight);
        let labels = match (samples.targets(), &teacher) {
            (Targets::Classes(labels), _) if is_classes => Some(labels.clone()),
            (Targets::Teacher, Some(teacher)) if is_classes => {
                weight = 1.0;
                Some(decisions(teacher)?)
            }
            (Targets::Values(_), _) if !is_classes => None,
            (targets, _) => {
                let got = match targets {
                    Targets::Classes(_) => "classes",
                    Targets::Values(_) => "values",
                    Targets::Teacher => "no targets, and no distillation",
                };
                let message = format!("{:?} takes other targets: the samples have {got}", options.criterion);
                return Err(QatError::Training(message));
            }
        };
        Ok(Self { samples, labels, teacher, weight })
    }

    /// Checks that all labels are classes.
    pub(super) fn check_labels(&self, classes: usize) -> Result<(), QatError> {
        let out = |l: &i64| usize::try_from(*l).map_or(true, |l| l >= classes);
        match self.labels.iter().flatten().enumerate().find(|(_, l)| out(l)) {
            Some((row, label)) => Err(QatError::LabelRange { row, label: *label, classes }),
            None => Ok(()),
        }
    }

    /// What the criterion looks at: scores as a matrix, or the first output.
    pub(super) fn forward(
        &self,
        model: &QatModel,
        tape: &Tape,
        criterion: Criterion,
        rows: &[usize],
    ) -> Result<Var, QatError> {
        let inputs = self.samples.inputs(rows)?;
        match criterion {
            Criterion::CrossEntropy { .. } => as_matrix(&model.scores(tape, &inputs)?),
            Criterion::Bce => model.scores(tape, &inputs),
            Criterion::Mse => {
                let mut outputs = model.run(tape, &inputs)?;
                if outputs.is_empty() {
                    return Err(QatError::Training("the model has no output".to_owned()));
                }
                Ok(outputs.swap_remove(0))
            }
        }
    }

    /// The criterion alone.
    fn criterion(&self, output: &Var, criterion: Criterion, rows: &[usize]) -> Result<Var, QatError> {
        match (criterion, self.samples.targets()) {
            (Criterion::Mse, Targets::Values(values)) => loss::mse(output, &gather(values, rows)?),
            (Criterion::Bce, Targets::Values(values)) => {
                loss::bce_with_logits(output, &gather(values, rows)?)
            }
            (Criterion::CrossEntropy { label_smoothing }, _) => {
                let labels = self.labels.as_deref().unwrap_or_default();
                let labels: Vec<i64> = rows.iter().map(|r| labels[*r]).collect();
                loss::cross_entropy_smoothed(output, &labels, label_smoothing)
            }
            _ => Err(QatError::Training("the criterion has no targets".to_owned())),
        }
    }

    /// The loss of these samples, on the tape of `output`.
    pub(super) fn loss(&self, output: &Var, options: &TrainOptions, rows: &[usize]) -> Result<Var, QatError> {
        let (Some(distillation), Some(teacher)) = (options.distillation, &self.teacher) else {
            return self.criterion(output, options.criterion, rows);
        };
        let taught = loss::distillation(output, &gather(teacher, rows)?, distillation.temperature)?;
        if self.weight == 1.0 {
            return Ok(taught);
        }
        let scaled = |v: &Var, factor: f32| v.mul(&v.tape().constant(Tensor::scalar(factor)));
        let own = self.criterion(output, options.criterion, rows)?;
        scaled(&own, 1.0 - self.weight)?.add(&scaled(&taught, self.weight)?)
    }

    /// How good the model is on all samples.
    pub(super) fn measure(
        &self,
        model: &QatModel,
        options: &TrainOptions,
        batches: Batches,
    ) -> Result<Score, QatError> {
        let (n, criterion) = (self.samples.len(), options.criterion);
        let (mut loss, mut right) = (0.0, 0usize);
        let all: Vec<usize> = (0..n).collect();
        for rows in all.chunks(batches.pass) {
            let tape = Tape::without_gradients();
            let output = self.forward(model, &tape, criterion, &batches.filled(rows))?;
            let kept: Vec<usize> = (0..rows.len()).collect();
            let output = tape.constant(gather(output.value(), &kept)?);
            if let (Some(labels), [_, classes]) = (&self.labels, output.shape()) {
                if rows[0] == 0 {
                    self.check_labels(*classes)?;
                }
                let decisions = decisions(output.value())?;
                right += rows.iter().zip(decisions).filter(|(r, d)| labels[**r] == *d).count();
            }
            loss += f64::from(self.criterion(&output, criterion, rows)?.item()?) * rows.len() as f64;
        }
        let top1 = self.labels.is_some().then(|| 100.0 * right as f64 / n as f64);
        Ok(Score { loss: loss / n as f64, top1 })
    }
}

/// Scores of the float model for all samples.
pub(super) fn teacher_scores(
    model: &QatModel,
    samples: &Samples,
    batches: Batches,
) -> Result<Tensor, QatError> {
    let float = model.float_scores()?;
    let (mut data, mut classes) = (Vec::new(), 0);
    let all: Vec<usize> = (0..samples.len()).collect();
    for rows in all.chunks(batches.pass) {
        let mut outputs = float.run(&samples.inputs(&batches.filled(rows))?)?;
        if outputs.is_empty() {
            return Err(QatError::Training("the model has no output".to_owned()));
        }
        let scores = outputs.swap_remove(0);
        let scores = scores.as_slice::<f32>()?;
        classes = scores.len() / batches.filled(rows).len();
        data.extend_from_slice(&scores[..classes * rows.len()]);
    }
    Ok(Tensor::new(&[samples.len(), classes], data)?)
}

/// `[rows, classes, 1, …]` as a matrix.
fn as_matrix(scores: &Var) -> Result<Var, QatError> {
    match scores.shape() {
        [rows, classes, ones @ ..] if !ones.is_empty() && ones.iter().all(|d| *d == 1) => {
            scores.reshape(&[*rows as i64, *classes as i64])
        }
        _ => Ok(scores.clone()),
    }
}

/// The class of the largest score of each row, the lower one of equal ones.
fn decisions(scores: &Tensor) -> Result<Vec<i64>, QatError> {
    let classes = scores.dims().last().copied().unwrap_or(1).max(1);
    let best = |row: &[f32]| (1..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i64;
    Ok(scores.as_slice::<f32>()?.chunks_exact(classes).map(best).collect())
}
