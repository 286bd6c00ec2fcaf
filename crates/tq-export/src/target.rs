//! The programs that a file can be for.

use crate::ExportError;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use tq_onnx::{BiasForm, WeightForm};
use tq_qtypes::{CapabilityTable, DType, OperatorKind, OperatorSupport};

/// Major and minor version of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A program that reads ONNX files.
///
/// ```
/// use tq_export::Target;
/// let target: Target = "tensorrt@11.0".parse()?;
/// assert_eq!(target.to_string(), "tensorrt@11.0");
/// assert_eq!("onnx".parse(), Ok(Target::Onnx));
/// # Ok::<(), tq_export::ExportError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Target {
    /// Whatever follows the standard: nothing of it is refused, and what has the form of an integer operator counts as one.
    Onnx,
    /// ONNX Runtime with its CPU execution provider.
    OnnxRuntime {
        /// Its version.
        version: Version,
    },
    /// TensorRT with its ONNX parser.
    TensorRt {
        /// Its version.
        version: Version,
    },
    /// tract.
    Tract,
}

/// What is known of a target, as data. What no table says, the rules of the linter say.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The highest operator set that it reads.
    pub max_opset: i64,
    /// Which operators it has integer kernels for, of the form that is exported.
    pub operators: CapabilityTable,
    /// How constant codes are written for it.
    pub weights: Option<WeightForm>,
    /// How biases are written for it.
    pub bias: Option<BiasForm>,
}

impl Target {
    /// The names that [`Target::from_str`] knows.
    pub const NAMES: [&'static str; 4] = ["onnx", "onnxruntime", "tensorrt", "tract"];

    /// ONNX Runtime in the version whose behaviour was measured.
    pub const ONNX_RUNTIME: Target = Target::OnnxRuntime { version: Version { major: 1, minor: 32 } };

    /// TensorRT in the version whose parser was read.
    pub const TENSORRT: Target = Target::TensorRt { version: Version { major: 10, minor: 1 } };

    /// The name, without the version.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Target::Onnx => "onnx",
            Target::OnnxRuntime { .. } => "onnxruntime",
            Target::TensorRt { .. } => "tensorrt",
            Target::Tract => "tract",
        }
    }

    /// What is known of it.
    #[must_use]
    pub fn profile(&self) -> Profile {
        use OperatorKind as K;
        let codes = [DType::U8, DType::I8];
        let weighted = |kind, types: &[DType]| OperatorSupport {
            kind,
            activations: types.to_vec(),
            weights: types.to_vec(),
            per_channel_weights: true,
        };
        let plain = |kind, types: &[DType]| OperatorSupport {
            kind,
            activations: types.to_vec(),
            weights: Vec::new(),
            per_channel_weights: false,
        };
        let as_it_is = |max_opset, operators| Profile {
            max_opset,
            operators: CapabilityTable::new(operators),
            weights: None,
            bias: None,
        };
        match self {
            Target::Onnx => {
                let rows =
                    [K::Linear, K::Conv, K::DepthwiseConv, K::ConvTranspose].map(|k| weighted(k, &codes));
                let others = [
                    K::MatMul,
                    K::Add,
                    K::Sub,
                    K::Mul,
                    K::Concat,
                    K::MaxPool,
                    K::AveragePool,
                    K::Lookup,
                    K::Movement,
                ];
                as_it_is(
                    tq_onnx::MAX_OPSET,
                    rows.into_iter().chain(others.map(|k| plain(k, &codes))).collect(),
                )
            }
            Target::OnnxRuntime { version } => {
                let rows = [K::Linear, K::Conv, K::DepthwiseConv].map(|k| weighted(k, &codes));
                let others = [
                    K::MatMul,
                    K::Add,
                    K::Mul,
                    K::Concat,
                    K::MaxPool,
                    K::AveragePool,
                    K::Lookup,
                    K::Movement,
                ];
                // As its table of versions has it; from 1.20 on as releases were seen to load or refuse a file.
                let max_opset = match (version.major, version.minor) {
                    (0, _) | (1, ..=13) => 17,
                    (1, 14) => 18,
                    (1, 15..=16) => 19,
                    (1, 17) => 20,
                    (1, 18..=20) => 21,
                    (1, 21..=22) => 22,
                    (1, 23) => 23,
                    _ => 25,
                };
                as_it_is(max_opset, rows.into_iter().chain(others.map(|k| plain(k, &codes))).collect())
            }
            Target::TensorRt { version } => {
                let signed = [DType::I8];
                let rows =
                    [K::Linear, K::Conv, K::DepthwiseConv, K::ConvTranspose].map(|k| weighted(k, &signed));
                let others = [K::MatMul, K::Add, K::MaxPool, K::AveragePool, K::Concat, K::Movement];
                Profile {
                    max_opset: if version.major >= 11 { 25 } else { 20 },
                    operators: CapabilityTable::new(
                        rows.into_iter().chain(others.map(|k| plain(k, &signed))).collect(),
                    ),
                    weights: Some(WeightForm::FloatPair),
                    bias: Some(BiasForm::Float),
                }
            }
            Target::Tract => as_it_is(21, vec![plain(K::Movement, &codes)]),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::OnnxRuntime { version } | Target::TensorRt { version } => {
                write!(f, "{}@{version}", self.name())
            }
            _ => f.write_str(self.name()),
        }
    }
}

impl FromStr for Target {
    type Err = ExportError;

    /// A name of [`Target::NAMES`], for programs with versions followed by `@MAJOR.MINOR` where it matters.
    fn from_str(text: &str) -> Result<Self, ExportError> {
        let unknown = || ExportError::Unknown {
            what: "target",
            given: text.to_owned(),
            known: format!(
                "{}, the middle two with @MAJOR.MINOR where the version matters",
                Target::NAMES.join(", ")
            ),
        };
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
                let number = |t: &str| t.parse().map_err(|_| unknown());
                (name, Some(Version { major: number(major)?, minor: number(minor)? }))
            }
            None => (text, None),
        };
        match (name, version) {
            ("onnx", None) => Ok(Target::Onnx),
            ("tract", None) => Ok(Target::Tract),
            ("onnxruntime", None) => Ok(Target::ONNX_RUNTIME),
            ("onnxruntime", Some(version)) => Ok(Target::OnnxRuntime { version }),
            ("tensorrt", None) => Ok(Target::TENSORRT),
            ("tensorrt", Some(version)) => Ok(Target::TensorRt { version }),
            _ => Err(unknown()),
        }
    }
}
