//! The bytes of tensors: out of a file into one buffer, and into a file.

use crate::header::{Entry, Header, name_of};
use crate::source::Source;
use crate::{FormatError, packed};
use rayon::prelude::*;
use std::io::Write;
use std::sync::Arc;
use tq_graph::tensor::{ByteBuffer, checked_numel};
use tq_graph::{GraphError, Tensor};
use tq_qtypes::DType;

/// Packed bytes that are read or written at once.
const CHUNK: usize = 64 << 10;

/// Bytes that one thread reads at once.
const PART: usize = 8 << 20;

/// What a tensor of a file is to the graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
}

/// Where the elements of a tensor are after reading.
enum Place {
    /// In the buffer from `begin` on, read from byte `from` of the file.
    Buffer {
        begin: usize,
        from: u64,
        bytes: usize,
    },
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

/// Reads the tensors behind `header`, whose bytes begin at byte `start` of the file, each as what `meanings` (one an
/// entry) says. What need not be unpacked is read into one buffer, and the tensors lie there.
pub(crate) fn read(
    source: &impl Source,
    start: u64,
    header: &Header,
    meanings: &[Meaning],
) -> Result<Vec<Tensor>, FormatError> {
    let mut places = Vec::with_capacity(meanings.len());
    let (mut from, mut size) = (start, 0usize);
    for (entry, meaning) in header.entries.iter().zip(meanings) {
        check(entry, meaning)?;
        if packed::is_packed(meaning.dtype) {
            places.push(Place::Own(unpacked(source, from, entry, meaning)?));
        } else {
            // Sizes are those of the file, so nothing overflows.
            let begin = size.next_multiple_of(meaning.dtype.bits().div_ceil(8));
            size = begin + entry.bytes;
            places.push(Place::Buffer { begin, from, bytes: entry.bytes });
        }
        from += entry.bytes as u64;
    }
    let mut buffer = ByteBuffer::zeroed(size)?;
    fill(buffer.bytes_mut(), source, &places)?;
    let buffer = Arc::new(buffer);
    let tensors = places.into_iter().zip(meanings).zip(&header.entries);
    tensors
        .map(|((place, meaning), entry)| match place {
            Place::Own(tensor) => Ok(tensor),
            Place::Buffer { begin, .. } => Tensor::in_buffer(meaning.dtype, &meaning.dims, &buffer, begin)
                .map_err(|e| FormatError::tensor(&entry.name, e)),
        })
        .collect()
}

/// Fills the buffer, on all threads where there is much to read.
fn fill(buffer: &mut [u8], source: &impl Source, places: &[Place]) -> Result<(), FormatError> {
    // What follows on each other in the file and in the buffer is read at once.
    let mut runs: Vec<(usize, u64, usize)> = Vec::new();
    for place in places {
        let Place::Buffer { begin, from, bytes } = *place else { continue };
        match runs.last_mut() {
            Some((b, f, n)) if *b + *n == begin && *f + *n as u64 == from => *n += bytes,
            _ => runs.push((begin, from, bytes)),
        }
    }
    let mut parts: Vec<(&mut [u8], u64)> = Vec::new();
    let (mut rest, mut at) = (buffer, 0);
    for (begin, from, bytes) in runs {
        let (run, after) = rest.split_at_mut(begin - at).1.split_at_mut(bytes);
        (rest, at) = (after, begin + bytes);
        let offsets = (from..).step_by(PART);
        parts.extend(run.chunks_mut(PART).zip(offsets));
    }
    let one = |(part, from): (&mut [u8], u64)| source.exact(part, from, "its tensors");
    if parts.len() < 2 || at < 2 * PART {
        return parts.into_iter().try_for_each(one);
    }
    parts.into_par_iter().try_for_each(one)
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
fn unpacked(
    source: &impl Source,
    mut from: u64,
    entry: &Entry,
    meaning: &Meaning,
) -> Result<Tensor, FormatError> {
    let Meaning { dtype, dims } = meaning;
    let numel = checked_numel(dims, *dtype)?;
    let mut codes: Vec<u8> = Vec::new();
    codes.try_reserve_exact(numel).map_err(|_| GraphError::Memory { bytes: numel })?;
    let mut chunk = [0; CHUNK];
    let mut left = entry.bytes;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        source.exact(part, from, "its tensors")?;
        from += part.len() as u64;
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
