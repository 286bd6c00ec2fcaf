//! A graph under change, with its readers and producers kept up to date.

use crate::names::fresh;
use std::collections::HashSet;
use tq_graph::{Graph, Node, Tensor, ValueId};
use tq_qtypes::DType;

/// Index of a node in the graph under change; stays valid until [`Editor::finish`].
pub(crate) type At = usize;

/// A graph, who produces and who reads its values, and which nodes are gone.
pub(crate) struct Editor<'g> {
    pub(crate) graph: &'g mut Graph,
    producer: Vec<Option<At>>,
    readers: Vec<Vec<At>>,
    is_output: Vec<bool>,
    dead: Vec<bool>,
    value_names: HashSet<String>,
    node_names: HashSet<String>,
}

impl<'g> Editor<'g> {
    pub(crate) fn new(graph: &'g mut Graph) -> Self {
        let producer = graph.producers().into_iter().map(|p| p.map(|n| n.0)).collect();
        let readers = graph.consumers().into_iter().map(|c| c.into_iter().map(|n| n.0).collect()).collect();
        let mut is_output = vec![false; graph.values.len()];
        for v in &graph.outputs {
            is_output[v.0] = true;
        }
        let value_names = graph.values.iter().map(|v| v.name.clone()).collect();
        let node_names = graph.nodes.iter().map(|n| n.name.clone()).collect();
        let dead = vec![false; graph.nodes.len()];
        Self { graph, producer, readers, is_output, dead, value_names, node_names }
    }

    /// Indices of the nodes that are still there, in the order of the graph.
    pub(crate) fn live(&self) -> Vec<At> {
        (0..self.graph.nodes.len()).filter(|i| !self.dead[*i]).collect()
    }

    pub(crate) fn is_dead(&self, at: At) -> bool {
        self.dead[at]
    }

    pub(crate) fn node(&self, at: At) -> &Node {
        &self.graph.nodes[at]
    }

    pub(crate) fn name_of(&self, v: ValueId) -> &str {
        &self.graph.value(v).name
    }

    /// The node that produces `v`.
    pub(crate) fn producer(&self, v: ValueId) -> Option<At> {
        self.producer[v.0]
    }

    pub(crate) fn readers(&self, v: ValueId) -> &[At] {
        &self.readers[v.0]
    }

    pub(crate) fn is_output(&self, v: ValueId) -> bool {
        self.is_output[v.0]
    }

    /// Checks that nobody but `reader` reads `v`; says otherwise who does.
    pub(crate) fn read_only_by(&self, v: ValueId, reader: At) -> Result<(), String> {
        let name = self.name_of(v);
        if self.is_output(v) {
            return Err(format!("{name} is also an output of the model"));
        }
        if let Some(other) = self.readers(v).iter().find(|r| **r != reader) {
            return Err(format!("{name} is also read by {}", self.node(*other).name));
        }
        if self.readers(v).len() > 1 {
            return Err(format!("{name} is read more than once by {}", self.node(reader).name));
        }
        Ok(())
    }

    /// Rank of a value, where it is known.
    pub(crate) fn rank(&self, v: ValueId) -> Option<usize> {
        self.graph.value(v).shape.as_ref().map(Vec::len)
    }

    /// An f32 constant with its shape.
    pub(crate) fn constant_f32(&self, v: ValueId) -> Option<(&[f32], &[usize])> {
        let t = self.graph.constant(v)?;
        Some((t.as_slice::<f32>().ok()?, t.dims()))
    }

    /// The single number of an f32 constant that broadcasts to `other` without changing its shape.
    pub(crate) fn scalar(&self, v: ValueId, other: ValueId) -> Option<f32> {
        let (data, dims) = self.constant_f32(v)?;
        let fits = dims.is_empty() || self.rank(other).is_some_and(|r| r >= dims.len());
        match data {
            [c] if fits => Some(*c),
            _ => None,
        }
    }

    /// True when `v` is a float tensor of 32 bits.
    pub(crate) fn is_f32(&self, v: ValueId) -> bool {
        self.graph.value(v).dtype == Some(DType::F32)
    }

    pub(crate) fn set_input(&mut self, at: At, i: usize, v: Option<ValueId>) {
        let inputs = &mut self.graph.nodes[at].inputs;
        while inputs.len() <= i {
            inputs.push(None);
        }
        let old = std::mem::replace(&mut inputs[i], v);
        if let Some(old) = old
            && let Some(p) = self.readers[old.0].iter().position(|r| *r == at)
        {
            self.readers[old.0].remove(p);
        }
        if let Some(v) = v {
            self.readers[v.0].push(at);
        }
    }

    /// Removes a node; its outputs are left without a producer.
    pub(crate) fn kill(&mut self, at: At) {
        self.dead[at] = true;
        for i in 0..self.graph.nodes[at].inputs.len() {
            self.set_input(at, i, None);
        }
        for v in self.graph.nodes[at].outputs.clone().into_iter().flatten() {
            if self.producer[v.0] == Some(at) {
                self.producer[v.0] = None;
            }
        }
    }

    /// Removes `at`, and whatever nobody reads any more because of that. Returns the indices, `at` first.
    pub(crate) fn prune(&mut self, at: At) -> Vec<At> {
        let mut gone = Vec::new();
        let mut stack = vec![at];
        while let Some(n) = stack.pop() {
            let unread = |ed: &Self, v: &ValueId| ed.readers(*v).is_empty() && !ed.is_output(*v);
            if self.dead[n] || !self.node(n).outputs.iter().flatten().all(|v| unread(self, v)) {
                continue;
            }
            let before: Vec<At> =
                self.node(n).inputs.iter().flatten().filter_map(|v| self.producer(*v)).collect();
            self.kill(n);
            gone.push(n);
            stack.extend(before);
        }
        gone
    }

    /// `host` gives the first output of `at` from now on, and `at` goes.
    pub(crate) fn take_output(&mut self, host: At, at: At) {
        let out = self.graph.nodes[at].outputs[0];
        self.kill(at);
        self.graph.nodes[host].outputs[0] = out;
        if let Some(v) = out {
            self.producer[v.0] = Some(host);
        }
    }

    /// `producer` gives `new` where it gave `old`.
    pub(crate) fn rename_output(&mut self, producer: At, old: ValueId, new: ValueId) {
        for slot in &mut self.graph.nodes[producer].outputs {
            if *slot == Some(old) {
                *slot = Some(new);
            }
        }
        self.producer[old.0] = None;
        self.producer[new.0] = Some(producer);
    }

    /// Replaces the operator and the inputs of a node, keeping its outputs and its name.
    pub(crate) fn rewrite(&mut self, at: At, op: tq_graph::Op, inputs: &[ValueId]) {
        for i in 0..self.graph.nodes[at].inputs.len() {
            self.set_input(at, i, None);
        }
        self.graph.nodes[at].inputs.clear();
        self.graph.nodes[at].op = op;
        for (i, v) in inputs.iter().enumerate() {
            self.set_input(at, i, Some(*v));
        }
    }

    pub(crate) fn fresh_value(&mut self, base: &str) -> String {
        fresh(base, &mut self.value_names)
    }

    pub(crate) fn fresh_node(&mut self, base: &str) -> String {
        fresh(base, &mut self.node_names)
    }

    pub(crate) fn add_constant(&mut self, base: &str, tensor: Tensor) -> ValueId {
        let name = self.fresh_value(base);
        let v = self.graph.add_constant(name, tensor);
        self.track(None);
        v
    }

    /// Adds a node that is to stand before `at`, with one new output; its place is settled by [`Editor::finish`].
    pub(crate) fn add_node_before(
        &mut self,
        at: At,
        base: &str,
        op: tq_graph::Op,
        inputs: &[ValueId],
    ) -> ValueId {
        let name = self.fresh_node(base);
        let out_name = self.fresh_value(&format!("{base}_output"));
        let shape = self.node(at).output(0).and_then(|v| self.graph.value(v).shape.clone());
        let out = self.graph.add_value(out_name, Some(DType::F32), shape);
        self.track(Some(self.graph.nodes.len()));
        self.graph.nodes.push(Node { name, op, inputs: Vec::new(), outputs: vec![Some(out)] });
        self.dead.push(false);
        let new = self.graph.nodes.len() - 1;
        for (i, v) in inputs.iter().enumerate() {
            self.set_input(new, i, Some(*v));
        }
        out
    }

    /// Adds an f32 value that nothing gives yet.
    pub(crate) fn add_value(&mut self, base: &str) -> ValueId {
        let name = self.fresh_value(base);
        let v = self.graph.add_value(name, Some(DType::F32), None);
        self.track(None);
        v
    }

    fn track(&mut self, producer: Option<At>) {
        self.producer.push(producer);
        self.readers.push(Vec::new());
        self.is_output.push(false);
    }

    /// Makes the constant at input `i` of `at` this tensor: in place when nobody else reads it, else as a new value.
    pub(crate) fn set_constant(&mut self, at: At, i: usize, base: &str, tensor: Tensor) {
        if let Some(v) = self.node(at).input(i)
            && self.graph.constant(v).is_some()
            && self.read_only_by(v, at).is_ok()
        {
            let value = &mut self.graph.values[v.0];
            value.dtype = Some(tensor.dtype());
            value.shape = Some(tq_graph::dim::shape_of(tensor.dims()));
            value.constant = Some(tensor);
            return;
        }
        let base = match self.node(at).input(i) {
            Some(v) => format!("{}_folded", self.name_of(v)),
            None => base.to_owned(),
        };
        let v = self.add_constant(&base, tensor);
        self.set_input(at, i, Some(v));
    }

    /// Ends the change: dead nodes go, the order is made topological, unused values go.
    pub(crate) fn finish(self) -> Result<(), tq_graph::GraphError> {
        let mut dead = self.dead.iter();
        self.graph.nodes.retain(|_| !dead.next().copied().unwrap_or(false));
        self.graph.sort()?;
        self.graph.compact();
        Ok(())
    }
}
