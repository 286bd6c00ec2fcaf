//! Byte buffers whose start is aligned to a cache line, and the scratch each thread keeps.

use bytemuck::{Pod, Zeroable};
use std::cell::Cell;

/// One cache line. As the element of a vector it aligns the vector's start.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A growable buffer that starts on a cache line.
#[derive(Clone, Default)]
pub struct AlignedBuffer {
    lines: Vec<Line>,
    bytes: usize,
}

impl AlignedBuffer {
    /// A buffer of `bytes` zeros.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line::zeroed(); bytes.div_ceil(64)], bytes }
    }

    /// The same, or nothing where memory has no room for so many.
    #[must_use]
    pub fn try_zeroed(bytes: usize) -> Option<Self> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(bytes.div_ceil(64)).ok()?;
        lines.resize(bytes.div_ceil(64), Line::zeroed());
        Some(Self { lines, bytes })
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// True when there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes as elements of `T`, which must be no more aligned than a cache line; a ragged end is left out.
    #[must_use]
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        let bytes = &bytemuck::cast_slice::<Line, u8>(&self.lines)[..self.bytes];
        bytemuck::cast_slice(&bytes[..self.bytes / size_of::<T>() * size_of::<T>()])
    }

    /// The bytes as elements of `T`, to write.
    #[must_use]
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        let whole = self.bytes / size_of::<T>() * size_of::<T>();
        bytemuck::cast_slice_mut(&mut bytemuck::cast_slice_mut::<Line, u8>(&mut self.lines)[..whole])
    }

    /// Makes this a buffer of `bytes` zeros, in the memory it has where that is enough.
    pub fn reset(&mut self, bytes: usize) {
        self.lines.clear();
        self.lines.resize(bytes.div_ceil(64), Line::zeroed());
        self.bytes = bytes;
    }

    /// Makes the buffer at least `bytes` long. Contents are unspecified.
    fn grow(&mut self, bytes: usize) {
        if self.bytes < bytes {
            *self = Self::zeroed(bytes);
        }
    }
}

impl std::fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.bytes)
    }
}

/// Bytes of scratch that a thread gets at once, enough for all but very long rows, so that which thread runs
/// what does not decide when memory is allocated.
pub(crate) const SCRATCH_BYTES: usize = 256 * 1024;

thread_local! {
    static SCRATCH: Cell<AlignedBuffer> = const { Cell::new(AlignedBuffer { lines: Vec::new(), bytes: 0 }) };
}

thread_local! {
    static WARMING: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f` with at least `bytes` bytes of this thread's scratch, contents unspecified.
pub(crate) fn with_scratch<T: Pod, R>(bytes: usize, f: impl FnOnce(&mut [T]) -> R) -> R {
    // Taken out while in use: a nested call would find an empty buffer, never a borrowed one.
    let mut scratch = SCRATCH.with(Cell::take);
    scratch.grow(bytes.max(SCRATCH_BYTES));
    let result = f(scratch.as_mut_slice());
    SCRATCH.with(|cell| cell.set(scratch));
    result
}

/// Gives the calling thread and every thread of its rayon pool their scratch, so that later runs allocate
/// nothing on whichever thread they land.
pub fn warm_up() {
    with_scratch::<u8, ()>(0, |_| ());
    // A worker that waits for the others takes up other work meanwhile. Where that comes here too, the broadcast that is
    // under way does for it: another one would take up more work, and so on until the stack ends.
    if WARMING.with(|warming| warming.replace(true)) {
        return;
    }
    rayon::broadcast(|_| with_scratch::<u8, ()>(0, |_| ()));
    WARMING.with(|warming| warming.set(false));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_warms_up_does_not_nest_without_end() {
        use rayon::prelude::*;
        use std::sync::atomic::{AtomicUsize, Ordering};
        thread_local! {
            static DEPTH: Cell<usize> = const { Cell::new(0) };
        }
        let deepest = AtomicUsize::new(0);
        (0..2000).into_par_iter().with_max_len(1).for_each(|_| {
            let depth = DEPTH.with(|d| d.replace(d.get() + 1)) + 1;
            deepest.fetch_max(depth, Ordering::Relaxed);
            warm_up();
            DEPTH.with(|d| d.set(d.get() - 1));
        });
        assert!(deepest.into_inner() <= 2);
    }

    #[test]
    fn starts_on_a_cache_line_and_views_as_other_types() {
        assert!(AlignedBuffer::try_zeroed(usize::MAX).is_none());
        let mut buffer = AlignedBuffer::try_zeroed(70).unwrap();
        assert_eq!(buffer.as_slice::<u8>(), [0; 70]);
        buffer.as_mut_slice::<u8>()[69] = 7;
        assert_eq!(buffer.as_slice::<u8>().as_ptr() as usize % 64, 0);
        assert_eq!(buffer.as_slice::<i16>().len(), 35);
        assert_eq!(buffer.as_slice::<i16>()[34], i16::from_ne_bytes([0, 7]));
        assert_eq!(buffer.as_slice::<i32>().len(), 17);
    }
}
