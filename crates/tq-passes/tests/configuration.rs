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
    Configuration { backend: Backend::Qnnpack.into(), dict }
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
