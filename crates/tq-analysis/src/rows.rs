//! Rows (axis 0) of typed tensors.

use crate::AnalysisError;
use half::{bf16, f16};
use tq_graph::{Element, Tensor};
use tq_qtypes::DType;

/// Calls a generic function with the Rust type in which elements of a tensor are kept.
macro_rules! by_element {
    ($dtype:expr, $call:ident ( $($arg:expr),* )) => {
        match $dtype {
            DType::F16 => $call::<f16>($($arg),*),
            DType::BF16 => $call::<bf16>($($arg),*),
            DType::F32 => $call::<f32>($($arg),*),
            DType::F64 => $call::<f64>($($arg),*),
            DType::I2 | DType::I4 | DType::I8 => $call::<i8>($($arg),*),
            DType::I16 => $call::<i16>($($arg),*),
            DType::U16 => $call::<u16>($($arg),*),
            DType::I32 => $call::<i32>($($arg),*),
            DType::U32 => $call::<u32>($($arg),*),
            DType::I64 => $call::<i64>($($arg),*),
            DType::U64 => $call::<u64>($($arg),*),
            DType::Bool => $call::<bool>($($arg),*),
            // u8, u4, u2 and the 8-bit floats are kept as u8; a type that is not is refused by the tensor itself.
            _ => $call::<u8>($($arg),*),
        }
    };
}

/// Rows `start..end` of a tensor, and its last row again until there are `rows` of them.
///
/// # Errors
/// [`AnalysisError::Rows`] when the tensor has no such rows.
pub fn take_rows(tensor: &Tensor, start: usize, end: usize, rows: usize) -> Result<Tensor, AnalysisError> {
    let available = tensor.dims().first().copied().unwrap_or(0);
    if start >= end || end > available || end - start > rows {
        return Err(AnalysisError::Rows { start, end, available });
    }
    if start == 0 && end == available && rows == available {
        return Ok(tensor.clone());
    }
    fn take<T: Element>(t: &Tensor, start: usize, end: usize, rows: usize) -> Result<Tensor, AnalysisError> {
        let row = t.len() / t.dims()[0];
        let data = t.as_slice::<T>()?;
        let mut out = Vec::with_capacity(rows * row);
        out.extend_from_slice(&data[start * row..end * row]);
        for _ in end - start..rows {
            out.extend_from_slice(&data[(end - 1) * row..end * row]);
        }
        let mut dims = t.dims().to_vec();
        dims[0] = rows;
        Ok(Tensor::with_dtype(t.dtype(), &dims, out)?)
    }
    by_element!(tensor.dtype(), take(tensor, start, end, rows))
}

/// The tensors one after the other along axis 0.
///
/// # Errors
/// [`AnalysisError::Concat`] when there is none, when one has rank 0, or when types or other dimensions differ.
pub fn concat_rows(tensors: &[Tensor]) -> Result<Tensor, AnalysisError> {
    let Some(first) = tensors.first() else {
        return Err(AnalysisError::Concat("there is nothing to join".into()));
    };
    if tensors.len() == 1 {
        return Ok(first.clone());
    }
    for t in tensors {
        if t.dtype() != first.dtype() {
            return Err(AnalysisError::Concat(format!(
                "{} and {} cannot be joined",
                first.dtype(),
                t.dtype()
            )));
        }
        if t.rank() == 0 || t.dims().get(1..) != first.dims().get(1..) {
            return Err(AnalysisError::Concat(format!(
                "shapes {:?} and {:?} cannot be joined along axis 0",
                first.dims(),
                t.dims()
            )));
        }
    }
    let rows = tensors
        .iter()
        .try_fold(0usize, |n, t| n.checked_add(t.dims().first().copied().unwrap_or(0)))
        .ok_or_else(|| AnalysisError::Concat("the rows together are too many".into()))?;
    fn concat<T: Element>(tensors: &[Tensor], rows: usize) -> Result<Tensor, AnalysisError> {
        let mut data = Vec::with_capacity(tensors.iter().map(Tensor::len).sum());
        for t in tensors {
            data.extend_from_slice(t.as_slice::<T>()?);
        }
        let mut dims = tensors[0].dims().to_vec();
        dims[0] = rows;
        Ok(Tensor::with_dtype(tensors[0].dtype(), &dims, data)?)
    }
    by_element!(first.dtype(), concat(tensors, rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(rows: usize) -> Tensor {
        Tensor::new(&[rows, 2], (0..rows * 2).map(|v| v as i16).collect()).unwrap()
    }

    #[test]
    fn rows_are_cut_and_filled_up() {
        assert_eq!(take_rows(&t(3), 1, 3, 2).unwrap().as_slice::<i16>().unwrap(), [2, 3, 4, 5]);
        let filled = take_rows(&t(3), 2, 3, 3).unwrap();
        assert_eq!(filled.dims(), [3, 2]);
        assert_eq!(filled.as_slice::<i16>().unwrap(), [4, 5, 4, 5, 4, 5]);
        assert!(take_rows(&t(3), 2, 4, 2).is_err());
        assert!(take_rows(&t(3), 0, 3, 2).is_err());
        assert!(take_rows(&Tensor::scalar(1u8), 0, 1, 1).is_err());
    }

    #[test]
    fn cut_and_join_are_inverse() {
        let whole = t(5);
        let parts = [take_rows(&whole, 0, 2, 2).unwrap(), take_rows(&whole, 2, 5, 3).unwrap()];
        assert_eq!(concat_rows(&parts).unwrap(), whole);
        assert!(concat_rows(&[]).is_err());
        assert!(concat_rows(&[t(1), Tensor::new(&[1, 3], vec![0i16; 3]).unwrap()]).is_err());
        assert!(concat_rows(&[t(1), Tensor::new(&[1, 2], vec![0u16; 2]).unwrap()]).is_err());
    }

    #[test]
    fn too_many_rows_are_an_error() {
        let hollow = Tensor::new(&[usize::MAX / 8, 0], Vec::<f32>::new()).unwrap();
        assert!(concat_rows(&vec![hollow; 9]).is_err());
    }

    #[test]
    fn empty_rows_are_rows_too() {
        let empty = Tensor::new(&[3, 0], Vec::<f32>::new()).unwrap();
        assert_eq!(take_rows(&empty, 0, 1, 2).unwrap().dims(), [2, 0]);
    }
}
