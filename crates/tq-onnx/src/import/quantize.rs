//! QuantizeLinear and DequantizeLinear from operator set 23 on, which name the types that they compute in and give.

use super::around::Surroundings;
use super::operator::{Result, block_size, dtype};
use super::plan::{Plan, Source};
use crate::attributes::Attributes;
use tq_graph::op::Op;
use tq_qtypes::DType;

/// An attribute that holds an element type, or 0 for none.
fn type_of(attributes: &Attributes, name: &str) -> Result<Option<DType>> {
    match attributes.int(name, 0)? {
        0 => Ok(None),
        code => dtype(code).map(Some),
    }
}

/// `source` as it is, or brought to the type `to` where it is known to be of another one.
fn cast(
    plan: &mut Plan,
    role: &'static str,
    source: Source,
    from: Option<DType>,
    to: Option<DType>,
) -> Source {
    match (from, to) {
        (Some(from), Some(to)) if from != to => {
            plan.step(role, Op::Cast { to, saturate: true }, vec![source])
        }
        _ => source,
    }
}

/// `x, scale[, zero_point]`: the quotient is computed in the type that `precision` names, else in that of the scale.
pub(super) fn quantize(attributes: &Attributes, around: &Surroundings, inputs: usize) -> Result<Plan> {
    let op = Op::QuantizeLinear {
        axis: attributes.int("axis", 1)?,
        block_size: block_size(attributes, around.opset)?,
        output_dtype: type_of(attributes, "output_dtype")?,
        saturate: attributes.flag("saturate", true)?,
    };
    let precision = type_of(attributes, "precision")?.or(around.dtype(1));
    let mut plan = Plan::new();
    let x = match around.dtype(0) {
        // Integers are quotients of the scale's type anyway.
        Some(DType::I32) => Source::Input(0),
        from => cast(&mut plan, "x", Source::Input(0), from, precision),
    };
    let scale = cast(&mut plan, "scale", Source::Input(1), around.dtype(1), precision);
    let mut operands = vec![x, scale];
    operands.extend((2..inputs).map(Source::Input));
    plan.all(op, operands);
    Ok(plan)
}

/// `codes, scale[, zero_point]`: the result is of the scale's type, or of the one that `output_dtype` names.
pub(super) fn dequantize(attributes: &Attributes, around: &Surroundings, inputs: usize) -> Result<Plan> {
    let op = Op::DequantizeLinear {
        axis: attributes.int("axis", 1)?,
        block_size: block_size(attributes, around.opset)?,
    };
    let operands = (0..inputs).map(Source::Input).collect();
    let mut plan = Plan::new();
    match type_of(attributes, "output_dtype")? {
        Some(to) if around.dtype(1).is_some_and(|scale| scale != to) => {
            let y = plan.step("", op, operands);
            plan.give(0, "cast", Op::Cast { to, saturate: true }, vec![y]);
        }
        _ => plan.all(op, operands),
    }
    Ok(plan)
}
