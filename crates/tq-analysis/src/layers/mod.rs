//! Which layer of a quantized model errs, and whether the error is its own.

mod error;
mod pairs;
mod part;

pub use error::{LayerError, LayerErrors, Unmatched};

use crate::{AnalysisError, Batch, Dataset, Histogram, Runner, plot_histograms};
use error::Tally;
use pairs::with_real_results;
pub(crate) use pairs::{Pair, matched, stems};
pub(crate) use part::part;

use crate::origin::origin;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, Tensor, ValueId, infer};

/// Rows that go through the models at once, where they leave that free: all layers' results are in memory together.
const BATCH: usize = 4;

/// A quantized model beside the float model that it was made of, layer by layer.
///
/// A layer is an operator that runs in integers, or one on quantized weights. It is matched with the float model by the
/// names that [`convert`](tq_passes::convert()) keeps; a layer without a counterpart is listed, not dropped.
///
/// ```
/// # use tq_analysis::{AnalysisError, Dataset};
/// # use tq_graph::Graph;
/// # fn show(model: &Graph, quantized: &Graph, data: &Dataset) -> Result<(), AnalysisError> {
/// use tq_analysis::QuantizationDebugger;
/// let debugger = QuantizationDebugger::new(model, quantized, data)?;
/// let errors = debugger.calculate_layer_errors()?;
/// for layer in errors.worst_first() {
///     println!("{}: {:.1} dB of its own, {:.1} dB in all", layer.node, layer.introduced_db, layer.total_db);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct QuantizationDebugger<'d> {
    float: Graph,
    quantized: Graph,
    data: &'d Dataset,
    batch: usize,
    rows: Option<usize>,
}

impl<'d> QuantizationDebugger<'d> {
    /// The two models and data that they take. The float model is fused as conversion fuses it, and its channels are equalized
    /// where the quantized model was made of the equalized one ([`equalize`](tq_passes::equalize())).
    ///
    /// # Errors
    /// [`AnalysisError::Pass`] and [`AnalysisError::Graph`] for a broken model.
    pub fn new(float: &Graph, quantized: &Graph, data: &'d Dataset) -> Result<Self, AnalysisError> {
        let mut quantized = quantized.clone();
        infer::infer(&mut quantized)?;
        let float = origin(float, &quantized)?;
        let quantized = with_real_results(quantized)?;
        Ok(Self { float, quantized, data, batch: BATCH, rows: None })
    }

    /// Runs this many rows at once instead of 4, where the models leave that free.
    #[must_use]
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows.max(1);
        self
    }

    /// Stops after the batch with which this many rows are done.
    #[must_use]
    pub fn rows(mut self, most: usize) -> Self {
        self.rows = Some(most.max(1));
        self
    }

    /// Runs all the data through both models and every layer by itself.
    ///
    /// # Errors
    /// What [`Runner::run`] and [`Dataset::batches`] say; [`AnalysisError::Empty`] without data.
    pub fn calculate_layer_errors(&self) -> Result<LayerErrors, AnalysisError> {
        self.calculate_with_progress(|_| ())
    }

    /// Measures the errors of all layers and writes them as a picture: a PNG file with a row a layer and a column a figure,
    /// the darker the worse. The file is written whole or not at all.
    ///
    /// # Errors
    /// As [`QuantizationDebugger::calculate_layer_errors`]; [`AnalysisError::Write`] when the file cannot be written.
    pub fn plot_error_heatmap(&self, path: impl AsRef<Path>) -> Result<(), AnalysisError> {
        self.calculate_layer_errors()?.plot_heatmap(path)
    }

    /// [`QuantizationDebugger::calculate_layer_errors`] that tells the rows done after every batch.
    ///
    /// # Errors
    /// As that.
    pub fn calculate_with_progress(&self, progress: impl FnMut(usize)) -> Result<LayerErrors, AnalysisError> {
        Ok(self.measure(false, progress)?.0)
    }

    /// The values of every layer's result in the float model, with the range that its codes keep in the quantized one.
    ///
    /// # Errors
    /// As [`QuantizationDebugger::calculate_layer_errors`].
    pub fn calculate_histograms(&self) -> Result<Vec<Histogram>, AnalysisError> {
        Ok(self.measure(true, |_| ())?.1)
    }

    /// [`QuantizationDebugger::calculate_histograms`] as a picture: a PNG file with a plot a layer. The file is written whole
    /// or not at all.
    ///
    /// # Errors
    /// As that; [`AnalysisError::Write`] when the file cannot be written.
    pub fn plot_histograms(&self, path: impl AsRef<Path>) -> Result<(), AnalysisError> {
        plot_histograms(&self.calculate_histograms()?, path)
    }

    /// Errors and histograms in one pass over the data, which is run once instead of twice. `progress` is told the rows done
    /// after every batch.
    ///
    /// # Errors
    /// As [`QuantizationDebugger::calculate_layer_errors`].
    pub fn calculate_all(
        &self,
        progress: impl FnMut(usize),
    ) -> Result<(LayerErrors, Vec<Histogram>), AnalysisError> {
        self.measure(true, progress)
    }

    fn measure(
        &self,
        histograms: bool,
        mut progress: impl FnMut(usize),
    ) -> Result<(LayerErrors, Vec<Histogram>), AnalysisError> {
        let (pairs, unmatched) = matched(&self.float, &self.quantized)?;
        let of_float = |p: &Pair| [&p.float_reads[..], &p.float_inputs[..], &[p.float]].concat();
        let float_values = values(pairs.iter().flat_map(of_float));
        let quantized_values =
            values(pairs.iter().flat_map(|p| p.reads.iter().flatten().copied().chain([p.real])));
        let float_run = Tapped::new(&self.float, float_values)?;
        let quantized_run = Tapped::new(&self.quantized, quantized_values)?;
        let locals: Vec<Local<'_>> = pairs.iter().map(Local::new).collect::<Result<_, _>>()?;
        let tally = |p: &Pair| Tally::new(p.params.as_ref(), histograms);
        let mut tallies: Vec<Tally> = pairs.iter().map(tally).collect();
        let mut rows = 0;
        for batch in self.data.finite_batches(Some(self.batch)) {
            if self.rows.is_some_and(|most| rows >= most) {
                break;
            }
            let batch = batch?;
            let (float, quantized) = (float_run.run(&batch)?, quantized_run.run(&batch)?);
            for (local, tally) in locals.iter().zip(&mut tallies) {
                local.add(&float, &quantized, tally)?;
            }
            rows += batch.rows;
            progress(rows);
        }
        if rows == 0 {
            return Err(AnalysisError::Empty);
        }
        let layers = pairs.iter().zip(&tallies).map(|(p, t)| t.figures(&p.node, &p.op, &p.tensor)).collect();
        let histogram = |(p, t): (&Pair, &Tally)| t.histogram(&p.tensor, p.params.as_ref()).transpose();
        let histograms = pairs.iter().zip(&tallies).filter_map(histogram).collect::<Result<_, _>>()?;
        Ok((LayerErrors { rows, layers, unmatched }, histograms))
    }
}

/// Each once, in order.
pub(crate) fn values(all: impl Iterator<Item = ValueId>) -> Vec<ValueId> {
    let mut seen = HashSet::new();
    all.filter(|v| seen.insert(*v)).collect()
}

/// A model with results of layers among its outputs.
pub(crate) struct Tapped {
    runner: Runner,
    values: Vec<ValueId>,
    own: usize,
    inputs: Vec<ValueId>,
}

impl Tapped {
    pub(crate) fn new(graph: &Graph, values: Vec<ValueId>) -> Result<Self, AnalysisError> {
        let mut tapped = graph.clone();
        let own = tapped.outputs.len();
        let values: Vec<ValueId> = values.into_iter().filter(|v| !graph.inputs.contains(v)).collect();
        tapped.outputs.extend(&values);
        Ok(Self { runner: Runner::session(&tapped)?, values, own, inputs: graph.inputs.clone() })
    }

    /// What a batch makes of these values and of the inputs.
    pub(crate) fn run(&self, batch: &Batch) -> Result<HashMap<ValueId, Tensor>, AnalysisError> {
        let outputs = self.runner.run(&batch.inputs)?;
        let inputs = self.inputs.iter().copied().zip(batch.inputs.iter().cloned());
        Ok(self.values.iter().copied().zip(outputs.into_iter().skip(self.own)).chain(inputs).collect())
    }
}

/// The two parts that a layer is, each to be run by itself.
struct Local<'p> {
    pair: &'p Pair,
    /// The quantized layer, from real numbers to real numbers.
    quantized: Evaluator,
    /// The float layer.
    float: Evaluator,
}

impl<'p> Local<'p> {
    fn new(pair: &'p Pair) -> Result<Self, AnalysisError> {
        let evaluator = |part: &Graph| Evaluator::new(part, Precision::F32);
        Ok(Self { pair, quantized: evaluator(&pair.quantized_part)?, float: evaluator(&pair.float_part)? })
    }

    fn add(
        &self,
        float: &HashMap<ValueId, Tensor>,
        quantized: &HashMap<ValueId, Tensor>,
        tally: &mut Tally,
    ) -> Result<(), AnalysisError> {
        let get = |from: &HashMap<ValueId, Tensor>, v: ValueId| computed(from, v, self.pair);
        let all = |from: &HashMap<ValueId, Tensor>, list: &[ValueId]| {
            list.iter().map(|v| get(from, *v)).collect::<Result<Vec<_>, _>>()
        };
        let expected = get(float, self.pair.float)?;
        let own = one(self.quantized.run(&all(float, &self.pair.float_reads)?)?)?;
        // A value that the quantized model has only in codes is what those stand for; what it lacks is the float one's.
        let mut reads = Vec::new();
        for (v, same) in self.pair.reads.iter().zip(&self.pair.float_inputs) {
            reads.push(match v {
                Some(v) => get(quantized, *v)?,
                None => get(float, *same)?,
            });
        }
        let passed_on = one(self.float.run(&reads)?)?;
        tally.add(&expected, &own, &passed_on, &get(quantized, self.pair.real)?)
    }
}

/// A value beside a layer.
pub(crate) fn computed(
    from: &HashMap<ValueId, Tensor>,
    v: ValueId,
    pair: &Pair,
) -> Result<Tensor, AnalysisError> {
    from.get(&v).cloned().ok_or_else(|| AnalysisError::Output {
        name: pair.node.clone(),
        message: "a tensor beside it was not computed".into(),
    })
}

fn one(mut outputs: Vec<Tensor>) -> Result<Tensor, AnalysisError> {
    outputs.pop().ok_or(AnalysisError::Empty)
}
