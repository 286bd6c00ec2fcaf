//! Bytes that tensors share.

use crate::GraphError;
use memmap2::MmapMut;
use std::fmt;

/// From this size on a buffer is memory of its own from the system, in huge pages where it has them: taking 300 MB in
/// pages of 4 KiB costs several times as much as filling it.
const OWN_PAGES: usize = 4 << 20;

/// A block of bytes that many tensors can lie in, each at its place: what a file of weights is read into, so that no
/// tensor is copied once more ([`Tensor::in_buffer`](crate::Tensor::in_buffer)).
///
/// It starts at a multiple of [`ByteBuffer::ALIGN`].
pub struct ByteBuffer {
    block: Block,
    len: usize,
}

enum Block {
    /// Words, so that the start is aligned.
    Words(Vec<u64>),
    Pages(MmapMut),
}

impl ByteBuffer {
    /// Bytes to which the start is aligned: enough for every element type.
    pub const ALIGN: usize = size_of::<u64>();

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`GraphError::Memory`] where the system does not give that much.
    pub fn zeroed(len: usize) -> Result<Self, GraphError> {
        if len < OWN_PAGES {
            return Ok(Self { block: Block::Words(vec![0; len.div_ceil(Self::ALIGN)]), len });
        }
        let pages = MmapMut::map_anon(len).map_err(|_| GraphError::Memory { bytes: len })?;
        // A wish; without it the buffer is only slower to fill.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Ok(Self { block: Block::Pages(pages), len })
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let all: &[u8] = match &self.block {
            Block::Words(words) => bytemuck::cast_slice(words),
            Block::Pages(pages) => pages,
        };
        &all[..self.len]
    }

    /// The bytes, to write.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let all: &mut [u8] = match &mut self.block {
            Block::Words(words) => bytemuck::cast_slice_mut(words),
            Block::Pages(pages) => pages,
        };
        &mut all[..self.len]
    }
}

impl fmt::Debug for ByteBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteBuffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_all_sizes_are_aligned_zeros() {
        for len in [0, 1, 7, 4096, OWN_PAGES - 1, OWN_PAGES, OWN_PAGES + 3] {
            let mut buffer = ByteBuffer::zeroed(len).unwrap();
            assert_eq!((buffer.len(), buffer.bytes().len()), (len, len));
            assert_eq!(buffer.bytes().as_ptr() as usize % ByteBuffer::ALIGN, 0);
            assert!(buffer.bytes().iter().all(|b| *b == 0));
            if let Some(last) = buffer.bytes_mut().last_mut() {
                *last = 7;
                assert_eq!(buffer.bytes()[len - 1], 7);
            }
        }
        // More than any machine's addresses allow, and less than an `isize`.
        let error = ByteBuffer::zeroed(1 << 62).unwrap_err();
        assert_eq!(error, GraphError::Memory { bytes: 1 << 62 });
    }
}
