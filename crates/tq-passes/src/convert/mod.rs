//! From a calibrated model to a graph with Quantize and Dequantize pairs.

mod build;
mod run_time;
mod weights;

use crate::place::Group;
use crate::prepare::{name_of_group, observe_constants};
use crate::{FusionReport, PassError, Placement, Prepared};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use tq_graph::qdq::{FloatReason, QOperator, QOutput, QdqView};
use tq_graph::{Graph, infer};
use tq_observers::{Observer, ObserverError};
use tq_qtypes::AffineParams;

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
/// [`PassError::NoCalibrationData`] and [`PassError::NeverObserved`] when observers saw nothing,
/// [`PassError::NonFiniteConstant`] when a constant to be quantized is not finite.
pub fn convert(prepared: Prepared) -> Result<Quantized, PassError> {
    let mut nodes = prepared.placements();
    let params = activation_params(&prepared)?;
    let (mut graph, adjustments) = build::quantized_graph(&prepared, &params)?;
    graph.compact();
    infer::infer(&mut graph)?;
    reconcile(&mut nodes, &graph);
    let report = ConvertReport { nodes, adjustments, fusion: prepared.fusion };
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

/// Parameters of every group of values.
fn activation_params(prepared: &Prepared) -> Result<Vec<AffineParams>, PassError> {
    let mut calibration = prepared.calibration().clone();
    let batches = calibration.batches;
    // Ranges may have come from a file.
    let unseen = |o: &dyn Observer| matches!(o.calculate_qparams(), Err(ObserverError::NoData));
    if batches == 0 && calibration.observers.iter().any(|o| unseen(o.as_ref())) {
        return Err(PassError::NoCalibrationData);
    }
    observe_constants(&prepared.graph, &prepared.plan, &mut calibration.observers)?;
    let of_group = |(group, observer): (&Group, Box<dyn Observer>)| {
        observer.calculate_qparams().map_err(|e| {
            let tensor = name_of_group(&prepared.graph, group);
            match e {
                ObserverError::NoData => PassError::NeverObserved { tensor, batches },
                source => PassError::Observer { tensor, source },
            }
        })
    };
    prepared.plan.groups.iter().zip(calibration.observers).map(of_group).collect()
}
