//! Operators with a sliding window: convolutions and pools.

use super::context::{Context, Fact, conflict, show};
use super::quant::{check_scalar, check_zero_point};
use crate::op::{ConvAttrs, Padding, PoolAttrs};
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

/// Spatial axes that window operators may have.
pub(super) const SPATIAL: std::ops::RangeInclusive<usize> = 3..=5;

/// One spatial axis of a window.
struct Window {
    kernel: usize,
    stride: usize,
    dilation: usize,
    ceil_mode: bool,
}

impl Window {
    /// Input elements that one window spans: `(kernel - 1) * dilation + 1`.
    fn extent(&self) -> Option<i64> {
        let taps = i64::try_from(self.kernel).ok()?.checked_sub(1)?;
        taps.checked_mul(i64::try_from(self.dilation).ok()?)?.checked_add(1)
    }
}

/// The extent of output axis `axis`, which slides over `input` elements.
fn slide(
    ctx: &Context<'_>,
    axis: usize,
    input: &Dim,
    window: &Window,
    pads: Option<(usize, usize)>,
) -> Result<Dim, GraphError> {
    let Some(extent) = window.extent() else {
        return ctx.fail(format!(
            "kernel {} with dilation {} on axis {axis} overflows",
            window.kernel, window.dilation
        ));
    };
    let stride = Dim::from(window.stride);
    let Some((begin, end)) = pads else {
        // Either SAME rule: ceil(input / stride).
        let rounded = input.checked_add(&stride).and_then(|d| d.checked_sub(&Dim::from(1i64)));
        return ctx.settle(0, axis, rounded.and_then(|d| d.checked_div_floor(&stride)), &[input]);
    };
    let (Ok(begin), Ok(end)) = (i64::try_from(begin), i64::try_from(end)) else {
        return ctx.fail(format!("pads {begin} and {end} on axis {axis} overflow"));
    };
    // Positions at which the window may start, beyond the first one.
    let room = input
        .checked_add(&Dim::from(begin))
        .and_then(|d| d.checked_add(&Dim::from(end)))
        .and_then(|d| d.checked_sub(&Dim::from(extent)));
    // Rounding up would give ceil(room / stride) + 1, but the last window has to start inside the input or the
    // padding before it. With slack = extent - 1 - end that bound is (room + slack) / stride, rounded down, and the
    // smaller of the two is one quotient, whatever the input.
    let round_up = if window.ceil_mode {
        let slack = extent - 1 - end;
        i64::try_from(window.stride).map_or(i64::MAX, |s| s - 1).min(slack)
    } else {
        0
    };
    let rounded = room.and_then(|d| d.checked_add(&Dim::from(round_up)));
    if rounded.as_ref().and_then(Dim::known).is_some_and(|r| r < 0) {
        return ctx.fail(format!(
            "a window of {extent} does not fit into {input} elements with pads {begin} and {end} on axis {axis}"
        ));
    }
    let count =
        rounded.and_then(|d| d.checked_div_floor(&stride)).and_then(|d| d.checked_add(&Dim::from(1i64)));
    ctx.settle(0, axis, count, &[input])
}

pub(super) fn check_len(
    ctx: &Context<'_>,
    what: &str,
    got: usize,
    expected: usize,
) -> Result<(), GraphError> {
    if got == expected {
        Ok(())
    } else {
        ctx.fail(format!("{what} has {got} entries, expected {expected}, one a spatial axis"))
    }
}

pub(super) fn check_positive(ctx: &Context<'_>, what: &str, values: &[usize]) -> Result<(), GraphError> {
    match values.iter().position(|v| *v == 0) {
        Some(i) => ctx.fail(format!("{what} is 0 on spatial axis {i}")),
        None => Ok(()),
    }
}

/// Checks the lengths of all attributes of a window over `n` spatial axes, and that nothing is zero.
pub(super) fn check_attrs(
    ctx: &Context<'_>,
    n: usize,
    strides: &[usize],
    dilations: &[usize],
    padding: &Padding,
) -> Result<(), GraphError> {
    check_len(ctx, "strides", strides.len(), n)?;
    check_len(ctx, "dilations", dilations.len(), n)?;
    check_positive(ctx, "stride", strides)?;
    check_positive(ctx, "dilation", dilations)?;
    if let Padding::Explicit { begin, end } = padding {
        check_len(ctx, "pads (begin)", begin.len(), n)?;
        check_len(ctx, "pads (end)", end.len(), n)?;
    }
    Ok(())
}

fn pads_at(padding: &Padding, i: usize) -> Option<(usize, usize)> {
    match padding {
        Padding::Explicit { begin, end } => Some((begin[i], end[i])),
        Padding::SameUpper | Padding::SameLower => None,
    }
}

/// The output shape of a convolution of input `x` with the weights at input `w`: `[N, M, spatial...]`.
fn conv_shape(ctx: &Context<'_>, attrs: &ConvAttrs, x: usize, w: usize) -> Result<Option<Shape>, GraphError> {
    let groups = attrs.groups;
    if groups == 0 {
        return ctx.fail("groups is 0");
    }
    let weights = ctx.expect_rank(w, "w", SPATIAL)?;
    let Some(input) = ctx.expect_rank(x, "x", SPATIAL)? else { return Ok(None) };
    let spatial = input.len() - 2;
    check_attrs(ctx, spatial, &attrs.strides, &attrs.dilations, &attrs.padding)?;
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
    let per_group = weights[1].checked_mul(&Dim::from(groups));
    match per_group {
        Some(c) if !conflict(&c, &input[1]) => {}
        _ => {
            return ctx.fail(format!(
                "x {} has {} channels, but w {} with {groups} groups expects {}",
                show(input),
                input[1],
                show(weights),
                per_group.map_or("too many".into(), |c| c.to_string())
            ));
        }
    }
    if let Some(m) = weights[0].known_usize()
        && m % groups != 0
    {
        return ctx.fail(format!("{m} output channels do not divide into {groups} groups"));
    }
    let mut out = vec![input[0].clone(), weights[0].clone()];
    for i in 0..spatial {
        let axis = i + 2;
        let Some(kernel) = weights[axis].known_usize() else {
            out.push(ctx.unknown(0, axis));
            continue;
        };
        check_positive(ctx, "kernel", &[kernel])?;
        let window =
            Window { kernel, stride: attrs.strides[i], dilation: attrs.dilations[i], ceil_mode: false };
        out.push(slide(ctx, axis, &input[axis], &window, pads_at(&attrs.padding, i))?);
    }
    Ok(Some(out))
}

/// Conv: `x, w[, b]`.
pub(super) fn conv(ctx: &Context<'_>, attrs: &ConvAttrs) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    let dtype = ctx.same_dtype((0, "x"), (1, "w"))?;
    let shape = conv_shape(ctx, attrs, 0, 1)?;
    if ctx.has(2) {
        ctx.same_dtype((0, "x"), (2, "b"))?;
        check_bias(ctx, 2, 1)?;
    }
    Ok(Fact::new(dtype, shape))
}

fn check_bias(ctx: &Context<'_>, bias: usize, weights: usize) -> Result<(), GraphError> {
    match ctx.shape(weights).and_then(<[Dim]>::first) {
        Some(m) => ctx.expect_vector(bias, "bias", m),
        None => ctx.expect_rank(bias, "bias", 1..=1).map(drop),
    }
}

fn is_8bit(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8)
}

/// Fails when a parameter of the weights is neither a scalar nor one an output channel.
fn check_per_channel(ctx: &Context<'_>, i: usize, name: &str, weights: usize) -> Result<(), GraphError> {
    match (ctx.shape(i), ctx.shape(weights).and_then(<[Dim]>::first)) {
        (None | Some([]), _) => Ok(()),
        (Some([d]), Some(m)) if d.known() != Some(1) && conflict(d, m) => {
            ctx.fail(format!("{name} has {d} elements, expected 1 or {m}"))
        }
        (Some([_]), _) => Ok(()),
        (Some(s), _) => ctx.fail(format!("{name} has rank {}, expected 0 or 1", s.len())),
    }
}

/// ConvInteger: `x, w[, x_zero_point[, w_zero_point]]`.
pub(super) fn conv_integer(ctx: &Context<'_>, attrs: &ConvAttrs) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "i8 or u8", is_8bit)?;
    ctx.expect_dtype(1, "w", "i8 or u8", is_8bit)?;
    if ctx.has(2) {
        check_zero_point(ctx, (0, "x"), (2, "x_zero_point"))?;
        check_scalar(ctx, 2, "x_zero_point")?;
    }
    if ctx.has(3) {
        check_zero_point(ctx, (1, "w"), (3, "w_zero_point"))?;
        check_per_channel(ctx, 3, "w_zero_point", 1)?;
    }
    Ok(Fact::new(Some(DType::I32), conv_shape(ctx, attrs, 0, 1)?))
}

/// QLinearConv: `x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp[, bias]`.
pub(super) fn qlinear_conv(ctx: &Context<'_>, attrs: &ConvAttrs) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "i8 or u8", is_8bit)?;
    ctx.expect_dtype(3, "w", "i8 or u8", is_8bit)?;
    ctx.expect_dtype(7, "y_zero_point", "i8 or u8", is_8bit)?;
    for (i, name) in [(1, "x_scale"), (4, "w_scale"), (6, "y_scale")] {
        ctx.expect_dtype(i, name, "a float type", DType::is_float)?;
    }
    for (i, name) in [(1, "x_scale"), (2, "x_zero_point"), (6, "y_scale"), (7, "y_zero_point")] {
        check_scalar(ctx, i, name)?;
    }
    check_zero_point(ctx, (0, "x"), (2, "x_zero_point"))?;
    check_zero_point(ctx, (3, "w"), (5, "w_zero_point"))?;
    check_per_channel(ctx, 4, "w_scale", 3)?;
    check_per_channel(ctx, 5, "w_zero_point", 3)?;
    if ctx.has(8) {
        ctx.expect_dtype(8, "bias", "i32", |d| d == DType::I32)?;
        check_bias(ctx, 8, 3)?;
    }
    Ok(Fact::new(ctx.dtype(7), conv_shape(ctx, attrs, 0, 3)?))
}

/// The output shape of a pool.
fn pool_shape(ctx: &Context<'_>, attrs: &PoolAttrs) -> Result<Option<Shape>, GraphError> {
    let n = attrs.kernel.len();
    check_attrs(ctx, n, &attrs.strides, &attrs.dilations, &attrs.padding)?;
    check_positive(ctx, "kernel", &attrs.kernel)?;
    let Some(input) = ctx.expect_rank(0, "x", SPATIAL)? else { return Ok(None) };
    check_len(ctx, "kernel", n, input.len() - 2)?;
    let mut out = input[..2].to_vec();
    for i in 0..n {
        let axis = i + 2;
        let window = Window {
            kernel: attrs.kernel[i],
            stride: attrs.strides[i],
            dilation: attrs.dilations[i],
            ceil_mode: attrs.ceil_mode,
        };
        let pads = pads_at(&attrs.padding, i);
        // A window that lies in the padding alone would have no element to take.
        if let (Some(extent), Some((begin, end))) = (window.extent(), pads)
            && i64::try_from(begin.max(end)).map_or(true, |p| p >= extent)
        {
            return ctx.fail(format!(
                "pads {begin} and {end} on axis {axis} must be smaller than the window of {extent}"
            ));
        }
        out.push(slide(ctx, axis, &input[axis], &window, pads)?);
    }
    Ok(Some(out))
}

/// MaxPool: `x -> y[, indices]`.
pub(super) fn max_pool(ctx: &Context<'_>, attrs: &PoolAttrs) -> Result<Vec<Fact>, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type, i8 or u8", |d| d.is_float() || is_8bit(d))?;
    let shape = pool_shape(ctx, attrs)?;
    Ok(vec![Fact::new(dtype, shape.clone()), Fact::new(Some(DType::I64), shape)])
}

/// AveragePool: `x`.
pub(super) fn average_pool(ctx: &Context<'_>, attrs: &PoolAttrs) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    Ok(Fact::new(dtype, pool_shape(ctx, attrs)?))
}

fn check_exponent(ctx: &Context<'_>, p: u32) -> Result<(), GraphError> {
    if p == 0 { ctx.fail("p is 0") } else { Ok(()) }
}

/// LpPool: `x`.
pub(super) fn lp_pool(ctx: &Context<'_>, attrs: &PoolAttrs, p: u32) -> Result<Fact, GraphError> {
    check_exponent(ctx, p)?;
    average_pool(ctx, attrs)
}

/// GlobalLpPool: `x`.
pub(super) fn global_lp_pool(ctx: &Context<'_>, p: u32) -> Result<Fact, GraphError> {
    check_exponent(ctx, p)?;
    global_pool(ctx)
}

/// GlobalAveragePool and GlobalMaxPool: `x`.
pub(super) fn global_pool(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    let shape = ctx.expect_rank(0, "x", 2..=usize::MAX)?.map(|input| {
        let one = Dim::from(1i64);
        input.iter().enumerate().map(|(i, d)| if i < 2 { d.clone() } else { one.clone() }).collect()
    });
    Ok(Fact::new(dtype, shape))
}
