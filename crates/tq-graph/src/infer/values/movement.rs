//! Elements that are moved, repeated or left out.

use super::{Content, MAX_ELEMENTS, conform, extent, known};
use crate::Dim;
use crate::infer::context::{Context, Fact, normalize_axis};
use crate::infer::slice::{axis_slices, bounds};
use ndarray::{ArrayD, Axis, IxDyn};

/// `content` with only these elements of an axis.
fn select(content: &ArrayD<Dim>, axis: usize, indices: &[usize]) -> Option<ArrayD<Dim>> {
    let n = *content.shape().get(axis)?;
    let per_index = content.len().checked_div(n).unwrap_or(0);
    let fits = indices.len().checked_mul(per_index).is_some_and(|len| len <= MAX_ELEMENTS);
    (fits && indices.len() <= MAX_ELEMENTS && indices.iter().all(|i| *i < n))
        .then(|| content.select(Axis(axis), indices))
}

pub(super) fn gather(ctx: &Context<'_>, axis: i64) -> Option<ArrayD<Dim>> {
    let (content, positions) = (ctx.content(0)?, ctx.content(1)?);
    let axis = normalize_axis(axis, content.ndim())?;
    let n = content.shape()[axis];
    let indices: Option<Vec<usize>> = known(positions)?.iter().map(|i| normalize_axis(*i, n)).collect();
    let taken = select(content, axis, &indices?)?;
    let dims = [&content.shape()[..axis], positions.shape(), content.shape().get(axis + 1..)?].concat();
    taken.as_standard_layout().into_owned().into_shape_with_order(IxDyn(&dims)).ok()
}

pub(super) fn slice(ctx: &Context<'_>) -> Option<ArrayD<Dim>> {
    let mut content = ArrayD::clone(ctx.content(0)?);
    for s in axis_slices(ctx, content.ndim()).ok()?? {
        let size = i64::try_from(content.shape()[s.axis]).ok()?;
        let step = s.step?;
        let (first, count) = bounds(size, s.start?.known()?, s.end?.known()?, step);
        let indices: Option<Vec<usize>> = (0..count)
            .map(|i| usize::try_from(i128::from(first) + i128::from(i) * i128::from(step)).ok())
            .collect();
        content = select(&content, s.axis, &indices?)?.as_standard_layout().into_owned();
    }
    Some(content)
}

pub(super) fn split(ctx: &Context<'_>, axis: i64, facts: &[Fact], out: &mut [Option<Content>]) {
    let Some(content) = ctx.content(0) else { return };
    let Some(axis) = normalize_axis(axis, content.ndim()) else { return };
    let mut at = 0usize;
    for (fact, slot) in facts.iter().zip(out) {
        let size = fact.shape.as_ref().and_then(|s| s.get(axis)).and_then(Dim::known_usize);
        let (Some(size), Some(dtype)) = (size, fact.dtype) else { return };
        let Some(next) = at.checked_add(size).filter(|n| *n <= content.shape()[axis]) else { return };
        let indices: Vec<usize> = (at..next).collect();
        *slot = select(content, axis, &indices)
            .and_then(|part| conform(part.as_standard_layout().into_owned(), dtype));
        at = next;
    }
}

/// Expand: as the shape that was inferred says.
pub(super) fn expand(ctx: &Context<'_>, fact: &Fact) -> Option<ArrayD<Dim>> {
    let dims = crate::dim::known_shape(fact.shape.as_ref()?)?;
    (extent(&dims)? <= MAX_ELEMENTS).then_some(())?;
    Some(ctx.content(0)?.broadcast(IxDyn(&dims))?.as_standard_layout().into_owned())
}

/// Tile: every axis as many times as `repeats` says.
pub(super) fn tile(ctx: &Context<'_>, fact: &Fact) -> Option<ArrayD<Dim>> {
    let mut content = ArrayD::clone(ctx.content(0)?);
    let dims = crate::dim::known_shape(fact.shape.as_ref()?)?;
    (extent(&dims)? <= MAX_ELEMENTS && dims.len() == content.ndim()).then_some(())?;
    for (axis, len) in dims.into_iter().enumerate() {
        let n = content.shape()[axis];
        let indices: Vec<usize> = (0..len).filter_map(|i| i.checked_rem(n)).collect();
        content = select(&content, axis, &indices)?.as_standard_layout().into_owned();
    }
    Some(content)
}

/// NonZero: one row an axis, one column an element.
pub(super) fn non_zero(ctx: &Context<'_>) -> Option<ArrayD<Dim>> {
    let content = ctx.content(0)?;
    let values = known(content)?;
    let rows = content.ndim().max(1);
    let places: Vec<usize> = (0..values.len()).filter(|i| values[*i] != 0).collect();
    (places.len().checked_mul(rows)? <= MAX_ELEMENTS).then_some(())?;
    let mut out = Vec::with_capacity(places.len() * rows);
    let mut inner = values.len();
    for len in content.shape().iter().copied().chain((content.ndim() == 0).then_some(1)) {
        inner = inner.checked_div(len).unwrap_or(0);
        out.extend(
            places.iter().map(|p| Dim::from(p.checked_div(inner).unwrap_or(0).checked_rem(len).unwrap_or(0))),
        );
    }
    ArrayD::from_shape_vec(IxDyn(&[rows, places.len()]), out).ok()
}
