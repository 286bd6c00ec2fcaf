//! A model of which one layer is quantized.

use crate::calibrated::calibrated;
use crate::constants::{FloatConstants, reader};
use crate::{AnalysisError, Batch};
use serde::Serialize;
use std::collections::HashMap;
use tq_graph::{Graph, Op};
use tq_observers::PlaceholderObserver;
use tq_passes::{Configuration, NodeReport, Placement, QConfig, QConfigDict, Rule, convert};

/// Which tensors of a layer are quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TensorKind {
    /// Its weights and its activations.
    Both,
    /// Its weights alone.
    Weights,
    /// What it reads and gives, on float weights.
    Activations,
}

/// One layer, and what of it is quantized.
pub(super) struct Single<'p> {
    pub(super) layer: &'p NodeReport,
    pub(super) kind: TensorKind,
    configuration: Configuration,
}

impl<'p> Single<'p> {
    /// `None` where the configuration has neither a global rule nor one for this type of layer.
    pub(super) fn new(
        placements: &[NodeReport],
        layer: &'p NodeReport,
        kind: TensorKind,
        base: &Configuration,
    ) -> Option<Self> {
        let qconfig = base.dict.global().or_else(|| of_type(&base.dict, &layer.op))?.clone();
        let qconfig = match kind {
            TensorKind::Weights => qconfig.activation(PlaceholderObserver::default()),
            TensorKind::Both | TensorKind::Activations => qconfig,
        };
        let configuration = alone(base, placements, &layer.node, &qconfig);
        Some(Self { layer, kind, configuration })
    }

    /// The quantized model.
    pub(super) fn graph(&self, model: &Graph, calibration: &[Batch]) -> Result<Graph, AnalysisError> {
        let prepared = calibrated(model, &self.configuration, calibration)?;
        let float = (self.kind == TensorKind::Activations).then(|| prepared.graph().clone());
        let graph = convert(prepared)?.graph;
        Ok(match float {
            Some(float) => with_float_weights(graph, &float),
            None => graph,
        })
    }
}

/// The rule for a type of layers: that of its name, else the one that all types have which are quantized.
fn of_type<'d>(dict: &'d QConfigDict, op: &str) -> Option<&'d QConfig> {
    let by_type = |(rule, qconfig): (Rule, Option<&'d QConfig>)| match rule {
        Rule::ModuleType { name } => Some((name, qconfig?)),
        _ => None,
    };
    let rules: Vec<(String, &QConfig)> = dict.rules().filter_map(by_type).collect();
    let own = rules.iter().find(|(name, _)| name == op).map(|(_, qconfig)| *qconfig);
    let (_, first) = rules.first()?;
    own.or_else(|| rules.iter().all(|(_, qconfig)| qconfig == first).then_some(*first))
}

/// The configuration that quantizes `node`, with the clamp in its epilogue, and nothing else: codes before that clamp would be
/// coarser than they ever are.
pub(crate) fn alone(
    base: &Configuration,
    placements: &[NodeReport],
    node: &str,
    qconfig: &QConfig,
) -> Configuration {
    let clamps = placements
        .iter()
        .filter(|n| matches!(&n.placement, Placement::Epilogue { of } if of == node))
        .map(|n| n.node.as_str());
    let dict = clamps
        .chain([node])
        .fold(QConfigDict::new(), |dict, name| dict.set_module_name(name, qconfig.clone()));
    Configuration { backend: base.backend.clone(), dict }
}

/// The graph with the float model's weights in place of what their codes stand for.
pub(super) fn with_float_weights(mut graph: Graph, float: &Graph) -> Graph {
    let constants = FloatConstants::new(float);
    let consumers = graph.consumers();
    let mut replaced = HashMap::new();
    for node in &graph.nodes {
        let (Op::DequantizeLinear { .. }, Some(codes), Some(out)) = (&node.op, node.input(0), node.output(0))
        else {
            continue;
        };
        // Codes that a Reshape gives the shape of the weights are of that shape only behind it.
        if let (Some(tensor), Some((_, reader, input))) =
            (graph.constant(codes), reader(&graph, &consumers, out))
            && let Some(at) = constants
                .find(reader, input, &graph.value(codes).name, tensor.dims())
                .filter(|at| !at.transposed)
            && let Some(real) = float.constant(at.value).and_then(|t| t.clone().reshape(tensor.dims()).ok())
        {
            replaced.insert(out, real);
        }
    }
    graph.nodes.retain(|n| n.output(0).is_none_or(|v| !replaced.contains_key(&v)));
    for (v, tensor) in replaced {
        graph.values[v.0].constant = Some(tensor);
    }
    graph.compact();
    graph
}
