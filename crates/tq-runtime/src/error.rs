//! Errors of this crate.

use tq_eval::OpError;
use tq_graph::GraphError;
use tq_kernels::{Isa, KernelError};
use tq_qtypes::QTypeError;

/// What can go wrong when a session is made or run. Names are those of the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// Not as many tensors as the graph has inputs.
    #[error("{got} inputs given, the graph has {expected}: {names}")]
    InputCount {
        /// Inputs of the graph.
        expected: usize,
        /// Tensors given.
        got: usize,
        /// Names of the inputs of the graph.
        names: String,
    },
    /// Not as many tensors as the graph has outputs.
    #[error("room for {got} outputs given, the graph has {expected}")]
    OutputCount {
        /// Outputs of the graph.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// A tensor that does not fit the graph input, or a name that is none.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the graph input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A value that is larger than the session may hold.
    #[error("value {value} of shape {dims:?} takes {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Name of the value.
        value: String,
        /// Its shape.
        dims: Vec<usize>,
        /// Its size.
        bytes: usize,
        /// The limit of the session.
        limit: usize,
    },
    /// Kernels for another processor than this one.
    #[error("no {0} kernels: not built in, not supported by this processor, or switched off by TQ_ISA")]
    IsaUnavailable(Isa),
    /// A node failed.
    #[error("node {node} ({op}): {source}")]
    Node {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        source: StepError,
    },
    /// A kernel setting of the environment that makes no sense.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The graph is broken, or does not take these shapes.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What can go wrong in one step.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// A kernel refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A float operator failed.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A tensor of another type or size than it should be.
    #[error(transparent)]
    Tensor(#[from] GraphError),
    /// Quantization parameters that make no sense.
    #[error(transparent)]
    QType(#[from] QTypeError),
    /// A value that the step needs has no data: an operator left an output out.
    #[error("value {0} has no data")]
    NoData(String),
    /// Shapes or sizes that contradict each other.
    #[error("{0}")]
    Shape(String),
    /// Memory that cannot be had.
    #[error("{bytes} bytes for {what} cannot be allocated")]
    Memory {
        /// What for.
        what: &'static str,
        /// How many.
        bytes: usize,
    },
}
