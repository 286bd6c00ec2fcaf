//! What fused, what did not, and why.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What became of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FusionOutcome {
    /// It is now part of another node.
    Fused {
        /// Name of that node.
        into: String,
    },
    /// It stands in the graph, and is computed together with the node before it.
    Epilogue {
        /// Name of that node.
        of: String,
    },
    /// It was replaced by other operators that integers can do.
    Rewritten {
        /// What it is now.
        into: String,
    },
    /// It did nothing and was removed.
    Removed,
    /// It stays as it is.
    Kept {
        /// Why.
        reason: String,
    },
}

/// One line of a [`FusionReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FusionEntry {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub op: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: FusionOutcome,
}

impl fmt::Display for FusionEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.op, self.node)?;
        match &self.outcome {
            FusionOutcome::Fused { into } => write!(f, "fused into {into}"),
            FusionOutcome::Epilogue { of } => write!(f, "epilogue of {of}"),
            FusionOutcome::Rewritten { into } => write!(f, "rewritten as {into}"),
            FusionOutcome::Removed => write!(f, "removed, it does nothing"),
            FusionOutcome::Kept { reason } => write!(f, "kept: {reason}"),
        }
    }
}

/// What [`crate::fuse()`] did. Every BatchNormalization, Relu, Clip and Pad of the model is in it once; other operators
/// are in it when they fused.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FusionReport {
    /// One entry a node, in the order in which they were decided.
    pub entries: Vec<FusionEntry>,
}

impl FusionReport {
    pub(crate) fn push(&mut self, node: &str, op: &str, outcome: FusionOutcome) {
        self.entries.push(FusionEntry { node: node.to_owned(), op: op.to_owned(), outcome });
    }

    /// Nodes that became part of others, epilogues included.
    pub fn fused(&self) -> impl Iterator<Item = &FusionEntry> {
        self.entries
            .iter()
            .filter(|e| matches!(e.outcome, FusionOutcome::Fused { .. } | FusionOutcome::Epilogue { .. }))
    }

    /// Nodes that stayed, with their reasons.
    pub fn kept(&self) -> impl Iterator<Item = (&FusionEntry, &str)> {
        self.entries.iter().filter_map(|e| match &e.outcome {
            FusionOutcome::Kept { reason } => Some((e, reason.as_str())),
            _ => None,
        })
    }

    /// The entry of a node.
    #[must_use]
    pub fn of(&self, node: &str) -> Option<&FusionEntry> {
        self.entries.iter().find(|e| e.node == node)
    }
}
