//! Tensors of the file and tensors of the graph.

use crate::external::Folder;
use crate::proto::TensorProto;
use crate::proto::tensor_proto::{DataLocation, DataType};
use bytes::Bytes;
use half::{bf16, f16};
use tq_graph::tensor::checked_numel;
use tq_graph::{Element, GraphError, Tensor};
use tq_qtypes::DType;

/// Tensors have at most this many axes.
pub(crate) const MAX_RANK: usize = 64;

/// Why a tensor cannot be read.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It is of a kind that this crate does not take.
    Unsupported(String),
    /// It is broken.
    Malformed(String),
}

impl From<GraphError> for Problem {
    fn from(error: GraphError) -> Self {
        Problem::Malformed(error.to_string())
    }
}

fn malformed<T>(message: String) -> Result<T, Problem> {
    Err(Problem::Malformed(message))
}

/// Type numbers of operator set 25, which the committed messages do not name.
const UINT2: i32 = 25;
const INT2: i32 = 26;

/// The element type of an ONNX type number.
pub(crate) fn dtype_of(code: i32) -> Result<DType, Problem> {
    match code {
        UINT2 => return Ok(DType::U2),
        INT2 => return Ok(DType::I2),
        _ => {}
    }
    let Ok(data_type) = DataType::try_from(code) else {
        return Err(Problem::Unsupported(format!("element type {code}")));
    };
    Ok(match data_type {
        DataType::Float => DType::F32,
        DataType::Uint8 => DType::U8,
        DataType::Int8 => DType::I8,
        DataType::Uint16 => DType::U16,
        DataType::Int16 => DType::I16,
        DataType::Int32 => DType::I32,
        DataType::Int64 => DType::I64,
        DataType::Bool => DType::Bool,
        DataType::Float16 => DType::F16,
        DataType::Double => DType::F64,
        DataType::Uint32 => DType::U32,
        DataType::Uint64 => DType::U64,
        DataType::Bfloat16 => DType::BF16,
        DataType::Float8e4m3fn => DType::F8E4M3FN,
        DataType::Float8e4m3fnuz => DType::F8E4M3FNUZ,
        DataType::Float8e5m2 => DType::F8E5M2,
        DataType::Float8e5m2fnuz => DType::F8E5M2FNUZ,
        DataType::Uint4 => DType::U4,
        DataType::Int4 => DType::I4,
        DataType::String | DataType::Complex64 | DataType::Complex128 => {
            return Err(Problem::Unsupported(format!("element type {}", data_type.as_str_name())));
        }
        DataType::Undefined => return malformed("its element type is missing".into()),
    })
}

/// The ONNX type number of an element type; `None` for types that the operator sets written here do not have.
pub(crate) fn code_of(dtype: DType) -> Option<i32> {
    let data_type = match dtype {
        DType::F32 => DataType::Float,
        DType::U8 => DataType::Uint8,
        DType::I8 => DataType::Int8,
        DType::U16 => DataType::Uint16,
        DType::I16 => DataType::Int16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::Bool => DataType::Bool,
        DType::F16 => DataType::Float16,
        DType::F64 => DataType::Double,
        DType::U32 => DataType::Uint32,
        DType::U64 => DataType::Uint64,
        DType::BF16 => DataType::Bfloat16,
        DType::F8E4M3FN => DataType::Float8e4m3fn,
        DType::F8E4M3FNUZ => DataType::Float8e4m3fnuz,
        DType::F8E5M2 => DataType::Float8e5m2,
        DType::F8E5M2FNUZ => DataType::Float8e5m2fnuz,
        DType::U4 => DataType::Uint4,
        DType::I4 => DataType::Int4,
        DType::U2 => return Some(UINT2),
        DType::I2 => return Some(INT2),
        _ => return None,
    };
    Some(data_type as i32)
}

/// The first operator set whose files know the type at all.
pub(crate) fn known_since(dtype: DType) -> i64 {
    match dtype {
        d if d.is_float8() => 19,
        DType::I4 | DType::U4 => 21,
        DType::I2 | DType::U2 => 25,
        _ => 0,
    }
}

/// The tensor that `proto` holds, or that it points at inside `folder`.
pub(crate) fn read(proto: &TensorProto, folder: &mut Folder) -> Result<Tensor, Problem> {
    let dtype = dtype_of(proto.data_type())?;
    if proto.segment.is_some() {
        return Err(Problem::Unsupported("it is a segment of a tensor".into()));
    }
    if proto.dims.len() > MAX_RANK {
        return malformed(format!("{} axes, at most {MAX_RANK} are read", proto.dims.len()));
    }
    let mut dims = Vec::with_capacity(proto.dims.len());
    for d in &proto.dims {
        match usize::try_from(*d) {
            Ok(n) => dims.push(n),
            Err(_) => return malformed(format!("shape {:?} has a negative dimension", proto.dims)),
        }
    }
    let numel = checked_numel(&dims, dtype)?;
    match DataLocation::try_from(proto.data_location.unwrap_or_default()) {
        Ok(DataLocation::Default) => {}
        Ok(DataLocation::External) => {
            let raw = folder.read(&proto.external_data, dtype.packed_bytes(numel))?;
            return from_raw(dtype, &dims, numel, &raw);
        }
        Err(_) => return malformed(format!("data location {}", proto.data_location.unwrap_or_default())),
    }
    match &proto.raw_data {
        Some(raw) if !raw.is_empty() => from_raw(dtype, &dims, numel, raw),
        _ => from_fields(proto, dtype, &dims, numel),
    }
}

fn expect(what: &str, have: usize, dims: &[usize], dtype: DType, want: usize) -> Result<(), Problem> {
    if have == want {
        return Ok(());
    }
    malformed(format!("{have} {what} of data, shape {dims:?} of {dtype} needs {want}"))
}

/// Codes of 2 or 4 bits, several a byte, the first in the lowest bits.
fn unpack(bytes: &[u8], bits: usize, numel: usize) -> impl Iterator<Item = u8> {
    let mask = u8::MAX >> (8 - bits);
    bytes.iter().flat_map(move |b| (0..8 / bits).map(move |i| (b >> (i * bits)) & mask)).take(numel)
}

/// The signed value of a code of 2 or 4 bits.
fn signed(code: u8, bits: usize) -> i8 {
    ((code << (8 - bits)) as i8) >> (8 - bits)
}

fn from_raw(dtype: DType, dims: &[usize], numel: usize, raw: &Bytes) -> Result<Tensor, Problem> {
    expect("bytes", raw.len(), dims, dtype, dtype.packed_bytes(numel))?;
    macro_rules! words {
        ($ty:ty) => {
            words(dtype, dims, raw, <$ty>::from_le_bytes)
        };
    }
    match dtype {
        DType::F32 => words!(f32),
        DType::F64 => words!(f64),
        DType::F16 => words!(f16),
        DType::BF16 => words!(bf16),
        DType::I8 => words!(i8),
        DType::I16 => words!(i16),
        DType::U16 => words!(u16),
        DType::I32 => words!(i32),
        DType::U32 => words!(u32),
        DType::I64 => words!(i64),
        DType::U64 => words!(u64),
        DType::Bool => words(dtype, dims, raw, |[b]: [u8; 1]| b != 0),
        DType::I4 | DType::I2 => {
            let bits = dtype.bits();
            let codes = unpack(raw, bits, numel).map(|c| signed(c, bits)).collect::<Vec<i8>>();
            Ok(Tensor::with_dtype(dtype, dims, codes)?)
        }
        DType::U4 | DType::U2 => {
            let codes = unpack(raw, dtype.bits(), numel).collect::<Vec<u8>>();
            Ok(Tensor::with_dtype(dtype, dims, codes)?)
        }
        _ => words!(u8),
    }
}

/// Little-endian words of `N` bytes. The file does not align them.
fn words<T: Element, const N: usize>(
    dtype: DType,
    dims: &[usize],
    raw: &[u8],
    from_le: impl Fn([u8; N]) -> T,
) -> Result<Tensor, Problem> {
    let (chunks, _) = raw.as_chunks::<N>();
    Ok(Tensor::with_dtype(dtype, dims, chunks.iter().map(|c| from_le(*c)).collect())?)
}

/// From the typed fields: every element type has one field that carries it.
fn from_fields(proto: &TensorProto, dtype: DType, dims: &[usize], numel: usize) -> Result<Tensor, Problem> {
    fn narrow<S: Copy + std::fmt::Display, T: TryFrom<S> + Element>(
        data: &[S],
        dtype: DType,
        dims: &[usize],
        numel: usize,
    ) -> Result<Tensor, Problem> {
        expect("elements", data.len(), dims, dtype, numel)?;
        let mut out = Vec::with_capacity(numel);
        for v in data {
            match T::try_from(*v) {
                Ok(t) => out.push(t),
                Err(_) => return malformed(format!("value {v} is not a {dtype}")),
            }
        }
        Ok(Tensor::with_dtype(dtype, dims, out)?)
    }
    let ints = &proto.int32_data;
    match dtype {
        DType::F32 => {
            expect("elements", proto.float_data.len(), dims, dtype, numel)?;
            Ok(Tensor::new(dims, proto.float_data.clone())?)
        }
        DType::F64 => {
            expect("elements", proto.double_data.len(), dims, dtype, numel)?;
            Ok(Tensor::new(dims, proto.double_data.clone())?)
        }
        DType::I64 => narrow::<i64, i64>(&proto.int64_data, dtype, dims, numel),
        DType::U64 => narrow::<u64, u64>(&proto.uint64_data, dtype, dims, numel),
        DType::U32 => narrow::<u64, u32>(&proto.uint64_data, dtype, dims, numel),
        DType::I32 => narrow::<i32, i32>(ints, dtype, dims, numel),
        DType::I16 => narrow::<i32, i16>(ints, dtype, dims, numel),
        DType::U16 => narrow::<i32, u16>(ints, dtype, dims, numel),
        DType::I8 => narrow::<i32, i8>(ints, dtype, dims, numel),
        DType::Bool => {
            expect("elements", ints.len(), dims, dtype, numel)?;
            Ok(Tensor::new(dims, ints.iter().map(|v| *v != 0).collect())?)
        }
        DType::F16 | DType::BF16 => {
            let bits = narrow::<i32, u16>(ints, DType::U16, dims, numel)?;
            let bits = bits.as_slice::<u16>()?;
            if dtype == DType::F16 {
                Ok(Tensor::new(dims, bits.iter().map(|b| f16::from_bits(*b)).collect())?)
            } else {
                Ok(Tensor::new(dims, bits.iter().map(|b| bf16::from_bits(*b)).collect())?)
            }
        }
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            let packed = dtype.packed_bytes(numel);
            expect("bytes", ints.len(), dims, dtype, packed)?;
            // Some writers sign-extend the packed byte.
            let bytes: Vec<u8> = ints.iter().map(|v| v.to_le_bytes()[0]).collect();
            from_raw(dtype, dims, numel, &Bytes::from(bytes))
        }
        _ => narrow::<i32, u8>(ints, dtype, dims, numel),
    }
}

/// The file's form of a tensor, data in `raw_data`.
pub(crate) fn write(tensor: &Tensor, name: &str) -> Result<TensorProto, GraphError> {
    let dtype = tensor.dtype();
    fn bytes<T: Element, const N: usize>(
        tensor: &Tensor,
        to_le: impl Fn(T) -> [u8; N],
    ) -> Result<Vec<u8>, GraphError> {
        Ok(tensor.as_slice::<T>()?.iter().flat_map(|v| to_le(*v)).collect())
    }
    let pack = |codes: Vec<u8>| -> Vec<u8> {
        codes.chunks(2).map(|p| (p[0] & 0x0f) | (p.get(1).copied().unwrap_or(0) << 4)).collect()
    };
    let pack_2 = |codes: Vec<u8>| -> Vec<u8> {
        let byte = |c: &[u8]| c.iter().enumerate().fold(0, |byte, (i, code)| byte | ((code & 3) << (2 * i)));
        codes.chunks(4).map(byte).collect()
    };
    let raw = match dtype {
        DType::F32 => bytes(tensor, f32::to_le_bytes)?,
        DType::F64 => bytes(tensor, f64::to_le_bytes)?,
        DType::F16 => bytes(tensor, f16::to_le_bytes)?,
        DType::BF16 => bytes(tensor, bf16::to_le_bytes)?,
        DType::I8 => bytes(tensor, i8::to_le_bytes)?,
        DType::I16 => bytes(tensor, i16::to_le_bytes)?,
        DType::U16 => bytes(tensor, u16::to_le_bytes)?,
        DType::I32 => bytes(tensor, i32::to_le_bytes)?,
        DType::U32 => bytes(tensor, u32::to_le_bytes)?,
        DType::I64 => bytes(tensor, i64::to_le_bytes)?,
        DType::U64 => bytes(tensor, u64::to_le_bytes)?,
        DType::Bool => bytes(tensor, |b: bool| [u8::from(b)])?,
        DType::I4 => pack(tensor.as_slice::<i8>()?.iter().map(|v| v.to_le_bytes()[0]).collect()),
        DType::U4 => pack(tensor.as_slice::<u8>()?.to_vec()),
        DType::I2 => pack_2(tensor.as_slice::<i8>()?.iter().map(|v| v.to_le_bytes()[0]).collect()),
        DType::U2 => pack_2(tensor.as_slice::<u8>()?.to_vec()),
        _ => tensor.as_slice::<u8>()?.to_vec(),
    };
    Ok(TensorProto {
        dims: tensor.dims().iter().map(|d| i64::try_from(*d).unwrap_or(i64::MAX)).collect(),
        data_type: code_of(dtype),
        name: Some(name.to_owned()),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    })
}
