//! What observers ask of the values that they observe.

use tq_observers::ObserverConfig;
use tq_qtypes::{DType, DynamicFormula, Granularity, QScheme, QuantSpec};

/// What an activation observer asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Activation {
    /// Codes with parameters from calibration.
    Codes(QuantSpec),
    /// Codes with parameters from the data of every run.
    AtRunTime(DynamicFormula),
    /// No codes.
    Float,
}

/// What a weight observer asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Weights {
    /// Codes.
    Codes(QuantSpec),
    /// Half precision.
    Half(DType),
    /// No codes.
    Float,
}

impl Activation {
    /// What `observer` asks for.
    pub(crate) fn of(observer: &ObserverConfig) -> Self {
        match (observer.spec(), observer) {
            (Some(spec), _) => Activation::Codes(*spec),
            (None, ObserverConfig::Placeholder { dtype: DType::U8, formula }) => {
                Activation::AtRunTime(*formula)
            }
            (None, _) => Activation::Float,
        }
    }

    /// What calibration is asked for, if it is.
    pub(crate) fn codes(&self) -> Option<&QuantSpec> {
        match self {
            Activation::Codes(spec) => Some(spec),
            _ => None,
        }
    }

    /// The type of the values as the operators after it see them.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Activation::Codes(spec) => spec.dtype,
            Activation::AtRunTime(_) => DType::U8,
            Activation::Float => DType::F32,
        }
    }

    /// In a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Activation::Codes(spec) => words(spec),
            Activation::AtRunTime(DynamicFormula::Onnx) => "u8, scale of every run".into(),
            Activation::AtRunTime(formula) => format!("u8, scale of every run ({})", formula.name()),
            Activation::Float => "float".into(),
        }
    }
}

impl Weights {
    /// What `observer` asks for.
    pub(crate) fn of(observer: &ObserverConfig) -> Self {
        match (observer.spec(), observer) {
            (Some(spec), _) => Weights::Codes(*spec),
            (None, ObserverConfig::Placeholder { dtype: dtype @ (DType::F16 | DType::BF16), .. }) => {
                Weights::Half(*dtype)
            }
            (None, _) => Weights::Float,
        }
    }

    /// What the quantizer is asked for, if it is.
    pub(crate) fn codes(&self) -> Option<&QuantSpec> {
        match self {
            Weights::Codes(spec) => Some(spec),
            _ => None,
        }
    }

    /// The type in which they are kept.
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Weights::Codes(spec) => spec.dtype,
            Weights::Half(dtype) => *dtype,
            Weights::Float => DType::F32,
        }
    }

    /// In a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Weights::Codes(spec) => words(spec),
            Weights::Half(dtype) => dtype.to_string(),
            Weights::Float => "float".into(),
        }
    }

    /// True where channels or groups have scales of their own.
    pub(crate) fn has_channels(&self) -> bool {
        self.codes().is_some_and(|spec| spec.granularity != Granularity::PerTensor)
    }

    /// Why these weights do not go with activations that are quantized at run time, if they do not.
    pub(crate) fn dynamic_refusal(&self) -> Option<String> {
        match self {
            Weights::Codes(spec) if !is_8_bit_activation(spec.dtype) => {
                Some(format!("activations quantized at run time go with 8-bit weights, not {}", spec.dtype))
            }
            _ => self.refusal(),
        }
    }

    /// True for codes of few enough bits that products with a scale for every group are integer kernels' work.
    pub(crate) fn are_few_bits_in_groups(&self) -> bool {
        self.codes().is_some_and(|spec| {
            matches!(spec.granularity, Granularity::PerGroup { .. }) && spec.dtype.fits_4_bits()
        })
    }

    /// Why no integer kernel takes these weights, if none does. Linear layers take some more:
    /// [`Weights::are_few_bits_in_groups`].
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Weights::Codes(QuantSpec { granularity: Granularity::PerGroup { group_size, .. }, .. }) => {
                Some(format!("no integer kernel takes weights in groups of {group_size}"))
            }
            Weights::Codes(spec) if spec.dtype.fits_8_bits() => None,
            Weights::Codes(QuantSpec { dtype, .. }) | Weights::Half(dtype) => {
                Some(format!("no integer kernel takes {dtype} weights"))
            }
            Weights::Float => Some("its weights stay float".into()),
        }
    }
}

/// True for types whose codes 8-bit kernels take as activations.
pub(crate) fn is_8_bit_activation(dtype: DType) -> bool {
    matches!(dtype, DType::U8 | DType::I8)
}

fn words(spec: &QuantSpec) -> String {
    let scheme = match spec.scheme {
        QScheme::Symmetric => "symmetric",
        QScheme::Affine => "affine",
    };
    let range = match spec.dtype.quant_range() {
        Some(full) if full == (spec.quant_min, spec.quant_max) => String::new(),
        _ => format!(" {}..={}", spec.quant_min, spec.quant_max),
    };
    let sharing = match spec.granularity {
        Granularity::PerTensor => "one scale".to_owned(),
        Granularity::PerChannel { .. } => "a scale a channel".to_owned(),
        Granularity::PerGroup { group_size, .. } => format!("groups of {group_size}"),
    };
    let power = if spec.power_of_two { ", powers of two" } else { "" };
    format!("{}{range} {scheme}, {sharing}{power}", spec.dtype)
}
