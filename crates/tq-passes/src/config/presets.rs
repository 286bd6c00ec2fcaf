//! Configurations by name: our own, and PyTorch's.

use crate::names::{did_you_mean, most_like};
use crate::{Backend, QConfig, Recipe};
use tq_observers::{Mode, ObserverConfig, PlaceholderObserver};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{DType, DynamicFormula, Granularity, QuantSpec};

/// The name of leaving a node in float.
pub(super) const FLOAT: &str = "float";

/// 8-bit activations (u8, affine) and weights (i8, symmetric, one scale a channel), both by minimum and maximum.
#[must_use]
pub fn int8_qconfig() -> QConfig {
    QConfig::default()
}

/// 8-bit activations (u8, affine) and 4-bit weights (i4, codes -7..=7, one scale a channel).
#[must_use]
pub fn int4_qconfig() -> QConfig {
    QConfig::new().weight(channels(DType::I4, -7, 7, Mode::Native))
}

/// 16-bit activations (u16, affine) and 8-bit weights (i8, one scale a channel).
///
/// No integer kernel takes 16-bit codes: such nodes compute in float between explicit quantization steps.
#[must_use]
pub fn w8a16_qconfig() -> QConfig {
    let spec = QuantSpec { dtype: DType::U16, quant_max: 65_535, ..QuantSpec::u8_affine() };
    QConfig::new().activation(ObserverConfig::MinMax { spec, eps: DEFAULT_EPS, mode: Mode::Native })
}

/// 8-bit weights (i8, one scale a channel); activations stay float.
#[must_use]
pub fn w8_qconfig() -> QConfig {
    QConfig::new().activation(PlaceholderObserver::default())
}

/// Activations quantized at run time (u8, ONNX's DynamicQuantizeLinear) and 8-bit weights (i8, codes -127..=127, one
/// scale a channel). Needs no calibration; linear and recurrent layers take it.
///
/// [`pytorch_dynamic_qconfig`] does what PyTorch's configuration of the same name does.
#[must_use]
pub fn default_dynamic_qconfig() -> QConfig {
    QConfig::new().activation(PlaceholderObserver::at_run_time(DynamicFormula::Onnx))
}

/// What `torch.ao.quantization.quantize_dynamic` does on x86: FBGEMM's formula with a reduced range for activations,
/// weights with codes -128..=127 and one scale. ONNX has no words for the formula in a linear layer.
#[must_use]
pub fn pytorch_dynamic_qconfig() -> QConfig {
    let formula = DynamicFormula::Fbgemm { reduce_range: true };
    QConfig::new().activation(PlaceholderObserver::at_run_time(formula)).weight(default_weight_observer())
}

/// 4-bit weights (i4, codes -7..=7) with one scale for every 32 input features of a channel; activations stay float.
#[must_use]
pub fn w4_qconfig() -> QConfig {
    let granularity = Granularity::PerGroup { axis: 1, group_size: 32 };
    let spec =
        QuantSpec { dtype: DType::I4, quant_min: -7, quant_max: 7, ..QuantSpec::i8_symmetric(granularity) };
    w8_qconfig().weight(ObserverConfig::PerGroupMinMax { spec, eps: DEFAULT_EPS })
}

/// 8-bit activations (u8 affine, min-max) and 4-bit weights as those of [`w4_qconfig`]. Linear layers with such weights run in
/// integers; no other layers do.
#[must_use]
pub fn w4a8_qconfig() -> QConfig {
    int8_qconfig().weight(w4_qconfig().weight)
}

/// Weights in f16, arithmetic in f32.
#[must_use]
pub fn fp16_qconfig() -> QConfig {
    w8_qconfig().weight(PlaceholderObserver::with_args(DType::F16))
}

/// Weights in bf16, arithmetic in f32.
#[must_use]
pub fn bf16_qconfig() -> QConfig {
    w8_qconfig().weight(PlaceholderObserver::with_args(DType::BF16))
}

/// Symmetric codes `min..=max`, one scale a channel.
fn channels(dtype: DType, quant_min: i32, quant_max: i32, mode: Mode) -> ObserverConfig {
    let symmetric = QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 });
    let spec = QuantSpec { dtype, quant_min, quant_max, ..symmetric };
    ObserverConfig::PerChannelMinMax { spec, eps: DEFAULT_EPS, mode }
}

/// PyTorch's observer of weights: i8 codes -128..=127, symmetric, one scale a tensor.
#[must_use]
pub fn default_weight_observer() -> ObserverConfig {
    let spec = QuantSpec { quant_min: -128, ..QuantSpec::i8_symmetric(Granularity::PerTensor) };
    ObserverConfig::MinMax { spec, eps: DEFAULT_EPS, mode: Mode::PyTorch }
}

/// PyTorch's observer of weights by channel: i8 codes -128..=127, symmetric.
#[must_use]
pub fn default_per_channel_weight_observer() -> ObserverConfig {
    channels(DType::I8, -128, 127, Mode::PyTorch)
}

/// PyTorch's default for x86, `get_default_qconfig("fbgemm")`, in compatibility mode: activations by
/// [`HistogramObserver`](tq_observers::HistogramObserver) over half the range (u8, scale of codes 0..=127), weights i8
/// -128..=127 with one scale a channel.
///
/// PyTorch halves the range because FBGEMM's products saturate without VNNI. The kernels of this project do not, and
/// [`int8_qconfig`] keeps the eighth bit.
#[must_use]
pub fn get_default_qconfig() -> QConfig {
    get_default_qconfig_for(Backend::Fbgemm)
}

/// PyTorch's `get_default_qconfig(backend)`, in compatibility mode: [`get_default_qconfig`] for `Fbgemm`; for `Qnnpack`
/// histograms over the whole u8 range, and weights i8 -128..=127 with one scale a tensor. PyTorch has none for
/// `TensorRt`: histograms for symmetric i8 codes -127..=127, and the same codes for weights, one scale a channel.
#[must_use]
pub fn get_default_qconfig_for(backend: Backend) -> QConfig {
    let (quant_max, weight) = match backend {
        Backend::Fbgemm => (127, default_per_channel_weight_observer()),
        Backend::Qnnpack => (255, default_weight_observer()),
        // PyTorch has no configuration of that name: what TensorRT takes, by histograms.
        Backend::TensorRt => {
            let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
            let activation =
                ObserverConfig::Histogram { spec, eps: DEFAULT_EPS, bins: PYTORCH_BINS, mode: Mode::Native };
            return QConfig { activation, weight: channels(DType::I8, -127, 127, Mode::Native) };
        }
    };
    let spec = QuantSpec { quant_max, ..QuantSpec::u8_affine() };
    let activation =
        ObserverConfig::Histogram { spec, eps: DEFAULT_EPS, bins: PYTORCH_BINS, mode: Mode::PyTorch };
    QConfig { activation, weight }
}

/// `HistogramObserver`'s number of bins in PyTorch.
const PYTORCH_BINS: usize = 2048;

/// Every preset by its name in files.
fn all() -> impl Iterator<Item = (&'static str, QConfig)> {
    let others = [
        ("int4", int4_qconfig()),
        ("w4a8", w4a8_qconfig()),
        ("bf16", bf16_qconfig()),
        ("int8-dynamic-pytorch", pytorch_dynamic_qconfig()),
    ];
    // These are two rules, and no presets.
    let recipes = Recipe::ALL.iter().filter(|r| !matches!(r, Recipe::Int8DynamicAll | Recipe::W4a8));
    recipes.map(|r| (r.name(), r.qconfig())).chain(others)
}

/// What a name in a file stands for; `None` for a name that stands for nothing.
pub(super) fn by_name(name: &str) -> Option<Option<QConfig>> {
    if name == FLOAT {
        return Some(None);
    }
    all().find(|(n, _)| *n == name).map(|(_, qconfig)| Some(qconfig))
}

/// The name of the preset that is this on a backend, if one is.
pub(super) fn name_of(qconfig: &QConfig, backend: Backend) -> Option<&'static str> {
    all().find(|(_, preset)| preset.clone().on(backend) == *qconfig).map(|(name, _)| name)
}

/// What to say of a name that stands for nothing.
pub(super) fn unknown(name: &str) -> String {
    let names: Vec<&str> = std::iter::once(FLOAT).chain(all().map(|(n, _)| n)).collect();
    let hint = did_you_mean(&most_like(name, names.iter().copied()));
    format!("there is no preset {name:?}{hint}; the presets are {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_observers::PerChannelMinMaxObserver;

    #[test]
    fn names_are_unique_and_lead_back() {
        for (name, qconfig) in all() {
            assert_eq!(name_of(&qconfig, Backend::Fbgemm), Some(name));
            assert_eq!(by_name(name), Some(Some(qconfig)));
        }
        assert_eq!(
            int8_qconfig().on(Backend::TensorRt),
            crate::QuantConfig::default().backend(Backend::TensorRt).into()
        );
        for qconfig in
            [get_default_qconfig(), get_default_qconfig_for(Backend::Qnnpack), default_dynamic_qconfig()]
        {
            crate::QConfigDict::from(qconfig).validate().unwrap();
        }
        assert_eq!(int8_qconfig().weight, PerChannelMinMaxObserver::symmetric().into());
    }
}
