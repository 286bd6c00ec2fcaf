//! Errors of this crate.

use tq_qtypes::DType;

/// What can be wrong with a tensor or a graph. Node and value names are those of the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The number of elements is not that of the shape.
    #[error("{len} elements do not fill shape {dims:?}")]
    DataLength {
        /// The shape.
        dims: Vec<usize>,
        /// The number of elements.
        len: usize,
    },
    /// A shape that no memory can hold.
    #[error("a {dtype} tensor of shape {dims:?} is too large")]
    TooLarge {
        /// The shape.
        dims: Vec<usize>,
        /// The element type.
        dtype: DType,
    },
    /// Another element type was expected.
    #[error("expected {expected}, got {got}")]
    DType {
        /// The type expected.
        expected: DType,
        /// The type found.
        got: DType,
    },
    /// A node whose inputs or attributes contradict each other.
    #[error("node {node} ({op}): {message}")]
    Node {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// The graph as such is broken: a cycle, a value with two producers, an unknown id.
    #[error("graph: {0}")]
    Structure(String),
    /// Input data does not match a graph input.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the graph input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
}
