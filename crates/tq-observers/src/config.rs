//! Observers as plain data.

use crate::averages::DEFAULT_CONSTANT;
use crate::histogram::DEFAULT_BINS;
use crate::mse::DEFAULT_STEPS;
use crate::percentile::DEFAULT_PERCENTILE;
use crate::recording::DEFAULT_CAPACITY;
use crate::{
    EntropyObserver, FixedQParamsObserver, HistogramObserver, MinMaxObserver, Mode,
    MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, MseObserver, NoOpObserver, Observer,
    ObserverError, PerChannelMinMaxObserver, PerGroupMinMaxObserver, PercentileObserver, PlaceholderObserver,
    RecordingObserver,
};
use serde::{Deserialize, Serialize};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{DType, DynamicFormula, Granularity, QuantSpec};

/// What is taken for what a configuration does not say.
mod default {
    use super::*;

    pub(super) const fn eps() -> f32 {
        DEFAULT_EPS
    }
    pub(super) const fn spec() -> QuantSpec {
        QuantSpec::u8_affine()
    }
    pub(super) const fn channels() -> QuantSpec {
        QuantSpec { granularity: Granularity::PerChannel { axis: 0 }, ..QuantSpec::u8_affine() }
    }
    pub(super) fn groups() -> QuantSpec {
        PerGroupMinMaxObserver::default().spec().copied().unwrap_or(QuantSpec::u8_affine())
    }
    pub(super) const fn averaging_constant() -> f32 {
        DEFAULT_CONSTANT
    }
    pub(super) const fn bins() -> usize {
        DEFAULT_BINS
    }
    pub(super) const fn percentile() -> f64 {
        DEFAULT_PERCENTILE
    }
    pub(super) const fn steps() -> usize {
        DEFAULT_STEPS
    }
    pub(super) const fn fixed_scale() -> f32 {
        1.0 / 256.0
    }
    pub(super) const fn dtype() -> DType {
        DType::F32
    }
    pub(super) const fn capacity() -> usize {
        DEFAULT_CAPACITY
    }
}

/// An observer that has seen nothing yet, as plain data: what a configuration holds.
///
/// Everything but the observer's name has a default: that of the observer's `Default`.
///
/// ```
/// use tq_observers::{MinMaxObserver, ObserverConfig};
/// let config: ObserverConfig = MinMaxObserver::symmetric().into();
/// let observer = config.build()?;
/// assert_eq!(observer.count(), 0);
/// # Ok::<(), tq_observers::ObserverError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "observer", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ObserverConfig {
    /// A [`MinMaxObserver`].
    MinMax {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// Whose rules.
        #[serde(default)]
        mode: Mode,
    },
    /// A [`PerChannelMinMaxObserver`].
    PerChannelMinMax {
        /// What is asked for; per channel.
        #[serde(default = "default::channels")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// Whose rules.
        #[serde(default)]
        mode: Mode,
    },
    /// A [`MovingAverageMinMaxObserver`].
    MovingAverageMinMax {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// How far a batch moves the average: above 0, at most 1.
        #[serde(default = "default::averaging_constant")]
        averaging_constant: f32,
        /// Whose rules.
        #[serde(default)]
        mode: Mode,
    },
    /// A [`MovingAveragePerChannelMinMaxObserver`].
    MovingAveragePerChannelMinMax {
        /// What is asked for; per channel.
        #[serde(default = "default::channels")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// How far a batch moves the average: above 0, at most 1.
        #[serde(default = "default::averaging_constant")]
        averaging_constant: f32,
        /// Whose rules.
        #[serde(default)]
        mode: Mode,
    },
    /// A [`PerGroupMinMaxObserver`].
    PerGroupMinMax {
        /// What is asked for; per group.
        #[serde(default = "default::groups")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
    },
    /// A [`HistogramObserver`].
    Histogram {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// How fine the histogram is: 1 to 65536.
        #[serde(default = "default::bins")]
        bins: usize,
        /// Whose rules.
        #[serde(default)]
        mode: Mode,
    },
    /// A [`PercentileObserver`].
    Percentile {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// The share of all values that is not clipped, in percent: above 0, at most 100.
        #[serde(default = "default::percentile")]
        percentile: f64,
        /// How fine the histogram is: 1 to 65536.
        #[serde(default = "default::bins")]
        bins: usize,
    },
    /// An [`EntropyObserver`].
    Entropy {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// How fine the histogram is: 1 to 65536.
        #[serde(default = "default::bins")]
        bins: usize,
    },
    /// An [`MseObserver`].
    Mse {
        /// What is asked for; per tensor or per channel.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// Clipping factors tried for each end: 1 to 1000.
        #[serde(default = "default::steps")]
        steps: usize,
        /// How fine the histograms are: 1 to 65536.
        #[serde(default = "default::bins")]
        bins: usize,
    },
    /// A [`FixedQParamsObserver`].
    #[serde(rename = "fixed_qparams")]
    FixedQParams {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The scale; 1/256 unless given.
        #[serde(default = "default::fixed_scale")]
        scale: f32,
        /// The zero point; 0 unless given.
        #[serde(default)]
        zero_point: i32,
    },
    /// A [`PlaceholderObserver`].
    Placeholder {
        /// The type the tensor is kept in: f16, bf16 or f32; u8 for codes that are made at run time.
        #[serde(default = "default::dtype")]
        dtype: DType,
        /// How codes made at run time get their parameters.
        #[serde(default)]
        formula: DynamicFormula,
    },
    /// A [`NoOpObserver`].
    NoOp,
    /// A [`RecordingObserver`].
    Recording {
        /// What is asked for; per tensor.
        #[serde(default = "default::spec")]
        spec: QuantSpec,
        /// The smallest scale.
        #[serde(default = "default::eps")]
        eps: f32,
        /// Values kept at most.
        #[serde(default = "default::capacity")]
        capacity: usize,
    },
}

impl ObserverConfig {
    /// The observer.
    ///
    /// # Errors
    /// Those of the observer's constructor: a range that does not fit its type, a granularity that does not fit
    /// the observer, a setting outside what it can be.
    pub fn build(&self) -> Result<Box<dyn Observer>, ObserverError> {
        Ok(match *self {
            ObserverConfig::MinMax { spec, eps, mode } => {
                Box::new(MinMaxObserver::new(spec, eps)?.with_mode(mode))
            }
            ObserverConfig::PerChannelMinMax { spec, eps, mode } => {
                Box::new(PerChannelMinMaxObserver::with_spec(spec, eps)?.with_mode(mode))
            }
            ObserverConfig::MovingAverageMinMax { spec, eps, averaging_constant, mode } => {
                Box::new(MovingAverageMinMaxObserver::new(spec, eps, averaging_constant)?.with_mode(mode))
            }
            ObserverConfig::MovingAveragePerChannelMinMax { spec, eps, averaging_constant, mode } => {
                Box::new(
                    MovingAveragePerChannelMinMaxObserver::with_spec(spec, eps, averaging_constant)?
                        .with_mode(mode),
                )
            }
            ObserverConfig::PerGroupMinMax { spec, eps } => Box::new(PerGroupMinMaxObserver::new(spec, eps)?),
            ObserverConfig::Histogram { spec, eps, bins, mode } => {
                Box::new(HistogramObserver::new(spec, eps, bins)?.with_mode(mode))
            }
            ObserverConfig::Percentile { spec, eps, percentile, bins } => {
                Box::new(PercentileObserver::new(spec, eps, percentile, bins)?)
            }
            ObserverConfig::Entropy { spec, eps, bins } => Box::new(EntropyObserver::new(spec, eps, bins)?),
            ObserverConfig::Mse { spec, eps, steps, bins } => {
                Box::new(MseObserver::new(spec, eps, steps, bins)?)
            }
            ObserverConfig::FixedQParams { spec, scale, zero_point } => {
                Box::new(FixedQParamsObserver::new(spec, scale, zero_point)?)
            }
            ObserverConfig::Placeholder { dtype: DType::U8, formula } => {
                Box::new(PlaceholderObserver::at_run_time(formula))
            }
            ObserverConfig::Placeholder { dtype, .. } => Box::new(PlaceholderObserver::new(dtype)?),
            ObserverConfig::NoOp => Box::new(NoOpObserver::new()),
            ObserverConfig::Recording { spec, eps, capacity } => {
                Box::new(RecordingObserver::new(spec, eps, capacity)?)
            }
        })
    }

    /// The observer's name in files.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            ObserverConfig::MinMax { .. } => "min_max",
            ObserverConfig::PerChannelMinMax { .. } => "per_channel_min_max",
            ObserverConfig::MovingAverageMinMax { .. } => "moving_average_min_max",
            ObserverConfig::MovingAveragePerChannelMinMax { .. } => "moving_average_per_channel_min_max",
            ObserverConfig::PerGroupMinMax { .. } => "per_group_min_max",
            ObserverConfig::Histogram { .. } => "histogram",
            ObserverConfig::Percentile { .. } => "percentile",
            ObserverConfig::Entropy { .. } => "entropy",
            ObserverConfig::Mse { .. } => "mse",
            ObserverConfig::FixedQParams { .. } => "fixed_qparams",
            ObserverConfig::Placeholder { .. } => "placeholder",
            ObserverConfig::NoOp => "no_op",
            ObserverConfig::Recording { .. } => "recording",
        }
    }

    /// What is asked of the quantizer; `None` for observers of tensors that stay in float.
    #[must_use]
    pub const fn spec(&self) -> Option<&QuantSpec> {
        match self {
            ObserverConfig::MinMax { spec, .. }
            | ObserverConfig::PerChannelMinMax { spec, .. }
            | ObserverConfig::MovingAverageMinMax { spec, .. }
            | ObserverConfig::MovingAveragePerChannelMinMax { spec, .. }
            | ObserverConfig::PerGroupMinMax { spec, .. }
            | ObserverConfig::Histogram { spec, .. }
            | ObserverConfig::Percentile { spec, .. }
            | ObserverConfig::Entropy { spec, .. }
            | ObserverConfig::Mse { spec, .. }
            | ObserverConfig::FixedQParams { spec, .. }
            | ObserverConfig::Recording { spec, .. } => Some(spec),
            ObserverConfig::Placeholder { .. } | ObserverConfig::NoOp => None,
        }
    }

    fn spec_mut(&mut self) -> Option<&mut QuantSpec> {
        match self {
            ObserverConfig::MinMax { spec, .. }
            | ObserverConfig::PerChannelMinMax { spec, .. }
            | ObserverConfig::MovingAverageMinMax { spec, .. }
            | ObserverConfig::MovingAveragePerChannelMinMax { spec, .. }
            | ObserverConfig::PerGroupMinMax { spec, .. }
            | ObserverConfig::Histogram { spec, .. }
            | ObserverConfig::Percentile { spec, .. }
            | ObserverConfig::Entropy { spec, .. }
            | ObserverConfig::Mse { spec, .. }
            | ObserverConfig::FixedQParams { spec, .. }
            | ObserverConfig::Recording { spec, .. } => Some(spec),
            ObserverConfig::Placeholder { .. } | ObserverConfig::NoOp => None,
        }
    }

    /// The same, asking for other codes; nothing changes for tensors that stay in float.
    #[must_use]
    pub fn with_spec(mut self, spec: QuantSpec) -> Self {
        if let Some(own) = self.spec_mut() {
            *own = spec;
        }
        self
    }

    /// The same with its channels or groups along another axis; nothing changes where there are none.
    #[must_use]
    pub fn along(mut self, new_axis: usize) -> Self {
        if let Some(QuantSpec {
            granularity: Granularity::PerChannel { axis } | Granularity::PerGroup { axis, .. },
            ..
        }) = self.spec_mut()
        {
            *axis = new_axis;
        }
        self
    }
}

/// Every observer is its own configuration, without what it has seen.
macro_rules! into_config {
    ($($observer:ident),*) => {$(
        impl From<$observer> for ObserverConfig {
            fn from(observer: $observer) -> Self {
                observer.config()
            }
        }
    )*};
}
into_config!(
    MinMaxObserver,
    PerChannelMinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerGroupMinMaxObserver,
    HistogramObserver,
    PercentileObserver,
    EntropyObserver,
    MseObserver,
    FixedQParamsObserver,
    PlaceholderObserver,
    NoOpObserver,
    RecordingObserver
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json_and_is_checked_when_built() {
        let config: ObserverConfig = PerChannelMinMaxObserver::symmetric().into();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ObserverConfig>(&text).unwrap(), config);
        assert_eq!(config.build().unwrap().config(), config);
        assert!(text.contains(&format!("\"observer\":\"{}\"", config.name())), "{text}");

        let mixed =
            ObserverConfig::MinMax { spec: *config.spec().unwrap(), eps: DEFAULT_EPS, mode: Mode::Native };
        assert!(matches!(mixed.build(), Err(ObserverError::Granularity { .. })));
        let empty = QuantSpec { quant_min: 7, quant_max: 7, ..QuantSpec::u8_affine() };
        assert!(
            ObserverConfig::MinMax { spec: empty, eps: DEFAULT_EPS, mode: Mode::Native }.build().is_err()
        );
        assert!(
            ObserverConfig::MinMax { spec: QuantSpec::u8_affine(), eps: f32::NAN, mode: Mode::Native }
                .build()
                .is_err()
        );
    }
}
