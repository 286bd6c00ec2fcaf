//! What a model answers on other kernels.

use super::interpreter::{Arithmetic, Interpreter};
use super::product::Differences;
use crate::accuracy::{argmax, find_output, nth, score_rows};
use crate::answers::labelled;
use crate::{Accuracy, AnalysisError, Dataset, OutputError};
use serde::Serialize;
use tq_graph::Graph;

/// Rows that run at once.
const BATCH: usize = 4;

/// Kernels of others, of which there are two kinds that do not give our answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Peer {
    /// Pairs of products added in 16 bits with saturation (`vpmaddubsw`), as ONNX Runtime, FBGEMM and oneDNN do it on x86
    /// processors without VNNI where weights are signed. Requantized as we do it.
    SaturatingPairs,
    /// Exact sums, requantized in fixed point with two roundings, as gemmlowp and TensorFlow Lite's reference kernels do
    /// it. Convolutions and products alone: sums of tensors and means are as ours.
    FixedPoint,
}

impl Peer {
    /// A few words, for tables and headings.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Peer::SaturatingPairs => "x86 without VNNI, saturating at 16 bits",
            Peer::FixedPoint => "mobile, requantizing in fixed point",
        }
    }
}

/// What becomes of one layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerForecast {
    /// Name of the node.
    pub node: String,
    /// Percent of its results that are not the exact ones for the codes it gets there.
    pub changed: f64,
    /// The most that a code of it is off; none where its results are no codes.
    pub most: u32,
}

/// What becomes of a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PeerForecast {
    /// Where.
    pub peer: Peer,
    /// Rows that were run.
    pub rows: usize,
    /// Signal to noise of its output there in dB, our output being the signal.
    pub sqnr_db: f64,
    /// Largest absolute difference between the outputs.
    pub max_error: f64,
    /// Percent of rows in which another class gets the largest score, where the output has classes.
    pub decisions_changed: Option<f64>,
    /// Percent of rows that are right here and there, where there are labels.
    pub top1: Option<(f64, f64)>,
    /// Every convolution and product with constant weights and static activations, in the order of the model; products with
    /// weights in groups left out.
    pub layers: Vec<LayerForecast>,
}

/// Runs a quantized model with the arithmetic of others beside our own, on the first rows of the data. `progress` is told the
/// rows done after every batch.
///
/// Activations of 8 bits with a sign are taken as unsigned ones shifted by 128, as these kernels hold them. `labels` holds one
/// class for every row of the data.
///
/// # Errors
/// [`AnalysisError::Empty`] without data, [`AnalysisError::Labels`] when labels do not fit, [`AnalysisError::Output`] when
/// there is no such output, [`AnalysisError::Eval`] and [`AnalysisError::Graph`] for a broken model.
pub fn forecast_peers(
    quantized: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    output: Option<&str>,
    rows: usize,
    mut progress: impl FnMut(usize),
) -> Result<Vec<PeerForecast>, AnalysisError> {
    let (index, name) = find_output(quantized, output)?;
    let interpreter = Interpreter::new(quantized)?;
    let mut sums: Vec<Sums> = [Peer::SaturatingPairs, Peer::FixedPoint]
        .map(|peer| Sums::new(peer, interpreter.products().len()))
        .into();
    let (mut done, mut here) = (0, Accuracy::default());
    let mut unused = vec![Differences::default(); interpreter.products().len()];
    for batch in labelled(data, labels, Some(BATCH)) {
        let (batch, labels) = batch?;
        let ours = interpreter.run(&batch.inputs, Arithmetic::Exact, &mut unused)?;
        let ours = batch.trim(nth(&ours, index, name)?.clone())?;
        if let Some(labels) = labels {
            here.add(name, &ours, labels)?;
        }
        for sums in &mut sums {
            let arithmetic = match sums.peer {
                Peer::SaturatingPairs => Arithmetic::SaturatingPairs,
                Peer::FixedPoint => Arithmetic::FixedPoint,
            };
            let theirs = interpreter.run(&batch.inputs, arithmetic, &mut sums.layers)?;
            let theirs = batch.trim(nth(&theirs, index, name)?.clone())?;
            sums.error.add(&ours, &theirs)?;
            let scores = |t| score_rows(name, t, batch.rows).ok();
            sums.changed =
                sums.changed.zip(scores(&ours).zip(scores(&theirs))).map(|(n, ((x, classes), (y, _)))| {
                    let rows = x.chunks_exact(classes).zip(y.chunks_exact(classes));
                    n + rows.filter(|(x, y)| argmax(x) != argmax(y)).count()
                });
            if let Some(labels) = labels {
                sums.there.add(name, &theirs, labels)?;
            }
        }
        done += batch.rows;
        progress(done);
        if done >= rows {
            break;
        }
    }
    if done == 0 {
        return Err(AnalysisError::Empty);
    }
    let percent = |n: f64, of: f64| 100.0 * n / of.max(1.0);
    Ok(sums
        .into_iter()
        .map(|s| PeerForecast {
            peer: s.peer,
            rows: done,
            sqnr_db: s.error.sqnr_db(),
            max_error: s.error.max_error(),
            decisions_changed: s.changed.map(|n| percent(n as f64, done as f64)),
            top1: labels.map(|_| (here.percent().top1, s.there.percent().top1)),
            layers: (interpreter.products().iter().zip(&s.layers))
                .map(|(p, d)| LayerForecast {
                    node: p.name().to_owned(),
                    changed: percent(d.changed as f64, d.results as f64),
                    most: d.most,
                })
                .collect(),
        })
        .collect())
}

/// Sums over batches.
struct Sums {
    peer: Peer,
    error: OutputError,
    changed: Option<usize>,
    there: Accuracy,
    layers: Vec<Differences>,
}

impl Sums {
    fn new(peer: Peer, layers: usize) -> Self {
        Self {
            peer,
            error: OutputError::default(),
            changed: Some(0),
            there: Accuracy::default(),
            layers: vec![Differences::default(); layers],
        }
    }
}
