//! The trait.

use crate::{ObserverConfig, ObserverError, ObserverState, Range};
use std::fmt::Debug;
use tq_qtypes::{AffineParams, QuantSpec};

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
    /// [`ObserverError::NoData`] before any value, [`ObserverError::NoParams`] for observers of tensors that stay
    /// in float.
    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError>;

    /// The range of all that was seen, or `None` before any value.
    fn range(&self) -> Option<Range>;

    /// The range of every channel; for observers of the whole tensor, its one range. Empty before any value.
    fn channel_ranges(&self) -> Vec<Range> {
        self.range().into_iter().collect()
    }

    /// Number of values seen.
    fn count(&self) -> u64;

    /// What the parameters are asked to look like; `None` for observers of tensors that stay in float.
    fn spec(&self) -> Option<&QuantSpec>;

    /// How to build an observer like this one that has seen nothing.
    fn config(&self) -> ObserverConfig;

    /// What was gathered.
    fn state(&self) -> ObserverState;

    /// Adds what another observer of the same kind has gathered.
    ///
    /// # Errors
    /// [`ObserverError::Merge`] when it is of another kind, [`ObserverError::Channels`] or
    /// [`ObserverError::Shape`] when channels or shapes differ, [`ObserverError::State`] when it is one that no
    /// observer can have. Nothing is taken then.
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
