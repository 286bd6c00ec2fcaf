//! From a graph to a file.

mod external;
mod file;
mod forms;
mod nbits;
mod node;
mod norm;
mod options;
mod recurrent;
mod resize;

pub use file::export;
pub use options::{BiasForm, ExportOptions, OperatorForm, WeightForm};

use crate::names::Names;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use crate::{MAX_OPSET, MIN_OPSET, OnnxError, documentation, requantization, run_time, tensor};
use nbits::Products;
use prost::Message as _;
use std::collections::BTreeSet;
use tq_graph::{Dim, Graph, Tensor, ValueId, infer};

/// The first version of the file format that goes with an operator set; older runtimes refuse newer ones.
const fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        23 => 11,
        24 => 12,
        _ => 13,
    }
}

/// The graph as the bytes of an ONNX file. The same graph gives the same bytes.
///
/// Names of values and nodes, metadata and doc strings are kept. Symbolic dimensions of inputs and outputs keep their
/// names.
///
/// # Errors
/// [`OnnxError::NotExpressible`] for the first node that the operator set has no words for, [`OnnxError::Graph`] for
/// a graph that is not valid, [`OnnxError::Model`] for one that does not fit a file, or when external data is asked for:
/// bytes alone have no file beside them, [`export`] has.
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
    if options.external_data.is_some() {
        return Err(OnnxError::Model("external data needs a file to lie beside".into()));
    }
    encoded(&message(&form(graph, options)?, options)?.0)
}

/// The graph in the form that `options` ask for, and the operator set that [`export`] would write: what stands in the file,
/// for those who want to look at it before.
///
/// # Errors
/// As [`export_bytes`].
pub fn formed(graph: &Graph, options: &ExportOptions) -> Result<(Graph, i64), OnnxError> {
    let graph = form(graph, options)?;
    let (_, opset) = message(&graph, options)?;
    Ok((graph, opset))
}

fn form(graph: &Graph, options: &ExportOptions) -> Result<Graph, OnnxError> {
    let mut graph = graph.clone(); // data is shared, so this is cheap
    infer::infer(&mut graph)?;
    forms::apply(&mut graph, options)?;
    Ok(graph)
}

/// The message of a graph that has its form, and its operator set.
fn message(graph: &Graph, options: &ExportOptions) -> Result<(ModelProto, i64), OnnxError> {
    let mut opset = options.lowest();
    if !(MIN_OPSET..=MAX_OPSET).contains(&opset) {
        return Err(OnnxError::WrittenOpset(opset));
    }
    let products = if options.matmul_nbits { Products::of(graph) } else { Products::default() };
    loop {
        match Writer::new(graph, opset)?.model(&products) {
            // Where none was asked for, the lowest that has words for everything.
            Err(OnnxError::NotExpressible { needs, .. })
                if options.opset.is_none() && needs > opset && needs <= MAX_OPSET =>
            {
                opset = needs;
            }
            model => return Ok((model?, opset)),
        }
    }
}

fn encoded(model: &ModelProto) -> Result<Vec<u8>, OnnxError> {
    if i32::try_from(model.encoded_len()).is_err() {
        return Err(OnnxError::Model(format!(
            "{} bytes are more than the 2 GiB that a protobuf file can have; external data takes constants out of it",
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

    fn model(mut self, products: &Products) -> Result<ModelProto, OnnxError> {
        let graph = self.graph;
        for (id, node) in graph.iter_nodes() {
            match products.of_node.get(&id) {
                Some(product) => self.nbits(node, product)?,
                None if products.skipped.contains(&id) => {}
                None => self.node(node)?,
            }
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
        metadata.extend(requantization::entry(graph));
        let entry = |(k, v): (&String, &String)| StringStringEntryProto {
            key: Some(k.clone()),
            value: Some(v.clone()),
        };
        let mut domains = vec![(String::new(), self.opset)];
        if !products.of_node.is_empty() {
            domains.push((nbits::DOMAIN.to_owned(), 1));
        }
        let domain = |(domain, version)| OperatorSetIdProto { domain: Some(domain), version: Some(version) };
        let mut model = ModelProto {
            ir_version: Some(ir_version(self.opset)),
            opset_import: domains.into_iter().map(domain).collect(),
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
            ..ModelProto::default()
        };
        documentation::give_back(&mut model, &mut metadata);
        model.metadata_props = metadata.iter().map(entry).collect();
        Ok(model)
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
        let needs = tensor::known_since(dtype);
        if needs > self.opset {
            return Err(OnnxError::NotExpressible {
                node: value.name.clone(),
                op: "tensor",
                opset: self.opset,
                needs,
                what: format!("{dtype} data"),
            });
        }
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
