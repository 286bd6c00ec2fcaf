//! The harm that each layer does when it alone is quantized.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{CHANNELS, data, model, noise};
use tq_analysis::{
    AnalysisError, Dataset, EstimatedSensitivity, EvalOptions, Fidelity, LayerSensitivity, Runner,
    Sensitivity, SensitivityOptions, TensorKind, estimate_sensitivity, evaluate, sensitivity_analysis,
    sensitivity_with_progress,
};
use tq_graph::{Graph, Tensor};
use tq_passes::{Backend, Configuration, QConfigDict, convert, int8_qconfig, prepare_static};

fn options(kinds: &[TensorKind]) -> SensitivityOptions {
    SensitivityOptions { kinds: kinds.to_vec(), ..SensitivityOptions::default() }
}

fn analysed(graph: &Graph, labels: Option<&[i64]>, options: &SensitivityOptions) -> Sensitivity {
    sensitivity_analysis(graph, &data(graph), &data(graph), labels, options).unwrap()
}

fn of<'s>(s: &'s Sensitivity, layer: &str, kind: TensorKind) -> &'s LayerSensitivity {
    let found = s.layers.iter().find(|(name, l)| name == layer && l.kind == kind);
    &found.unwrap_or_else(|| panic!("no {layer} in {s:?}")).1
}

/// The model with the first channel of a layer's weights this many times as large.
fn with_large_channel(layer: &str, factor: f32) -> Graph {
    let mut g = model();
    let w = g.find_value(layer).unwrap();
    let tensor = g.constant(w).unwrap();
    let (dims, mut data) = (tensor.dims().to_vec(), tensor.to_f32_vec().unwrap());
    let channel = data.len() / dims[0];
    data[..channel].iter_mut().for_each(|v| *v *= factor);
    g.values[w.0].constant = Some(Tensor::new(&dims, data).unwrap());
    g
}

#[test]
fn each_layer_is_measured_as_by_hand() {
    let g = model();
    let s = analysed(&g, None, &options(&[TensorKind::Both]));
    assert_eq!(s.rows, 24);
    for node in ["conv0", "conv3", "head"] {
        let mut dict = QConfigDict::new().set_module_name(node, int8_qconfig());
        if let Some(i) = node.strip_prefix("conv") {
            dict = dict.set_module_name(format!("relu{i}"), int8_qconfig());
        }
        let prepared = prepare_static(g.clone(), Configuration { dict, ..Configuration::default() }).unwrap();
        for batch in data(&g).batches(Some(8)) {
            prepared.forward(&batch.unwrap()).unwrap();
        }
        let one = convert(prepared).unwrap().graph;
        let (a, b) = (Runner::session(&g).unwrap(), Runner::session(&one).unwrap());
        let mut fidelity = Fidelity::new(0.5);
        for batch in data(&g).batches(Some(8)) {
            let batch = batch.unwrap();
            let (x, y) = (a.run(&batch.inputs).unwrap(), b.run(&batch.inputs).unwrap());
            fidelity.add("y", &x[0], &y[0], batch.rows).unwrap();
        }
        let (expected, got) = (fidelity.figures(), of(&s, node, TensorKind::Both));
        assert_eq!((got.sqnr_db, got.agreement), (expected.sqnr_db, expected.agreement), "{node}");
        assert!((got.accuracy_drop - (1.0 - expected.agreement / 100.0)).abs() < 1e-12, "{got:?}");
    }
    // In order of harm, and nothing is dropped in silence.
    assert!(s.layers.windows(2).all(|w| w[0].1.sqnr_db <= w[1].1.sqnr_db), "{s:?}");
    let all = prepare_static(g, int8_qconfig()).unwrap().placements();
    let quantized = all.iter().filter(|n| n.placement.is_quantized() && !n.node.starts_with("relu")).count();
    assert_eq!(s.layers.len() + s.skipped.len(), quantized, "{s:?}");
    for (node, metrics) in s {
        assert!(!node.is_empty() && metrics.sqnr_db > 20.0, "{node}: {metrics:?}");
    }
}

#[test]
fn weights_and_activations_are_told_apart() {
    // One scale for all weights: a channel fifty times as large leaves the others a few codes.
    let configuration = Configuration::from(int8_qconfig()).on(Backend::Qnnpack);
    let kinds = [TensorKind::Both, TensorKind::Weights, TensorKind::Activations];
    for (w, node) in [("w1", "conv1"), ("w2", "conv2")] {
        let g = with_large_channel(w, 50.0);
        let s = analysed(
            &g,
            None,
            &SensitivityOptions { configuration: configuration.clone(), ..options(&kinds) },
        );
        let worst = s.layers.iter().find(|(_, l)| l.kind == TensorKind::Weights).unwrap();
        assert_eq!(worst.0, node, "{s:?}");
        let [both, weights, activations] = kinds.map(|k| of(&s, node, k).sqnr_db);
        assert!(weights + 3.0 < activations, "{node}: weights {weights}, activations {activations}");
        assert!(both <= weights + 1.0, "{node}: both {both}, weights {weights}");
    }
}

#[test]
fn labels_count_where_there_are_some() {
    let g = model();
    let runner = Runner::session(&g).unwrap();
    let mut labels = Vec::new();
    for batch in data(&g).batches(Some(8)) {
        let y = runner.run(&batch.unwrap().inputs).unwrap().remove(0);
        for row in y.to_f32_vec().unwrap().chunks_exact(5) {
            let best = (0..5).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
            labels.push(best as i64);
        }
    }
    // By the float model's own answers the two are the same figure.
    let (a, b) = (
        analysed(&g, None, &options(&[TensorKind::Both])),
        analysed(&g, Some(&labels), &options(&[TensorKind::Both])),
    );
    assert_eq!(a, b);
    // Labels that are wrong everywhere cannot be lost.
    labels.iter_mut().for_each(|l| *l = (*l + 1) % 5);
    let s = analysed(&g, Some(&labels), &options(&[TensorKind::Both]));
    assert!(s.layers.iter().all(|(_, l)| l.accuracy_drop <= 0.0), "{s:?}");
    let zero = evaluate(&g, &runner, &data(&g), &labels, &EvalOptions::default(), |_| ()).unwrap();
    assert_eq!(zero.top1, 0.0);
    let few =
        sensitivity_analysis(&g, &data(&g), &data(&g), Some(&labels[1..]), &options(&[TensorKind::Both]));
    assert!(matches!(few, Err(AnalysisError::Labels(_))), "{few:?}");
}

#[test]
fn the_answer_does_not_depend_on_threads() {
    let g = model();
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let seen = std::sync::atomic::AtomicUsize::new(0);
            let count = |_, all| {
                seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(all >= 6);
            };
            let o = options(&[TensorKind::Both]);
            let s = sensitivity_with_progress(&g, &data(&g), &data(&g), None, &o, count).unwrap();
            assert_eq!(seen.into_inner(), s.layers.len() + s.skipped.len());
            s
        })
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn an_estimate_is_what_is_measured_on_the_same_rows() {
    let g = model();
    // The estimate looks at no more than these rows.
    let few = Dataset::new(&g, vec![Tensor::new(&[8, CHANNELS, 12], noise(8 * CHANNELS * 12, 77)).unwrap()]);
    let few = few.unwrap();
    let options = options(&[TensorKind::Both, TensorKind::Weights, TensorKind::Activations]);
    let estimate = estimate_sensitivity(&g, &few, &options).unwrap();
    let measured = sensitivity_analysis(&g, &few, &few, None, &options).unwrap();
    assert_eq!(estimate.rows, 8);
    let moved = estimate.skipped.iter().filter(|(n, reason)| n == "flat" && reason.contains("moves codes"));
    assert_eq!((moved.count(), estimate.skipped.len()), (2, 2), "{:?}", estimate.skipped);
    for (name, truth) in &measured.layers {
        let of = |(n, l): &&(String, EstimatedSensitivity)| n == name && l.kind == truth.kind;
        // What has no weights, or moves codes, does no harm of that kind.
        let Some(found) = estimate.layers.iter().find(of) else {
            assert!(truth.sqnr_db > 100.0, "{name}: {truth:?} {estimate:?}");
            continue;
        };
        // In the whole model the mean and the head read codes in the scale of those before, which is coarser than their own.
        let least = if name.starts_with("conv") { truth.sqnr_db - 2.0 } else { f64::NEG_INFINITY };
        assert!((least..truth.sqnr_db + 2.0).contains(&found.1.sqnr_db), "{name}: {found:?} {truth:?}");
    }
    let rank = estimate.rank_correlation(&measured).unwrap();
    assert!(rank > 0.8, "{rank}: {estimate:?} {measured:?}");
    // The head is the output: nothing comes after it.
    let head = estimate.layers.iter().find(|(n, _)| n == "head").unwrap();
    assert_eq!(head.1.introduced_db, head.1.sqnr_db);
}
