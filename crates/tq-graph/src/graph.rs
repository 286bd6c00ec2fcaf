//! The graph.

use crate::{GraphError, Op, Shape, Tensor};
use std::collections::{BTreeMap, HashMap, HashSet};
use tq_qtypes::{DType, Requantization};

/// Index of a node in [`Graph::nodes`]. Valid until nodes are added, removed or sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// Index of a value in [`Graph::values`]. Stays valid until [`Graph::compact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// One application of an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Name, unique in the graph.
    pub name: String,
    /// The operator.
    pub op: Op,
    /// Inputs in the operator's order; absent optional ones are `None`.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs in the operator's order; those that nobody asked for are `None`.
    pub outputs: Vec<Option<ValueId>>,
}

impl Node {
    /// The value at input `i`, if it is there.
    #[must_use]
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// The value at output `i`, if anybody asked for it.
    #[must_use]
    pub fn output(&self, i: usize) -> Option<ValueId> {
        self.outputs.get(i).copied().flatten()
    }

    /// Checks that the node has as many inputs and outputs as its operator takes and gives.
    pub(crate) fn check_arity(&self) -> Result<(), GraphError> {
        let fail =
            |message: String| Err(GraphError::Node { node: self.name.clone(), op: self.op.name(), message });
        let (lo, hi) = self.op.input_arity();
        if self.inputs.len() < lo || self.inputs.len() > hi {
            return fail(format!("{} inputs, expected {lo} to {hi}", self.inputs.len()));
        }
        if self.inputs[..lo].iter().any(Option::is_none) {
            return fail("a required input is absent".into());
        }
        let (lo, hi) = self.op.output_arity();
        if self.outputs.len() < lo || self.outputs.len() > hi {
            return fail(format!("{} outputs, expected {lo} to {hi}", self.outputs.len()));
        }
        Ok(())
    }
}

/// An edge of the graph: an input, a constant, or the output of one node.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Name, unique in the graph.
    pub name: String,
    /// Element type, once known.
    pub dtype: Option<DType>,
    /// Shape, once known.
    pub shape: Option<Shape>,
    /// The data of a constant.
    pub constant: Option<Tensor>,
}

/// A directed acyclic graph in single-assignment form: every value is a graph input, a constant,
/// or the output of exactly one node. Nodes stand in an order in which producers come before consumers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Graph {
    /// Name of the model's graph.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Values, by [`ValueId`].
    pub values: Vec<Value>,
    /// Inputs that a caller gives.
    pub inputs: Vec<ValueId>,
    /// Outputs that a caller gets.
    pub outputs: Vec<ValueId>,
    /// Key-value pairs that travel with the model.
    pub metadata: BTreeMap<String, String>,
    /// How the sums of products on codes become codes of their results: part of what the model computes.
    pub requantization: Requantization,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A value by its id.
    ///
    /// # Panics
    /// When the id belongs to another graph, or is older than a [`Graph::compact`].
    #[must_use]
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// A node by its id.
    ///
    /// # Panics
    /// When the id belongs to another graph or another state of it.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Nodes with their ids, in topological order.
    pub fn iter_nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().enumerate().map(|(i, n)| (NodeId(i), n))
    }

    /// Adds a value.
    pub fn add_value(
        &mut self,
        name: impl Into<String>,
        dtype: Option<DType>,
        shape: Option<Shape>,
    ) -> ValueId {
        self.values.push(Value { name: name.into(), dtype, shape, constant: None });
        ValueId(self.values.len() - 1)
    }

    /// Adds a graph input.
    pub fn add_input(&mut self, name: impl Into<String>, dtype: DType, shape: Shape) -> ValueId {
        let id = self.add_value(name, Some(dtype), Some(shape));
        self.inputs.push(id);
        id
    }

    /// Adds a constant.
    pub fn add_constant(&mut self, name: impl Into<String>, tensor: Tensor) -> ValueId {
        let shape = crate::dim::shape_of(tensor.dims());
        let id = self.add_value(name, Some(tensor.dtype()), Some(shape));
        self.values[id.0].constant = Some(tensor);
        id
    }

    /// Adds a node with one new output value, named `output`, at the end; returns that value.
    pub fn add_node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
        output: impl Into<String>,
    ) -> ValueId {
        let out = self.add_value(output, None, None);
        self.nodes.push(Node {
            name: name.into(),
            op,
            inputs: inputs.iter().map(|v| Some(*v)).collect(),
            outputs: vec![Some(out)],
        });
        out
    }

    /// The data of a value, if it is a constant.
    #[must_use]
    pub fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.values.get(id.0).and_then(|v| v.constant.as_ref())
    }

    /// The constant at input `i` of `node`, if there is one.
    #[must_use]
    pub fn const_input(&self, node: &Node, i: usize) -> Option<&Tensor> {
        node.input(i).and_then(|v| self.constant(v))
    }

    /// For every value the node that produces it.
    #[must_use]
    pub fn producers(&self) -> Vec<Option<NodeId>> {
        let mut out = vec![None; self.values.len()];
        for (id, node) in self.iter_nodes() {
            for v in node.outputs.iter().flatten() {
                out[v.0] = Some(id);
            }
        }
        out
    }

    /// For every value the nodes that read it, in order, once for every time they read it.
    #[must_use]
    pub fn consumers(&self) -> Vec<Vec<NodeId>> {
        let mut out = vec![Vec::new(); self.values.len()];
        for (id, node) in self.iter_nodes() {
            for v in node.inputs.iter().flatten() {
                out[v.0].push(id);
            }
        }
        out
    }

    /// A name that no value has yet: `base`, or `base` with a number.
    #[must_use]
    pub fn fresh_value_name(&self, base: &str) -> String {
        let taken: HashSet<&str> = self.values.iter().map(|v| v.name.as_str()).collect();
        fresh(base, &taken)
    }

    /// A name that no node has yet: `base`, or `base` with a number.
    #[must_use]
    pub fn fresh_node_name(&self, base: &str) -> String {
        let taken: HashSet<&str> = self.nodes.iter().map(|n| n.name.as_str()).collect();
        fresh(base, &taken)
    }

    /// The value of this name.
    #[must_use]
    pub fn find_value(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId)
    }

    /// Brings the nodes into topological order, keeping the given order where it is free.
    ///
    /// # Errors
    /// [`GraphError::Structure`] when there is a cycle.
    pub fn sort(&mut self) -> Result<(), GraphError> {
        let producers = self.producers();
        let consumers = self.consumers();
        let mut missing: Vec<usize> = self
            .nodes
            .iter()
            .map(|n| n.inputs.iter().flatten().filter(|v| producers[v.0].is_some()).count())
            .collect();
        let mut ready: std::collections::BTreeSet<usize> =
            (0..self.nodes.len()).filter(|i| missing[*i] == 0).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(i) = ready.pop_first() {
            order.push(i);
            for v in self.nodes[i].outputs.iter().flatten() {
                for c in &consumers[v.0] {
                    missing[c.0] -= 1;
                    if missing[c.0] == 0 {
                        ready.insert(c.0);
                    }
                }
            }
        }
        if order.len() != self.nodes.len() {
            let stuck = (0..self.nodes.len()).find(|i| missing[*i] > 0).unwrap_or(0);
            return Err(GraphError::Structure(format!("cycle through node {}", self.nodes[stuck].name)));
        }
        let mut slots: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        self.nodes = order.into_iter().filter_map(|i| slots[i].take()).collect();
        Ok(())
    }

    /// Removes nodes that no output depends on, outputs of nodes that nobody reads where they are optional,
    /// and then every value that nothing refers to. Ids change.
    pub fn compact(&mut self) {
        let producers = self.producers();
        let mut live_nodes = vec![false; self.nodes.len()];
        let mut stack: Vec<ValueId> = self.outputs.clone();
        let mut live_values = vec![false; self.values.len()];
        for v in &self.inputs {
            live_values[v.0] = true;
        }
        while let Some(v) = stack.pop() {
            live_values[v.0] = true;
            if let Some(n) = producers[v.0]
                && !live_nodes[n.0]
            {
                live_nodes[n.0] = true;
                stack.extend(self.nodes[n.0].inputs.iter().flatten());
            }
        }
        let mut keep = live_nodes.iter();
        self.nodes.retain(|_| keep.next().copied().unwrap_or(false));
        for node in &mut self.nodes {
            for (i, slot) in node.outputs.iter_mut().enumerate() {
                // The first output always stands, optional others only where they are read.
                if let Some(v) = slot
                    && !live_values[v.0]
                {
                    let required = i < node.op.output_arity().0;
                    if required {
                        live_values[v.0] = true;
                    } else if !matches!(node.op, Op::Split { .. }) {
                        *slot = None;
                    } else {
                        live_values[v.0] = true;
                    }
                }
            }
        }
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        let mut values = Vec::new();
        for (i, value) in std::mem::take(&mut self.values).into_iter().enumerate() {
            if live_values[i] {
                map.insert(ValueId(i), ValueId(values.len()));
                values.push(value);
            }
        }
        self.values = values;
        let renew = |v: &mut ValueId| {
            if let Some(n) = map.get(v) {
                *v = *n;
            }
        };
        for node in &mut self.nodes {
            node.inputs.iter_mut().flatten().for_each(renew);
            node.outputs.iter_mut().flatten().for_each(renew);
        }
        self.inputs.iter_mut().for_each(renew);
        self.outputs.iter_mut().for_each(renew);
    }

    /// Checks the structure: ids, arities, unique names, single assignment, topological order.
    ///
    /// # Errors
    /// [`GraphError::Structure`] or [`GraphError::Node`] naming the first thing that is wrong.
    pub fn validate(&self) -> Result<(), GraphError> {
        let structure = |m: String| Err(GraphError::Structure(m));
        let mut names = HashSet::new();
        for v in &self.values {
            if !names.insert(v.name.as_str()) {
                return structure(format!("two values are named {}", v.name));
            }
        }
        let mut names = HashSet::new();
        let mut defined: Vec<bool> = self.values.iter().map(|v| v.constant.is_some()).collect();
        let known = |v: &ValueId| v.0 < self.values.len();
        for v in &self.inputs {
            if !known(v) {
                return structure(format!("input refers to unknown value {}", v.0));
            }
            defined[v.0] = true;
        }
        for node in &self.nodes {
            let fail = |message: String| {
                Err(GraphError::Node { node: node.name.clone(), op: node.op.name(), message })
            };
            if !names.insert(node.name.as_str()) {
                return structure(format!("two nodes are named {}", node.name));
            }
            node.check_arity()?;
            for v in node.inputs.iter().flatten() {
                if !known(v) || !defined[v.0] {
                    return fail(format!(
                        "reads value {} before it is defined",
                        self.values.get(v.0).map_or("?", |v| v.name.as_str())
                    ));
                }
            }
            for v in node.outputs.iter().flatten() {
                if !known(v) || defined[v.0] {
                    return fail(format!(
                        "defines value {} a second time",
                        self.values.get(v.0).map_or("?", |v| v.name.as_str())
                    ));
                }
                defined[v.0] = true;
            }
        }
        for v in &self.outputs {
            if !known(v) || !defined[v.0] {
                return structure(format!(
                    "output {} is not defined",
                    self.values.get(v.0).map_or("?", |v| v.name.as_str())
                ));
            }
        }
        Ok(())
    }
}

fn fresh(base: &str, taken: &HashSet<&str>) -> String {
    if !taken.contains(base) {
        return base.to_owned();
    }
    (1usize..).map(|i| format!("{base}_{i}")).find(|n| !taken.contains(n.as_str())).unwrap_or_default()
}
