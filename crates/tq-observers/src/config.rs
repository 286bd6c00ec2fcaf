//! Observers as plain data.

use crate::{MinMaxObserver, Observer, ObserverError, PerChannelMinMaxObserver};
use serde::{Deserialize, Serialize};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{Granularity, QuantSpec};

fn default_eps() -> f32 {
    DEFAULT_EPS
}

/// An observer that has seen nothing yet, as plain data: what a configuration holds.
///
/// ```
/// use tq_observers::{MinMaxObserver, ObserverConfig};
/// let config: ObserverConfig = MinMaxObserver::symmetric().into();
/// let observer = config.build()?;
/// assert_eq!(observer.count(), 0);
/// # Ok::<(), tq_observers::ObserverError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "observer", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ObserverConfig {
    /// A [`MinMaxObserver`].
    MinMax {
        /// What is asked for; per tensor.
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default_eps")]
        eps: f32,
    },
    /// A [`PerChannelMinMaxObserver`].
    PerChannelMinMax {
        /// What is asked for; per channel.
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default_eps")]
        eps: f32,
    },
}

impl ObserverConfig {
    /// The observer.
    ///
    /// # Errors
    /// Those of the observer's constructor: a range that does not fit its type, a granularity that does not fit
    /// the observer.
    pub fn build(&self) -> Result<Box<dyn Observer>, ObserverError> {
        match self {
            ObserverConfig::MinMax { spec, eps } => Ok(Box::new(MinMaxObserver::new(*spec, *eps)?)),
            ObserverConfig::PerChannelMinMax { spec, eps } => {
                Ok(Box::new(PerChannelMinMaxObserver::with_spec(*spec, *eps)?))
            }
        }
    }

    /// What is asked of the quantizer.
    #[must_use]
    pub const fn spec(&self) -> &QuantSpec {
        match self {
            ObserverConfig::MinMax { spec, .. } | ObserverConfig::PerChannelMinMax { spec, .. } => spec,
        }
    }

    /// The same with the channels along another axis; nothing changes where there are no channels.
    #[must_use]
    pub fn along(mut self, axis: usize) -> Self {
        if let ObserverConfig::PerChannelMinMax { spec, .. } = &mut self {
            spec.granularity = Granularity::PerChannel { axis };
        }
        self
    }
}

impl From<MinMaxObserver> for ObserverConfig {
    fn from(observer: MinMaxObserver) -> Self {
        observer.config()
    }
}

impl From<PerChannelMinMaxObserver> for ObserverConfig {
    fn from(observer: PerChannelMinMaxObserver) -> Self {
        observer.config()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json_and_is_checked_when_built() {
        let config: ObserverConfig = PerChannelMinMaxObserver::symmetric().into();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ObserverConfig>(&text).unwrap(), config);
        assert_eq!(config.build().unwrap().config(), config);

        let mixed = ObserverConfig::MinMax { spec: *config.spec(), eps: DEFAULT_EPS };
        assert!(matches!(mixed.build(), Err(ObserverError::Granularity { .. })));
        let empty = QuantSpec { quant_min: 7, quant_max: 7, ..QuantSpec::u8_affine() };
        assert!(ObserverConfig::MinMax { spec: empty, eps: DEFAULT_EPS }.build().is_err());
        assert!(ObserverConfig::MinMax { spec: QuantSpec::u8_affine(), eps: f32::NAN }.build().is_err());
    }
}
