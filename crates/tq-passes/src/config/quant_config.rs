//! One configuration for the whole model.

use super::backend::is_default;
use crate::{Backend, BackendConfig, Configuration, QConfig, QConfigDict, Requantization};
use serde::{Deserialize, Serialize};
use tq_observers::{MinMaxObserver, ObserverConfig, PerChannelMinMaxObserver};

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
    /// How activations are observed; unset means u8 codes 0..=255, affine, per tensor, minimum and maximum (for
    /// `TensorRt` i8 codes -127..=127, symmetric).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<ObserverConfig>,
    /// How weights are observed; unset means i8 codes -127..=127, symmetric, minimum and maximum, one scale a
    /// channel (`Fbgemm`, `TensorRt`) or one a tensor (`Qnnpack`).
    ///
    /// Channel axis 0 means the output channels, in whichever axis of the weights an operator keeps them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<ObserverConfig>,
    /// How the sums of products become codes.
    #[serde(skip_serializing_if = "is_default")]
    pub requantization: Requantization,
}

impl QuantConfig {
    /// With the defaults of this backend for what is not set.
    #[must_use]
    pub fn backend(mut self, backend: Backend) -> Self {
        self.backend = backend;
        self
    }

    /// With sums of products that become codes in this way.
    ///
    /// ```
    /// use tq_passes::{Backend, BackendConfig, Configuration, QuantConfig, Requantization};
    /// let mobile = QuantConfig::default().backend(Backend::Qnnpack).requantization(Requantization::FixedPoint);
    /// assert_eq!(Configuration::from(mobile).backend.requantization, Requantization::FixedPoint);
    /// ```
    #[must_use]
    pub fn requantization(mut self, requantization: Requantization) -> Self {
        self.requantization = requantization;
        self
    }

    /// With this observer for activations.
    #[must_use]
    pub fn activation(mut self, observer: impl ObserverSetting) -> Self {
        self.activation = observer.for_activations();
        self
    }

    /// With this observer for activations: another name for [`QuantConfig::activation`].
    #[must_use]
    pub fn observer(self, observer: impl Into<ObserverConfig>) -> Self {
        self.activation(observer)
    }

    /// With this observer for weights.
    #[must_use]
    pub fn weight(mut self, observer: impl ObserverSetting) -> Self {
        self.weight = observer.for_weights();
        self
    }

    /// The observer of activations, the backend's default where none is set.
    #[must_use]
    pub fn activation_observer(&self) -> ObserverConfig {
        self.activation.clone().unwrap_or_else(|| match self.backend {
            Backend::Fbgemm | Backend::Qnnpack => MinMaxObserver::asymmetric().into(),
            Backend::TensorRt => MinMaxObserver::symmetric().into(),
        })
    }

    /// The observer of weights, the backend's default where none is set.
    #[must_use]
    pub fn weight_observer(&self) -> ObserverConfig {
        self.weight.clone().unwrap_or_else(|| match self.backend {
            Backend::Fbgemm | Backend::TensorRt => PerChannelMinMaxObserver::symmetric().into(),
            Backend::Qnnpack => MinMaxObserver::symmetric().into(),
        })
    }
}

impl From<QuantConfig> for QConfig {
    fn from(config: QuantConfig) -> Self {
        QConfig { activation: config.activation_observer(), weight: config.weight_observer() }
    }
}

impl From<QuantConfig> for QConfigDict {
    /// One rule for everything.
    fn from(config: QuantConfig) -> Self {
        QConfig::from(config).into()
    }
}

impl From<QuantConfig> for Configuration {
    fn from(config: QuantConfig) -> Self {
        let backend = BackendConfig { requantization: config.requantization, ..config.backend.into() };
        Self { backend, dict: config.into() }
    }
}

/// What [`QuantConfig`] can be told of observers: an observer, or something that leaves it to the place, as the fake
/// quantization of training does.
pub trait ObserverSetting {
    /// The observer of activations; `None` for the backend's.
    fn for_activations(self) -> Option<ObserverConfig>;

    /// The observer of weights; `None` for the backend's.
    fn for_weights(self) -> Option<ObserverConfig>;
}

impl<O: Into<ObserverConfig>> ObserverSetting for O {
    fn for_activations(self) -> Option<ObserverConfig> {
        Some(self.into())
    }

    fn for_weights(self) -> Option<ObserverConfig> {
        Some(self.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
}
