//! Resize.

use super::context::{Context, Fact};
use crate::op::{AspectPolicy, Coordinates, ResizeAttrs, ResizeMode, fitted_lens, scaled_len};
use crate::{Dim, GraphError, Shape, Tensor};
use tq_qtypes::DType;

const ROI: usize = 1;
const SCALES: usize = 2;
const SIZES: usize = 3;

/// `dim * scale`, rounded down, where the scale is a fraction of powers of two.
fn scaled(ctx: &Context<'_>, axis: usize, dim: &Dim, scale: f32) -> Result<Dim, GraphError> {
    if let Some(len) = dim.known_usize() {
        return match scaled_len(len, scale) {
            Some(n) => Ok(Dim::from(n)),
            None => ctx.fail(format!("{len} elements on axis {axis} do not scale by {scale}")),
        };
    }
    if scaled_len(1, scale).is_none() {
        return ctx.fail(format!("scale {scale} on axis {axis}"));
    }
    let denominators = (0..=8).map(|bits| 1i64 << bits);
    let fraction = denominators.map(|d| (f64::from(scale) * d as f64, d)).find(|(n, _)| n.fract() == 0.0);
    let value = fraction.filter(|(n, _)| *n < 1e6).and_then(|(n, d)| {
        dim.checked_mul(&Dim::from(n as i64)).and_then(|p| p.checked_div_floor(&Dim::from(d)))
    });
    Ok(value.unwrap_or_else(|| ctx.unknown(0, axis)))
}

/// The list at input `i`, if that is there and not empty: its length has to be `n`.
fn list(ctx: &Context<'_>, i: usize, name: &str, n: usize) -> Result<bool, GraphError> {
    ctx.expect_rank(i, name, 1..=1)?;
    match ctx.shape(i).and_then(<[Dim]>::first).and_then(Dim::known) {
        Some(0) => Ok(false),
        Some(len) if usize::try_from(len) != Ok(n) => {
            ctx.fail(format!("{name} has {len} elements, expected {n}"))
        }
        _ => Ok(ctx.has(i)),
    }
}

/// Resize: `x[, roi[, scales[, sizes]]]`.
pub(super) fn resize(ctx: &Context<'_>, attrs: &ResizeAttrs) -> Result<Fact, GraphError> {
    let picks = matches!(attrs.mode, ResizeMode::Nearest(_));
    let number = |d: DType| d.is_float() || (d.is_integer() && d.bits() >= 8);
    let dtype = if picks {
        ctx.dtype(0)
    } else {
        ctx.expect_dtype(0, "x", "a float type or an integer of whole bytes", number)?
    };
    if picks && attrs.antialias {
        return ctx.fail("antialias with mode nearest");
    }
    ctx.expect_dtype(ROI, "roi", "a float type", DType::is_float)?;
    ctx.expect_dtype(SCALES, "scales", "f32", |d| d == DType::F32)?;
    ctx.expect_dtype(SIZES, "sizes", "i64", |d| d == DType::I64)?;
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let axes: Vec<usize> = match &attrs.axes {
        None => (0..input.len()).collect(),
        Some(axes) => {
            ctx.axis_set(axes, input.len())?;
            axes.iter().map(|a| ctx.axis(*a, input.len())).collect::<Result<_, _>>()?
        }
    };
    let crop = matches!(attrs.coordinates, Coordinates::TfCropAndResize { .. });
    if crop && !list(ctx, ROI, "roi", 2 * axes.len())? {
        return ctx.fail("roi is missing");
    }
    let mut out: Shape = input.to_vec();
    match (list(ctx, SCALES, "scales", axes.len())?, list(ctx, SIZES, "sizes", axes.len())?) {
        (true, false) => {
            let scales = ctx.graph.const_input(ctx.node, SCALES).and_then(Tensor::to_f32_vec);
            for (i, axis) in axes.iter().enumerate() {
                out[*axis] = match scales.as_ref().and_then(|s| s.get(i)) {
                    Some(scale) => scaled(ctx, *axis, &input[*axis], *scale)?,
                    None => ctx.unknown(0, *axis),
                };
            }
        }
        (false, true) => sized(ctx, attrs, &axes, input, &mut out)?,
        (true, true) => return ctx.fail("both scales and sizes are given"),
        (false, false) if axes.is_empty() => {}
        (false, false) => return ctx.fail("neither scales nor sizes are given"),
    }
    Ok(Fact::new(dtype, Some(out)))
}

/// Dimensions of the output where sizes are given.
fn sized(
    ctx: &Context<'_>,
    attrs: &ResizeAttrs,
    axes: &[usize],
    input: &[Dim],
    out: &mut Shape,
) -> Result<(), GraphError> {
    let Some(sizes) = ctx.content(SIZES).map(|c| c.iter().cloned().collect::<Vec<Dim>>()) else {
        axes.iter().for_each(|a| out[*a] = ctx.unknown(0, *a));
        return Ok(());
    };
    if let Some(bad) = sizes.iter().filter_map(Dim::known).find(|s| *s < 0) {
        return ctx.fail(format!("a size is {bad}"));
    }
    if attrs.policy == AspectPolicy::Stretch {
        axes.iter().zip(sizes).for_each(|(a, s)| out[*a] = s);
        return Ok(());
    }
    let known: Option<Vec<usize>> = axes.iter().map(|a| input[*a].known_usize()).collect();
    let wanted: Option<Vec<usize>> = sizes.iter().map(Dim::known_usize).collect();
    let fitted = known.zip(wanted).and_then(|(dims, sizes)| fitted_lens(&dims, &sizes, attrs.policy));
    for (i, a) in axes.iter().enumerate() {
        out[*a] = match fitted.as_ref().and_then(|f| f.get(i)) {
            Some((len, _)) => Dim::from(*len),
            None => ctx.unknown(0, *a),
        };
    }
    Ok(())
}
