//! Round trips of the operators that networks are made of beside convolutions.

use super::round_trip::{assert_round_trip, push};
use super::*;
use crate::{ExportOptions, MAX_OPSET, MIN_OPSET, export_bytes};
use tq_graph::op::{
    Activation, AspectPolicy, ConvTransposeAttrs, Coordinates, Direction, NearestRounding, Op, Padding,
    PoolAttrs, RecurrentAttrs, RecurrentKind, ResizeAttrs, ResizeMode,
};
use tq_graph::{Dim, Tensor, ValueId, infer};
use tq_qtypes::DType;

/// A graph with the input `x`, f32 of `[batch, dims...]`.
fn start(dims: &[usize]) -> (Graph, ValueId) {
    let mut g = Graph::new("g");
    let shape = std::iter::once(Dim::symbol("batch")).chain(dims.iter().map(|d| Dim::from(*d))).collect();
    let x = g.add_input("x", DType::F32, shape);
    (g, x)
}

fn constant(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let data = (0..dims.iter().product::<usize>()).map(|i| i as f32 * 0.25 - 1.0).collect();
    g.add_constant(name, Tensor::new(dims, data).unwrap())
}

/// Round trips at every operator set from `lowest`; below it the error that names `lowest`.
fn check(mut g: Graph, lowest: i64) {
    infer::infer(&mut g).unwrap();
    for opset in MIN_OPSET..=MAX_OPSET {
        if opset >= lowest {
            assert_round_trip(&g, opset);
        } else {
            let error = export_bytes(&g, &ExportOptions::at(opset)).unwrap_err().to_string();
            assert!(error.contains(&format!("needs opset {lowest}, not {opset}")), "{error}");
        }
    }
}

#[test]
fn normalizations() {
    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[8]), constant(&mut g, "b", &[8]));
    let op = Op::LayerNormalization { axis: -1, epsilon: 1e-12, stash: DType::F32 };
    let out = push(&mut g, "ln", op, vec![Some(x), Some(s), Some(b)], &["y", "mean", "inv"]);
    g.outputs.extend(out);
    check(g, 17);

    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[6]), constant(&mut g, "b", &[6]));
    let y = g.add_node("in", Op::InstanceNormalization { epsilon: 0.5 }, &[x, s, b], "y");
    g.outputs.push(y);
    check(g, MIN_OPSET);

    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[6]), constant(&mut g, "b", &[6]));
    let y = g.add_node("gn", Op::GroupNormalization { epsilon: 0.5, groups: 2 }, &[x, s, b], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    assert_round_trip(&g, 21);
    let error = export_bytes(&g, &ExportOptions::at(18)).unwrap_err().to_string();
    assert_eq!(
        error,
        "node gn (GroupNormalization) needs opset 21, not 18: scale that is not one number a group"
    );
}

#[test]
fn parameters_of_groups_are_repeated_for_the_channels_of_opset_21() {
    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[2]), constant(&mut g, "b", &[6]));
    let y = g.add_node("gn", Op::GroupNormalization { epsilon: 0.5, groups: 2 }, &[x, s, b], "y");
    g.outputs.push(y);
    let read = import_bytes(&export_bytes(&g, &ExportOptions::at(21)).unwrap(), None).unwrap();
    let [gather, norm] = read.nodes.as_slice() else { panic!("{read}") };
    assert_eq!((gather.name.as_str(), &gather.op), ("gn_scale", &Op::Gather { axis: 0 }));
    let indices = read.const_input(gather, 1).unwrap().to_i64_vec().unwrap();
    assert_eq!(indices, [0, 0, 0, 1, 1, 1]);
    assert_eq!(norm.input(1), gather.output(0));
    assert_eq!(read.value(norm.input(2).unwrap()).name, "b");
}

/// A recurrent node with all inputs, over 7 steps of 3 samples with 4 features.
fn recurrent(kind: RecurrentKind, attrs: RecurrentAttrs) -> Graph {
    let (mut g, _) = start(&[]);
    g.inputs.clear();
    let (d, n, rows) = (attrs.direction.count(), attrs.hidden_size, attrs.hidden_size * kind.gates());
    let dims = if attrs.batch_first { [3usize, 7, 4] } else { [7, 3, 4] };
    let x = g.add_input("sequence", DType::F32, dims.map(Dim::from).to_vec());
    let state = if attrs.batch_first { [3, d, n] } else { [d, 3, n] };
    let mut inputs = vec![
        Some(x),
        Some(constant(&mut g, "w", &[d, rows, 4])),
        Some(constant(&mut g, "r", &[d, rows, n])),
        Some(constant(&mut g, "b", &[d, 2 * rows])),
        None,
        Some(constant(&mut g, "h", &state)),
    ];
    let mut outputs = vec!["y", "y_h"];
    if matches!(kind, RecurrentKind::Lstm { .. }) {
        inputs.extend([None, Some(constant(&mut g, "p", &[d, 3 * n]))]);
        outputs.push("y_c");
    }
    let outputs = push(&mut g, "r", Op::Recurrent { kind, attrs }, inputs, &outputs);
    g.outputs.extend(outputs);
    g.compact();
    g
}

#[test]
fn recurrent_networks() {
    let attrs = |kind: RecurrentKind, direction: Direction| RecurrentAttrs {
        hidden_size: 5,
        direction,
        activations: kind.default_activations().repeat(direction.count()),
        clip: None,
        batch_first: false,
        dynamic: None,
    };
    for kind in [
        RecurrentKind::Lstm { input_forget: false },
        RecurrentKind::Lstm { input_forget: true },
        RecurrentKind::Gru { linear_before_reset: false },
        RecurrentKind::Gru { linear_before_reset: true },
        RecurrentKind::Rnn,
    ] {
        check(recurrent(kind, attrs(kind, Direction::Forward)), MIN_OPSET);
        check(recurrent(kind, attrs(kind, Direction::Reverse)), MIN_OPSET);
        check(recurrent(kind, attrs(kind, Direction::Bidirectional)), MIN_OPSET);
        let first = RecurrentAttrs { batch_first: true, ..attrs(kind, Direction::Bidirectional) };
        check(recurrent(kind, first), 14);
    }
    let kind = RecurrentKind::Lstm { input_forget: false };
    let unusual = RecurrentAttrs {
        activations: vec![
            Activation::HardSigmoid { alpha: 0.3, beta: 0.4 },
            Activation::ScaledTanh { alpha: 2.0, beta: 0.5 },
            Activation::Softsign,
            Activation::Elu { alpha: 0.25 },
            Activation::Affine { alpha: 0.5, beta: 0.125 },
            Activation::ThresholdedRelu { alpha: 0.75 },
        ],
        clip: Some(2.5),
        ..attrs(kind, Direction::Bidirectional)
    };
    check(recurrent(kind, unusual), MIN_OPSET);
}

#[test]
fn transposed_convolutions() {
    let attrs = ConvTransposeAttrs {
        strides: vec![2, 3],
        dilations: vec![1, 2],
        padding: Padding::Explicit { begin: vec![1, 0], end: vec![0, 2] },
        output_padding: vec![1, 0],
        output_shape: None,
        groups: 2,
    };
    let wanted = ConvTransposeAttrs { output_shape: Some(vec![17, 29]), ..attrs.clone() };
    let same = ConvTransposeAttrs { padding: Padding::SameLower, ..attrs.clone() };
    for attrs in [attrs, wanted, same] {
        let (mut g, x) = start(&[4, 8, 9]);
        let (w, b) = (constant(&mut g, "w", &[4, 3, 3, 2]), constant(&mut g, "b", &[6]));
        let y = g.add_node("up", Op::ConvTranspose(attrs), &[x, w, b], "y");
        g.outputs.push(y);
        check(g, MIN_OPSET);
    }
}

#[test]
fn pools_and_norms() {
    let window = PoolAttrs {
        kernel: vec![2, 3],
        strides: vec![2, 1],
        dilations: vec![1, 1],
        padding: Padding::SameUpper,
        ceil_mode: false,
    };
    let dilated = PoolAttrs { dilations: vec![2, 1], ..window.clone() };
    let ceiled = PoolAttrs { ceil_mode: true, ..window.clone() };
    for (op, lowest) in [
        (Op::GlobalMaxPool, MIN_OPSET),
        (Op::GlobalLpPool { p: 3 }, MIN_OPSET),
        (Op::LpPool { attrs: window, p: 1 }, MIN_OPSET),
        (Op::LpPool { attrs: dilated, p: 2 }, 18),
        (Op::LpPool { attrs: ceiled, p: 2 }, 18),
        (Op::MeanVarianceNormalization { axes: vec![0, -1] }, MIN_OPSET),
        (Op::Lrn { size: 3, alpha: 0.5, beta: 0.25, bias: 2.0 }, MIN_OPSET),
    ] {
        let (mut g, x) = start(&[4, 8, 9]);
        let y = g.add_node("n", op, &[x], "y");
        g.outputs.push(y);
        check(g, lowest);
    }
}

#[test]
fn resizing() {
    let plain = ResizeAttrs {
        mode: ResizeMode::Nearest(NearestRounding::Floor),
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    };
    let cubic = ResizeMode::Cubic { a: -0.5 };
    let crop = Coordinates::TfCropAndResize { extrapolation_value: 7.5 };
    let symmetric = Coordinates::HalfPixelSymmetric;
    for (attrs, lowest) in [
        (plain.clone(), MIN_OPSET),
        (ResizeAttrs { mode: cubic, exclude_outside: true, ..plain.clone() }, MIN_OPSET),
        (ResizeAttrs { mode: ResizeMode::Linear, coordinates: crop, ..plain.clone() }, MIN_OPSET),
        (ResizeAttrs { mode: ResizeMode::Linear, antialias: true, ..plain.clone() }, 18),
        (ResizeAttrs { policy: AspectPolicy::NotLarger, ..plain.clone() }, 18),
        (ResizeAttrs { axes: Some(vec![0, 1, 2, -1]), ..plain.clone() }, 18),
        (ResizeAttrs { coordinates: symmetric, ..plain }, 19),
    ] {
        for by_scale in [true, false] {
            let (mut g, x) = start(&[4, 8, 9]);
            let roi =
                g.add_constant("roi", Tensor::vector(vec![0.0f32, 0.0, 0.25, 0.5, 1.0, 1.0, 0.75, 1.0]));
            let mut inputs = vec![Some(x), Some(roi)];
            if by_scale {
                let scales = Tensor::vector(vec![1.0f32, 1.0, 2.5, 0.5]);
                inputs.push(Some(g.add_constant("scales", scales)));
            } else {
                let sizes = Tensor::vector(vec![2i64, 4, 11, 5]);
                inputs.extend([None, Some(g.add_constant("sizes", sizes))]);
            }
            let out = push(&mut g, "resize", Op::Resize(attrs.clone()), inputs, &["y"]);
            g.outputs.extend(out);
            check(g, lowest);
        }
    }
}

#[test]
fn shapes_of_resized_batches_keep_their_symbols() {
    let attrs = ResizeAttrs {
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    };
    let mut g = Graph::new("g");
    let [n, h, w] = ["N", "H", "W"].map(Dim::symbol);
    let x = g.add_input("x", DType::F32, vec![n, Dim::from(3usize), h, w]);
    let scales = g.add_constant("scales", Tensor::vector(vec![1.0f32, 1.0, 1.5, 0.25]));
    let out = push(&mut g, "resize", Op::Resize(attrs), vec![Some(x), None, Some(scales)], &["y"]);
    g.outputs.extend(&out);
    infer::infer(&mut g).unwrap();
    let shape = g.value(out[0]).shape.as_ref().unwrap();
    let text: Vec<String> = shape.iter().map(Dim::to_string).collect();
    assert_eq!(text, ["N", "3", "floor((3*H)/(2))", "floor((W)/(4))"]);
}

#[test]
fn equations_and_boxes() {
    let (mut g, x) = start(&[4, 8]);
    let w = constant(&mut g, "w", &[8, 5]);
    let equation = "bij, jk -> kbi".parse().unwrap();
    let y = g.add_node("sum", Op::Einsum(equation), &[x, w], "y");
    g.outputs.push(y);
    check(g.clone(), MIN_OPSET);
    infer::infer(&mut g).unwrap();
    let text: Vec<String> = g.value(y).shape.as_ref().unwrap().iter().map(Dim::to_string).collect();
    assert_eq!(text, ["5", "batch", "4"]);

    let mut g = Graph::new("g");
    let dims = |d: [usize; 3]| d.map(Dim::from).to_vec();
    let boxes = g.add_input("boxes", DType::F32, dims([2, 9, 4]));
    let scores = g.add_input("scores", DType::F32, dims([2, 3, 9]));
    let most = g.add_constant("most", Tensor::scalar(5i64));
    let least = g.add_constant("least", Tensor::vector(vec![0.25f32]));
    let inputs = vec![Some(boxes), Some(scores), Some(most), None, Some(least)];
    let op = Op::NonMaxSuppression { center_point_box: true };
    let out = push(&mut g, "nms", op, inputs, &["selected"]);
    g.outputs.extend(out);
    check(g, MIN_OPSET);
}
