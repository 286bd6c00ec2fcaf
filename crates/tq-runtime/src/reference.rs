//! One quantized operator as the graph writes it: Dequantize, the operator, its activation, Quantize.

use crate::error::StepError;
use std::collections::HashMap;
use tq_eval::recurrent::recurrent_following;
use tq_eval::{Precision, eval_op};
use tq_graph::op::{RecurrentAttrs, RecurrentKind};
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
    got: &[Tensor],
    precision: Precision,
) -> Result<Vec<Tensor>, StepError> {
    let mut env: HashMap<ValueId, Tensor> = op.reads().zip(inputs.iter().cloned()).collect();
    if let (Op::Recurrent { kind, attrs }, Some(y), Precision::F64) =
        (&graph.node(op.node).op, given_sequence(graph, op, got), precision)
    {
        return recurrent(graph, producers, op, (*kind, attrs), env, y);
    }
    let mut nodes = op.absorbed.clone();
    nodes.sort_unstable();
    for id in nodes {
        let node = graph.node(id);
        for v in node.inputs.iter().flatten() {
            before(graph, producers, *v, &mut env, precision)?;
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

/// The sequence that a recurrent operator gave, if its node has that output.
fn given_sequence<'t>(graph: &Graph, op: &QOperator, got: &'t [Tensor]) -> Option<&'t Tensor> {
    graph.node(op.node).output(0).and_then(|_| got.first())
}

/// A recurrent operator step by step: each step begins from the state that the operator itself gave.
fn recurrent(
    graph: &Graph,
    producers: &[Option<NodeId>],
    op: &QOperator,
    (kind, attrs): (RecurrentKind, &RecurrentAttrs),
    mut env: HashMap<ValueId, Tensor>,
    y: &Tensor,
) -> Result<Vec<Tensor>, StepError> {
    let node = graph.node(op.node);
    for v in node.inputs.iter().flatten() {
        before(graph, producers, *v, &mut env, Precision::F64)?;
    }
    let inputs = values(graph, op.node, &env)?;
    let outs = recurrent_following(&inputs, kind, attrs, node.outputs.len(), y)?;
    Ok(outs.into_iter().zip(&node.outputs).filter_map(|(t, v)| v.map(|_| t)).collect())
}

/// The inputs of a node.
fn values<'e>(
    graph: &'e Graph,
    id: NodeId,
    env: &'e HashMap<ValueId, Tensor>,
) -> Result<Vec<Option<&'e Tensor>>, StepError> {
    let value = |v: &ValueId| {
        let t = graph.constant(*v).or_else(|| env.get(v));
        t.ok_or_else(|| StepError::NoData(graph.value(*v).name.clone()))
    };
    graph.node(id).inputs.iter().map(|v| v.as_ref().map(value).transpose()).collect()
}

/// What stands before an operator: Dequantize nodes of its inputs, weights and constants, and a Reshape after one.
fn before(
    graph: &Graph,
    producers: &[Option<NodeId>],
    v: ValueId,
    env: &mut HashMap<ValueId, Tensor>,
    precision: Precision,
) -> Result<(), StepError> {
    if env.contains_key(&v) || graph.constant(v).is_some() {
        return Ok(());
    }
    let Some(id) = producers[v.0] else { return Ok(()) };
    match graph.node(id).op {
        Op::DequantizeLinear { .. } => run(graph, id, env, precision),
        Op::Reshape { .. } => {
            if let Some(first) = graph.node(id).input(0) {
                before(graph, producers, first, env, precision)?;
            }
            // Where that was no Dequantize node, the Reshape is part of what ran before.
            match graph.node(id).input(0).is_some_and(|v| env.contains_key(&v) || graph.constant(v).is_some())
            {
                true => run(graph, id, env, precision),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn run(
    graph: &Graph,
    id: NodeId,
    env: &mut HashMap<ValueId, Tensor>,
    precision: Precision,
) -> Result<(), StepError> {
    let node = graph.node(id);
    let outs = eval_op(&node.op, &values(graph, id, env)?, node.outputs.len(), precision)?;
    for (v, t) in node.outputs.iter().zip(outs) {
        if let Some(v) = v {
            env.insert(*v, t);
        }
    }
    Ok(())
}
