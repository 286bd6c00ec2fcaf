//! Errors of this crate.

use crate::{NodeLint, Precision};
use tq_format::FormatError;
use tq_graph::GraphError;
use tq_onnx::OnnxError;
use tq_passes::PassError;

/// What can go wrong when a model is written for a target.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The graph is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The file cannot be written.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The native file cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A constant cannot be computed, or a calibration cache cannot be read.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The target refuses some of the nodes.
    #[error("{target} refuses {}", refusals(.nodes))]
    Refused {
        /// The target.
        target: String,
        /// All nodes that it refuses, with the reasons.
        nodes: Vec<NodeLint>,
    },
    /// The example input does not suit the model.
    #[error("example input {name}: {message}")]
    Example {
        /// The model's input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// An input that preprocessing cannot be folded into.
    #[error("input {name}: {message}")]
    Input {
        /// The model's input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A target or precision that is not known.
    #[error("{what} {given:?} is not known; known are {known}")]
    Unknown {
        /// What it was to be.
        what: &'static str,
        /// What was given.
        given: String,
        /// What there is.
        known: String,
    },
    /// What a precision of TensorRT does not have.
    #[error("{precision}: {message}")]
    Precision {
        /// The precision.
        precision: Precision,
        /// What it lacks.
        message: String,
    },
}

fn refusals(nodes: &[NodeLint]) -> String {
    let texts: Vec<String> = nodes.iter().map(|n| format!("{} ({}: {})", n.node, n.op, n.reason)).collect();
    texts.join("; ")
}
