//! Attributes of Resize.

use crate::attributes::Attributes;
use crate::tensor::Problem;
use tq_graph::op::{AspectPolicy, Coordinates, NearestRounding, ResizeAttrs, ResizeMode};

type Result<T> = std::result::Result<T, Problem>;

fn unknown<T>(name: &str, word: &str, opset: i64) -> Result<T> {
    Err(Problem::Malformed(format!("{name} {word:?} is unknown at opset {opset}")))
}

pub(super) fn resize(attributes: &Attributes, opset: i64) -> Result<ResizeAttrs> {
    let rounding = match attributes.text("nearest_mode")?.unwrap_or("round_prefer_floor") {
        "round_prefer_floor" => NearestRounding::PreferFloor,
        "round_prefer_ceil" => NearestRounding::PreferCeil,
        "floor" => NearestRounding::Floor,
        "ceil" => NearestRounding::Ceil,
        other => return unknown("nearest_mode", other, opset),
    };
    let a = attributes.float("cubic_coeff_a", -0.75)?;
    let mode = match attributes.text("mode")?.unwrap_or("nearest") {
        "nearest" => ResizeMode::Nearest(rounding),
        "linear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic { a },
        other => return unknown("mode", other, opset),
    };
    let extrapolation_value = attributes.float("extrapolation_value", 0.0)?;
    let coordinates = match attributes.text("coordinate_transformation_mode")?.unwrap_or("half_pixel") {
        "half_pixel" => Coordinates::HalfPixel,
        "half_pixel_symmetric" if opset >= 19 => Coordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "align_corners" => Coordinates::AlignCorners,
        "asymmetric" => Coordinates::Asymmetric,
        "tf_crop_and_resize" => Coordinates::TfCropAndResize { extrapolation_value },
        other => return unknown("coordinate_transformation_mode", other, opset),
    };
    let exclude_outside = attributes.flag("exclude_outside", false)?;
    let (mut antialias, mut axes, mut policy) = (false, None, AspectPolicy::Stretch);
    if opset >= 18 {
        antialias = attributes.flag("antialias", false)?;
        axes = attributes.ints("axes")?.map(<[i64]>::to_vec);
        policy = match attributes.text("keep_aspect_ratio_policy")?.unwrap_or("stretch") {
            "stretch" => AspectPolicy::Stretch,
            "not_larger" => AspectPolicy::NotLarger,
            "not_smaller" => AspectPolicy::NotSmaller,
            other => return unknown("keep_aspect_ratio_policy", other, opset),
        };
    }
    Ok(ResizeAttrs { mode, coordinates, antialias, exclude_outside, axes, policy })
}
