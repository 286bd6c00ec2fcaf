//! Attributes of Resize.

use super::node::{Error, float, int, int64s, lack, text};
use crate::proto::AttributeProto;
use tq_graph::op::{AspectPolicy, Coordinates, ResizeAttrs, ResizeMode};

pub(super) fn resize(attrs: &ResizeAttrs, opset: i64) -> Result<Vec<AttributeProto>, Error> {
    let mut list = vec![text("coordinate_transformation_mode", attrs.coordinates.name())];
    match attrs.coordinates {
        Coordinates::TfCropAndResize { extrapolation_value } => {
            list.push(float("extrapolation_value", extrapolation_value));
        }
        Coordinates::HalfPixelSymmetric if opset < 19 => {
            return lack("coordinate_transformation_mode half_pixel_symmetric", 19);
        }
        _ => {}
    }
    match attrs.mode {
        ResizeMode::Nearest(rounding) => {
            list.extend([text("mode", "nearest"), text("nearest_mode", rounding.name())]);
        }
        ResizeMode::Linear => list.push(text("mode", "linear")),
        ResizeMode::Cubic { a } => list.extend([text("mode", "cubic"), float("cubic_coeff_a", a)]),
    }
    list.push(int("exclude_outside", i64::from(attrs.exclude_outside)));
    if opset >= 18 {
        list.push(int("antialias", i64::from(attrs.antialias)));
        list.extend(attrs.axes.as_ref().map(|a| int64s("axes", a.clone())));
        list.push(text("keep_aspect_ratio_policy", attrs.policy.name()));
    } else if attrs.antialias {
        return lack("antialias", 18);
    } else if attrs.axes.is_some() {
        return lack("axes", 18);
    } else if attrs.policy != AspectPolicy::Stretch {
        return lack("keep_aspect_ratio_policy", 18);
    }
    Ok(list)
}
