//! LSTM, GRU, RNN.

use super::context::{Context, Fact, conflict, show};
use crate::op::{RecurrentAttrs, RecurrentKind};
use crate::{Dim, GraphError};
use tq_qtypes::DType;

/// Names of the inputs, of which the fifth is not float.
const NAMES: [&str; 8] = ["x", "w", "r", "b", "sequence_lens", "initial_h", "initial_c", "p"];
const LENS: usize = 4;

/// Fails when input `i` is known not to have this shape; `None` stands for any dimension.
fn expect(ctx: &Context<'_>, i: usize, dims: &[Option<Dim>]) -> Result<(), GraphError> {
    let Some(shape) = ctx.expect_rank(i, NAMES[i], dims.len()..=dims.len())? else { return Ok(()) };
    let fits = shape.iter().zip(dims).all(|(s, d)| d.as_ref().is_none_or(|d| !conflict(s, d)));
    if fits {
        return Ok(());
    }
    let text: Vec<String> = dims.iter().map(|d| d.as_ref().map_or("?".into(), Dim::to_string)).collect();
    ctx.fail(format!("{} has shape {}, expected [{}]", NAMES[i], show(shape), text.join(", ")))
}

/// Types and shapes of `y, y_h` and, for an LSTM, `y_c`.
pub(super) fn recurrent(
    ctx: &Context<'_>,
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
) -> Result<Vec<Fact>, GraphError> {
    let hidden = attrs.hidden_size;
    let directions = attrs.direction.count();
    let functions = directions * kind.default_activations().len();
    if hidden == 0 {
        return ctx.fail("hidden_size is 0");
    }
    if attrs.activations.len() != functions {
        return ctx.fail(format!("{} activations, expected {functions}", attrs.activations.len()));
    }
    let rows = |n: usize| match hidden.checked_mul(n) {
        Some(rows) => Ok(Some(Dim::from(rows))),
        None => ctx.fail(format!("hidden_size {hidden} is too large")),
    };
    let mut dtype = ctx.expect_dtype(0, NAMES[0], "a float type", DType::is_float)?;
    for i in (1..NAMES.len()).filter(|i| *i != LENS && ctx.has(*i)) {
        dtype = ctx.same_dtype((0, NAMES[0]), (i, NAMES[i]))?.or(dtype);
    }
    ctx.expect_dtype(LENS, NAMES[LENS], "i32", |d| d == DType::I32)?;

    let input = ctx.expect_rank(0, NAMES[0], 3..=3)?;
    let at = |axis: usize| input.map(|s| s[axis].clone());
    let (steps, batch) = if attrs.batch_first { (at(1), at(0)) } else { (at(0), at(1)) };
    let (d, h) = (Some(Dim::from(directions)), Some(Dim::from(hidden)));
    let gates = rows(kind.gates())?;
    expect(ctx, 1, &[d.clone(), gates.clone(), at(2)])?;
    expect(ctx, 2, &[d.clone(), gates, h.clone()])?;
    expect(ctx, 3, &[d.clone(), rows(2 * kind.gates())?])?;
    expect(ctx, LENS, std::slice::from_ref(&batch))?;
    let state = if attrs.batch_first {
        [batch.clone(), d.clone(), h.clone()]
    } else {
        [d.clone(), batch.clone(), h.clone()]
    };
    expect(ctx, 5, &state)?;
    expect(ctx, 6, &state)?;
    expect(ctx, 7, &[d.clone(), rows(3)?])?;

    let sequence = if attrs.batch_first { [batch, steps, d, h] } else { [steps, d, batch, h] };
    let y = Fact::new(dtype, sequence.into_iter().collect());
    let states = if matches!(kind, RecurrentKind::Lstm { .. }) { 2 } else { 1 };
    let state = |_| Fact::new(dtype, state.iter().cloned().collect());
    Ok(std::iter::once(y).chain((0..states).map(state)).collect())
}
