//! Sessions as such: errors, plans, threads, memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_qtypes::DType;
use tq_runtime::{Execution, RuntimeError, Session, SessionOptions, judge};

/// A small network with most kinds of operators: two convolutions, a depthwise one, a sum, pools, a table, a product.
fn network() -> Graph {
    let mut b = Build::new();
    let shape = vec![Dim::symbol("N"), 3usize.into(), Dim::symbol("H"), Dim::symbol("W")];
    let x = b.g.add_input("image", DType::F32, shape);
    let p = u8p(0.023, 121);
    let x = b.qdq(x, p);
    let mut numbers = Numbers(11);
    let mut conv = |b: &mut Build, x, dims: [usize; 4], groups, pad: usize, stride: usize, out: P| {
        let codes = Tensor::new(&dims, numbers.i8s(dims.iter().product())).unwrap();
        let k = dims[1..].iter().product::<usize>() as f32;
        let w = b.weights(codes, vec![0.013 / k.sqrt(); dims[0]], vec![0; dims[0]], 0);
        let attrs = conv_attrs(&[stride; 2], &[1; 2], &[pad; 2], &[pad; 2], groups);
        let y = b.node(Op::Conv(attrs), &[x, w]);
        let y = b.node(Op::Unary(UnaryOp::Relu), &[y]);
        b.qdq(y, out)
    };
    let q = u8p(0.011, 0);
    let x = conv(&mut b, x, [8, 3, 3, 3], 1, 1, 1, q);
    let y = conv(&mut b, x, [8, 1, 3, 3], 8, 1, 1, q);
    let y = conv(&mut b, y, [8, 8, 1, 1], 1, 0, 1, q);
    let z = b.node(Op::Binary(BinaryOp::Add), &[x, y]);
    let z = b.qdq(z, u8p(0.019, 0));
    let z = conv(&mut b, z, [8, 8, 3, 3], 1, 1, 2, q);
    let z = b.node(Op::Unary(UnaryOp::HardSwish), &[z]);
    let z = b.qdq(z, u8p(0.01, 10));
    let z = b.node(Op::GlobalAveragePool, &[z]);
    let z = b.qdq(z, u8p(0.005, 10));
    let z = b.node(Op::Flatten { axis: 1 }, &[z]);
    let z = b.qdq(z, u8p(0.005, 10));
    let w = b.weights(Tensor::new(&[8, 10], Numbers(2).i8s(80)).unwrap(), vec![0.004], vec![0], 1);
    let z = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false }, &[z, w]);
    b.finish(z)
}

fn image(dims: &[usize], seed: u64) -> Tensor {
    let mut numbers = Numbers(seed);
    Tensor::new(dims, (0..dims.iter().product()).map(|_| numbers.real() * 6.0 - 3.0).collect::<Vec<f32>>())
        .unwrap()
}

#[test]
fn wrong_inputs_are_one_line_that_names_them() {
    let session = scalar(&network());
    let message = |r: Result<Vec<Tensor>, RuntimeError>| r.unwrap_err().to_string();
    assert_eq!(message(session.run(&[])), "0 inputs given, the graph has 1: image");
    let wrong = Tensor::new(&[1, 3, 8, 8], vec![0u8; 192]).unwrap();
    assert_eq!(message(session.run(&[wrong])), "input image: expected f32, got u8");
    assert_eq!(
        message(session.run(&[image(&[1, 4, 8, 8], 1)])),
        "input image: expected shape [N, 3, H, W], got [1, 4, 8, 8]"
    );
    assert!(message(session.run(&[image(&[1, 3, 8], 1)])).contains("got [1, 3, 8]"));
    let x = image(&[1, 3, 8, 8], 1);
    assert!(message(session.run_named(&[("picture", x.clone())])).starts_with("input picture: is no input"));
    assert!(
        message(session.run_named(&[("image", x.clone()), ("image", x.clone())])).contains("given twice")
    );
    assert!(message(session.run_named(&[])).contains("input image: is not given"));
    assert_eq!(
        session.run_named(&[("image", x.clone())]).unwrap(),
        session.run(std::slice::from_ref(&x)).unwrap()
    );
    let e = session.run_into(&[x], &mut []).unwrap_err();
    assert_eq!(e, RuntimeError::OutputCount { expected: 1, got: 0 });
}

#[test]
fn one_symbol_stands_for_one_number() {
    let mut b = Build::new();
    let shape = || vec![Dim::symbol("N"), 4usize.into()];
    let (x, y) = (b.g.add_input("x", DType::F32, shape()), b.g.add_input("y", DType::F32, shape()));
    let z = b.node(Op::Binary(BinaryOp::Add), &[x, y]);
    let session = scalar(&b.finish(z));
    let two = Tensor::new(&[2, 4], vec![1.0f32; 8]).unwrap();
    let three = Tensor::new(&[3, 4], vec![1.0f32; 12]).unwrap();
    assert!(session.run(&[two.clone(), two.clone()]).is_ok());
    let e = session.run(&[two, three]).unwrap_err().to_string();
    assert!(e.contains('y') && e.contains('3'), "{e}");
}

#[test]
fn plans_are_kept_for_as_many_shapes_as_allowed() {
    let graph = network();
    let options = SessionOptions { max_plans: 2, ..SessionOptions::default() };
    let session = Session::new(&graph, options).unwrap();
    let reference = scalar(&graph);
    for round in 0..2 {
        for dims in [[1, 3, 8, 8], [3, 3, 7, 9], [1, 3, 16, 5], [1, 3, 8, 8]] {
            let x = [image(&dims, round)];
            assert_eq!(session.run(&x).unwrap(), reference.run(&x).unwrap());
            assert!(session.memory().plans.len() <= 2);
        }
    }
    let memory = session.memory();
    assert_eq!(memory.plans.last().unwrap().input_shapes, [vec![1, 3, 8, 8]]);
    assert!(memory.packed_weights > 8 * 27 + 8 * 8 * 9);
    assert!(memory.plans[0].arena < memory.plans[0].unshared, "slots are shared: {memory:?}");
    assert_eq!(session.explain().input_shapes, [vec![1, 3, 8, 8]]);
}

#[test]
fn all_of_a_quantized_network_runs_in_integers() {
    let session = scalar(&network());
    let explanation = session.explain();
    assert_eq!(explanation.input_shapes, [vec![1, 3, 1, 1]]);
    assert!(explanation.floats().next().is_none(), "{explanation}");
    assert!(explanation.reproducible());
    assert!(explanation.kernels().len() >= 4, "{explanation}");
    let x = [image(&[2, 3, 12, 12], 5)];
    session.run(&x).unwrap();
    let explanation = session.explain();
    let macs: u64 = 2 * (144 * 8 * 27 + 144 * 8 * 9 + 144 * 8 * 8 + 36 * 8 * 72 + 80);
    assert_eq!(explanation.macs(), (macs, 0));
    assert!(explanation.to_string().contains("GlobalAveragePool"));
    let report = judge(&session, &x).unwrap();
    assert_eq!(report.operators.len(), 9, "{report}");
    assert!(report.holds(), "{report}");
}

#[test]
fn two_threads_share_a_session() {
    if common::threads::is_serial() {
        eprintln!("SKIPPED: there is one thread");
        return;
    }
    let graph = network();
    let session = Session::new(&graph, SessionOptions::default()).unwrap();
    let reference = scalar(&graph);
    std::thread::scope(|scope| {
        for t in 0..2u64 {
            let (session, reference) = (&session, &reference);
            scope.spawn(move || {
                for i in 0..40 {
                    let dims = [1 + (i % 2) as usize, 3, 8 + (i % 3) as usize, 9];
                    let x = [image(&dims, 100 * t + i)];
                    assert_eq!(session.run(&x).unwrap(), reference.run(&x).unwrap());
                }
            });
        }
    });
}

#[test]
fn outputs_are_written_where_they_fit_and_replaced_where_not() {
    let session = scalar(&network());
    let x = [image(&[2, 3, 8, 8], 3)];
    let expected = session.run(&x).unwrap();
    for start in [
        Tensor::new(&[2, 10], vec![7.0f32; 20]).unwrap(),
        Tensor::new(&[3], vec![7.0f32; 3]).unwrap(),
        Tensor::new(&[2, 10], vec![7u8; 20]).unwrap(),
    ] {
        let kept = start.clone();
        let mut out = [start];
        session.run_into(&x, &mut out).unwrap();
        assert_eq!(out[0], expected[0]);
        assert_ne!(kept, out[0], "a tensor that others hold keeps its elements");
    }
}

#[test]
fn a_graph_of_floats_runs_in_float() {
    let mut b = Build::new();
    let x = b.input(&[1, 2, 4, 4]);
    let w = b.constant(Tensor::new(&[3, 2, 1, 1], vec![0.5f32, -1.0, 0.25, 2.0, 1.0, 1.0]).unwrap());
    let y = b.node(Op::Conv(conv_attrs(&[1, 1], &[1, 1], &[0, 0], &[0, 0], 1)), &[x, w]);
    let y = b.node(Op::Unary(UnaryOp::Sigmoid), &[y]);
    let g = b.finish(y);
    let session = scalar(&g);
    let x = [image(&[2, 2, 4, 4], 1)];
    let expected = tq_eval::Evaluator::new(&g, tq_eval::Precision::F32).unwrap().run(&x).unwrap();
    assert_eq!(session.run(&x).unwrap(), expected);
    let explanation = session.explain();
    assert!(explanation.nodes.iter().all(|n| n.execution == Execution::Float && n.reason.is_some()));
    assert!(!explanation.reproducible());
    assert!(judge(&session, &x).unwrap().operators.is_empty());
}

#[test]
fn inputs_and_constants_may_be_outputs() {
    let mut b = Build::new();
    let x = b.input(&[1, 4]);
    let c = b.constant(Tensor::vector(vec![1.0f32, 2.0]));
    let y = b.node(Op::Unary(UnaryOp::Relu), &[x]);
    b.g.outputs.extend([x, c, y]);
    let g = b.finish(y);
    let session = scalar(&g);
    let x = Tensor::new(&[1, 4], vec![-1.0f32, 1.0, 2.0, -3.0]).unwrap();
    let relu = Tensor::new(&[1, 4], vec![0.0f32, 1.0, 2.0, 0.0]).unwrap();
    let expected = [x.clone(), Tensor::vector(vec![1.0f32, 2.0]), relu.clone(), relu];
    for _ in 0..2 {
        assert_eq!(session.run(std::slice::from_ref(&x)).unwrap(), expected);
        let mut out = [(); 4].map(|()| Tensor::scalar(0.0f32));
        session.run_into(std::slice::from_ref(&x), &mut out).unwrap();
        assert_eq!(out, expected);
    }
}

#[test]
fn empty_batches_give_empty_results() {
    let g = network();
    for session in sessions(&g) {
        let out = session.run(&[image(&[0, 3, 8, 8], 1)]).unwrap();
        assert_eq!(out[0].dims(), [0, 10]);
    }
}

#[test]
fn values_beyond_the_limit_are_an_error_before_anything_is_allocated() {
    let mut b = Build::new();
    let x = b.input(&[1, 1, 4, 4]);
    let x = b.qdq(x, u8p(0.1, 3));
    let pads = b.constant(Tensor::vector(vec![0i64, 0, 1 << 20, 1 << 20, 0, 0, 1 << 20, 1 << 20]));
    let y = b.node(Op::Pad { mode: tq_graph::op::PadMode::Constant }, &[x, pads]);
    let y = b.qdq(y, u8p(0.1, 3));
    let session = scalar(&b.finish(y));
    let e = session.run(&[image(&[1, 1, 4, 4], 1)]).unwrap_err();
    assert!(matches!(e, RuntimeError::TooLarge { .. }), "{e}");
}

#[test]
fn nan_and_infinities_become_the_ends_on_every_kernel() {
    let g = network();
    let mut data = vec![0.5f32; 192];
    data[3] = f32::NAN;
    data[70] = f32::INFINITY;
    data[150] = f32::NEG_INFINITY;
    let x = [Tensor::new(&[1, 3, 8, 8], data).unwrap()];
    let all: Vec<_> = sessions(&g).iter().map(|s| s.run(&x).unwrap()).collect();
    assert!(all.windows(2).all(|w| w[0] == w[1]));
    assert!(all[0][0].as_slice::<f32>().unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn a_warm_run_allocates_nothing() {
    assert_warm_runs_allocate_nothing(&network(), &[image(&[2, 3, 16, 16], 3)]);
}

/// A library without a single kernel.
#[derive(Debug, Default)]
struct Empty(tq_qtypes::CapabilityTable);

impl tq_kernels::KernelLibrary for Empty {
    fn name(&self) -> &'static str {
        "empty"
    }
    fn isa(&self) -> tq_kernels::Isa {
        tq_kernels::Isa::Scalar
    }
    fn capabilities(&self) -> &tq_qtypes::CapabilityTable {
        &self.0
    }
}

#[test]
fn what_a_library_of_the_callers_own_lacks_the_scalar_kernels_run() {
    let g = network();
    let session =
        Session::new(&g, SessionOptions::with_library(std::sync::Arc::new(Empty::default()))).unwrap();
    let x = [image(&[1, 3, 8, 8], 1)];
    assert_eq!(session.run(&x).unwrap(), scalar(&g).run(&x).unwrap());
    assert_eq!(session.explain().library, "empty");
    assert_eq!(session.explain().kernels(), scalar(&g).explain().kernels());
    let conv = session.explain().nodes.into_iter().find(|n| n.op == "Conv").unwrap();
    let reason = conv.reason.unwrap();
    assert!(
        reason.contains("library empty has no kernel for") && reason.contains("library scalar"),
        "{reason}"
    );
    let own = scalar(&g).explain().nodes;
    assert!(own.iter().all(|n| n.kernel.is_none() || n.reason.is_none()), "{own:?}");
}

#[test]
fn long_chains_of_conversions_are_no_deep_recursion() {
    let mut b = Build::new();
    let mut x = b.input(&[1, 3]);
    for i in 0..6_000 {
        x = b.qdq(x, if i % 2 == 0 { u8p(0.1, 7) } else { i8p(0.11, -3) });
    }
    let session = scalar(&b.finish(x));
    for n in [0, 2] {
        let out = session.run(&[Tensor::new(&[n, 3], vec![1.0f32; 3 * n]).unwrap()]).unwrap();
        assert_eq!(out[0].dims(), [n, 3]);
    }
}

#[test]
fn a_profile_tells_the_time_of_every_node_that_runs() {
    let session = scalar(&network());
    let x = image(&[2, 3, 16, 16], 5);
    let profile = session.profile(std::slice::from_ref(&x), 3).unwrap();
    assert_eq!((profile.runs, profile.input_shapes.as_slice()), (3, [vec![2, 3, 16, 16]].as_slice()));
    let heavy: Vec<_> = profile.nodes.iter().filter(|n| n.macs > 0).collect();
    assert_eq!(heavy.len(), 5, "{profile:?}");
    assert!(heavy.iter().all(|n| n.seconds > 0.0 && n.kernel.is_some() && n.depths.is_none()));
    // Behind a ReLU codes begin at 0 and reach far; the largest is that of the tensor that the tap shows.
    let mut largest = std::collections::HashMap::new();
    session
        .run_tapped(&[x], &mut |tap| {
            let codes =
                tap.inputs.iter().filter_map(|t| t.as_slice::<u8>().ok()?.iter().max().copied()).max();
            largest.insert(tap.graph.node(tap.operator.node).name.clone(), codes);
        })
        .unwrap();
    for n in heavy {
        assert_eq!(Some(&n.largest_code), largest.get(&n.node), "{}", n.node);
    }
    let (sum, slowest) = (profile.nodes.iter().map(|n| n.seconds).sum::<f64>(), profile.slowest());
    assert!(slowest[0].seconds >= slowest[1].seconds && sum > 0.0);
    assert!(session.profile(&[], 3).is_err());
}

/// On AVX2, the kernels of which add products in 16 bits where that is proved exact.
#[cfg(target_arch = "x86_64")]
#[test]
fn layers_say_which_sequences_are_proved_exact() {
    let token = tq_x86::Avx2::detect();
    if !tq_kernels::Isa::Avx2.exercise(token.is_some()).unwrap() {
        return;
    }
    let library = std::sync::Arc::new(tq_x86::Avx2Library::new(token.unwrap()));
    let session = Session::new(&network(), SessionOptions::with_library(library)).unwrap();
    let explanation = session.explain();
    let with: Vec<_> = explanation.nodes.iter().filter_map(|n| n.depths).collect();
    // Three convolutions and the linear layer; the depthwise one multiplies otherwise.
    assert_eq!(with.len(), 4, "{explanation}");
    for depths in with {
        for d in [depths.any_codes, depths.codes_to_127] {
            assert!((d.two_deep + d.one_deep + d.plain - 1.0).abs() < 1e-12, "{d:?}");
        }
        // One deep is exact for all weights where codes are at most 127.
        assert!(depths.codes_to_127.plain == 0.0 && depths.any_codes.plain > 0.0, "{depths:?}");
    }
    assert!(explanation.to_string().contains("% one deep"), "{explanation}");
    let profile = session.profile(&[image(&[1, 3, 16, 16], 5)], 1).unwrap();
    assert_eq!(profile.nodes.iter().filter(|n| n.depths.is_some()).count(), 4);
}
