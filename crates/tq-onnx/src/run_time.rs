//! Recurrent layers that quantize their data at run time: ONNX has no words for it, so files keep it in the metadata.
//!
//! The file holds a standard operator behind dequantized weights, which every runtime runs in float, and for each such
//! node an entry `torsh-quantization.dynamic/NODE` with the name of the formula.

use crate::OnnxError;
use tq_graph::{Graph, Op};
use tq_qtypes::DynamicFormula;

/// What the metadata keys begin with; the name of the node follows.
const PREFIX: &str = "torsh-quantization.dynamic/";

/// The metadata entries that `graph` needs beside its own.
pub(crate) fn entries(graph: &Graph) -> impl Iterator<Item = (String, String)> + '_ {
    graph.nodes.iter().filter_map(|node| match &node.op {
        Op::Recurrent { attrs, .. } => {
            attrs.dynamic.map(|formula| (format!("{PREFIX}{}", node.name), formula.name().to_owned()))
        }
        _ => None,
    })
}

/// Gives the nodes back what the metadata says of them. Entries of nodes that are gone stay where they are.
pub(crate) fn restore(graph: &mut Graph) -> Result<(), OnnxError> {
    for node in &mut graph.nodes {
        let op = node.op.name();
        let Op::Recurrent { attrs, .. } = &mut node.op else { continue };
        let Some(name) = graph.metadata.remove(&format!("{PREFIX}{}", node.name)) else { continue };
        attrs.dynamic = Some(DynamicFormula::by_name(&name).ok_or_else(|| OnnxError::Node {
            node: node.name.clone(),
            op: op.to_owned(),
            message: format!("the metadata names {name:?}, which is no formula of quantization at run time"),
        })?);
    }
    Ok(())
}
