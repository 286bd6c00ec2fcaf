//! What the linter found.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a target makes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Computes on codes.
    Integer,
    /// Moves codes without computing.
    Moved,
    /// Is part of an operator that computes on codes.
    PartOf,
    /// Quantizes or dequantizes.
    Border,
    /// Computes on shapes, indices and other integers that are no codes.
    Data,
    /// Computes in float.
    Float,
    /// Is refused: the target reads no file with it.
    Refused,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Integer => "integer",
            Outcome::Moved => "moved",
            Outcome::PartOf => "part of another",
            Outcome::Border => "border",
            Outcome::Data => "data",
            Outcome::Float => "float",
            Outcome::Refused => "refused",
        }
    }
}

/// What the linter says of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLint {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What the target makes of it.
    pub outcome: Outcome,
    /// The rule that decided.
    pub rule: String,
    /// Why.
    pub reason: String,
}

/// What the linter says of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintReport {
    /// The target.
    pub target: String,
    /// Every node, in the graph's order.
    pub nodes: Vec<NodeLint>,
}

impl LintReport {
    /// How many nodes compute on codes; those that only move codes, and parts of others, left out.
    #[must_use]
    pub fn integer(&self) -> usize {
        self.count(Outcome::Integer)
    }

    /// How many nodes have this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.nodes.iter().filter(|n| n.outcome == outcome).count()
    }

    /// The nodes that compute in float.
    pub fn floats(&self) -> impl Iterator<Item = &NodeLint> {
        self.nodes.iter().filter(|n| n.outcome == Outcome::Float)
    }

    /// The nodes that are refused.
    pub fn refused(&self) -> impl Iterator<Item = &NodeLint> {
        self.nodes.iter().filter(|n| n.outcome == Outcome::Refused)
    }
}

impl fmt::Display for LintReport {
    /// One line of numbers, then every refused and every float node with its reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} nodes in integers, {} move codes, {} in float, {} refused",
            self.target,
            self.integer(),
            self.count(Outcome::Moved),
            self.count(Outcome::Float),
            self.count(Outcome::Refused)
        )?;
        for n in self.refused().chain(self.floats()) {
            write!(f, "\n{} {} ({}): {} [{}]", n.outcome.name(), n.node, n.op, n.reason, n.rule)?;
        }
        Ok(())
    }
}
