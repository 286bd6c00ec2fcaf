//! What observers save.

use crate::recording::Sampled;
use crate::{BinCounts, Range};
use serde::{Deserialize, Serialize};

/// What an observer has gathered, as plain data: to be saved, sent, loaded and merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "observer", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ObserverState {
    /// State of a [`crate::MinMaxObserver`].
    MinMax {
        /// Values observed.
        count: u64,
        /// Their range; `None` before any value.
        range: Option<Range>,
    },
    /// State of a [`crate::PerChannelMinMaxObserver`].
    PerChannelMinMax {
        /// Values observed.
        count: u64,
        /// One range a channel; empty before any value.
        ranges: Vec<Range>,
    },
    /// State of a [`crate::MovingAverageMinMaxObserver`].
    MovingAverageMinMax {
        /// Values observed.
        count: u64,
        /// Batches observed; batches without elements do not count.
        batches: u64,
        /// Range of the first batch; `None` before any value.
        first: Option<Range>,
        /// The moving average; `None` before any value.
        average: Option<Range>,
    },
    /// State of a [`crate::MovingAveragePerChannelMinMaxObserver`].
    MovingAveragePerChannelMinMax {
        /// Values observed.
        count: u64,
        /// Batches observed; batches without elements do not count.
        batches: u64,
        /// One range a channel, of the first batch; empty before any value.
        first: Vec<Range>,
        /// One moving average a channel; empty before any value.
        average: Vec<Range>,
    },
    /// State of a [`crate::PerGroupMinMaxObserver`].
    PerGroupMinMax {
        /// Values observed.
        count: u64,
        /// Shape of the tensors observed; empty before any value.
        dims: Vec<usize>,
        /// One range a group, in row-major order of the block grid; empty before any value.
        ranges: Vec<Range>,
    },
    /// State of a [`crate::HistogramObserver`] in native mode.
    Histogram(BinCounts),
    /// State of a [`crate::HistogramObserver`] in PyTorch's mode.
    PytorchHistogram {
        /// Values observed, without infinite ones.
        count: u64,
        /// Their range; `None` before any value.
        range: Option<Range>,
        /// PyTorch's counts in equal bins over the range; empty before any value.
        counts: Vec<f32>,
    },
    /// State of a [`crate::PercentileObserver`].
    Percentile(BinCounts),
    /// State of an [`crate::EntropyObserver`].
    Entropy(BinCounts),
    /// State of an [`crate::MseObserver`].
    Mse {
        /// One histogram a channel, or one for the whole tensor; empty before any value.
        channels: Vec<BinCounts>,
    },
    /// State of a [`crate::FixedQParamsObserver`].
    #[serde(rename = "fixed_qparams")]
    FixedQParams {
        /// Values observed.
        count: u64,
        /// Their range; `None` before any value.
        range: Option<Range>,
    },
    /// State of a [`crate::PlaceholderObserver`].
    Placeholder {
        /// Values observed.
        count: u64,
    },
    /// State of a [`crate::NoOpObserver`].
    NoOp {
        /// Values observed.
        count: u64,
    },
    /// State of a [`crate::RecordingObserver`].
    Recording {
        /// Values observed.
        count: u64,
        /// Their range; `None` before any value.
        range: Option<Range>,
        /// The sample, by ascending key.
        sample: Vec<Sampled>,
    },
}

impl ObserverState {
    /// Name of the observer this is the state of.
    #[must_use]
    pub const fn observer_name(&self) -> &'static str {
        match self {
            ObserverState::MinMax { .. } => "min_max",
            ObserverState::PerChannelMinMax { .. } => "per_channel_min_max",
            ObserverState::MovingAverageMinMax { .. } => "moving_average_min_max",
            ObserverState::MovingAveragePerChannelMinMax { .. } => "moving_average_per_channel_min_max",
            ObserverState::PerGroupMinMax { .. } => "per_group_min_max",
            ObserverState::Histogram(_) => "histogram",
            ObserverState::PytorchHistogram { .. } => "pytorch_histogram",
            ObserverState::Percentile(_) => "percentile",
            ObserverState::Entropy(_) => "entropy",
            ObserverState::Mse { .. } => "mse",
            ObserverState::FixedQParams { .. } => "fixed_qparams",
            ObserverState::Placeholder { .. } => "placeholder",
            ObserverState::NoOp { .. } => "no_op",
            ObserverState::Recording { .. } => "recording",
        }
    }
}
