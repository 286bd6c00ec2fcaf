//! What runs how, and why.

use crate::depths::LayerDepths;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
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
    /// Not at all: arithmetic on shapes, whose result is known once these are.
    Resolved,
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
            Execution::Resolved => "resolved",
        }
    }
}

/// One node of the graph. Dequantize nodes in front of integer operators do not run and are not listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Which sequences of instructions are proved exact for its products, on kernels that add some of them in 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depths: Option<LayerDepths>,
    /// False for float matrix products and convolutions, whose last bits depend on the processor.
    pub reproducible: bool,
}

/// What a session does with each node, for one set of input shapes.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

    /// How many nodes are gone once the shapes of the inputs are known.
    #[must_use]
    pub fn resolved(&self) -> usize {
        self.nodes.iter().filter(|n| n.execution == Execution::Resolved).count()
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
        let runs = |n: &&NodeReport| !matches!(n.execution, Execution::Fused | Execution::Resolved);
        for n in self.nodes.iter().filter(runs) {
            let note = match (&n.kernel, &n.reason) {
                (Some(kernel), Some(reason)) => format!("{kernel} ({reason})"),
                (Some(text), None) | (None, Some(text)) => text.clone(),
                (None, None) => String::new(),
            };
            let proof = n.depths.map_or_else(String::new, |depths| format!(" ({})", depths.any_codes));
            let mark = if n.reproducible { "" } else { " (last bits depend on the processor)" };
            writeln!(
                f,
                "{:a$}  {:b$}  {:7}  {:>12}  {note}{proof}{mark}",
                n.node,
                n.op,
                n.execution.name(),
                n.macs
            )?;
        }
        if self.resolved() > 0 {
            writeln!(f, "{} nodes of arithmetic on shapes, gone once these are known", self.resolved())?;
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

/// The reports of a plan for `bound`, which is `graph` with known input shapes, with the nodes that are gone since: all
/// nodes in the order of `graph`.
pub(crate) fn with_resolved(graph: &Graph, bound: &Graph, reports: &[NodeReport]) -> Vec<NodeReport> {
    let left: HashSet<&str> = bound.nodes.iter().map(|n| n.name.as_str()).collect();
    let gone = graph.nodes.iter().filter(|n| !left.contains(n.name.as_str())).map(|n| NodeReport {
        node: n.name.clone(),
        op: n.op.name(),
        execution: Execution::Resolved,
        kernel: None,
        reason: Some("its result follows from the shapes of the inputs, or nothing needs it".into()),
        macs: 0,
        depths: None,
        reproducible: true,
    });
    let mut all: Vec<NodeReport> = reports.iter().cloned().chain(gone).collect();
    let order: HashMap<&str, usize> =
        graph.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
    all.sort_by_key(|r| order.get(r.node.as_str()).copied());
    all
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
            depths: None,
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
