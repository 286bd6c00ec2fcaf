//! Einsum.

use super::context::{Context, Fact, show};
use crate::op::{EinsumEquation, EinsumTerm};
use crate::{Dim, GraphError, Shape};
use std::collections::BTreeMap;
use tq_qtypes::DType;

/// The dimension for which two stand that are the same axis: they are equal, or one of them is 1.
fn merge(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.known(), b.known()) {
        _ if a == b => Some(a.clone()),
        (Some(1), _) => Some(b.clone()),
        (_, Some(1)) => Some(a.clone()),
        (Some(_), Some(_)) => None,
        (None, Some(_)) => Some(b.clone()),
        _ => Some(a.clone()),
    }
}

/// The shape of the result; `None` while the rank of an operand with an ellipsis is not known.
fn shape(ctx: &Context<'_>, equation: &EinsumEquation) -> Result<Option<Shape>, GraphError> {
    let mut dims: BTreeMap<char, Dim> = BTreeMap::new();
    let mut middle: Option<Shape> = Some(Vec::new());
    for (i, term) in equation.operands.iter().enumerate() {
        let EinsumTerm { head, ellipsis, tail } = term;
        let letters = head.len() + tail.len();
        let Some(shape) = ctx.shape(i) else {
            if *ellipsis {
                middle = None;
            }
            continue;
        };
        let Some(free) = shape.len().checked_sub(letters).filter(|n| *ellipsis || *n == 0) else {
            return ctx.fail(format!("operand {i} has shape {}, which {term} does not fit", show(shape)));
        };
        let (first, rest) = shape.split_at(head.len());
        let (own, last) = rest.split_at(free);
        for (c, d) in term.letters().zip(first.iter().chain(last)) {
            let known = dims.get(&c).cloned().unwrap_or_else(|| d.clone());
            match merge(&known, d) {
                Some(d) => dims.insert(c, d),
                None => {
                    return ctx.fail(format!(
                        "axis {c} of operand {i} has {d} elements, that of another axis {c} has {known}"
                    ));
                }
            };
        }
        if let Some(all) = &mut middle {
            *all = ctx.broadcast(all, own)?;
        }
    }
    let EinsumTerm { head, ellipsis, tail } = &equation.result;
    let mut out = Shape::new();
    // A letter of an operand whose shape is not known has a dimension that only the data tells.
    let at = |c: &char, axis: usize| dims.get(c).cloned().unwrap_or_else(|| ctx.unknown(0, axis));
    for c in head {
        out.push(at(c, out.len()));
    }
    if *ellipsis {
        match middle {
            Some(middle) => out.extend(middle),
            None => return Ok(None),
        }
    }
    for c in tail {
        out.push(at(c, out.len()));
    }
    Ok(Some(out))
}

/// Einsum: `x...`.
pub(super) fn einsum(ctx: &Context<'_>, equation: &EinsumEquation) -> Result<Fact, GraphError> {
    let n = ctx.node.inputs.len();
    if n != equation.operands.len() {
        return ctx.fail(format!("{n} operands for {equation}"));
    }
    let number = |d: DType| d.is_float() || (d.is_integer() && d.bits() >= 8);
    let mut dtype = None;
    for i in 0..n {
        ctx.expect_dtype(i, "an operand", "a float type or an integer of whole bytes", number)?;
        match (dtype, ctx.dtype(i)) {
            (Some(a), Some(b)) if a != b => {
                return ctx.fail(format!("operand {i} is {b}, those before are {a}"));
            }
            (None, d) => dtype = d,
            _ => {}
        }
    }
    Ok(Fact::new(dtype, shape(ctx, equation)?))
}
