//! Upsample, and Resize before 13.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::{Result, malformed, unsupported};
use crate::import::plan::{Plan, Source};
use crate::import::resize::resize;
use crate::proto::NodeProto;
use tq_graph::Tensor;
use tq_graph::op::{AspectPolicy, Coordinates, NearestRounding, Op, ResizeAttrs, ResizeMode};

/// Upsample until 8: scales were an attribute.
pub(super) fn upsample_by_attribute(
    attributes: &Attributes,
    _: &NodeProto,
    _: &Surroundings,
) -> Result<Plan> {
    match attributes.floats("scales")? {
        Some(scales) => by(attributes, scales),
        None => malformed("scales is missing".into()),
    }
}

/// Upsample of 9 and Resize of 10: scales are input 1.
pub(super) fn from_scales(attributes: &Attributes, _: &NodeProto, around: &Surroundings) -> Result<Plan> {
    match around.constant(1).map(|s| s.as_slice::<f32>()) {
        Some(Ok(scales)) => by(attributes, scales),
        Some(Err(error)) => malformed(error.to_string()),
        None => unsupported("scales that are not constant"),
    }
}

/// An element of the output lies at its place over the scale. The nearest one is the one before it where an axis
/// grows and the one after it where it shrinks, as ONNX's own examples of that time and ONNX Runtime have it.
fn by(attributes: &Attributes, scales: &[f32]) -> Result<Plan> {
    let attrs = |mode| ResizeAttrs {
        mode,
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    };
    let constant = |what, scales: Vec<f32>| Source::Constant(what, Tensor::vector(scales));
    let nearest = |rounding| Op::Resize(attrs(ResizeMode::Nearest(rounding)));
    let inputs = |x, scales| vec![x, Source::Absent, scales];
    match attributes.text("mode")?.unwrap_or("nearest") {
        // Until 8 the word was "bilinear" in some files.
        "linear" | "bilinear" => {
            let op = Op::Resize(attrs(ResizeMode::Linear));
            Ok(Plan::of(op, inputs(Source::Input(0), constant("scales", scales.to_vec()))))
        }
        "nearest" => {
            let grow: Vec<f32> = scales.iter().map(|s| if *s >= 1.0 { *s } else { 1.0 }).collect();
            let shrink: Vec<f32> = scales.iter().map(|s| if *s >= 1.0 { 1.0 } else { *s }).collect();
            let mut plan = Plan::new();
            if shrink.iter().all(|s| *s == 1.0) {
                plan.all(nearest(NearestRounding::Floor), inputs(Source::Input(0), constant("scales", grow)));
                return Ok(plan);
            }
            let mut x = Source::Input(0);
            if grow.iter().any(|s| *s != 1.0) {
                let given = inputs(x, constant("grow", grow));
                x = plan.step("grown", nearest(NearestRounding::Floor), given);
            }
            plan.all(nearest(NearestRounding::Ceil), inputs(x, constant("scales", shrink)));
            Ok(plan)
        }
        other => malformed(format!("mode is {other:?}")),
    }
}

/// Resize of 11 and 12, which had one more way to place elements. With the nearest element before its place it is the
/// same as rounding the usual place, halves up.
pub(super) fn with_coordinates(
    attributes: &Attributes,
    node: &NodeProto,
    around: &Surroundings,
) -> Result<Plan> {
    let name = "coordinate_transformation_mode";
    if attributes.text(name)? != Some("tf_half_pixel_for_nn") {
        return Ok(Plan::same(Op::Resize(resize(attributes, around.opset)?), node.input.len()));
    }
    let (mode, rounding) = (attributes.text("mode")?, attributes.text("nearest_mode")?);
    if mode.unwrap_or("nearest") != "nearest" || rounding != Some("floor") {
        return unsupported(format!("{name} tf_half_pixel_for_nn beside mode {mode:?} and {rounding:?}"));
    }
    for ignored in ["cubic_coeff_a", "extrapolation_value"] {
        attributes.float_opt(ignored)?;
    }
    attributes.int_opt("exclude_outside")?;
    let op = Op::Resize(ResizeAttrs {
        mode: ResizeMode::Nearest(NearestRounding::PreferCeil),
        coordinates: Coordinates::HalfPixel,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    });
    Ok(Plan::same(op, node.input.len()))
}
