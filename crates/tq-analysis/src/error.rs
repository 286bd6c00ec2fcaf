//! Errors of this crate.

use tq_eval::EvalError;
use tq_graph::GraphError;
use tq_observers::ObserverError;
use tq_passes::PassError;
use tq_qtypes::{DType, QTypeError};
use tq_runtime::RuntimeError;

/// What can be wrong with data, labels or a pair of models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// Rows that an array does not have.
    #[error("rows {start} to {end} of an array that has {available}")]
    Rows {
        /// First row asked for.
        start: usize,
        /// First row not asked for.
        end: usize,
        /// Rows there are.
        available: usize,
    },
    /// Arrays that do not fit together.
    #[error("{0}")]
    Concat(String),
    /// Data that does not fit a model's input.
    #[error("input {name}: {message}")]
    Input {
        /// Name of the graph input.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// Rows that could not be read.
    #[error("input {input}: {source}")]
    Read {
        /// Name of the graph input that they are for.
        input: String,
        /// What their source said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Data that is NaN or infinite.
    #[error(
        "input {name}: row {row} holds {value} (element {element} of it), and only finite data tells anything"
    )]
    NotFinite {
        /// Number of the graph input.
        input: usize,
        /// Its name.
        name: String,
        /// The row in all the data, from 0; of an input that is given whole with every batch, its own.
        row: usize,
        /// Number of the element in that row.
        element: usize,
        /// It.
        value: f64,
    },
    /// Two models that are not a float model and what was quantized of it.
    #[error("{0}")]
    Models(String),
    /// There is no data.
    #[error("the data holds no rows")]
    Empty,
    /// Wrong parameters of the preprocessing.
    #[error("preprocessing: {0}")]
    Preprocess(String),
    /// Labels that do not fit the data or the model.
    #[error("labels: {0}")]
    Labels(String),
    /// An output that is not what the figure needs.
    #[error("output {name}: {message}")]
    Output {
        /// Name of the graph output.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// Two outputs that should be comparable are not.
    #[error(
        "outputs {float:?} ({float_dtype}) and {quantized:?} ({quantized_dtype}) cannot be compared{}",
        positions(*float_dtype)
    )]
    Incomparable {
        /// Shape from the float model.
        float: Vec<usize>,
        /// Type from the float model.
        float_dtype: DType,
        /// Shape from the quantized model.
        quantized: Vec<usize>,
        /// Type from the quantized model.
        quantized_dtype: DType,
    },
    /// No configuration could be made and run.
    #[error("no configuration works for this model: {0}")]
    Recommend(String),
    /// A search that had nothing to choose from.
    #[error("mixed precision: {0}")]
    Search(String),
    /// A user's figure that could not be computed.
    #[error("metric {name}: {source}")]
    Metric {
        /// What it is called.
        name: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A picture could not be drawn.
    #[error("picture: {0}")]
    Plot(String),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A tensor could not be made.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An observer refused or failed.
    #[error(transparent)]
    Observer(#[from] ObserverError),
    /// A tensor could not be quantized.
    #[error(transparent)]
    Quantize(#[from] QTypeError),
    /// Quantization refused or failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The session refused or failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The reference evaluator refused or failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// What to do about outputs that are no measures of anything.
fn positions(dtype: DType) -> &'static str {
    match dtype.is_integer() {
        true => {
            ": integers, as of an ArgMax, have no error; name the scores that they are made of as the output"
        }
        false => "",
    }
}
