//! Doc strings: a graph has no place for them, so they travel in its metadata and go back to where they were.

use crate::proto::ModelProto;
use std::collections::BTreeMap;

/// Key of the model's own doc string; those of its parts have the part behind a slash.
const KEY: &str = "tq.doc_string";

fn of_node(name: &str) -> String {
    format!("{KEY}/node/{name}")
}

fn of_value(name: &str) -> String {
    format!("{KEY}/value/{name}")
}

/// Metadata entries for the doc strings of a model: its own, the graph's, and those of named nodes, inputs and outputs.
pub(crate) fn entries(model: &ModelProto) -> Vec<(String, String)> {
    let mut out = vec![(KEY.to_owned(), model.doc_string())];
    if let Some(graph) = &model.graph {
        out.push((format!("{KEY}/graph"), graph.doc_string()));
        out.extend(graph.node.iter().map(|n| (of_node(n.name()), n.doc_string())));
        out.extend(graph.input.iter().chain(&graph.output).map(|v| (of_value(v.name()), v.doc_string())));
    }
    out.into_iter().filter(|(_, text)| !text.is_empty()).map(|(k, text)| (k, text.to_owned())).collect()
}

/// Takes the doc strings out of the metadata and gives them to the model. Those of nodes that are gone stay metadata.
pub(crate) fn give_back(model: &mut ModelProto, metadata: &mut BTreeMap<String, String>) {
    model.doc_string = metadata.remove(KEY);
    let Some(graph) = &mut model.graph else { return };
    graph.doc_string = metadata.remove(&format!("{KEY}/graph"));
    for node in &mut graph.node {
        node.doc_string = metadata.remove(&of_node(node.name()));
    }
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        value.doc_string = metadata.remove(&of_value(value.name()));
    }
}
