//! Errors of this crate. All of them print as one line, whatever names a file carries.

use crate::{MAX_HEADER, VERSION};
use std::io;
use std::path::{Path, PathBuf};
use tq_graph::{GraphError, one_line};
use tq_qtypes::DType;

/// What can go wrong when a file is read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// A file that cannot be read or written.
    #[error("{}: {message}", one_line(&.path.display().to_string()))]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// Bytes that cannot be read or written.
    #[error("{0}")]
    Io(String),
    /// A file that ends before it should.
    #[error("the file ends within {0}")]
    Truncated(&'static str),
    /// Bytes that are no safetensors file.
    #[error("not a safetensors file: {}", one_line(.0))]
    Container(String),
    /// A header that is too long to be read or written.
    #[error("the header has {0} bytes, at most {MAX_HEADER} are read and written")]
    HeaderSize(u64),
    /// A safetensors file without a graph in it.
    #[error("a safetensors file without a graph of torsh-quantization in it")]
    NoGraph,
    /// A file of a later version than this program's.
    #[error("version {0} of the format is not read, 1 to {VERSION} are")]
    Version(u64),
    /// A graph that is not written as the format says.
    #[error("graph: {}", one_line(.0))]
    Schema(String),
    /// An operator that this program does not know.
    #[error("node {}: unknown operator {}", one_line(.node), one_line(.op))]
    UnknownOperator {
        /// Name of the node.
        node: String,
        /// What the file calls the operator.
        op: String,
    },
    /// A node with an attribute that is missing, too many, or has no value of its kind.
    #[error("node {} ({}): attribute {}: {}", one_line(.node), one_line(.op), one_line(.attribute), one_line(.message))]
    Attribute {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: String,
        /// The attribute.
        attribute: String,
        /// What is wrong with it.
        message: String,
    },
    /// A tensor whose data is not what its description says.
    #[error("tensor {}: {}", one_line(.name), one_line(.message))]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A constant of the graph that the file of weights does not have.
    #[error("no weights for {}", names(.0))]
    MissingWeights(Vec<String>),
    /// Weights that the graph has no constant for.
    #[error("the graph has no constants {}", names(.0))]
    UnexpectedWeights(Vec<String>),
    /// Weights of another shape than the constant they are for.
    #[error("weights {} have shape {got:?}, the graph has {expected:?}", one_line(.name))]
    WeightShape {
        /// Name of both.
        name: String,
        /// Shape of the constant.
        expected: Vec<usize>,
        /// Shape of the weights.
        got: Vec<usize>,
    },
    /// Weights of a type that cannot become that of the constant they are for.
    #[error("weights {} are {got}, the graph has {expected}", one_line(.name))]
    WeightType {
        /// Name of both.
        name: String,
        /// Type of the constant.
        expected: DType,
        /// Type of the weights.
        got: DType,
    },
    /// A graph that contradicts itself.
    #[error("{}", one_line(&.0.to_string()))]
    Graph(#[from] GraphError),
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> Self {
        FormatError::Io(error.to_string())
    }
}

impl FormatError {
    /// The same, naming the file where it is about one.
    pub(crate) fn of_file(self, path: &Path) -> Self {
        match self {
            FormatError::Io(message) => FormatError::File { path: path.to_owned(), message },
            other => other,
        }
    }

    pub(crate) fn tensor(name: &str, message: impl ToString) -> Self {
        FormatError::Tensor { name: name.to_owned(), message: message.to_string() }
    }
}

fn names(names: &[String]) -> String {
    one_line(&names.join(", "))
}
