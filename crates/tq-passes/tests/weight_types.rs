//! Weights of every type: what is planned is what conversion makes, and what fits 8 bits runs in integers.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::Net;
use tq_graph::op::UnaryOp;
use tq_graph::{Graph, Op, Tensor};
use tq_observers::ObserverConfig;
use tq_passes::{
    Backend, Configuration, Placement, QConfig, Recipe, convert, int4_qconfig, int8_qconfig, prepare_static,
};
use tq_qtypes::{DType, Granularity, QScheme, QuantSpec};

/// Plain, grouped and depthwise convolutions, and a linear layer, with a Relu in between.
fn net() -> (Graph, Vec<Tensor>) {
    let mut n = Net::new(9);
    let x = n.input("x", &[4, 6, 6]);
    let a = n.conv("conv", x, [4, 8], 3, 1);
    let a = n.relu("relu", a);
    let b = n.grouped("grouped", a, [8, 8], 2, 3, 1);
    let c = n.grouped("depthwise", b, [8, 8], 8, 3, 1);
    let d = n.node("pool", Op::GlobalAveragePool, &[c]);
    let d = n.node("flatten", Op::Flatten { axis: 1 }, &[d]);
    let e = n.gemm("linear", d, [8, 5], true);
    let f = n.node("sigmoid", Op::Unary(UnaryOp::Sigmoid), &[e]);
    n.output(f);
    let data = (0..2).map(|_| n.tensor(&[2, 4, 6, 6])).collect();
    (n.graph, data)
}

/// Converts, checks that the plan came true, and gives where the four operators with weights run.
fn placements(configuration: Configuration) -> Vec<Placement> {
    let told = configuration.to_toml().unwrap();
    let (graph, data) = net();
    let prepared = prepare_static(graph, configuration).unwrap();
    for batch in data {
        prepared.forward(&[batch]).unwrap();
    }
    let planned = prepared.placements();
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes, "the plan did not come true of\n{told}");
    let weighted = ["conv", "grouped", "depthwise", "linear"];
    let nodes = quantized.report.nodes.into_iter().filter(|n| weighted.contains(&n.node.as_str()));
    nodes.map(|n| n.placement).collect()
}

#[test]
fn weights_of_at_most_8_bits_run_in_integers() {
    for (signed, bits) in [true, false].into_iter().flat_map(|s| (2..=8).map(move |b| (s, b))) {
        for scheme in [QScheme::Symmetric, QScheme::Affine] {
            for granularity in [Granularity::PerTensor, Granularity::PerChannel { axis: 0 }] {
                let spec = QuantSpec::bits(signed, bits, scheme, granularity).unwrap();
                let fields = serde_json::json!({
                    "observer": if granularity == Granularity::PerTensor { "min_max" } else { "per_channel_min_max" },
                    "spec": spec,
                });
                let weight: ObserverConfig = serde_json::from_value(fields).unwrap();
                let all = placements(Configuration::from(QConfig::new().weight(weight)));
                assert_eq!(all.len(), 4);
                for placement in all {
                    assert!(matches!(placement, Placement::Integer { .. }), "{spec:?}: {placement}");
                }
            }
        }
    }
}

#[test]
fn every_preset_does_what_it_plans() {
    let recipes = Recipe::ALL.iter().map(|r| Configuration::from(*r));
    let spec =
        QuantSpec { dtype: DType::I16, quant_max: 32_767, quant_min: -32_767, ..QuantSpec::u8_affine() };
    let wide: ObserverConfig =
        serde_json::from_value(serde_json::json!({ "observer": "min_max", "spec": spec })).unwrap();
    for configuration in recipes.chain([int4_qconfig().into(), QConfig::new().weight(wide).into()]) {
        for backend in [Backend::Fbgemm, Backend::Qnnpack] {
            placements(configuration.clone().on(backend));
        }
    }
}

/// Every way to ask for the mobile backend gives its weights: one scale a tensor, unless one a channel is asked for.
#[test]
fn presets_follow_the_backend() {
    let expected = int8_qconfig().on(Backend::Qnnpack);
    assert_eq!(expected.weight.spec().unwrap().granularity, Granularity::PerTensor);
    let read = |text: &str| Configuration::from_toml(text).unwrap();
    for text in [
        "backend = \"qnnpack\"\nglobal = \"int8\"",
        "backend = \"qnnpack\"\n[global]",
        "backend = \"qnnpack\"\n[[name]]\nname = \"a\"\nqconfig = \"int8\"\n[global]\nactivation = { observer = \"min_max\" }",
    ] {
        assert_eq!(read(text).dict.global(), Some(&expected), "{text}");
        assert_eq!(read(text).dict.rules().last().unwrap().1, Some(&expected), "{text}");
    }
    assert_eq!(Configuration::from(Recipe::Int8).on(Backend::Qnnpack).dict.global(), Some(&expected));
    let channels = "backend = \"qnnpack\"\n[global]\nweight = { observer = \"per_channel_min_max\", spec = \
                    { dtype = \"i8\", scheme = \"symmetric\", granularity = { per_channel = { axis = 0 } } } }";
    assert_eq!(read(channels).dict.global(), Some(&int8_qconfig()));
    for text in ["backend = \"qnnpack\"\nglobal = \"int4\"", channels] {
        assert_eq!(read(&read(text).to_toml().unwrap()), read(text), "{text}");
    }
}

#[test]
fn thousands_of_rules_for_nothing_are_told_in_a_few_lines() {
    let (graph, _) = net();
    let mut dict = tq_passes::QConfigDict::new().set_global(int8_qconfig());
    for i in 0..3000 {
        dict = dict.set_module_name(format!("nothing.{i}"), None);
    }
    let prepared = prepare_static(graph, Configuration::from(dict)).unwrap();
    let told = prepared.warnings();
    assert!(told.len() < 100, "{}", told.len());
    assert!(told.last().unwrap().starts_with("2950 more rules"), "{told:?}");
}
