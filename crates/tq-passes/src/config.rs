//! What is asked of quantization, as plain data.

use crate::PassError;
use serde::{Deserialize, Serialize};
use tq_observers::{MinMaxObserver, ObserverConfig, PerChannelMinMaxObserver};
use tq_qtypes::{DType, Granularity};

/// Named sets of defaults for families of machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Backend {
    /// Servers: weights with one scale a channel.
    #[default]
    Fbgemm,
    /// Mobile: weights with one scale a tensor.
    Qnnpack,
}

impl Backend {
    /// [`Backend::Fbgemm`], as PyTorch's users write it.
    pub const FBGEMM: Backend = Backend::Fbgemm;
    /// [`Backend::Qnnpack`], as PyTorch's users write it.
    pub const QNNPACK: Backend = Backend::Qnnpack;
}

/// Configuration of static quantization. Checked by [`crate::prepare_static`], not before.
///
/// ```
/// use tq_observers::MinMaxObserver;
/// use tq_passes::{Backend, QuantConfig};
/// let config = QuantConfig::default().backend(Backend::Qnnpack).observer(MinMaxObserver::default());
/// assert_eq!(config.backend, Backend::Qnnpack);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuantConfig {
    /// Gives the defaults of what is not set.
    pub backend: Backend,
    /// How activations are observed; unset means u8 codes 0..=255, affine, per tensor, minimum and maximum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ObserverConfig>,
    /// How weights are observed; unset means i8 codes -127..=127, symmetric, minimum and maximum, one scale a
    /// channel (`Fbgemm`) or one a tensor (`Qnnpack`).
    ///
    /// Channel axis 0 means the output channels, in whichever axis of the weights an operator keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<ObserverConfig>,
}

impl QuantConfig {
    /// With the defaults of this backend for what is not set.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// With this observer for activations.
    #[must_use]
    pub fn activation(mut self, observer: impl Into<ObserverConfig>) -> Self {
        self.activation = Some(observer.into());
        self
    }

    /// With this observer for activations: another name for [`QuantConfig::activation`].
    #[must_use]
    pub fn observer(self, observer: impl Into<ObserverConfig>) -> Self {
        self.activation(observer)
    }

    /// With this observer for weights.
    #[must_use]
    pub fn weight(mut self, observer: impl Into<ObserverConfig>) -> Self {
        self.weight = Some(observer.into());
        self
    }

    /// The observer of activations, the backend's default where none is set.
    #[must_use]
    pub fn activation_observer(&self) -> ObserverConfig {
        self.activation.clone().unwrap_or_else(|| MinMaxObserver::asymmetric().into())
    }

    /// The observer of weights, the backend's default where none is set.
    #[must_use]
    pub fn weight_observer(&self) -> ObserverConfig {
        self.weight.clone().unwrap_or_else(|| match self.backend {
            Backend::Fbgemm => PerChannelMinMaxObserver::symmetric().into(),
            Backend::Qnnpack => MinMaxObserver::symmetric().into(),
        })
    }

    /// Checks that both observers can be built and ask for what conversion can do.
    ///
    /// # Errors
    /// [`PassError::Config`] saying which part is wrong.
    pub fn validate(&self) -> Result<(), PassError> {
        check("activation", &self.activation_observer(), |g| g == Granularity::PerTensor)?;
        check("weight", &self.weight_observer(), |g| {
            matches!(g, Granularity::PerTensor | Granularity::PerChannel { axis: 0 })
        })
    }
}

fn check(
    part: &'static str,
    observer: &ObserverConfig,
    granularity: impl Fn(Granularity) -> bool,
) -> Result<(), PassError> {
    let fail = |message: String| Err(PassError::Config { part, message });
    if let Err(e) = observer.build() {
        return fail(e.to_string());
    }
    let Some(spec) = observer.spec() else {
        return fail("an observer of tensors that stay in float has no integer operators".to_owned());
    };
    if !matches!(spec.dtype, DType::U8 | DType::I8) {
        return fail(format!("codes of type {} have no integer operators; u8 and i8 have", spec.dtype));
    }
    if !granularity(spec.granularity) {
        return fail(format!("granularity {:?} has no integer operators", spec.granularity));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_qtypes::QScheme;

    #[test]
    fn defaults_follow_the_backend_and_survive_json() {
        let server = QuantConfig::default();
        assert_eq!(server.weight_observer(), PerChannelMinMaxObserver::symmetric().into());
        let mobile = server.clone().backend(Backend::QNNPACK);
        assert_eq!(mobile.weight_observer(), MinMaxObserver::symmetric().into());
        let set = mobile.weight(PerChannelMinMaxObserver::asymmetric()).observer(MinMaxObserver::symmetric());
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<QuantConfig>(&text).unwrap(), set);
        assert_eq!(serde_json::from_str::<QuantConfig>("{}").unwrap(), server);
    }

    #[test]
    fn what_cannot_be_is_said_before_calibration() {
        let part = |c: QuantConfig| match c.validate() {
            Err(PassError::Config { part, .. }) => part,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            part(QuantConfig::default().activation(PerChannelMinMaxObserver::symmetric())),
            "activation"
        );
        let along_1 = PerChannelMinMaxObserver::new(1, QScheme::Symmetric);
        assert_eq!(part(QuantConfig::default().weight(along_1)), "weight");
        let wide = MinMaxObserver::symmetric().with_dtype(DType::I16).unwrap();
        assert_eq!(part(QuantConfig::default().activation(wide)), "activation");
        assert!(QuantConfig::default().validate().is_ok());
        assert!(QuantConfig::default().activation(MinMaxObserver::with_bits(4).unwrap()).validate().is_ok());
    }
}
