//! What a node of the file becomes: one operator of the graph, or several.

use tq_graph::{Op, Tensor};

/// Where an input of a step comes from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// It is left out.
    Absent,
    /// This input of the file's node.
    Input(usize),
    /// A constant, and what to call it after the node's name.
    Constant(&'static str, Tensor),
    /// What an earlier step gives at this place.
    Step(usize, usize),
}

/// What becomes of the outputs of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// They are the outputs of the file's node, in its order.
    All,
    /// There is one, this output of the file's node.
    Only(usize),
    /// There are so many, for other steps.
    Inner(usize),
}

/// One operator of a plan.
#[derive(Debug)]
pub(super) struct Step {
    /// What to call it after the node's name; empty for the one that bears the node's name itself.
    pub(super) role: &'static str,
    pub(super) op: Op,
    pub(super) inputs: Vec<Source>,
    pub(super) given: Given,
}

/// The operators that a node of the file becomes, in order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

impl Plan {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// One operator with these inputs.
    pub(super) fn of(op: Op, inputs: Vec<Source>) -> Self {
        let mut plan = Self::new();
        plan.all(op, inputs);
        plan
    }

    /// One operator with the first `count` inputs of the file's node.
    pub(super) fn same(op: Op, count: usize) -> Self {
        Self::of(op, (0..count).map(Source::Input).collect())
    }

    fn push(&mut self, role: &'static str, op: Op, inputs: Vec<Source>, given: Given) -> usize {
        self.steps.push(Step { role, op, inputs, given });
        self.steps.len() - 1
    }

    /// Adds an operator between others; gives its first output.
    pub(super) fn step(&mut self, role: &'static str, op: Op, inputs: Vec<Source>) -> Source {
        Source::Step(self.push(role, op, inputs, Given::Inner(1)), 0)
    }

    /// Adds an operator with `count` outputs for others; gives its number.
    pub(super) fn inner(&mut self, role: &'static str, op: Op, inputs: Vec<Source>, count: usize) -> usize {
        self.push(role, op, inputs, Given::Inner(count))
    }

    /// Adds the operator that gives output `i` of the file's node.
    pub(super) fn give(&mut self, i: usize, role: &'static str, op: Op, inputs: Vec<Source>) {
        self.push(role, op, inputs, Given::Only(i));
    }

    /// Adds the operator that gives all outputs of the file's node and bears its name.
    pub(super) fn all(&mut self, op: Op, inputs: Vec<Source>) {
        self.push("", op, inputs, Given::All);
    }

    /// Whether the node is one operator, of the same name and the same inputs and outputs.
    pub(super) fn is_plain(&self, op_type: &str) -> bool {
        let [step] = self.steps.as_slice() else { return false };
        step.given == Given::All && step.op.name() == op_type
    }
}
