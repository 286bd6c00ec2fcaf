//! Attributes of the operators of detectors and segmenters.

use super::*;
use tq_graph::Tensor;
use tq_graph::op::{AspectPolicy, Coordinates, NearestRounding, Op, ResizeAttrs, ResizeMode};

/// What a node on `x` of shape `[N, 3, 8, 8]`, nothing, and `scales` becomes.
fn resize(opset: i64, attributes: Vec<AttributeProto>) -> Result<Op, String> {
    let mut m = model(opset, vec![node("Resize", &["x", "", "scales"], &["y"], attributes)]);
    let scales: Vec<u8> = [1.0f32, 1.0, 2.0, 0.5].iter().flat_map(|v| v.to_le_bytes()).collect();
    graph_of(&mut m).initializer = vec![raw("scales", DataType::Float, &[4], &scales)];
    read(&m).map(|mut g| g.nodes.remove(0).op).map_err(|e| e.to_string())
}

#[test]
fn resizing() {
    let plain = ResizeAttrs {
        mode: ResizeMode::Nearest(NearestRounding::PreferFloor),
        coordinates: Coordinates::HalfPixel,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    };
    assert_eq!(resize(13, vec![]), Ok(Op::Resize(plain.clone())));
    let given = vec![
        text("mode", "cubic"),
        text("coordinate_transformation_mode", "half_pixel_symmetric"),
        float("cubic_coeff_a", -0.5),
        int("exclude_outside", 1),
        int("antialias", 1),
        ints("axes", &[0, 1, 2, -1]),
        text("keep_aspect_ratio_policy", "not_smaller"),
    ];
    let all = ResizeAttrs {
        mode: ResizeMode::Cubic { a: -0.5 },
        coordinates: Coordinates::HalfPixelSymmetric,
        antialias: true,
        exclude_outside: true,
        axes: Some(vec![0, 1, 2, -1]),
        policy: AspectPolicy::NotSmaller,
    };
    assert_eq!(resize(19, given.clone()), Ok(Op::Resize(all)));
    let name = "coordinate_transformation_mode";
    for (opset, attribute, message) in [
        (18, text(name, "half_pixel_symmetric"), "is unknown at opset 18"),
        (13, text(name, "tf_half_pixel_for_nn"), "is unknown at opset 13"),
        (13, text("mode", "area"), "mode \"area\" is unknown at opset 13"),
        (13, text("nearest_mode", "round"), "nearest_mode \"round\" is unknown at opset 13"),
        (13, int("antialias", 1), "attribute antialias is unknown at opset 13"),
        (13, text(name, "tf_crop_and_resize"), "roi is missing"),
        (18, int("antialias", 1), "antialias with mode nearest"),
        (18, ints("axes", &[2, 3]), "scales has 4 elements, expected 2"),
        (18, ints("axes", &[0, 1, 2, 2]), "axis 2 is given twice"),
    ] {
        let error = resize(opset, vec![attribute]).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn lists_of_resize_that_are_empty_are_absent() {
    let mut m = model(13, vec![node("Resize", &["x", "none", "none", "sizes"], &["y"], vec![])]);
    graph_of(&mut m).initializer =
        vec![raw("none", DataType::Float, &[0], &[]), int64s("sizes", &[1, 3, 5, 9])];
    let graph = read(&m).unwrap();
    let y = graph.value(graph.outputs[0]);
    assert_eq!(tq_graph::dim::known_shape(y.shape.as_deref().unwrap()), Some(vec![1, 3, 5, 9]));
    let mut both = m.clone();
    graph_of(&mut both).node[0].input[2] = "scales".into();
    graph_of(&mut both).initializer.push(zeros("scales", &[4]));
    assert!(error(&both).ends_with("both scales and sizes are given"));
    graph_of(&mut m).node[0].input.pop();
    assert!(error(&m).ends_with("neither scales nor sizes are given"));
}

#[test]
fn scales_that_make_no_axis_are_refused() {
    for bad in [0.0f32, -1.0, f32::NAN, f32::INFINITY, f32::MAX] {
        let mut m = model(13, vec![node("Resize", &["x", "", "scales"], &["y"], vec![])]);
        let scales: Vec<u8> = [1.0, 1.0, bad, 1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        graph_of(&mut m).initializer = vec![raw("scales", DataType::Float, &[4], &scales)];
        let error = error(&m);
        assert!(error.contains(&format!("scale by {bad}")), "{error}");
    }
}

#[test]
fn equations() {
    let one = |attributes: Vec<AttributeProto>| {
        read(&model(13, vec![node("Einsum", &["x", "x"], &["y"], attributes)])).map_err(|e| e.to_string())
    };
    let graph = one(vec![text("equation", "...ij, ...kj")]).unwrap();
    assert_eq!(graph.nodes[0].op.to_string(), "Einsum(equation=\"...ij,...kj->...ik\")");
    let node = "node Einsum_0 (Einsum): ";
    assert_eq!(one(vec![]).unwrap_err(), format!("{node}equation is missing"));
    assert_eq!(
        one(vec![text("equation", "ab,cd->x")]).unwrap_err(),
        format!("{node}equation \"ab,cd->x\": x of the result stands in no operand")
    );
    assert_eq!(
        one(vec![text("equation", "ab,cd")]).unwrap_err(),
        format!("{node}operand 0 has shape [N, 3, 8, 8], which ab does not fit")
    );
    assert_eq!(
        one(vec![text("equation", "abcd,acbd")]).unwrap_err(),
        format!("{node}axis c of operand 1 has 3 elements, that of another axis c has 8")
    );
}

#[test]
fn boxes() {
    let mut m = model(13, vec![node("NonMaxSuppression", &["boxes", "scores", "most"], &["y"], vec![])]);
    graph_of(&mut m).input = vec![
        info("boxes", DataType::Float, &["N", "20", "4"]),
        info("scores", DataType::Float, &["N", "3", "20"]),
    ];
    graph_of(&mut m).output = vec![info("y", DataType::Int64, &[])];
    graph_of(&mut m).initializer = vec![crate::tensor::write(&Tensor::scalar(9i64), "most").unwrap()];
    assert_eq!(read(&m).unwrap().nodes[0].op, Op::NonMaxSuppression { center_point_box: false });
    graph_of(&mut m).input[1] = info("scores", DataType::Float, &["N", "3", "21"]);
    assert_eq!(
        error(&m),
        "node NonMaxSuppression_0 (NonMaxSuppression): N times 20 boxes, but N times 21 scores a class"
    );
}
