//! Typed arrays.

mod buffer;
mod storage;

pub use buffer::ByteBuffer;

use crate::GraphError;
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use storage::{Elements, Sealed, Storage};
use tq_qtypes::DType;

/// A typed array in row-major order. Cloning shares the data.
///
/// `i4` elements are kept one a byte as `i8`, `u4` and the 8-bit floats as `u8` (codes).
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    storage: Storage,
}

/// Rust types that can be elements of a [`Tensor`].
pub trait Element: Sealed + Clone + Copy + PartialEq + Send + Sync + Default + 'static {
    /// The type's name among [`DType`]s.
    const DTYPE: DType;
}

/// The type in which elements of `dtype` are kept in memory.
fn storage_dtype(dtype: DType) -> DType {
    match dtype {
        DType::I2 | DType::I4 => DType::I8,
        DType::U2 | DType::U4 => DType::U8,
        d if d.is_float8() => DType::U8,
        d => d,
    }
}

/// Number of elements of a shape, or an error when it does not fit memory.
///
/// # Errors
/// [`GraphError::TooLarge`] when the product of the dimensions, times the element size, exceeds `isize::MAX`.
pub fn checked_numel(dims: &[usize], dtype: DType) -> Result<usize, GraphError> {
    dtype.checked_numel(dims).ok_or_else(|| GraphError::TooLarge { dims: dims.to_vec(), dtype })
}

impl Tensor {
    /// A tensor of shape `dims` with these row-major elements.
    ///
    /// # Errors
    /// [`GraphError::DataLength`] when the number of elements is not that of the shape.
    ///
    /// ```
    /// use tq_graph::Tensor;
    /// let t = Tensor::new(&[2, 3], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// assert_eq!(t.dims(), [2, 3]);
    /// # Ok::<(), tq_graph::GraphError>(())
    /// ```
    pub fn new<T: Element>(dims: &[usize], data: Vec<T>) -> Result<Self, GraphError> {
        Self::with_dtype(T::DTYPE, dims, data)
    }

    /// A tensor whose elements are codes of `dtype`, kept as `T`: `i2` and `i4` as i8; `u2`, `u4` and 8-bit floats
    /// as u8.
    ///
    /// # Errors
    /// [`GraphError::DType`] when `T` is not how `dtype` is kept, or when a code does not fit 2 or 4 bits;
    /// otherwise as [`Tensor::new`].
    pub fn with_dtype<T: Element>(dtype: DType, dims: &[usize], data: Vec<T>) -> Result<Self, GraphError> {
        let len = data.len();
        if checked_numel(dims, dtype)? != len {
            return Err(GraphError::DataLength { dims: dims.to_vec(), len });
        }
        let array = ArrayD::from_shape_vec(IxDyn(dims), data)
            .map_err(|_| GraphError::DataLength { dims: dims.to_vec(), len })?;
        Self::from_array(array).retyped(dtype)
    }

    /// A tensor of this array (copied only when it is not in row-major order).
    #[must_use]
    pub fn from_array<T: Element>(array: ArrayD<T>) -> Self {
        let array = if array.is_standard_layout() {
            array.into_shared()
        } else {
            array.as_standard_layout().into_owned().into_shared()
        };
        Self { dtype: T::DTYPE, storage: T::wrap(Elements::Own(array)) }
    }

    /// A tensor whose elements lie in `buffer` from byte `start` on, little-endian and in row-major order, one a byte
    /// where they have less bits. They stay there, unless the place is not aligned for them; truth values are copied.
    ///
    /// # Errors
    /// [`GraphError::BufferRange`] where the buffer ends before the elements do, [`GraphError::NotBool`] for a byte that
    /// is no truth value, [`GraphError::TooLarge`] and [`GraphError::DType`] as [`Tensor::with_dtype`].
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tq_graph::{Tensor, tensor::ByteBuffer};
    /// use tq_qtypes::DType;
    ///
    /// let mut buffer = ByteBuffer::zeroed(8)?;
    /// buffer.bytes_mut()[4..].copy_from_slice(&1.5f32.to_le_bytes());
    /// let t = Tensor::in_buffer(DType::F32, &[1], &Arc::new(buffer), 4)?;
    /// assert_eq!(t, Tensor::vector(vec![1.5f32]));
    /// # Ok::<(), tq_graph::GraphError>(())
    /// ```
    pub fn in_buffer(
        dtype: DType,
        dims: &[usize],
        buffer: &Arc<ByteBuffer>,
        start: usize,
    ) -> Result<Self, GraphError> {
        let kept_as = storage_dtype(dtype);
        let bytes = kept_as.packed_bytes(checked_numel(dims, dtype)?);
        let end = start.checked_add(bytes).filter(|end| *end <= buffer.len());
        let Some(end) = end else {
            return Err(GraphError::BufferRange { start, bytes, len: buffer.len() });
        };
        let storage = Storage::in_buffer(kept_as, buffer, start..end, dims).ok_or(GraphError::NotBool)?;
        Self { dtype: kept_as, storage }.retyped(dtype)
    }

    /// The elements as bytes, little-endian and in row-major order, one a byte where they have less bits: what
    /// [`Tensor::in_buffer`] takes.
    #[must_use]
    pub fn le_bytes(&self) -> Cow<'_, [u8]> {
        self.storage.le_bytes().unwrap_or_default()
    }

    /// A tensor of rank 0.
    #[must_use]
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_array(ArrayD::from_elem(IxDyn(&[]), value))
    }

    /// A tensor of rank 1.
    #[must_use]
    pub fn vector<T: Element>(values: Vec<T>) -> Self {
        Self::from_array(ndarray::Array1::from_vec(values).into_dyn())
    }

    /// The same stored elements under another name: i8 as `i2` or `i4`, u8 as `u2`, `u4` or an 8-bit float, and
    /// back.
    ///
    /// # Errors
    /// [`GraphError::DType`] when the two are not kept in the same way, or when a code does not fit 2 or 4 bits.
    pub fn retyped(self, dtype: DType) -> Result<Self, GraphError> {
        let mismatch = GraphError::DType { expected: dtype, got: self.dtype };
        if storage_dtype(dtype) != storage_dtype(self.dtype) {
            return Err(mismatch);
        }
        let fits = match dtype {
            DType::I2 => self.as_slice::<i8>()?.iter().all(|v| (-2..=1).contains(v)),
            DType::U2 => self.as_slice::<u8>()?.iter().all(|v| *v <= 3),
            DType::I4 => self.as_slice::<i8>()?.iter().all(|v| (-8..=7).contains(v)),
            DType::U4 => self.as_slice::<u8>()?.iter().all(|v| *v <= 15),
            _ => true,
        };
        if fits { Ok(Self { dtype, storage: self.storage }) } else { Err(mismatch) }
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        self.storage.dims()
    }

    /// Number of dimensions.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.dims().len()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dims().iter().product()
    }

    /// True when there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes the elements take when packed (four 2-bit or two 4-bit elements a byte).
    #[must_use]
    pub fn packed_bytes(&self) -> usize {
        self.dtype.packed_bytes(self.len())
    }

    /// The elements as an array view.
    ///
    /// # Errors
    /// [`GraphError::DType`] when the elements are not kept as `T`.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>, GraphError> {
        T::peek(&self.storage)
            .and_then(Elements::view)
            .ok_or(GraphError::DType { expected: T::DTYPE, got: self.dtype })
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// As [`Tensor::view`].
    pub fn as_slice<T: Element>(&self) -> Result<&[T], GraphError> {
        T::peek(&self.storage)
            .and_then(Elements::slice)
            .ok_or(GraphError::DType { expected: T::DTYPE, got: self.dtype })
    }

    /// The elements in row-major order, to write; copies them first when the data is shared.
    ///
    /// Elements kept in a smaller range than that of `T` (`i2`, `u2`, `i4`, `u4`) are not checked again.
    ///
    /// # Errors
    /// As [`Tensor::view`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T], GraphError> {
        let got = self.dtype;
        T::peek_mut(&mut self.storage)
            .and_then(Elements::slice_mut)
            .ok_or(GraphError::DType { expected: T::DTYPE, got })
    }

    /// The elements as an array of their own; copies only when the data is shared.
    ///
    /// # Errors
    /// As [`Tensor::view`].
    pub fn into_array<T: Element>(self) -> Result<ArrayD<T>, GraphError> {
        let got = self.dtype;
        T::peek(&self.storage)
            .cloned()
            .and_then(|elements| {
                drop(self); // so that the clone may be the only owner
                elements.into_array()
            })
            .ok_or(GraphError::DType { expected: T::DTYPE, got })
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// [`GraphError::DataLength`] when the number of elements differs.
    pub fn reshape(self, dims: &[usize]) -> Result<Self, GraphError> {
        let (dtype, len) = (self.dtype, self.len());
        let error = || GraphError::DataLength { dims: dims.to_vec(), len };
        if checked_numel(dims, dtype)? != len {
            return Err(error());
        }
        let storage = self.storage.reshaped(dims).ok_or_else(error)?;
        Ok(Self { dtype, storage })
    }

    /// All elements of an integer or bool tensor as i64, in row-major order; `None` for other types
    /// and for u64 values beyond i64.
    #[must_use]
    pub fn to_i64_vec(&self) -> Option<Vec<i64>> {
        fn cast<T: Element + Into<i64>>(elements: &Elements<T>) -> Option<Vec<i64>> {
            Some(elements.slice()?.iter().map(|v| (*v).into()).collect())
        }
        if !(self.dtype.is_integer() || self.dtype == DType::Bool) {
            return None;
        }
        match &self.storage {
            Storage::I8(a) => cast(a),
            Storage::U8(a) => cast(a),
            Storage::I16(a) => cast(a),
            Storage::U16(a) => cast(a),
            Storage::I32(a) => cast(a),
            Storage::U32(a) => cast(a),
            Storage::I64(a) => cast(a),
            Storage::U64(a) => a.slice()?.iter().map(|v| i64::try_from(*v).ok()).collect(),
            Storage::Bool(a) => Some(a.slice()?.iter().map(|v| i64::from(*v)).collect()),
            _ => None,
        }
    }

    /// All elements of a float tensor (f16, bf16, f32, f64) as f32, in row-major order; `None` for other types.
    #[must_use]
    pub fn to_f32_vec(&self) -> Option<Vec<f32>> {
        match &self.storage {
            Storage::F16(a) => Some(a.slice()?.iter().map(|v| v.to_f32()).collect()),
            Storage::BF16(a) => Some(a.slice()?.iter().map(|v| v.to_f32()).collect()),
            Storage::F32(a) => Some(a.slice()?.to_vec()),
            Storage::F64(a) => Some(a.slice()?.iter().map(|v| *v as f32).collect()),
            _ => None,
        }
    }

    /// All elements of a float tensor as f64, in row-major order; `None` for other types.
    #[must_use]
    pub fn to_f64_vec(&self) -> Option<Vec<f64>> {
        match &self.storage {
            Storage::F16(a) => Some(a.slice()?.iter().map(|v| v.to_f64()).collect()),
            Storage::BF16(a) => Some(a.slice()?.iter().map(|v| v.to_f64()).collect()),
            Storage::F32(a) => Some(a.slice()?.iter().map(|v| f64::from(*v)).collect()),
            Storage::F64(a) => Some(a.slice()?.to_vec()),
            _ => None,
        }
    }
}

/// One tensor serves where a batch of them, one a graph input, is asked for.
impl AsRef<[Tensor]> for Tensor {
    fn as_ref(&self) -> &[Tensor] {
        std::slice::from_ref(self)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_and_four_bit_codes_are_checked() {
        let t = Tensor::with_dtype(DType::I2, &[5], vec![-2i8, -1, 0, 1, 0]).unwrap();
        assert_eq!(t.packed_bytes(), 2);
        assert!(t.retyped(DType::I4).unwrap().retyped(DType::I2).is_ok());
        assert!(Tensor::with_dtype(DType::I2, &[1], vec![2i8]).is_err());
        assert!(Tensor::with_dtype(DType::U2, &[2], vec![0u8, 3]).is_ok());
        assert!(Tensor::with_dtype(DType::U2, &[1], vec![4u8]).is_err());
        assert!(Tensor::with_dtype(DType::I4, &[2], vec![-8i8, 7]).is_ok());
        assert!(Tensor::with_dtype(DType::I4, &[1], vec![8i8]).is_err());
        assert!(Tensor::with_dtype(DType::U4, &[1], vec![16u8]).is_err());
        assert!(Tensor::with_dtype(DType::U4, &[1], vec![1.0f32]).is_err());
    }

    #[test]
    fn any_array_becomes_row_major() {
        let a = ndarray::array![[1i32, 2], [3, 4]].reversed_axes().into_dyn();
        assert_eq!(Tensor::from_array(a).as_slice::<i32>().unwrap(), [1, 3, 2, 4]);
    }

    #[test]
    fn tensors_lie_in_a_buffer() {
        let mut buffer = ByteBuffer::zeroed(24).unwrap();
        let values = [0.5f32, -1.0, f32::MAX, -0.0];
        buffer.bytes_mut()[8..].copy_from_slice(Tensor::vector(values.to_vec()).le_bytes().as_ref());
        let buffer = Arc::new(buffer);
        let mut t = Tensor::in_buffer(DType::F32, &[2, 2], &buffer, 8).unwrap();
        assert_eq!(t.as_slice::<f32>().unwrap().as_ptr().cast(), buffer.bytes()[8..].as_ptr());
        assert_eq!(t, Tensor::new(&[2, 2], values.to_vec()).unwrap());
        assert_eq!(t.view::<f32>().unwrap()[[1, 0]], f32::MAX);
        assert_eq!(t.clone().reshape(&[4]).unwrap().dims(), [4]);
        // Writing leaves the buffer as it is.
        t.as_mut_slice::<f32>().unwrap()[0] = 2.0;
        assert_eq!(t.into_array::<f32>().unwrap()[[0, 0]], 2.0);
        let again = Tensor::in_buffer(DType::F32, &[4], &buffer, 8).unwrap();
        assert_eq!(again.to_f32_vec().unwrap(), values);
        // At odd places there is a copy.
        let odd = Tensor::in_buffer(DType::U16, &[3], &buffer, 7).unwrap();
        assert_eq!(odd.as_slice::<u16>().unwrap().len(), 3);
        assert!(Tensor::in_buffer(DType::F64, &[3], &buffer, 8).is_err());
        assert!(Tensor::in_buffer(DType::U8, &[1], &buffer, usize::MAX).is_err());
        assert!(Tensor::in_buffer(DType::F64, &[0], &buffer, 24).is_ok());
        assert_eq!(Tensor::in_buffer(DType::I4, &[8], &buffer, 0).unwrap().dtype(), DType::I4);
        assert!(Tensor::in_buffer(DType::I4, &[16], &buffer, 8).is_err());
        assert_eq!(Tensor::in_buffer(DType::Bool, &[4], &buffer, 0).unwrap().to_i64_vec().unwrap(), [0; 4]);
        assert_eq!(Tensor::in_buffer(DType::Bool, &[16], &buffer, 8), Err(GraphError::NotBool));
    }

    #[test]
    fn impossible_sizes_are_errors_even_beside_a_zero() {
        assert!(checked_numel(&[usize::MAX, 2], DType::U8).is_err());
        assert!(checked_numel(&[0, usize::MAX, 2], DType::U8).is_err());
        assert!(checked_numel(&[usize::MAX / 4], DType::F64).is_err());
        assert_eq!(checked_numel(&[0, 5], DType::F32).unwrap(), 0);
    }
}
