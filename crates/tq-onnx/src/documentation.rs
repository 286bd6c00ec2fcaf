//! Doc strings, and what else a model says of itself: a graph has no place for it, so it travels in the graph's metadata and
//! goes back to where it was.

use crate::proto::{ModelProto, StringStringEntryProto};
use std::collections::BTreeMap;

/// Key of the model's own doc string; those of its parts have the part behind a slash.
const KEY: &str = "tq.doc_string";

/// Keys of the model's domain and version.
const DOMAIN: &str = "tq.model_domain";
const VERSION: &str = "tq.model_version";

/// Key of the metadata of parts of the model, which have the part and the own key behind slashes.
const METADATA: &str = "tq.metadata";

fn of_node(name: &str) -> String {
    format!("{KEY}/node/{name}")
}

fn of_value(name: &str) -> String {
    format!("{KEY}/value/{name}")
}

/// Metadata entries for the doc strings of a model (its own, the graph's, and those of named nodes, inputs, outputs and
/// initializers), for its domain and version, and for the metadata of the graph and of named nodes.
pub(crate) fn entries(model: &ModelProto) -> Vec<(String, String)> {
    let mut out = vec![(KEY.to_owned(), model.doc_string())];
    if let Some(graph) = &model.graph {
        out.push((format!("{KEY}/graph"), graph.doc_string()));
        out.extend(graph.node.iter().map(|n| (of_node(n.name()), n.doc_string())));
        out.extend(graph.input.iter().chain(&graph.output).map(|v| (of_value(v.name()), v.doc_string())));
        out.extend(graph.initializer.iter().map(|t| (of_value(t.name()), t.doc_string())));
    }
    let mut out: Vec<(String, String)> =
        out.into_iter().filter(|(_, text)| !text.is_empty()).map(|(k, text)| (k, text.to_owned())).collect();
    if !model.domain().is_empty() {
        out.push((DOMAIN.to_owned(), model.domain().to_owned()));
    }
    if model.model_version() != 0 {
        out.push((VERSION.to_owned(), model.model_version().to_string()));
    }
    if let Some(graph) = &model.graph {
        let of_graph =
            graph.metadata_props.iter().map(|e| (metadata_of_graph(e.key()), e.value().to_owned()));
        let of_nodes = graph.node.iter().flat_map(|n| {
            n.metadata_props.iter().map(|e| (metadata_of_node(n.name()) + e.key(), e.value().to_owned()))
        });
        out.extend(of_graph.chain(of_nodes));
    }
    out
}

fn metadata_of_graph(key: &str) -> String {
    format!("{METADATA}/graph/{key}")
}

fn metadata_of_node(name: &str) -> String {
    format!("{METADATA}/node/{name}::")
}

/// Takes the entries whose keys begin so out of the metadata.
fn taken(metadata: &mut BTreeMap<String, String>, begin: &str) -> Vec<StringStringEntryProto> {
    let with = |(k, _): &(&String, &String)| k.starts_with(begin);
    let range = metadata.range(begin.to_owned()..);
    let keys: Vec<String> = range.take_while(with).map(|(k, _)| k.clone()).collect();
    let entry = |k: String| {
        let value = metadata.remove(&k);
        StringStringEntryProto { key: Some(k[begin.len()..].to_owned()), value }
    };
    keys.into_iter().map(entry).collect()
}

/// Takes all that out of the metadata and gives it to the model. What nodes and values said that are gone stays metadata.
///
/// Metadata of nodes has no place before IR version 10, which operator set 21 brings: it stays in that of the model.
pub(crate) fn give_back(model: &mut ModelProto, metadata: &mut BTreeMap<String, String>) {
    model.doc_string = metadata.remove(KEY);
    model.domain = metadata.remove(DOMAIN);
    model.model_version = metadata.get(VERSION).and_then(|v| v.parse().ok());
    if model.model_version.is_some() {
        metadata.remove(VERSION);
    }
    let has_places = model.ir_version() >= 10;
    let Some(graph) = &mut model.graph else { return };
    graph.doc_string = metadata.remove(&format!("{KEY}/graph"));
    if has_places {
        graph.metadata_props = taken(metadata, &metadata_of_graph(""));
    }
    for node in &mut graph.node {
        node.doc_string = metadata.remove(&of_node(node.name()));
        if has_places && !node.name().is_empty() {
            node.metadata_props = taken(metadata, &metadata_of_node(node.name()));
        }
    }
    for value in graph.input.iter_mut().chain(&mut graph.output) {
        value.doc_string = metadata.remove(&of_value(value.name()));
    }
    for tensor in &mut graph.initializer {
        tensor.doc_string = metadata.remove(&of_value(tensor.name()));
    }
}
