//! Work split over the current thread pool, in pieces that do not depend on how many threads there are.
//!
//! The work is called through a reference, so that rayon's splitting is compiled once.

use rayon::prelude::*;

/// Elements that one task of an element-wise loop takes. Smaller work stays serial.
pub(crate) const CHUNK: usize = 1 << 14;

/// Calls `work` with the index of every chunk of `len` elements of `out` (the last may be shorter) and the chunk.
pub(crate) fn chunks<T: Send>(out: &mut [T], len: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if out.len() <= len {
        if !out.is_empty() {
            work(0, out);
        }
        return;
    }
    out.par_chunks_mut(len.max(1)).enumerate().for_each(|(i, out)| work(i, out));
}

/// Runs `work` as it is compiled for the vectors that this machine has. Results are the same to the bit: no multiplication
/// and addition become one.
pub(crate) fn with_vectors<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}
