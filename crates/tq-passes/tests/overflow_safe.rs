//! Weights whose products fit 16 bits in pairs: every pair of a converted model keeps the rule, at the price of a fraction of a bit.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::Net;
use tq_graph::{Graph, Op};
use tq_passes::{
    Backend, BackendConfig, Configuration, PassError, QConfigDict, convert, int8_qconfig, prepare_static,
    w4_qconfig,
};

fn configuration(overflow_safe_weights: bool) -> Configuration {
    let backend = BackendConfig { overflow_safe_weights, ..Backend::Fbgemm.into() };
    Configuration { backend, dict: QConfigDict::new().set_global(int8_qconfig()) }
}

/// Convolutions with an even and an odd number of input channels, one with groups, one depthwise.
fn convolutions() -> (Graph, Vec<usize>) {
    let mut n = Net::new(7);
    let x = n.input("x", &[6, 9, 9]);
    let a = n.conv("even", x, [6, 15], 3, 1);
    let b = n.conv("odd", a, [15, 8], 3, 1);
    let c = n.grouped("grouped", b, [8, 8], 2, 3, 1);
    let d = n.grouped("depthwise", c, [8, 8], 8, 3, 1);
    n.output(d);
    (n.graph, vec![2, 6, 9, 9])
}

/// Weights of one input channel that are not depthwise: of the whole input, and several output channels a group.
fn of_one_channel() -> (Graph, Vec<usize>) {
    let mut n = Net::new(9);
    let x = n.input("x", &[1, 9, 9]);
    let a = n.conv("one", x, [1, 12], 3, 1);
    let b = n.grouped("multiplied", a, [12, 24], 12, 3, 1);
    n.output(b);
    (n.graph, vec![2, 1, 9, 9])
}

fn products() -> (Graph, Vec<usize>) {
    let mut n = Net::new(8);
    let x = n.input("x", &[37]);
    let a = n.gemm("upright", x, [37, 24], false);
    let b = n.gemm("transposed", a, [24, 10], true);
    let w = n.random(&[10, 12]);
    let c = n.node("matmul", Op::MatMul, &[b, w]);
    n.output(c);
    (n.graph, vec![3, 37])
}

fn converted((graph, dims): (Graph, Vec<usize>), safe: bool) -> Graph {
    let mut data = Net::new(3);
    let prepared = prepare_static(graph, configuration(safe)).unwrap();
    prepared.forward(&data.tensor(&dims)).unwrap();
    convert(prepared).unwrap().graph
}

/// For every product its name, and for every output channel the codes in the order in which kernels sum them up.
fn reductions(graph: &Graph) -> Vec<(String, Vec<Vec<i32>>)> {
    let producers = graph.producers();
    let mut found = Vec::new();
    for node in &graph.nodes {
        if !matches!(node.op, Op::Conv(_) | Op::Gemm { .. } | Op::MatMul) {
            continue;
        }
        let dequantize = graph.node(producers[node.input(1).unwrap().0].unwrap());
        let codes = graph.constant(dequantize.input(0).unwrap()).unwrap();
        let (dims, w) = (codes.dims(), codes.as_slice::<i8>().unwrap());
        let at = |i: usize| i32::from(w[i]);
        let rows = match node.op {
            Op::Conv(_) => {
                let (inputs, space) = (dims[1], dims[2] * dims[3]);
                let row = |o: usize| {
                    (0..space)
                        .flat_map(|s| (0..inputs).map(move |i| (o * inputs + i) * space + s))
                        .map(at)
                        .collect()
                };
                (0..dims[0]).map(row).collect()
            }
            Op::Gemm { trans_b: true, .. } => {
                w.chunks(dims[1]).map(|r| r.iter().map(|w| i32::from(*w)).collect()).collect()
            }
            _ => (0..dims[1]).map(|n| (0..dims[0]).map(|k| at(k * dims[1] + n)).collect()).collect(),
        };
        found.push((node.name.clone(), rows));
    }
    found
}

/// Pairs of neighbours whose products with codes 0..=255 may leave 16 bits.
fn offences(rows: &[Vec<i32>]) -> usize {
    let offends = |pair: &[i32]| {
        let sum = |of: fn(i32) -> i32| pair.iter().map(|w| 255 * of(*w)).sum::<i32>();
        sum(|w| w.max(0)) > 32_767 || sum(|w| w.min(0)) < -32_768
    };
    rows.iter().flat_map(|row| row.chunks(2)).filter(|pair| offends(pair)).count()
}

#[test]
fn every_pair_keeps_the_rule_in_the_order_of_kernels() {
    for model in [convolutions, of_one_channel, products] {
        let free = reductions(&converted(model(), false));
        let safe = reductions(&converted(model(), true));
        for ((name, free), (_, safe)) in free.iter().zip(&safe) {
            let found = (offences(free), offences(safe));
            if name == "depthwise" {
                // Its kernels have no such sums: the weights are as they were.
                assert_eq!(free, safe);
                continue;
            }
            assert!(found.0 > 0, "{name} proves nothing: its weights keep the rule by chance");
            assert_eq!(found.1, 0, "{name}");
        }
    }
}

/// The squared error of all dequantized weights against the float ones.
fn weight_error(float: &Graph, quantized: &Graph) -> f64 {
    let producers = quantized.producers();
    let mut error = 0.0;
    for node in &float.nodes {
        let Some(w) = node.input(1).and_then(|w| float.constant(w)) else { continue };
        let same = quantized.nodes.iter().find(|n| n.name == node.name).unwrap();
        let dequantize = quantized.node(producers[same.input(1).unwrap().0].unwrap());
        let params = tq_graph::qdq::node_params(quantized, dequantize).unwrap();
        let codes = quantized.constant(dequantize.input(0).unwrap()).unwrap();
        let codes: Vec<i32> = codes.as_slice::<i8>().unwrap().iter().map(|q| i32::from(*q)).collect();
        let reals = tq_qtypes::affine::dequantize(&codes, w.dims(), &params).unwrap();
        let w = w.as_slice::<f32>().unwrap();
        error += w.iter().zip(reals).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    error
}

#[test]
fn the_price_is_less_than_the_bit_that_halving_all_codes_costs() {
    for model in [convolutions, products] {
        let float = model().0;
        let free = weight_error(&float, &converted(model(), false));
        let safe = weight_error(&float, &converted(model(), true));
        // Weights of 7 bits keep the rule too; a bit is four times the squared error.
        assert!(free < safe && safe < 4.0 * free, "{} times the error", safe / free);
    }
}

#[test]
fn weights_of_few_bits_keep_the_rule_and_others_are_refused_by_name() {
    let narrow = Configuration { dict: QConfigDict::new().set_global(w4_qconfig()), ..configuration(true) };
    let (graph, dims) = products();
    let prepared = prepare_static(graph.clone(), narrow).unwrap();
    prepared.forward(&Net::new(3).tensor(&dims)).unwrap();
    convert(prepared).unwrap();

    let spec = tq_qtypes::QuantSpec::u8_affine();
    let affine = int8_qconfig().weight(
        tq_observers::ObserverConfig::from(tq_observers::MinMaxObserver::symmetric()).with_spec(spec),
    );
    let dict = QConfigDict::new().set_global(affine);
    let prepared = prepare_static(graph, Configuration { dict, ..configuration(true) }).unwrap();
    prepared.forward(&Net::new(3).tensor(&dims)).unwrap();
    let error = convert(prepared).unwrap_err();
    assert!(matches!(&error, PassError::OverflowSafe { node, .. } if node == "upright"), "{error}");
}

#[test]
fn a_file_says_it() {
    let configuration = configuration(true);
    let json = configuration.to_json().unwrap();
    assert!(json.contains("overflow_safe_weights"), "{json}");
    assert_eq!(Configuration::from_json(&json).unwrap(), configuration);
}
