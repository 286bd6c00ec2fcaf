//! The graph as JSON: what stands in a file, apart from what stands in memory.
//!
//! The order of all keys is fixed, and there is no white space: one graph has one text.

mod attributes;
mod dims;
mod names;
mod op_from;
mod op_to;

use crate::data::Meaning;
use crate::header::Unique;
use crate::{FormatError, VERSION};
use attributes::{Attribute, Attributes};
use dims::{DimReader, DimTable, WireDim, WireTerm};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::HashMap;
use tq_graph::dim::shape_of;
use tq_graph::{Graph, Node, Tensor, Value, ValueId};
use tq_qtypes::{DType, Requantization};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireGraph {
    version: u64,
    name: String,
    #[serde(serialize_with = "entries")]
    metadata: Unique<String>,
    /// Since version 2; absent in files of version 1, where it is `float`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requantization: Option<String>,
    /// Dimensions that are sums, which others refer to by their place here.
    dims: Vec<Vec<WireTerm>>,
    values: Vec<WireValue>,
    nodes: Vec<WireNode>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
}

fn entries<T: Serialize, S: Serializer>(unique: &Unique<T>, serializer: S) -> Result<S::Ok, S::Error> {
    unique.0.serialize(serializer)
}

fn is_empty<T>(unique: &Unique<T>) -> bool {
    unique.0.is_empty()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireValue {
    name: String,
    /// Of a constant, type and shape are those of its data where they are absent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    dtype: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shape: Option<Vec<WireDim>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<WireData>,
}

/// What is known of a constant besides its bytes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireData {
    #[serde(rename = "type")]
    dtype: String,
    shape: Vec<usize>,
    /// The name of its tensor in the file, where that is not the value's.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireNode {
    name: String,
    op: String,
    #[serde(default, skip_serializing_if = "is_empty", serialize_with = "entries")]
    attributes: Unique<Attribute>,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
}

/// A constant that a file describes.
pub(crate) struct Described {
    /// The index of its value.
    pub(crate) value: usize,
    /// The name of its tensor in the file.
    pub(crate) key: String,
    pub(crate) meaning: Meaning,
}

/// The text of a graph. `keys` has the names of those tensors that are not called as their values are.
pub(crate) fn to_json(graph: &Graph, keys: &HashMap<usize, String>) -> Result<String, FormatError> {
    // Taken apart so that nothing is forgotten.
    let Graph { name, nodes, values, inputs, outputs, metadata, requantization } = graph;
    let mut table = DimTable::default();
    let values = values
        .iter()
        .enumerate()
        .map(|(i, value)| {
            let Value { name, dtype, shape, constant } = value;
            if let Some(tensor) = constant {
                check_constant(value, tensor.dtype(), tensor.dims())?;
            }
            // Of constants, what their data tells too is left out.
            let told = constant.as_ref().map(|t| shape_of(t.dims()));
            let (dtype, shape) =
                (dtype.filter(|_| constant.is_none()), shape.as_ref().filter(|s| told.as_ref() != Some(*s)));
            Ok(WireValue {
                name: name.clone(),
                dtype: dtype.map(|d| d.name().to_owned()),
                shape: shape.map(|s| s.iter().map(|d| table.dim(d)).collect()),
                data: constant.as_ref().map(|t: &Tensor| WireData {
                    dtype: t.dtype().name().to_owned(),
                    shape: t.dims().to_vec(),
                    tensor: keys.get(&i).cloned(),
                }),
            })
        })
        .collect::<Result<_, FormatError>>()?;
    let nodes = nodes
        .iter()
        .map(|node| {
            let Node { name, op, inputs, outputs } = node;
            let index = |ids: &[Option<ValueId>]| ids.iter().map(|v| v.map(|v| v.0)).collect();
            let mut attributes = Attributes::new(name, op.name());
            op_to::write(op, &mut attributes)?;
            Ok(WireNode {
                name: name.clone(),
                op: op.name().to_owned(),
                attributes: Unique(attributes.map),
                inputs: index(inputs),
                outputs: index(outputs),
            })
        })
        .collect::<Result<_, FormatError>>()?;
    // What needs nothing of a version is written as the one before, which every release reads.
    let (version, requantization) = match requantization {
        Requantization::Float => (1, None),
        other => (VERSION, Some(other.name().to_owned())),
    };
    let graph = WireGraph {
        version,
        name: name.clone(),
        metadata: Unique(metadata.clone()),
        requantization,
        dims: table.sums,
        values,
        nodes,
        inputs: inputs.iter().map(|v| v.0).collect(),
        outputs: outputs.iter().map(|v| v.0).collect(),
    };
    serde_json::to_string(&graph).map_err(schema)
}

fn schema(error: impl ToString) -> FormatError {
    FormatError::Schema(error.to_string())
}

/// Looked at first: files of other versions may be anything else.
#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// The graph of a text, whose constants have no data yet, and what they are.
pub(crate) fn from_json(json: &str) -> Result<(Graph, Vec<Described>), FormatError> {
    match serde_json::from_str::<Versioned>(json).map_err(schema)?.version {
        1..=VERSION => {}
        other => return Err(FormatError::Version(other)),
    }
    let wire: WireGraph = serde_json::from_str(json).map_err(schema)?;
    let requantization = match (wire.version, &wire.requantization) {
        (1, None) => Requantization::Float,
        (1, Some(_)) => return Err(schema("version 1 has no requantization")),
        (version, None) => return Err(schema(format!("version {version} without requantization"))),
        (_, Some(name)) => Requantization::by_name(name)
            .ok_or_else(|| schema(format!("there is no requantization {name}")))?,
    };
    let dims = DimReader::new(&wire.dims).map_err(schema)?;
    let count = wire.values.len();
    let mut described = Vec::new();
    let mut graph = Graph::new(wire.name);
    graph.metadata = wire.metadata.0;
    graph.requantization = requantization;
    for (i, value) in wire.values.into_iter().enumerate() {
        let of_value = |message: String| schema(format!("value {}: {message}", value.name));
        let shape = value.shape.map(|s| s.iter().map(|d| dims.dim(d)).collect::<Result<Vec<_>, _>>());
        let (dtype, shape) = (value.dtype.as_deref().map(dtype_of), shape.transpose());
        let mut made = Value {
            name: value.name.clone(),
            dtype: dtype.transpose().map_err(of_value)?,
            shape: shape.map_err(of_value)?,
            constant: None,
        };
        if let Some(data) = value.data {
            let meaning = Meaning { dtype: dtype_of(&data.dtype).map_err(of_value)?, dims: data.shape };
            check_constant(&made, meaning.dtype, &meaning.dims)?;
            made.dtype = Some(meaning.dtype);
            made.shape.get_or_insert_with(|| shape_of(&meaning.dims));
            described.push(Described { value: i, key: data.tensor.unwrap_or(value.name), meaning });
        }
        graph.values.push(made);
    }
    for node in wire.nodes {
        let id = |i: usize| match i < count {
            true => Ok(ValueId(i)),
            false => Err(schema(format!("node {}: there is no value {i}, there are {count}", node.name))),
        };
        let ids = |list: Vec<Option<usize>>| {
            list.into_iter().map(|i| i.map(id).transpose()).collect::<Result<Vec<_>, FormatError>>()
        };
        let (inputs, outputs) = (ids(node.inputs)?, ids(node.outputs)?);
        let mut attributes = Attributes { map: node.attributes.0, ..Attributes::new(&node.name, &node.op) };
        let op = op_from::read(&node.op, &mut attributes)?;
        attributes.finish()?;
        graph.nodes.push(Node { op, inputs, outputs, name: node.name });
    }
    let id = |i: usize| match i < count {
        true => Ok(ValueId(i)),
        false => Err(schema(format!("an input or output is value {i}, there are {count}"))),
    };
    graph.inputs = wire.inputs.into_iter().map(id).collect::<Result<_, _>>()?;
    graph.outputs = wire.outputs.into_iter().map(id).collect::<Result<_, _>>()?;
    Ok((graph, described))
}

fn dtype_of(name: &str) -> Result<DType, String> {
    DType::by_name(name).ok_or_else(|| format!("there is no type {name}"))
}

/// Checks that what is said of a constant's value is so.
fn check_constant(value: &Value, dtype: DType, dims: &[usize]) -> Result<(), FormatError> {
    let known = |shape: &[tq_graph::Dim]| {
        shape.len() == dims.len()
            && shape.iter().zip(dims).all(|(s, d)| s.known_usize().is_none_or(|s| s == *d))
    };
    if value.dtype.is_none_or(|d| d == dtype) && value.shape.as_deref().is_none_or(known) {
        return Ok(());
    }
    let message = format!("it is {dtype} {dims:?}, which is not what the graph says of the value");
    Err(FormatError::tensor(&value.name, message))
}
