//! Errors of this crate.

use tq_graph::GraphError;
use tq_qtypes::{DType, QTypeError};

/// What can be wrong with one operator and its inputs.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpError {
    /// More or fewer inputs than the operator takes.
    #[error("{got} inputs, expected {min} to {max}")]
    InputCount {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
        /// How many there are.
        got: usize,
    },
    /// More or fewer outputs asked for than the operator gives.
    #[error("{got} outputs asked for, expected {min} to {max}")]
    OutputCount {
        /// Fewest.
        min: usize,
        /// Most.
        max: usize,
        /// How many are asked for.
        got: usize,
    },
    /// A required input is absent.
    #[error("input {index} is absent")]
    MissingInput {
        /// Position of the input.
        index: usize,
    },
    /// The operator is not defined on this element type.
    #[error("{what} is {got}, expected {expected}")]
    DType {
        /// Which tensor.
        what: &'static str,
        /// Its type.
        got: DType,
        /// What it should be.
        expected: String,
    },
    /// Shapes that do not go together.
    #[error("{0}")]
    Shape(String),
    /// An attribute, or a value that acts as one, that makes no sense.
    #[error("{0}")]
    Attribute(String),
    /// An index outside its axis.
    #[error("index {index} is outside axis {axis} of length {len}")]
    Index {
        /// The index.
        index: i64,
        /// The axis.
        axis: usize,
        /// Length of the axis.
        len: usize,
    },
    /// Integer division by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// A tensor larger than the evaluator may make.
    #[error("a {dtype} tensor of shape {dims:?} exceeds the limit of {limit} bytes")]
    TooLarge {
        /// The shape.
        dims: Vec<usize>,
        /// The element type.
        dtype: DType,
        /// The limit.
        limit: usize,
    },
    /// An operator that this evaluator does not know.
    #[error("operator {0} is not implemented by the evaluator")]
    Unsupported(&'static str),
    /// An error of a tensor.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An error of quantization parameters.
    #[error(transparent)]
    QType(#[from] QTypeError),
}

/// What can go wrong when a graph is evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// A node failed.
    #[error("node {node} ({op}): {source}")]
    Node {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        source: OpError,
    },
    /// Not as many tensors as the graph has inputs.
    #[error("{got} inputs given, the graph has {expected}")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// A tensor that does not fit the graph input.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the graph input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// The graph itself is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
