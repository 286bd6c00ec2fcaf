//! Errors layer by layer: planted faults are found where they are.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{CHANNELS, data, model, noise};
use tq_analysis::{LayerErrors, QuantizationDebugger};
use tq_graph::op::BinaryOp;
use tq_graph::{Graph, Op, Tensor, ValueId, infer};
use tq_observers::PerChannelMinMaxObserver;
use tq_passes::{Configuration, QConfigDict, Recipe, convert, int8_qconfig, prepare_static};
use tq_qtypes::{DType, Granularity, QuantSpec};

fn quantized(graph: &Graph, dict: QConfigDict) -> Graph {
    let config = Configuration { dict, ..Configuration::default() };
    let prepared = prepare_static(graph.clone(), config).unwrap();
    if !prepared.observers().is_empty() {
        for batch in data(graph).batches(Some(8)) {
            prepared.forward(&batch.unwrap()).unwrap();
        }
    }
    convert(prepared).unwrap().graph
}

fn errors(graph: &Graph, quantized: &Graph) -> LayerErrors {
    let data = data(graph);
    QuantizationDebugger::new(graph, quantized, &data).unwrap().calculate_layer_errors().unwrap()
}

fn layer<'e>(errors: &'e LayerErrors, node: &str) -> &'e tq_analysis::LayerError {
    errors.layers.iter().find(|l| l.node == node).unwrap_or_else(|| panic!("no {node} in {errors:?}"))
}

#[test]
fn every_layer_has_its_error_and_the_first_inherits_none() {
    let g = model();
    let e = errors(&g, &quantized(&g, int8_qconfig().into()));
    assert_eq!((e.rows, e.unmatched.len()), (24, 0), "{e:?}");
    let nodes: Vec<&str> = e.layers.iter().map(|l| l.node.as_str()).collect();
    assert_eq!(nodes, ["conv0", "conv1", "conv2", "conv3", "pool", "flat", "head"]);
    let first = layer(&e, "conv0");
    // It reads the codes of the input, which are part of its own error.
    assert!((first.introduced_db - first.total_db).abs() < 0.5, "{first:?}");
    for l in &e.layers {
        assert!((25.0..400.0).contains(&l.introduced_db), "{l:?}");
        assert!(l.total_db < l.introduced_db + 3.0 && l.total_db < l.inherited_db + 3.0, "{l:?}");
        assert_eq!(l.saturated.is_some(), l.node != "head", "{l:?}");
    }
    // Errors add up along the network.
    assert!(layer(&e, "head").inherited_db < layer(&e, "conv1").inherited_db, "{e:?}");
    // Flattening keeps every code.
    assert!(layer(&e, "flat").introduced_db > layer(&e, "pool").introduced_db, "{e:?}");
}

#[test]
fn a_layer_of_two_bits_is_the_worst_and_its_followers_inherit() {
    let g = model();
    let spec = QuantSpec { dtype: DType::I2, ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 }) };
    let spec = QuantSpec { quant_min: -2, quant_max: 1, ..spec };
    let two = int8_qconfig().weight(PerChannelMinMaxObserver::with_spec(spec, f32::EPSILON).unwrap());
    for i in 0..4 {
        let node = format!("conv{i}");
        let dict = QConfigDict::from(int8_qconfig()).set_module_name(&node, two.clone());
        let e = errors(&g, &quantized(&g, dict));
        let worst = e.worst_first()[0];
        assert_eq!(worst.node, node, "{e:?}");
        assert!(worst.introduced_db < 15.0, "{worst:?}");
        if i < 3 {
            let next = layer(&e, &format!("conv{}", i + 1));
            assert!(next.introduced_db > 25.0 && next.inherited_db < 20.0, "{next:?}");
        }
    }
}

#[test]
fn a_clipped_activation_saturates() {
    let g = model();
    // Ranges from data a tenth as large.
    let prepared = prepare_static(g.clone(), int8_qconfig()).unwrap();
    let small: Vec<f32> = noise(24 * CHANNELS * 12, 77).iter().map(|v| v * 0.1).collect();
    prepared.forward(&Tensor::new(&[24, CHANNELS, 12], small).unwrap()).unwrap();
    let e = errors(&g, &convert(prepared).unwrap().graph);
    let l = layer(&e, "conv1");
    assert!(l.saturated.unwrap() > 20.0, "{l:?}");
    // Ranges a hundred times too large: small values vanish, and most codes are never used.
    let prepared = prepare_static(g.clone(), int8_qconfig()).unwrap();
    let large: Vec<f32> = noise(24 * CHANNELS * 12, 77).iter().map(|v| v * 100.0).collect();
    prepared.forward(&Tensor::new(&[24, CHANNELS, 12], large).unwrap()).unwrap();
    let e = errors(&g, &convert(prepared).unwrap().graph);
    let l = layer(&e, "conv0");
    assert!(l.saturated == Some(0.0) && l.dead_codes.unwrap() > 90.0 && l.underflow.unwrap() > 5.0, "{l:?}");
}

#[test]
fn every_recipe_has_layers() {
    let g = model();
    for recipe in [Recipe::Int8Dynamic, Recipe::Int8DynamicAll, Recipe::W8, Recipe::W4, Recipe::Fp16] {
        let e = errors(&g, &quantized(&g, recipe.into()));
        assert!(e.unmatched.is_empty(), "{recipe:?}: {:?}", e.unmatched);
        let head = layer(&e, "head");
        assert!(head.total_db > 10.0 && head.introduced_db > 15.0, "{recipe:?}: {head:?}");
        // Int8Dynamic leaves convolutions in float.
        let convolutions = e.layers.iter().filter(|l| l.node.starts_with("conv")).count();
        assert_eq!(convolutions, if recipe == Recipe::Int8Dynamic { 0 } else { 4 }, "{recipe:?}: {e:?}");
    }
}

#[test]
fn what_has_no_counterpart_is_listed() {
    let g = model();
    let mut other = quantized(&g, int8_qconfig().into());
    for value in other.values.iter_mut().filter(|v| v.name.starts_with("r2")) {
        value.name = value.name.replace("r2", "elsewhere");
    }
    let e = errors(&g, &other);
    let nodes: Vec<&str> = e.unmatched.iter().map(|u| u.node.as_str()).collect();
    assert_eq!(nodes, ["conv2", "conv3"], "{e:?}");
    assert!(e.unmatched[0].reason.contains("no tensor elsewhere"), "{:?}", e.unmatched[0]);
}

/// The same model as operators on codes, as files of such operators have it: what flattens takes and gives codes, and the last product
/// sums integers that a constant scales.
fn on_codes(q: &Graph) -> Graph {
    let mut g = q.clone();
    let at = |g: &Graph, name: &str| g.nodes.iter().position(|n| n.name == name).unwrap();
    let before = |g: &Graph, v: ValueId| g.nodes.iter().position(|n| n.output(0) == Some(v)).unwrap();
    // Dequantize, Flatten, Quantize.
    let flat = at(&g, "flat");
    let (real, given) = (g.nodes[flat].input(0).unwrap(), g.nodes[flat].output(0).unwrap());
    let quantize = g.nodes.iter().position(|n| n.input(0) == Some(given)).unwrap();
    let (codes, result) = (g.nodes[before(&g, real)].input(0), g.nodes[quantize].output(0));
    g.nodes[flat].inputs = vec![codes];
    g.nodes[flat].outputs = vec![result];
    g.nodes.remove(quantize);
    // Dequantize of both, and MatMul.
    let head = at(&g, "head");
    let [x, w] = [0, 1].map(|i| g.nodes[before(&g, g.nodes[head].input(i).unwrap())].inputs.clone());
    let [sx, sw] = [x[1], w[1]].map(|s| g.constant(s.unwrap()).unwrap().to_f32_vec().unwrap());
    let factors =
        g.add_constant("factors", Tensor::vector(sw.iter().map(|s| s * sx[0]).collect::<Vec<f32>>()));
    let y = g.nodes[head].output(0).unwrap();
    g.nodes.remove(head);
    let product = [x[0], w[0], x[2], w[2]].map(Option::unwrap);
    let sums = g.add_node("head", Op::MatMulInteger, &product, "sums");
    let cast = g.add_node("head_Cast", Op::Cast { to: DType::F32, saturate: true }, &[sums], "unscaled");
    g.add_node("head_Mul", Op::Binary(BinaryOp::Mul), &[cast, factors], "scaled");
    g.nodes.last_mut().unwrap().outputs = vec![Some(y)];
    g.compact();
    g.sort().unwrap();
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn operators_on_codes_are_layers_like_their_twins() {
    let g = model();
    let q = quantized(&g, int8_qconfig().into());
    let [twin, e] = [&q, &on_codes(&q)].map(|q| errors(&g, q));
    let all = |e: &LayerErrors| {
        let unmatched = e.unmatched.iter().map(|u| u.node.clone());
        let mut nodes: Vec<String> = e.layers.iter().map(|l| l.node.clone()).chain(unmatched).collect();
        nodes.sort();
        nodes
    };
    assert_eq!(all(&twin), all(&e), "{e:?}");
    assert!(e.unmatched.is_empty(), "{e:?}");
    for l in &e.layers {
        let other = layer(&twin, &l.node);
        for (own, of_twin) in [
            (l.introduced_db, other.introduced_db),
            (l.inherited_db, other.inherited_db),
            (l.total_db, other.total_db),
        ] {
            assert!((own - of_twin).abs() < 0.01, "{l:?} {other:?}");
        }
        assert_eq!(l.saturated, other.saturated, "{l:?}");
    }
    // One whose scale is not constant is listed with that reason, and not dropped.
    let mut other = on_codes(&q);
    let mul = other.nodes.iter_mut().find(|n| n.name == "head_Mul").unwrap();
    mul.inputs.swap(0, 1);
    mul.inputs[0] = mul.inputs[1];
    let e = errors(&g, &other);
    let head = e.unmatched.iter().find(|u| u.node == "head").unwrap_or_else(|| panic!("{e:?}"));
    assert!(head.reason.contains("DynamicQuantizeLinear"), "{head:?}");
}
