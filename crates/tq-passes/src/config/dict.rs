//! Which node is quantized how: rules with a precedence.

use super::qconfig::choice;
use crate::module_type::ModuleType;
use crate::{Backend, QConfig};
use serde::{Deserialize, Serialize};

/// Rules that say how each node of a model is quantized, or that it stays in float.
///
/// For each node the most special rule wins, as in PyTorch: the global rule, then the module type, then the first
/// regular expression that matches, then the longest module path that the node lies in. In every place `None` means
/// float; so does a global rule that was never set.
///
/// ```
/// use tq_observers::MinMaxObserver;
/// use tq_passes::module_type::{Conv2d, Softmax};
/// use tq_passes::{QConfig, QConfigDict, int4_qconfig, int8_qconfig};
/// let dict = QConfigDict::new()
///     .set_global(int8_qconfig())
///     .set_module_type::<Conv2d>(int4_qconfig())
///     .set_module_type::<Softmax>(None)
///     .set_module_name_regex(r"layer[34]\..*", int8_qconfig())
///     .set_module_name("features.0", QConfig::new().activation(MinMaxObserver::symmetric()));
/// assert_eq!(dict.global(), Some(&int8_qconfig()));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QConfigDict {
    #[serde(with = "choice")]
    pub(crate) global: Option<QConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) module_type: Vec<TypeRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) regex: Vec<RegexRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) name: Vec<NameRule>,
}

/// A rule for a module type or an ONNX operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TypeRule {
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    #[serde(with = "choice")]
    pub(crate) qconfig: Option<QConfig>,
}

/// A rule for the module paths that a regular expression matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegexRule {
    pub(crate) pattern: String,
    #[serde(with = "choice")]
    pub(crate) qconfig: Option<QConfig>,
}

/// A rule for a module, with all that lies in it, or for a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameRule {
    pub(crate) name: String,
    #[serde(with = "choice")]
    pub(crate) qconfig: Option<QConfig>,
}

impl QConfigDict {
    /// No rules: everything stays in float.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How nodes are quantized that no other rule is for; `None` leaves them in float.
    #[must_use]
    pub fn set_global(mut self, qconfig: impl Into<Option<QConfig>>) -> Self {
        self.global = qconfig.into();
        self
    }

    /// How nodes of a module type are quantized. Setting a type again replaces what was set.
    #[must_use]
    pub fn set_module_type<T: ModuleType>(self, qconfig: impl Into<Option<QConfig>>) -> Self {
        self.set_module_type_name(T::NAME, qconfig)
    }

    /// How nodes of a type are quantized, by the name of a module type (`Conv2d`) or of an ONNX operator (`Conv`). Where
    /// both are set, the module type wins.
    #[must_use]
    pub fn set_module_type_name(
        mut self,
        name: impl Into<String>,
        qconfig: impl Into<Option<QConfig>>,
    ) -> Self {
        let (type_name, qconfig) = (name.into(), qconfig.into());
        match self.module_type.iter_mut().find(|r| r.type_name == type_name) {
            Some(rule) => rule.qconfig = qconfig,
            None => self.module_type.push(TypeRule { type_name, qconfig }),
        }
        self
    }

    /// How nodes are quantized whose module path, or whose own name, begins with a match of `pattern`. The first pattern
    /// set that matches wins. The syntax is that of the `regex` crate.
    #[must_use]
    pub fn set_module_name_regex(
        mut self,
        pattern: impl Into<String>,
        qconfig: impl Into<Option<QConfig>>,
    ) -> Self {
        let (pattern, qconfig) = (pattern.into(), qconfig.into());
        match self.regex.iter_mut().find(|r| r.pattern == pattern) {
            Some(rule) => rule.qconfig = qconfig,
            None => self.regex.push(RegexRule { pattern, qconfig }),
        }
        self
    }

    /// How nodes are quantized that lie in the module `name`: a node's own name, a scope with slashes, or a dotted
    /// module path of PyTorch. The longest path wins.
    #[must_use]
    pub fn set_module_name(mut self, name: impl Into<String>, qconfig: impl Into<Option<QConfig>>) -> Self {
        let (name, qconfig) = (name.into(), qconfig.into());
        match self.name.iter_mut().find(|r| r.name == name) {
            Some(rule) => rule.qconfig = qconfig,
            None => self.name.push(NameRule { name, qconfig }),
        }
        self
    }

    /// The same rules for a family of machines, each as [`QConfig::on`] has it there.
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Self {
        let types = self.module_type.iter_mut().map(|r| &mut r.qconfig);
        let regexes = self.regex.iter_mut().map(|r| &mut r.qconfig);
        let names = self.name.iter_mut().map(|r| &mut r.qconfig);
        for qconfig in std::iter::once(&mut self.global).chain(types).chain(regexes).chain(names) {
            *qconfig = qconfig.take().map(|q| q.on(backend));
        }
        self
    }

    /// What the global rule says.
    #[must_use]
    pub fn global(&self) -> Option<&QConfig> {
        self.global.as_ref()
    }
}

impl From<QConfig> for QConfigDict {
    /// One rule for everything.
    fn from(qconfig: QConfig) -> Self {
        Self::new().set_global(qconfig)
    }
}
