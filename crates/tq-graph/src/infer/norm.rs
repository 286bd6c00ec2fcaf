//! Operators that bring data to mean 0 and variance 1.

use super::context::{Context, Fact, conflict, show};
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

/// The type of `x`, `scale` and `bias`, which is one float type.
fn common_dtype(ctx: &Context<'_>) -> Result<Option<DType>, GraphError> {
    let mut dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    for (i, name) in [(1, "scale"), (2, "bias")] {
        if ctx.has(i) {
            dtype = ctx.same_dtype((0, "x"), (i, name))?.or(dtype);
        }
    }
    Ok(dtype)
}

/// LayerNormalization: `x, scale[, bias] -> y[, mean[, inv_std]]`.
pub(super) fn layer(ctx: &Context<'_>, axis: i64, stash: DType) -> Result<Vec<Fact>, GraphError> {
    if !stash.is_float() {
        return ctx.fail(format!("the type of the mean is {stash}, expected a float type"));
    }
    let dtype = common_dtype(ctx)?;
    let Some(input) = ctx.shape(0) else {
        return Ok(vec![Fact::new(dtype, None), Fact::new(Some(stash), None), Fact::new(Some(stash), None)]);
    };
    let axis = ctx.axis(axis, input.len())?;
    for (i, name) in [(1, "scale"), (2, "bias")] {
        let Some(shape) = ctx.shape(i) else { continue };
        let fits = shape.len() <= input.len()
            && shape
                .iter()
                .rev()
                .zip(input.iter().rev())
                .all(|(p, d)| p.known() == Some(1) || !conflict(p, d));
        if !fits {
            return ctx.fail(format!("{name} {} does not broadcast to x {}", show(shape), show(input)));
        }
    }
    let one = Dim::from(1i64);
    let moments: Shape =
        input.iter().enumerate().map(|(i, d)| if i < axis { d.clone() } else { one.clone() }).collect();
    Ok(vec![
        Fact::new(dtype, Some(input.to_vec())),
        Fact::new(Some(stash), Some(moments.clone())),
        Fact::new(Some(stash), Some(moments)),
    ])
}

/// InstanceNormalization: `x, scale, bias`.
pub(super) fn instance(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = common_dtype(ctx)?;
    let Some(input) = ctx.expect_rank(0, "x", 2..=usize::MAX)? else { return Ok(Fact::new(dtype, None)) };
    for (i, name) in [(1, "scale"), (2, "bias")] {
        ctx.expect_vector(i, name, &input[1])?;
    }
    Ok(Fact::new(dtype, Some(input.to_vec())))
}

/// GroupNormalization: `x, scale, bias`.
pub(super) fn group(ctx: &Context<'_>, groups: usize) -> Result<Fact, GraphError> {
    let dtype = common_dtype(ctx)?;
    if groups == 0 {
        return ctx.fail("groups is 0");
    }
    let Some(input) = ctx.expect_rank(0, "x", 2..=usize::MAX)? else { return Ok(Fact::new(dtype, None)) };
    let channels = &input[1];
    if channels.known_usize().is_some_and(|c| c % groups != 0) {
        return ctx.fail(format!("{channels} channels do not divide into {groups} groups"));
    }
    let per_group = Dim::from(groups);
    for (i, name) in [(1, "scale"), (2, "bias")] {
        match ctx.expect_rank(i, name, 1..=1)? {
            Some([d]) if conflict(d, channels) && conflict(d, &per_group) => {
                return ctx.fail(format!(
                    "{name} has {d} elements, expected one for each of {channels} channels or {groups} groups"
                ));
            }
            _ => {}
        }
    }
    Ok(Fact::new(dtype, Some(input.to_vec())))
}

/// MeanVarianceNormalization: `x`.
pub(super) fn mean_variance(ctx: &Context<'_>, axes: &[i64]) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    if let Some(s) = ctx.shape(0) {
        ctx.axis_set(axes, s.len())?;
    }
    Ok(Fact::new(dtype, ctx.shape(0).map(<[Dim]>::to_vec)))
}

/// LRN: `x`.
pub(super) fn lrn(ctx: &Context<'_>, size: usize) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    if size == 0 {
        return ctx.fail("size is 0");
    }
    let shape = ctx.expect_rank(0, "x", 2..=usize::MAX)?;
    Ok(Fact::new(dtype, shape.map(<[Dim]>::to_vec)))
}
