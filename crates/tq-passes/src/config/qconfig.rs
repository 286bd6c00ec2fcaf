//! How one layer is quantized: an observer for what it writes, one for its weights.

use crate::Backend;
use serde::{Deserialize, Serialize};
use tq_observers::{MinMaxObserver, ObserverConfig, PerChannelMinMaxObserver};
use tq_qtypes::{Granularity, QuantSpec};

/// How the nodes are quantized that a rule is for.
///
/// The activation observer governs what a node writes; what it reads is governed by whoever wrote that, and graph inputs
/// by the first quantized node that reads them. Channel axis 0 of the weights means the output channels, in whichever
/// axis of the weights an operator keeps them.
///
/// ```
/// use tq_observers::{MinMaxObserver, PerChannelMinMaxObserver};
/// use tq_passes::QConfig;
/// let config = QConfig::new().activation(MinMaxObserver::symmetric()).weight(PerChannelMinMaxObserver::symmetric());
/// assert_eq!(config.weight, PerChannelMinMaxObserver::symmetric().into());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QConfig {
    /// How activations are observed; unset means u8 codes 0..=255, affine, per tensor, minimum and maximum.
    pub activation: ObserverConfig,
    /// How weights are observed; unset means i8 codes -127..=127, symmetric, minimum and maximum, one scale a channel.
    pub weight: ObserverConfig,
}

impl Default for QConfig {
    fn default() -> Self {
        Self {
            activation: MinMaxObserver::asymmetric().into(),
            weight: PerChannelMinMaxObserver::symmetric().into(),
        }
    }
}

impl QConfig {
    /// The default: 8-bit activations and weights, one weight scale a channel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this observer for activations.
    #[must_use]
    pub fn activation(mut self, observer: impl Into<ObserverConfig>) -> Self {
        self.activation = observer.into();
        self
    }

    /// With this observer for weights.
    #[must_use]
    pub fn weight(mut self, observer: impl Into<ObserverConfig>) -> Self {
        self.weight = observer.into();
        self
    }
}

impl QConfig {
    /// The same for a family of machines: [`Backend::Qnnpack`] has one weight scale a tensor where this has one a channel,
    /// [`Backend::TensorRt`] symmetric i8 activations where this has affine u8 ones.
    #[must_use]
    pub fn on(mut self, backend: Backend) -> Self {
        if backend == Backend::Qnnpack
            && let ObserverConfig::PerChannelMinMax { spec, eps, mode } = self.weight
        {
            let spec = QuantSpec { granularity: Granularity::PerTensor, ..spec };
            self.weight = ObserverConfig::MinMax { spec, eps, mode };
        }
        if backend == Backend::TensorRt && self.activation.spec() == Some(&QuantSpec::u8_affine()) {
            self.activation = self.activation.with_spec(QuantSpec::i8_symmetric(Granularity::PerTensor));
        }
        self
    }
}

/// What a rule says: how to quantize, or to leave in float. In files a preset's name, `"float"`, or a table.
pub(super) mod choice {
    use super::super::file::Choice;
    use crate::{Backend, QConfig};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::config) fn serialize<S: Serializer>(
        choice: &Option<QConfig>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        Choice::of(choice.clone(), Backend::default()).serialize(s)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<QConfig>, D::Error> {
        Ok(Choice::deserialize(d)?.on(Backend::default()))
    }
}
