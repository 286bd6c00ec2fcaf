//! What a model learns from.

use crate::QatError;
use sha2::{Digest, Sha256};
use tq_eval::{Precision, eval_op};
use tq_graph::{Op, Tensor};
use tq_qtypes::DType;

/// What is expected for every sample.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// A class a sample.
    Classes(Vec<i64>),
    /// The output itself, f32, with the samples along axis 0.
    Values(Tensor),
    /// The output for each sample, f32, as the model gives it; for samples that it is given one by one.
    Whole(Vec<Tensor>),
    /// What the float model says: its scores for distillation, its decisions to judge by; its output where the criterion
    /// takes values.
    Teacher,
}

/// How samples lie in what an input of the model is given.
#[derive(Debug, Clone, PartialEq)]
pub enum SampleInput {
    /// One after the other, along axis 0.
    Rows(Tensor),
    /// A tensor a sample, which is given whole: clips, for a model of frames.
    Whole(Vec<Tensor>),
    /// The same with each sample, as an initial state is.
    Same(Tensor),
}

/// Samples with what is expected for them, all in memory.
///
/// ```
/// use tq_graph::Tensor;
/// use tq_qat::train::Samples;
/// let images = Tensor::new(&[2, 4], vec![0.0f32; 8])?;
/// let samples = Samples::classes(vec![images.clone()], vec![0, 2])?;
/// assert_eq!(samples.len(), 2);
/// let error = Samples::classes(vec![images], vec![0, 2, 1]).err().ok_or("no error")?;
/// assert_eq!(error.to_string(), "3 labels for 2 samples");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    inputs: Vec<SampleInput>,
    targets: Targets,
    /// The number that each sample had where it comes from, by which errors name it.
    places: Vec<usize>,
}

impl Samples {
    /// One tensor an input of the model, with samples along axis 0.
    ///
    /// # Errors
    /// [`QatError::Samples`] when there are none, when an input has another number of them than the first one, or when
    /// values are no f32; [`QatError::LabelCount`] when there is not one target a sample; [`QatError::SampleNotFinite`]
    /// naming the first sample with a NaN or an infinity in it.
    pub fn new(inputs: Vec<Tensor>, targets: Targets) -> Result<Self, QatError> {
        Self::of_inputs(inputs.into_iter().map(SampleInput::Rows).collect(), targets)
    }

    /// As [`Samples::new`], of inputs that are given whole or are always the same too. The model gets one sample at a time
    /// then, and the gradients of a step are added up.
    ///
    /// # Errors
    /// As [`Samples::new`].
    pub fn of_inputs(inputs: Vec<SampleInput>, targets: Targets) -> Result<Self, QatError> {
        let fail = |message: String| Err(QatError::Samples { what: "samples", message });
        let mut counts = inputs.iter().enumerate().filter_map(|(i, input)| Some((i, input.count()?)));
        let Some((first, len)) = counts.next().filter(|(_, n)| *n > 0) else {
            return fail("there are none".to_owned());
        };
        if let Some((i, n)) = counts.find(|(_, n)| *n != len) {
            return fail(format!("input {i} has {n} of them, input {first} has {len}"));
        }
        for (i, input) in inputs.iter().enumerate() {
            input.check_finite(i)?;
        }
        Self { inputs, targets: Targets::Teacher, places: (0..len).collect() }.with_targets(targets)
    }

    /// Samples with their classes.
    ///
    /// # Errors
    /// As [`Samples::new`].
    pub fn classes(inputs: Vec<Tensor>, labels: Vec<i64>) -> Result<Self, QatError> {
        Self::new(inputs, Targets::Classes(labels))
    }

    /// The same samples, of which this is expected.
    ///
    /// # Errors
    /// As [`Samples::new`] says of targets.
    pub fn with_targets(self, targets: Targets) -> Result<Self, QatError> {
        let len = self.len();
        let targets_len = match &targets {
            Targets::Classes(labels) => labels.len(),
            Targets::Values(values) if values.dtype() != DType::F32 => {
                let message = format!("their values are {}, expected f32", values.dtype());
                return Err(QatError::Samples { what: "samples", message });
            }
            Targets::Values(values) => values.dims().first().copied().unwrap_or(0),
            Targets::Whole(values) => {
                if let Some(other) = values.iter().find(|v| v.dtype() != DType::F32) {
                    let message = format!("their values are {}, expected f32", other.dtype());
                    return Err(QatError::Samples { what: "samples", message });
                }
                values.len()
            }
            Targets::Teacher => len,
        };
        if targets_len != len {
            return Err(QatError::LabelCount { rows: len, labels: targets_len });
        }
        match &targets {
            Targets::Values(values) => check_finite(values, None, None)?,
            Targets::Whole(values) => {
                values.iter().enumerate().try_for_each(|(i, v)| check_finite(v, None, Some(i)))?;
            }
            Targets::Classes(_) | Targets::Teacher => {}
        }
        Ok(Self { targets, ..self })
    }

    /// How many there are, at least one.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// The number of a sample among those that it was taken from ([`Samples::take`], [`Samples::split`]).
    ///
    /// # Panics
    /// For a number that no sample has.
    #[must_use]
    pub fn place(&self, row: usize) -> usize {
        self.places[row]
    }

    /// What is expected.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// What each input of the model is given.
    pub(super) fn given(&self) -> &[SampleInput] {
        &self.inputs
    }

    /// Whether the model is given one sample at a time.
    #[must_use]
    pub fn is_one_by_one(&self) -> bool {
        !self.inputs.iter().all(|input| matches!(input, SampleInput::Rows(_)))
    }

    /// The samples of these numbers, one tensor an input of the model.
    ///
    /// # Errors
    /// [`QatError::Op`] for a number that no sample has; [`QatError::Samples`] for more or fewer than one sample, where they
    /// are given one by one.
    pub fn inputs(&self, rows: &[usize]) -> Result<Vec<Tensor>, QatError> {
        if self.is_one_by_one() && rows.len() != 1 {
            let message = format!("{} at once, but they are given one by one", rows.len());
            return Err(QatError::Samples { what: "samples", message });
        }
        let part = |input: &SampleInput| match input {
            SampleInput::Rows(tensor) => gather(tensor, rows),
            SampleInput::Whole(all) => match rows.first().and_then(|r| all.get(*r)) {
                Some(tensor) => Ok(tensor.clone()),
                None => {
                    let message = format!("number {rows:?} of {}", all.len());
                    Err(QatError::Samples { what: "samples", message })
                }
            },
            SampleInput::Same(tensor) => Ok(tensor.clone()),
        };
        self.inputs.iter().map(part).collect()
    }

    /// In two by chance: the second part has `part` of the samples, at least one of them in each. Which, `seed` decides.
    ///
    /// # Errors
    /// [`QatError::Samples`] when there is only one, [`QatError::Hyperparameter`] unless `0 < part < 1`.
    pub fn split(&self, part: f32, seed: u64) -> Result<(Self, Self), QatError> {
        if !(part > 0.0 && part < 1.0) {
            let (what, allowed) = ("part of the samples", "it is between 0 and 1");
            return Err(QatError::Hyperparameter { what, value: part, allowed });
        }
        let len = self.len();
        if len < 2 {
            let message = "one sample cannot be split".to_owned();
            return Err(QatError::Samples { what: "samples", message });
        }
        let second = ((len as f64 * f64::from(part)).round() as usize).clamp(1, len - 1);
        let order = super::order::permutation(seed, super::order::SPLIT, len);
        let part = |rows: &[usize]| {
            // In the order that they had.
            let mut rows = rows.to_vec();
            rows.sort_unstable();
            self.take(&rows)
        };
        Ok((part(&order[second..])?, part(&order[..second])?))
    }

    /// The samples of these numbers.
    ///
    /// # Errors
    /// [`QatError::Op`] for a number that no sample has.
    pub fn take(&self, rows: &[usize]) -> Result<Self, QatError> {
        let part = |input: &SampleInput| {
            Ok(match input {
                SampleInput::Rows(tensor) => SampleInput::Rows(gather(tensor, rows)?),
                SampleInput::Whole(all) => SampleInput::Whole(rows.iter().map(|r| all[*r].clone()).collect()),
                SampleInput::Same(tensor) => SampleInput::Same(tensor.clone()),
            })
        };
        let inputs = self.inputs.iter().map(part).collect::<Result<_, QatError>>()?;
        let targets = match &self.targets {
            Targets::Classes(labels) => Targets::Classes(rows.iter().map(|r| labels[*r]).collect()),
            Targets::Values(values) => Targets::Values(gather(values, rows)?),
            Targets::Whole(values) => Targets::Whole(rows.iter().map(|r| values[*r].clone()).collect()),
            Targets::Teacher => Targets::Teacher,
        };
        let places = rows.iter().map(|r| self.places[*r]).collect();
        Ok(Self { inputs, targets, places })
    }

    /// SHA-256 of all of it.
    pub(super) fn digest(&self) -> String {
        let mut sha = Sha256::new();
        let mut tensor = |t: &Tensor| {
            sha.update(format!("{} {:?};", t.dtype(), t.dims()));
            sha.update(t.le_bytes());
        };
        for input in &self.inputs {
            match input {
                SampleInput::Rows(one) => tensor(one),
                SampleInput::Whole(all) => all.iter().for_each(&mut tensor),
                SampleInput::Same(one) => tensor(one),
            }
        }
        match &self.targets {
            Targets::Classes(labels) => labels.iter().for_each(|l| sha.update(l.to_le_bytes())),
            Targets::Values(values) => tensor(values),
            Targets::Whole(values) => values.iter().for_each(&mut tensor),
            Targets::Teacher => sha.update("teacher"),
        }
        super::checkpoint::hex(&sha.finalize())
    }
}

impl SampleInput {
    /// How many samples there are; `None` for what all have in common.
    fn count(&self) -> Option<usize> {
        match self {
            Self::Rows(tensor) => Some(tensor.dims().first().copied().unwrap_or(0)),
            Self::Whole(all) => Some(all.len()),
            Self::Same(_) => None,
        }
    }

    fn check_finite(&self, input: usize) -> Result<(), QatError> {
        match self {
            Self::Rows(tensor) => check_finite(tensor, Some(input), None),
            Self::Whole(all) => {
                all.iter().enumerate().try_for_each(|(i, t)| check_finite(t, Some(input), Some(i)))
            }
            Self::Same(tensor) => check_finite(tensor, Some(input), Some(0)),
        }
    }
}

/// Looks for the first number that is none; `sample` is of whom the whole tensor is.
fn check_finite(tensor: &Tensor, input: Option<usize>, sample: Option<usize>) -> Result<(), QatError> {
    let at = match tensor.as_slice::<f32>() {
        Ok(values) => values.iter().position(|v| !v.is_finite()).map(|at| (at, f64::from(values[at]))),
        Err(_) => tensor
            .to_f64_vec()
            .and_then(|values| values.iter().position(|v| !v.is_finite()).map(|at| (at, values[at]))),
    };
    let Some((at, value)) = at else { return Ok(()) };
    if let Some(sample) = sample {
        return Err(QatError::SampleNotFinite { input, sample, element: at, value });
    }
    let each = (tensor.len() / tensor.dims().first().copied().unwrap_or(1).max(1)).max(1);
    Err(QatError::SampleNotFinite { input, sample: at / each, element: at % each, value })
}

/// Rows of a tensor.
pub(super) fn gather(tensor: &Tensor, rows: &[usize]) -> Result<Tensor, QatError> {
    let indices = Tensor::vector(rows.iter().map(|r| *r as i64).collect::<Vec<_>>());
    let inputs = [Some(tensor), Some(&indices)];
    Ok(eval_op(&Op::Gather { axis: 0 }, &inputs, 1, Precision::F32)?.swap_remove(0))
}
