//! Errors of this crate.

use crate::NodeLint;
use std::path::PathBuf;
use tq_graph::GraphError;
use tq_onnx::OnnxError;

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
    /// A calibration cache that cannot be read or written.
    #[error("calibration cache, line {line}: {message}")]
    Cache {
        /// The line, counted from 1; 0 where it is about the whole.
        line: usize,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A file that cannot be read or written.
    #[error("{}: {message}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
}

fn refusals(nodes: &[NodeLint]) -> String {
    let texts: Vec<String> = nodes.iter().map(|n| format!("{} ({}: {})", n.node, n.op, n.reason)).collect();
    texts.join("; ")
}
