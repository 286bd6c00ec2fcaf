//! The trait, and what an observer tells.

use crate::{ObserverConfig, ObserverError};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use tq_qtypes::{AffineParams, QuantSpec};

/// Closed interval of real values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

impl Range {
    /// The smallest interval that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What an observer has gathered, as plain data: to be saved, sent, loaded and merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "observer", rename_all = "snake_case")]
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
}

impl ObserverState {
    /// Name of the observer this is the state of.
    #[must_use]
    pub const fn observer_name(&self) -> &'static str {
        match self {
            ObserverState::MinMax { .. } => "min_max",
            ObserverState::PerChannelMinMax { .. } => "per_channel_min_max",
        }
    }
}

/// Gathers statistics of float data and turns them into scales and zero points.
///
/// Memory does not grow with the data. Joining the states of observers that saw parts of the data gives what one
/// observer of all the data has.
pub trait Observer: Debug + Send + Sync {
    /// Takes the row-major elements of a tensor of shape `dims`. No elements are fine.
    ///
    /// # Errors
    /// [`ObserverError::NonFinite`] with the count when a value is NaN or infinite: nothing of `data` is taken then,
    /// so that going on without that batch is possible. [`ObserverError::DataLength`] when `data` does not fill
    /// `dims`; observers that look at the shape have their own.
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError>;

    /// Scales and zero points for what was seen.
    ///
    /// # Errors
    /// [`ObserverError::NoData`] before any value.
    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError>;

    /// The range of all that was seen, or `None` before any value.
    fn range(&self) -> Option<Range>;

    /// The range of every channel; for observers of the whole tensor, its one range. Empty before any value.
    fn channel_ranges(&self) -> Vec<Range> {
        self.range().into_iter().collect()
    }

    /// Number of values seen.
    fn count(&self) -> u64;

    /// What the parameters are asked to look like.
    fn spec(&self) -> &QuantSpec;

    /// How to build an observer like this one that has seen nothing.
    fn config(&self) -> ObserverConfig;

    /// What was gathered.
    fn state(&self) -> ObserverState;

    /// Adds what another observer of the same kind has gathered.
    ///
    /// # Errors
    /// [`ObserverError::Merge`] when it is of another kind, [`ObserverError::Channels`] when channels differ.
    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError>;

    /// Adds what `other` has gathered.
    ///
    /// # Errors
    /// As [`Observer::merge_state`].
    fn merge(&mut self, other: &dyn Observer) -> Result<(), ObserverError> {
        self.merge_state(&other.state())
    }

    /// Forgets everything seen.
    fn reset(&mut self);

    /// A copy behind a pointer.
    fn boxed_clone(&self) -> Box<dyn Observer>;
}

impl Clone for Box<dyn Observer> {
    fn clone(&self) -> Self {
        self.boxed_clone()
    }
}

/// [`ObserverError::DataLength`] unless `data` fills `dims`.
pub(crate) fn check_len(data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
    let numel = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
    if numel == Some(data.len()) {
        Ok(())
    } else {
        Err(ObserverError::DataLength { dims: dims.to_vec(), len: data.len() })
    }
}
