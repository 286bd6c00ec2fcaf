//! What `tq qat` tells at the end.

use super::super::quantize::FloatNode;
use crate::output::{bytes, size_change, table};
use anyhow::Result;
use serde::Serialize;
use torsh_quantization::analysis::Accuracy;
use torsh_quantization::model::Graph;
use torsh_quantization::qat::{
    EpochReport, FixedConstant, Imitation, OutputComparison, OutputReport, QatModel, Samples, Score, Targets,
    TrainOptions, same_decisions,
};
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
    /// The float model on the validation data.
    pub(super) float_model: Score,
    /// Epoch 0 is the model as calibration alone quantizes it.
    pub(super) history: &'a [EpochReport],
    pub(super) best: EpochReport,
    pub(super) measured: Measured,
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

/// What the model that was written makes of the validation data.
#[derive(Serialize)]
pub(super) struct Measured {
    /// Percent of right answers; none without labels.
    top1: Option<f64>,
    /// Without labels: percent of samples decided as the float model does.
    agreement: Option<f64>,
    /// Classes that the first output has scores of.
    #[serde(skip)]
    classes: Option<usize>,
    /// Every output against what training imitated, where rounding is imitated in float.
    outputs: Vec<OutputComparison>,
}

/// A loss, however large or small.
fn number(loss: f64) -> String {
    match loss.abs() {
        0.0 => "0".to_owned(),
        1e-4..1e5 => format!("{loss:.5}"),
        _ => format!("{loss:.3e}"),
    }
}

/// How much of what quantization cost training has won back, of `what`. The samples have chosen the epoch, too: on others
/// it may be less.
fn won_back(lost: f64, won: f64, what: &str, samples: usize) -> String {
    let part = match won / lost {
        _ if lost <= 0.0 || won <= 0.0 => return String::new(),
        share if share > 1.0 => "more than all".to_owned(),
        share => format!("{:.0} %", 100.0 * share),
    };
    format!(": {part} of the {what} is won back, on the {samples} samples that chose the epoch")
}

fn points(percent: Option<f64>) -> String {
    percent.map_or("-".to_owned(), |v| format!("{v:.3} %"))
}

impl Measured {
    /// Percent of right answers, by labels or by the float model.
    fn right(&self) -> Option<f64> {
        self.top1.or(self.agreement)
    }

    /// Runs `graph`, converted from `trained`; without labels `float` says what is right.
    pub(super) fn of(trained: &QatModel, graph: &Graph, float: &Graph, samples: &Samples) -> Result<Self> {
        let imitation = Imitation::of(trained, samples, BATCH)?;
        let run = |graph: &Graph| {
            let session = Session::new(graph, SessionOptions::default())?;
            samples.outputs(graph, BATCH, |inputs| Ok::<_, anyhow::Error>(session.run(inputs)?))
        };
        let got = run(graph)?;
        let outputs = imitation.compare(&got)?;
        let (mut top1, mut agreement, mut classes) = (None, None, None);
        // Outputs that are no scores of classes are judged by their loss alone.
        if let (Some(scores), true) =
            (got.first(), outputs.first().is_some_and(|o| o.same_decisions.is_some()))
        {
            match samples.targets() {
                Targets::Classes(labels) => {
                    let mut accuracy = Accuracy::default();
                    accuracy.add(&outputs[0].name, scores, labels)?;
                    classes = scores.dims().get(1).copied();
                    top1 = Some(accuracy.percent().top1);
                }
                Targets::Teacher => {
                    let teacher = run(float)?.swap_remove(0);
                    let same = same_decisions(&teacher, scores, samples.len())?;
                    agreement = same.map(|n| 100.0 * n as f64 / samples.len() as f64);
                }
                _ => {}
            }
        }
        Ok(Self { top1, agreement, classes, outputs })
    }

    /// One line an output.
    fn text(&self, samples: usize) -> String {
        let mut out = String::new();
        for o in &self.outputs {
            let decisions = o
                .same_decisions
                .map_or(String::new(), |n| format!("decides as in training on {n} of {samples}; "));
            let share = |n: usize| 100.0 * n as f64 / o.elements.max(1) as f64;
            out += &format!(
                "as written, output `{}`: {decisions}{:.3} % of numbers are the same, ",
                o.name,
                share(o.equal)
            );
            out += &match &o.codes {
                Some(c) => format!(
                    "{:.3} % within one code (of {:.4e}), the worst is {} away\n",
                    share(c.within_one),
                    c.scale,
                    match c.largest {
                        1.0 => "1 code".to_owned(),
                        n => format!("{n} codes"),
                    }
                ),
                None => format!(
                    "the largest difference is {}, of numbers from {:.4} to {:.4}; it is computed in float and has no codes\n",
                    number(o.largest_difference),
                    o.range.0,
                    o.range.1
                ),
            };
        }
        out
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
            0 => self.nothing_better(),
            n => format!("epoch {n} is kept\n"),
        };
        let float = self.float_model;
        out += &format!(
            "on the validation data: {}\n",
            match (float.right(), start.right(), best.validation.right()) {
                (Some(float), Some(before), Some(after)) => format!(
                    "{} {} of the float model, {} before training (calibrated only), {} after, {} as written{}",
                    self.measure(),
                    points(Some(float)),
                    points(Some(before)),
                    points(Some(after)),
                    points(self.measured.right()),
                    won_back(float - before, after - before, "points lost", self.validation_rows)
                ),
                _ => format!(
                    "loss {} of the float model, {} before training (calibrated only), {} after{}",
                    number(float.loss),
                    number(start.loss),
                    number(best.validation.loss),
                    won_back(
                        start.loss - float.loss,
                        start.loss - best.validation.loss,
                        "rise of the loss",
                        self.validation_rows
                    )
                ),
            }
        );
        out += &self.doubts();
        for output in &self.outputs {
            let trained = if output.is_trained { "" } else { " (not trained)" };
            out += &format!(
                "output `{}`{trained}: against the float model {} before, {} after\n",
                output.name, output.before, output.after
            );
        }
        out += &self.measured.text(self.validation_rows);
        out += &format!(
            "{}: {}\n{} -> {} ({}){}\n",
            self.output,
            match self.integer_nodes {
                0 => format!("no node runs in integers: all {} compute in float", self.float_nodes),
                1 => format!("1 node in integers, {} in float", self.float_nodes),
                n => format!("{n} nodes in integers, {} in float", self.float_nodes),
            },
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

    /// Why the model before training is kept.
    fn nothing_better(&self) -> String {
        let mut out =
            "no epoch was clearly better on the validation data than the model before training, which is kept".to_owned();
        let start = self.history.first().map_or(0.0, |e| e.validation.loss);
        let last = self.history.last().map_or(0.0, |e| e.validation.loss);
        if self.validation_rows == 1 {
            out += ": one sample does not tell progress from chance";
        } else if last > 1.5 * start {
            out += &format!(
                ": the loss went from {} to {}, which a smaller learning rate (--lr) may mend",
                number(start),
                number(last)
            );
        }
        out + "\n"
    }

    /// What looks as if the data were not prepared as the float model expects it.
    fn doubts(&self) -> String {
        let (Some(right), Some(classes)) = (self.float_model.top1, self.measured.classes) else {
            return String::new();
        };
        // Within twice the standard error of guessing.
        let (p, n) = (1.0 / classes.max(1) as f64, self.validation_rows as f64);
        let chance = 100.0 * p;
        match right <= chance + 200.0 * (p * (1.0 - p) / n).sqrt() {
            true => format!(
                "the float model itself is right on {}, and guessing among {classes} classes on {chance:.1} %: are scale, mean \
                 and standard deviation those that it was trained with (--scale, --mean, --std), and the labels in its order?\n",
                points(Some(right))
            ),
            false => String::new(),
        }
    }

    /// What right answers are counted by.
    fn measure(&self) -> &'static str {
        match self.best.validation {
            Score { agreement: Some(_), .. } => "agreement with the float model",
            Score { top1: Some(_), .. } => "top-1",
            Score { .. } => "right answers",
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
                e.loss.map_or("-".to_owned(), number),
                "█".repeat(bar as usize),
                number(e.validation.loss),
                points(e.validation.right()),
            ]);
        }
        table.to_string()
    }
}
