//! Configuration files.

use super::dict::{NameRule, RegexRule, TypeRule};
use super::qconfig::choice;
use crate::{BackendConfig, PassError, QConfig, QConfigDict};
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

/// The fields of a file, all on one level.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    backend: BackendConfig,
    #[serde(default, with = "choice")]
    global: Option<QConfig>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    module_type: Vec<TypeRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    regex: Vec<RegexRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name: Vec<NameRule>,
}

impl From<File> for Configuration {
    fn from(file: File) -> Self {
        let File { backend, global, module_type, regex, name } = file;
        Self { backend, dict: QConfigDict { global, module_type, regex, name } }
    }
}

impl From<Configuration> for File {
    fn from(configuration: Configuration) -> Self {
        let QConfigDict { global, module_type, regex, name } = configuration.dict;
        Self { backend: configuration.backend, global, module_type, regex, name }
    }
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
        let read = match path.extension().and_then(|e| e.to_str()) {
            Some("toml") => Self::from_toml(&text),
            Some("json") => Self::from_json(&text),
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
