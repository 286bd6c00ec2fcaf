//! What a family of machines takes.

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use tq_qtypes::{CapabilityTable, DType, OperatorKind, OperatorSupport, Requantization};

/// Named sets of defaults for families of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// Servers: presets have weights with one scale a channel.
    #[default]
    Fbgemm,
    /// Mobile: presets have weights with one scale a tensor. One a channel can be asked for.
    Qnnpack,
    /// NVIDIA's TensorRT: symmetric i8 activations without zero point, symmetric i8 weights with one scale a channel.
    TensorRt,
}

impl Backend {
    /// [`Backend::Fbgemm`], as PyTorch's users write it.
    pub const FBGEMM: Backend = Backend::Fbgemm;
    /// [`Backend::Qnnpack`], as PyTorch's users write it.
    pub const QNNPACK: Backend = Backend::Qnnpack;

    const ALL: [Backend; 3] = [Backend::Fbgemm, Backend::Qnnpack, Backend::TensorRt];

    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Backend::Fbgemm => "fbgemm",
            Backend::Qnnpack => "qnnpack",
            Backend::TensorRt => "tensorrt",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which operator takes which types, and over which codes: what a configuration may ask for.
///
/// An operator without a row in `operators` stays in float. A row whose activations list a float type takes weights
/// alone in codes. In files a backend's name (`"fbgemm"`, `"qnnpack"`, `"tensorrt"`), or a table with these fields.
///
/// ```
/// use tq_passes::{Backend, BackendConfig};
/// use tq_qtypes::{CapabilityTable, DType, OperatorKind, OperatorSupport};
/// let only_convolutions = BackendConfig::new("mine", CapabilityTable::new(vec![OperatorSupport {
///     kind: OperatorKind::Conv,
///     activations: vec![DType::U8],
///     weights: vec![DType::I8],
///     per_channel_weights: false,
/// }]));
/// assert_ne!(only_convolutions, BackendConfig::from(Backend::Qnnpack));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendConfig {
    /// The name that messages use.
    pub name: String,
    /// Which operator takes which types.
    pub operators: CapabilityTable,
    /// For types of activations that are not taken whole: the codes that are.
    pub activation_ranges: Vec<CodeRange>,
    /// For types of weights that are not taken whole: the codes that are.
    pub weight_ranges: Vec<CodeRange>,
    /// Whether weights are such that the products of any two neighbours along a reduction, with codes 0..=255, fit 16 bits.
    ///
    /// For machines that add such pairs by saturating instructions (x86 without VNNI): runtimes that do not look out give
    /// right answers with these weights, and kernels of this project take their short way for all codes. Conv, ConvTranspose,
    /// Gemm and MatMul with symmetric i8 weights; weights err somewhat more.
    pub overflow_safe_weights: bool,
    /// How the sums of products become codes: kept with the quantized model, which computes the same everywhere.
    ///
    /// [`Requantization::FixedPoint`] is for models that have to answer as TensorFlow Lite's reference kernels do.
    pub requantization: Requantization,
}

/// Codes of a type that a backend takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRange {
    /// The type.
    pub dtype: DType,
    /// Smallest code.
    pub quant_min: i32,
    /// Largest code.
    pub quant_max: i32,
    /// True where the zero point must be that of the symmetric scheme.
    #[serde(default)]
    pub symmetric: bool,
}

impl Default for BackendConfig {
    fn default() -> Self {
        Backend::default().into()
    }
}

impl From<Backend> for BackendConfig {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::TensorRt => tensorrt(),
            _ => Self::new(backend.name(), CapabilityTable::new(rows())),
        }
    }
}

impl BackendConfig {
    /// A backend of one's own that takes what this table lists, over all codes of every type.
    #[must_use]
    pub fn new(name: impl Into<String>, operators: CapabilityTable) -> Self {
        Self {
            name: name.into(),
            operators,
            activation_ranges: Vec::new(),
            weight_ranges: Vec::new(),
            overflow_safe_weights: false,
            requantization: Requantization::Float,
        }
    }

    /// The named backend that this equals.
    pub(super) fn preset(&self) -> Option<Backend> {
        Backend::ALL.into_iter().find(|b| *self == BackendConfig::from(*b))
    }
}

/// All that this project runs: in integers where there are kernels, on dequantized codes elsewhere.
fn rows() -> Vec<OperatorSupport> {
    use OperatorKind as K;
    let codes =
        [DType::U8, DType::I8, DType::U4, DType::I4, DType::U2, DType::I2, DType::U16, DType::I16].to_vec();
    let weighted = [K::Linear, K::Conv, K::DepthwiseConv, K::ConvTranspose, K::Embedding, K::Recurrent];
    let weighted = weighted.map(|kind| OperatorSupport {
        kind,
        activations: codes.iter().copied().chain([DType::F32]).collect(),
        weights: codes.iter().copied().chain([DType::F16, DType::BF16, DType::F32]).collect(),
        per_channel_weights: true,
    });
    let plain =
        [K::MatMul, K::Add, K::Sub, K::Mul, K::Concat, K::MaxPool, K::AveragePool, K::Lookup, K::Movement];
    let plain = plain.map(|kind| OperatorSupport {
        kind,
        activations: codes.clone(),
        weights: Vec::new(),
        per_channel_weights: false,
    });
    weighted.into_iter().chain(plain).collect()
}

/// What TensorRT's parser reads: signed codes, symmetric, one scale for a tensor of activations. 4-bit weights go with
/// float activations alone.
fn tensorrt() -> BackendConfig {
    use OperatorKind as K;
    let row = |kind: K, activations: &[DType], weights: &[DType]| OperatorSupport {
        kind,
        activations: activations.to_vec(),
        weights: weights.to_vec(),
        per_channel_weights: !weights.is_empty(),
    };
    let weighted = [K::Linear, K::Conv, K::DepthwiseConv, K::ConvTranspose];
    let coded = weighted.map(|kind| row(kind, &[DType::I8], &[DType::I8]));
    let weight_only = weighted
        .map(|kind| row(kind, &[DType::F32], &[DType::I8, DType::I4, DType::F16, DType::BF16, DType::F32]));
    // Functions of one code are there for the sake of clamps, which are part of what is before them.
    let plain = [K::MatMul, K::Add, K::Concat, K::MaxPool, K::AveragePool, K::Lookup, K::Movement]
        .map(|kind| row(kind, &[DType::I8], &[]));
    let rows = coded.into_iter().chain(weight_only).chain(plain).collect();
    let symmetric = |dtype, quant_min, quant_max| CodeRange { dtype, quant_min, quant_max, symmetric: true };
    BackendConfig {
        activation_ranges: vec![symmetric(DType::I8, -128, 127)],
        weight_ranges: vec![symmetric(DType::I8, -128, 127), symmetric(DType::I4, -8, 7)],
        ..BackendConfig::new(Backend::TensorRt.name(), CapabilityTable::new(rows))
    }
}

/// A backend of one's own, as files write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: String,
    operators: Vec<OperatorSupport>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    activation_ranges: Vec<CodeRange>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    weight_ranges: Vec<CodeRange>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    overflow_safe_weights: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    requantization: Requantization,
}

/// True for what files need not say.
pub(super) fn is_default(requantization: &Requantization) -> bool {
    *requantization == Requantization::default()
}

impl Serialize for BackendConfig {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if let Some(preset) = self.preset() {
            return s.serialize_str(preset.name());
        }
        let table = Table {
            name: self.name.clone(),
            operators: self.operators.rows().to_vec(),
            activation_ranges: self.activation_ranges.clone(),
            weight_ranges: self.weight_ranges.clone(),
            overflow_safe_weights: self.overflow_safe_weights,
            requantization: self.requantization,
        };
        table.serialize(s)
    }
}

impl<'de> Deserialize<'de> for BackendConfig {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(BackendVisitor)
    }
}

struct BackendVisitor;

impl<'de> Visitor<'de> for BackendVisitor {
    type Value = BackendConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a backend, or a table with name and operators")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<BackendConfig, E> {
        Backend::ALL.into_iter().find(|b| b.name() == name).map(BackendConfig::from).ok_or_else(|| {
            let names = Backend::ALL.map(Backend::name).join(", ");
            E::custom(format!(
                "there is no backend {name:?}; known by name are {names}, one of your own is a table"
            ))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<BackendConfig, A::Error> {
        let Table {
            name,
            operators,
            activation_ranges,
            weight_ranges,
            overflow_safe_weights,
            requantization,
        } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(BackendConfig {
            name,
            operators: CapabilityTable::new(operators),
            activation_ranges,
            weight_ranges,
            overflow_safe_weights,
            requantization,
        })
    }
}
