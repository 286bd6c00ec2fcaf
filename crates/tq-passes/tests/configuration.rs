//! Configuration files: every form of a rule, round trips, and what is said of mistakes.
#![allow(clippy::unwrap_used)]

use tq_observers::{MinMaxObserver, PerChannelMinMaxObserver};
use tq_passes::module_type::{Conv2d, Linear};
use tq_passes::{
    Backend, BackendConfig, CodeRange, Configuration, QConfig, QConfigDict, Recipe, int4_qconfig,
    int8_qconfig,
};
use tq_qtypes::{CapabilityTable, DType, OperatorKind, OperatorSupport};

const FILE: &str = r#"
backend = "qnnpack"
global = "int8"

[[module_type]]
type = "Conv2d"
qconfig = { activation = { observer = "min_max", spec = { dtype = "i8", quant_min = -127, quant_max = 127, scheme = "symmetric", granularity = "per_tensor" } } }

[[regex]]
pattern = "layer[34]\\..*"
qconfig = "int4"

[[name]]
name = "classifier"
qconfig = "float"
"#;

fn expected() -> Configuration {
    let dict = QConfigDict::new()
        .set_global(int8_qconfig())
        .set_module_type::<Conv2d>(QConfig::new().activation(MinMaxObserver::symmetric()))
        .set_module_name_regex(r"layer[34]\..*", int4_qconfig())
        .set_module_name("classifier", None);
    // What a file leaves out has the backend's default.
    Configuration::from(dict).on(Backend::Qnnpack)
}

fn own_backend() -> BackendConfig {
    let rows = vec![OperatorSupport {
        kind: OperatorKind::Linear,
        activations: vec![DType::U8],
        weights: vec![DType::I8, DType::I4],
        per_channel_weights: true,
    }];
    let mut backend = BackendConfig::new("mine", CapabilityTable::new(rows));
    backend.weight_ranges.push(CodeRange {
        dtype: DType::I8,
        quant_min: -64,
        quant_max: 64,
        symmetric: true,
    });
    backend
}

#[test]
fn a_file_says_what_the_builder_says() {
    assert_eq!(Configuration::from_toml(FILE).unwrap(), expected());
}

#[test]
fn every_form_survives_toml_and_json() {
    let mut all = vec![expected(), Configuration::default()];
    all.extend(Recipe::ALL.iter().map(|r| Configuration::from(*r)));
    all.push(Configuration {
        backend: own_backend(),
        dict: QConfigDict::new().set_module_type::<Linear>(
            QConfig::new()
                .weight(PerChannelMinMaxObserver::asymmetric())
                .activation(MinMaxObserver::symmetric()),
        ),
    });
    for configuration in all {
        let toml = configuration.to_toml().unwrap();
        assert_eq!(Configuration::from_toml(&toml).unwrap(), configuration, "{toml}");
        let json = configuration.to_json().unwrap();
        assert_eq!(Configuration::from_json(&json).unwrap(), configuration, "{json}");
    }
}

/// A spec of weights with this type.
fn of_type(dtype: &str) -> String {
    let codes = "quant_min = -7, quant_max = 7, scheme = \"symmetric\", granularity = \"per_tensor\"";
    format!(
        "\nglobal = {{ weight = {{ observer = \"min_max\", spec = {{ dtype = \"{dtype}\", {codes} }} }} }}\n"
    )
}

#[test]
fn a_mistake_is_told_in_one_line_with_its_place() {
    for (text, words) in [
        ("global = \"int9\"", vec!["line 1", "int9"]),
        ("\nglobale = \"int8\"", vec!["line 2, column 1", "globale"]),
        (
            "backend = \"fbgemm\"\nglobal = { activation = { observer = \"histogram\", bin = 3 } }",
            vec!["line 2", "bin"],
        ),
        ("global = ", vec!["line 1, column 10"]),
        // Storage formats have no operator that takes them.
        (&of_type("nf4"), vec!["line 2", "nf4", "expected one of"]),
        (&of_type("mxfp4"), vec!["line 2", "mxfp4", "expected one of"]),
    ] {
        let message = Configuration::from_toml(text).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)) && !message.contains('\n'), "{text}: {message}");
    }
}

#[test]
fn float_types_are_refused_as_codes() {
    for dtype in ["f16", "bf16", "f8e4m3fn", "f8e5m2"] {
        let configuration = Configuration::from_toml(&of_type(dtype)).unwrap();
        let message = configuration.validate().unwrap_err().to_string();
        assert!(
            message.contains("global rule: weight") && message.contains("cannot hold quantized codes"),
            "{message}"
        );
    }
}
