//! An operator of the graph in float, or on whatever types it has, by the reference evaluator.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use tq_eval::{Precision, eval_op};
use tq_graph::NodeId;

/// Evaluates one node on tensors.
#[derive(Debug)]
pub(crate) struct Eval {
    pub(crate) node: NodeId,
}

impl Step for Eval {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let graph = frame.graph;
        let Some(node) = graph.nodes.get(self.node.0) else {
            return Err(StepError::Shape(format!("no node {}", self.node.0)));
        };
        let outs = {
            let inputs = node
                .inputs
                .iter()
                .map(|v| v.map(|v| frame.tensor(v)).transpose())
                .collect::<Result<Vec<_>, _>>()?;
            eval_op(&node.op, &inputs, node.outputs.len(), Precision::F32)?
        };
        for (v, tensor) in node.outputs.iter().zip(outs) {
            if let Some(v) = v {
                frame.set_tensor(*v, tensor);
            }
        }
        Ok(())
    }
}
