//! A quantized model beside its float original.

use crate::accuracy::{argmax, check_label_count, find_output, nth, score_rows};
use crate::answers::Changed;
use crate::finite::require_answers;
use crate::origin::require_order;
use crate::user_metric::{Gathered, Metric, MetricComparison};
use crate::{
    Accuracy, AnalysisError, Dataset, Evaluation, Latency, LatencyOptions, OutputError, Runner, measure_pair,
};
use tq_graph::{Graph, Tensor};

/// What is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct CompareOptions {
    /// Name of the output that is compared; the first one when not given.
    pub output: Option<String>,
    /// Rows a batch, where the models leave that free; all at once when not given.
    pub batch: Option<usize>,
    /// How run times are taken, on the first row of the data; not at all when not given.
    pub latency: Option<LatencyOptions>,
    /// Bytes of the two model files, where there are any: float, quantized.
    pub file_bytes: Option<(u64, u64)>,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self { output: None, batch: None, latency: Some(LatencyOptions::default()), file_bytes: None }
    }
}

/// Figures of one model.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ModelFigures {
    /// Accuracy, where there are labels.
    #[serde(flatten)]
    pub accuracy: Option<Evaluation>,
    /// Bytes of all constants, 4-bit ones packed.
    pub parameter_bytes: u64,
    /// Bytes of the model's file, where it is known.
    pub file_bytes: Option<u64>,
    /// Run times of one row, where they were taken.
    pub latency: Option<Latency>,
}

/// What quantization changed.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// Rows compared.
    pub n: usize,
    /// The float model.
    pub float: ModelFigures,
    /// The quantized model.
    pub quantized: ModelFigures,
    /// Top-1 of the float model less that of the quantized one, in percent points.
    pub accuracy_drop: Option<f64>,
    /// Bounds of that drop in the population that the rows are a sample of, at 95 %: from the rows that one model alone has
    /// right (Agresti and Min's interval for matched proportions).
    pub accuracy_drop_interval: Option<(f64, f64)>,
    /// Signal to quantization noise of the output in dB.
    pub sqnr_db: f64,
    /// Cosine of the angle between the outputs.
    pub cosine: f64,
    /// Largest absolute difference between the outputs.
    pub max_error: f64,
    /// Percent of rows in which both models give the largest score to the same class, where the output has classes.
    pub argmax_agreement: Option<f64>,
    /// Median run time of the float model over that of the quantized one.
    pub speedup: Option<f64>,
    /// Size of the float model over that of the quantized one: of the files where known, else of the parameters.
    pub compression_ratio: f64,
    /// The user's own figures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricComparison>,
}

/// Runs both models, each in a session, over the same data.
///
/// # Errors
/// [`AnalysisError::Models`] when the first model is quantized and the second is not, [`AnalysisError::Labels`] when labels do not fit, [`AnalysisError::Output`] and [`AnalysisError::Incomparable`] when
/// outputs do not, and what [`Runner::run`] and [`Dataset::batches`] say.
pub fn compare_models(
    float: &Graph,
    quantized: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    options: &CompareOptions,
) -> Result<Comparison, AnalysisError> {
    compare_with_metrics(float, quantized, data, labels, &[], options, |_| ())
}

/// [`compare_models`] that tells the rows done after every batch.
///
/// # Errors
/// As [`compare_models`].
pub fn compare_with_progress(
    float: &Graph,
    quantized: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    options: &CompareOptions,
    progress: impl FnMut(usize),
) -> Result<Comparison, AnalysisError> {
    compare_with_metrics(float, quantized, data, labels, &[], options, progress)
}

/// [`compare_models`] with figures of one's own, each with the interval of its drop; the outputs of all rows are kept for
/// them. `progress` is told the rows done after every batch.
///
/// # Errors
/// As [`compare_models`], [`AnalysisError::Metric`] where one has no figure for all rows, and [`AnalysisError::Concat`] where outputs are not one a row.
///
/// ```
/// # use tq_analysis::{AnalysisError, Dataset};
/// # use tq_graph::{Graph, Tensor};
/// # fn show(float: &Graph, quantized: &Graph, data: &Dataset, truth: &[f32]) -> Result<(), AnalysisError> {
/// use tq_analysis::{CompareOptions, MetricError, compare_with_metrics};
/// // The mean absolute error of a model that gives one number a row.
/// let error = |outputs: &[Tensor], rows: &[usize]| -> Result<f64, MetricError> {
///     let y = outputs[0].as_slice::<f32>()?;
///     Ok(rows.iter().map(|r| f64::from((y[*r] - truth[*r]).abs())).sum::<f64>() / rows.len() as f64)
/// };
/// let metric = ("mean absolute error", error);
/// let options = CompareOptions::default();
/// let comparison = compare_with_metrics(float, quantized, data, None, &[&metric], &options, |_| ())?;
/// let error = &comparison.metrics[0];
/// println!("{}: {:.3} and {:.3}, difference {:?}", error.name, error.float, error.quantized, error.drop_interval);
/// # Ok(())
/// # }
/// ```
pub fn compare_with_metrics(
    float: &Graph,
    quantized: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    metrics: &[&dyn Metric],
    options: &CompareOptions,
    mut progress: impl FnMut(usize),
) -> Result<Comparison, AnalysisError> {
    require_order(float, quantized)?;
    if let Some(labels) = labels {
        check_label_count(data, labels)?;
    }
    let (index, name) = find_output(float, options.output.as_deref())?;
    let (quantized_index, _) = find_output(quantized, options.output.as_deref())?;
    let (a, b) = (Runner::session(float)?, Runner::session(quantized)?);
    let mut error = OutputError::default();
    let mut accuracies = (Accuracy::default(), Accuracy::default());
    let (mut changed, mut gathered) = (Changed::default(), Gathered::default());
    let (mut done, mut agree) = (0, Some(0));
    for batch in data.finite_batches(options.batch) {
        let batch = batch?;
        let (of_float, of_quantized) = (a.run(&batch.inputs)?, b.run(&batch.inputs)?);
        let (x, y) = (nth(&of_float, index, name)?, nth(&of_quantized, quantized_index, name)?);
        let (x, y) = (batch.trim(x.clone())?, batch.trim(y.clone())?);
        if !metrics.is_empty() {
            let trimmed = |all: Vec<Tensor>| all.into_iter().map(|t| batch.trim(t)).collect::<Result<_, _>>();
            gathered.add(trimmed(of_float)?, trimmed(of_quantized)?);
        }
        require_answers(name, &x, done)?;
        error.add(&x, &y)?;
        agree = agree.and_then(|n| Some(n + agreements(name, &x, &y, batch.rows)?));
        if let Some(labels) = labels {
            let labels = &labels[done..done + batch.rows];
            accuracies.0.add(name, &x, labels)?;
            accuracies.1.add(name, &y, labels)?;
            changed.add(&Accuracy::hits(name, &x, labels)?, &Accuracy::hits(name, &y, labels)?);
        }
        done += batch.rows;
        progress(done);
    }
    let latencies = match (&options.latency, data.batches(Some(1)).next()) {
        (Some(options), Some(batch)) => {
            let inputs = batch?.inputs;
            Some(measure_pair(options, || a.run(&inputs).map(drop), || b.run(&inputs).map(drop))?)
        }
        _ => None,
    };
    let figures = |graph: &Graph, accuracy: Accuracy, file_bytes: Option<u64>, latency: Option<Latency>| {
        let accuracy = labels.map(|_| accuracy.percent());
        ModelFigures { accuracy, parameter_bytes: parameter_bytes(graph), file_bytes, latency }
    };
    let of_float = figures(float, accuracies.0, options.file_bytes.map(|f| f.0), latencies.map(|l| l.0));
    let of_quantized =
        figures(quantized, accuracies.1, options.file_bytes.map(|f| f.1), latencies.map(|l| l.1));
    let size = |m: &ModelFigures| m.file_bytes.unwrap_or(m.parameter_bytes).max(1) as f64;
    Ok(Comparison {
        n: done,
        accuracy_drop: of_float.accuracy.zip(of_quantized.accuracy).map(|(f, q)| f.top1 - q.top1),
        accuracy_drop_interval: labels.filter(|_| changed.rows > 0).map(|_| {
            let (low, high) = changed.interval();
            (low * 100.0, high * 100.0)
        }),
        sqnr_db: error.sqnr_db(),
        cosine: error.cosine(),
        max_error: error.max_error(),
        argmax_agreement: agree.filter(|_| done > 0).map(|n| n as f64 * 100.0 / done as f64),
        speedup: latencies.filter(|l| l.1.median_ms > 0.0).map(|(f, q)| f.median_ms / q.median_ms),
        compression_ratio: size(&of_float) / size(&of_quantized),
        metrics: gathered.compare(metrics, done)?,
        float: of_float,
        quantized: of_quantized,
    })
}

/// Bytes of all constants of a graph, 4-bit ones packed.
#[must_use]
pub fn parameter_bytes(graph: &Graph) -> u64 {
    graph.values.iter().filter_map(|v| v.constant.as_ref()).map(|t| t.packed_bytes() as u64).sum()
}

/// Rows in which both have the same largest score; `None` when the outputs are no rows of scores.
fn agreements(name: &str, x: &Tensor, y: &Tensor, rows: usize) -> Option<usize> {
    let (x, classes) = score_rows(name, x, rows).ok()?;
    let (y, _) = score_rows(name, y, rows).ok()?;
    Some(x.chunks_exact(classes).zip(y.chunks_exact(classes)).filter(|(x, y)| argmax(x) == argmax(y)).count())
}
