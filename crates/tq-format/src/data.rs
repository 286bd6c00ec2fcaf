//! The bytes of tensors: out of a file into one buffer, and into a file.

use crate::header::{Entry, Header, exact, name_of};
use crate::{FormatError, packed};
use std::io::{Read, Write};
use std::sync::Arc;
use tq_graph::tensor::{ByteBuffer, checked_numel};
use tq_graph::{GraphError, Tensor};
use tq_qtypes::DType;

/// Packed bytes that are read or written at once.
const CHUNK: usize = 64 << 10;

/// What a tensor of a file is to the graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
}

/// Where the elements of a tensor are after reading.
enum Place {
    Buffer(usize),
    Own(Tensor),
}

/// How a tensor is described in a file.
pub(crate) fn entry(name: String, tensor: &Tensor) -> Entry {
    let (dtype, dims, bytes) = (tensor.dtype(), tensor.dims().to_vec(), tensor.packed_bytes());
    match name_of(dtype) {
        Some(_) => Entry { name, dtype, dims, bytes },
        // Types of two and four bits are rows of bytes to others; the graph tells what they are.
        None if packed::is_packed(dtype) => Entry { name, dtype: DType::U8, dims: vec![bytes], bytes },
        None => Entry { name, dtype: DType::U8, dims, bytes },
    }
}

/// Writes the bytes that [`entry`] describes.
pub(crate) fn write(tensor: &Tensor, out: &mut impl Write) -> Result<(), FormatError> {
    let bytes = tensor.le_bytes();
    if packed::is_packed(tensor.dtype()) {
        // A whole number of packed bytes a chunk.
        for codes in bytes.chunks(CHUNK) {
            out.write_all(&packed::pack(tensor.dtype(), codes))?;
        }
        return Ok(());
    }
    Ok(out.write_all(&bytes)?)
}

/// Reads the tensors behind `header`, each as what `meanings` (one an entry) says. What need not be unpacked is read
/// into one buffer, and the tensors lie there.
pub(crate) fn read(
    reader: &mut impl Read,
    header: &Header,
    meanings: &[Meaning],
) -> Result<Vec<Tensor>, FormatError> {
    let mut size = 0usize;
    for (entry, meaning) in header.entries.iter().zip(meanings) {
        check(entry, meaning)?;
        if !packed::is_packed(meaning.dtype) {
            // Below the size of the file, so nothing overflows.
            size = size.next_multiple_of(ByteBuffer::ALIGN) + entry.bytes;
        }
    }
    let mut buffer = ByteBuffer::zeroed(size)?;
    let mut places = Vec::with_capacity(meanings.len());
    let mut at = 0usize;
    for (entry, meaning) in header.entries.iter().zip(meanings) {
        if packed::is_packed(meaning.dtype) {
            places.push(Place::Own(unpacked(reader, entry, meaning)?));
        } else {
            let begin = at.next_multiple_of(ByteBuffer::ALIGN);
            at = begin + entry.bytes;
            exact(reader, &mut buffer.bytes_mut()[begin..at], "its tensors")?;
            places.push(Place::Buffer(begin));
        }
    }
    let buffer = Arc::new(buffer);
    let tensors = places.into_iter().zip(meanings).zip(&header.entries);
    tensors
        .map(|((place, meaning), entry)| match place {
            Place::Own(tensor) => Ok(tensor),
            Place::Buffer(begin) => Tensor::in_buffer(meaning.dtype, &meaning.dims, &buffer, begin)
                .map_err(|e| FormatError::tensor(&entry.name, e)),
        })
        .collect()
}

/// Checks that an entry of the file can be what the graph takes it for.
fn check(entry: &Entry, meaning: &Meaning) -> Result<(), FormatError> {
    let Meaning { dtype, dims } = meaning;
    let numel = checked_numel(dims, *dtype).map_err(|e| FormatError::tensor(&entry.name, e))?;
    let bytes = dtype.packed_bytes(numel);
    let same = match name_of(*dtype) {
        Some(_) => entry.dtype == *dtype && entry.dims == *dims,
        None if packed::is_packed(*dtype) => entry.dtype == DType::U8 && entry.dims == [bytes],
        None => matches!(entry.dtype, DType::U8) && entry.dims == *dims || entry.dtype == *dtype,
    };
    if same && bytes == entry.bytes {
        return Ok(());
    }
    let message = format!(
        "the file has {} {:?} in {} bytes, the graph {dtype} {dims:?}",
        entry.dtype, entry.dims, entry.bytes
    );
    Err(FormatError::tensor(&entry.name, message))
}

/// Reads packed codes, a piece at a time.
fn unpacked(reader: &mut impl Read, entry: &Entry, meaning: &Meaning) -> Result<Tensor, FormatError> {
    let Meaning { dtype, dims } = meaning;
    let numel = checked_numel(dims, *dtype)?;
    let mut codes: Vec<u8> = Vec::new();
    codes.try_reserve_exact(numel).map_err(|_| GraphError::Memory { bytes: numel })?;
    let mut chunk = [0; CHUNK];
    let mut left = entry.bytes;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        exact(reader, part, "its tensors")?;
        if !packed::unpack(*dtype, part, numel, &mut codes) {
            return Err(FormatError::tensor(&entry.name, "bits after its last element are set"));
        }
        left -= part.len();
    }
    let tensor = match dtype {
        // The same bits.
        DType::I2 | DType::I4 => {
            Tensor::with_dtype(*dtype, dims, codes.into_iter().map(|c| c as i8).collect())
        }
        _ => Tensor::with_dtype(*dtype, dims, codes),
    };
    tensor.map_err(|e| FormatError::tensor(&entry.name, e))
}
