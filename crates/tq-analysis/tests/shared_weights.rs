//! Weights that two layers read: each has codes of its own, and both are the float model's.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{data, model};
use tq_analysis::{
    AdviceOptions, FindingKind, SensitivityOptions, TensorKind, advise, estimate_sensitivity,
    sensitivity_analysis,
};
use tq_graph::{Graph, infer};
use tq_observers::PerChannelMinMaxObserver;
use tq_passes::{QConfigDict, convert, int8_qconfig, prepare_static};
use tq_qtypes::{DType, Granularity, QuantSpec};

/// The last two convolutions have the weights of the second.
fn shared() -> Graph {
    let mut g = model();
    let w = g.find_value("w1").unwrap();
    for node in g.nodes.iter_mut().filter(|n| ["conv2", "conv3"].contains(&n.name.as_str())) {
        node.inputs[1] = Some(w);
    }
    g.compact();
    infer::infer(&mut g).unwrap();
    g
}

/// Weights of two bits, with a scale a channel.
fn two_bits() -> tq_passes::QConfig {
    let spec = QuantSpec { dtype: DType::I2, ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 }) };
    let spec = QuantSpec { quant_min: -2, quant_max: 1, ..spec };
    int8_qconfig().weight(PerChannelMinMaxObserver::with_spec(spec, f32::EPSILON).unwrap())
}

#[test]
fn activations_alone_leave_shared_weights_in_float() {
    let g = shared();
    let coarse = |kinds: &[TensorKind]| SensitivityOptions {
        configuration: two_bits().into(),
        kinds: kinds.to_vec(),
        ..SensitivityOptions::default()
    };
    // With float weights it does not matter how coarse they would be.
    let fine = SensitivityOptions { kinds: vec![TensorKind::Activations], ..SensitivityOptions::default() };
    let of = |options: &SensitivityOptions| estimate_sensitivity(&g, &data(&g), options).unwrap().layers;
    let (a, b, both) = (of(&coarse(&[TensorKind::Activations])), of(&fine), of(&coarse(&[TensorKind::Both])));
    for node in ["conv1", "conv2", "conv3"] {
        let db = |all: &[(String, tq_analysis::EstimatedSensitivity)]| {
            all.iter().find(|(n, _)| n == node).unwrap_or_else(|| panic!("no {node}")).1.introduced_db
        };
        assert_eq!(db(&a), db(&b), "{node}");
        assert!(db(&both) < 15.0 && db(&a) > 30.0, "{node}: {} {}", db(&both), db(&a));
    }
    let measured = |options| sensitivity_analysis(&g, &data(&g), &data(&g), None, options).unwrap();
    let (a, b) = (measured(&coarse(&[TensorKind::Activations])), measured(&fine));
    for (name, l) in &a.layers {
        let same = b.layers.iter().find(|(n, _)| n == name).unwrap();
        assert_eq!(l.sqnr_db, same.1.sqnr_db, "{name}");
    }
}

#[test]
fn coarse_copies_are_told_by_their_layer() {
    let g = shared();
    for node in ["conv1", "conv2", "conv3"] {
        let dict = QConfigDict::from(int8_qconfig()).set_module_name(node, two_bits());
        let prepared = prepare_static(g.clone(), dict).unwrap();
        for batch in data(&g).batches(None) {
            prepared.forward(&batch.unwrap()).unwrap();
        }
        let q = convert(prepared).unwrap().graph;
        let a = advise(&g, &q, &data(&g), &AdviceOptions::default()).unwrap();
        assert!(a.skipped.is_empty(), "{:?}", a.skipped);
        let first = &a.findings[0];
        assert_eq!((first.kind, &first.nodes[..]), (FindingKind::FewBits, &[node.to_owned()][..]), "{a:#?}");
        // One layer of two bits explains one layer's error, not that of all that share its weights.
        assert!((70.0..140.0).contains(&first.share), "{first:#?}");
    }
}
