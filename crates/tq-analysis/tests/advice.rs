//! Faults that are put into a model by hand are told first, each by its cause; the healthy model has none.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{CHANNELS, data, model, noise};
use tq_analysis::{Advice, AdviceOptions, Dataset, Finding, FindingKind, advise};
use tq_graph::op::{ConvAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId, infer};
use tq_observers::{MinMaxObserver, PerChannelMinMaxObserver, PlaceholderObserver};
use tq_passes::{Configuration, QConfigDict, convert, int4_qconfig, int8_qconfig, prepare_static};
use tq_qtypes::{DType, Granularity, QuantSpec};

fn quantized_by(graph: &Graph, dict: impl Into<QConfigDict>, calibration: &Dataset) -> Graph {
    let config = Configuration { dict: dict.into(), ..Configuration::default() };
    let prepared = prepare_static(graph.clone(), config).unwrap();
    for batch in calibration.batches(Some(8)) {
        prepared.forward(&batch.unwrap()).unwrap();
    }
    convert(prepared).unwrap().graph
}

fn quantized(graph: &Graph, dict: impl Into<QConfigDict>) -> Graph {
    quantized_by(graph, dict, &data(graph))
}

fn advice(graph: &Graph, quantized: &Graph) -> Advice {
    advise(graph, quantized, &data(graph), &AdviceOptions::default()).unwrap()
}

/// The finding that explains most, which must be of this kind.
fn first(advice: &Advice, kind: FindingKind) -> &Finding {
    let first = advice.findings.first().unwrap_or_else(|| panic!("nothing found, {kind} expected"));
    assert_eq!(first.kind, kind, "{advice:#?}");
    first
}

fn constant<'g>(graph: &'g mut Graph, name: &str) -> &'g mut [f32] {
    let id = graph.find_value(name).unwrap_or_else(|| panic!("no {name}"));
    graph.values[id.0].constant.as_mut().unwrap().as_mut_slice::<f32>().unwrap()
}

fn scaled(graph: &mut Graph, name: &str, by: f32) {
    constant(graph, name).iter_mut().for_each(|v| *v *= by);
}

/// Weights [out, in, 3] of a convolution: those of one output, or of one input, times `by`.
fn scale_channel(graph: &mut Graph, name: &str, axis: usize, channel: usize, by: f32) {
    for (i, v) in constant(graph, name).iter_mut().enumerate() {
        let at = [i / (CHANNELS * 3), i / 3 % CHANNELS];
        if at[axis] == channel {
            *v *= by;
        }
    }
}

#[test]
fn a_healthy_model_has_no_findings() {
    let g = model();
    let a = advice(&g, &quantized(&g, int8_qconfig()));
    assert!(a.findings.is_empty() && a.skipped.is_empty(), "{a:#?}");
    assert_eq!(a.rows, 24);
    assert!(a.sqnr_db > 25.0, "{a:?}");
}

#[test]
fn an_error_without_a_known_cause_is_told_with_its_layer() {
    let g = model();
    for i in 0..4 {
        // Weights that are not the float model's, as no rounding makes them.
        let mut q = quantized(&g, int8_qconfig());
        let codes = q.find_value(&format!("w{i}_quantized")).unwrap();
        let weights = q.values[codes.0].constant.as_mut().unwrap().as_mut_slice::<i8>().unwrap();
        weights.reverse();
        let a = advice(&g, &q);
        assert!(a.sqnr_db < 10.0, "{a:#?}");
        let unexplained = a.unexplained.as_ref().unwrap_or_else(|| panic!("{a:#?}"));
        let layer = unexplained.layer.as_ref().unwrap();
        assert_eq!((layer.node.as_str(), unexplained.unmatched), (format!("conv{i}").as_str(), 0), "{a:#?}");
        assert!(
            unexplained.to_string().contains(&format!("conv{i} (Conv) errs most by itself")),
            "{unexplained}"
        );
    }
    // What is explained, or small, is not.
    let mut q = quantized(&g, int8_qconfig());
    assert_eq!(advice(&g, &q).unexplained, None);
    scaled(&mut q, "r1_scale", 1.0 / 6.0);
    let a = advice(&g, &q);
    assert!(a.sqnr_db < 20.0 && a.unexplained.is_none(), "{a:#?}");
}

#[test]
fn an_activation_channel_fifty_times_as_large() {
    for layer in 0..3 {
        let mut g = model();
        // The function stays what it was.
        scale_channel(&mut g, &format!("w{layer}"), 0, 3, 50.0);
        scale_channel(&mut g, &format!("w{}", layer + 1), 1, 3, 1.0 / 50.0);
        let a = advice(&g, &quantized(&g, int8_qconfig()));
        let f = first(&a, FindingKind::OutlierChannels);
        assert_eq!(f.tensor.as_deref(), Some(format!("r{layer}").as_str()), "{f:#?}");
        assert_eq!(
            (f.evidence_of("largest channel"), f.evidence_of("outlier channels")),
            (Some(3.0), Some(1.0))
        );
        assert!(f.nodes.contains(&format!("conv{}", layer + 1)), "{f:#?}");
        assert!(
            f.share > 30.0 && f.evidence_of("largest channel over the median one").unwrap() > 25.0,
            "{f:#?}"
        );
        assert!(f.says.contains("number 3"), "{f}");
        // Both remedies that are named repair the real thing.
        assert!(f.advice.contains("--equalize"), "{f}");
        let about = [format!("conv{layer}"), format!("relu{layer}"), format!("conv{}", layer + 1)];
        assert!(f.advice.contains(&format!("--exclude {}`", about.join(" "))), "{f}");
        assert!(f.evidence_of("the same with --equalize").unwrap() > 30.0, "{f:#?}");
        let before = a.sqnr_db;
        let mut even = g.clone();
        tq_passes::equalize(&mut even).unwrap();
        let q = quantized(&even, int8_qconfig());
        // The float model that it is held against is the one that it was, channels and all.
        let a = advice(&g, &q);
        assert!(a.findings.is_empty() && a.skipped.is_empty(), "{a:#?}");
        assert!(a.sqnr_db > before + 6.0 && a.sqnr_db > 25.0, "{} {before}", a.sqnr_db);
        let rows = data(&g);
        let layers = tq_analysis::QuantizationDebugger::new(&g, &q, &rows).unwrap();
        for l in layers.calculate_layer_errors().unwrap().layers {
            assert!(l.total_db > 20.0, "{l:?}");
        }
        let dict = about.iter().fold(QConfigDict::from(int8_qconfig()), |d, n| d.set_module_name(n, None));
        let a = advice(&g, &quantized(&g, dict));
        assert!(a.findings.iter().all(|f| f.kind != FindingKind::OutlierChannels), "{a:#?}");
        assert!(a.sqnr_db > before + 6.0 && a.sqnr_db > 25.0, "{} {before}", a.sqnr_db);
    }
}

#[test]
fn outlier_channels_that_cannot_be_scaled_are_left_in_float() {
    let mut g = model();
    scale_channel(&mut g, "w1", 0, 3, 50.0);
    scale_channel(&mut g, "w2", 1, 3, 1.0 / 50.0);
    // A clamp with an end, far from where it matters, minds the size of channels.
    let end = g.add_constant("end", Tensor::scalar(1e6f32));
    let zero = g.add_constant("zero", Tensor::scalar(0.0f32));
    let relu = g.nodes.iter_mut().find(|n| n.name == "relu1").unwrap();
    relu.op = Op::Clip;
    relu.inputs.extend([Some(zero), Some(end)]);
    infer::infer(&mut g).unwrap();
    let a = advice(&g, &quantized(&g, int8_qconfig()));
    let f = first(&a, FindingKind::OutlierChannels);
    assert!(
        f.advice.contains("--exclude conv1 relu1 conv2") && f.advice.contains("does not help here"),
        "{f}"
    );
    let cost = f.evidence_of("multiplications of the layers to be left in float").unwrap();
    assert!((45.0..50.0).contains(&cost), "two of four convolutions and a small head: {cost}");
}

#[test]
fn a_weight_channel_fifty_times_as_large_under_one_scale() {
    // Weights alone are codes: activations have no part in it.
    let one_scale =
        int8_qconfig().activation(PlaceholderObserver::default()).weight(MinMaxObserver::symmetric());
    let healthy = model();
    let a = advice(&healthy, &quantized(&healthy, one_scale.clone()));
    assert!(a.findings.is_empty(), "{a:#?}");
    for layer in 0..3 {
        let mut g = model();
        scale_channel(&mut g, &format!("w{layer}"), 0, 5, 50.0);
        scale_channel(&mut g, &format!("w{}", layer + 1), 1, 5, 1.0 / 50.0);
        let a = advice(&g, &quantized(&g, one_scale.clone()));
        let f = first(&a, FindingKind::OutlierWeights);
        assert_eq!(f.nodes, [format!("conv{layer}")], "{f:#?}");
        assert!(f.share > 30.0 && f.advice.contains("per_channel_min_max"), "{f:#?}");
        // With a scale a channel nothing of the kind is left.
        let a = advice(&g, &quantized(&g, int8_qconfig().activation(PlaceholderObserver::default())));
        assert!(a.findings.iter().all(|f| f.kind != FindingKind::OutlierWeights), "{a:#?}");
    }
}

/// A depthwise convolution and one of 1 after it that gives each channel the same weight in the end.
fn depthwise(factor: f32) -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), CHANNELS.into(), 12usize.into()]);
    let attrs = |groups: usize, pad: usize| ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![pad], end: vec![pad] },
        groups,
    };
    let size = |c: usize| factor.powi(c as i32 % 4);
    let w: Vec<f32> = noise(CHANNELS * 3, 5).iter().enumerate().map(|(i, v)| v * size(i / 3)).collect();
    let w = g.add_constant("dw", Tensor::new(&[CHANNELS, 1, 3], w).unwrap());
    let d = g.add_node("depthwise", Op::Conv(attrs(CHANNELS, 1)), &[x, w], "d");
    let w: Vec<f32> =
        noise(5 * CHANNELS, 6).iter().enumerate().map(|(i, v)| v / size(i % CHANNELS)).collect();
    let w = g.add_constant("pw", Tensor::new(&[5, CHANNELS, 1], w).unwrap());
    let p = g.add_node("pointwise", Op::Conv(attrs(1, 0)), &[d, w], "p");
    let y = g.add_node("pool", Op::GlobalAveragePool, &[p], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn depthwise_weights_under_one_scale() {
    let one_scale =
        int8_qconfig().activation(PlaceholderObserver::default()).weight(MinMaxObserver::symmetric());
    let g = depthwise(0.2);
    let f = advice(&g, &quantized(&g, one_scale.clone()));
    let f = first(&f, FindingKind::DepthwisePerTensor);
    assert_eq!(f.nodes, ["depthwise"], "{f:#?}");
    let a = advice(&g, &quantized(&g, int8_qconfig().activation(PlaceholderObserver::default())));
    assert!(a.findings.is_empty(), "{a:#?}");
    let even = depthwise(1.0);
    let a = advice(&even, &quantized(&even, one_scale));
    assert!(a.findings.is_empty(), "{a:#?}");
}

#[test]
fn a_clipped_activation() {
    let g = model();
    let healthy = quantized(&g, int8_qconfig());
    for tensor in ["x", "r0", "r1", "r2", "r3"] {
        let mut q = healthy.clone();
        scaled(&mut q, &format!("{tensor}_scale"), 1.0 / 6.0);
        let a = advice(&g, &q);
        // Of an input most of which is beyond its codes it cannot be told whose fault that is.
        let kind = if tensor == "x" { FindingKind::InputRange } else { FindingKind::ClippedActivations };
        let f = first(&a, kind);
        assert_eq!(f.tensor.as_deref(), Some(tensor), "{f:#?}");
        assert!(f.evidence_of("values beyond the codes").unwrap() > 5.0 && f.share > 80.0, "{f:#?}");
        let over = f.evidence_of("data over the range").unwrap();
        assert!((5.5..6.1).contains(&over), "{over}");
    }
}

#[test]
fn an_input_mostly_beyond_its_codes_is_other_data() {
    let g = model();
    // Four times as large as calibrated for, on both sides: within the factor that is told of any data.
    let mut q = quantized(&g, int8_qconfig());
    scaled(&mut q, "x_scale", 0.25);
    let a = advice(&g, &q);
    let f = first(&a, FindingKind::InputRange);
    let beyond = f.evidence_of("values beyond the codes").unwrap();
    assert!((70.0..80.0).contains(&beyond) && f.says.contains("% of its values lie beyond"), "{f:#?}");
    // Less than half of it is an input whose codes cut off too much.
    let mut q = quantized(&g, int8_qconfig());
    scaled(&mut q, "x_scale", 0.6);
    let a = advice(&g, &q);
    let f = first(&a, FindingKind::ClippedActivations);
    assert_eq!(f.tensor.as_deref(), Some("x"), "{f:#?}");
    // What lies within the network is no input, however much of it is cut off.
    let mut q = quantized(&g, int8_qconfig());
    scaled(&mut q, "r0_scale", 1.0 / 200.0);
    assert!(advice(&g, &q).findings.iter().all(|f| f.kind != FindingKind::InputRange));
}

#[test]
fn a_range_far_wider_than_the_data() {
    let g = model();
    let healthy = quantized(&g, int8_qconfig());
    for tensor in ["x", "r0", "r1", "r2", "r3"] {
        let mut q = healthy.clone();
        scaled(&mut q, &format!("{tensor}_scale"), 20.0);
        let f = advice(&g, &q);
        let f = first(&f, FindingKind::WideRange);
        assert_eq!(f.tensor.as_deref(), Some(tensor), "{f:#?}");
        assert!(f.evidence_of("codes that no value becomes").unwrap() > 90.0, "{f:#?}");
        assert!(f.says.contains("never used"), "{f}");
        // Twice as wide is what a sample of rows may see of what calibration has seen.
        let mut q = healthy.clone();
        scaled(&mut q, &format!("{tensor}_scale"), 2.0);
        let a = advice(&g, &q);
        assert!(a.findings.is_empty(), "{a:#?}");
    }
}

#[test]
fn a_range_for_the_sake_of_few_values() {
    // What is beyond 4 is all the same after a sigmoid, so that a range for it serves nobody.
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 200usize.into()]);
    let s = g.add_node("squash", Op::Unary(UnaryOp::Sigmoid), &[x], "s");
    let w = g.add_constant("w", Tensor::new(&[200, 5], noise(1000, 3)).unwrap());
    let y = g.add_node("head", Op::MatMul, &[s, w], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    let mut values = noise(200 * 200, 4);
    let even = Dataset::new(&g, vec![Tensor::new(&[200, 200], values.clone()).unwrap()]).unwrap();
    let all = AdviceOptions { rows: 200, ..AdviceOptions::default() };
    (values[777], values[30_001]) = (90.0, -80.0);
    let data = Dataset::new(&g, vec![Tensor::new(&[200, 200], values).unwrap()]).unwrap();
    let a = advise(&g, &quantized_by(&g, int8_qconfig(), &data), &data, &all).unwrap();
    let f = first(&a, FindingKind::WideRange);
    assert_eq!(f.tensor.as_deref(), Some("x"));
    assert!(f.says.contains("few values") && f.advice.contains("mse"), "{f}");
    let a = advise(&g, &quantized_by(&g, int8_qconfig(), &even), &even, &all).unwrap();
    assert!(a.findings.is_empty(), "{a:#?}");
}

#[test]
fn few_bits() {
    let g = model();
    let spec = QuantSpec { dtype: DType::I2, ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 }) };
    let spec = QuantSpec { quant_min: -2, quant_max: 1, ..spec };
    let two = int8_qconfig().weight(PerChannelMinMaxObserver::with_spec(spec, f32::EPSILON).unwrap());
    for i in 0..4 {
        let node = format!("conv{i}");
        let dict = QConfigDict::from(int8_qconfig()).set_module_name(&node, two.clone());
        let a = advice(&g, &quantized(&g, dict));
        let f = first(&a, FindingKind::FewBits);
        assert_eq!((&f.nodes[..], f.evidence_of("bits")), (&[node][..], Some(2.0)), "{f:#?}");
        assert!(f.share > 80.0 && f.advice.contains("int8"), "{f:#?}");
    }
    // Of a model of 4 bits those layers are told that matter, and the one of 2 bits among them first.
    let dict = QConfigDict::from(int4_qconfig()).set_module_name("conv2", two);
    let a = advice(&g, &quantized(&g, dict));
    assert_eq!(first(&a, FindingKind::FewBits).nodes, ["conv2"], "{a:#?}");
    // Four bits in codes of eight are four bits.
    let spec = QuantSpec { quant_min: -7, quant_max: 7, ..QuantSpec::i8_symmetric(Granularity::PerTensor) };
    let narrow = int8_qconfig().weight(MinMaxObserver::new(spec, f32::EPSILON).unwrap());
    let dict = QConfigDict::from(int8_qconfig()).set_module_name("conv1", narrow);
    let a = advice(&g, &quantized(&g, dict));
    assert_eq!(first(&a, FindingKind::FewBits).evidence_of("bits"), Some(4.0), "{a:#?}");
}

#[test]
fn one_sided_data_in_symmetric_codes() {
    let g = model();
    let symmetric = int8_qconfig().activation(MinMaxObserver::symmetric());
    let a = advice(&g, &quantized(&g, symmetric));
    let f = first(&a, FindingKind::AsymmetricData);
    // The four after a Relu, and the mean of the last, flattened; the input has two sides.
    assert_eq!((f.evidence_of("activations"), f.tensor.as_deref()), (Some(6.0), Some("r0")), "{f:#?}");
    assert!(f.evidence_of("codes that no value becomes").unwrap() > 45.0 && f.share > 30.0, "{f:#?}");
    assert!(!f.nodes.contains(&"x".to_owned()) && f.advice.contains("asymmetric"), "{f:#?}");
}

/// The network with a bias in every convolution.
fn with_biases() -> Graph {
    let mut g = model();
    let convs: Vec<usize> = (0..g.nodes.len()).filter(|i| matches!(g.nodes[*i].op, Op::Conv(_))).collect();
    for (i, at) in convs.into_iter().enumerate() {
        let bias = Tensor::vector(noise(CHANNELS, 20 + i as u32).iter().map(|b| b + 1.0).collect());
        let b = g.add_constant(format!("b{i}"), bias);
        g.nodes[at].inputs.push(Some(b));
    }
    infer::infer(&mut g).unwrap();
    g
}

/// Gives one channel of `w1` a scale at which its bias does not fit 32 bits, as tools do that take the scale of nearly
/// zero weights as it comes. Returns the value that conv1 reads as its bias, and what the bias is in units.
fn overflow(g: &mut Graph, q: &mut Graph) -> (ValueId, f64) {
    scale_channel(g, "w1", 0, 2, 1e-9);
    *q = quantized(g, int8_qconfig());
    let bias = constant(g, "b1")[2];
    let tiny = 1e-13f32;
    constant(q, "w1_scale")[2] = tiny;
    let product = constant(q, "r0_scale")[0] * tiny;
    let node = q.nodes.iter().find(|n| n.name == "conv1").unwrap();
    (node.input(2).unwrap(), f64::from(bias) / f64::from(product))
}

#[test]
fn a_bias_that_does_not_fit() {
    let mut g = with_biases();
    let mut q = quantized(&g, int8_qconfig());
    let a = advice(&g, &q);
    assert!(a.findings.is_empty(), "{a:#?}");
    let (dequantized, units) = overflow(&mut g, &mut q);
    assert!(units.abs() > 2f64.powi(31), "{units}");
    // Where the bias is codes they are cut off.
    let (codes, scales) = {
        let node = q.nodes.iter().find(|n| n.output(0) == Some(dequantized)).unwrap();
        (node.input(0).unwrap(), node.input(1).unwrap())
    };
    let (x, w) = (constant(&mut q, "r0_scale")[0], constant(&mut q, "w1_scale").to_vec());
    let mut cut = q.clone();
    cut.values[codes.0].constant.as_mut().unwrap().as_mut_slice::<i32>().unwrap()[2] = i32::MAX;
    let products = cut.values[scales.0].constant.as_mut().unwrap().as_mut_slice::<f32>().unwrap();
    products.iter_mut().zip(&w).for_each(|(p, w)| *p = x * w);
    let a = advice(&g, &cut);
    let f = first(&a, FindingKind::BiasOverflow);
    assert_eq!((&f.nodes[..], f.tensor.as_deref()), (&["conv1".to_owned()][..], Some("b1")), "{f:#?}");
    assert!(f.share > 50.0, "{f:#?}");
    // Where it is float the layer cannot run in integers.
    let bias = g.constant(g.find_value("b1").unwrap()).unwrap().clone();
    q.nodes.retain(|n| n.output(0) != Some(dequantized));
    q.values[dequantized.0].constant = Some(bias);
    let a = advice(&g, &q);
    let f =
        a.findings.iter().find(|f| f.kind == FindingKind::BiasOverflow).unwrap_or_else(|| panic!("{a:#?}"));
    assert_eq!((&f.nodes[..], f.evidence_of("channel")), (&["conv1".to_owned()][..], Some(2.0)), "{f:#?}");
    let told = f.evidence_of("largest bias in units of the accumulator").unwrap();
    assert!((told / units.abs() - 1.0).abs() < 1e-3, "{told} {units}");
}

#[test]
fn a_layer_in_float_between_integers() {
    let g = model();
    for i in [1, 2] {
        let node = format!("conv{i}");
        let dict = QConfigDict::from(int8_qconfig()).set_module_name(&node, None);
        let a = advice(&g, &quantized(&g, dict));
        let f = first(&a, FindingKind::FloatIsland);
        assert!(f.nodes.contains(&node), "{f:#?}");
        assert!(f.time_share.unwrap() > 1.0 && f.noise == 0.0 && f.advice.contains("--exclude"), "{f:#?}");
    }
    // At the end of the network there is no other side.
    let dict = QConfigDict::from(int8_qconfig()).set_module_name("head", None);
    let a = advice(&g, &quantized(&g, dict));
    assert!(a.findings.is_empty(), "{a:#?}");
}

#[test]
fn calibration_that_saw_less() {
    let g = model();
    let small: Vec<f32> = noise(24 * CHANNELS * 12, 77).iter().map(|v| v * 0.2).collect();
    let small = Dataset::new(&g, vec![Tensor::new(&[24, CHANNELS, 12], small).unwrap()]).unwrap();
    let q = quantized_by(&g, int8_qconfig(), &small);
    let with = |calibration: Option<Dataset>| {
        advise(&g, &q, &data(&g), &AdviceOptions { calibration, ..AdviceOptions::default() }).unwrap()
    };
    let a = with(Some(small.clone()));
    let f = first(&a, FindingKind::NarrowCalibration);
    assert!(
        f.evidence_of("activations beyond what calibration saw").unwrap() >= 5.0 && f.share > 80.0,
        "{f:#?}"
    );
    assert!(a.findings.iter().all(|f| f.kind != FindingKind::ClippedActivations), "{a:#?}");
    // Without that data it is told of each activation that it is cut off, and of the input first that it is other data.
    let a = with(None);
    first(&a, FindingKind::InputRange);
    assert_eq!(a.findings[1].kind, FindingKind::ClippedActivations, "{a:#?}");
    // Ranges that cut off the calibration data too are not its fault.
    let mut clipped = quantized(&g, int8_qconfig());
    scaled(&mut clipped, "r1_scale", 1.0 / 6.0);
    let options = AdviceOptions { calibration: Some(data(&g)), ..AdviceOptions::default() };
    let a = advise(&g, &clipped, &data(&g), &options).unwrap();
    first(&a, FindingKind::ClippedActivations);
}

#[test]
fn what_has_no_counterpart_is_told_and_no_data_is_an_error() {
    let g = model();
    let mut other = quantized(&g, int8_qconfig());
    for value in other.values.iter_mut().filter(|v| v.name.starts_with("r2") || v.name.starts_with("w2")) {
        value.name.insert_str(0, "else");
    }
    // The weights have their node still.
    assert_eq!(advice(&g, &other).skipped.len(), 1);
    other.nodes.iter_mut().find(|n| n.name == "conv2").unwrap().name = "else".into();
    let a = advice(&g, &other);
    assert_eq!(a.skipped.len(), 2, "{:?}", a.skipped);
    assert!(
        a.skipped.iter().any(|(name, why)| name == "elser2_quantized" && why.contains("no tensor")),
        "{a:?}"
    );
    let options = AdviceOptions { output: Some("z".into()), ..AdviceOptions::default() };
    assert!(advise(&g, &other, &data(&g), &options).unwrap_err().to_string().contains("z"));
}

#[test]
fn data_that_is_not_finite_is_refused_and_a_model_that_makes_such_is_told() {
    let g = model();
    let q = quantized(&g, int8_qconfig());
    let mut values = noise(24 * CHANNELS * 12, 77);
    values[5 * CHANNELS * 12 + 7] = f32::NAN;
    let bad = Dataset::new(&g, vec![Tensor::new(&[24, CHANNELS, 12], values).unwrap()]).unwrap();
    let named = "input x: row 5 holds NaN (element 7 of it)";
    let refused = |e: tq_analysis::AnalysisError| assert!(e.to_string().starts_with(named), "{e}");
    let options = AdviceOptions::default();
    refused(advise(&g, &q, &bad, &options).unwrap_err());
    let calibration = AdviceOptions { calibration: Some(bad.clone()), ..options.clone() };
    refused(advise(&g, &q, &data(&g), &calibration).unwrap_err());
    let errors = tq_analysis::QuantizationDebugger::new(&g, &q, &bad).unwrap();
    refused(errors.calculate_layer_errors().unwrap_err());
    let compare = tq_analysis::CompareOptions::default();
    refused(tq_analysis::compare_models(&g, &q, &bad, None, &compare).unwrap_err());
    let of = tq_analysis::SensitivityOptions::default();
    refused(tq_analysis::sensitivity_analysis(&g, &data(&g), &bad, None, &of).unwrap_err());
    refused(tq_analysis::sensitivity_analysis(&g, &bad, &data(&g), None, &of).unwrap_err());
    refused(tq_analysis::estimate_sensitivity(&g, &bad, &of).unwrap_err());

    // A square root of what is negative in some rows, half way through.
    let mut root = model();
    let r1 = root.find_value("r1").unwrap();
    let shift = root.add_constant("shift", Tensor::scalar(-0.5f32));
    let less = root.add_value("less", None, None);
    let rooted = root.add_value("rooted", None, None);
    let at = root.nodes.iter().position(|n| n.name == "conv2").unwrap();
    root.nodes[at].inputs[0] = Some(rooted);
    let node = |name: &str, op, inputs: &[ValueId], out| tq_graph::Node {
        name: name.into(),
        op,
        inputs: inputs.iter().map(|v| Some(*v)).collect(),
        outputs: vec![Some(out)],
    };
    root.nodes.insert(at, node("root", Op::Unary(UnaryOp::Sqrt), &[less], rooted));
    root.nodes.insert(at, node("shifted", Op::Binary(tq_graph::op::BinaryOp::Add), &[r1, shift], less));
    infer::infer(&mut root).unwrap();
    // Codes of the healthy model: the root's own could not be calibrated.
    let mut q = root.clone();
    let scale = q.add_constant("rooted_scale", Tensor::scalar(0.05f32));
    let zero = q.add_constant("rooted_zero_point", Tensor::scalar(0u8));
    let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let at = q.nodes.iter().position(|n| n.name == "conv2").unwrap();
    let codes = q.add_value("rooted_quantized", None, None);
    let real = q.add_value("rooted_dequantized", None, None);
    q.nodes[at].inputs[0] = Some(real);
    let dequantize = Op::DequantizeLinear { axis: 1, block_size: 0 };
    let rooted = q.find_value("rooted").unwrap();
    q.nodes.insert(at, node("dq", dequantize, &[codes, scale, zero], real));
    q.nodes.insert(at, node("q", quantize, &[rooted, scale, zero], codes));
    infer::infer(&mut q).unwrap();
    let a = advise(&root, &q, &data(&root), &options).unwrap();
    let f = first(&a, FindingKind::NotFinite);
    assert_eq!((f.tensor.as_deref(), f.nodes[0].as_str()), (Some("rooted"), "root"), "{f:#?}");
    // There is nothing to compare with.
    let e = tq_analysis::compare_models(&root, &q, &data(&root), None, &compare).unwrap_err();
    assert!(e.to_string().contains("y") && e.to_string().contains("NaN to row"), "{e}");
}
