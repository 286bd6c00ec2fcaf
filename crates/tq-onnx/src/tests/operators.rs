//! Operators that work element by element, reduce, pick and place: defaults, and what each operator set knows of them.

use super::*;
use crate::{ExportOptions, export_bytes};
use tq_graph::op::{BinaryOp, BitwiseOp, Op, ReduceKind, ScatterReduction, UnaryOp};

/// A model of one node that reads `x` and these initializers.
fn one(opset: i64, name: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> ModelProto {
    let mut inputs = vec!["x"];
    inputs.extend(constants.iter().map(|t| t.name()));
    let mut m = model(opset, vec![node(name, &inputs, &["y"], attributes)]);
    graph_of(&mut m).initializer = constants;
    m
}

fn op(opset: i64, name: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> Op {
    read(&one(opset, name, constants, attributes)).unwrap().nodes.remove(0).op
}

fn message(opset: i64, name: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> String {
    error(&one(opset, name, constants, attributes))
}

#[test]
fn activations_have_the_defaults_of_their_schemas() {
    let unary = |name: &str, attributes: Vec<AttributeProto>| match op(20, name, vec![], attributes) {
        Op::Unary(op) => op,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(unary("LeakyRelu", vec![]), UnaryOp::LeakyRelu { alpha: 0.01 });
    assert_eq!(unary("ThresholdedRelu", vec![]), UnaryOp::ThresholdedRelu { alpha: 1.0 });
    assert_eq!(unary("Celu", vec![]), UnaryOp::Celu { alpha: 1.0 });
    let selu = (1.673_263_192_176_818_8_f64 as f32, 1.050_701_022_148_132_3_f64 as f32);
    assert_eq!(unary("Selu", vec![]), UnaryOp::Selu { alpha: selu.0, gamma: selu.1 });
    assert_eq!(unary("Gelu", vec![]), UnaryOp::Gelu { tanh: false });
    assert_eq!(unary("Gelu", vec![text("approximate", "tanh")]), UnaryOp::Gelu { tanh: true });
    assert_eq!(
        message(20, "Gelu", vec![], vec![text("approximate", "fast")]),
        "node Gelu_0 (Gelu): approximate is \"fast\""
    );
    assert_eq!(message(19, "Gelu", vec![], vec![]), "unsupported: Gelu (needs opset 20: Gelu_0)");
}

#[test]
fn numbers_and_bits() {
    let mut shift = one(13, "BitShift", vec![], vec![text("direction", "RIGHT")]);
    graph_of(&mut shift).node[0].input.push("x".into());
    graph_of(&mut shift).input = vec![info("x", DataType::Uint8, &["2"])];
    assert_eq!(read(&shift).unwrap().nodes[0].op, Op::Bitwise(BitwiseOp::Shift { left: false }));
    let b = || vec![zeros("b", &[1])];
    assert_eq!(message(13, "BitShift", b(), vec![]), "node BitShift_0 (BitShift): direction is missing");
    assert_eq!(op(13, "Mod", b(), vec![int("fmod", 1)]), Op::Binary(BinaryOp::Mod { fmod: true }));
    assert_eq!(
        message(13, "Mod", b(), vec![]),
        "node Mod_0 (Mod): a is f32, expected an integer unless fmod is set"
    );
    let infinite = Op::IsInf { negative: false, positive: true };
    assert_eq!(op(13, "IsInf", vec![], vec![int("detect_negative", 0)]), infinite);
    assert_eq!(
        message(17, "BitwiseNot", vec![], vec![]),
        "unsupported: BitwiseNot (needs opset 18: BitwiseNot_0)"
    );
}

#[test]
fn reduce_sum_takes_its_axes_from_an_input_at_13() {
    let noop = Op::Reduce { kind: ReduceKind::Sum, keep_dims: true, noop_with_empty_axes: true };
    let flag = vec![int("noop_with_empty_axes", 1)];
    assert_eq!(op(13, "ReduceSum", vec![int64s("a", &[2])], flag), noop);
    assert_eq!(
        message(13, "ReduceSum", vec![], vec![ints("axes", &[2])]),
        "unsupported: ReduceSum (attribute axes is unknown at opset 13: ReduceSum_0)"
    );
    let graph = read(&one(17, "ReduceL2", vec![], vec![ints("axes", &[-1])])).unwrap();
    assert_eq!(graph.const_input(&graph.nodes[0], 1), Some(&tq_graph::Tensor::vector(vec![-1i64])));
    // Written at either side of the change, it is read as it was.
    for opset in [13, 18] {
        let bytes = export_bytes(&graph, &ExportOptions::at(opset)).unwrap();
        let again = import_bytes(&bytes, None).unwrap();
        assert_eq!(again.nodes[0].op, graph.nodes[0].op);
        assert_eq!(again.const_input(&again.nodes[0], 1), graph.const_input(&graph.nodes[0], 1));
    }
}

#[test]
fn updates_are_reduced_from_16_on() {
    let read = |opset: i64, name: &str| {
        let constants = vec![int64s("i", &[0]), zeros("u", &[3, 4, 4])];
        let mut m = one(opset, "ScatterND", constants, vec![text("reduction", name)]);
        graph_of(&mut m).input = vec![info("x", DataType::Float, &["2", "3", "4", "4"])];
        read(&m).map(|mut g| g.nodes.remove(0).op).map_err(|e| e.to_string())
    };
    assert_eq!(read(16, "add"), Ok(Op::ScatterND { reduction: ScatterReduction::Add }));
    assert_eq!(read(18, "min"), Ok(Op::ScatterND { reduction: ScatterReduction::Min }));
    let refused = |opset: i64, name: &str| read(opset, name).unwrap_err();
    assert_eq!(
        refused(15, "add"),
        "unsupported: ScatterND (attribute reduction is unknown at opset 15: ScatterND_0)"
    );
    assert_eq!(refused(17, "max"), "unsupported: ScatterND (reduction max needs opset 18: ScatterND_0)");
    assert_eq!(refused(18, "mean"), "node ScatterND_0 (ScatterND): reduction is \"mean\"");
}

#[test]
fn what_an_operator_set_does_not_have_is_not_written() {
    let refused = |source: &ModelProto, opset: i64| {
        let graph = read(source).unwrap();
        export_bytes(&graph, &ExportOptions::at(opset)).unwrap_err().to_string()
    };
    let gelu = one(20, "Gelu", vec![], vec![]);
    assert_eq!(refused(&gelu, 19), "node Gelu_0 (Gelu) needs opset 20, not 19: the operator");
    let mish = one(18, "Mish", vec![], vec![]);
    assert_eq!(refused(&mish, 13), "node Mish_0 (Mish) needs opset 18, not 13: the operator");
    let blocks = |attributes| message(13, "DepthToSpace", vec![], attributes);
    assert_eq!(blocks(vec![]), "node DepthToSpace_0 (DepthToSpace): blocksize is missing");
    assert_eq!(blocks(vec![int("blocksize", 0)]), "node DepthToSpace_0 (DepthToSpace): blocksize is 0");
}
