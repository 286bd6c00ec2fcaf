//! The linter: what a target will make of each node.
//!
//! The rules are data ([`RULES`]): what each looks at, what it decides, in which words, and where that is known from.
//! They read the graph through [`QdqView`], so that the linter speaks of the same operators as sessions and exporters do.

mod checks;
mod report;
mod rules;

pub use report::{LintReport, NodeLint, Outcome};
pub use rules::{RULES, Rule, Verdict};

use crate::{ExportError, Profile, Target};
use tq_graph::qdq::{FloatReason, QOperator, QdqView};
use tq_graph::{Graph, Node, NodeId, Op, ValueId, infer};
use tq_qtypes::OperatorKind;

/// A graph with everything that rules look at.
pub(crate) struct Subject<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) profile: Profile,
    pub(crate) producers: Vec<Option<NodeId>>,
    pub(crate) consumers: Vec<Vec<NodeId>>,
    /// The operator set of the file.
    pub(crate) opset: i64,
}

/// Why what sessions run in integers is none for others.
const IN_GROUPS: &str = "its weights have a scale for every group, which the target multiplies in float";

/// A node as a rule sees it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'g> {
    pub(crate) node: &'g Node,
    /// The operator on codes that it is at the heart of.
    pub(crate) operator: Option<&'g QOperator>,
}

impl Subject<'_> {
    pub(crate) fn producer(&self, v: ValueId) -> Option<&Node> {
        self.producers[v.0].map(|n| self.graph.node(n))
    }

    pub(crate) fn name(&self, v: ValueId) -> &str {
        &self.graph.value(v).name
    }
}

/// Says of every node of a graph what the target will make of it, as it is: what export for the target changes is not done
/// here ([`forecast`](crate::forecast) tells of that file).
///
/// The operator set is the lowest that has words for the graph; [`lint_at`] takes that of a file.
///
/// # Errors
/// [`ExportError::Graph`] for a graph that is not valid.
///
/// ```
/// # use tq_graph::{Dim, Graph, Op, op::UnaryOp};
/// # let mut model = Graph::new("net");
/// # let x = model.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
/// # let y = model.add_node("tanh", Op::Unary(UnaryOp::Tanh), &[x], "y");
/// # model.outputs.push(y);
/// use tq_export::{Outcome, Target, lint};
/// let report = lint(&model, &Target::ONNX_RUNTIME)?;
/// assert_eq!(report.nodes[0].outcome, Outcome::Float);
/// assert_eq!(report.integer(), 0);
/// # Ok::<(), tq_export::ExportError>(())
/// ```
pub fn lint(graph: &Graph, target: &Target) -> Result<LintReport, ExportError> {
    // What ONNX has no words for can still be looked at, and is of no operator set.
    let needed = tq_onnx::formed(graph, &tq_onnx::ExportOptions::default()).map_or(0, |(_, opset)| opset);
    lint_at(graph, target, needed)
}

/// As [`lint()`], for a file of this operator set.
///
/// # Errors
/// As [`lint()`].
pub fn lint_at(graph: &Graph, target: &Target, opset: i64) -> Result<LintReport, ExportError> {
    let mut graph = graph.clone(); // data is shared, so this is cheap
    infer::infer(&mut graph)?;
    let view = QdqView::new(&graph);
    let subject = Subject {
        graph: &graph,
        profile: target.profile(),
        producers: graph.producers(),
        consumers: graph.consumers(),
        opset,
    };
    let operator_of = view.operator_of(&graph);
    let float_of = |id: NodeId| view.floats.iter().find(|f| f.node == id).map(|f| &f.reason);
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for (id, node) in graph.iter_nodes() {
        // Codes that become other codes with nothing between are a border, not an operator.
        let operator = operator_of[id.0].map(|i| &view.operators[i]).filter(|o| {
            // Products with weights in groups run in float everywhere but here.
            !is_border(&graph.node(o.node).op) && o.kind != OperatorKind::GroupWiseLinear
        });
        let heart = operator.filter(|o| o.node == id);
        let place = Place { node, operator: heart };
        let lint = |outcome, rule: &str, reason: String| NodeLint {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            outcome,
            rule: rule.to_owned(),
            reason,
        };
        let decided = RULES.iter().filter(|r| (r.target)(target)).find_map(|rule| {
            (rule.check)(&subject, &place).map(|detail| {
                let reason = if detail.is_empty() {
                    rule.words.to_owned()
                } else {
                    format!("{}: {detail}", rule.words)
                };
                lint(rule.verdict.outcome(), rule.id, reason)
            })
        });
        nodes.push(match (decided, operator) {
            // What one of its nodes is refused for is told of that node.
            (Some(decided), _) => decided,
            (None, Some(of)) if of.node != id => {
                let whole = &graph.node(of.node).name;
                lint(Outcome::PartOf, "part", format!("part of {whole}"))
            }
            (None, Some(_)) => lint(Outcome::Integer, "integer", "computes on codes".into()),
            (None, None) if is_border(&node.op) => {
                lint(Outcome::Border, "border", "between codes and floats".into())
            }
            (None, None) => {
                let reason = match (float_of(id), operator_of[id.0].map(|i| view.operators[i].kind)) {
                    (Some(reason), _) => reason.to_string(),
                    (None, Some(OperatorKind::GroupWiseLinear)) => IN_GROUPS.into(),
                    (None, _) => "not on codes".into(),
                };
                match float_of(id) {
                    Some(FloatReason::NotReal) => lint(Outcome::Data, "data", reason),
                    _ => lint(Outcome::Float, "float", reason),
                }
            }
        });
    }
    // A clamp is part of its operator only where that computes on codes.
    settle_parts(&graph, &view, &mut nodes);
    Ok(LintReport { target: target.to_string(), nodes })
}

fn is_border(op: &Op) -> bool {
    matches!(op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. })
}

fn settle_parts(graph: &Graph, view: &QdqView, nodes: &mut [NodeLint]) {
    for operator in view.operators.iter().filter(|o| !is_border(&graph.node(o.node).op)) {
        if matches!(nodes[operator.node.0].outcome, Outcome::Integer | Outcome::Moved) {
            continue;
        }
        let whole = graph.node(operator.node).name.clone();
        for part in operator.absorbed.iter().filter(|n| **n != operator.node) {
            let node = &mut nodes[part.0];
            if node.outcome == Outcome::PartOf {
                let border = is_border(&graph.node(*part).op);
                node.outcome = if border { Outcome::Border } else { Outcome::Float };
                node.rule = if border { "border" } else { "part" }.into();
                node.reason = if border {
                    "between codes and floats".into()
                } else {
                    format!("follows {whole}, which does not run on codes")
                };
            }
        }
    }
}
