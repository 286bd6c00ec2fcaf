//! What training imitates, held against the converted model.
//!
//! A model in training rounds in float what the converted one computes on codes. [`Imitation`] keeps what the one makes of
//! samples until the other one has run on them too; who compares runs it, as this crate knows no sessions.
//!
//! ```
//! # use tq_graph::{Dim, Graph, Op, Tensor};
//! # use tq_passes::{QuantConfig, convert};
//! # use tq_qat::prepare_qat;
//! use tq_qat::train::{Imitation, Samples};
//! use tq_runtime::{Session, SessionOptions};
//! # let mut model = Graph::new("net");
//! # let x = model.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
//! # let w = model.add_constant("w", Tensor::new(&[2, 2], vec![0.1f32, 0.2, 0.3, -0.1])?);
//! # let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
//! # model.outputs.push(y);
//! let points = Tensor::new(&[4, 2], vec![1.0f32, 0.2, 0.1, 0.9, 0.8, -0.1, 0.3, 1.1])?;
//! let samples = Samples::classes(vec![points.clone()], vec![0, 1, 0, 1])?;
//! let qat_model = prepare_qat(model, QuantConfig::default())?;
//! qat_model.forward(&points)?; // the observers see it
//! qat_model.train(false);
//! let imitation = Imitation::of(&qat_model, &samples, 2)?;
//! let graph = convert(qat_model)?.graph;
//! let session = Session::new(&graph, SessionOptions::default())?;
//! let run = |inputs: &[Tensor]| Ok::<_, Box<dyn std::error::Error>>(session.run(inputs)?);
//! let outputs = samples.outputs(&graph, 2, run)?;
//! let compared = &imitation.compare(&outputs)?[0];
//! assert_eq!(compared.same_decisions, Some(4));
//! // The last operator is a linear layer, whose sums stay float: there are no codes to count.
//! assert!(compared.codes.is_none() && compared.largest_difference == 0.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::batches::Batches;
use super::measure::decisions;
use super::samples::{Samples, gather};
use crate::{QatError, QatModel, Tape};
use serde::Serialize;
use tq_eval::{Precision, eval_op};
use tq_graph::{Graph, Op, Tensor};

/// The outputs of a model in training, for samples, with the codes on whose grid they lie.
#[derive(Debug, Clone)]
pub struct Imitation {
    names: Vec<String>,
    /// The scale of the codes of each output; `None` for what is computed in float.
    scales: Vec<Option<f32>>,
    outputs: Vec<Tensor>,
    samples: usize,
}

/// One output of a converted model against what training has imitated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputComparison {
    /// Its name.
    pub name: String,
    /// Samples with the same largest score, the lower class of equal ones; `None` for an output that has not one row of at
    /// least two numbers a sample.
    pub same_decisions: Option<usize>,
    /// Numbers compared.
    pub elements: usize,
    /// Numbers that are the same.
    pub equal: usize,
    /// The largest difference of two numbers; infinite (null in JSON) where only one of them is a number.
    pub largest_difference: f64,
    /// The smallest and the largest number that training has imitated.
    pub range: (f64, f64),
    /// The differences in codes of the output; `None` for an output that is computed in float, which has no codes.
    pub codes: Option<CodeDistances>,
}

/// Differences counted in codes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeDistances {
    /// What one code stands for.
    pub scale: f32,
    /// Numbers whose codes differ by at most one.
    pub within_one: usize,
    /// The largest distance of two codes; infinite (null in JSON) where only one is a number.
    pub largest: f64,
}

impl Imitation {
    /// Runs a model in training on samples, `batch` at a time where the model leaves that free. It should not be in the state
    /// of training ([`QatModel::train`]).
    ///
    /// # Errors
    /// As [`QatModel::run`] and [`QatModel::output_params`].
    pub fn of(model: &QatModel, samples: &Samples, batch: usize) -> Result<Self, QatError> {
        let graph = model.prepared().graph();
        let names = graph.outputs.iter().map(|v| graph.value(*v).name.clone()).collect();
        let scale = |i: usize| Ok(model.output_params(i)?.and_then(|p| p.uniform()).map(|(scale, _)| scale));
        let scales = (0..graph.outputs.len()).map(scale).collect::<Result<_, QatError>>()?;
        let outputs = samples.outputs(graph, batch, |inputs| {
            let outputs = model.run(&Tape::without_gradients(), inputs)?;
            Ok::<_, QatError>(outputs.iter().map(|v| v.value().clone()).collect())
        })?;
        Ok(Self { names, scales, outputs, samples: samples.len() })
    }

    /// The outputs, with the samples along axis 0.
    #[must_use]
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Compares the outputs of the converted model for the same samples, as [`Samples::outputs`] gives them.
    ///
    /// # Errors
    /// [`QatError::Compared`] for more or fewer outputs, or outputs of another shape or type.
    pub fn compare(&self, outputs: &[Tensor]) -> Result<Vec<OutputComparison>, QatError> {
        if outputs.len() != self.outputs.len() {
            let message = format!("{} outputs, expected {}", outputs.len(), self.outputs.len());
            return Err(QatError::Compared { output: String::new(), message });
        }
        let all = self.names.iter().zip(&self.scales).zip(self.outputs.iter().zip(outputs));
        all.map(|((name, scale), (imitated, got))| self.one(name, *scale, imitated, got)).collect()
    }

    fn one(
        &self,
        name: &str,
        scale: Option<f32>,
        imitated: &Tensor,
        got: &Tensor,
    ) -> Result<OutputComparison, QatError> {
        if imitated.dims() != got.dims() || imitated.dtype() != got.dtype() {
            let of = |t: &Tensor| format!("{} {:?}", t.dtype(), t.dims());
            let message = format!("{}, expected {}", of(got), of(imitated));
            return Err(QatError::Compared { output: name.to_owned(), message });
        }
        let (expected, values) = (numbers(imitated), numbers(got));
        let differences: Vec<f64> = expected.iter().zip(&values).map(|(a, b)| difference(*a, *b)).collect();
        let largest_difference = differences.iter().copied().fold(0.0, f64::max);
        let codes = scale.map(|scale| {
            let distance = |d: &f64| (d / f64::from(scale)).round();
            CodeDistances {
                scale,
                within_one: differences.iter().filter(|d| distance(d) <= 1.0).count(),
                largest: distance(&largest_difference),
            }
        });
        Ok(OutputComparison {
            name: name.to_owned(),
            same_decisions: same_decisions(imitated, got, self.samples)?,
            elements: differences.len(),
            equal: differences.iter().filter(|d| **d == 0.0).count(),
            largest_difference,
            range: expected
                .iter()
                .fold((f64::INFINITY, f64::NEG_INFINITY), |r, v| (r.0.min(*v), r.1.max(*v))),
            codes,
        })
    }
}

/// On how many of `samples` two tensors of scores `[samples, classes]` (further axes of length 1 may follow) have the same
/// class in front, the lower one of equal ones; `None` for tensors that are no such scores.
///
/// # Errors
/// [`QatError::Graph`] when a tensor is no f32 after all, which is never.
pub fn same_decisions(a: &Tensor, b: &Tensor, samples: usize) -> Result<Option<usize>, QatError> {
    let is_scores = |dims: &[usize]| matches!(dims, [n, classes, ones @ ..] if *n == samples && *classes > 1 && ones.iter().all(|d| *d == 1));
    let is_f32 = |t: &Tensor| t.as_slice::<f32>().is_ok();
    if a.dims() != b.dims() || !is_scores(a.dims()) || !is_f32(a) || !is_f32(b) {
        return Ok(None);
    }
    let classes = a.dims()[1];
    let both = decisions(a, classes)?.into_iter().zip(decisions(b, classes)?);
    Ok(Some(both.filter(|(a, b)| a == b).count()))
}

impl Samples {
    /// The outputs of whatever runs the model `graph`, for all samples: `batch` of them at a time, or as many as the model
    /// insists on, which gets the last sample again until it has enough. Each output comes back with the samples along axis
    /// 0; the parts of one that has not one part a sample follow each other there.
    ///
    /// # Errors
    /// What `run` says; [`QatError::Compared`] when it gives other outputs for some samples than for the first;
    /// [`QatError::Training`] for a batch of no samples.
    pub fn outputs<E: From<QatError>>(
        &self,
        graph: &Graph,
        batch: usize,
        mut run: impl FnMut(&[Tensor]) -> Result<Vec<Tensor>, E>,
    ) -> Result<Vec<Tensor>, E> {
        let batches = Batches::of_size(graph, batch, self)?;
        let all: Vec<usize> = (0..self.len()).collect();
        let mut parts: Vec<Vec<Tensor>> = Vec::new();
        for rows in all.chunks(batches.pass) {
            let filled = batches.filled(rows);
            let outputs = run(&self.inputs(&filled)?)?;
            if rows[0] == 0 {
                parts.resize(outputs.len(), Vec::new());
            }
            if outputs.len() != parts.len() {
                let message = format!("{} outputs, {} of the first samples", outputs.len(), parts.len());
                return Err(QatError::Compared { output: String::new(), message }.into());
            }
            for (part, output) in parts.iter_mut().zip(outputs) {
                part.push(trimmed(output, rows.len(), filled.len())?);
            }
        }
        parts.iter().map(|part| Ok(joined(part)?)).collect()
    }
}

/// The part of an output that is not of samples which only fill a batch; of rank 1 at least.
fn trimmed(output: Tensor, rows: usize, filled: usize) -> Result<Tensor, QatError> {
    match output.dims() {
        [] => Ok(output.reshape(&[1])?),
        [n, ..] if *n == filled && rows < filled => gather(&output, &(0..rows).collect::<Vec<_>>()),
        _ => Ok(output),
    }
}

/// One after the other, along axis 0.
fn joined(parts: &[Tensor]) -> Result<Tensor, QatError> {
    match parts {
        [one] => Ok(one.clone()),
        _ => {
            let inputs: Vec<Option<&Tensor>> = parts.iter().map(Some).collect();
            Ok(eval_op(&Op::Concat { axis: 0 }, &inputs, 1, Precision::F32)?.swap_remove(0))
        }
    }
}

/// The numbers of a tensor; truth values count as 0 and 1.
fn numbers(tensor: &Tensor) -> Vec<f64> {
    let integers = || tensor.to_i64_vec().map(|values| values.into_iter().map(|v| v as f64).collect());
    tensor.to_f64_vec().or_else(integers).unwrap_or_default()
}

/// How far two numbers are apart: infinitely where only one of them is a number, or they are different infinities.
fn difference(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let d = (a - b).abs();
    if d.is_nan() { f64::INFINITY } else { d }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imitation(scale: Option<f32>, values: Vec<f32>, classes: usize) -> Imitation {
        let samples = values.len() / classes;
        let outputs = vec![Tensor::new(&[samples, classes], values).unwrap()];
        Imitation { names: vec!["y".to_owned()], scales: vec![scale], outputs, samples }
    }

    #[test]
    fn distances_are_counted_in_codes_of_the_output() {
        let of = imitation(Some(0.5), vec![0.0, 1.0, 2.0, 1.5], 2);
        let got = Tensor::new(&[2, 2], vec![0.5f32, 1.0, 1.0, 1.5]).unwrap();
        let found = of.compare(std::slice::from_ref(&got)).unwrap().remove(0);
        assert_eq!((found.elements, found.equal, found.same_decisions), (4, 2, Some(1)));
        assert_eq!((found.largest_difference, found.range), (1.0, (0.0, 2.0)));
        let codes = found.codes.unwrap();
        assert_eq!((codes.scale, codes.within_one, codes.largest), (0.5, 3, 2.0));
        // The same in float: nothing to count by.
        let of = imitation(None, vec![0.0, 1.0, 2.0, 1.5], 2);
        assert!(of.compare(std::slice::from_ref(&got)).unwrap()[0].codes.is_none());
    }

    #[test]
    fn what_is_no_number_is_far_away() {
        let of = imitation(Some(1.0), vec![f32::NAN, 1.0, f32::INFINITY], 1);
        let got = Tensor::new(&[3, 1], vec![f32::NAN, f32::NAN, f32::INFINITY]).unwrap();
        let found = of.compare(&[got]).unwrap().remove(0);
        assert_eq!((found.equal, found.largest_difference, found.same_decisions), (2, f64::INFINITY, None));
        assert_eq!(found.codes.unwrap().largest, f64::INFINITY);
    }

    #[test]
    fn other_outputs_are_named() {
        let of = imitation(None, vec![0.0; 4], 2);
        let told = |outputs: &[Tensor]| of.compare(outputs).unwrap_err().to_string();
        assert_eq!(told(&[]), "outputs cannot be compared: 0 outputs, expected 1");
        let wrong = told(&[Tensor::vector(vec![0.0f32; 4])]);
        assert_eq!(wrong, "output y cannot be compared: f32 [4], expected f32 [2, 2]");
    }
}
