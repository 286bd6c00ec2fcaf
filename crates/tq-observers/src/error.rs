//! Errors of this crate.

use tq_qtypes::QTypeError;

/// What can go wrong while observing. The caller knows the tensor's name and adds it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ObserverError {
    /// Data held NaN or infinities. None of that data was taken.
    #[error("{count} of {len} values are NaN or infinite")]
    NonFinite {
        /// How many values are not finite.
        count: u64,
        /// How many values there were.
        len: u64,
    },
    /// Parameters were asked for before any value was seen.
    #[error("no data was observed")]
    NoData,
    /// The number of elements is not that of the shape.
    #[error("{len} elements do not fill shape {dims:?}")]
    DataLength {
        /// The shape.
        dims: Vec<usize>,
        /// The number of elements.
        len: usize,
    },
    /// A per-channel observer got another number of channels than before.
    #[error("axis {axis} has {got} channels, {expected} were observed before")]
    Channels {
        /// The channel axis.
        axis: usize,
        /// Channels seen before.
        expected: usize,
        /// Channels of this data.
        got: usize,
    },
    /// The observer cannot work with the granularity asked for.
    #[error("a {observer} observer cannot serve granularity {granularity}")]
    Granularity {
        /// Name of the observer.
        observer: &'static str,
        /// The granularity, in words.
        granularity: String,
    },
    /// A number of bits for which there are no codes.
    #[error("{bits} bits: codes have 2 to 8 bits")]
    Bits {
        /// Bits asked for.
        bits: u32,
    },
    /// States of different observers cannot be joined.
    #[error("cannot merge the state of a {other} observer into a {observer} observer")]
    Merge {
        /// Name of the receiving observer.
        observer: &'static str,
        /// Name of the other one.
        other: &'static str,
    },
    /// Parameters could not be chosen, or the request for them is wrong.
    #[error(transparent)]
    QType(#[from] QTypeError),
}
