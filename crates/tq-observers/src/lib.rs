//! Observers: statistics of float data, gathered batch by batch in constant memory, that become scales and
//! zero points.
//!
//! * [`Observer`]: the object-safe trait; [`Range`] and [`ObserverState`] are what it tells and saves.
//! * Of the whole tensor: [`MinMaxObserver`], [`MovingAverageMinMaxObserver`].
//! * Of the whole tensor's histogram: [`HistogramObserver`] (least squared error), [`PercentileObserver`],
//!   [`EntropyObserver`] (Kullback-Leibler), [`MseObserver`] (clipping factors on a grid; of every channel too).
//! * Of every index of one axis: [`PerChannelMinMaxObserver`], [`MovingAveragePerChannelMinMaxObserver`].
//! * Of every group along one axis: [`PerGroupMinMaxObserver`].
//! * [`FixedQParamsObserver`] for ranges known beforehand; [`PlaceholderObserver`] and [`NoOpObserver`] for tensors
//!   that stay in float; [`RecordingObserver`] keeps a sample of the values.
//! * [`ObserverConfig`]: an observer that has seen nothing yet, as plain data; [`Mode`]: whose rules it follows.
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

mod averages;
pub mod bin_counts;
mod clip;
pub mod config;
mod distribution;
pub mod entropy;
pub mod error;
pub mod fixed;
pub mod histogram;
mod mass;
pub mod min_max;
pub mod mode;
pub mod moving_average;
pub mod moving_average_per_channel;
pub mod mse;
pub mod observer;
mod octaves;
pub mod per_channel;
pub mod per_group;
pub mod percentile;
mod pytorch_histogram;
pub mod range;
pub mod recording;
mod scan;
mod spec;
pub mod state;
pub mod unquantized;

pub use bin_counts::BinCounts;
pub use config::ObserverConfig;
pub use entropy::EntropyObserver;
pub use error::ObserverError;
pub use fixed::FixedQParamsObserver;
pub use histogram::HistogramObserver;
pub use min_max::MinMaxObserver;
pub use mode::Mode;
pub use moving_average::MovingAverageMinMaxObserver;
pub use moving_average_per_channel::MovingAveragePerChannelMinMaxObserver;
pub use mse::MseObserver;
pub use observer::Observer;
pub use octaves::Bin;
pub use per_channel::PerChannelMinMaxObserver;
pub use per_group::PerGroupMinMaxObserver;
pub use percentile::PercentileObserver;
pub use range::Range;
pub use recording::{RecordingObserver, Sampled};
pub use state::ObserverState;
pub use unquantized::{NoOpObserver, PlaceholderObserver};
