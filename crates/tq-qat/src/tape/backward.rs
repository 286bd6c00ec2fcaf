//! The backward pass.

use super::checkpoint::Segment;
use super::rules::{self, Call, Derivative, elementwise};
use super::{CustomRule, Source};
use crate::QatError;
use tq_eval::OpError;
use tq_graph::{GraphError, Op, Tensor};
use tq_qtypes::DType;

/// One computation.
pub(super) struct Record {
    pub(super) node: String,
    pub(super) op: &'static str,
    /// Where the gradients of the inputs go.
    pub(super) sources: Vec<Option<Source>>,
    pub(super) input_dims: Vec<Vec<usize>>,
    pub(super) output_dims: Vec<Vec<usize>>,
    /// Where the gradients of the outputs are.
    pub(super) slots: Vec<Option<usize>>,
    pub(super) rule: Rule,
}

/// How gradients get through a record.
pub(super) enum Rule {
    Op(Box<OpRule>),
    Custom(Box<dyn CustomRule>),
    Segment(Box<Segment>),
    /// They do not.
    Refused(&'static str),
}

/// An operator of a graph, with what its rule asked to be kept.
pub(super) struct OpRule {
    pub(super) op: Op,
    pub(super) inputs: Vec<Option<Tensor>>,
    pub(super) outputs: Vec<Option<Tensor>>,
    pub(super) input_dims: Vec<Vec<usize>>,
}

/// Goes through the records from the last to the first, dropping each. `gradients` are those of all slots, of which the
/// ones that no record has made come back.
pub(super) fn run(
    mut records: Vec<Record>,
    mut gradients: Vec<Option<Tensor>>,
) -> Result<Vec<Option<Tensor>>, QatError> {
    while let Some(record) = records.pop() {
        let Record { node, op, sources, input_dims, output_dims, slots, rule } = record;
        let of_outputs: Vec<Option<Tensor>> =
            slots.iter().map(|slot| slot.and_then(|s| gradients[s].take())).collect();
        if !of_outputs.iter().any(Option::is_some) {
            continue;
        }
        let needs: Vec<bool> = sources.iter().map(Option::is_some).collect();
        let failed = |source| QatError::Backward { node: node.clone(), op, source };
        let of_inputs = match rule {
            Rule::Refused(reason) => return Err(QatError::NoGradient { node, op, reason }),
            Rule::Segment(segment) => {
                segment.backward(of_outputs, &sources, &mut gradients)?;
                continue;
            }
            Rule::Custom(rule) => match of_outputs.into_iter().next().flatten() {
                Some(gradient) => rule.backward(gradient, &needs)?,
                None => continue,
            },
            Rule::Op(rule) => match rules::derivative(&rule.op) {
                Derivative::Flows(gradient) => {
                    let call = Call {
                        inputs: rule.inputs,
                        outputs: rule.outputs,
                        input_dims: &rule.input_dims,
                        output_dims: &output_dims,
                        needs: &needs,
                        gradients: of_outputs,
                    };
                    gradient.backward(call).map_err(failed)?
                }
                Derivative::Nowhere => continue,
                Derivative::Refused(reason) => return Err(QatError::NoGradient { node, op, reason }),
            },
        };
        if of_inputs.len() != sources.len() {
            let (expected, got) = (sources.len(), of_inputs.len());
            return Err(QatError::GradientCount { node, expected, got });
        }
        for (i, (gradient, source)) in of_inputs.into_iter().zip(sources).enumerate() {
            let (Some(gradient), Some(source)) = (gradient, source) else { continue };
            check_gradient(&gradient, &input_dims[i], &node, || format!("input {i}"))?;
            deliver(gradient, &source, &mut gradients)?;
        }
    }
    Ok(gradients)
}

/// Adds a gradient to what is there already.
pub(super) fn deliver(
    gradient: Tensor,
    source: &Source,
    gradients: &mut [Option<Tensor>],
) -> Result<(), QatError> {
    match source {
        Source::Parameter(parameter) => parameter.add_gradient(gradient),
        Source::Slot(slot) => {
            let sum = match gradients[*slot].take() {
                Some(sum) => add_gradients(sum, &gradient)?,
                None => gradient,
            };
            gradients[*slot] = Some(sum);
            Ok(())
        }
    }
}

/// A gradient is f32 and has the shape of its value.
pub(super) fn check_gradient(
    gradient: &Tensor,
    expected: &[usize],
    node: &str,
    what: impl Fn() -> String,
) -> Result<(), QatError> {
    if gradient.dtype() != DType::F32 {
        return Err(GraphError::DType { expected: DType::F32, got: gradient.dtype() }.into());
    }
    if gradient.dims() != expected {
        let (expected, got) = (expected.to_vec(), gradient.dims().to_vec());
        return Err(QatError::GradientShape { node: node.into(), what: what(), expected, got });
    }
    Ok(())
}

/// The sum of two gradients of one shape; the first is written over where nobody else has it.
pub(crate) fn add_gradients(sum: Tensor, other: &Tensor) -> Result<Tensor, OpError> {
    elementwise::combine(sum, other.as_slice::<f32>()?, |a, b| a + b)
}
