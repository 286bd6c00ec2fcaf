//! The saved form of a histogram.

use crate::Range;
use serde::{Deserialize, Serialize};

/// Counts of values in bins of constant relative width, as plain data.
///
/// Every octave (from a power of two to the next) of every sign is cut into `bins_per_octave` equal bins. The octaves
/// kept apart are a fixed number below the largest magnitude; what is smaller shares one bin around zero. The counts
/// go from the bin of `range.min` to that of `range.max`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinCounts {
    /// Bins an octave.
    pub bins_per_octave: usize,
    /// Values observed.
    pub count: u64,
    /// Their range; `None` before any value.
    pub range: Option<Range>,
    /// Values a bin.
    pub counts: Vec<u64>,
}
