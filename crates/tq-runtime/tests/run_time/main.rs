//! Activations quantized while the network runs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod convolution;
mod golden;
#[path = "../common/threads.rs"]
mod threads;

use tq_eval::{Evaluator, Precision};
use tq_graph::op::{Activation, BinaryOp, Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Dim, Graph, Node, Op, Tensor, ValueId, builder};
use tq_kernels::Isa;
use tq_onnx::{ExportOptions, export_bytes, import_bytes};
use tq_passes::module_type::{LSTM, Linear};
use tq_passes::{
    BackendConfig, QConfigDict, Recipe, convert, default_dynamic_qconfig,
    default_per_channel_weight_observer, pytorch_dynamic_qconfig, quantize_dynamic, quantize_fx,
};
use tq_qtypes::{DType, DynamicFormula, OperatorKind};
use tq_runtime::{Execution, Session, SessionOptions, judge};

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }
    fn tensor(&mut self, dims: &[usize], scale: f32) -> Tensor {
        let one = |n: &mut Self| (n.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0) * scale;
        Tensor::new(dims, (0..dims.iter().product()).map(|_| one(self)).collect()).unwrap()
    }
}

/// Runs on the best kernels and on scalar ones, in one thread and in several: the same bits. Held to the judge.
fn run(graph: &Graph, x: &[Tensor]) -> (Session, Vec<Tensor>) {
    threads::prepare();
    let best = Session::new(graph, SessionOptions::default()).unwrap();
    let scalar = Session::new(graph, SessionOptions::with_isa(Isa::Scalar)).unwrap();
    let y = best.run(x).unwrap();
    assert!(y == scalar.run(x).unwrap(), "kernels differ");
    assert!(y == threads::on(1, || best.run(x)).unwrap(), "threads differ");
    let verdict = judge(&best, x).unwrap();
    assert!(verdict.holds(), "{verdict}");
    (best, y)
}

fn integer(session: &Session, op: &str) -> usize {
    let nodes = session.explain().nodes;
    nodes.iter().filter(|n| n.op == op && n.execution == Execution::Integer).count()
}

#[test]
fn products_that_read_one_tensor_share_its_codes_and_are_the_evaluator_bit_for_bit() {
    let mut n = Numbers(1);
    let mut g = Graph::new("attention");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), Dim::symbol("T"), 24usize.into()]);
    let mut outs = Vec::new();
    for name in ["q", "k", "v"] {
        let w = g.add_constant(format!("{name}.w"), n.tensor(&[24, 17], 0.5));
        let b = g.add_constant(format!("{name}.b"), n.tensor(&[17], 1.0));
        let product = g.add_node(format!("{name}.MatMul"), Op::MatMul, &[x, w], format!("{name}.p"));
        let sum = Op::Binary(BinaryOp::Add);
        outs.push(g.add_node(format!("{name}.Add"), sum, &[product, b], format!("{name}.y")));
    }
    g.outputs = outs;
    for qconfig in [default_dynamic_qconfig(), pytorch_dynamic_qconfig()] {
        let quantized = quantize_dynamic(g.clone(), qconfig, DType::I8).unwrap();
        let count = |name: &str| quantized.graph.nodes.iter().filter(|n| n.op.name() == name).count();
        assert_eq!([count("DynamicQuantizeLinear"), count("MatMulInteger"), count("MatMul")], [1, 3, 0]);
        for (batch, steps, scale) in [(1, 1, 1.0), (3, 5, 30.0), (2, 2, 0.0), (2, 2, 1e-38), (1, 2, 1e30)] {
            let x = [n.tensor(&[batch, steps, 24], scale)];
            let (session, y) = run(&quantized.graph, &x);
            assert_eq!(integer(&session, "MatMulInteger"), 3, "{}", session.explain());
            assert_eq!(session.explain().macs().1, 0);
            assert!(session.explain().reproducible());
            assert_eq!(y, Evaluator::new(&quantized.graph, Precision::F32).unwrap().run(&x).unwrap());
        }
    }
    // What has no parameters by FBGEMM's formula is an error that names the node; ONNX's takes anything.
    let bad = [Tensor::new(&[1, 1, 24], vec![f32::INFINITY; 24]).unwrap()];
    let fbgemm = quantize_dynamic(g.clone(), pytorch_dynamic_qconfig(), DType::I8).unwrap();
    let error =
        Session::new(&fbgemm.graph, SessionOptions::default()).unwrap().run(&bad).unwrap_err().to_string();
    assert!(error.contains("x_DynamicQuantizeLinear"), "{error}");
    let onnx = quantize_dynamic(g, default_dynamic_qconfig(), DType::I8).unwrap();
    Session::new(&onnx.graph, SessionOptions::default()).unwrap().run(&bad).unwrap();
    // ONNX has no words for the other formula, and the error names the node.
    let error = export_bytes(&fbgemm.graph, &ExportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("x_DynamicQuantizeLinear") && error.contains("fbgemm-reduce-range"), "{error}");
    let read = import_bytes(&export_bytes(&onnx.graph, &ExportOptions::default()).unwrap(), None).unwrap();
    let x = [n.tensor(&[2, 3, 24], 2.0)];
    assert_eq!(run(&read, &x).1, run(&onnx.graph, &x).1);
}

/// The form that other quantizers write: weights u8 or i8, zero points one or many, Mul operands either way round.
#[test]
fn products_in_the_form_of_other_quantizers_are_integer() {
    let mut n = Numbers(2);
    for case in 0..16 {
        let (per_channel, unsigned, swapped, biased) =
            (case & 1 > 0, case & 2 > 0, case & 4 > 0, case & 8 > 0);
        let count = if per_channel { 5 } else { 1 };
        let mut g = Graph::new("net");
        let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 9usize.into()]);
        let values: Vec<ValueId> = ["q", "s", "z"].iter().map(|v| g.add_value(*v, None, None)).collect();
        g.nodes.push(Node {
            name: "dql".into(),
            op: Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
            inputs: vec![Some(x)],
            outputs: values.iter().map(|v| Some(*v)).collect(),
        });
        let shape: &[usize] = if per_channel { &[5] } else { &[] };
        let (w, z) = if unsigned {
            let mut codes = |k: usize| (0..k).map(|_| n.below(256) as u8).collect::<Vec<_>>();
            (Tensor::new(&[9, 5], codes(45)).unwrap(), Tensor::new(shape, codes(count)).unwrap())
        } else {
            let mut codes = |k: usize| (0..k).map(|_| n.below(256) as u8 as i8).collect::<Vec<_>>();
            (Tensor::new(&[9, 5], codes(45)).unwrap(), Tensor::new(shape, codes(count)).unwrap())
        };
        let scales = Tensor::new(shape, (0..count).map(|i| 0.01 * (i + 1) as f32).collect()).unwrap();
        let (w, z, sw) = (g.add_constant("w", w), g.add_constant("wz", z), g.add_constant("sw", scales));
        let mul = Op::Binary(BinaryOp::Mul);
        let order = |a: ValueId, b: ValueId| if swapped { [b, a] } else { [a, b] };
        // The scales come first here: parts of the operator stand before its heart.
        let scale = g.add_node("scales", mul.clone(), &order(values[1], sw), "scales");
        let sums = g.add_node("product", Op::MatMulInteger, &[values[0], w, values[2], z], "sums");
        let real = g.add_node("cast", Op::Cast { to: DType::F32, saturate: true }, &[sums], "real");
        let mut y = g.add_node("mul", mul, &order(real, scale), "scaled");
        if biased {
            let b = g.add_constant("b", n.tensor(&[5], 1.0));
            y = g.add_node("add", Op::Binary(BinaryOp::Add), &order(y, b), "y");
        }
        g.outputs.push(y);
        let x = [n.tensor(&[3, 9], 4.0)];
        let (session, y) = run(&g, &x);
        assert_eq!(integer(&session, "MatMulInteger"), 1, "case {case}: {}", session.explain());
        assert_eq!(session.explain().floats().count(), 0, "case {case}: {}", session.explain());
        assert_eq!(y, Evaluator::new(&g, Precision::F32).unwrap().run(&x).unwrap(), "case {case}");
    }
}

/// A recurrent layer with everything that ONNX lets it have, as chance wants it.
fn layer(n: &mut Numbers, kind: RecurrentKind) -> (Graph, Vec<Tensor>) {
    let sizes = (1 + n.below(6), 1 + n.below(5), 1 + n.below(9), 1 + n.below(19));
    layer_of(n, kind, sizes)
}

/// The same with so many steps, samples, inputs and elements of the state.
fn layer_of(
    n: &mut Numbers,
    kind: RecurrentKind,
    (steps, batch, input, hidden): (usize, usize, usize, usize),
) -> (Graph, Vec<Tensor>) {
    let direction = [Direction::Forward, Direction::Reverse, Direction::Bidirectional][n.below(3)];
    let d = direction.count();
    let batch_first = n.flag();
    let activations = if n.flag() {
        kind.default_activations().repeat(d)
    } else {
        let some = [Activation::Tanh, Activation::Sigmoid, Activation::Softsign];
        (0..d * kind.default_activations().len()).map(|_| some[n.below(3)]).collect()
    };
    let clip = (n.below(4) == 0).then_some(0.7);
    let attrs =
        RecurrentAttrs { hidden_size: hidden, direction, activations, clip, batch_first, dynamic: None };
    let rows = kind.gates() * hidden;
    let mut g = Graph::new("net");
    let shape = if batch_first { [batch, steps, input] } else { [steps, batch, input] };
    let mut data = vec![n.tensor(&shape, 3.0)];
    let x = g.add_input("x", DType::F32, shape.iter().map(|d| Dim::from(*d)).collect());
    let w = g.add_constant("w", n.tensor(&[d, rows, input], 0.4));
    // Large states with large weights blow up what one tie moves.
    let r = g.add_constant("r", n.tensor(&[d, rows, hidden], if hidden < 20 { 0.4 } else { 0.05 }));
    let mut inputs = vec![Some(x), Some(w), Some(r)];
    inputs.push(n.flag().then(|| g.add_constant("b", n.tensor(&[d, 2 * rows], 0.5))));
    inputs.push(n.flag().then(|| {
        let lens = (0..batch).map(|_| n.below(steps + 1) as i32).collect();
        data.push(Tensor::vector(lens));
        g.add_input("lens", DType::I32, vec![batch.into()])
    }));
    let state = if batch_first { [batch, d, hidden] } else { [d, batch, hidden] };
    let is_lstm = matches!(kind, RecurrentKind::Lstm { .. });
    for name in ["h", "c"] {
        let given = n.flag() && (name == "h" || is_lstm);
        inputs.push(given.then(|| {
            data.push(n.tensor(&state, 1.5));
            g.add_input(name, DType::F32, state.iter().map(|d| Dim::from(*d)).collect())
        }));
    }
    inputs.push((is_lstm && n.flag()).then(|| g.add_constant("p", n.tensor(&[d, 3 * hidden], 0.5))));
    while inputs.last() == Some(&None) || (!is_lstm && inputs.len() > 6) {
        inputs.pop();
    }
    let outs: Vec<ValueId> =
        (0..if is_lstm { 3 } else { 2 }).map(|i| g.add_value(format!("y{i}"), None, None)).collect();
    g.nodes.push(Node {
        name: "layer".into(),
        op: Op::Recurrent { kind, attrs },
        inputs,
        outputs: outs.iter().map(|v| Some(*v)).collect(),
    });
    g.outputs = outs;
    (g, data)
}

fn largest(a: &[Tensor], b: &[Tensor]) -> f32 {
    let all = |t: &[Tensor]| t.iter().flat_map(|t| t.to_f32_vec().unwrap()).collect::<Vec<_>>();
    let (a, b) = (all(a), all(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

#[test]
fn recurrent_layers_of_every_form_run_in_integers_and_survive_a_file() {
    let kinds = [
        RecurrentKind::Lstm { input_forget: false },
        RecurrentKind::Lstm { input_forget: true },
        RecurrentKind::Gru { linear_before_reset: false },
        RecurrentKind::Gru { linear_before_reset: true },
        RecurrentKind::Rnn,
    ];
    let short = threads::fewer(60);
    for seed in 0..short + kinds.len() as u64 {
        let mut n = Numbers(seed);
        let kind = kinds[seed as usize % kinds.len()];
        // The last ones have more steps than are projected at a time.
        let (g, x) =
            if seed < short { layer(&mut n, kind) } else { layer_of(&mut n, kind, (140, 12, 3, 80)) };
        let float = Evaluator::new(&g, Precision::F32).unwrap().run(&x).unwrap();
        let mut per_channel = pytorch_dynamic_qconfig();
        per_channel.weight = default_per_channel_weight_observer();
        let qconfig = [default_dynamic_qconfig(), pytorch_dynamic_qconfig(), per_channel][n.below(3)].clone();
        let quantized = quantize_dynamic(g, qconfig, DType::I8).unwrap().graph;
        let (session, y) = run(&quantized, &x);
        let name = quantized.nodes.iter().find(|n| n.name == "layer").unwrap().op.name();
        assert_eq!(integer(&session, name), 1, "seed {seed}: {}", session.explain());
        assert_eq!(session.explain().floats().count(), 0, "seed {seed}: {}", session.explain());
        // No float copy of the weights is kept.
        assert!(session.explain().nodes.iter().all(|n| n.execution != Execution::Folded), "seed {seed}");
        let reference = Evaluator::new(&quantized, Precision::F32).unwrap().run(&x).unwrap();
        // A tie that falls the other way moves a state by a code.
        assert!(largest(&y, &reference) < 0.01, "seed {seed}: {}", largest(&y, &reference));
        let off = largest(&y, &float);
        // Sequences without elements leave zeros, which nothing moves.
        let empty = y.iter().all(|t| t.to_f32_vec().unwrap().iter().all(|v| *v == 0.0));
        assert!((off > 0.0 || empty) && off < 0.1, "seed {seed}: off by {off} from float");

        let options = ExportOptions::at(14);
        let read = import_bytes(&export_bytes(&quantized, &options).unwrap(), None).unwrap();
        assert_eq!(run(&read, &x).1, y, "seed {seed}");
        assert!(read.metadata.is_empty());
    }
}

#[test]
fn what_stands_after_the_end_of_a_sequence_does_not_count() {
    let mut n = Numbers(77);
    let (g, x) = loop {
        let (g, x) = layer(&mut n, RecurrentKind::Lstm { input_forget: false });
        let first = matches!(&g.nodes[0].op, Op::Recurrent { attrs, .. } if !attrs.batch_first);
        if first && g.nodes[0].input(4).is_some() && x[0].dims()[0] > 2 {
            break (g, x);
        }
    };
    let quantized = quantize_dynamic(g, (LSTM,), DType::I8).unwrap().graph;
    let session = Session::new(&quantized, SessionOptions::default()).unwrap();
    let mut short = x.clone();
    let batch = x[0].dims()[1];
    short[1] = Tensor::vector(vec![2i32; batch]);
    let y = session.run(&short).unwrap();
    // Huge values behind the second element would make the scale useless if they counted.
    let mut data = short[0].to_f32_vec().unwrap();
    let row = x[0].dims()[2] * batch;
    data[2 * row..].fill(1e6);
    short[0] = Tensor::new(x[0].dims(), data).unwrap();
    assert_eq!(session.run(&short).unwrap(), y);
}

#[test]
fn rules_choose_what_is_dynamic() {
    let mut n = Numbers(5);
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 8usize.into()]);
    let (a, b) = (n.tensor(&[8, 6], 0.5), n.tensor(&[6, 4], 0.5));
    let (a, b) = (g.add_constant("a", a), g.add_constant("b", b));
    let h = g.add_node("first", Op::MatMul, &[x, a], "h");
    let y = g.add_node("second", Op::MatMul, &[h, b], "y");
    g.outputs.push(y);
    let rules = QConfigDict::new()
        .set_module_type::<Linear>(default_dynamic_qconfig())
        .set_module_name("first", None);
    let quantized = quantize_dynamic(g, rules, DType::I8).unwrap();
    let first = &quantized.report.nodes[0];
    assert!(first.placement.float_reason().unwrap().contains("name rule"), "{first}");
    let (session, _) = run(&quantized.graph, &[n.tensor(&[3, 8], 1.0)]);
    assert_eq!((integer(&session, "MatMulInteger"), integer(&session, "MatMul")), (1, 0));
    let kinds: Vec<_> = judge(&session, &[n.tensor(&[3, 8], 1.0)]).unwrap().operators;
    assert_eq!(kinds.iter().map(|o| o.kind).collect::<Vec<_>>(), [OperatorKind::Linear]);
}

/// A table under the same rule becomes codes with a scale a row: rows are dequantized as they are picked.
#[test]
fn embeddings_become_tables_of_codes() {
    let mut b = Graph::builder();
    let ids = b.input("ids", DType::I64, [Dim::symbol("N"), Dim::symbol("T")]).unwrap();
    let y = b.layer("table", ids, builder::Embedding::new(40, 24).padding_idx(0)).unwrap();
    let y = b.recurrent("lstm", y, builder::LSTM::new(24, 16).batch_first(true), None, None).unwrap().output;
    let y = b.layer("fc", y, builder::Linear::new(16, 5)).unwrap();
    b.output("y", y).unwrap();
    b.initialize(3).unwrap();
    let float = b.build().unwrap();
    let quantized = quantize_fx(float.clone(), Recipe::Int8Dynamic, BackendConfig::default()).unwrap();
    let quantized = convert(quantized).unwrap();
    let table = quantized.report.nodes.iter().find(|n| n.op == "Gather").unwrap();
    assert!(table.placement.to_string().contains("weights are i8"), "{table}");
    let graph = &quantized.graph;
    let codes: Vec<&Tensor> =
        graph.values.iter().filter_map(|v| v.constant.as_ref()).filter(|t| t.dims() == [40, 24]).collect();
    assert!(matches!(codes[..], [one] if one.dtype() == DType::I8), "{codes:?}");
    let scales = graph.find_value("table.weight_scale").and_then(|v| graph.constant(v)).unwrap();
    assert_eq!(scales.dims(), [40]);

    let ids: Vec<i64> = (0..3 * 7).map(|i| (i * 11) % 40 - if i % 5 == 0 { 40 } else { 0 }).collect();
    let x = [Tensor::new(&[3, 7], ids).unwrap()];
    let (session, y) = run(graph, &x);
    let explanation = session.explain();
    assert_eq!([integer(&session, "LSTM"), integer(&session, "MatMulInteger")], [1, 1], "{explanation}");
    let floats: Vec<_> = explanation.floats().map(|n| (n.op, n.reason.clone().unwrap_or_default())).collect();
    assert!(
        floats.iter().any(|(op, why)| *op == "Gather" && why.contains("as they are picked")),
        "{floats:?}"
    );
    // No f32 copy of the table is made.
    assert!(explanation.nodes.iter().all(|n| n.execution != Execution::Folded), "{explanation}");
    let expected = Evaluator::new(&float, Precision::F32).unwrap().run(&x).unwrap();
    let (off, size) = (largest(&y, &expected), largest(&expected, &[zeros(&expected[0])]));
    assert!(off > 0.0 && off < 0.03 * size, "off by {off} of {size}");
    let read = import_bytes(&export_bytes(graph, &ExportOptions::default()).unwrap(), None).unwrap();
    assert_eq!(run(&read, &x).1, y);
    let outside = [Tensor::new(&[1, 1], vec![40i64]).unwrap()];
    let error = session.run(&outside).unwrap_err().to_string();
    assert!(error.contains("table") && error.contains("40"), "{error}");
}

fn zeros(like: &Tensor) -> Tensor {
    Tensor::new(like.dims(), vec![0.0f32; like.len()]).unwrap()
}
