//! Whole graphs: checks of inputs, taps, limits, the judge's precision.

#![allow(clippy::unwrap_used)]

use half::f16;
use tq_eval::{EvalError, Evaluator, OpError, Precision};
use tq_graph::dim::shape_of;
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;

fn quantize() -> Op {
    Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true }
}

fn dequantize() -> Op {
    Op::DequantizeLinear { axis: 1, block_size: 0 }
}

/// `y = relu(a + b)` over shapes `[N, 2]` and `[N, 2 * N]`-like symbols.
fn sum() -> Graph {
    let mut g = Graph::new("sum");
    let n = Dim::symbol("N");
    let a = g.add_input("a", DType::F32, vec![n.clone(), Dim::from(2usize)]);
    let b = g.add_input("b", DType::F32, vec![n, Dim::from(2usize)]);
    let s = g.add_node("add", Op::Binary(BinaryOp::Add), &[a, b], "s");
    let y = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[s], "y");
    g.outputs.push(y);
    g
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::new(dims, vec![0.0f32; dims.iter().product()]).unwrap()
}

#[test]
fn inputs_are_checked_and_named() {
    let e = Evaluator::new(&sum(), Precision::F32).unwrap();
    let message = |inputs: &[Tensor]| e.run(inputs).unwrap_err().to_string();
    assert!(e.run(&[zeros(&[3, 2]), zeros(&[3, 2])]).is_ok());
    assert!(e.run(&[zeros(&[0, 2]), zeros(&[0, 2])]).is_ok());
    assert_eq!(e.run(&[zeros(&[3, 2])]), Err(EvalError::InputCount { expected: 2, got: 1 }));
    assert_eq!(message(&[zeros(&[3, 2]), zeros(&[4, 2])]), "input b: dimension 0 is 4, expected N = 3");
    assert_eq!(message(&[zeros(&[3, 1]), zeros(&[3, 2])]), "input a: dimension 1 is 1, expected 2");
    assert_eq!(message(&[zeros(&[3]), zeros(&[3, 2])]), "input a: rank 1 given, 2 expected");
    let wrong = Tensor::new(&[3, 2], vec![0u8; 6]).unwrap();
    assert_eq!(message(&[zeros(&[3, 2]), wrong]), "input b: u8 given, f32 expected");
    // Only the judge takes f64 for f32.
    let wide = Tensor::new(&[1, 2], vec![0.5f64, -1.0]).unwrap();
    assert!(e.run(&[wide.clone(), wide.clone()]).is_err());
    let judge = Evaluator::new(&sum(), Precision::F64).unwrap();
    assert_eq!(judge.run(&[wide.clone(), wide]).unwrap()[0].as_slice::<f64>().unwrap(), [1.0, 0.0]);
}

#[test]
fn dimensions_that_are_expressions_follow_their_symbols() {
    let mut g = Graph::new("double");
    let n = Dim::symbol("N");
    // The expression comes before the symbol it is made of.
    let twice = n.checked_add(&n).unwrap();
    let a = g.add_input("a", DType::F32, vec![twice]);
    let b = g.add_input("b", DType::F32, vec![n]);
    g.outputs = vec![a, b];
    let e = Evaluator::new(&g, Precision::F32).unwrap();
    assert!(e.run(&[zeros(&[6]), zeros(&[3])]).is_ok());
    let error = e.run(&[zeros(&[5]), zeros(&[3])]).unwrap_err();
    assert_eq!(error.to_string(), "input a: dimension 0 is 5, expected 2*N = 6");
}

#[test]
fn taps_see_every_value_once_and_may_stop_the_run() {
    let e = Evaluator::new(&sum(), Precision::F32).unwrap();
    let inputs = [zeros(&[1, 2]), zeros(&[1, 2])];
    let mut seen = Vec::new();
    e.run_tapped(&inputs, &mut |v, t| {
        seen.push((e.graph().value(v).name.clone(), t.dims().to_vec()));
        Ok::<(), EvalError>(())
    })
    .unwrap();
    let names: Vec<&str> = seen.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["a", "b", "s", "y"]);

    #[derive(Debug, PartialEq)]
    struct Stop(ValueId);
    impl From<EvalError> for Stop {
        fn from(e: EvalError) -> Self {
            panic!("{e}")
        }
    }
    let s = e.graph().find_value("s").unwrap();
    let stopped = e.run_tapped(&inputs, &mut |v, _| if v == s { Err(Stop(v)) } else { Ok(()) });
    assert_eq!(stopped, Err(Stop(s)));
}

#[test]
fn errors_name_the_node() {
    let mut g = Graph::new("divide");
    let a = g.add_input("a", DType::I32, shape_of(&[2]));
    let b = g.add_constant("b", Tensor::vector(vec![1i32, 0]));
    let y = g.add_node("quotient", Op::Binary(BinaryOp::Div), &[a, b], "y");
    g.outputs.push(y);
    let e = Evaluator::new(&g, Precision::F32).unwrap();
    let error = e.run(&[Tensor::vector(vec![1i32, 2])]).unwrap_err();
    assert_eq!(error.to_string(), "node quotient (Div): integer division by zero");
}

#[test]
fn a_shape_from_the_data_cannot_take_all_memory() {
    let mut g = Graph::new("fill");
    let shape = g.add_input("shape", DType::I64, shape_of(&[2]));
    let fill = Op::ConstantOfShape { value: Tensor::scalar(1.0f32) };
    let y = g.add_node("fill", fill, &[shape], "y");
    g.outputs.push(y);
    let run = |e: &Evaluator, dims: [i64; 2]| e.run(&[Tensor::vector(dims.to_vec())]);
    let e = Evaluator::new(&g, Precision::F32).unwrap();
    let failed = |r: Result<Vec<Tensor>, EvalError>| match r {
        Err(EvalError::Node { source, .. }) => source,
        other => panic!("{other:?}"),
    };
    assert!(matches!(failed(run(&e, [1 << 40, 1])), OpError::TooLarge { .. }));
    assert!(matches!(failed(run(&e, [i64::MAX, i64::MAX])), OpError::Graph(_)));
    assert!(matches!(failed(run(&e, [-1, 1])), OpError::Shape(_)));
    let small = e.max_tensor_bytes(1000);
    assert!(run(&small, [10, 25]).is_ok());
    assert!(matches!(failed(run(&small, [10, 26])), OpError::TooLarge { limit: 1000, .. }));
}

#[test]
fn the_judge_rounds_only_when_it_quantizes() {
    // codes -> x -> 3x -> codes: in f32 the product rounds, in f64 it is exact.
    let mut g = Graph::new("qdq");
    let q = g.add_input("q", DType::U8, shape_of(&[1]));
    let s = g.add_constant("s", Tensor::scalar(0.1f32));
    let z = g.add_constant("z", Tensor::scalar(7u8));
    let third = g.add_constant("third", Tensor::scalar(1.0f32 / 3.0));
    let x = g.add_node("dq", dequantize(), &[q, s, z], "x");
    let half = g.add_node("to_f16", Op::Cast { to: DType::F16, saturate: true }, &[x], "half");
    let back = g.add_node("to_f32", Op::Cast { to: DType::F32, saturate: true }, &[half], "back");
    let y = g.add_node("mul", Op::Binary(BinaryOp::Mul), &[back, third], "y");
    let c = g.add_node("q", quantize(), &[y, s, z], "c");
    g.outputs = vec![y, c];
    let out = Evaluator::new(&g, Precision::F64).unwrap().run(&[Tensor::vector(vec![250u8])]).unwrap();
    let exact = f64::from(0.1f32) * 243.0 * f64::from(1.0f32 / 3.0);
    assert_eq!(out[0].as_slice::<f64>().unwrap(), [exact]);
    assert_eq!(out[1].as_slice::<u8>().unwrap(), [88]);
    let out = Evaluator::new(&g, Precision::F32).unwrap().run(&[Tensor::vector(vec![250u8])]).unwrap();
    let half = f16::from_f32(243.0 * 0.1f32).to_f32();
    assert_eq!(out[0].as_slice::<f32>().unwrap(), [half * (1.0 / 3.0)]);
}

#[test]
fn broken_graphs_are_refused() {
    let mut g = sum();
    g.nodes.swap(0, 1);
    assert!(matches!(Evaluator::new(&g, Precision::F32), Err(EvalError::Graph(_))));
}

#[test]
fn outputs_may_be_inputs_constants_and_one_value_twice() {
    let mut g = Graph::new("pass");
    let a = g.add_input("a", DType::F32, shape_of(&[2]));
    let c = g.add_constant("c", Tensor::scalar(2.0f32));
    g.outputs = vec![a, c, a];
    let out = Evaluator::new(&g, Precision::F64).unwrap().run(&[Tensor::vector(vec![1.0f32, 2.0])]).unwrap();
    assert_eq!(out[0], out[2]);
    assert_eq!(out[1].as_slice::<f64>().unwrap(), [2.0]);
}

#[test]
fn evaluators_are_shared_between_threads() {
    fn shared<T: Send + Sync>(_: &T) {}
    shared(&Evaluator::new(&sum(), Precision::F32).unwrap());
}
