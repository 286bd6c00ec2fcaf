//! The saved form of a histogram.

use crate::histogram::OCTAVES;
use crate::octaves::{Bin, Octaves};
use crate::{ObserverError, Range};
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

impl BinCounts {
    /// The bins that are not empty, ascending; the outermost ones end at the smallest and the largest value.
    ///
    /// ```
    /// use tq_observers::{HistogramObserver, Observer, ObserverState};
    /// let mut observer = HistogramObserver::default();
    /// observer.observe(&[-1.0, 0.25, 0.25, 3.0], &[4])?;
    /// let ObserverState::Histogram(counts) = observer.state() else { unreachable!() };
    /// let counted: Vec<u64> = counts.bins()?.iter().map(|b| b.count).collect();
    /// assert_eq!(counted, [1, 2, 1]);
    /// # Ok::<(), tq_observers::ObserverError>(())
    /// ```
    ///
    /// # Errors
    /// [`ObserverError::State`] for counts that no observer can have.
    pub fn bins(&self) -> Result<Vec<Bin>, ObserverError> {
        let mut octaves = Octaves::new(self.bins_per_octave, OCTAVES);
        octaves.merge("histogram", self)?;
        Ok(octaves.bins().collect())
    }
}
