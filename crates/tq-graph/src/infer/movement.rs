//! Operators that move elements without changing them, slices apart.

use super::context::{Context, Fact, MAX_RANK, conflict, show, unify};
use crate::op::PadMode;
use crate::{Dim, GraphError, Shape, Tensor};
use tq_qtypes::DType;

/// Flatten.
pub(super) fn flatten(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    let Some(input) = ctx.shape(0) else {
        return Ok(Fact::new(ctx.dtype(0), ctx.unknown_shape(2)));
    };
    // The rank itself is a valid place to split, after all axes.
    let rank = input.len();
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let at = if axis < 0 { axis.checked_add(signed) } else { Some(axis) };
    let Some(at) = at.and_then(|a| usize::try_from(a).ok()).filter(|a| *a <= rank) else {
        return ctx.fail(format!("axis {axis} is out of range for rank {rank}"));
    };
    let shape = vec![ctx.product(0, &input[..at])?, ctx.product(1, &input[at..])?];
    Ok(Fact::new(ctx.dtype(0), Some(shape)))
}

/// Reshape: `x, shape`.
pub(super) fn reshape(ctx: &Context<'_>, allow_zero: bool) -> Result<Fact, GraphError> {
    ctx.check_param(1, "shape", false)?;
    let shape = match ctx.content(1) {
        Some(target) => {
            let target: Vec<Dim> = target.iter().cloned().collect();
            Some(reshape_to(ctx, &target, allow_zero)?)
        }
        None => ctx.len_of(1).and_then(|rank| ctx.unknown_shape(rank)),
    };
    Ok(Fact::new(ctx.dtype(0), shape))
}

fn reshape_to(ctx: &Context<'_>, target: &[Dim], allow_zero: bool) -> Result<Shape, GraphError> {
    if target.len() > MAX_RANK {
        return ctx.fail(format!("output rank {} is more than {MAX_RANK}", target.len()));
    }
    let input = ctx.shape(0);
    let mut out = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (axis, d) in target.iter().enumerate() {
        match d.known() {
            Some(-1) if inferred.replace(axis).is_some() => {
                return ctx.fail(format!("shape {} has more than one -1", show(target)));
            }
            Some(-1) => out.push(Dim::from(1i64)),
            Some(n) if n < 0 => {
                return ctx.fail(format!("shape {} has {n} on axis {axis}", show(target)));
            }
            Some(0) if !allow_zero => match input.map(|s| s.get(axis)) {
                Some(Some(d)) => out.push(d.clone()),
                Some(None) => {
                    return ctx.fail(format!(
                        "shape {} copies axis {axis}, which x {} does not have",
                        show(target),
                        show(input.unwrap_or_default())
                    ));
                }
                None => out.push(ctx.unknown(0, axis)),
            },
            _ => out.push(d.clone()),
        }
    }
    if allow_zero && inferred.is_some() && target.iter().any(|d| d.known() == Some(0)) {
        return ctx.fail(format!("shape {} has both 0 and -1 with allowzero", show(target)));
    }
    let Some(input) = input else {
        if let Some(axis) = inferred {
            out[axis] = ctx.unknown(0, axis);
        }
        return Ok(out);
    };
    let mismatch = || ctx.error(format!("x {} cannot be reshaped to {}", show(input), show(target)));
    // What stands on both sides cancels; it may be an expression by which the rest could not be divided.
    let mut rest_in: Vec<Dim> = input.to_vec();
    let mut rest_out = Vec::new();
    for (axis, d) in out.iter().enumerate() {
        if Some(axis) == inferred {
            continue;
        }
        match rest_in.iter().position(|x| x == d && d.known() != Some(0)) {
            Some(at) => {
                rest_in.swap_remove(at);
            }
            None => rest_out.push(d.clone()),
        }
    }
    let product = |dims: &[Dim]| dims.iter().try_fold(Dim::from(1i64), |p, d| p.checked_mul(d));
    let (from, to) = (product(&rest_in), product(&rest_out));
    match inferred {
        Some(axis) => {
            let quotient = match (&from, &to) {
                (Some(from), Some(to)) => match (from.known(), to.known()) {
                    (_, Some(0)) => return Err(mismatch()),
                    (Some(f), Some(t)) if f % t != 0 => return Err(mismatch()),
                    _ => from.checked_div_floor(to),
                },
                _ => None,
            };
            let operands: Vec<&Dim> = rest_in.iter().chain(&rest_out).collect();
            out[axis] = ctx.settle(0, axis, quotient, &operands)?;
        }
        None => {
            let known = |dims: &[Dim]| dims.iter().all(|d| d.known().is_some());
            // Whatever the others are: the known sizes must divide the number of elements.
            let factor = rest_out.iter().filter_map(Dim::known).try_fold(1i64, i64::checked_mul);
            if let (Some(elements), Some(factor)) = (from.as_ref().and_then(Dim::known), factor)
                && elements.checked_rem(factor).unwrap_or(elements) != 0
            {
                return Err(mismatch());
            }
            match (&from, &to) {
                (Some(f), Some(t)) if !conflict(f, t) => {}
                _ if known(&rest_in) && known(&rest_out) => return Err(mismatch()),
                _ => {}
            }
        }
    }
    Ok(out)
}

/// Transpose.
pub(super) fn transpose(ctx: &Context<'_>, perm: Option<&[usize]>) -> Result<Fact, GraphError> {
    let Some(input) = ctx.shape(0) else {
        return Ok(Fact::new(ctx.dtype(0), perm.and_then(|p| ctx.unknown_shape(p.len()))));
    };
    let rank = input.len();
    let shape = match perm {
        None => input.iter().rev().cloned().collect(),
        Some(perm) => {
            let mut seen = vec![false; rank];
            let valid = perm.len() == rank
                && perm.iter().all(|p| seen.get_mut(*p).is_some_and(|s| !std::mem::replace(s, true)));
            if !valid {
                return ctx
                    .fail(format!("perm {perm:?} is not a permutation of the axes of x {}", show(input)));
            }
            perm.iter().map(|p| input[*p].clone()).collect()
        }
    };
    Ok(Fact::new(ctx.dtype(0), Some(shape)))
}

/// Squeeze: `x[, axes]`.
pub(super) fn squeeze(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    if ctx.has(1) {
        ctx.check_param(1, "axes", true)?;
    }
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let remove: Vec<bool> = if !ctx.has(1) {
        if input.iter().any(|d| d.known().is_none()) {
            // Only the data tells which of these are 1.
            return Ok(Fact::new(dtype, None));
        }
        input.iter().map(|d| d.known() == Some(1)).collect()
    } else if let Some(axes) = ctx.ints(1) {
        let set = ctx.axis_set(&axes, input.len())?;
        if let Some(axis) = (0..input.len()).find(|i| set[*i] && conflict(&input[*i], &Dim::from(1i64))) {
            return ctx.fail(format!("axis {axis} of x {} has {} elements, not 1", show(input), input[axis]));
        }
        set
    } else {
        let rank = ctx.len_of(1).and_then(|n| input.len().checked_sub(n));
        return Ok(Fact::new(dtype, rank.and_then(|r| ctx.unknown_shape(r))));
    };
    let kept = input.iter().zip(&remove).filter(|(_, r)| !**r).map(|(d, _)| d.clone()).collect();
    Ok(Fact::new(dtype, Some(kept)))
}

/// Unsqueeze: `x, axes`.
pub(super) fn unsqueeze(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.check_param(1, "axes", true)?;
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let Some(axes) = ctx.ints(1) else {
        let rank = ctx.len_of(1).and_then(|n| input.len().checked_add(n));
        return Ok(Fact::new(dtype, rank.and_then(|r| ctx.unknown_shape(r))));
    };
    let rank = input.len() + axes.len();
    if rank > MAX_RANK {
        return ctx.fail(format!("output rank {rank} is more than {MAX_RANK}"));
    }
    let set = ctx.axis_set(&axes, rank)?;
    let mut rest = input.iter().cloned();
    let one = Dim::from(1i64);
    // As many places are not in the set as the input has axes.
    let shape = set.iter().map(|new| if *new { Some(one.clone()) } else { rest.next() }).collect();
    Ok(Fact::new(dtype, shape))
}

/// Concat: `x...`.
pub(super) fn concat(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    let n = ctx.node.inputs.len();
    let mut dtype = None;
    for i in 0..n {
        match (dtype, ctx.dtype(i)) {
            (Some(a), Some(b)) if a != b => {
                return ctx.fail(format!("input {i} is {b}, those before are {a}"));
            }
            (None, d) => dtype = d,
            _ => {}
        }
    }
    let Some(first) = (0..n).find_map(|i| ctx.shape(i)) else { return Ok(Fact::new(dtype, None)) };
    let rank = first.len();
    let axis = ctx.axis(axis, rank)?;
    let mut out = first.to_vec();
    let mut sum = Some(Dim::from(0i64));
    let mut all_known = true;
    for i in 0..n {
        let Some(shape) = ctx.shape(i) else {
            (sum, all_known) = (None, false);
            continue;
        };
        if shape.len() != rank {
            return ctx.fail(format!("input {i} has shape {}, expected rank {rank}", show(shape)));
        }
        for (at, d) in shape.iter().enumerate() {
            if at == axis {
                sum = sum.and_then(|s| s.checked_add(d));
                all_known &= d.known().is_some();
            } else {
                out[at] = unify(&out[at], d).ok_or_else(|| {
                    ctx.error(format!(
                        "input {i} has shape {}, which differs from {} on axis {at}",
                        show(shape),
                        show(&out)
                    ))
                })?;
            }
        }
    }
    let operands = [Dim::from(0i64), ctx.unknown(0, axis)];
    out[axis] = ctx.settle(0, axis, sum, &[&operands[usize::from(!all_known)]])?;
    Ok(Fact::new(dtype, Some(out)))
}

/// Split: `x[, split]`, into as many parts as the node has outputs.
pub(super) fn split(ctx: &Context<'_>, axis: i64) -> Result<Vec<Fact>, GraphError> {
    let n = ctx.node.outputs.len();
    if ctx.has(1) {
        ctx.check_param(1, "split", false)?;
        if let Some(len) = ctx.len_of(1)
            && len != n
        {
            return ctx.fail(format!("split has {len} entries for {n} outputs"));
        }
    }
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.shape(0) else {
        return Ok((0..n).map(|_| Fact::new(dtype, None)).collect());
    };
    let axis = ctx.axis(axis, input.len())?;
    let total = &input[axis];
    let sizes: Vec<Dim> = match (ctx.has(1), ctx.content(1)) {
        (true, Some(sizes)) => {
            let sizes: Vec<Dim> = sizes.iter().cloned().collect();
            let sum = sizes.iter().try_fold(Dim::from(0i64), |s, d| s.checked_add(d));
            let negative = sizes.iter().any(|d| d.known().is_some_and(|n| n < 0));
            let known = sizes.iter().all(|d| d.known().is_some());
            if negative || (known && sum.as_ref().is_none_or(|s| conflict(s, total))) {
                return ctx
                    .fail(format!("split {} does not divide {total} elements on axis {axis}", show(&sizes)));
            }
            sizes
        }
        (true, None) => (0..n).map(|i| ctx.unknown(i, axis)).collect(),
        (false, _) => equal_parts(ctx, total, n, axis)?,
    };
    Ok(sizes
        .into_iter()
        .map(|size| {
            let mut shape = input.to_vec();
            shape[axis] = size;
            Fact::new(dtype, Some(shape))
        })
        .collect())
}

/// `ceil(total / n)` elements a part, the last one taking what is left.
fn equal_parts(ctx: &Context<'_>, total: &Dim, n: usize, axis: usize) -> Result<Vec<Dim>, GraphError> {
    if n == 1 {
        return Ok(vec![total.clone()]);
    }
    let parts = Dim::from(n);
    let chunk = total
        .div_exact(&parts)
        .or_else(|| total.checked_add(&parts)?.checked_sub(&Dim::from(1i64))?.checked_div_floor(&parts));
    let last = chunk.as_ref().and_then(|c| total.checked_sub(&c.checked_mul(&Dim::from(n - 1))?));
    if last.as_ref().and_then(Dim::known).is_some_and(|l| l < 0) {
        return ctx.fail(format!("{total} elements on axis {axis} do not split into {n} parts"));
    }
    (0..n)
        .map(|i| {
            let size = if i + 1 == n { last.clone() } else { chunk.clone() };
            ctx.settle(i, axis, size, &[total])
        })
        .collect()
}

/// Pad: `x, pads[, value[, axes]]`.
pub(super) fn pad(ctx: &Context<'_>, mode: PadMode) -> Result<Fact, GraphError> {
    ctx.check_param(1, "pads", false)?;
    if ctx.has(2) {
        ctx.same_dtype((0, "x"), (2, "value"))?;
        super::quant::check_scalar(ctx, 2, "value")?;
    }
    if ctx.has(3) {
        ctx.check_param(3, "axes", false)?;
    }
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let rank = input.len();
    let axes: Vec<i64> = match (ctx.has(3), ctx.ints(3)) {
        (false, _) => (0i64..).take(rank).collect(),
        (true, Some(axes)) => axes,
        (true, None) => return Ok(Fact::new(dtype, ctx.unknown_shape(rank))),
    };
    ctx.axis_set(&axes, rank)?;
    let n = axes.len();
    if let Some(len) = ctx.len_of(1)
        && len != 2 * n
    {
        return ctx.fail(format!("pads has {len} entries, expected two for each of {n} axes"));
    }
    let mut out = input.to_vec();
    let Some(pads) = ctx.content(1) else {
        for a in axes {
            let at = ctx.axis(a, rank)?;
            out[at] = ctx.unknown(0, at);
        }
        return Ok(Fact::new(dtype, Some(out)));
    };
    let pads: Vec<&Dim> = pads.iter().collect();
    if pads.len() != 2 * n {
        return ctx.fail(format!("pads has {} entries, expected two for each of {n} axes", pads.len()));
    }
    for (i, a) in axes.into_iter().enumerate() {
        let at = ctx.axis(a, rank)?;
        let (begin, end, size) = (pads[i], pads[n + i], &input[at]);
        check_pad_source(ctx, mode, at, size, begin, end)?;
        let sum = size.checked_add(begin).and_then(|d| d.checked_add(end));
        out[at] = ctx.settle(0, at, sum, &[size, begin, end])?;
    }
    Ok(Fact::new(dtype, Some(out)))
}

/// Fails when more is cropped than there is (negative pads crop, and do so first), or when nothing is left of which
/// the padding could be made.
fn check_pad_source(
    ctx: &Context<'_>,
    mode: PadMode,
    axis: usize,
    size: &Dim,
    begin: &Dim,
    end: &Dim,
) -> Result<(), GraphError> {
    let (Some(size), Some(begin), Some(end)) = (size.known(), begin.known(), end.known()) else {
        return Ok(());
    };
    let left = begin.min(0).checked_add(end.min(0)).and_then(|crop| size.checked_add(crop)).unwrap_or(-1);
    let most = begin.max(end);
    match mode {
        _ if left < 0 => {
            ctx.fail(format!("pads {begin} and {end} crop more than the {size} elements of axis {axis}"))
        }
        PadMode::Reflect if most > 0 && most >= left => ctx.fail(format!(
            "pads {begin} and {end} on axis {axis} must be smaller than the {left} elements that they reflect"
        )),
        PadMode::Edge | PadMode::Wrap if most > 0 && left == 0 => {
            ctx.fail(format!("axis {axis} has no element with which to fill pads {begin} and {end}"))
        }
        _ => Ok(()),
    }
}

/// The axes that Shape reports of an input of `rank` axes.
pub(super) fn shape_range(start: i64, end: Option<i64>, rank: usize) -> std::ops::Range<usize> {
    let r = i64::try_from(rank).unwrap_or(i64::MAX);
    let clamp =
        |v: i64| usize::try_from((if v < 0 { v.saturating_add(r) } else { v }).clamp(0, r)).unwrap_or(0);
    let (start, end) = (clamp(start), clamp(end.unwrap_or(r)));
    start..end.max(start)
}

/// Shape.
pub(super) fn shape(ctx: &Context<'_>, start: i64, end: Option<i64>) -> Fact {
    let len = match ctx.shape(0) {
        Some(s) => Dim::from(shape_range(start, end, s.len()).len()),
        None => ctx.unknown(0, 0),
    };
    Fact::new(Some(DType::I64), Some(vec![len]))
}

/// Gather: `x, indices`.
pub(super) fn gather(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    ctx.expect_dtype(1, "indices", "i32 or i64", |d| matches!(d, DType::I32 | DType::I64))?;
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.expect_rank(0, "x", 1..=usize::MAX)? else { return Ok(Fact::new(dtype, None)) };
    let axis = ctx.axis(axis, input.len())?;
    if let (Some(n), Some(indices)) = (input[axis].known(), ctx.ints(1))
        && let Some(bad) = indices.iter().find(|i| !(n.saturating_neg()..n).contains(*i))
    {
        return ctx.fail(format!(
            "index {bad} is out of range for {n} elements on axis {axis} of x {}",
            show(input)
        ));
    }
    let shape = ctx.shape(1).map(|indices| {
        let after = &input[axis + 1..];
        [&input[..axis], indices, after].concat()
    });
    Ok(Fact::new(dtype, shape))
}

/// ConstantOfShape: `shape`.
pub(super) fn constant_of_shape(ctx: &Context<'_>, value: &Tensor) -> Result<Fact, GraphError> {
    ctx.check_param(0, "shape", false)?;
    if value.len() != 1 {
        return ctx.fail(format!("value has {} elements, expected 1", value.len()));
    }
    let shape = match ctx.content(0) {
        Some(dims) if dims.len() > MAX_RANK => {
            return ctx.fail(format!("output rank {} is more than {MAX_RANK}", dims.len()));
        }
        Some(dims) => {
            let dims: Shape = dims.iter().cloned().collect();
            if dims.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
                return ctx.fail(format!("shape {} has a negative dimension", show(&dims)));
            }
            Some(dims)
        }
        None => ctx.len_of(0).and_then(|rank| ctx.unknown_shape(rank)),
    };
    Ok(Fact::new(Some(value.dtype()), shape))
}
