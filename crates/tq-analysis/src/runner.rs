//! The two ways to run a graph.

use crate::AnalysisError;
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, Tensor};
use tq_runtime::{Session, SessionOptions};

/// Runs a graph, by a session or by the reference evaluator.
#[derive(Debug)]
pub enum Runner {
    /// Compiled to integer kernels where the graph has quantized operators.
    Session(Box<Session>),
    /// Node by node in float, as ONNX says.
    Reference(Box<Evaluator>),
}

impl Runner {
    /// A session with default options.
    ///
    /// # Errors
    /// [`AnalysisError::Runtime`] when the graph cannot be compiled.
    pub fn session(graph: &Graph) -> Result<Self, AnalysisError> {
        Ok(Runner::Session(Box::new(Session::new(graph, SessionOptions::default())?)))
    }

    /// The reference evaluator in F32.
    ///
    /// # Errors
    /// [`AnalysisError::Eval`] when the graph is broken.
    pub fn reference(graph: &Graph) -> Result<Self, AnalysisError> {
        Ok(Runner::Reference(Box::new(Evaluator::new(graph, Precision::F32)?)))
    }

    /// Outputs of the graph, in its order, for inputs in its order.
    ///
    /// # Errors
    /// [`AnalysisError::Runtime`] or [`AnalysisError::Eval`] when inputs do not fit or a node fails.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, AnalysisError> {
        Ok(match self {
            Runner::Session(session) => session.run(inputs)?,
            Runner::Reference(evaluator) => evaluator.run(inputs)?,
        })
    }
}
