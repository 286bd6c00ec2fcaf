//! One quantized operator as the graph writes it: Dequantize, the operator, its activation, Quantize.

use crate::error::StepError;
use std::collections::HashMap;
use tq_eval::{Precision, eval_op};
use tq_graph::qdq::{QOperator, QOutput};
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId};

/// The results of `op` for these codes of its inputs, evaluated by the reference evaluator; one tensor an output:
/// codes, or reals where the operator leaves them. `producers` are those of the graph.
///
/// # Errors
/// Those of the evaluator.
pub(crate) fn evaluate(
    graph: &Graph,
    producers: &[Option<NodeId>],
    op: &QOperator,
    inputs: &[Tensor],
    precision: Precision,
) -> Result<Vec<Tensor>, StepError> {
    let mut env: HashMap<ValueId, Tensor> =
        op.inputs.iter().map(|c| c.value).zip(inputs.iter().cloned()).collect();
    let mut nodes = op.absorbed.clone();
    nodes.sort_unstable();
    for id in nodes {
        let node = graph.node(id);
        for v in node.inputs.iter().flatten() {
            // What stands before the operator: Dequantize nodes of its inputs, weights and constants.
            if !env.contains_key(v)
                && graph.constant(*v).is_none()
                && let Some(before) = producers[v.0]
                && matches!(graph.node(before).op, Op::DequantizeLinear { .. })
            {
                run(graph, before, &mut env, precision)?;
            }
        }
        run(graph, id, &mut env, precision)?;
    }
    op.outputs
        .iter()
        .map(|out| {
            let v = match out {
                QOutput::Codes(c) => c.value,
                QOutput::Float(v) => *v,
            };
            env.get(&v).cloned().ok_or_else(|| StepError::NoData(graph.value(v).name.clone()))
        })
        .collect()
}

fn run(
    graph: &Graph,
    id: NodeId,
    env: &mut HashMap<ValueId, Tensor>,
    precision: Precision,
) -> Result<(), StepError> {
    let node = graph.node(id);
    let outs = {
        let inputs = node
            .inputs
            .iter()
            .map(|v| match v {
                None => Ok(None),
                Some(v) => graph
                    .constant(*v)
                    .or_else(|| env.get(v))
                    .map(Some)
                    .ok_or_else(|| StepError::NoData(graph.value(*v).name.clone())),
            })
            .collect::<Result<Vec<_>, _>>()?;
        eval_op(&node.op, &inputs, node.outputs.len(), precision)?
    };
    for (v, t) in node.outputs.iter().zip(outs) {
        if let Some(v) = v {
            env.insert(*v, t);
        }
    }
    Ok(())
}
