//! Weights are found wherever a quantized model has them: behind Dequantize nodes, in products of integers, in half precision,
//! or with rows and columns exchanged.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::noise;
use tq_analysis::{Advice, AdviceOptions, Dataset, FindingKind, QuantizationDebugger, advise};
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_observers::{MinMaxObserver, PlaceholderObserver};
use tq_passes::{
    Configuration, QConfigDict, Recipe, convert, default_dynamic_qconfig, int8_qconfig, prepare_static,
};
use tq_qtypes::{AffineParams, DType, Granularity, QuantSpec, Rounding, affine};

const IN: usize = 12;
const HIDDEN: usize = 16;
const OUT: usize = 5;

/// Two linear layers whose weights are `[outputs, inputs]`, with this between them; `large` is row 5 of the first, times.
fn linear(between: UnaryOp, large: f32) -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), IN.into()]);
    let mut first = noise(HIDDEN * IN, 3);
    first[5 * IN..6 * IN].iter_mut().for_each(|w| *w *= large);
    let mut second = noise(OUT * HIDDEN, 4);
    second.iter_mut().skip(5).step_by(HIDDEN).for_each(|w| *w /= large);
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let w1 = g.add_constant("w1", Tensor::new(&[HIDDEN, IN], first).unwrap());
    let a = g.add_node("g1", gemm.clone(), &[x, w1], "a");
    let b = g.add_node("act", Op::Unary(between), &[a], "b");
    let w2 = g.add_constant("w2", Tensor::new(&[OUT, HIDDEN], second).unwrap());
    let y = g.add_node("g2", gemm, &[b, w2], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

fn data(g: &Graph) -> Dataset {
    let rows = noise(64 * IN, 7).iter().map(|v| v * 0.3).collect();
    Dataset::new(g, vec![Tensor::new(&[64, IN], rows).unwrap()]).unwrap()
}

fn quantized(g: &Graph, dict: impl Into<QConfigDict>) -> Graph {
    let config = Configuration { dict: dict.into(), ..Configuration::default() };
    let prepared = prepare_static(g.clone(), config).unwrap();
    if !prepared.observers().is_empty() {
        for batch in data(g).batches(None) {
            prepared.forward(&batch.unwrap()).unwrap();
        }
    }
    convert(prepared).unwrap().graph
}

fn told(g: &Graph, q: &Graph) -> Advice {
    advise(g, q, &data(g), &AdviceOptions::default()).unwrap()
}

#[test]
fn an_equalized_model_is_told_by_all_of_its_weights() {
    let g = linear(UnaryOp::Relu, 64.0);
    let mut even = g.clone();
    assert_eq!(tq_passes::equalize(&mut even).unwrap().links.len(), 1);
    for recipe in [Recipe::Int8, Recipe::Int8Dynamic, Recipe::Fp16, Recipe::W8, Recipe::W4] {
        // Of the equalized model, and of the model as it is: each is held against its own.
        for (float, least) in [(&even, 10.0), (&g, 0.0)] {
            let q = quantized(float, recipe);
            let errors =
                QuantizationDebugger::new(&g, &q, &data(&g)).unwrap().calculate_layer_errors().unwrap();
            assert_eq!((errors.layers.len(), errors.unmatched.len()), (2, 0), "{recipe:?}: {errors:?}");
            let l = &errors.layers[0];
            // With other channels the result of the first layer would be another tensor.
            assert!(l.node == "g1" && l.total_db > 20.0 && l.introduced_db > 20.0, "{recipe:?}: {l:?}");
            assert!(errors.layers[1].introduced_db > least, "{recipe:?}: {errors:?}");
        }
    }
}

/// The quantized model with weights `[outputs, inputs]` behind Dequantize nodes as `[inputs, outputs]`, for a plain product.
fn as_products(q: &Graph) -> Graph {
    let mut g = q.clone();
    for at in 0..g.nodes.len() {
        if !matches!(g.nodes[at].op, Op::Gemm { trans_b: true, .. }) {
            continue;
        }
        g.nodes[at].op = Op::MatMul;
        let real = g.nodes[at].input(1).unwrap();
        let dequantize = g.nodes.iter().position(|n| n.output(0) == Some(real)).unwrap();
        let codes = g.nodes[dequantize].input(0).unwrap();
        let tensor = g.constant(codes).unwrap();
        let (dims, values) = (tensor.dims().to_vec(), tensor.as_slice::<i8>().unwrap().to_vec());
        let turned: Vec<i8> = (0..dims[1])
            .flat_map(|c| (0..dims[0]).map(move |r| (r, c)))
            .map(|(r, c)| values[r * dims[1] + c])
            .collect();
        g.values[codes.0].constant = Some(Tensor::new(&[dims[1], dims[0]], turned).unwrap());
        g.values[real.0].shape = None;
        if let Op::DequantizeLinear { axis, .. } = &mut g.nodes[dequantize].op {
            *axis = 1;
        }
    }
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn weights_with_rows_and_columns_exchanged_have_the_findings_of_their_twin() {
    // Weights alone are codes: activations have no part in it.
    let weights = int8_qconfig().activation(PlaceholderObserver::default());
    let one_scale = weights.clone().weight(MinMaxObserver::symmetric());
    let few = QuantSpec { quant_min: -2, quant_max: 1, ..QuantSpec::i8_symmetric(Granularity::PerTensor) };
    let few = weights.clone().weight(MinMaxObserver::new(few, f32::EPSILON).unwrap());
    for (qconfig, factor, kind) in
        [(one_scale, 40.0, FindingKind::OutlierWeights), (few, 1.0, FindingKind::FewBits)]
    {
        let g = linear(UnaryOp::Tanh, factor);
        let q = quantized(&g, qconfig);
        let [twin, turned] = [&q, &as_products(&q)].map(|q| told(&g, q));
        assert!(turned.skipped.is_empty() && turned.findings[0].kind == kind, "{turned:#?}");
        assert_eq!(twin, turned);
    }
    let g = linear(UnaryOp::Tanh, 40.0);
    // With a scale a channel, which is another axis there, there is nothing to tell of either.
    let q = quantized(&g, weights);
    let [twin, turned] = [&q, &as_products(&q)].map(|q| told(&g, q));
    assert!(turned.skipped.is_empty() && turned == twin, "{turned:#?}");
}

#[test]
fn weights_of_dynamic_layers_are_looked_at() {
    let g = linear(UnaryOp::Tanh, 40.0);
    let one_scale = default_dynamic_qconfig().weight(MinMaxObserver::symmetric());
    let q = quantized(&g, one_scale);
    assert!(q.nodes.iter().any(|n| n.op == Op::MatMulInteger), "what is tested is not there");
    let a = told(&g, &q);
    let f = a.findings.first().unwrap_or_else(|| panic!("nothing found: {a:#?}"));
    assert_eq!((f.kind, &f.nodes[..]), (FindingKind::OutlierWeights, &["g1".to_owned()][..]), "{a:#?}");
    assert!(f.share > 30.0, "{f:#?}");
    // One that scales its sums with what is not known is listed.
    let mut other = q.clone();
    let (sums, scale) =
        (other.find_value("y").unwrap(), other.add_value("s", Some(DType::F32), Some(vec![])));
    let node = other.nodes.iter_mut().find(|n| n.output(0) == Some(sums)).unwrap();
    assert_eq!(node.op, Op::Binary(BinaryOp::Mul));
    node.inputs[1] = Some(scale);
    other.inputs.push(scale);
    // A second input of the float model too, which it does not use.
    let mut float = g.clone();
    let unused = float.add_value("s", Some(DType::F32), Some(vec![]));
    float.inputs.push(unused);
    let rows = noise(64 * IN, 7);
    let inputs = vec![Tensor::new(&[64, IN], rows).unwrap(), Tensor::scalar(0.1f32)];
    if let Ok(data) = Dataset::new(&float, inputs) {
        let a = advise(&float, &other, &data, &AdviceOptions::default()).unwrap();
        let is_listed = |(_, why): &(String, String)| why.contains("g2 scales its sums with");
        assert!(a.skipped.iter().any(is_listed), "{:?}", a.skipped);
    }
}

/// Rows of a table of codes that become real numbers behind the node that picks them.
#[test]
fn tables_are_looked_at() {
    const ROWS: usize = 30;
    let mut g = Graph::new("net");
    let ids = g.add_input("ids", DType::I64, vec![Dim::symbol("N"), 4usize.into()]);
    let values: Vec<f32> = noise(ROWS * HIDDEN, 5)
        .iter()
        .enumerate()
        .map(|(i, v)| if i / HIDDEN == 3 { v * 60.0 } else { *v })
        .collect();
    let table = g.add_constant("table", Tensor::new(&[ROWS, HIDDEN], values.clone()).unwrap());
    let e = g.add_node("embed", Op::Gather { axis: 0 }, &[table, ids], "e");
    let t = g.add_node("act", Op::Unary(UnaryOp::Tanh), &[e], "t");
    g.outputs.push(t);
    infer::infer(&mut g).unwrap();
    let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
    let params = AffineParams::from_data(&values, &[ROWS, HIDDEN], &spec).unwrap();
    let codes = affine::quantize(&values, &[ROWS, HIDDEN], &params, Rounding::Divide).unwrap();
    let codes: Vec<i8> = codes.into_iter().map(|c| c as i8).collect();
    let mut q = Graph::new("net");
    let ids = q.add_input("ids", DType::I64, vec![Dim::symbol("N"), 4usize.into()]);
    let table = q.add_constant("table_quantized", Tensor::new(&[ROWS, HIDDEN], codes).unwrap());
    let scale = q.add_constant("scale", Tensor::scalar(params.scale[0]));
    let zero = q.add_constant("zero", Tensor::scalar(0i8));
    let picked = q.add_node("embed", Op::Gather { axis: 0 }, &[table, ids], "picked");
    let real = q.add_node("dq", Op::DequantizeLinear { axis: 1, block_size: 0 }, &[picked, scale, zero], "e");
    let t = q.add_node("act", Op::Unary(UnaryOp::Tanh), &[real], "t");
    q.outputs.push(t);
    infer::infer(&mut q).unwrap();
    let ids: Vec<i64> = (0..64 * 4).map(|i| (i * 7) % ROWS as i64).collect();
    let data = Dataset::new(&g, vec![Tensor::new(&[64, 4], ids).unwrap()]).unwrap();
    let a = advise(&g, &q, &data, &AdviceOptions::default()).unwrap();
    let f = a.findings.first().unwrap_or_else(|| panic!("nothing found: {a:#?}"));
    assert_eq!((f.kind, f.tensor.as_deref()), (FindingKind::OutlierWeights, Some("table")), "{a:#?}");
    assert!((99.0..101.0).contains(&f.share) && a.skipped.is_empty(), "{f:#?}");
}
