//! Where the numbers of a model lie: activations in histograms, weights by their channels.

mod histogram;
mod observed;
mod weights;

pub(crate) use histogram::Counting;
pub use histogram::{Histogram, plot_histograms};
pub use observed::observer_histograms;
pub use weights::{ChannelRange, WeightRanges, plot_weight_ranges, weight_ranges};
