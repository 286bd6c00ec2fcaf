//! Operators of detectors.

use super::context::{Context, Fact, conflict};
use super::quant::check_scalar;
use crate::{Dim, GraphError};
use tq_qtypes::DType;

/// NonMaxSuppression: `boxes, scores[, max_boxes[, iou_threshold[, score_threshold]]]`.
pub(super) fn non_max_suppression(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    for (i, name) in [(0, "boxes"), (1, "scores"), (3, "iou_threshold"), (4, "score_threshold")] {
        ctx.expect_dtype(i, name, "a float type", DType::is_float)?;
    }
    ctx.expect_dtype(2, "max_output_boxes_per_class", "i64", |d| d == DType::I64)?;
    for (i, name) in [(2, "max_output_boxes_per_class"), (3, "iou_threshold"), (4, "score_threshold")] {
        check_scalar(ctx, i, name)?;
    }
    let boxes = ctx.expect_rank(0, "boxes", 3..=3)?;
    let scores = ctx.expect_rank(1, "scores", 3..=3)?;
    if boxes.is_some_and(|b| conflict(&b[2], &Dim::from(4i64))) {
        return ctx.fail("boxes do not have 4 numbers each");
    }
    if let (Some(b), Some(s)) = (boxes, scores)
        && (conflict(&b[0], &s[0]) || conflict(&b[1], &s[2]))
    {
        return ctx
            .fail(format!("{} times {} boxes, but {} times {} scores a class", b[0], b[1], s[0], s[2]));
    }
    Ok(Fact::new(Some(DType::I64), Some(vec![ctx.unknown(0, 0), Dim::from(3i64)])))
}
