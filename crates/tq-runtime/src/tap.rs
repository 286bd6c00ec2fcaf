//! What a tapped run shows: the codes that each quantized operator took and gave.

use crate::codes::FLIP;
use crate::error::StepError;
use crate::frame::Frame;
use crate::layout::{Layout, from_layout};
use crate::slots::BufferId;
use tq_graph::qdq::QOperator;
use tq_graph::{Graph, Tensor, ValueId};

/// One quantized operator of a run, after it has run.
#[derive(Debug)]
pub struct Tap<'a> {
    /// The graph of the run: that of the session, with concrete shapes.
    pub graph: &'a Graph,
    /// The operator.
    pub operator: &'a QOperator,
    /// The codes of its inputs, in the graph's own type and order of axes.
    pub inputs: Vec<Tensor>,
    /// Its results: codes as the inputs, or real numbers where it leaves these.
    pub outputs: Vec<Tensor>,
}

/// Where codes are found while the plan is at an operator.
#[derive(Debug)]
pub(crate) enum Source {
    Codes { from: BufferId, layout: Layout, dims: Vec<usize>, signed: bool },
    Tensor(ValueId),
}

/// What to show of one operator, and when.
#[derive(Debug)]
pub(crate) struct OperatorTap {
    /// Index into the view.
    pub(crate) operator: usize,
    /// The number of steps that have run by then.
    pub(crate) after: usize,
    pub(crate) inputs: Vec<Source>,
    pub(crate) outputs: Vec<Source>,
}

impl Source {
    pub(crate) fn tensor(&self, frame: &Frame<'_>) -> Result<Tensor, StepError> {
        match self {
            Source::Tensor(v) => Ok(frame.tensor(*v)?.clone()),
            Source::Codes { from, layout, dims, signed } => {
                let codes = from_layout(frame.codes(*from)?, dims, *layout);
                Ok(if *signed {
                    Tensor::new(dims, codes.into_iter().map(|c| (c ^ FLIP) as i8).collect())?
                } else {
                    Tensor::new(dims, codes)?
                })
            }
        }
    }

    pub(crate) fn buffer(&self) -> Option<BufferId> {
        match self {
            Source::Codes { from, .. } => Some(*from),
            Source::Tensor(_) => None,
        }
    }
}
