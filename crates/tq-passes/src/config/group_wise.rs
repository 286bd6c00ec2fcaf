//! Weights whose scales are shared by groups of input features.

use crate::QConfig;
use serde::{Deserialize, Serialize};
use tq_observers::{ObserverConfig, PlaceholderObserver};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{Granularity, QScheme, QTypeError, QuantSpec};

/// Weights alone in codes, with one scale for every `group_size` input features of each output channel; activations stay
/// float. Checked when it becomes a [`QConfig`].
///
/// ```
/// use tq_passes::{GroupWiseQuantConfig, QConfig};
/// let config: QConfig = GroupWiseQuantConfig::new(32, 4).try_into()?;
/// assert_eq!(config.weight.spec().map(|s| (s.quant_min, s.quant_max)), Some((-7, 7)));
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupWiseQuantConfig {
    /// Input features a group; the last group of a channel may be shorter.
    pub group_size: usize,
    /// Bits of a code, 2 to 8.
    pub bits: u32,
    /// Symmetric (signed codes, the default) or affine (unsigned codes).
    #[serde(default = "symmetric")]
    pub scheme: QScheme,
}

const fn symmetric() -> QScheme {
    QScheme::Symmetric
}

impl GroupWiseQuantConfig {
    /// Symmetric codes of `bits` bits in groups of `group_size`.
    #[must_use]
    pub const fn new(group_size: usize, bits: u32) -> Self {
        Self { group_size, bits, scheme: QScheme::Symmetric }
    }

    /// With a zero point for every group, and unsigned codes.
    #[must_use]
    pub const fn affine(mut self) -> Self {
        self.scheme = QScheme::Affine;
        self
    }
}

impl TryFrom<GroupWiseQuantConfig> for QConfig {
    type Error = QTypeError;

    /// # Errors
    /// [`QTypeError::BadBits`] for bits other than 2 to 8, [`QTypeError::EmptyGroup`] for groups of nothing.
    fn try_from(config: GroupWiseQuantConfig) -> Result<Self, QTypeError> {
        let GroupWiseQuantConfig { group_size, bits, scheme } = config;
        let granularity = Granularity::PerGroup { axis: 1, group_size };
        let spec = QuantSpec::bits(scheme == QScheme::Symmetric, bits, scheme, granularity)?;
        let weight = ObserverConfig::PerGroupMinMax { spec, eps: DEFAULT_EPS };
        Ok(QConfig { activation: PlaceholderObserver::default().into(), weight })
    }
}
