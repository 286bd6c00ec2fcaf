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
    /// Memory that the system does not give.
    #[error("no memory for {bytes} bytes")]
    Memory {
        /// How many are needed.
        bytes: usize,
    },
    /// Elements that are not inside a buffer.
    #[error("{bytes} bytes from byte {start} on are not inside a buffer of {len}")]
    BufferRange {
        /// Where they begin.
        start: usize,
        /// How many they are.
        bytes: usize,
        /// How many the buffer has.
        len: usize,
    },
    /// A byte that is neither 0 nor 1 where truth values are expected.
    #[error("a byte of a tensor of truth values is neither 0 nor 1")]
    NotBool,
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
    /// Parameters of layers that have no value.
    #[error("no weights for {}", .0.join(", "))]
    MissingWeights(Vec<String>),
    /// Weights that no layer has.
    #[error("no layer has the weights {}", .0.join(", "))]
    UnexpectedWeights(Vec<String>),
    /// Weights of another shape than the layer's parameter.
    #[error("weights {name} have shape {got:?}, the layer expects {expected:?}")]
    WeightShape {
        /// Name of the parameter.
        name: String,
        /// Shape of the parameter.
        expected: Vec<usize>,
        /// Shape of the weights.
        got: Vec<usize>,
    },
    /// Weights that are not f16, bf16, f32 or f64.
    #[error("weights {name} are {got}, expected floats")]
    WeightType {
        /// Name of the parameter.
        name: String,
        /// Type of the weights.
        got: DType,
    },
    /// Bytes that are no readable file of weights, or weights that no such file can hold.
    #[error("safetensors: {0}")]
    WeightsFile(String),
}
