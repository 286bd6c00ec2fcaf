//! From the decoded messages to the graph.

use super::around::Surroundings;
use super::operator;
use super::order::order;
use super::plan::{Given, Plan, Source, Step};
use super::subgraphs::{SubGraphs, foreign};
use crate::external::Folder;
use crate::names::Names;
use crate::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};
use crate::proto::{tensor_shape_proto, type_proto};
use crate::tensor::{self, MAX_RANK, Problem};
use crate::{OnnxError, READ_OPSETS, UnsupportedItem, documentation, types, versions};
use std::collections::{HashMap, HashSet};
use tq_graph::infer::Inference;
use tq_graph::op::Op;
use tq_graph::{Dim, Graph, GraphError, Node, Shape, ValueId};
use tq_qtypes::DType;

/// Versions of the file format that are read. The first without operator sets was 2.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=13;

/// More nodes than any model has.
pub(super) const MAX_NODES: usize = 1 << 20;

/// Builds the graph of a model. Its nodes are in topological order, types and shapes are inferred.
pub(super) fn build(model: &ModelProto, folder: Folder) -> Result<Graph, OnnxError> {
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
        node_names: Names::default(),
        inference: Inference::new(),
        unsupported: Vec::new(),
        place: 0,
        malformed: None,
    };
    if !model.training_info.is_empty() {
        builder.unsupported("training_info", "model", "training");
    }
    builder.graph.metadata =
        model.metadata_props.iter().map(|e| (e.key().to_owned(), e.value().to_owned())).collect();
    builder.graph.metadata.extend(documentation::entries(model));
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
        None => Ok(builder.graph),
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
        Some(v) if READ_OPSETS.contains(&v) => Ok(v),
        Some(v) if (1..*READ_OPSETS.start()).contains(&v) && same_at_lowest(model, v) => Ok(v),
        Some(v) => Err(OnnxError::Opset(v)),
    }
}

/// Whether every operator of a model of `opset` is still the same at the lowest operator set that is read: then the
/// model means the same there.
fn same_at_lowest(model: &ModelProto, opset: i64) -> bool {
    let mut nodes = model.graph.iter().flat_map(|g| &g.node);
    nodes.all(|n| is_onnx(n.domain()) && versions::unchanged_since(n.op_type()) <= opset)
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
    node_names: Names,
    /// Types and shapes of what is built so far: operators look at them.
    inference: Inference,
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
                    let id = self.graph.add_constant(t.name(), data);
                    self.define(t.name(), id)?;
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
            if self.constant_named(info.name()) {
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

    fn constant_named(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|id| self.graph.constant(*id).is_some())
    }

    fn nodes(&mut self) -> Result<(), OnnxError> {
        let names = node_names(&self.proto.node);
        let proto = self.proto;
        for name in &names {
            self.node_names.take(name);
        }
        for output in proto.node.iter().flat_map(|n| &n.output) {
            self.value_names.take(output);
        }
        // Constants first: a file may use them before it gives them.
        for (i, (node, name)) in proto.node.iter().zip(&names).enumerate() {
            if self.is_constant(node) {
                self.place = i + 1;
                self.constant(node, name)?;
            }
        }
        let functions = self.functions.clone();
        let mut inner = SubGraphs::new(self.opset, &functions);
        let order = order(&proto.node);
        let first_cyclic = order.places.len() - order.cyclic;
        for (step, i) in order.places.into_iter().enumerate() {
            let (node, name) = (&proto.node[i], &names[i]);
            self.place = i + 1;
            if step == first_cyclic {
                let message = format!("cycle through node {name}");
                self.malformed.get_or_insert(GraphError::Structure(message).into());
            }
            if self.is_constant(node) {
                continue;
            }
            if let Some((op, reason)) = foreign(node, &self.functions) {
                self.unsupported(name, &op, &reason);
                let items = inner.unsupported(node, name)?;
                self.unsupported.extend(items.into_iter().map(|item| (i + 1, item)));
                self.file_outputs(node)?;
                continue;
            }
            let inputs = self.inputs_of(node, name);
            let around = Surroundings { opset: self.opset, graph: &self.graph, inputs };
            match operator::convert(node, &around, &mut self.folder) {
                Ok(plan) => {
                    let inputs = around.inputs;
                    self.add(node, name, plan, &inputs)?;
                }
                Err(problem) => {
                    self.problem(node, name, problem);
                    self.file_outputs(node)?;
                }
            }
        }
        Ok(())
    }

    /// The values that a node reads; those that nothing defines are remembered as the model's error.
    fn inputs_of(&mut self, node: &NodeProto, name: &str) -> Vec<Option<ValueId>> {
        let mut ids = Vec::with_capacity(node.input.len());
        for input in &node.input {
            let id = self.values.get(input.as_str()).copied();
            if id.is_none() && !input.is_empty() {
                let message = format!("reads {input}, which nothing defines");
                self.malformed.get_or_insert(node_error(node, name, message));
            }
            ids.push(id);
        }
        ids
    }

    /// The values that the file's node gives.
    fn file_outputs(&mut self, node: &'a NodeProto) -> Result<Vec<Option<ValueId>>, OnnxError> {
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
        Ok(outputs)
    }

    /// Adds the operators that a node of the file becomes.
    fn add(
        &mut self,
        node: &'a NodeProto,
        name: &str,
        plan: Plan,
        inputs: &[Option<ValueId>],
    ) -> Result<(), OnnxError> {
        let outputs = self.file_outputs(node)?;
        let plain = is_onnx(node.domain()) && plan.is_plain(node.op_type());
        let mut given: Vec<Vec<Option<ValueId>>> = Vec::with_capacity(plan.steps.len());
        for step in plan.steps {
            let sources = self.sources(&step, name, inputs, &given);
            let variadic = step.op.input_arity().1 == usize::MAX;
            if variadic && sources.contains(&None) {
                let error = node_error(node, name, "one of its inputs is absent".into());
                self.malformed.get_or_insert(error);
                return Ok(());
            }
            let own = if step.role.is_empty() {
                name.to_owned()
            } else {
                self.node_names.fresh(&format!("{name}_{}", step.role))
            };
            let results = self.results(&step, &own, &outputs);
            given.push(results.clone());
            self.graph.nodes.push(Node { name: own, op: step.op, inputs: sources, outputs: results });
            self.infer_last(plain);
        }
        Ok(())
    }

    /// The inputs of a step; absent ones at the end are left away.
    fn sources(
        &mut self,
        step: &Step,
        name: &str,
        inputs: &[Option<ValueId>],
        given: &[Vec<Option<ValueId>>],
    ) -> Vec<Option<ValueId>> {
        let mut ids = Vec::with_capacity(step.inputs.len());
        for source in &step.inputs {
            ids.push(match source {
                Source::Absent => None,
                Source::Input(i) => inputs.get(*i).copied().flatten(),
                Source::Constant(what, data) => {
                    let constant = self.value_names.fresh(&format!("{name}_{what}"));
                    Some(self.graph.add_constant(constant, data.clone()))
                }
                Source::Step(step, slot) => given.get(*step).and_then(|g| g.get(*slot)).copied().flatten(),
            });
        }
        let variadic = step.op.input_arity().1 == usize::MAX;
        while ids.last() == Some(&None) && !variadic {
            ids.pop();
        }
        ids
    }

    /// The outputs of a step. One that the operator must give stands even where the file does not name it.
    fn results(&mut self, step: &Step, own: &str, outputs: &[Option<ValueId>]) -> Vec<Option<ValueId>> {
        let mut results = match step.given {
            Given::All => outputs.to_vec(),
            Given::Only(i) => vec![outputs.get(i).copied().flatten()],
            Given::Inner(count) => vec![None; count],
        };
        // The number of outputs means something to Split; elsewhere absent last ones are just absent.
        let is_split = matches!(step.op, Op::Split { .. });
        let least = step.op.output_arity().0;
        if step.given == Given::All {
            while results.len() > least && results.last() == Some(&None) && !is_split {
                results.pop();
            }
        }
        let required = match step.given {
            Given::Inner(count) => count,
            _ if is_split => results.len(),
            _ => least.min(results.len()),
        };
        for (slot, result) in results.iter_mut().enumerate().take(required) {
            if result.is_none() {
                let base = if slot == 0 { format!("{own}_output") } else { format!("{own}_output_{slot}") };
                *result = Some(self.graph.add_value(self.value_names.fresh(&base), None, None));
            }
        }
        results
    }

    /// Infers what the last node gives. After the first error nothing more is known, and only what is unsupported is
    /// still of interest.
    fn infer_last(&mut self, plain: bool) {
        if self.malformed.is_some() {
            return;
        }
        let last = self.graph.nodes.len() - 1;
        if let Err(error) = self.inference.node(&mut self.graph, last) {
            self.malformed = Some(error.into());
            return;
        }
        let node = &self.graph.nodes[last];
        // What is brought to another form may take types that the form itself got later.
        match types::check(&self.graph, node, self.opset.max(crate::MIN_OPSET)) {
            Err(lack) if plain && lack.needs != types::NEVER => {
                let (needs, opset) = (lack.needs, self.opset);
                self.malformed = Some(OnnxError::Node {
                    node: node.name.clone(),
                    op: node.op.name().to_owned(),
                    message: format!("{} needs opset {needs}, the model is of {opset}", lack.what),
                });
            }
            _ => {}
        }
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
                let id = self.graph.add_constant(output.as_str(), data);
                self.define(output, id)?;
            }
            Err(problem) => self.problem(node, name, problem),
        }
        Ok(())
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
