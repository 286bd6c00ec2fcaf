//! Observers: statistics of float data, gathered batch by batch in constant memory, that become scales and
//! zero points.
//!
//! * [`Observer`]: the object-safe trait; [`Range`] and [`ObserverState`] are what it tells and saves.
//! * [`MinMaxObserver`]: smallest and largest value of the whole tensor.
//! * [`PerChannelMinMaxObserver`]: the same for every index of one axis.
//! * [`ObserverConfig`]: an observer that has seen nothing yet, as plain data.
//!
//! ```
//! use tq_observers::{MinMaxObserver, Observer};
//! let mut observer = MinMaxObserver::default();
//! observer.observe(&[-1.0, 0.5], &[2])?;
//! observer.observe(&[3.0], &[1])?;
//! let params = observer.calculate_qparams()?;
//! assert_eq!(params.uniform(), Some((4.0 / 255.0, 64)));
//! # Ok::<(), tq_observers::ObserverError>(())
//! ```
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod min_max;
pub mod observer;
pub mod per_channel;
mod scan;

pub use config::ObserverConfig;
pub use error::ObserverError;
pub use min_max::MinMaxObserver;
pub use observer::{Observer, ObserverState, Range};
pub use per_channel::PerChannelMinMaxObserver;
