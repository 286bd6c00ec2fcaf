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
    /// An observer of groups got a tensor whose groups lie otherwise than before.
    #[error("shape {got:?} has other groups than shape {expected:?}, which was observed before")]
    Shape {
        /// The shape seen before.
        expected: Vec<usize>,
        /// The shape of this data.
        got: Vec<usize>,
    },
    /// The observer marks a tensor that stays in float.
    #[error("a {observer} observer has no scale and no zero point: its tensor stays in float")]
    NoParams {
        /// Name of the observer.
        observer: &'static str,
    },
    /// A setting of the observer is outside what it can be.
    #[error("{observer} observer: {setting} is {value}, {allowed}")]
    Setting {
        /// Name of the observer.
        observer: &'static str,
        /// Name of the setting.
        setting: &'static str,
        /// Its value, in words.
        value: String,
        /// What it can be.
        allowed: &'static str,
    },
    /// A saved state that no observer can have written.
    #[error("broken state of a {observer} observer: {why}")]
    State {
        /// Name of the observer.
        observer: &'static str,
        /// What is wrong with it.
        why: String,
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
