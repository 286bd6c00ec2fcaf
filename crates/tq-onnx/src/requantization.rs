//! How products requantize: ONNX has no words for it, so files keep it in the metadata where it is not the usual way.
//!
//! Other runtimes do not know the entry, and requantize as they always do.

use crate::OnnxError;
use tq_graph::Graph;
use tq_qtypes::Requantization;

const KEY: &str = "torsh-quantization.requantization";

/// The metadata entry that `graph` needs beside its own.
pub(crate) fn entry(graph: &Graph) -> Option<(String, String)> {
    let named = (KEY.to_owned(), graph.requantization.name().to_owned());
    (graph.requantization != Requantization::default()).then_some(named)
}

/// Gives the graph back what the metadata says.
pub(crate) fn restore(graph: &mut Graph) -> Result<(), OnnxError> {
    let Some(name) = graph.metadata.remove(KEY) else { return Ok(()) };
    graph.requantization = Requantization::by_name(&name).ok_or_else(|| {
        OnnxError::Model(format!("its metadata names {name:?}, which is no way to requantize"))
    })?;
    Ok(())
}
