//! Fake quantizers as plain data.

use super::Quantizer;
use crate::QatError;
use serde::{Deserialize, Serialize};
use tq_observers::{MovingAverageMinMaxObserver, ObserverConfig};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{Granularity, QScheme, QTypeError, QuantFormat, QuantSpec};

/// Rounds to codes whose scale an observer finds: [`super::straight_through`].
///
/// `FakeQuantize::default()` leaves the observer to who uses it: for activations a moving average of minimum and maximum
/// (u8, affine), for weights what the backend has (i8, symmetric).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeQuantize {
    /// Finds scale and zero point; `None` for the default of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<ObserverConfig>,
}

impl FakeQuantize {
    /// With this observer.
    #[must_use]
    pub fn new(observer: impl Into<ObserverConfig>) -> Self {
        Self { observer: Some(observer.into()) }
    }
}

/// Rounds to codes whose scale and zero point are trained, beginning with what an observer finds: [`super::learnable`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnableFakeQuantize {
    /// Finds the first scale and zero point; `None` for the default of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<ObserverConfig>,
    /// Smallest and largest code; `None` for those of the observer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(i32, i32)>,
    /// Learning rate of scales; `None` for that of the weights.
    pub scale_lr: Option<f32>,
    /// Learning rate of zero points; `None` for that of the weights.
    pub zero_point_lr: Option<f32>,
    /// Whether the gradients of scale and zero point are multiplied with [`super::learnable::gradient_factor`].
    pub gradient_scaling: bool,
}

impl LearnableFakeQuantize {
    /// With codes `quant_min..=quant_max`, and learning rates of their own for scale and zero point. Symmetric observers
    /// keep their zero point.
    #[must_use]
    pub fn new(
        observer: impl Into<ObserverConfig>,
        quant_min: i32,
        quant_max: i32,
        scale_lr: f32,
        zero_point_lr: f32,
    ) -> Self {
        Self {
            observer: Some(observer.into()),
            range: Some((quant_min, quant_max)),
            scale_lr: Some(scale_lr),
            zero_point_lr: Some(zero_point_lr),
            gradient_scaling: true,
        }
    }
}

impl Default for LearnableFakeQuantize {
    /// Observer, codes and learning rates of the place it is used in.
    fn default() -> Self {
        Self { observer: None, range: None, scale_lr: None, zero_point_lr: None, gradient_scaling: true }
    }
}

/// Rounds up or down at random while training, to the nearest otherwise: [`super::stochastic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StochasticQuantize {
    /// Finds scale and zero point; `None` for the default of the place, with [`StochasticQuantize::bit_width`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observer: Option<ObserverConfig>,
    /// Bits of a code, 2 to 8.
    pub bit_width: u32,
    /// 1 for rounding that is right on average, 0 for rounding to the nearest.
    pub temperature: f32,
    /// What the random numbers begin with.
    pub seed: u64,
}

impl StochasticQuantize {
    /// Codes of `bit_width` bits, 2 to 8; see [`StochasticQuantize::temperature`]. The seed is 0.
    #[must_use]
    pub fn new(bit_width: u32, temperature: f32) -> Self {
        Self { observer: None, bit_width, temperature, seed: 0 }
    }

    /// With other random numbers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

/// Clips activations to `0..=alpha`, where `alpha` is trained, and rounds to codes: [`super::pact`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pact {
    /// Bits of a code, 2 to 8.
    pub bit_width: u32,
    /// What alpha begins with; `None` for the largest value seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// Learning rate of alpha; `None` for that of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha_lr: Option<f32>,
}

impl Pact {
    /// Codes of `bit_width` bits.
    #[must_use]
    pub fn new(bit_width: u32) -> Self {
        Self { bit_width, alpha: None, alpha_lr: None }
    }
}

/// A fake quantizer that has seen nothing yet, as plain data: what a configuration holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuantizerConfig {
    /// With observed scales.
    Observed(FakeQuantize),
    /// With trained scales.
    Learnable(LearnableFakeQuantize),
    /// With random rounding.
    Stochastic(StochasticQuantize),
    /// With a trained bound.
    Pact(Pact),
    /// Of any format, with the parameters of each tensor's own data.
    Format(QuantFormat),
}

impl Default for QuantizerConfig {
    fn default() -> Self {
        Self::Observed(FakeQuantize::default())
    }
}

impl From<FakeQuantize> for QuantizerConfig {
    fn from(settings: FakeQuantize) -> Self {
        Self::Observed(settings)
    }
}

impl From<LearnableFakeQuantize> for QuantizerConfig {
    fn from(settings: LearnableFakeQuantize) -> Self {
        Self::Learnable(settings)
    }
}

impl From<StochasticQuantize> for QuantizerConfig {
    fn from(settings: StochasticQuantize) -> Self {
        Self::Stochastic(settings)
    }
}

impl From<Pact> for QuantizerConfig {
    fn from(settings: Pact) -> Self {
        Self::Pact(settings)
    }
}

impl From<QuantFormat> for QuantizerConfig {
    fn from(format: QuantFormat) -> Self {
        Self::Format(format)
    }
}

impl QuantizerConfig {
    /// The observer that it brings along, with the codes that it asks for; `default` where it leaves them to the place.
    ///
    /// # Errors
    /// [`QatError::Quantize`] for a width of codes that does not exist.
    pub fn observer(&self, default: &ObserverConfig) -> Result<ObserverConfig, QatError> {
        Ok(match self {
            Self::Observed(s) => s.observer.clone().unwrap_or_else(|| default.clone()),
            Self::Learnable(s) => {
                let observer = s.observer.clone().unwrap_or_else(|| default.clone());
                match (s.range, observer.spec()) {
                    (Some((quant_min, quant_max)), Some(spec)) => {
                        let dtype = super::learnable::dtype_for(spec.dtype, quant_min, quant_max);
                        let spec = QuantSpec { dtype, quant_min, quant_max, ..*spec };
                        spec.validate()?;
                        observer.with_spec(spec)
                    }
                    _ => observer,
                }
            }
            Self::Stochastic(s) => {
                let observer = s.observer.clone().unwrap_or_else(|| default.clone());
                match observer.spec() {
                    Some(spec) => {
                        let signed = spec.dtype.quant_range().is_some_and(|(lo, _)| lo < 0);
                        let bits = QuantSpec::bits(signed, s.bit_width, spec.scheme, spec.granularity)?;
                        observer.with_spec(bits)
                    }
                    None => observer,
                }
            }
            Self::Pact(s) => {
                let spec = QuantSpec::bits(false, s.bit_width, QScheme::Affine, Granularity::PerTensor)?;
                default_activation_observer().with_spec(spec)
            }
            Self::Format(QuantFormat::Affine(spec)) => {
                ObserverConfig::MinMax { spec: *spec, eps: DEFAULT_EPS, mode: tq_observers::Mode::Native }
            }
            Self::Format(_) => default.clone(),
        })
    }

    /// The module for tensors of this name, with the observer's defaults for activations.
    ///
    /// # Errors
    /// [`QatError::Observer`] and [`QatError::Quantize`] for settings that cannot be.
    pub fn build(&self, name: impl Into<String>) -> Result<Quantizer, QatError> {
        Quantizer::new(name, self, &self.observer(&default_activation_observer())?)
    }

    /// Checks what no observer does.
    pub(super) fn validate(&self, name: &str) -> Result<(), QatError> {
        let bad = |what, value: f32, allowed| {
            Err(QatError::Setting { name: name.to_owned(), what, value: value.to_string(), allowed })
        };
        match self {
            Self::Stochastic(s) if !(s.temperature.is_finite() && s.temperature >= 0.0) => {
                bad("temperature", s.temperature, "it must be finite and not below 0")
            }
            Self::Learnable(s) => {
                let wrong = [s.scale_lr, s.zero_point_lr].into_iter().flatten().find(|lr| !is_rate(*lr));
                wrong.map_or(Ok(()), |lr| bad("learning rate", lr, "it must be finite and not below 0"))
            }
            Self::Pact(Pact { alpha: Some(alpha), .. }) if !(alpha.is_finite() && *alpha > 0.0) => {
                bad("alpha", *alpha, "it must be finite and positive")
            }
            Self::Pact(Pact { bit_width, .. }) if !(2..=8).contains(bit_width) => {
                Err(QTypeError::BadBits { bits: *bit_width }.into())
            }
            _ => Ok(()),
        }
    }
}

fn is_rate(lr: f32) -> bool {
    lr.is_finite() && lr >= 0.0
}

/// PyTorch's choice for training: a moving average of the minimum and maximum, u8, affine.
pub(crate) fn default_activation_observer() -> ObserverConfig {
    MovingAverageMinMaxObserver::default().into()
}
