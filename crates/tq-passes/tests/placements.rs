//! Where each operator runs once a network is quantized, and that the finished graph says the same.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, run64};
use tq_graph::op::{
    ArgAttrs, AspectPolicy, BinaryOp, BitwiseOp, CompareOp, ConvTransposeAttrs, Coordinates, LogicOp,
    NearestRounding, Padding, PoolAttrs, ReduceKind, ResizeAttrs, ResizeMode, ScatterReduction, UnaryOp,
    VariadicOp,
};
use tq_graph::qdq::QdqView;
use tq_graph::{Op, Tensor, ValueId};
use tq_passes::{Placement, QuantConfig, convert, prepare_static};
use tq_qtypes::OperatorKind;

/// Where `op` runs between two convolutions: it reads codes of 8 channels, and its result is read as data.
fn between(op: &Op, others: &[Tensor]) -> Placement {
    let mut n = Net::new(3);
    let x = n.input("x", &[3, 4, 4]);
    let before = n.conv("before", x, [3, 8], 1, 0);
    let mut inputs = vec![before];
    // A condition or positions come first, the codes after them.
    let first = matches!(op, Op::Where);
    inputs.extend(others.iter().map(|t| n.constant(t.clone())));
    if first {
        inputs.swap(0, 1);
    }
    let outputs: Vec<ValueId> = (0..op.output_arity().0)
        .map(|i| n.graph.add_value(if i == 0 { "op".into() } else { format!("op{i}") }, None, None))
        .collect();
    n.graph.nodes.push(tq_graph::Node {
        name: "op".into(),
        op: op.clone(),
        inputs: inputs.into_iter().map(Some).collect(),
        outputs: outputs.iter().copied().map(Some).collect(),
    });
    // Something that computes on codes follows, wherever there are real numbers to compute on.
    tq_graph::infer::infer(&mut n.graph).unwrap();
    for (i, v) in outputs.into_iter().enumerate() {
        if n.graph.value(v).dtype == Some(tq_qtypes::DType::F32) {
            let after = n.node(&format!("after{i}"), Op::Unary(UnaryOp::Sigmoid), &[v]);
            n.output(after);
        } else {
            n.output(v);
        }
    }
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    for _ in 0..2 {
        prepared.forward(&n.tensor(&[2, 3, 4, 4])).unwrap();
    }
    let planned = prepared.placements();
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes, "{op}: the plan did not come true");
    let placement = quantized.report.nodes.into_iter().find(|n| n.node == "op").unwrap().placement;
    let graph = &quantized.graph;
    let view = QdqView::new(graph);
    let on_codes = view.operators.iter().any(|o| graph.node(o.node).name == "op");
    assert_eq!(on_codes, placement.is_quantized(), "{op}: {placement}");
    placement
}

fn resize(mode: ResizeMode) -> ResizeAttrs {
    ResizeAttrs {
        mode,
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        axes: None,
        policy: AspectPolicy::Stretch,
    }
}

fn i64s(v: &[i64]) -> Tensor {
    Tensor::vector(v.to_vec())
}

fn number(v: f32) -> Tensor {
    Tensor::scalar(v)
}

#[test]
fn functions_of_one_number_are_tables() {
    let unary = [
        UnaryOp::LeakyRelu { alpha: 0.1 },
        UnaryOp::ThresholdedRelu { alpha: 0.1 },
        UnaryOp::Celu { alpha: 1.0 },
        UnaryOp::Selu { alpha: 1.6, gamma: 1.1 },
        UnaryOp::Softplus,
        UnaryOp::Softsign,
        UnaryOp::Mish,
        UnaryOp::Gelu { tanh: false },
        UnaryOp::Gelu { tanh: true },
        UnaryOp::Tanh,
        UnaryOp::Erf,
        UnaryOp::Exp,
        UnaryOp::Abs,
        UnaryOp::Neg,
        UnaryOp::Sign,
        UnaryOp::Floor,
        UnaryOp::Round,
        UnaryOp::Sin,
        UnaryOp::Asinh,
    ];
    let table = Placement::Integer { kind: OperatorKind::Lookup, float_output: false };
    for op in unary {
        assert_eq!(between(&Op::Unary(op), &[]), table, "{}", op.name());
    }
    for (op, with) in [
        (BinaryOp::Pow, number(2.0)),
        (BinaryOp::Pow, i64s(&[3])),
        (BinaryOp::PRelu, number(0.2)),
        (BinaryOp::Mod { fmod: true }, number(0.7)),
    ] {
        assert_eq!(between(&Op::Binary(op), &[with]), table, "{}", op.name());
    }
}

/// An exponent that is nearly 2 would make NaN of every negative number.
#[test]
fn exponents_are_not_quantized() {
    let mut n = Net::new(4);
    let x = n.input("x", &[6]);
    let two = n.scalar(2.0);
    let y = n.binary("square", BinaryOp::Pow, x, two);
    n.output(y);
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    let data = n.tensor(&[9, 6]);
    prepared.forward(&data).unwrap();
    let q = convert(prepared).unwrap();
    let (float, got) = (run64(&n.graph, data.as_ref()), run64(&q.graph, data.as_ref()));
    for (a, b) in float[0].iter().zip(&got[0]) {
        assert!((a - b).abs() < 0.02, "{a} became {b}");
    }
}

#[test]
fn what_only_moves_elements_moves_codes() {
    let movement = Placement::Integer { kind: OperatorKind::Movement, float_output: false };
    for (op, others) in [
        (Op::Expand, vec![i64s(&[1, 8, 4, 4])]),
        (Op::Tile, vec![i64s(&[1, 1, 2, 3])]),
        (Op::DepthToSpace { block: 2, channel_first: true }, vec![]),
        (Op::SpaceToDepth { block: 2 }, vec![]),
        (Op::GatherElements { axis: 1 }, vec![Tensor::new(&[1, 2, 1, 1], vec![5i64, -1]).unwrap()]),
        (
            Op::Resize(resize(ResizeMode::Nearest(NearestRounding::Floor))),
            vec![Tensor::vector(Vec::<f32>::new()), Tensor::vector(vec![1.0f32, 1.0, 2.0, 1.5])],
        ),
        (Op::GatherND { batch_dims: 0 }, vec![Tensor::new(&[1, 2], vec![0i64, 3]).unwrap()]),
    ] {
        assert_eq!(between(&op, &others), movement, "{op}");
    }
}

#[test]
fn what_has_no_integer_form_says_so() {
    let arg = ArgAttrs { axis: 1, keep_dims: true, select_last: false };
    let reduce = |kind| Op::Reduce { kind, keep_dims: true, noop_with_empty_axes: false };
    for (op, others) in [
        (Op::Where, vec![Tensor::new(&[4], vec![true, false, true, true]).unwrap(), number(0.5)]),
        (Op::Variadic(VariadicOp::Max), vec![Tensor::new(&[8, 1, 1], vec![0.5f32; 8]).unwrap()]),
        (Op::Variadic(VariadicOp::Mean), vec![]),
        (reduce(ReduceKind::Sum), vec![i64s(&[1])]),
        (reduce(ReduceKind::Max), vec![i64s(&[2, 3])]),
        (reduce(ReduceKind::L2), vec![]),
        (Op::CumSum { exclusive: false, reverse: false }, vec![i64s(&[1])]),
        (Op::LogSoftmax { axis: 1 }, vec![]),
        (Op::Hardmax { axis: 1 }, vec![]),
        (Op::Trilu { upper: true }, vec![]),
        (
            Op::ScatterND { reduction: ScatterReduction::Add },
            vec![
                Tensor::new(&[1, 4], vec![0i64, 1, 2, 3]).unwrap(),
                Tensor::new(&[1], vec![0.5f32]).unwrap(),
            ],
        ),
        (Op::TopK { axis: 1, largest: true, sorted: true }, vec![i64s(&[2])]),
    ] {
        let expected = format!("float: {} has no integer form", op.name());
        assert_eq!(between(&op, &others).to_string(), expected);
    }
    let linear = Op::Resize(resize(ResizeMode::Linear));
    let others = [Tensor::vector(Vec::<f32>::new()), Tensor::vector(vec![1.0f32, 1.0, 2.0, 2.0])];
    assert_eq!(between(&linear, &others).to_string(), "float: it mixes elements, in float");
    // What they give are positions or truth values.
    for (op, others) in [
        (Op::ArgMax(arg), vec![]),
        (Op::ArgMin(arg), vec![]),
        (Op::Compare(CompareOp::Greater), vec![number(0.1)]),
        (Op::IsNaN, vec![]),
        (Op::IsInf { negative: true, positive: true }, vec![]),
        (Op::Size, vec![]),
        (Op::NonZero, vec![]),
    ] {
        assert_eq!(between(&op, &others), Placement::Data, "{op}");
    }
}

/// Truth values and bits have nothing to quantize, and do not get in the way of what has.
#[test]
fn masks_stay_what_they_are() {
    let mut n = Net::new(5);
    let x = n.input("x", &[3, 4, 4]);
    let y = n.conv("conv", x, [3, 8], 1, 0);
    let (zero, one) = (n.scalar(0.0), n.scalar(1.0));
    let above = n.node("above", Op::Compare(CompareOp::Greater), &[y, zero]);
    let below = n.node("below", Op::Compare(CompareOp::LessOrEqual), &[y, one]);
    let both = n.node("both", Op::Logic(LogicOp::And), &[above, below]);
    let not = n.node("not", Op::Not, &[both]);
    let codes = n.node("codes", Op::Cast { to: tq_qtypes::DType::U8, saturate: true }, &[not]);
    let three = n.constant(Tensor::scalar(3u8));
    let bits = n.node("bits", Op::Bitwise(BitwiseOp::Shift { left: true }), &[codes, three]);
    let masked = n.node("masked", Op::Where, &[not, y, zero]);
    let z = n.conv("last", masked, [8, 4], 1, 0);
    let z = n.relu("relu", z);
    n.output(z);
    n.output(bits);
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    prepared.forward(&n.tensor(&[2, 3, 4, 4])).unwrap();
    let q = convert(prepared).unwrap();
    let of = |name: &str| q.report.nodes.iter().find(|n| n.node == name).unwrap().placement.clone();
    for name in ["above", "below", "both", "not", "codes", "bits"] {
        assert_eq!(of(name), Placement::Data, "{name}");
    }
    assert_eq!(of("masked").to_string(), "float: Where has no integer form");
    assert!(of("conv").is_quantized() && of("last").is_quantized());
}

fn transposed(groups: usize) -> Op {
    Op::ConvTranspose(ConvTransposeAttrs {
        strides: vec![2; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![1; 2], end: vec![0; 2] },
        output_padding: vec![0; 2],
        output_shape: None,
        groups,
    })
}

#[test]
fn transposed_convolutions_and_pools_are_integer() {
    let integer = |kind| Placement::Integer { kind, float_output: false };
    let mut n = Net::new(8);
    for groups in [1, 2, 8] {
        let (w, b) = (n.tensor(&[8, 3, 3, 3]), n.tensor(&[3 * groups]));
        assert_eq!(between(&transposed(groups), &[w, b]), integer(OperatorKind::ConvTranspose));
    }
    assert_eq!(between(&Op::GlobalMaxPool, &[]), integer(OperatorKind::MaxPool));
    let attrs = PoolAttrs { ceil_mode: true, dilations: vec![2; 2], ..common::net::window(2, 0) };
    assert_eq!(between(&Op::MaxPool { attrs, column_major: false }, &[]), integer(OperatorKind::MaxPool));
}

/// Scales of a transposed convolution serve the same channel of every group, its bias too, however large that is.
#[test]
fn grouped_transposed_convolutions_share_scales() {
    let mut n = Net::new(9);
    let x = n.input("x", &[4, 5, 5]);
    let w = n.random(&[4, 3, 3, 3]);
    let b = n.constant(Tensor::vector(vec![0.5f32, -1.0, 3e6, 1.0, 2.0, -4e6]));
    let y = n.node("up", transposed(2), &[x, w, b]);
    n.output(y);
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    let data = n.tensor(&[2, 4, 5, 5]);
    prepared.forward(&data).unwrap();
    let q = convert(prepared).unwrap();
    let up = q.graph.nodes.iter().find(|n| n.name == "up").unwrap();
    let view = QdqView::new(&q.graph);
    let op = view.operators.iter().find(|o| q.graph.node(o.node).name == "up").unwrap();
    assert_eq!(op.weights.as_ref().unwrap().params.scale.len(), 3);
    assert_eq!(op.bias.as_ref().unwrap().len(), 6);
    // The third channel of either group is too large for the scale that its weights alone ask for.
    assert!(q.report.adjustments.iter().all(|a| a.channel == Some(2)) && !q.report.adjustments.is_empty());
    assert_eq!(up.op.name(), "ConvTranspose");
    let (float, got) = (run64(&n.graph, data.as_ref()), run64(&q.graph, data.as_ref()));
    let largest = float[0].iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (a, b) in float[0].iter().zip(&got[0]) {
        assert!((a - b).abs() <= largest / 100.0, "{a} became {b}");
    }
}

/// One head of attention: both products run on codes, scaling and masking before the softmax stay in float, and what
/// the softmax gives has parameters that no data decides.
#[test]
fn attention_multiplies_codes() {
    let mut n = Net::new(10);
    let x = n.input("x", &[6, 8]);
    let mask = n.graph.add_input(
        "mask",
        tq_qtypes::DType::F32,
        vec![tq_graph::Dim::symbol("N"), 1usize.into(), 6usize.into()],
    );
    let part = |n: &mut Net, name: &str| {
        let w = n.random(&[8, 8]);
        n.node(name, Op::MatMul, &[x, w])
    };
    let (q, k, v) = (part(&mut n, "q"), part(&mut n, "k"), part(&mut n, "v"));
    let kt = n.node("kt", Op::Transpose { perm: Some(vec![0, 2, 1]) }, &[k]);
    let scores = n.node("scores", Op::MatMul, &[q, kt]);
    let eighth = n.scalar(0.125);
    let scaled = n.binary("scaled", BinaryOp::Mul, scores, eighth);
    let masked = n.binary("masked", BinaryOp::Add, scaled, mask);
    let probabilities = n.node("softmax", Op::Softmax { axis: -1 }, &[masked]);
    let mixed = n.node("mixed", Op::MatMul, &[probabilities, v]);
    let w = n.random(&[8, 4]);
    let y = n.node("out", Op::MatMul, &[mixed, w]);
    n.output(y);
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    let hidden = Tensor::new(&[2, 1, 6], [0.0f32, 0.0, 0.0, 0.0, -1e9, -1e9].repeat(2)).unwrap();
    let inputs = [n.tensor(&[2, 6, 8]), hidden];
    prepared.forward(&inputs).unwrap();
    let planned = prepared.placements();
    let q = convert(prepared).unwrap();
    assert_eq!(planned, q.report.nodes);
    let of = |name: &str| q.report.nodes.iter().find(|n| n.node == name).unwrap().placement.to_string();
    assert_eq!(of("scores"), "integer (matmul), float output");
    assert_eq!(of("mixed"), "integer (matmul)");
    for name in ["scaled", "masked"] {
        assert!(of(name).contains("softmax"), "{}", of(name));
    }
    let scale = q.graph.values.iter().find(|v| v.name == "softmax_scale").unwrap();
    assert_eq!(scale.constant.as_ref().unwrap().as_slice::<f32>().unwrap(), [1.0 / 256.0]);
    let (float, got) = (run64(&n.graph, &inputs), run64(&q.graph, &inputs));
    let largest = float[0].iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (a, b) in float[0].iter().zip(&got[0]) {
        assert!((a - b).abs() <= largest / 20.0, "{a} became {b}");
    }
}

/// Tables of embeddings become codes whatever becomes of activations, with a scale a row.
#[test]
fn tables_become_codes() {
    let mut n = Net::new(11);
    let ids =
        n.graph.add_input("ids", tq_qtypes::DType::I64, vec![tq_graph::Dim::symbol("N"), 3usize.into()]);
    let table = n.random(&[50, 16]);
    let x = n.node("embedding", Op::Gather { axis: 0 }, &[table, ids]);
    let w = n.random(&[16, 4]);
    let y = n.node("out", Op::MatMul, &[x, w]);
    n.output(y);
    let ids = [Tensor::new(&[2, 3], vec![0i64, 7, 49, 12, 3, 30]).unwrap()];
    for recipe in [tq_passes::Recipe::Int8, tq_passes::Recipe::W8, tq_passes::Recipe::W4] {
        let prepared = prepare_static(n.graph.clone(), recipe).unwrap();
        prepared.forward(&ids).unwrap();
        let planned = prepared.placements();
        let q = convert(prepared).unwrap();
        assert_eq!(planned, q.report.nodes, "{recipe}");
        let placement = q.report.nodes.iter().find(|n| n.node == "embedding").unwrap().placement.to_string();
        assert!(placement.starts_with("float on dequantized codes: its weights are i"), "{placement}");
        assert!(
            q.graph
                .values
                .iter()
                .filter_map(|v| v.constant.as_ref())
                .all(|t| t.dims() != [50, 16] || t.dtype() != tq_qtypes::DType::F32)
        );
        let (float, got) = (run64(&n.graph, &ids), run64(&q.graph, &ids));
        let largest = float[0].iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let allowed = if recipe == tq_passes::Recipe::W4 { 6.0 } else { 50.0 };
        for (a, b) in float[0].iter().zip(&got[0]) {
            assert!((a - b).abs() <= largest / allowed, "{recipe}: {a} became {b}");
        }
    }
}

/// The range of a sigmoid is known; a rule of its own for it says otherwise.
#[test]
fn known_ranges_need_no_data() {
    let network = |op: Op| {
        let mut n = Net::new(12);
        let x = n.input("x", &[3, 4, 4]);
        let y = n.conv("conv", x, [3, 4], 1, 0);
        let y = n.node("known", op, &[y]);
        let y = n.conv("last", y, [4, 4], 1, 0);
        n.output(y);
        n
    };
    let scale_of = |n: &mut Net, config: tq_passes::QConfigDict| {
        let prepared = tq_passes::quantize_fx(n.graph.clone(), config, tq_passes::Backend::Fbgemm).unwrap();
        prepared.forward(&n.tensor(&[2, 3, 4, 4])).unwrap();
        let q = convert(prepared).unwrap().graph;
        let constant =
            |name: &str| q.values.iter().find(|v| v.name == name).unwrap().constant.clone().unwrap();
        let zero = constant("known_zero_point").to_i64_vec().unwrap()[0];
        (constant("known_scale").as_slice::<f32>().unwrap()[0], zero)
    };
    let all = || tq_passes::QConfigDict::from(tq_passes::QConfig::default());
    let sigmoid = || Op::Unary(UnaryOp::Sigmoid);
    for (op, expected) in [
        (sigmoid(), (1.0 / 256.0, 0)),
        (Op::Unary(UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 }), (1.0 / 256.0, 0)),
        (Op::Unary(UnaryOp::Tanh), (1.0 / 128.0, 128)),
        (Op::Softmax { axis: 1 }, (1.0 / 256.0, 0)),
    ] {
        assert_eq!(scale_of(&mut network(op.clone()), all()), expected, "{op}");
    }
    let own = all().set_module_type::<tq_passes::module_type::Sigmoid>(Some(tq_passes::QConfig::default()));
    assert_ne!(scale_of(&mut network(sigmoid()), own).0, 1.0 / 256.0);
    assert_ne!(scale_of(&mut network(Op::Unary(UnaryOp::Elu { alpha: 1.0 })), all()).0, 1.0 / 256.0);
}

/// A clamp after a node in float is part of what is float: the codes after it are as fine as its bounds allow.
#[test]
fn clamps_of_real_numbers_stay_in_float() {
    let mut n = Net::new(5);
    let x = n.input("x", &[3, 4, 4]);
    let a = n.conv("a", x, [3, 8], 1, 0);
    let a = n.clip("a_clip", a, 0.0, 0.05);
    let b = n.conv("b", a, [8, 4], 1, 0);
    let b = n.relu("b_relu", b);
    n.output(b);
    tq_graph::infer::infer(&mut n.graph).unwrap();
    let rules = tq_passes::QConfigDict::new()
        .set_global(tq_passes::int8_qconfig())
        .set_module_name("a", tq_passes::w8_qconfig());
    let prepared =
        tq_passes::quantize_fx(n.graph.clone(), rules, tq_passes::BackendConfig::default()).unwrap();
    for _ in 0..2 {
        prepared.forward(&n.tensor(&[2, 3, 4, 4])).unwrap();
    }
    let planned = prepared.placements();
    let place = |name: &str| planned.iter().find(|p| p.node == name).unwrap().placement.clone();
    assert!(place("a_clip").float_reason().unwrap().contains("finer after it"), "{}", place("a_clip"));
    assert!(matches!(place("b_relu"), Placement::Epilogue { .. }), "{}", place("b_relu"));
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes);
    // One Quantize node between the two, of the clamped values.
    let graph = &quantized.graph;
    let scale = graph.find_value("a_clip_scale").and_then(|v| graph.constant(v)).unwrap();
    assert!(scale.as_slice::<f32>().unwrap()[0] <= 0.05 / 255.0 * 1.001, "{scale:?}");
    assert!(graph.find_value("a_scale").is_none());
}

/// What such a clamp gives, and one in the epilogue of a convolution, does not have the fixed scale of a softmax that it is
/// concatenated with.
#[test]
fn clamps_have_ranges_of_their_own() {
    for epilogue in [false, true] {
        let mut n = Net::new(6);
        let x = n.input("x", &[4, 4, 4]);
        let a = if epilogue { n.conv("before", x, [4, 4], 1, 0) } else { x };
        let a = n.clip("clip", a, -0.25, 0.5);
        let s = n.node("softmax", Op::Softmax { axis: 1 }, &[a]);
        let c = n.node("cat", Op::Concat { axis: 1 }, &[s, a]);
        let y = n.conv("conv", c, [8, 4], 1, 0);
        let y = n.relu("relu", y);
        n.output(y);
        tq_graph::infer::infer(&mut n.graph).unwrap();
        let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
        prepared.forward(&[n.tensor(&[2, 4, 4, 4])]).unwrap();
        let q = convert(prepared).unwrap();
        let constant = |name: &str| q.graph.find_value(name).and_then(|v| q.graph.constant(v)).unwrap();
        let scale = constant("cat_scale").as_slice::<f32>().unwrap()[0];
        let zero_point = constant("cat_zero_point").as_slice::<u8>().unwrap()[0];
        // The range goes down to what the clamp lets through, not to zero.
        assert!((f32::from(zero_point) * scale - 0.25).abs() < 0.01, "{scale} {zero_point}");
    }
}
