//! What a file says of how it was made.

use serde::Serialize;
use tq_graph::Graph;

/// How a quantized model came about, kept in the metadata of its files under keys that begin with `tq.`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Provenance {
    /// The configuration, as JSON on one line.
    pub config: Option<String>,
    /// SHA-256 of what calibration gathered from the data, in hexadecimal digits.
    pub calibration: Option<String>,
}

impl Provenance {
    /// With this configuration.
    ///
    /// Configurations are plain data, so that this does not fail for any of this project; of other data whatever has no
    /// form in JSON is left out.
    #[must_use]
    pub fn config(mut self, config: &impl Serialize) -> Self {
        self.config = serde_json::to_string(config).ok();
        self
    }

    /// Writes the entries `tq.version`, `tq.config` and `tq.calibration.sha256` into the metadata.
    pub fn apply(&self, graph: &mut Graph) {
        let entries = [
            ("tq.version", Some(env!("CARGO_PKG_VERSION"))),
            ("tq.config", self.config.as_deref()),
            ("tq.calibration.sha256", self.calibration.as_deref()),
        ];
        for (key, value) in entries {
            if let Some(value) = value {
                graph.metadata.insert(key.to_owned(), value.to_owned());
            }
        }
    }
}
