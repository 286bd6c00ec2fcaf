//! Safetensors files: named tensors behind a JSON header.

use crate::{GraphError, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use tq_qtypes::DType;

/// Bytes of a header that are read. It takes several times as much memory as its text.
const MAX_HEADER: u64 = 16 << 20;

fn invalid(e: impl std::fmt::Display) -> GraphError {
    GraphError::WeightsFile(e.to_string())
}

/// The tensors of a safetensors file by their names. The tensors together take no more memory than the file.
///
/// # Errors
/// [`GraphError::WeightsFile`] for bytes that are no such file, headers of more than 16 MiB, and element types that no
/// [`Tensor`] has.
pub fn read_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, GraphError> {
    let header = bytes.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
    if header > MAX_HEADER {
        return Err(invalid(format!("the header has {header} bytes, the limit is {MAX_HEADER}")));
    }
    let file = safetensors::SafeTensors::deserialize(bytes).map_err(invalid)?;
    file.tensors().into_iter().map(|(name, view)| Ok((name.clone(), tensor(&name, &view)?))).collect()
}

fn tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor, GraphError> {
    let (dims, data) = (view.shape(), view.data());
    // Data may stand at any address, so elements are assembled from bytes.
    macro_rules! read {
        ($t:ty) => {{
            let elements = data.as_chunks::<{ size_of::<$t>() }>().0;
            Tensor::new(dims, elements.iter().map(|b| <$t>::from_le_bytes(*b)).collect())
        }};
    }
    match view.dtype() {
        Dtype::F16 => read!(f16),
        Dtype::BF16 => read!(bf16),
        Dtype::F32 => read!(f32),
        Dtype::F64 => read!(f64),
        Dtype::I8 => read!(i8),
        Dtype::U8 => read!(u8),
        Dtype::I16 => read!(i16),
        Dtype::U16 => read!(u16),
        Dtype::I32 => read!(i32),
        Dtype::U32 => read!(u32),
        Dtype::I64 => read!(i64),
        Dtype::U64 => read!(u64),
        Dtype::BOOL => Tensor::new(dims, data.iter().map(|b| *b != 0).collect()),
        other => Err(invalid(format!("{name} has elements of type {other:?}"))),
    }
}

/// A safetensors file with these tensors. The same tensors give the same bytes.
///
/// # Errors
/// [`GraphError::WeightsFile`] for element types that the format has not (those of less than a byte, and 8-bit floats).
pub fn write_safetensors(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>, GraphError> {
    let mut parts = Vec::with_capacity(tensors.len());
    for (name, t) in tensors {
        macro_rules! bytes {
            ($t:ty, $dtype:ident) => {{
                let data = t.as_slice::<$t>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
                (Dtype::$dtype, data)
            }};
        }
        let (dtype, data): (Dtype, Vec<u8>) = match t.dtype() {
            DType::F16 => bytes!(f16, F16),
            DType::BF16 => bytes!(bf16, BF16),
            DType::F32 => bytes!(f32, F32),
            DType::F64 => bytes!(f64, F64),
            DType::I8 => bytes!(i8, I8),
            DType::U8 => bytes!(u8, U8),
            DType::I16 => bytes!(i16, I16),
            DType::U16 => bytes!(u16, U16),
            DType::I32 => bytes!(i32, I32),
            DType::U32 => bytes!(u32, U32),
            DType::I64 => bytes!(i64, I64),
            DType::U64 => bytes!(u64, U64),
            DType::Bool => (Dtype::BOOL, t.as_slice::<bool>()?.iter().map(|v| u8::from(*v)).collect()),
            other => return Err(invalid(format!("{name} has elements of type {other}"))),
        };
        parts.push((name.as_str(), dtype, t.dims().to_vec(), data));
    }
    let views = parts
        .iter()
        .map(|(name, dtype, dims, data)| {
            TensorView::new(*dtype, dims.clone(), data).map(|v| (*name, v)).map_err(invalid)
        })
        .collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(views, None).map_err(invalid)
}
