//! Right answers, or PyTorch's.

use serde::{Deserialize, Serialize};

/// Whether an observer follows this project's rules or repeats PyTorch's arithmetic to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Exact counts, any order of batches, non-finite data refused with its count.
    #[default]
    Native,
    /// What PyTorch 2.5 computes, its known faults included. Observers say what they do differently.
    PyTorch,
}
