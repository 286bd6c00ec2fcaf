//! From a graph to a file.

mod file;
mod node;
mod norm;
mod recurrent;
mod resize;

pub use file::export;

use crate::names::Names;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use crate::{MAX_OPSET, MIN_OPSET, OnnxError, run_time, tensor};
use prost::Message as _;
use std::collections::BTreeSet;
use tq_graph::{Dim, Graph, Tensor, ValueId, infer};

/// How a graph is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The operator set, 13 to 21. Only what the graph needs is a reason for more than the default 13:
    /// 4-bit, 16-bit and block-wise quantization needs 21.
    pub opset: i64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { opset: MIN_OPSET }
    }
}

/// The first version of the file format that goes with an operator set; older runtimes refuse newer ones.
const fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

/// The graph as the bytes of an ONNX file. The same graph gives the same bytes.
///
/// Names of values and nodes and the metadata are kept. Weights are in the file. Symbolic dimensions of inputs and
/// outputs keep their names.
///
/// # Errors
/// [`OnnxError::NotExpressible`] for the first node that the operator set has no words for, [`OnnxError::Graph`] for
/// a graph that is not valid, [`OnnxError::Model`] for one that does not fit a file.
///
/// ```
/// use tq_graph::{Dim, Graph, op::{Op, UnaryOp}};
/// use tq_onnx::{ExportOptions, export_bytes, import_bytes};
///
/// let mut graph = Graph::new("g");
/// let x = graph.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), Dim::from(4usize)]);
/// let y = graph.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
/// graph.outputs.push(y);
/// let bytes = export_bytes(&graph, &ExportOptions::default())?;
/// assert_eq!(import_bytes(&bytes, None)?.nodes, graph.nodes);
/// # Ok::<(), tq_onnx::OnnxError>(())
/// ```
pub fn export_bytes(graph: &Graph, options: &ExportOptions) -> Result<Vec<u8>, OnnxError> {
    if !(MIN_OPSET..=MAX_OPSET).contains(&options.opset) {
        return Err(OnnxError::WrittenOpset(options.opset));
    }
    let mut graph = graph.clone(); // data is shared, so this is cheap
    infer::infer(&mut graph)?;
    let model = Writer::new(&graph, options.opset)?.model()?;
    if i32::try_from(model.encoded_len()).is_err() {
        return Err(OnnxError::Model(format!(
            "{} bytes are more than the 2 GiB that a protobuf file can have",
            model.encoded_len()
        )));
    }
    Ok(model.encode_to_vec())
}

struct Writer<'a> {
    graph: &'a Graph,
    opset: i64,
    value_names: Names,
    node_names: Names,
    nodes: Vec<NodeProto>,
    /// Constants that the written nodes read.
    used: BTreeSet<ValueId>,
    /// Constants that only the file has.
    added: Vec<(String, Tensor)>,
}

impl<'a> Writer<'a> {
    fn new(graph: &'a Graph, opset: i64) -> Result<Self, OnnxError> {
        let mut value_names = Names::default();
        for value in &graph.values {
            if value.name.is_empty() {
                return Err(OnnxError::Model(
                    "a value has no name, which ONNX takes for an absent one".into(),
                ));
            }
            value_names.take(&value.name);
        }
        let mut node_names = Names::default();
        for node in &graph.nodes {
            node_names.take(&node.name);
        }
        Ok(Self {
            graph,
            opset,
            value_names,
            node_names,
            nodes: Vec::new(),
            used: BTreeSet::new(),
            added: Vec::new(),
        })
    }

    fn model(mut self) -> Result<ModelProto, OnnxError> {
        let graph = self.graph;
        for node in &graph.nodes {
            self.node(node)?;
        }
        self.used.extend(graph.outputs.iter().copied());
        let mut initializers = Vec::new();
        for id in &self.used {
            if let Some(data) = graph.constant(*id) {
                self.elem_type(*id)?;
                initializers.push(tensor::write(data, &graph.value(*id).name)?);
            }
        }
        for (name, data) in &self.added {
            initializers.push(tensor::write(data, name)?);
        }
        let inputs = graph.inputs.iter().map(|v| self.value_info(*v)).collect::<Result<_, _>>()?;
        let outputs = graph.outputs.iter().map(|v| self.value_info(*v)).collect::<Result<_, _>>()?;
        let mut metadata = graph.metadata.clone();
        metadata.extend(run_time::entries(graph));
        let entry = |(k, v): (&String, &String)| StringStringEntryProto {
            key: Some(k.clone()),
            value: Some(v.clone()),
        };
        Ok(ModelProto {
            ir_version: Some(ir_version(self.opset)),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(self.opset) }],
            producer_name: Some("torsh-quantization".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(GraphProto {
                node: self.nodes,
                // A graph must have a name.
                name: Some(if graph.name.is_empty() { "graph".to_owned() } else { graph.name.clone() }),
                initializer: initializers,
                input: inputs,
                output: outputs,
                ..GraphProto::default()
            }),
            metadata_props: metadata.iter().map(entry).collect(),
            ..ModelProto::default()
        })
    }

    /// The ONNX type number of a value's elements.
    fn elem_type(&self, id: ValueId) -> Result<i32, OnnxError> {
        let value = self.graph.value(id);
        let Some(dtype) = value.dtype else {
            return Err(OnnxError::Model(format!("the element type of {} is not known", value.name)));
        };
        let never = || {
            OnnxError::Model(format!(
                "{} is of type {dtype}, which no opset up to {MAX_OPSET} has",
                value.name
            ))
        };
        tensor::code_of(dtype).ok_or_else(never)
    }

    /// Name, type and shape of an input or output.
    fn value_info(&self, id: ValueId) -> Result<ValueInfoProto, OnnxError> {
        let value = self.graph.value(id);
        let elem_type = self.elem_type(id)?;
        let shape = value
            .shape
            .as_ref()
            .map(|shape| TensorShapeProto { dim: shape.iter().map(dimension_of).collect() });
        Ok(ValueInfoProto {
            name: Some(value.name.clone()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(elem_type),
                    shape,
                })),
                denotation: None,
            }),
            ..ValueInfoProto::default()
        })
    }
}

/// A known dimension, or the name of a symbol. What is neither is left open, as are the symbols that shape inference
/// made up (they begin with `?`).
fn dimension_of(dim: &Dim) -> Dimension {
    let value = match (dim.known(), dim.as_symbol()) {
        (Some(n), _) => Some(dimension::Value::DimValue(n)),
        (None, Some(name)) if !name.starts_with('?') => Some(dimension::Value::DimParam(name.to_owned())),
        _ => None,
    };
    Dimension { value, denotation: None }
}
