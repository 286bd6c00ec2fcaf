//! Models whose codes are fewer than those of their type: what a Clip before them leaves, as training with few bits writes it.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{CHANNELS, data, model, noise};
use tq_analysis::{AdviceOptions, Dataset, FindingKind, QuantizationDebugger, advise};
use tq_graph::{Graph, Op, Tensor};
use tq_observers::MinMaxObserver;
use tq_passes::{QuantConfig, convert, int8_qconfig, prepare_static};
use tq_qat::{Tape, prepare_qat};
use tq_qtypes::QuantSpec;

/// The model in training with activations of so many bits, kept in bytes, and converted; it has seen the data and learned nothing.
fn trained(graph: &Graph, bits: u32) -> Graph {
    let spec = QuantSpec { quant_max: (1 << bits) - 1, ..QuantSpec::u8_affine() };
    let config = QuantConfig::default().activation(MinMaxObserver::new(spec, 1e-7).unwrap());
    let qat = prepare_qat(graph.clone(), config).unwrap();
    qat.train(true);
    for batch in data(graph).batches(None) {
        qat.run(&Tape::without_gradients(), &batch.unwrap().inputs).unwrap();
    }
    let q = convert(qat).unwrap().graph;
    let clips = q.nodes.iter().filter(|n| matches!(n.op, Op::Clip)).count();
    assert_eq!(clips > 0, bits < 8, "{bits} bits are kept to by Clip nodes");
    q
}

#[test]
fn few_bits_are_told_as_few_bits_and_not_as_a_wide_range() {
    let g = model();
    for bits in [3, 4] {
        let a = advise(&g, &trained(&g, bits), &data(&g), &AdviceOptions::default()).unwrap();
        assert!(!a.findings.is_empty() && a.skipped.is_empty(), "{a:#?}");
        for f in &a.findings {
            assert_eq!(f.kind, FindingKind::FewBits, "{bits} bits: {f:#?}");
            assert_eq!(f.evidence_of("bits"), Some(f64::from(bits)), "{f:#?}");
        }
    }
    let a = advise(&g, &trained(&g, 8), &data(&g), &AdviceOptions::default()).unwrap();
    assert!(a.findings.is_empty(), "{a:#?}");
}

#[test]
fn what_the_clip_cuts_off_is_told_as_clipped() {
    // Twice as large as what was seen: 16 codes end at half of it, and 256 codes of that step would hold it all.
    let g = model();
    let q = trained(&g, 4);
    let large: Vec<f32> = noise(24 * CHANNELS * 12, 77).iter().map(|v| v * 4.0).collect();
    let large = Dataset::new(&g, vec![Tensor::new(&[24, CHANNELS, 12], large).unwrap()]).unwrap();
    let a = advise(&g, &q, &large, &AdviceOptions::default()).unwrap();
    // Most of the input is beyond its codes, and of what follows much.
    assert_eq!(a.findings[0].kind, FindingKind::InputRange, "{a:#?}");
    assert_eq!(a.findings[1].kind, FindingKind::ClippedActivations, "{a:#?}");
    let layers = QuantizationDebugger::new(&g, &q, &large).unwrap().calculate_layer_errors().unwrap();
    let conv = layers.layers.iter().find(|l| l.node == "conv2").unwrap();
    assert!(conv.saturated.unwrap() > 1.0, "{conv:?}");
}

#[test]
fn dead_codes_and_histograms_count_the_codes_there_are() {
    let g = model();
    let d = data(&g);
    let all = |q: &Graph| QuantizationDebugger::new(&g, q, &d).unwrap().calculate_all(|_| ()).unwrap();
    let prepared = prepare_static(g.clone(), int8_qconfig()).unwrap();
    for batch in d.batches(None) {
        prepared.forward(&batch.unwrap()).unwrap();
    }
    let (of_eight, wide) = all(&convert(prepared).unwrap().graph);
    let (of_four, narrow) = all(&trained(&g, 4));
    let conv = of_four.layers.iter().find(|l| l.node == "conv1").unwrap();
    // 2304 values in 16 codes; of 256, nearly all would be dead.
    assert!(conv.dead_codes.unwrap() < 50.0 && of_eight.layers.len() == of_four.layers.len(), "{conv:?}");
    // Both reach as far as the data.
    for (a, b) in wide.iter().zip(&narrow) {
        let (Some(a), Some(b)) = (a.clip, b.clip) else {
            assert_eq!((a.tensor.as_str(), b.clip), ("y", None), "the output alone is real");
            continue;
        };
        assert!((b.1 / a.1 - 1.0).abs() < 0.1, "{a:?} {b:?}");
    }
}
