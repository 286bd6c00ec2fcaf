//! Losses of batches, and how good a model is.

use super::batches::Batches;
use super::options::{Criterion, TrainOptions};
use super::report::Score;
use super::samples::{Samples, Targets, gather};
use crate::{Activation, QatError, QatModel, Tape, Var, loss};
use std::cmp::Ordering;
use tq_graph::Tensor;

/// Samples with all that losses need.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) samples: Samples,
    /// The classes, of the samples or of the teacher.
    labels: Option<Vec<i64>>,
    /// What the float model says.
    teacher: Option<Teacher>,
    /// How much of the loss is the teacher's.
    weight: f32,
}

/// The scores of the float model for all samples, those of the first output first.
#[derive(Debug)]
pub(super) struct Teacher {
    scores: Vec<Tensor>,
    /// How far from them the model is, of each output.
    distances: Vec<Distance>,
}

/// How scores are compared with those of a teacher.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Distance {
    /// [`loss::distillation`]: they are of classes.
    Classes,
    /// Squared error, over this: the mean square of the teacher's, so that it is 1 for a model that says nothing.
    Squares(f64),
}

impl Task {
    pub(super) fn new(
        samples: Samples,
        options: &TrainOptions,
        teacher: Option<Teacher>,
    ) -> Result<Self, QatError> {
        let is_classes = matches!(options.criterion, Criterion::CrossEntropy { .. });
        let mut weight = options.distillation.map_or(0.0, |d| d.weight);
        let labels = match (samples.targets(), &teacher) {
            (Targets::Classes(labels), _) if is_classes => Some(labels.clone()),
            (Targets::Teacher, Some(_)) if weight == 0.0 => {
                let message =
                    "the samples have no targets, and the weight of distillation is 0: nothing is left";
                return Err(QatError::Training(message.to_owned()));
            }
            (Targets::Teacher, Some(teacher)) if is_classes => {
                weight = 1.0;
                Some(decisions_of_rows(&teacher.scores[0])?)
            }
            (Targets::Values(_) | Targets::Whole(_), _) if !is_classes => None,
            (targets, _) => {
                let got = match targets {
                    Targets::Classes(_) => "classes",
                    Targets::Values(_) | Targets::Whole(_) => "values",
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
            Some((row, label)) => {
                Err(QatError::LabelRange { row: self.samples.place(row), label: *label, classes })
            }
            None => Ok(()),
        }
    }

    /// About the loss of a model that knows nothing: 1 for classes and probabilities, the mean square of values.
    pub(super) fn loss_of_nothing(&self, criterion: Criterion) -> Result<f64, QatError> {
        let squares = |values: &Tensor| -> Result<f64, QatError> {
            Ok(values.as_slice::<f32>()?.iter().map(|v| f64::from(*v) * f64::from(*v)).sum())
        };
        let (sum, count) = match (criterion, self.samples.targets()) {
            (Criterion::Mse, Targets::Values(values)) => (squares(values)?, values.len()),
            (Criterion::Mse, Targets::Whole(all)) => {
                let sums = all.iter().map(squares).collect::<Result<Vec<_>, _>>()?;
                (sums.iter().sum(), all.iter().map(Tensor::len).sum())
            }
            _ => return Ok(1.0),
        };
        Ok(sum / count.max(1) as f64)
    }

    /// Checks, before anything is trained, that a teacher's scores are of classes.
    fn check_teacher(&self, model: &QatModel) -> Result<(), QatError> {
        let is_taught = matches!(self.samples.targets(), Targets::Teacher) && self.labels.is_some();
        let sigmoid = model.heads().first().is_some_and(|head| head.activation == Activation::Sigmoid);
        if is_taught && sigmoid {
            return Err(QatError::SigmoidOfClasses);
        }
        Ok(())
    }

    /// How many outputs the loss depends on, as [`QatModel::heads`] counts them.
    pub(super) fn heads(&self) -> usize {
        self.teacher.as_ref().map_or(1, |t| t.scores.len())
    }

    /// What the loss looks at: what the criterion does, and the other scores that a teacher has.
    pub(super) fn scores(
        &self,
        model: &QatModel,
        tape: &Tape,
        criterion: Criterion,
        rows: &[usize],
    ) -> Result<Vec<Var>, QatError> {
        let scores = match self.heads() {
            1 => vec![self.forward(model, tape, criterion, rows)?],
            heads => {
                let mut scores = model.scores_of(tape, &self.samples.inputs(rows)?, heads)?;
                scores[0] = as_matrix(&scores[0])?;
                scores
            }
        };
        // One sample that is given whole may have any number of rows.
        let other = scores.iter().map(Var::shape).find(|dims| dims.first() != Some(&rows.len()));
        match other {
            Some(dims) if !self.samples.is_one_by_one() => Err(QatError::Training(format!(
                "the model gives scores of shape {dims:?} for {} samples: not one row each",
                rows.len()
            ))),
            _ => Ok(scores),
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
            (Criterion::Mse | Criterion::Bce, Targets::Whole(values)) => {
                let own = &values[rows[0]];
                let own = match fits(own.dims(), output.shape()) {
                    true => own.clone().reshape(output.shape())?,
                    // The loss says what is wrong.
                    false => own.clone(),
                };
                match criterion {
                    Criterion::Mse => loss::mse(output, &own),
                    _ => loss::bce_with_logits(output, &own),
                }
            }
            (Criterion::CrossEntropy { label_smoothing }, _) => {
                let labels = self.labels.as_deref().unwrap_or_default();
                let labels: Vec<i64> = rows.iter().map(|r| labels[*r]).collect();
                loss::cross_entropy_smoothed(output, &labels, label_smoothing)
            }
            _ => Err(QatError::Training("the criterion has no targets".to_owned())),
        }
    }

    /// The loss of these samples, on the tape of their scores.
    pub(super) fn loss(
        &self,
        scores: &[Var],
        options: &TrainOptions,
        rows: &[usize],
    ) -> Result<Var, QatError> {
        let (Some(distillation), Some(teacher)) = (options.distillation, &self.teacher) else {
            return self.criterion(&scores[0], options.criterion, rows);
        };
        let scaled = |v: &Var, factor: f32| v.mul(&v.tape().constant(Tensor::scalar(factor)));
        let mut taught: Option<Var> = None;
        for ((output, wanted), distance) in scores.iter().zip(&teacher.scores).zip(&teacher.distances) {
            let wanted = gather(wanted, rows)?;
            let own = match distance {
                Distance::Classes => loss::distillation(output, &wanted, distillation.temperature)?,
                Distance::Squares(mean) => {
                    scaled(&loss::mse(output, &wanted)?, (1.0 / mean.max(f64::MIN_POSITIVE)) as f32)?
                }
            };
            taught = Some(match taught {
                None => own,
                Some(sum) => sum.add(&own)?,
            });
        }
        let Some(mut taught) = taught else {
            return self.criterion(&scores[0], options.criterion, rows);
        };
        if scores.len() > 1 {
            taught = scaled(&taught, 1.0 / scores.len() as f32)?;
        }
        if self.weight == 1.0 {
            return Ok(taught);
        }
        let own = self.criterion(&scores[0], options.criterion, rows)?;
        scaled(&own, 1.0 - self.weight)?.add(&scaled(&taught, self.weight)?)
    }

    /// How good the model is on all samples.
    pub(super) fn measure(
        &self,
        model: &QatModel,
        options: &TrainOptions,
        batches: Batches,
    ) -> Result<Measured, QatError> {
        let n = self.samples.len();
        let (mut losses, mut right) = (Vec::with_capacity(n), Vec::new());
        let all: Vec<usize> = (0..n).collect();
        for rows in all.chunks(batches.pass) {
            let tape = Tape::without_gradients();
            let filled = batches.filled(rows);
            let scores = self.scores(model, &tape, options.criterion, &filled)?;
            if rows[0] == 0 {
                self.check_teacher(model)?;
            }
            if let (Some(labels), [_, classes]) = (&self.labels, scores[0].shape()) {
                if rows[0] == 0 {
                    self.check_labels(*classes)?;
                }
                // Samples that only fill a batch are behind the others.
                let decisions = decisions_of_rows(scores[0].value())?;
                right.extend(rows.iter().zip(decisions).map(|(r, d)| labels[*r] == d));
            }
            for (i, row) in rows.iter().enumerate() {
                // One sample may have several rows.
                let own = |s: &Var| match filled.len() {
                    1 => Ok(s.clone()),
                    _ => Ok(tape.constant(gather(s.value(), &[i])?)),
                };
                let own = scores.iter().map(own).collect::<Result<Vec<_>, QatError>>()?;
                losses.push(f64::from(self.loss(&own, options, &[*row])?.item()?));
            }
        }
        let percent = || 100.0 * right.iter().filter(|r| **r).count() as f64 / n as f64;
        let right_percent = self.labels.is_some().then(percent);
        let is_taught = matches!(self.samples.targets(), Targets::Teacher);
        let (top1, agreement) = if is_taught { (None, right_percent) } else { (right_percent, None) };
        let score = Score { loss: losses.iter().sum::<f64>() / n as f64, top1, agreement };
        Ok(Measured { score, losses, right })
    }
}

/// How good a model is on samples, one by one.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) score: Score,
    losses: Vec<f64>,
    /// Of classes alone.
    right: Vec<bool>,
}

impl Measured {
    /// Whether it has more right answers than another model on the same samples, or as many at a loss that is smaller by
    /// more than chance would have it: by twice the standard error of the difference, sample by sample.
    pub(super) fn is_clearly_better_than(&self, other: &Self) -> bool {
        let count = |m: &Self| m.right.iter().filter(|r| **r).count();
        let less: Vec<f64> = self.losses.iter().zip(&other.losses).map(|(a, b)| b - a).collect();
        match count(self).cmp(&count(other)) {
            Ordering::Greater => true,
            Ordering::Equal => exceeds_its_error(&less),
            Ordering::Less => false,
        }
    }
}

/// Whether the mean is above zero by more than twice its standard error.
fn exceeds_its_error(differences: &[f64]) -> bool {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let squares: f64 = differences.iter().map(|d| (d - mean) * (d - mean)).sum();
    // Of one sample nothing is known of the spread.
    n > 1.0 && mean > 0.0 && mean * mean > 4.0 * squares / (n * (n - 1.0))
}

impl Teacher {
    /// What the float model says to all samples.
    ///
    /// # Errors
    /// [`QatError::Training`] for a model without outputs, or with an output that has not one part a sample.
    pub(super) fn of(model: &QatModel, samples: &Samples, batches: Batches) -> Result<Self, QatError> {
        let heads = model.heads();
        if heads.is_empty() {
            return Err(QatError::Training("the model has no output".to_owned()));
        }
        let float = model.float_scores_of(heads.len())?;
        let mut parts: Vec<(Vec<f32>, Vec<usize>)> = vec![(Vec::new(), Vec::new()); heads.len()];
        let all: Vec<usize> = (0..samples.len()).collect();
        for rows in all.chunks(batches.pass) {
            let filled = batches.filled(rows);
            let outputs = float.run(&samples.inputs(&filled)?)?;
            for (i, ((data, dims), output)) in parts.iter_mut().zip(&outputs).enumerate() {
                let [n, own @ ..] = output.dims() else { return Err(not_a_sample(i, output)) };
                if *n != filled.len() {
                    return Err(not_a_sample(i, output));
                }
                let each: usize = own.iter().product();
                *dims = if i == 0 { vec![each] } else { own.to_vec() };
                data.extend_from_slice(&output.as_slice::<f32>()?[..each * rows.len()]);
            }
        }
        let (mut scores, mut distances) = (Vec::new(), Vec::new());
        for (i, ((data, dims), head)) in parts.into_iter().zip(heads).enumerate() {
            let is_classes = head.activation == Activation::Softmax && dims.len() == 1;
            distances.push(match i == 0 || is_classes {
                true => Distance::Classes,
                false => {
                    let squares: f64 = data.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
                    Distance::Squares(squares / data.len().max(1) as f64)
                }
            });
            scores.push(Tensor::new(&[&[samples.len()], &dims[..]].concat(), data)?);
        }
        Ok(Self { scores, distances })
    }
}

fn not_a_sample(output: usize, tensor: &Tensor) -> QatError {
    let dims = tensor.dims();
    QatError::Training(format!(
        "scores {output} have shape {dims:?}: the float model cannot teach them by sample"
    ))
}

/// Whether two shapes are the same but for axes of length 1.
pub(super) fn fits(a: &[usize], b: &[usize]) -> bool {
    a.iter().filter(|d| **d != 1).eq(b.iter().filter(|d| **d != 1))
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

/// The class of the largest score of each row of `classes` scores, the lower one of equal ones.
pub(super) fn decisions(scores: &Tensor, classes: usize) -> Result<Vec<i64>, QatError> {
    let best = |row: &[f32]| (1..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i64;
    Ok(scores.as_slice::<f32>()?.chunks_exact(classes.max(1)).map(best).collect())
}

/// As [`decisions`] of a matrix.
fn decisions_of_rows(scores: &Tensor) -> Result<Vec<i64>, QatError> {
    decisions(scores, scores.dims().last().copied().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(losses: &[f64], right: &[bool]) -> Measured {
        let score = Score { loss: 0.0, top1: None, agreement: None };
        Measured { score, losses: losses.to_vec(), right: right.to_vec() }
    }

    #[test]
    fn chance_is_no_progress() {
        let start = measured(&[1.0; 8], &[false; 8]);
        let with = |losses: &[f64], right: &[bool]| measured(losses, right).is_clearly_better_than(&start);
        let none = [false; 8];
        assert!(!with(&[1.0; 8], &none), "nothing has changed");
        assert!(with(&[0.9; 8], &none), "all samples say the same");
        // One sample that wins what the others lose, and a little more.
        assert!(!with(&[0.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1, 1.1], &none));
        // A mean of 0.2375 with an error of 0.098, and one of 0.1375 with an error of 0.103.
        assert!(with(&[0.4, 0.4, 0.9, 0.9, 1.0, 1.0, 1.0, 0.5], &none));
        assert!(!with(&[0.4, 0.4, 1.0, 1.0, 1.0, 1.1, 1.1, 0.9], &none));
        let mut right = none;
        right[3] = true;
        assert!(with(&[1.5; 8], &right), "answers come before the loss");
        // A better loss does not buy right answers.
        let start = measured(&[1.0; 8], &right);
        assert!(!measured(&[0.5; 8], &none).is_clearly_better_than(&start));
        assert!(
            !measured(&[0.5], &[]).is_clearly_better_than(&measured(&[1.0], &[])),
            "one sample is chance"
        );
        // Values alone.
        assert!(measured(&[0.5; 4], &[]).is_clearly_better_than(&measured(&[1.0; 4], &[])));
        assert!(!measured(&[f64::NAN; 4], &[]).is_clearly_better_than(&measured(&[1.0; 4], &[])));
    }
}
