//! Bytes that tensors share.

use crate::GraphError;
use std::fmt;

/// A block of bytes that many tensors can lie in, each at its place: what a file of weights is read into, so that no
/// tensor is copied once more ([`Tensor::in_buffer`](crate::Tensor::in_buffer)).
///
/// It starts at a multiple of [`ByteBuffer::ALIGN`].
#[derive(Default)]
pub struct ByteBuffer {
    /// Words, so that the start is aligned.
    words: Vec<u64>,
    len: usize,
}

impl ByteBuffer {
    /// Bytes to which the start is aligned: enough for every element type.
    pub const ALIGN: usize = size_of::<u64>();

    /// A buffer of `len` zeros.
    ///
    /// # Errors
    /// [`GraphError::Memory`] where the system does not give that much.
    pub fn zeroed(len: usize) -> Result<Self, GraphError> {
        let words = len.div_ceil(Self::ALIGN);
        // Asked for first, since making a vector of zeros ends the program where there is no memory. It is not kept:
        // filling it here would write every page once more than need be.
        Vec::<u64>::new().try_reserve_exact(words).map_err(|_| GraphError::Memory { bytes: len })?;
        Ok(Self { words: vec![0; words], len })
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
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to write.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

impl fmt::Debug for ByteBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ByteBuffer({} bytes)", self.len)
    }
}
