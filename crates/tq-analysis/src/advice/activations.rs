//! Activations in codes: what they are in the float model, and who reads them.

use super::readers::{Neighbours, Readers};
use super::seen::Seen;
use super::trial::Edit;
use crate::layers::stems;
use std::collections::HashMap;
use tq_graph::qdq::{QOutput, QdqView, codes_in_use};
use tq_graph::{Graph, NodeId, Op, ValueId};
use tq_qtypes::{AffineParams, OperatorKind};

/// An activation in codes of one scale.
pub(super) struct Activation {
    /// It in the float model.
    pub(super) float: ValueId,
    /// Its name there.
    pub(super) tensor: String,
    pub(super) params: AffineParams,
    /// The node that gives it and those that read the codes, in the float model.
    pub(super) nodes: Vec<String>,
    /// Who reads the codes; others read the real numbers.
    pub(super) readers: Readers,
    /// What the data makes of it.
    pub(super) seen: Seen,
    /// The same for the calibration data, where there is some.
    pub(super) calibration: Option<Seen>,
    /// Its codes in the quantized model.
    codes: ValueId,
    /// The largest magnitude of the data in all activations that have to share its scale: what moves or pools codes keeps it.
    pub(super) group_size: f32,
}

impl Activation {
    /// The codes as the quantized model has them, where it has codes.
    pub(super) fn as_it_is(&self) -> Edit {
        self.with(self.params.clone())
    }

    /// Other codes in the same places.
    pub(super) fn with(&self, params: AffineParams) -> Edit {
        Edit::Quantize { value: self.float, params, readers: self.readers.clone() }
    }
}

/// Every tensor that a Quantize node with constant parameters makes codes of, once for each kind of codes.
pub(super) fn activations(
    float: &Graph,
    quantized: &Graph,
    view: &QdqView,
    skipped: &mut Vec<(String, String)>,
) -> Vec<Activation> {
    let in_use = codes_in_use(quantized, view);
    let computed = |(_, v): &(usize, &tq_graph::Value)| v.constant.is_none();
    let names: HashMap<&str, ValueId> = float
        .values
        .iter()
        .enumerate()
        .filter(computed)
        .map(|(i, v)| (v.name.as_str(), ValueId(i)))
        .collect();
    let (producers, neighbours) = (float.producers(), Neighbours::new(float, quantized));
    let mut found: Vec<Activation> = Vec::new();
    for node in &quantized.nodes {
        let (Op::QuantizeLinear { .. }, Some(real), Some(codes)) = (&node.op, node.input(0), node.output(0))
        else {
            continue;
        };
        let name = quantized.value(codes).name.clone();
        let Some(params) = in_use.get(&codes).cloned() else {
            skipped.push((name, "its scale is not constant, or of a form that is not looked at".into()));
            continue;
        };
        let mut tried = stems(&name);
        for stem in stems(&quantized.value(real).name) {
            if !tried.contains(&stem) {
                tried.push(stem);
            }
        }
        let Some(id) = tried.iter().find_map(|n| names.get(n.as_str()).copied()) else {
            skipped.push((name, format!("the float model has no tensor {}", tried.join(" or "))));
            continue;
        };
        let readers = neighbours.of(id, real, codes);
        if let Some(same) = found.iter_mut().find(|a| a.float == id && a.params == params) {
            same.readers.join(readers);
            same.nodes = about(float, producers[id.0], &same.readers);
            continue;
        }
        let rank = float.value(id).shape.as_ref().map(Vec::len);
        // Features of products lie on the last axis, channels of everything else on axis 1.
        let multiplies = |n: &NodeId| matches!(float.node(*n).op, Op::MatMul | Op::Gemm { .. });
        let product = readers.nodes.iter().any(multiplies);
        let axis = rank.filter(|r| *r >= 2).map(|r| if product { r - 1 } else { 1 });
        let Some(seen) = Seen::new(&params, axis) else {
            skipped.push((name, "it has more than one scale, or codes of more than 16 bits".into()));
            continue;
        };
        let nodes = about(float, producers[id.0], &readers);
        let tensor = float.value(id).name.clone();
        let (calibration, group_size) = (None, 0.0);
        found.push(Activation {
            float: id,
            tensor,
            params,
            nodes,
            readers,
            seen,
            calibration,
            codes,
            group_size,
        });
    }
    found
}

/// The names of the node that gives a tensor and of those that read it.
fn about(float: &Graph, producer: Option<NodeId>, readers: &Readers) -> Vec<String> {
    producer.iter().chain(&readers.nodes).map(|id| float.node(*id).name.clone()).collect()
}

/// Tells each activation how far the data reaches in all that have its scale for the sake of operators between them.
pub(super) fn share_scales(activations: &mut [Activation], view: &QdqView) {
    let size = |a: &Activation| a.seen.data_range().map_or(0.0, |(lo, hi)| hi.max(-lo));
    let mut sizes: HashMap<ValueId, f32> = activations.iter().map(|a| (a.codes, size(a))).collect();
    let keeps = |k: OperatorKind| {
        use OperatorKind as K;
        matches!(k, K::Movement | K::MaxPool | K::AveragePool | K::Concat)
    };
    let borders: Vec<(ValueId, ValueId)> = view
        .operators
        .iter()
        .filter(|o| keeps(o.kind))
        .flat_map(|o| o.inputs.iter().flat_map(move |i| o.outputs.iter().map(move |out| (i, out))))
        .filter_map(|(input, output)| match output {
            QOutput::Codes(out) if out.params == input.params => Some((input.value, out.value)),
            _ => None,
        })
        .collect();
    // The largest spreads over the group, whatever way it has to go.
    let mut spreads = true;
    while spreads {
        spreads = false;
        for (a, b) in &borders {
            let [x, y] = [a, b].map(|v| sizes.get(v).copied().unwrap_or(0.0));
            for (v, own) in [(a, x), (b, y)] {
                if own < x.max(y) {
                    sizes.insert(*v, x.max(y));
                    spreads = true;
                }
            }
        }
    }
    for a in activations {
        a.group_size = sizes.get(&a.codes).copied().unwrap_or(0.0);
    }
}
