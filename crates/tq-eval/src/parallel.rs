//! Work split over the current thread pool.
//!
//! The work is called through a reference: rayon's splitting is then compiled once an element type. Compiled once an
//! operator and type, it was two thirds of this crate.

use crate::OpError;
use rayon::prelude::*;

/// Calls `work` with the index of every chunk of `len` elements of `out` (the last may be shorter) and the chunk.
/// A task takes at least `least` chunks. Nothing happens where `out` is empty; `len` and `least` of 0 count as 1.
pub(crate) fn chunks<T: Send>(
    out: &mut [T],
    len: usize,
    least: usize,
    work: &(dyn Fn(usize, &mut [T]) + Sync),
) {
    let chunks = out.par_chunks_mut(len.max(1)).with_min_len(least.max(1)).enumerate();
    chunks.for_each(|(i, out)| work(i, out));
}

/// Work on a chunk, given its index, that can fail.
type Fallible<'a, T> = dyn Fn(usize, &mut [T]) -> Result<(), OpError> + Sync + 'a;

/// As [`chunks`], with work that can fail; some of the chunks may not have been visited then.
pub(crate) fn try_chunks<T: Send>(
    out: &mut [T],
    len: usize,
    least: usize,
    work: &Fallible<'_, T>,
) -> Result<(), OpError> {
    let chunks = out.par_chunks_mut(len.max(1)).with_min_len(least.max(1)).enumerate();
    chunks.try_for_each(|(i, out)| work(i, out))
}
