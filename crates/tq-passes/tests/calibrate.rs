//! What calibration takes and refuses, and what it tells of data that 8 bits do not suit.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::Net;
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_observers::PerChannelMinMaxObserver;
use tq_passes::{PassError, Prepared, QuantConfig, convert, prepare_static};
use tq_qtypes::DType;

fn conv_net() -> Graph {
    let mut n = Net::new(10);
    let x = n.input("x", &[3, 4, 4]);
    let c = n.conv("conv", x, [3, 4], 1, 0);
    n.output(c);
    let w = n.tensor(&[4, 3, 1, 1]).to_f32_vec().unwrap();
    let w = w.iter().map(|v| v + v.signum()).collect();
    n.graph.values[1].constant = Some(Tensor::new(&[4, 3, 1, 1], w).unwrap());
    n.graph
}

fn error_of<T: std::fmt::Debug>(result: Result<T, PassError>) -> String {
    let text = result.unwrap_err().to_string();
    assert!(!text.contains('\n'));
    text
}

#[test]
fn bad_data_is_one_line_that_names_the_tensor_and_leaves_no_trace() {
    let p = prepare_static(conv_net(), QuantConfig::default()).unwrap();
    let good = Tensor::new(&[1, 3, 4, 4], vec![0.5f32; 48]).unwrap();
    p.forward(&good).unwrap();
    let before: Vec<_> = p.observers().iter().map(|(n, o)| (n.clone(), o.range())).collect();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut data = vec![100.0f32; 48];
        data[7] = bad;
        let e = error_of(p.forward(&Tensor::new(&[1, 3, 4, 4], data).unwrap()));
        assert_eq!(e, "calibration batch 2: 1 of 48 values of tensor x are NaN or infinite");
    }
    // Finite input whose convolution overflows.
    let w = p.graph().constant(p.graph().find_value("c1").unwrap()).unwrap().to_f32_vec().unwrap();
    let huge = (0..48).map(|i| f32::MAX * w[i / 16].signum()).collect();
    let huge = Tensor::new(&[1, 3, 4, 4], huge).unwrap();
    let e = error_of(p.forward(&huge));
    assert!(e.starts_with("calibration batch 2: ") && e.contains("tensor conv "), "{e}");
    let after: Vec<_> = p.observers().iter().map(|(n, o)| (n.clone(), o.range())).collect();
    assert_eq!((before, p.batches()), (after, 1));
    assert!(error_of(p.forward(&Tensor::new(&[1, 3, 4], vec![0.5f32; 12]).unwrap())).contains('x'));
    assert!(error_of(p.forward(&[good.clone(), good.clone()])).contains('2'));
    assert!(error_of(p.forward(&Tensor::new(&[1, 3, 4, 4], vec![1u8; 48]).unwrap())).contains('x'));
    assert!(convert(p).is_ok());
}

#[test]
fn no_data_is_an_error_of_its_own() {
    let p = prepare_static(conv_net(), QuantConfig::default()).unwrap();
    assert!(error_of(convert(p)).starts_with("no calibration data"));
    let p = prepare_static(conv_net(), QuantConfig::default()).unwrap();
    p.forward(&Tensor::new::<f32>(&[0, 3, 4, 4], vec![]).unwrap()).unwrap();
    assert!(error_of(convert(p)).contains("tensor x"));
}

#[test]
fn bad_models_are_refused() {
    let q = {
        let p = prepare_static(conv_net(), QuantConfig::default()).unwrap();
        p.forward(&Tensor::new(&[1, 3, 4, 4], vec![0.5f32; 48]).unwrap()).unwrap();
        convert(p).unwrap()
    };
    assert!(error_of(prepare_static(q.graph, QuantConfig::default())).contains("quantized already"));

    let mut g = conv_net();
    let w = g.find_value("c1").unwrap();
    let mut data = g.constant(w).unwrap().to_f32_vec().unwrap();
    data[3] = f32::NAN;
    g.values[w.0].constant = Some(Tensor::new(&[4, 3, 1, 1], data).unwrap());
    let e = error_of(prepare_static(g, QuantConfig::default()));
    assert_eq!(e, "node conv: 1 values of constant c1 are NaN or infinite");

    let config = QuantConfig::default().observer(PerChannelMinMaxObserver::symmetric());
    assert!(
        error_of(prepare_static(conv_net(), config)).starts_with("configuration: global rule: activation")
    );
    let mut g = conv_net();
    g.nodes[0].inputs[0] = Some(ValueId(999));
    assert!(prepare_static(g, QuantConfig::default()).is_err());
}

#[test]
fn a_batch_may_be_any_shape_the_model_takes_and_threads_may_share_it() {
    let p = prepare_static(conv_net(), QuantConfig::default()).unwrap();
    let run = |p: &Prepared, n: usize, v: f32| {
        p.forward(&Tensor::new(&[n, 3, 4, 4], vec![v; n * 48]).unwrap()).unwrap();
    };
    std::thread::scope(|s| {
        for i in 1..5usize {
            let p = &p;
            s.spawn(move || run(p, i, i as f32));
        }
    });
    assert_eq!(p.batches(), 4);
    let observers = p.observers();
    assert_eq!(observers["x"].range().map(|r| (r.min, r.max)), Some((1.0, 4.0)));
    assert_eq!(observers["x"].count(), 480);
}

#[test]
fn values_below_the_smallest_scale_are_told() {
    let weights = |factor: f32| -> Vec<f32> { (0..16).map(|i| (i as f32 - 7.5) * factor).collect() };
    let of = |factor: f32, x: f32| {
        let mut g = Graph::new("net");
        let input = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 4usize.into()]);
        let w = g.add_constant("w", Tensor::new(&[4, 4], weights(factor)).unwrap());
        let y = g.add_node("linear", Op::MatMul, &[input, w], "y");
        g.outputs.push(y);
        let prepared = prepare_static(g, QuantConfig::default()).unwrap();
        prepared.forward(&[Tensor::new(&[1, 4], vec![x, -x, 0.0, x]).unwrap()]).unwrap();
        convert(prepared).unwrap().report.floored
    };
    assert_eq!(of(1.0, 1.0), Vec::<String>::new());
    assert_eq!(of(1e-7, 1.0), ["w"]);
    assert_eq!(of(1.0, 1e-6), ["x"]);
    // All zeros lose nothing.
    assert_eq!(of(0.0, 0.0), Vec::<String>::new());
}
