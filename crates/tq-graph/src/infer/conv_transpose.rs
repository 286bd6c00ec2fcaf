//! ConvTranspose.

use super::context::{Context, Fact, conflict, show};
use super::conv::{SPATIAL, check_attrs, check_len, check_positive};
use crate::op::{ConvTransposeAttrs, Padding};
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

/// The extent of one output axis: what the windows cover together, less the padding.
fn extent(
    ctx: &Context<'_>,
    attrs: &ConvTransposeAttrs,
    i: usize,
    input: &Dim,
    kernel: usize,
) -> Result<Dim, GraphError> {
    let axis = i + 2;
    let (stride, more) = (Dim::from(attrs.strides[i]), attrs.output_padding[i]);
    if let Some(wanted) = &attrs.output_shape {
        return Ok(Dim::from(wanted[i]));
    }
    let Padding::Explicit { begin, end } = &attrs.padding else {
        return ctx.settle(0, axis, input.checked_mul(&stride), &[input]);
    };
    let fixed = |begin: usize, end: usize| {
        let window = i64::try_from(kernel - 1).ok()?.checked_mul(i64::try_from(attrs.dilations[i]).ok()?)?;
        let room = window.checked_add(1)?.checked_add(i64::try_from(more).ok()?)?;
        room.checked_sub(i64::try_from(begin).ok()?)?.checked_sub(i64::try_from(end).ok()?)
    };
    let Some(fixed) = fixed(begin[i], end[i]) else {
        return ctx.fail(format!("the window on axis {axis} overflows"));
    };
    let steps = input.checked_sub(&Dim::from(1i64)).and_then(|d| d.checked_mul(&stride));
    let size = steps.and_then(|d| d.checked_add(&Dim::from(fixed)));
    ctx.settle(0, axis, size, &[input])
}

fn shape(ctx: &Context<'_>, attrs: &ConvTransposeAttrs) -> Result<Option<Shape>, GraphError> {
    let groups = attrs.groups;
    if groups == 0 {
        return ctx.fail("groups is 0");
    }
    let weights = ctx.expect_rank(1, "w", SPATIAL)?;
    let Some(input) = ctx.expect_rank(0, "x", SPATIAL)? else { return Ok(None) };
    let spatial = input.len() - 2;
    check_attrs(ctx, spatial, &attrs.strides, &attrs.dilations, &attrs.padding)?;
    check_len(ctx, "output_padding", attrs.output_padding.len(), spatial)?;
    if let Some(wanted) = &attrs.output_shape {
        check_len(ctx, "output_shape", wanted.len(), spatial)?;
    }
    let Some(weights) = weights else {
        let mut out = ctx.unknown_shape(input.len());
        if let Some(out) = &mut out {
            out[0] = input[0].clone();
        }
        return Ok(out);
    };
    if weights.len() != input.len() {
        return ctx.fail(format!("x has rank {} but w has rank {}", input.len(), weights.len()));
    }
    if conflict(&weights[0], &input[1]) {
        return ctx.fail(format!(
            "x {} has {} channels, but w {} expects {}",
            show(input),
            input[1],
            show(weights),
            weights[0]
        ));
    }
    if let Some(c) = weights[0].known_usize()
        && c % groups != 0
    {
        return ctx.fail(format!("{c} input channels do not divide into {groups} groups"));
    }
    let channels =
        ctx.settle(0, 1, weights[1].checked_mul(&Dim::from(groups)), &[&weights[1], &Dim::from(groups)])?;
    let mut out = vec![input[0].clone(), channels];
    for i in 0..spatial {
        let axis = i + 2;
        let Some(kernel) = weights[axis].known_usize() else {
            out.push(ctx.unknown(0, axis));
            continue;
        };
        check_positive(ctx, "kernel", &[kernel])?;
        out.push(extent(ctx, attrs, i, &input[axis], kernel)?);
    }
    Ok(Some(out))
}

/// ConvTranspose: `x, w[, b]`.
pub(super) fn conv_transpose(ctx: &Context<'_>, attrs: &ConvTransposeAttrs) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    let dtype = ctx.same_dtype((0, "x"), (1, "w"))?;
    let shape = shape(ctx, attrs)?;
    if ctx.has(2) {
        ctx.same_dtype((0, "x"), (2, "b"))?;
        match shape.as_ref().map(|s| &s[1]) {
            Some(channels) => ctx.expect_vector(2, "bias", channels)?,
            None => ctx.expect_rank(2, "bias", 1..=1).map(drop)?,
        }
    }
    Ok(Fact::new(dtype, shape))
}
