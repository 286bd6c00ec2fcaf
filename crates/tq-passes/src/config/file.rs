//! Configurations as files write them: presets by name, read and written as the backend has them.

use super::backend::is_default;
use super::dict::{NameRule, RegexRule, TypeRule};
use super::presets;
use crate::{Backend, BackendConfig, Configuration, QConfig, QConfigDict, Requantization};
use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use tq_observers::ObserverConfig;

/// The fields of a file, all on one level.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    backend: BackendConfig,
    /// That of the backend, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requantization: Option<Requantization>,
    #[serde(default)]
    global: Choice,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    module_type: Vec<OfType>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regex: Vec<OfPattern>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name: Vec<OfName>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfType {
    #[serde(rename = "type")]
    type_name: String,
    qconfig: Choice,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPattern {
    pattern: String,
    qconfig: Choice,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfName {
    name: String,
    qconfig: Choice,
}

impl From<File> for Configuration {
    fn from(file: File) -> Self {
        let File { mut backend, requantization, global, module_type, regex, name } = file;
        let on = backend.preset().unwrap_or_default();
        backend.requantization = requantization.unwrap_or(backend.requantization);
        let of_type = |r: OfType| TypeRule { type_name: r.type_name, qconfig: r.qconfig.on(on) };
        let of_pattern = |r: OfPattern| RegexRule { pattern: r.pattern, qconfig: r.qconfig.on(on) };
        let of_name = |r: OfName| NameRule { name: r.name, qconfig: r.qconfig.on(on) };
        let dict = QConfigDict {
            global: global.on(on),
            module_type: module_type.into_iter().map(of_type).collect(),
            regex: regex.into_iter().map(of_pattern).collect(),
            name: name.into_iter().map(of_name).collect(),
        };
        Self { backend, dict }
    }
}

impl From<Configuration> for File {
    fn from(configuration: Configuration) -> Self {
        let Configuration { mut backend, dict: QConfigDict { global, module_type, regex, name } } =
            configuration;
        // Said beside the backend, which then is a name where the rest of it is one.
        let requantization = std::mem::take(&mut backend.requantization);
        let on = backend.preset().unwrap_or_default();
        let of_type = |r: TypeRule| OfType { type_name: r.type_name, qconfig: Choice::of(r.qconfig, on) };
        let of_pattern = |r: RegexRule| OfPattern { pattern: r.pattern, qconfig: Choice::of(r.qconfig, on) };
        let of_name = |r: NameRule| OfName { name: r.name, qconfig: Choice::of(r.qconfig, on) };
        Self {
            global: Choice::of(global, on),
            module_type: module_type.into_iter().map(of_type).collect(),
            regex: regex.into_iter().map(of_pattern).collect(),
            name: name.into_iter().map(of_name).collect(),
            backend,
            requantization: Some(requantization).filter(|r| !is_default(r)),
        }
    }
}

/// What a rule says: the name of a preset, `"float"`, or a table.
#[derive(Default)]
pub(super) enum Choice {
    #[default]
    Float,
    Preset(String, Box<QConfig>),
    Table(Box<Table>),
}

/// Observers; what is left out has the default of the backend.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    activation: Option<ObserverConfig>,
    weight: Option<ObserverConfig>,
}

impl Choice {
    /// What it means on a backend.
    pub(super) fn on(self, backend: Backend) -> Option<QConfig> {
        match self {
            Choice::Float => None,
            Choice::Preset(_, qconfig) => Some(qconfig.on(backend)),
            Choice::Table(table) => {
                let default = QConfig::default().on(backend);
                Some(QConfig {
                    activation: table.activation.unwrap_or(default.activation),
                    weight: table.weight.unwrap_or(default.weight),
                })
            }
        }
    }

    /// What means this on a backend.
    pub(super) fn of(choice: Option<QConfig>, backend: Backend) -> Self {
        let Some(qconfig) = choice else { return Choice::Float };
        match presets::name_of(&qconfig, backend) {
            Some(name) => Choice::Preset(name.to_owned(), Box::new(qconfig)),
            None => {
                let QConfig { activation, weight } = qconfig;
                Choice::Table(Box::new(Table { activation: Some(activation), weight: Some(weight) }))
            }
        }
    }
}

impl Serialize for Choice {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Choice::Float => s.serialize_str(presets::FLOAT),
            Choice::Preset(name, _) => s.serialize_str(name),
            Choice::Table(table) => table.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = Choice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a preset, \"float\", or a table with activation and weight")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Choice, E> {
        match presets::by_name(name) {
            None => Err(E::custom(presets::unknown(name))),
            Some(None) => Ok(Choice::Float),
            Some(Some(qconfig)) => Ok(Choice::Preset(name.to_owned(), Box::new(qconfig))),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<Choice, E> {
        Ok(Choice::Float)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Choice, A::Error> {
        Table::deserialize(MapAccessDeserializer::new(map)).map(|table| Choice::Table(Box::new(table)))
    }
}
