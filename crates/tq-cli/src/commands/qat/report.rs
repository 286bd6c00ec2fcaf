//! What `tq qat` tells at the end.

use super::super::quantize::FloatNode;
use crate::output::{bytes, size_change, table};
use anyhow::Result;
use serde::Serialize;
use torsh_quantization::analysis::{Accuracy, take_rows};
use torsh_quantization::model::{Graph, Tensor};
use torsh_quantization::qat::{EpochReport, FixedConstant, OutputReport, Samples, Targets, TrainOptions};
use torsh_quantization::qconfig::Configuration;
use torsh_quantization::runtime::{Session, SessionOptions};

/// Samples of a run of the session.
const BATCH: usize = 8;
/// Columns of the longest bar.
const COLUMNS: f64 = 24.0;

#[derive(Serialize)]
pub(super) struct Report<'a> {
    pub(super) output: String,
    /// Of an ONNX file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) opset: Option<i64>,
    pub(super) config: &'a Configuration,
    pub(super) training: &'a TrainOptions,
    pub(super) training_rows: usize,
    pub(super) validation_rows: usize,
    /// Whether validation data was taken from the training data.
    pub(super) validation_split: bool,
    /// Epoch 0 is the model as calibration alone quantizes it.
    pub(super) history: &'a [EpochReport],
    pub(super) best: EpochReport,
    pub(super) integers: Integers,
    /// Of a model of several outputs, each against the float model.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) outputs: Vec<OutputReport>,
    /// Constants that training did not change.
    pub(super) fixed: Vec<FixedConstant>,
    /// What has ended training before its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stopped: Option<String>,
    pub(super) integer_nodes: usize,
    pub(super) float_nodes: usize,
    pub(super) float: Vec<FloatNode<'a>>,
    pub(super) float_bytes: u64,
    pub(super) quantized_bytes: u64,
    pub(super) compression_ratio: f64,
}

/// What the model that was written makes of the validation data, in integers.
#[derive(Serialize)]
pub(super) struct Integers {
    /// Percent of right answers; none without labels.
    top1: Option<f64>,
    /// Without labels: percent of samples decided as the float model does.
    agreement: Option<f64>,
    /// Samples with the same largest score as in training, where rounding is imitated in float.
    same_decisions: usize,
    /// Percent of outputs that differ from what training imitated by at most 1/255 of the range of all outputs, which is one
    /// code of 8 bits. A value on the border of two codes may fall to either side, in float and in integers, and all layers
    /// after it tell the difference.
    within_one_code: f64,
    /// The largest difference, in such codes.
    largest_difference: f64,
}

fn points(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |v| format!("{v:.3} %"))
}

/// The first output for the samples, batch after batch.
pub(super) fn outputs(
    samples: &Samples,
    fixed: Option<usize>,
    mut run: impl FnMut(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Tensor>> {
    let all: Vec<usize> = (0..samples.len()).collect();
    let mut out = Vec::new();
    for rows in all.chunks(fixed.unwrap_or(BATCH)) {
        // A model that insists on a batch gets the last sample again until it is full.
        let mut filled = rows.to_vec();
        filled.resize(fixed.unwrap_or(rows.len()), rows[rows.len() - 1]);
        out.push(take_rows(&run(&samples.inputs(&filled)?)?, 0, rows.len(), rows.len())?);
    }
    Ok(out)
}

/// The number of samples that a model insists on.
pub(super) fn fixed_batch(graph: &Graph) -> Option<usize> {
    graph.inputs.iter().find_map(|v| graph.value(*v).shape.as_ref()?.first()?.known_usize())
}

impl Integers {
    /// Percent of right answers, by labels or by the float model.
    fn right(&self) -> Option<f64> {
        self.top1.or(self.agreement)
    }

    /// `imitated` is what training has made of the samples; without labels `float` says what is right.
    pub(super) fn measure(
        graph: &Graph,
        float: &Graph,
        samples: &Samples,
        imitated: &[Tensor],
    ) -> Result<Self> {
        let run = |graph: &Graph| {
            let session = Session::new(graph, SessionOptions::default())?;
            outputs(samples, fixed_batch(graph), |inputs| Ok(session.run(inputs)?.swap_remove(0)))
        };
        let got = run(graph)?;
        let is_taught = matches!(samples.targets(), Targets::Teacher);
        let teacher = if is_taught { run(float)? } else { Vec::new() };
        let name = graph.outputs.first().map_or("", |v| &graph.value(*v).name);
        let (mut accuracy, mut first, mut same, mut agreed) = (Accuracy::default(), 0, 0, 0);
        let mut differences = Vec::new();
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for (i, (got, imitated)) in got.iter().zip(imitated).enumerate() {
            let rows = got.dims().first().copied().unwrap_or(0);
            if let Targets::Classes(labels) = samples.targets() {
                accuracy.add(name, got, &labels[first..first + rows])?;
            }
            first += rows;
            let (got, imitated) = (got.as_slice::<f32>()?, imitated.as_slice::<f32>()?);
            let classes = (got.len() / rows.max(1)).max(1);
            let best = |row: &[f32]| (0..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b });
            let equal = |other: &[f32]| {
                let both = got.chunks_exact(classes).zip(other.chunks_exact(classes));
                both.filter(|(a, b)| best(a) == best(b)).count()
            };
            same += equal(imitated);
            if let Some(teacher) = teacher.get(i) {
                agreed += equal(teacher.as_slice::<f32>()?);
            }
            for (a, b) in got.iter().zip(imitated) {
                (low, high) = (low.min(*b), high.max(*b));
                differences.push(f64::from((a - b).abs()));
            }
        }
        let top1 = matches!(samples.targets(), Targets::Classes(_)).then(|| accuracy.percent().top1);
        let code = (f64::from(high - low) / 255.0).max(f64::MIN_POSITIVE);
        let close = differences.iter().filter(|d| **d <= code).count();
        let within_one_code = 100.0 * close as f64 / differences.len().max(1) as f64;
        let largest_difference = differences.iter().fold(0.0, |m: f64, d| m.max(d / code));
        let agreement = is_taught.then(|| 100.0 * agreed as f64 / samples.len() as f64);
        Ok(Self { top1, agreement, same_decisions: same, within_one_code, largest_difference })
    }
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let split = if self.validation_split { ", taken from the training data" } else { "" };
        let mut out = format!(
            "{} samples to train on, {} to validate with{split}\n{}\n",
            self.training_rows,
            self.validation_rows,
            self.curve()
        );
        let (start, best) = (self.history.first().unwrap_or(&self.best).validation, self.best);
        out += &match best.epoch {
            0 => "no epoch was clearly better on the validation data than the model before training, which is kept\n"
                .to_owned(),
            n => format!("epoch {n} is kept\n"),
        };
        out += &format!(
            "on the validation data: {} {} before training (calibrated only), {} after, {} in integers\n",
            self.measure(),
            points(start.right()),
            points(best.validation.right()),
            points(self.integers.right())
        );
        for output in &self.outputs {
            let trained = if output.is_trained { "" } else { " (not trained)" };
            out += &format!(
                "output `{}`{trained}: against the float model {} before, {} after\n",
                output.name, output.before, output.after
            );
        }
        out += &format!(
            "in integers it decides as in training on {} of {}; {:.3} % of outputs are within one code of 8 bits, the worst is {:.2} away\n",
            self.integers.same_decisions,
            self.validation_rows,
            self.integers.within_one_code,
            self.integers.largest_difference
        );
        out += &format!(
            "{}: {} nodes in integers, {} in float\n{} -> {} ({}){}\n",
            self.output,
            self.integer_nodes,
            self.float_nodes,
            bytes(self.float_bytes),
            bytes(self.quantized_bytes),
            size_change(self.float_bytes, self.quantized_bytes),
            self.opset.map_or(String::new(), |opset| format!(", opset {opset}")),
        );
        if !self.float.is_empty() {
            let mut table = table(&["stays in float", "operator", "because"]);
            for n in &self.float {
                table.add_row([n.node, n.op, n.reason]);
            }
            out += &format!("{table}\n");
        }
        if !self.fixed.is_empty() {
            let mut table = table(&["not trained", "read by", "operator", "numbers", "because"]);
            for c in &self.fixed {
                table.add_row([&c.name, &c.node, c.op, &c.elements.to_string(), c.reason]);
            }
            out += &format!("{table}\n");
        }
        out
    }

    /// What right answers are counted by.
    fn measure(&self) -> &'static str {
        match self.best.validation.agreement {
            Some(_) => "agreement with the float model",
            None => "top-1",
        }
    }

    /// The loss of every epoch, as numbers and as bars.
    fn curve(&self) -> String {
        let largest = self.history.iter().filter_map(|e| e.loss).fold(0.0, f64::max);
        let mut table = table(&["epoch", "loss", "", "validation loss", self.measure()]);
        for e in self.history {
            let bar = e.loss.map_or(0.0, |loss| (COLUMNS * loss / largest.max(f64::MIN_POSITIVE)).round());
            table.add_row([
                format!("{}{}", e.epoch, if e.epoch == self.best.epoch { " *" } else { "" }),
                e.loss.map_or("-".to_owned(), |loss| format!("{loss:.5}")),
                "█".repeat(bar as usize),
                format!("{:.5}", e.validation.loss),
                points(e.validation.right()),
            ]);
        }
        table.to_string()
    }
}
