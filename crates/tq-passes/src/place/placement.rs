//! Where a node runs.

use serde::{Deserialize, Serialize};
use std::fmt;
use tq_qtypes::OperatorKind;

/// Where a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runs", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// On codes.
    Integer {
        /// As which operator.
        kind: OperatorKind,
        /// True when its result stays float, as that of a network's last linear layer does.
        float_output: bool,
    },
    /// Within another integer operator, as bounds on its result.
    Epilogue {
        /// Name of that node.
        of: String,
    },
    /// In float, on dequantized codes: its weights are codes, or what it reads or writes is, but no integer kernel takes
    /// them.
    Dequantized {
        /// Why not in integers.
        reason: String,
    },
    /// In float.
    Float {
        /// Why.
        reason: String,
    },
    /// On shapes, indices or truth values, which are not quantized.
    Data,
}

impl Placement {
    /// True where the node runs on codes.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        matches!(self, Placement::Integer { .. } | Placement::Epilogue { .. })
    }

    /// True unless the node's sums of products have no scale that a bias could be rounded to: those in float, and those of groups
    /// of weights, each of its own scale.
    pub(crate) fn sums_have_a_scale(&self) -> bool {
        let kind = match self {
            Placement::Dequantized { .. } => return false,
            Placement::Integer { kind, .. } => *kind,
            _ => return true,
        };
        kind != OperatorKind::GroupWiseLinear
    }

    /// Why the node computes in float, if it does.
    #[must_use]
    pub fn float_reason(&self) -> Option<&str> {
        match self {
            Placement::Float { reason } | Placement::Dequantized { reason } => Some(reason),
            _ => None,
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Integer { kind, float_output: false } => write!(f, "integer ({kind})"),
            Placement::Integer { kind, float_output: true } => write!(f, "integer ({kind}), float output"),
            Placement::Epilogue { of } => write!(f, "integer, epilogue of {of}"),
            Placement::Dequantized { reason } => write!(f, "float on dequantized codes: {reason}"),
            Placement::Float { reason } => write!(f, "float: {reason}"),
            Placement::Data => write!(f, "gives shapes, indices or truth values, no real numbers"),
        }
    }
}
