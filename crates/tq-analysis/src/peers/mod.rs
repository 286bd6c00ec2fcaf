//! What other kernels make of a model: where 16-bit sums overflow, and what the model answers there.

mod certificate;
mod forecast;
mod interpreter;
mod matrix;
mod product;
mod sums;

pub use certificate::{OverflowCertificate, PairCounts, overflow_certificates};
pub use forecast::{LayerForecast, Peer, PeerForecast, forecast_peers};
