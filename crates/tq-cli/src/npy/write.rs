//! Writing arrays.

use torsh_quantization::model::{DType, Tensor};

/// The bytes of an `.npy` file (version 1.0, little-endian, row-major) that holds this tensor.
///
/// Numpy has no name for bf16, which is written as f32, nor for 2-bit and 4-bit integers and 8-bit floats, which are written as
/// the i8 or u8 that holds them.
pub(crate) fn npy_bytes(tensor: &Tensor) -> anyhow::Result<Vec<u8>> {
    macro_rules! body {
        ($t:ty) => {
            tensor.as_slice::<$t>()?.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>()
        };
    }
    let (descr, body) = match tensor.dtype() {
        DType::Bool => ("|b1", tensor.as_slice::<bool>()?.iter().map(|b| u8::from(*b)).collect()),
        DType::F16 => ("<f2", body!(half::f16)),
        DType::BF16 => {
            let values = tensor.to_f32_vec().unwrap_or_default();
            ("<f4", values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        DType::F32 => ("<f4", body!(f32)),
        DType::F64 => ("<f8", body!(f64)),
        DType::I2 | DType::I4 | DType::I8 => ("|i1", body!(i8)),
        DType::I16 => ("<i2", body!(i16)),
        DType::I32 => ("<i4", body!(i32)),
        DType::I64 => ("<i8", body!(i64)),
        DType::U16 => ("<u2", body!(u16)),
        DType::U32 => ("<u4", body!(u32)),
        DType::U64 => ("<u8", body!(u64)),
        _ => ("|u1", body!(u8)),
    };
    let dims: Vec<String> = tensor.dims().iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}{comma}), }}", dims.join(", "));
    // The data begins at a multiple of 64 bytes; the last byte before it is a line feed.
    let padding = (64 - (10 + header.len() + 1) % 64) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let length = u16::try_from(header.len())
        .map_err(|_| anyhow::anyhow!("a shape of {} dimensions does not fit an .npy header", dims.len()))?;
    let mut out = Vec::with_capacity(10 + header.len() + body.len());
    out.extend_from_slice(b"\x93NUMPY\x01\x00");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&body);
    Ok(out)
}
