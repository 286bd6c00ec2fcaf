//! What runs how, and why.

use serde::Serialize;
use std::fmt;
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, Op};

/// How a node is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Execution {
    /// On codes, by an integer kernel or by moving them.
    Integer,
    /// As part of an integer operator: its activation or its Quantize node.
    Fused,
    /// In float (or on integers that are no codes), by the reference operators.
    Float,
    /// Once, when the plan was made: everything it reads is constant.
    Folded,
}

impl Execution {
    /// The name used in tables and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Execution::Integer => "integer",
            Execution::Fused => "fused",
            Execution::Float => "float",
            Execution::Folded => "folded",
        }
    }
}

/// One node of the graph. Dequantize nodes in front of integer operators do not run and are not listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeReport {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// How it is run.
    pub execution: Execution,
    /// The kernel that runs it, where one is needed.
    pub kernel: Option<String>,
    /// Why it runs in float, what it is part of, or why a scalar kernel stands in for the library's.
    pub reason: Option<String>,
    /// Multiplications.
    pub macs: u64,
    /// False for float matrix products and convolutions, whose last bits depend on the processor.
    pub reproducible: bool,
}

/// What a session does with each node, for one set of input shapes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The input shapes that this was made for.
    pub input_shapes: Vec<Vec<usize>>,
    /// Name of the kernel library.
    pub library: String,
    /// The nodes in order.
    pub nodes: Vec<NodeReport>,
}

impl Explanation {
    /// Names of the kernels in use, sorted, each once.
    #[must_use]
    pub fn kernels(&self) -> Vec<String> {
        let mut names: Vec<String> = self.nodes.iter().filter_map(|n| n.kernel.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The nodes that run in float.
    pub fn floats(&self) -> impl Iterator<Item = &NodeReport> {
        self.nodes.iter().filter(|n| n.execution == Execution::Float)
    }

    /// Multiplications done in integers, and in float.
    #[must_use]
    pub fn macs(&self) -> (u64, u64) {
        let sum = |execution| {
            self.nodes
                .iter()
                .filter(|n| n.execution == execution)
                .map(|n| n.macs)
                .fold(0, u64::saturating_add)
        };
        (sum(Execution::Integer), sum(Execution::Float))
    }

    /// True when the results are the same on every processor: no float matrix product or convolution runs.
    #[must_use]
    pub fn reproducible(&self) -> bool {
        self.nodes.iter().all(|n| n.reproducible)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |get: &dyn Fn(&NodeReport) -> usize, least: usize| {
            self.nodes.iter().map(get).max().unwrap_or(0).clamp(least, 48)
        };
        let (a, b) = (width(&|n| n.node.len(), 4), width(&|n| n.op.len(), 2));
        writeln!(f, "{:a$}  {:b$}  {:7}  {:>12}  kernel or reason", "node", "op", "runs", "macs")?;
        for n in self.nodes.iter().filter(|n| n.execution != Execution::Fused) {
            let note = match (&n.kernel, &n.reason) {
                (Some(kernel), Some(reason)) => format!("{kernel} ({reason})"),
                (Some(text), None) | (None, Some(text)) => text.clone(),
                (None, None) => String::new(),
            };
            let mark = if n.reproducible { "" } else { " (last bits depend on the processor)" };
            writeln!(
                f,
                "{:a$}  {:b$}  {:7}  {:>12}  {note}{mark}",
                n.node,
                n.op,
                n.execution.name(),
                n.macs
            )?;
        }
        let (integer, float) = self.macs();
        write!(
            f,
            "{} kernels; {integer} multiplications in integers, {float} in float{}",
            self.library,
            if self.reproducible() { "" } else { "; not bit-reproducible" }
        )
    }
}

/// True for operators whose float form adds up products in an order that depends on the processor.
pub(crate) fn is_float_product(op: &Op) -> bool {
    matches!(
        op,
        Op::Gemm { .. }
            | Op::MatMul
            | Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Einsum(_)
            | Op::Recurrent { .. }
    )
}

/// What the graph alone tells, before shapes are known.
pub(crate) fn of_graph(graph: &Graph) -> Vec<NodeReport> {
    let view = QdqView::new(graph);
    let operators = view.operator_of(graph);
    let mut nodes = Vec::new();
    for (id, node) in graph.iter_nodes() {
        let (execution, reason) = match operators[id.0].and_then(|i| view.operators.get(i)) {
            Some(op) if op.node == id => (Execution::Integer, None),
            Some(op) => (Execution::Fused, Some(format!("part of {}", graph.node(op.node).name))),
            None => match view.floats.iter().find(|f| f.node == id) {
                Some(f) => (Execution::Float, Some(f.reason.to_string())),
                None => continue,
            },
        };
        let float_product = is_float_product(&node.op);
        nodes.push(NodeReport {
            node: node.name.clone(),
            op: node.op.name(),
            execution,
            kernel: None,
            reason,
            macs: 0,
            reproducible: !(float_product && execution == Execution::Float),
        });
    }
    nodes
}

/// Memory of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Bytes of packed weights, shared by all plans.
    pub packed_weights: usize,
    /// The plans that are kept.
    pub plans: Vec<PlanMemory>,
}

/// Memory of one plan, for each run that goes on at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanMemory {
    /// The input shapes of the plan.
    pub input_shapes: Vec<Vec<usize>>,
    /// Bytes of codes, with slots shared.
    pub arena: usize,
    /// Bytes of codes if none were shared.
    pub unshared: usize,
}
