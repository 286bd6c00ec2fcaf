//! From the decoded messages to the graph.

use super::operator::{self, Surroundings};
use super::ranks::Ranks;
use super::subgraphs::{SubGraphs, foreign};
use crate::external::Folder;
use crate::names::Names;
use crate::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::proto::{tensor_shape_proto, type_proto};
use crate::tensor::{self, MAX_RANK, Problem};
use crate::{MAX_OPSET, MIN_OPSET, OnnxError, UnsupportedItem, versions};
use std::collections::{HashMap, HashSet};
use tq_graph::op::Op;
use tq_graph::{Dim, Graph, Node, Shape, Tensor, ValueId};
use tq_qtypes::DType;

/// Versions of the file format that are read. The first without operator sets was 2.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;

/// More nodes than any model has.
pub(super) const MAX_NODES: usize = 1 << 20;

/// Builds the graph of a model; gives the model's operator set too. Its nodes are in the file's order, nothing is inferred yet.
pub(super) fn build(model: &ModelProto, folder: Folder) -> Result<(Graph, i64), OnnxError> {
    let opset = versions(model)?;
    let Some(proto) = &model.graph else {
        return Err(OnnxError::NotOnnx("there is no graph in it".into()));
    };
    if proto.node.len() > MAX_NODES {
        return Err(OnnxError::Model(format!("{} nodes, at most {MAX_NODES} are read", proto.node.len())));
    }
    let mut builder = Builder {
        opset,
        proto,
        functions: model.functions.iter().map(|f| (f.domain(), f.name())).collect(),
        folder,
        graph: Graph::new(proto.name()),
        values: HashMap::new(),
        value_names: Names::default(),
        constants: HashMap::new(),
        unsupported: Vec::new(),
        place: 0,
        malformed: None,
    };
    if !model.training_info.is_empty() {
        builder.unsupported("training_info", "model", "training");
    }
    builder.graph.metadata =
        model.metadata_props.iter().map(|e| (e.key().to_owned(), e.value().to_owned())).collect();
    builder.initializers()?;
    builder.inputs()?;
    builder.nodes()?;
    builder.outputs()?;
    if !builder.unsupported.is_empty() {
        builder.unsupported.sort_by_key(|(place, _)| *place);
        return Err(OnnxError::Unsupported(builder.unsupported.into_iter().map(|(_, item)| item).collect()));
    }
    match builder.malformed {
        Some(error) => Err(error),
        None => Ok((builder.graph, opset)),
    }
}

/// The model's operator set, after checks of both versions.
fn versions(model: &ModelProto) -> Result<i64, OnnxError> {
    let Some(ir) = model.ir_version else {
        return Err(OnnxError::NotOnnx("it has no ir_version".into()));
    };
    if !IR_VERSIONS.contains(&ir) {
        let (lo, hi) = (IR_VERSIONS.start(), IR_VERSIONS.end());
        return Err(OnnxError::Model(format!("ir_version is {ir}, {lo} to {hi} are read")));
    }
    let mut opset = None;
    for entry in model.opset_import.iter().filter(|o| is_onnx(o.domain())) {
        if opset.is_some_and(|v| v != entry.version()) {
            return Err(OnnxError::Model("it imports two versions of ONNX's operator set".into()));
        }
        opset = Some(entry.version());
    }
    match opset {
        None => Err(OnnxError::Model("it imports no version of ONNX's operator set".into())),
        Some(v) if (MIN_OPSET..=MAX_OPSET).contains(&v) => Ok(v),
        Some(v) if (1..MIN_OPSET).contains(&v) && same_at_lowest(model, v) => Ok(v),
        Some(v) => Err(OnnxError::Opset(v)),
    }
}

/// Whether every operator of a model of `opset` is still the same at [`MIN_OPSET`]: then the model means the same
/// there. Most of the ONNX project's own test cases for convolutions and pools are that old.
fn same_at_lowest(model: &ModelProto, opset: i64) -> bool {
    model
        .graph
        .iter()
        .flat_map(|g| &g.node)
        .all(|n| is_onnx(n.domain()) && versions::unchanged_since(n.op_type()) <= opset)
}

/// Whether a domain is ONNX's own, which has two spellings.
pub(super) fn is_onnx(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Domains and names of the model's own functions.
pub(super) type Functions<'a> = HashSet<(&'a str, &'a str)>;

struct Builder<'a> {
    opset: i64,
    proto: &'a GraphProto,
    functions: Functions<'a>,
    folder: Folder,
    graph: Graph,
    values: HashMap<&'a str, ValueId>,
    value_names: Names,
    /// The data of constants, once more by name: operators look at some of them.
    constants: HashMap<&'a str, Tensor>,
    /// What is not supported, and where it stands: 0 before the nodes, else one more than the place of the node.
    unsupported: Vec<(usize, UnsupportedItem)>,
    /// Where the builder is, counted in the same way.
    place: usize,
    /// The first broken node; what is unsupported is told before it.
    malformed: Option<OnnxError>,
}

impl<'a> Builder<'a> {
    fn unsupported(&mut self, name: &str, op: &str, reason: &str) {
        let item = UnsupportedItem { name: name.into(), op: op.into(), reason: reason.into() };
        self.unsupported.push((self.place, item));
    }

    /// Makes a value known under its name.
    fn define(&mut self, name: &'a str, id: ValueId) -> Result<(), OnnxError> {
        if name.is_empty() {
            return Err(OnnxError::Model("a value has no name".into()));
        }
        self.value_names.take(name);
        match self.values.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(OnnxError::Model(format!("value {name} is defined twice"))),
        }
    }

    fn initializers(&mut self) -> Result<(), OnnxError> {
        for t in &self.proto.initializer {
            match tensor::read(t, &mut self.folder) {
                Ok(data) => {
                    let id = self.graph.add_constant(t.name(), data.clone());
                    self.define(t.name(), id)?;
                    self.constants.insert(t.name(), data);
                }
                Err(Problem::Unsupported(reason)) => self.unsupported(t.name(), "initializer", &reason),
                Err(Problem::Malformed(message)) => {
                    return Err(OnnxError::Tensor { name: t.name().to_owned(), message });
                }
            }
        }
        for t in &self.proto.sparse_initializer {
            let name = t.values.as_ref().map_or("", |v| v.name());
            self.unsupported(name, "initializer", "sparse");
        }
        Ok(())
    }

    fn inputs(&mut self) -> Result<(), OnnxError> {
        let mut symbols = Names::default();
        for info in &self.proto.input {
            for dim in tensor_type(info).and_then(|t| t.shape.as_ref()).into_iter().flat_map(|s| &s.dim) {
                symbols.take(named(dim).unwrap_or_default());
            }
        }
        for info in &self.proto.input {
            // An initializer of the same name is the input's default. A graph has no default inputs: it is constant.
            if self.constants.contains_key(info.name()) {
                continue;
            }
            match input_type(info, &mut symbols) {
                Ok((dtype, shape)) => {
                    let id = self.graph.add_input(info.name(), dtype, shape);
                    self.define(info.name(), id)?;
                }
                Err(Problem::Unsupported(reason)) => self.unsupported(info.name(), "input", &reason),
                Err(Problem::Malformed(message)) => {
                    return Err(OnnxError::Model(format!("input {}: {message}", info.name())));
                }
            }
        }
        Ok(())
    }

    fn nodes(&mut self) -> Result<(), OnnxError> {
        let names = node_names(&self.proto.node);
        let proto = self.proto;
        // Constants first: a file may use them before it gives them.
        for (i, (node, name)) in proto.node.iter().zip(&names).enumerate() {
            if self.is_constant(node) {
                self.place = i + 1;
                self.constant(node, name)?;
            }
        }
        let mut ops = Vec::new();
        let ranks = Ranks::new(proto);
        let functions = self.functions.clone();
        let mut inner = SubGraphs::new(self.opset, &functions);
        for (i, (node, name)) in proto.node.iter().zip(&names).enumerate() {
            self.place = i + 1;
            if self.is_constant(node) {
                continue;
            }
            if let Some((op, reason)) = foreign(node, &self.functions) {
                self.unsupported(name, &op, &reason);
                let items = inner.unsupported(node, name)?;
                self.unsupported.extend(items.into_iter().map(|item| (i + 1, item)));
                continue;
            }
            let around = Surroundings { opset: self.opset, constants: &self.constants, ranks: &ranks };
            match operator::convert(node, &around, &mut self.folder) {
                Ok(converted) => ops.push((node, name, converted)),
                Err(problem) => self.problem(node, name, problem),
            }
        }
        if !self.unsupported.is_empty() || self.malformed.is_some() {
            return Ok(());
        }
        let mut outputs = Vec::with_capacity(ops.len());
        for (node, _, converted) in &ops {
            outputs.push(self.node_outputs(node, &converted.op)?);
        }
        for ((node, name, converted), outputs) in ops.into_iter().zip(outputs) {
            let mut inputs = Vec::with_capacity(converted.inputs);
            for input in node.input.iter().take(converted.inputs) {
                inputs.push(self.used(input, name, node)?);
            }
            let variadic = converted.op.input_arity().1 == usize::MAX;
            while inputs.last() == Some(&None) && !variadic {
                inputs.pop();
            }
            if variadic && inputs.contains(&None) {
                return Err(node_error(node, name, "one of its inputs is absent".into()));
            }
            if let Some((what, data)) = converted.appended {
                let constant = self.value_names.fresh(&format!("{name}_{what}"));
                inputs.push(Some(self.graph.add_constant(constant, data)));
            }
            self.graph.nodes.push(Node { name: name.clone(), op: converted.op, inputs, outputs });
        }
        // An output that an operator must give stands even where the file does not name it.
        for i in 0..self.graph.nodes.len() {
            let node = &self.graph.nodes[i];
            let required = match node.op {
                Op::Split { .. } => node.outputs.len(),
                _ => node.op.output_arity().0.min(node.outputs.len()),
            };
            for slot in 0..required {
                if self.graph.nodes[i].outputs[slot].is_none() {
                    let base = format!("{}_output_{slot}", self.graph.nodes[i].name);
                    let id = self.graph.add_value(self.value_names.fresh(&base), None, None);
                    self.graph.nodes[i].outputs[slot] = Some(id);
                }
            }
        }
        Ok(())
    }

    fn is_constant(&self, node: &NodeProto) -> bool {
        node.op_type() == "Constant" && foreign(node, &self.functions).is_none()
    }

    fn problem(&mut self, node: &NodeProto, name: &str, problem: Problem) {
        match problem {
            Problem::Unsupported(reason) => self.unsupported(name, node.op_type(), &reason),
            Problem::Malformed(message) => {
                self.malformed.get_or_insert(node_error(node, name, message));
            }
        }
    }

    fn constant(&mut self, node: &'a NodeProto, name: &str) -> Result<(), OnnxError> {
        match operator::constant(node, &mut self.folder) {
            Ok(data) => {
                let [output] = node.output.as_slice() else {
                    let message = format!("{} outputs, expected 1", node.output.len());
                    return Err(node_error(node, name, message));
                };
                let id = self.graph.add_constant(output.as_str(), data.clone());
                self.define(output, id)?;
                self.constants.insert(output, data);
            }
            Err(problem) => self.problem(node, name, problem),
        }
        Ok(())
    }

    fn node_outputs(&mut self, node: &'a NodeProto, op: &Op) -> Result<Vec<Option<ValueId>>, OnnxError> {
        let mut outputs = Vec::with_capacity(node.output.len());
        for name in &node.output {
            if name.is_empty() {
                outputs.push(None);
                continue;
            }
            let id = self.graph.add_value(name.as_str(), None, None);
            self.define(name, id)?;
            outputs.push(Some(id));
        }
        // The number of outputs means something to Split; elsewhere absent last ones are just absent.
        while outputs.len() > op.output_arity().0
            && outputs.last() == Some(&None)
            && !matches!(op, Op::Split { .. })
        {
            outputs.pop();
        }
        Ok(outputs)
    }

    fn used(&self, input: &str, name: &str, node: &NodeProto) -> Result<Option<ValueId>, OnnxError> {
        if input.is_empty() {
            return Ok(None);
        }
        match self.values.get(input) {
            Some(id) => Ok(Some(*id)),
            None => Err(node_error(node, name, format!("reads {input}, which nothing defines"))),
        }
    }

    fn outputs(&mut self) -> Result<(), OnnxError> {
        self.place = usize::MAX;
        for info in &self.proto.output {
            if let Err(Problem::Unsupported(reason)) = element_type(info) {
                self.unsupported(info.name(), "output", &reason);
            }
        }
        if !self.unsupported.is_empty() || self.malformed.is_some() {
            return Ok(());
        }
        for info in &self.proto.output {
            match self.values.get(info.name()) {
                Some(id) => self.graph.outputs.push(*id),
                None => {
                    return Err(OnnxError::Model(format!("output {}: nothing defines it", info.name())));
                }
            }
        }
        if self.graph.outputs.is_empty() {
            return Err(OnnxError::Model("the graph has no outputs".into()));
        }
        Ok(())
    }
}

fn node_error(node: &NodeProto, name: &str, message: String) -> OnnxError {
    OnnxError::Node { node: name.to_owned(), op: node.op_type().to_owned(), message }
}

/// Unique names for all nodes: the file's own where it is there and first of its kind, else one with a number.
pub(super) fn node_names(nodes: &[NodeProto]) -> Vec<String> {
    let mut names = Names::default();
    let mut out: Vec<Option<String>> = nodes
        .iter()
        .map(|n| (!n.name().is_empty() && names.take(n.name())).then(|| n.name().to_owned()))
        .collect();
    for (i, (slot, node)) in out.iter_mut().zip(nodes).enumerate() {
        if slot.is_none() {
            let base = if node.name().is_empty() { node.op_type() } else { node.name() };
            *slot = Some(names.fresh(&format!("{base}_{i}")));
        }
    }
    out.into_iter().flatten().collect()
}

fn tensor_type(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match info.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => Some(t),
        _ => None,
    }
}

/// The element type that an input or output declares, if it declares any.
fn element_type(info: &ValueInfoProto) -> Result<Option<DType>, Problem> {
    let Some(value) = info.r#type.as_ref().and_then(|t| t.value.as_ref()) else { return Ok(None) };
    let kind = match value {
        type_proto::Value::TensorType(t) if t.elem_type() == 0 => return Ok(None),
        type_proto::Value::TensorType(t) => return tensor::dtype_of(t.elem_type()).map(Some),
        type_proto::Value::SequenceType(_) => "sequence",
        type_proto::Value::MapType(_) => "map",
        type_proto::Value::OptionalType(_) => "optional",
        type_proto::Value::SparseTensorType(_) => "sparse tensor",
        type_proto::Value::OpaqueType(_) => "opaque",
    };
    Err(Problem::Unsupported(format!("{kind} type")))
}

/// Type and shape of a graph input. Dimensions without a name become symbols of their own.
fn input_type(info: &ValueInfoProto, symbols: &mut Names) -> Result<(DType, Shape), Problem> {
    let Some(dtype) = element_type(info)? else {
        return Err(Problem::Malformed("its element type is missing".into()));
    };
    let Some(shape) = tensor_type(info).and_then(|t| t.shape.as_ref()) else {
        return Err(Problem::Unsupported("no shape, so its rank is unknown".into()));
    };
    if shape.dim.len() > MAX_RANK {
        return Err(Problem::Malformed(format!("{} axes, at most {MAX_RANK} are read", shape.dim.len())));
    }
    let known = |dim: &tensor_shape_proto::Dimension| match dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(n)) => usize::try_from(n).ok(),
        _ => None,
    };
    let sizes: Vec<usize> = shape.dim.iter().filter_map(known).collect();
    tq_graph::tensor::checked_numel(&sizes, dtype)?;
    let dims = shape.dim.iter().enumerate().map(|(axis, dim)| match (known(dim), named(dim)) {
        (Some(n), _) => Dim::from(n),
        (None, Some(name)) => Dim::symbol(name),
        (None, None) => Dim::symbol(symbols.fresh(&format!("{}_dim_{axis}", info.name()))),
    });
    Ok((dtype, dims.collect()))
}

/// The name of a symbolic dimension. What does not begin like a name (`?`, `-1`), or is Python's `None`, says
/// "unknown" and must not make two dimensions the same.
fn named(dim: &tensor_shape_proto::Dimension) -> Option<&str> {
    match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimParam(name))
            if name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name != "None" =>
        {
            Some(name)
        }
        _ => None,
    }
}
