//! Samples that look up what no table of the model has.

use super::samples::{SampleInput, Samples};
use crate::QatError;
use tq_graph::{Dim, Graph, Op, Tensor};

/// Checks that what inputs of integers look up in tables is there. A node that fails tells of a batch; this tells which sample
/// it is. Followed is what goes from an input to a Gather as it was given.
pub(super) fn check_lookups(graph: &Graph, samples: &Samples) -> Result<(), QatError> {
    // Of each value that has the numbers of an input in their order: which input.
    let mut origin: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (i, v) in graph.inputs.iter().enumerate() {
        origin[v.0] = graph.value(*v).dtype.filter(|t| t.is_integer()).map(|_| i);
    }
    for node in &graph.nodes {
        let from = |i: usize| node.input(i).and_then(|v| origin[v.0]);
        match &node.op {
            Op::Cast { to, .. } if !to.is_integer() => {}
            Op::Cast { .. }
            | Op::Identity
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Squeeze
            | Op::Unsqueeze => {
                if let (Some(input), Some(v)) = (from(0), node.output(0)) {
                    origin[v.0] = Some(input);
                }
            }
            Op::Gather { axis } => {
                let shape = node.input(0).and_then(|v| graph.value(v).shape.as_deref()).unwrap_or_default();
                let axis = if *axis < 0 { axis + shape.len() as i64 } else { *axis };
                let len = usize::try_from(axis).ok().and_then(|a| shape.get(a)).and_then(Dim::known_usize);
                if let (Some(input), Some(len)) = (from(1), len)
                    && let Some((sample, element, index)) = outside(samples, input, len as i64)
                {
                    let (name, node) = (graph.value(graph.inputs[input]).name.clone(), node.name.clone());
                    return Err(QatError::Lookup { input, name, sample, element, index, node, len });
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The first number outside a table of this length, with its sample and its place there.
fn outside(samples: &Samples, input: usize, len: i64) -> Option<(usize, usize, i64)> {
    // Negative ones count from the end.
    let first = |tensor: &Tensor| {
        let values = tensor.to_i64_vec()?;
        values.iter().enumerate().find(|(_, v)| !(-len..len).contains(*v)).map(|(at, v)| (at, *v))
    };
    match samples.given().get(input)? {
        SampleInput::Rows(tensor) => {
            let each = (tensor.len() / samples.len()).max(1);
            first(tensor).map(|(at, index)| (samples.place(at / each), at % each, index))
        }
        SampleInput::Whole(all) => all
            .iter()
            .enumerate()
            .find_map(|(row, tensor)| first(tensor).map(|(at, index)| (samples.place(row), at, index))),
        // It comes with every sample: none is to blame.
        SampleInput::Same(_) => None,
    }
}
