//! Configuration files.

use super::file::File;
use crate::{Backend, BackendConfig, PassError, QConfig, QConfigDict};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

/// Configuration files larger than this are not read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A backend and the rules of quantization: what a configuration file holds.
///
/// ```
/// use tq_passes::{Backend, Configuration, int8_qconfig};
/// let configuration = Configuration::from_toml(r#"
///     backend = "fbgemm"
///     global = "int8"
///
///     [[name]]
///     name = "classifier"
///     qconfig = "float"
/// "#)?;
/// assert_eq!(configuration.backend, Backend::Fbgemm.into());
/// assert_eq!(configuration.dict.global(), Some(&int8_qconfig()));
/// assert_eq!(Configuration::from_json(&configuration.to_json()?)?, configuration);
/// # Ok::<(), tq_passes::PassError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "File", into = "File")]
pub struct Configuration {
    /// Which operators take which types.
    pub backend: BackendConfig,
    /// The rules.
    pub dict: QConfigDict,
}

impl From<QConfigDict> for Configuration {
    /// These rules on the default backend.
    fn from(dict: QConfigDict) -> Self {
        Self { backend: BackendConfig::default(), dict }
    }
}

impl From<QConfig> for Configuration {
    /// One rule for everything, on the default backend.
    fn from(qconfig: QConfig) -> Self {
        QConfigDict::from(qconfig).into()
    }
}

impl Configuration {
    /// The same rules on this backend, each as [`QConfig::on`] has it there.
    #[must_use]
    pub fn on(self, backend: Backend) -> Self {
        Self { backend: backend.into(), dict: self.dict.on(backend) }
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// [`PassError::File`] with the place and what is wrong there.
    pub fn from_toml(text: &str) -> Result<Self, PassError> {
        toml::from_str(text).map_err(|e| {
            // The error's own display draws the line with carets below it: several lines, however long that line is.
            let place = e.span().map(|span| place(text, span.start)).unwrap_or_default();
            file_error("TOML", &format!("{place}{}", e.message()))
        })
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`PassError::File`] with the place and what is wrong there.
    pub fn from_json(text: &str) -> Result<Self, PassError> {
        // A list would be taken for the fields in their order.
        if text.trim_start().starts_with('[') {
            return Err(file_error("JSON", &"a configuration is an object, not a list"));
        }
        serde_json::from_str(text).map_err(|e| file_error("JSON", &e))
    }

    /// Reads a file, `.toml` or `.json`.
    ///
    /// # Errors
    /// [`PassError::File`] when it cannot be read, is larger than 16 MiB, or is wrong.
    pub fn from_file(path: &Path) -> Result<Self, PassError> {
        let fail = |e: &dyn std::fmt::Display| PassError::File {
            format: "configuration",
            message: format!("{}: {e}", path.display()),
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(|e| fail(&e))?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| fail(&e))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(fail(&format!("more than {MAX_FILE_BYTES} bytes")));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let read = match extension.to_ascii_lowercase().as_str() {
            "toml" => Self::from_toml(text),
            "json" => Self::from_json(text),
            _ => return Err(fail(&"a configuration file ends in .toml or .json")),
        };
        read.map_err(|e| match e {
            PassError::File { format, message } => {
                PassError::File { format, message: format!("{}: {message}", path.display()) }
            }
            e => e,
        })
    }

    /// Writes TOML.
    ///
    /// # Errors
    /// [`PassError::File`] when a number has no form in TOML.
    pub fn to_toml(&self) -> Result<String, PassError> {
        toml::to_string(self).map_err(|e| file_error("TOML", &e))
    }

    /// Writes JSON.
    ///
    /// # Errors
    /// [`PassError::File`] when a number has no form in JSON.
    pub fn to_json(&self) -> Result<String, PassError> {
        serde_json::to_string_pretty(self).map_err(|e| file_error("JSON", &e))
    }
}

/// The line and column of a byte, counted from 1.
fn place(text: &str, byte: usize) -> String {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    format!("line {}, column {}: ", before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn file_error(format: &'static str, error: &dyn std::fmt::Display) -> PassError {
    PassError::File { format, message: error.to_string().trim_end().to_owned() }
}
