//! From a calibrated model to a graph with Quantize and Dequantize pairs.

mod build;
mod overflow_safe;
mod run_time;
pub(crate) mod weights;

use crate::prepare::{name_of_group, observe_constants};
use crate::{FusionReport, PassError, Placement, Prepared};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use tq_graph::qdq::{FloatReason, QOperator, QOutput, QdqView};
use tq_graph::{Graph, NodeId, infer};
use tq_observers::{Observer, ObserverError, Range};
use tq_qtypes::AffineParams;
use tq_qtypes::affine::DEFAULT_EPS;

/// What became of one node of the fused float graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub op: String,
    /// Where it runs.
    #[serde(flatten)]
    pub placement: Placement,
}

impl fmt::Display for NodeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.op, self.node, self.placement)
    }
}

/// A channel whose bias did not fit 32 bits at the scale of the accumulator, so that the scale of its weights was
/// made larger (coarser) until it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BiasAdjustment {
    /// Name of the node.
    pub node: String,
    /// The output channel, or `None` where all weights share one scale.
    pub channel: Option<usize>,
    /// Scale of the weights as their range asks for.
    pub from: f32,
    /// Scale of the weights as it is.
    pub to: f32,
}

/// What [`convert()`] did.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ConvertReport {
    /// Every node of the fused float graph, in its order.
    pub nodes: Vec<NodeReport>,
    /// Weights that became coarser for the sake of their bias.
    pub adjustments: Vec<BiasAdjustment>,
    /// Tensors of values so small that their range asks for a scale below the smallest one that observers give,
    /// [`DEFAULT_EPS`]: their codes are coarser than 8 bits need be, or all zero.
    pub floored: Vec<String>,
    /// What fusion did before.
    pub fusion: FusionReport,
}

impl ConvertReport {
    /// Nodes that compute in float, each with its reason; those on dequantized codes among them.
    pub fn float_nodes(&self) -> impl Iterator<Item = (&NodeReport, &str)> {
        self.nodes.iter().filter_map(|n| Some((n, n.placement.float_reason()?)))
    }

    /// Nodes that run in integers, epilogues included.
    pub fn integer_nodes(&self) -> impl Iterator<Item = &NodeReport> {
        self.nodes.iter().filter(|n| n.placement.is_quantized())
    }
}

/// A quantized model.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized {
    /// The model in QDQ form. Inputs and outputs are named and typed as in the float model.
    pub graph: Graph,
    /// How it came about.
    pub report: ConvertReport,
}

/// Turns what calibration saw into scales, and the model into its QDQ form.
///
/// * A tensor `x` on codes becomes `x` → Quantize → `x_quantized` → Dequantize → `x_dequantized`, with the constants
///   `x_scale` and `x_zero_point`. Where `x` is an output of the model, the name `x` is that of the dequantized one
///   and `x_float` that of the one before.
/// * Weights `w` become constant codes `w_quantized` behind a Dequantize; a bias becomes i32 codes at scale
///   `f32(input scale * weight scale)`.
/// * A Relu or Clip that the quantizer after it does anyway (its bounds quantize to the ends of the codes) goes.
///
/// # Errors
/// Of a [`Prepared`] model [`PassError::NoCalibrationData`] and [`PassError::NeverObserved`] when observers saw nothing,
/// [`PassError::NonFiniteConstant`] when a constant to be quantized is not finite; of other models their own.
pub fn convert<M: Convertible>(model: M) -> Result<Quantized, M::Error> {
    model.into_quantized()
}

/// What [`convert()`] takes: calibrated models, and those trained with fake quantization.
pub trait Convertible {
    /// What can go wrong.
    type Error;

    /// The quantized model.
    ///
    /// # Errors
    /// Of the model's own kind.
    fn into_quantized(self) -> Result<Quantized, Self::Error>;
}

impl Convertible for Prepared {
    type Error = PassError;

    fn into_quantized(self) -> Result<Quantized, PassError> {
        let (params, floored) = activation_params(&self)?;
        quantized(self, &params, &BTreeMap::new(), floored, false)
    }
}

/// The quantized model with these parameters of every group of values, and of the weights of some nodes; `floored` are the
/// names of those whose scale is the smallest one. With `saturate` values are clamped to codes that are fewer than those of
/// their type, as 0..=15 in u8: Quantize nodes clamp to the type alone, and calibration asks for no more.
pub(crate) fn quantized(
    prepared: Prepared,
    params: &[AffineParams],
    weights: &BTreeMap<NodeId, AffineParams>,
    mut floored: Vec<String>,
    saturate: bool,
) -> Result<Quantized, PassError> {
    let mut nodes = prepared.placements();
    let (mut graph, notes) = build::quantized_graph(&prepared, params, weights, saturate)?;
    for name in notes.floored {
        // Weights that two nodes share are quantized for each.
        if !floored.contains(&name) {
            floored.push(name);
        }
    }
    graph.compact();
    infer::infer(&mut graph)?;
    reconcile(&mut nodes, &graph);
    let report = ConvertReport { nodes, adjustments: notes.adjustments, floored, fusion: prepared.fusion };
    Ok(Quantized { graph, report })
}

/// Makes the report say what the view of the finished graph says: whoever runs the graph goes by that view.
fn reconcile(nodes: &mut [NodeReport], graph: &Graph) {
    let view = QdqView::new(graph);
    let name = |id| graph.node(id).name.as_str();
    let integer: HashMap<&str, &QOperator> = view.operators.iter().map(|o| (name(o.node), o)).collect();
    let float: HashMap<&str, &FloatReason> = view.floats.iter().map(|f| (name(f.node), &f.reason)).collect();
    for report in nodes {
        let node = report.node.as_str();
        match (&report.placement, integer.get(node), float.get(node)) {
            (
                Placement::Float { .. } | Placement::Dequantized { .. } | Placement::Integer { .. },
                Some(op),
                _,
            ) => {
                let float_output = op.outputs.iter().any(|o| matches!(o, QOutput::Float(_)));
                report.placement = Placement::Integer { kind: op.kind, float_output };
            }
            (Placement::Integer { .. } | Placement::Epilogue { .. }, None, Some(reason)) => {
                report.placement = Placement::Dequantized { reason: reason.to_string() };
            }
            _ => {}
        }
    }
}

/// Parameters of every group of values, and the names of those at the smallest scale.
fn activation_params(prepared: &Prepared) -> Result<(Vec<AffineParams>, Vec<String>), PassError> {
    let mut calibration = prepared.calibration().clone();
    let batches = calibration.batches;
    // Ranges may have come from a file.
    let unseen = |o: &dyn Observer| matches!(o.calculate_qparams(), Err(ObserverError::NoData));
    if batches == 0 && calibration.observers.iter().any(|o| unseen(o.as_ref())) {
        return Err(PassError::NoCalibrationData);
    }
    observe_constants(&prepared.graph, &prepared.plan, &mut calibration.observers)?;
    let (mut all, mut floored) = (Vec::new(), Vec::new());
    for (group, observer) in prepared.plan.groups.iter().zip(calibration.observers) {
        let tensor = || name_of_group(&prepared.graph, group);
        let params = observer.calculate_qparams().map_err(|e| match e {
            ObserverError::NoData => PassError::NeverObserved { tensor: tensor(), batches },
            source => PassError::Observer { tensor: tensor(), source },
        })?;
        if is_floored(observer.as_ref(), &params) {
            floored.push(tensor());
        }
        all.push(params);
    }
    Ok((all, floored))
}

/// Whether a scale is the smallest one though values were seen that are not zero: their range asks for a smaller one.
fn is_floored(observer: &dyn Observer, params: &AffineParams) -> bool {
    let ranges = observer.channel_ranges();
    let not_zero = |r: &Range| r.min != 0.0 || r.max != 0.0;
    let at_floor = |scale: &f32| *scale <= DEFAULT_EPS;
    if ranges.len() == params.scale.len() {
        return params.scale.iter().zip(&ranges).any(|(s, r)| at_floor(s) && not_zero(r));
    }
    params.scale.iter().all(at_floor) && ranges.iter().any(not_zero)
}
