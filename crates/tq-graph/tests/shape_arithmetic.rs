//! Shape arithmetic as exporters write it disappears.

#![allow(clippy::unwrap_used)]

use tq_graph::infer::{bind, infer, simplify_shapes};
use tq_graph::op::{BinaryOp, CompareOp, PadMode, ReduceKind, UnaryOp, VariadicOp};
use tq_graph::{Dim, Graph, GraphError, Op, Tensor, ValueId};
use tq_qtypes::DType;

fn symbol(name: &str) -> Dim {
    Dim::symbol(name)
}

fn ints(g: &mut Graph, name: &str, values: &[i64]) -> ValueId {
    g.add_constant(name, Tensor::vector(values.to_vec()))
}

fn shape_of(g: &Graph, name: &str) -> String {
    let value = g.value(g.find_value(name).unwrap());
    value.shape.as_ref().map_or("?".into(), |s| {
        let dims: Vec<String> = s.iter().map(Dim::to_string).collect();
        format!("[{}]", dims.join(", "))
    })
}

fn op_names(g: &Graph) -> Vec<&str> {
    g.nodes.iter().map(|n| n.op.name()).collect()
}

/// PyTorch's `x.view(x.size(0), -1)`: Shape, Gather, Unsqueeze, Concat, Reshape.
fn flatten_by_shape() -> Graph {
    let mut g = Graph::new("flatten");
    let x = g.add_input("x", DType::F32, vec![symbol("N"), Dim::from(16i64), symbol("H"), Dim::from(4i64)]);
    let shape = g.add_node("shape", Op::Shape { start: 0, end: None }, &[x], "x_shape");
    let zero = g.add_constant("zero", Tensor::scalar(0i64));
    let n = g.add_node("gather", Op::Gather { axis: 0 }, &[shape, zero], "n");
    let axes = ints(&mut g, "axes", &[0]);
    let n = g.add_node("unsqueeze", Op::Unsqueeze, &[n, axes], "n1");
    let rest = ints(&mut g, "rest", &[-1]);
    let target = g.add_node("concat", Op::Concat { axis: 0 }, &[n, rest], "target");
    let y = g.add_node("reshape", Op::Reshape { allow_zero: false }, &[x, target], "y");
    g.outputs.push(y);
    g
}

#[test]
fn flatten_with_a_symbolic_batch_gets_a_constant_target() {
    let mut g = flatten_by_shape();
    assert_eq!(simplify_shapes(&mut g).unwrap(), 1);
    g.validate().unwrap();
    assert_eq!(op_names(&g), ["Reshape"]);
    assert_eq!(shape_of(&g, "y"), "[N, 64*H]");
    let target = g.const_input(&g.nodes[0], 1).unwrap();
    assert_eq!(target.as_slice::<i64>().unwrap(), [0, -1]);
    assert_eq!(simplify_shapes(&mut g).unwrap(), 0, "a second time changes nothing");
}

#[test]
fn binding_makes_everything_known() {
    let g = flatten_by_shape();
    let bound = bind(&g, &[vec![2, 16, 5, 4]]).unwrap();
    assert_eq!(op_names(&bound), ["Reshape"]);
    assert_eq!(shape_of(&bound, "y"), "[2, 320]");
    let target = bound.const_input(&bound.nodes[0], 1).unwrap();
    assert_eq!(target.as_slice::<i64>().unwrap(), [2, -1]);
}

/// PyTorch's Pad at opset 13: pads (last axis first) are filled up with zeros, reversed in pairs and flattened.
#[test]
fn the_pad_chain_of_torch_becomes_one_constant() {
    let mut g = Graph::new("pad");
    let x =
        g.add_input("x", DType::F32, vec![symbol("N"), Dim::from(3i64), Dim::from(8i64), Dim::from(8i64)]);
    let given = ints(&mut g, "given", &[0, 1, 2, 3]);
    let missing = ints(&mut g, "missing", &[4]);
    let fill = Op::ConstantOfShape { value: Tensor::vector(vec![0i64]) };
    let zeros = g.add_node("zeros", fill, &[missing], "zeros");
    let all = g.add_node("all", Op::Concat { axis: 0 }, &[given, zeros], "all_pads");
    let pair = ints(&mut g, "pair", &[-1, 2]);
    let pairs = g.add_node("pairs", Op::Reshape { allow_zero: false }, &[all, pair], "pairs_out");
    let (start, end) = (ints(&mut g, "start", &[-1]), ints(&mut g, "end", &[i64::MIN + 1]));
    let (axis, step) = (ints(&mut g, "axis", &[0]), ints(&mut g, "step", &[-1]));
    let back = g.add_node("reverse", Op::Slice, &[pairs, start, end, axis, step], "reversed");
    let turn = Op::Transpose { perm: Some(vec![1, 0]) };
    let turned = g.add_node("turn", turn, &[back], "turned");
    let flat = ints(&mut g, "flat", &[-1]);
    let pads = g.add_node("flatten", Op::Reshape { allow_zero: false }, &[turned, flat], "flat_pads");
    let cast = Op::Cast { to: DType::I64, saturate: true };
    let pads = g.add_node("cast", cast, &[pads], "pads");
    let y = g.add_node("pad", Op::Pad { mode: PadMode::Constant }, &[x, pads], "y");
    g.outputs.push(y);
    simplify_shapes(&mut g).unwrap();
    assert_eq!(op_names(&g), ["Pad"]);
    assert_eq!(
        g.constant(g.find_value("pads").unwrap()).unwrap().as_slice::<i64>().unwrap(),
        [0, 0, 2, 0, 0, 0, 3, 1]
    );
    assert_eq!(shape_of(&g, "y"), "[N, 3, 13, 9]");
}

#[test]
fn outputs_that_become_constants_stay_outputs() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", DType::F32, vec![symbol("N"), Dim::from(3i64)]);
    let s = g.add_node("shape", Op::Shape { start: 1, end: None }, &[x], "c");
    let two = ints(&mut g, "two", &[2]);
    let s = g.add_node("twice", Op::Binary(BinaryOp::Mul), &[s, two], "c2");
    let cast = Op::Cast { to: DType::I32, saturate: true };
    let s = g.add_node("narrow", cast, &[s], "c2_i32");
    g.outputs.push(s);
    assert_eq!(simplify_shapes(&mut g).unwrap(), 3);
    g.validate().unwrap();
    assert!(g.nodes.is_empty());
    assert_eq!(g.value(g.outputs[0]).name, "c2_i32");
    assert_eq!(g.constant(g.outputs[0]).unwrap().as_slice::<i32>().unwrap(), [6]);
    assert_eq!(g.inputs.len(), 1);
}

#[test]
fn several_symbolic_dimensions_are_copied() {
    // [N, C, H, W] -> [N, C, H*W] by arithmetic, and back to what cannot be said with 0 and -1.
    let mut g = Graph::new("g");
    let x = g.add_input("x", DType::F32, vec![symbol("N"), symbol("C"), symbol("H"), symbol("W")]);
    let front = g.add_node("front", Op::Shape { start: 0, end: Some(2) }, &[x], "front_out");
    let h = g.add_node("h", Op::Shape { start: 2, end: Some(3) }, &[x], "h_out");
    let w = g.add_node("w", Op::Shape { start: -1, end: None }, &[x], "w_out");
    let area = g.add_node("area", Op::Binary(BinaryOp::Mul), &[h, w], "area_out");
    let target = g.add_node("target", Op::Concat { axis: 0 }, &[front, area], "target_out");
    let y = g.add_node("reshape", Op::Reshape { allow_zero: true }, &[x, target], "y");
    let other = g.add_node("other", Op::Concat { axis: 0 }, &[area, front], "other_out");
    let z = g.add_node("again", Op::Reshape { allow_zero: false }, &[y, other], "z");
    g.outputs.extend([y, z]);
    assert_eq!(simplify_shapes(&mut g).unwrap(), 1);
    g.validate().unwrap();
    assert_eq!(shape_of(&g, "y"), "[N, C, H*W]");
    assert_eq!(shape_of(&g, "z"), "[H*W, N, C]");
    let reshape = g.nodes.iter().find(|n| n.name == "reshape").unwrap();
    assert_eq!(reshape.op, Op::Reshape { allow_zero: false });
    assert_eq!(g.const_input(reshape, 1).unwrap().as_slice::<i64>().unwrap(), [0, 0, -1]);
    let bound = bind(&g, &[vec![2, 3, 4, 5]]).unwrap();
    assert_eq!(op_names(&bound), ["Reshape", "Reshape"]);
    assert_eq!((shape_of(&bound, "y"), shape_of(&bound, "z")), ("[2, 3, 20]".into(), "[20, 2, 3]".into()));
}

#[test]
fn bad_bindings_are_named() {
    let mut g = Graph::new("g");
    let a = g.add_input("a", DType::F32, vec![symbol("N"), Dim::from(3i64)]);
    let b = g.add_input("b", DType::F32, vec![symbol("N"), Dim::from(1i64)]);
    let y = g.add_node("sum", Op::Binary(BinaryOp::Add), &[a, b], "y");
    let y = g.add_node("act", Op::Unary(UnaryOp::Relu), &[y], "z");
    g.outputs.push(y);
    infer(&mut g).unwrap();
    assert_eq!(shape_of(&g, "z"), "[N, 3]");
    let message = |inputs: &[Vec<usize>]| match bind(&g, inputs) {
        Err(e @ GraphError::Input { .. }) => e.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(message(&[vec![2, 3]]), "input a, b: 1 shapes given for 2 inputs");
    assert_eq!(message(&[vec![2, 3], vec![2]]), "input b: shape [2] has rank 1, expected 2 as in [N, 1]");
    assert_eq!(
        message(&[vec![2, 4], vec![2, 1]]),
        "input a: axis 1 of shape [2, 4] has 4 elements, expected 3"
    );
    assert_eq!(
        message(&[vec![2, 3], vec![5, 1]]),
        "input b: axis 0 of shape [5, 1] makes N 5, but input a makes it 2"
    );
    assert!(message(&[vec![usize::MAX, 3], vec![usize::MAX, 1]]).contains("too large"));
    assert_eq!(shape_of(&bind(&g, &[vec![0, 3], vec![0, 1]]).unwrap(), "z"), "[0, 3]");
}

/// PyTorch's `x.expand(N, -1, M)`: -1 is replaced by 1, by way of a comparison.
#[test]
fn the_expand_chain_of_torch_knows_its_shape() {
    let mut g = Graph::new("expand");
    let x = g.add_input("x", DType::F32, vec![Dim::from(1i64), symbol("L"), Dim::from(1i64)]);
    let like = g.add_input("like", DType::F32, vec![symbol("N"), symbol("M")]);
    let wanted = g.add_node("like_shape", Op::Shape { start: 0, end: None }, &[like], "wanted");
    let (first, last) = (ints(&mut g, "first", &[0]), ints(&mut g, "last", &[1]));
    let n = g.add_node("n", Op::Gather { axis: 0 }, &[wanted, first], "n_out");
    let m = g.add_node("m", Op::Gather { axis: 0 }, &[wanted, last], "m_out");
    let keep = ints(&mut g, "keep", &[-1]);
    let target = g.add_node("target", Op::Concat { axis: 0 }, &[n, keep, m], "target_out");
    let three = ints(&mut g, "three", &[3]);
    let fill = Op::ConstantOfShape { value: Tensor::vector(vec![1i64]) };
    let ones = g.add_node("ones", fill, &[three], "ones_out");
    let minus = g.add_node("minus", Op::Binary(BinaryOp::Mul), &[ones, keep], "minus_out");
    let is_keep = g.add_node("equal", Op::Compare(CompareOp::Equal), &[target, minus], "equal_out");
    let target = g.add_node("where", Op::Where, &[is_keep, ones, target], "where_out");
    let y = g.add_node("expand", Op::Expand, &[x, target], "y");
    g.outputs.push(y);
    simplify_shapes(&mut g).unwrap();
    g.validate().unwrap();
    assert_eq!(shape_of(&g, "y"), "[N, L, M]");
    // The comparison is gone; what is left of the target is what only the run tells.
    assert!(!op_names(&g).contains(&"Equal"), "{g}");
    assert_eq!(shape_of(&bind(&g, &[vec![1, 5, 1], vec![2, 7]]).unwrap(), "y"), "[2, 5, 7]");
}

#[test]
fn counting_and_choosing_sizes_is_followed() {
    let mut g = Graph::new("counts");
    let x = g.add_input("x", DType::F32, vec![symbol("N"), symbol("L"), Dim::from(6i64)]);
    let shape = g.add_node("shape", Op::Shape { start: 0, end: None }, &[x], "shape_out");
    let (zero, one) =
        (g.add_constant("zero", Tensor::scalar(0i64)), g.add_constant("one", Tensor::scalar(1i64)));
    let four = g.add_constant("four", Tensor::scalar(4i64));
    let l = g.add_node("l", Op::Gather { axis: 0 }, &[shape, one], "l_out");
    let positions = g.add_node("range", Op::Range, &[zero, l, one], "positions");
    let more = g.add_node("more", Op::Binary(BinaryOp::Add), &[l, four], "more_out");
    let window = g.add_node("window", Op::Range, &[l, more, one], "window_out");
    let all = Op::Reduce { kind: ReduceKind::Prod, keep_dims: false, noop_with_empty_axes: false };
    let numel = g.add_node("numel", all, &[shape], "numel_out");
    let size = g.add_node("size", Op::Size, &[x], "size_out");
    let same = g.add_node("same", Op::Compare(CompareOp::Equal), &[numel, size], "same_out");
    let most = g.add_node("most", Op::Variadic(VariadicOp::Max), &[more, l, zero], "most_out");
    let grows = g.add_node("grows", Op::Compare(CompareOp::Greater), &[more, l], "grows_out");
    let unsure = g.add_node("unsure", Op::Compare(CompareOp::Greater), &[l, four], "unsure_out");
    let rest = g.add_node("rest", Op::Binary(BinaryOp::Mod { fmod: false }), &[l, four], "rest_out");
    let axes = ints(&mut g, "axes", &[0]);
    let as_shape = |g: &mut Graph, v: ValueId, name: &str| {
        let one = g.add_node(format!("{name}_1"), Op::Unsqueeze, &[v, axes], format!("{name}_1_out"));
        let fill = Op::ConstantOfShape { value: Tensor::vector(vec![0i64]) };
        g.add_node(format!("{name}_fill"), fill, &[one], format!("{name}_shaped"))
    };
    for (v, name) in [(most, "most"), (rest, "rest")] {
        let shaped = as_shape(&mut g, v, name);
        g.outputs.push(shaped);
    }
    g.outputs.extend([positions, window, same, grows, unsure]);
    simplify_shapes(&mut g).unwrap();
    let truth =
        |name: &str| g.constant(g.find_value(name).unwrap()).map(|t| t.as_slice::<bool>().unwrap().to_vec());
    assert_eq!((shape_of(&g, "positions"), shape_of(&g, "window_out")), ("[L]".into(), "[4]".into()));
    assert_eq!((truth("same_out"), truth("grows_out")), (Some(vec![true]), Some(vec![true])));
    assert_eq!(truth("unsure_out"), None, "L may be 4 or less");
    assert_eq!(
        (shape_of(&g, "most_shaped"), shape_of(&g, "rest_shaped")),
        ("[L + 4]".into(), "[-4*floor((L)/(4)) + L]".into())
    );
    let bound = bind(&g, &[vec![2, 7, 6]]).unwrap();
    assert_eq!(
        (shape_of(&bound, "rest_shaped"), shape_of(&bound, "positions")),
        ("[3]".into(), "[7]".into())
    );
}
