//! Reading arrays.

use super::header::read_header;
use super::{Header, Kind, NpyError};
use half::f16;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use torsh_quantization::model::{Element, Tensor};
use zip::ZipArchive;

/// Room made for elements before any has been read, when the source's length is not known.
const BLIND_ELEMENTS: usize = 1 << 16;

/// Bytes converted at a time.
const BLOCK: usize = 1 << 16;

/// What a compressed array may unfold to, whatever its archive's size: a small file must not fill the memory.
const MAX_UNPACKED: u64 = 1 << 30;

/// What a larger array may unfold to, as a multiple of the archive's size. Pictures unfold to less than ten times.
const MAX_RATIO: u64 = 64;

/// Reads the array of an `.npy` file, or the only one of an `.npz` file. The content tells which it is.
pub(crate) fn read_array(path: &Path) -> Result<Tensor, NpyError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(NpyError::Io(std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    if !metadata.is_file() {
        // A pipe has no length to check against and cannot be an archive, which is read from its end.
        return read_npy(&mut BufReader::new(file), None);
    }
    let mut file = BufReader::new(file);
    let mut start = [0u8; 4];
    let zipped = file.read_exact(&mut start).is_ok() && (start == *b"PK\x03\x04" || start == *b"PK\x05\x06");
    file.rewind()?;
    if zipped { read_npz(file, metadata.len()) } else { read_npy(&mut file, Some(metadata.len())) }
}

/// Reads the only array of an `.npz` archive in memory.
pub(crate) fn read_npz_bytes(bytes: &[u8]) -> Result<Tensor, NpyError> {
    read_npz(std::io::Cursor::new(bytes), bytes.len() as u64)
}

fn read_npz(file: impl Read + Seek, length: u64) -> Result<Tensor, NpyError> {
    let archive_error = |e: zip::result::ZipError| NpyError::Archive(e.to_string().replace('\n', " "));
    let mut archive = ZipArchive::new(file).map_err(archive_error)?;
    if archive.len() != 1 {
        return Err(NpyError::Count(archive.len()));
    }
    let mut entry = archive.by_index(0).map_err(archive_error)?;
    let size = entry.size();
    let most = MAX_UNPACKED.max(length.saturating_mul(MAX_RATIO));
    if size > most {
        return Err(NpyError::Archive(format!("the array unfolds to {size} bytes, at most {most} are read")));
    }
    // The archive's directory may lie about the size: what is read is what counts.
    read_npy(&mut (&mut entry).take(size.saturating_add(1)), None).map_err(|e| match e {
        NpyError::Io(e) => NpyError::Archive(e.to_string()),
        e => e,
    })
}

/// Reads an array from a source of `length` bytes, if that is known.
pub(super) fn read_npy(source: &mut impl Read, length: Option<u64>) -> Result<Tensor, NpyError> {
    let (header, used) = read_header(source)?;
    let count = elements(&header)?;
    let expected = (count as u64).saturating_mul(header.kind.bytes() as u64);
    let wrong = |found: String| NpyError::Length { dims: header.dims.clone(), expected, found };
    if let Some(left) = length.map(|l| l.saturating_sub(used))
        && left != expected
    {
        return Err(wrong(left.to_string()));
    }
    let room = if length.is_some() { count } else { count.min(BLIND_ELEMENTS) };
    let tensor = match header.kind {
        Kind::Bool => build(&header, decode(source, count, room, |[b]: [u8; 1]| b != 0, &wrong)?),
        Kind::I8 => build(&header, decode(source, count, room, i8::from_le_bytes, &wrong)?),
        Kind::U8 => build(&header, decode(source, count, room, u8::from_le_bytes, &wrong)?),
        Kind::F16 => number(source, &header, count, room, f16::from_le_bytes, &wrong),
        Kind::F32 => number(source, &header, count, room, f32::from_le_bytes, &wrong),
        Kind::F64 => number(source, &header, count, room, f64::from_le_bytes, &wrong),
        Kind::I16 => number(source, &header, count, room, i16::from_le_bytes, &wrong),
        Kind::I32 => number(source, &header, count, room, i32::from_le_bytes, &wrong),
        Kind::I64 => number(source, &header, count, room, i64::from_le_bytes, &wrong),
        Kind::U16 => number(source, &header, count, room, u16::from_le_bytes, &wrong),
        Kind::U32 => number(source, &header, count, room, u32::from_le_bytes, &wrong),
        Kind::U64 => number(source, &header, count, room, u64::from_le_bytes, &wrong),
    }?;
    if source.read(&mut [0u8; 1])? != 0 {
        return Err(wrong(format!("more than {expected}")));
    }
    Ok(tensor)
}

/// Number of elements; the shape may come from a hostile file.
fn elements(header: &Header) -> Result<usize, NpyError> {
    let too_large = || NpyError::TooLarge(header.dims.clone());
    // Zeros do not excuse dimensions that no memory can hold.
    let product = header.dims.iter().filter(|d| **d != 0).try_fold(1usize, |n, d| n.checked_mul(*d));
    let bytes = product.and_then(|n| n.checked_mul(header.kind.bytes())).ok_or_else(too_large)?;
    isize::try_from(bytes).map_err(|_| too_large())?;
    Ok(if header.dims.contains(&0) { 0 } else { bytes / header.kind.bytes() })
}

fn number<T: Element, const N: usize>(
    source: &mut impl Read,
    header: &Header,
    count: usize,
    room: usize,
    from_le: impl Fn([u8; N]) -> T,
    wrong: &dyn Fn(String) -> NpyError,
) -> Result<Tensor, NpyError> {
    let big = header.big_endian;
    let convert = |mut bytes: [u8; N]| {
        if big {
            bytes.reverse();
        }
        from_le(bytes)
    };
    build(header, decode(source, count, room, convert, wrong)?)
}

fn decode<T, const N: usize>(
    source: &mut impl Read,
    count: usize,
    room: usize,
    convert: impl Fn([u8; N]) -> T,
    wrong: &dyn Fn(String) -> NpyError,
) -> Result<Vec<T>, NpyError> {
    let mut out = Vec::new();
    out.try_reserve_exact(room)
        .map_err(|_| NpyError::Io(std::io::Error::from(std::io::ErrorKind::OutOfMemory)))?;
    let mut block = [0u8; BLOCK];
    while out.len() < count {
        let want = (count - out.len()).min(BLOCK / N) * N;
        source.read_exact(&mut block[..want]).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => wrong("fewer".into()),
            _ => NpyError::Io(e),
        })?;
        out.extend(block[..want].as_chunks::<N>().0.iter().map(|b| convert(*b)));
    }
    Ok(out)
}

fn build<T: Element>(header: &Header, data: Vec<T>) -> Result<Tensor, NpyError> {
    let failed = || NpyError::TooLarge(header.dims.clone());
    if !header.fortran_order {
        return Tensor::new(&header.dims, data).map_err(|_| failed());
    }
    let reversed: Vec<usize> = header.dims.iter().rev().copied().collect();
    let tensor = Tensor::new(&reversed, data).map_err(|_| failed())?;
    let array = tensor.into_array::<T>().map_err(|_| failed())?;
    Ok(Tensor::from_array(array.reversed_axes()))
}
