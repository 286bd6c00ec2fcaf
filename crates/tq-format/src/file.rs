//! A whole file.

use crate::data::{self, Meaning};
use crate::header::{Entry, Header, METADATA};
use crate::source::{Source, open};
use crate::{FormatError, wire};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use tq_graph::save::replace_file;
use tq_graph::{Graph, Tensor};

/// The metadata key of the graph.
const GRAPH: &str = "torsh-quantization.graph";

/// Writes the graph to the file at `path`, replacing what is there. The file appears whole or not at all
/// ([`replace_file`]), and no more memory is taken than the graph's description without its tensors needs.
///
/// # Errors
/// As [`write()`], and [`FormatError::File`] when the file cannot be written; what was there is still there then.
pub fn save(graph: &Graph, path: &Path) -> Result<(), FormatError> {
    replace_file(path, |out| write(graph, out)).map_err(|e: FormatError| e.of_file(path))
}

/// Writes the file of a graph. The same graph gives the same bytes.
///
/// # Errors
/// [`FormatError::Graph`] for a graph that is not valid, [`FormatError::HeaderSize`] for one whose description is too
/// long, [`FormatError::Schema`] for one that no file can describe, [`FormatError::Io`] for what the system says.
pub fn write(graph: &Graph, out: &mut impl Write) -> Result<(), FormatError> {
    graph.validate()?;
    let names: HashSet<&str> = graph.values.iter().map(|v| v.name.as_str()).collect();
    let mut tensors = Vec::new();
    let mut keys = HashMap::new();
    for (i, value) in graph.values.iter().enumerate() {
        let Some(tensor) = &value.constant else { continue };
        let mut key = value.name.clone();
        if key == METADATA {
            // The container has this name for itself.
            while names.contains(key.as_str()) {
                key.push('_');
            }
            keys.insert(i, key.clone());
        }
        tensors.push((data::entry(key, tensor), tensor));
    }
    tensors.sort_by(|(a, _), (b, _)| Entry::order(a, b));
    let metadata = BTreeMap::from([(GRAPH.to_owned(), wire::to_json(graph, &keys)?)]);
    let (entries, tensors): (Vec<_>, Vec<&Tensor>) = tensors.into_iter().unzip();
    out.write_all(&Header { metadata, entries }.to_bytes()?)?;
    tensors.into_iter().try_for_each(|tensor| data::write(tensor, out))
}

/// Reads the graph in the file at `path`.
///
/// # Errors
/// As [`read`]; [`FormatError::File`] when the file cannot be read.
pub fn load(path: &Path) -> Result<Graph, FormatError> {
    graph_of(&open(path)?).map_err(|e| e.of_file(path))
}

/// Reads the graph in the bytes of a file. What is read is checked, but types and shapes are not inferred again.
///
/// No tensor is in memory twice at any time: all are read into one buffer and stay there, but for codes of less than a
/// byte, which are unpacked while they are read, and truth values.
///
/// # Errors
/// What is wrong with the file, naming the tensor or the node and the numbers.
pub fn read(bytes: &[u8]) -> Result<Graph, FormatError> {
    graph_of(&bytes)
}

fn graph_of(source: &impl Source) -> Result<Graph, FormatError> {
    let (mut header, start) = Header::read(source)?;
    let json = header.metadata.remove(GRAPH).ok_or(FormatError::NoGraph)?;
    let (mut graph, described) = wire::from_json(&json)?;
    drop(json);
    let mut by_key: HashMap<&str, (usize, Meaning)> = HashMap::with_capacity(described.len());
    for constant in &described {
        let meaning = (constant.value, constant.meaning.clone());
        if by_key.insert(&constant.key, meaning).is_some() {
            return Err(FormatError::tensor(&constant.key, "two values have it as their data"));
        }
    }
    let mut values = Vec::with_capacity(described.len());
    let mut meanings = Vec::with_capacity(described.len());
    for entry in &header.entries {
        let Some((value, meaning)) = by_key.remove(entry.name.as_str()) else {
            return Err(FormatError::tensor(&entry.name, "no value of the graph has it as its data"));
        };
        values.push(value);
        meanings.push(meaning);
    }
    if let Some(missing) = described.iter().find(|c| by_key.contains_key(c.key.as_str())) {
        return Err(FormatError::tensor(&missing.key, "the file does not have it"));
    }
    for (value, tensor) in values.into_iter().zip(data::read(source, start, &header, &meanings)?) {
        graph.values[value].constant = Some(tensor);
    }
    graph.validate()?;
    Ok(graph)
}
