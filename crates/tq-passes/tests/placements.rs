//! Where each operator runs once a network is quantized, and that the finished graph says the same.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, run64};
use tq_graph::op::{
    ArgAttrs, BinaryOp, BitwiseOp, CompareOp, LogicOp, ReduceKind, ScatterReduction, UnaryOp, VariadicOp,
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
        (Op::Variadic(VariadicOp::Max), vec![number(0.5)]),
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
