//! Layers of the builder, statically quantized: they run in integers, agree on every kernel, and hold to the judge.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::{Numbers, assert_integer, executions, sessions};
use std::collections::BTreeMap;
use tq_eval::{Evaluator, Precision};
use tq_graph::builder::*;
use tq_graph::{Dim, Graph, GraphError, Tensor, ValueId};
use tq_passes::module_type::Bilinear as BilinearType;
use tq_passes::{
    PassError, Placement, QConfigDict, Quantized, Recipe, Rule, convert, default_dynamic_qconfig, explain,
    int8_qconfig, quantize_fx, w8_qconfig,
};
use tq_qtypes::{DType, OperatorKind};
use tq_runtime::{Execution, Session, judge};

fn noise(dims: &[usize], seed: u64) -> Tensor {
    let mut numbers = Numbers(seed);
    Tensor::new(dims, (0..dims.iter().product()).map(|_| 2.0 * numbers.real() - 1.0).collect()).unwrap()
}

/// A model of inputs of these shapes, the first axis free, and random weights.
fn model(
    inputs: &[&[usize]],
    apply: impl FnOnce(&mut Builder, &[ValueId]) -> Result<ValueId, GraphError>,
) -> Graph {
    let mut b = Graph::builder();
    let dims = |shape: &[usize]| {
        let rest = shape[1..].iter().map(|d| Dim::from(*d));
        std::iter::once(Dim::symbol("N")).chain(rest).collect::<Vec<_>>()
    };
    let xs: Vec<ValueId> = inputs
        .iter()
        .enumerate()
        .map(|(i, s)| b.input(format!("x{i}"), DType::F32, dims(s)).unwrap())
        .collect();
    let y = apply(&mut b, &xs).unwrap();
    b.output("y", y).unwrap();
    b.initialize(7).unwrap();
    b.build().unwrap()
}

/// Calibrates with noise, converts, and holds every session to the others and to the judge.
fn quantize(model: Graph, dict: impl Into<QConfigDict>, inputs: &[&[usize]]) -> (Quantized, Session) {
    let data = |rows: usize, seed: u64| -> Vec<Tensor> {
        let dims = |s: &&[usize]| std::iter::once(rows).chain(s[1..].iter().copied()).collect::<Vec<_>>();
        inputs.iter().zip(seed..).map(|(s, seed)| noise(&dims(s), seed)).collect()
    };
    let prepared = quantize_fx(model, dict, tq_passes::BackendConfig::default()).unwrap();
    for seed in 0..4 {
        prepared.forward(&data(3, 100 * seed)).unwrap();
    }
    let planned = prepared.placements();
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes, "the plan did not come true");
    let all = sessions(&quantized.graph);
    for rows in [1, 5] {
        let inputs = data(rows, 1000);
        let expected = all[0].run(&inputs).unwrap();
        assert!(all.iter().all(|s| s.run(&inputs).unwrap() == expected), "kernels differ");
        let report = judge(&all[0], &inputs).unwrap();
        assert!(report.holds() && report.totals().0 + report.operators.len() as u64 > 0, "{report}");
    }
    let session = all.into_iter().next().unwrap();
    (quantized, session)
}

/// A bilinear layer between a function of its first input and one of its result.
fn bilinear(bias: bool, rank: usize) -> (Graph, Vec<Vec<usize>>) {
    let shape = |n: usize| [vec![1], vec![4; rank - 2], vec![n]].concat();
    let shapes = vec![shape(6), shape(5)];
    let inputs: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    let graph = model(&inputs, |b, x| {
        let x1 = b.layer("before", x[0], Tanh)?;
        let y = b.bilinear("match", x1, x[1], Bilinear::new(6, 5, 7).bias(bias))?;
        b.layer("after", y, Sigmoid)
    });
    (graph, shapes)
}

#[test]
fn a_rule_for_bilinear_wins_for_all_its_nodes_and_they_run_in_integers() {
    for (bias, rank) in [(true, 2), (false, 3)] {
        let (graph, shapes) = bilinear(bias, rank);
        let dict = QConfigDict::new().set_module_type::<BilinearType>(int8_qconfig());
        let plans = explain(&graph, &dict, &tq_passes::BackendConfig::default()).unwrap();
        let of_layer: Vec<_> =
            plans.iter().filter(|p| p.module_type.as_deref() == Some("Bilinear")).collect();
        assert_eq!(of_layer.len(), 5 + usize::from(bias), "{plans:#?}");
        for plan in &of_layer {
            assert_eq!(plan.rule, Rule::ModuleType { name: "Bilinear".into() }, "{plan}");
            assert!(plan.path.starts_with("match"), "{plan}");
            // The result of a last product stays float, and so does what only reshapes it.
            let last = plan.op == "Squeeze" && !bias;
            assert!(matches!(plan.placement, Placement::Integer { .. }) || last, "{plan}");
        }
        let floats = plans.iter().filter(|p| p.rule == Rule::Global);
        assert_eq!(floats.map(|p| p.op.as_str()).collect::<Vec<_>>(), ["Tanh", "Sigmoid"]);

        let inputs: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let (_, session) = quantize(graph, dict, &inputs);
        assert_integer(&session, "MatMul");
        assert_eq!(executions(&session, "MatMul").len(), 2);
        assert!(executions(&session, "Sigmoid").iter().all(|(e, _)| *e == Execution::Float));
    }
}

/// Other rules find the layer too, and none for linear layers.
#[test]
fn a_bilinear_layer_is_no_linear_one() {
    let (graph, _) = bilinear(true, 2);
    let linear = QConfigDict::new().set_module_type_name("Linear", int8_qconfig());
    let prepared = quantize_fx(graph, linear, tq_passes::BackendConfig::default()).unwrap();
    assert!(prepared.placements().iter().all(|n| !matches!(n.placement, Placement::Integer { .. })));
    assert!(prepared.warnings()[0].contains("Linear"), "{:?}", prepared.warnings());

    // Who reads the product between takes the layer apart.
    let open = model(&[&[1, 6], &[1, 5]], |b, x| {
        let y = b.bilinear("match", x[0], x[1], Bilinear::new(6, 5, 7))?;
        let between = b.layer("look", y, Tanh)?;
        Ok(between)
    });
    let mut open = open;
    let between = open.nodes.iter().find(|n| n.name.contains("reshape")).unwrap().output(0).unwrap();
    open.outputs.push(between);
    let plans = explain(&open, &int8_qconfig().into(), &tq_passes::BackendConfig::default()).unwrap();
    assert!(plans.iter().all(|p| p.module_type.as_deref() != Some("Bilinear")));
}

/// Windows of different extents: products with constant matrices of means, all in integers.
#[test]
fn adaptive_average_pools_of_uneven_windows() {
    let tail = |b: &mut Builder, y| b.layer("after", y, Hardswish);
    let one: &[usize] = &[1, 3, 10];
    let two: &[usize] = &[1, 3, 7, 9];
    let three: &[usize] = &[1, 2, 5, 7, 4];
    let graphs = [
        (
            one,
            model(&[one], |b, x| {
                let y = b.layer("pool", x[0], AdaptiveAvgPool1d::new(4))?;
                tail(b, y)
            }),
            1,
        ),
        (
            two,
            model(&[two], |b, x| {
                let y = b.layer("pool", x[0], AdaptiveAvgPool2d::new([3, 4]))?;
                tail(b, y)
            }),
            2,
        ),
        (
            three,
            model(&[three], |b, x| {
                let y = b.layer("pool", x[0], AdaptiveAvgPool3d::new([2, 7, 3]))?;
                tail(b, y)
            }),
            2,
        ),
        // Larger than the input: every element stands in several windows.
        (
            one,
            model(&[one], |b, x| {
                let y = b.layer("pool", x[0], AdaptiveAvgPool1d::new(13))?;
                tail(b, y)
            }),
            1,
        ),
    ];
    for (shape, graph, products) in graphs {
        let float = Evaluator::new(&graph, Precision::F64).unwrap();
        let (_, session) = quantize(graph, int8_qconfig(), &[shape]);
        assert_eq!(executions(&session, "MatMul").len(), products);
        let floats: Vec<_> = session.explain().floats().map(|n| n.node.clone()).collect();
        assert!(floats.is_empty(), "{floats:?}\n{}", session.explain());
        // And it is what the float model gives (which is held to PyTorch), on data that lies within the ranges.
        let x = noise(&[&[3], &shape[1..]].concat(), 0);
        let want = float.run(std::slice::from_ref(&x)).unwrap()[0].to_f64_vec().unwrap();
        let got = session.run(&[x]).unwrap()[0].to_f64_vec().unwrap();
        assert_eq!(got.len(), want.len());
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst < 0.02, "{worst}");
    }
}

/// What average and largest-element pools offer, behind a convolution over as many axes.
#[test]
fn pools_with_ceil_mode_and_dilations_after_convolutions() {
    let one: &[usize] = &[1, 2, 11];
    let two: &[usize] = &[1, 2, 9, 8];
    let three: &[usize] = &[1, 2, 6, 5, 7];
    let graphs = [
        (
            one,
            model(&[one], |b, x| {
                let y = b.layer("conv", x[0], Conv1d::new(2, 4, 3).padding(1))?;
                let y = b.layer("avg", y, AvgPool1d::new(3).stride(2).padding(1).ceil_mode(true))?;
                b.layer("max", y, MaxPool1d::new(2).stride(1).dilation(2))
            }),
        ),
        (
            two,
            model(&[two], |b, x| {
                let y = b.layer("conv", x[0], Conv2d::new(2, 4, 3).padding(1))?;
                let avg =
                    AvgPool2d::new([3, 2]).stride(2).padding([1, 0]).ceil_mode(true).count_include_pad(false);
                let y = b.layer("avg", y, avg)?;
                b.layer("max", y, MaxPool2d::new(2).stride(1).dilation([2, 1]).ceil_mode(true))
            }),
        ),
        (
            three,
            model(&[three], |b, x| {
                let y = b.layer("conv", x[0], Conv3d::new(2, 4, 3).padding(1))?;
                let avg = AvgPool3d::new(2).stride([2, 1, 2]).padding([0, 1, 1]).ceil_mode(true);
                let y = b.layer("avg", y, avg)?;
                b.layer("max", y, MaxPool3d::new(2).stride(1).dilation([1, 2, 1]))
            }),
        ),
    ];
    for (shape, graph) in graphs {
        let (_, session) = quantize(graph, int8_qconfig(), &[shape]);
        for op in ["Conv", "AveragePool", "MaxPool"] {
            assert_integer(&session, op);
        }
    }
}

/// Weights that are no numbers load, as floats may be NaN; quantization names them.
#[test]
fn weights_that_are_not_finite_are_named() {
    for bad in [f32::NAN, f32::INFINITY] {
        let mut b = Graph::builder();
        let x = b.input("x", DType::F32, [Dim::symbol("N"), 3usize.into()]).unwrap();
        let y = b.layer("features.0", x, Linear::new(3, 2)).unwrap();
        b.output("y", y).unwrap();
        let mut weight = vec![0.5f32; 6];
        weight[4] = bad;
        let tensors = BTreeMap::from([
            ("features.0.weight".to_owned(), Tensor::new(&[2, 3], weight).unwrap()),
            ("features.0.bias".to_owned(), Tensor::vector(vec![0.0f32, 1.0])),
        ]);
        b.load_weights(&write_safetensors(&tensors).unwrap()).unwrap();
        let graph = b.build().unwrap();
        for qconfig in [int8_qconfig(), default_dynamic_qconfig(), w8_qconfig()] {
            let error = quantize_fx(graph.clone(), qconfig, tq_passes::BackendConfig::default()).unwrap_err();
            assert!(
                matches!(&error, PassError::NonFiniteConstant { node, tensor, count: 1 }
                    if node == "features.0" && tensor == "features.0.weight"),
                "{error}"
            );
        }
    }
}

/// A slope a channel: a table a channel, after convolutions and rows of features.
#[test]
fn slopes_of_channels_are_tables() {
    let rows: &[usize] = &[1, 6];
    let one: &[usize] = &[1, 3, 11];
    let two: &[usize] = &[1, 3, 9, 8];
    let three: &[usize] = &[1, 3, 4, 5, 3];
    let tail = |b: &mut Builder, y| {
        let y = b.layer("prelu", y, PReLU::new(6))?;
        b.layer("after", y, Tanh)
    };
    let graphs = [
        (rows, model(&[rows], |b, x| tail(b, x[0]))),
        (
            one,
            model(&[one], |b, x| {
                let y = b.layer("conv", x[0], Conv1d::new(3, 6, 3))?;
                tail(b, y)
            }),
        ),
        (
            two,
            model(&[two], |b, x| {
                let y = b.layer("conv", x[0], Conv2d::new(3, 6, 3))?;
                tail(b, y)
            }),
        ),
        (
            three,
            model(&[three], |b, x| {
                let y = b.layer("conv", x[0], Conv3d::new(3, 6, 2))?;
                tail(b, y)
            }),
        ),
    ];
    for (shape, mut graph) in graphs {
        // Every channel has another slope.
        let slopes = graph.values.iter_mut().find(|v| v.name == "prelu.slope").unwrap();
        let dims = slopes.constant.as_ref().unwrap().dims().to_vec();
        let values = (0..6).map(|i| 0.4 * i as f32 - 0.9).collect();
        slopes.constant = Some(Tensor::new(&dims, values).unwrap());
        let (_, session) = quantize(graph, int8_qconfig(), &[shape]);
        assert_integer(&session, "PRelu");
        assert_eq!(session.explain().floats().count(), 0, "{}", session.explain());
    }
}

#[test]
fn linear_layers_with_4_bit_weights_in_groups() {
    let graph = model(&[&[1, 3, 6, 6]], |b, x| {
        let y = b.layer("conv", x[0], Conv2d::new(3, 8, 3))?;
        let y = b.layer("relu", y, ReLU)?;
        let y = b.layer("flatten", y, Flatten::default())?;
        let y = b.layer("hidden", y, Linear::new(8 * 4 * 4, 50))?;
        let y = b.layer("relu2", y, ReLU)?;
        b.layer("last", y, Linear::new(50, 10).bias(false))
    });
    let (quantized, session) = quantize(graph, Recipe::W4a8, &[&[1, 3, 6, 6]]);
    assert_integer(&session, "Conv");
    assert_integer(&session, "Gemm");
    let linear: Vec<_> = quantized
        .report
        .nodes
        .iter()
        .filter(|n| matches!(n.placement, Placement::Integer { kind: OperatorKind::GroupWiseLinear, .. }))
        .map(|n| n.node.as_str())
        .collect();
    assert_eq!(linear.len(), 2, "{:?}", quantized.report.nodes);
}
