//! Typed arrays.

use crate::GraphError;
use ndarray::{ArcArray, ArrayD, ArrayViewD, IxDyn};
use std::fmt;
use tq_qtypes::DType;

/// A typed array in row-major order. Cloning shares the data.
///
/// `i4` elements are kept one a byte as `i8`, `u4` and the 8-bit floats as `u8` (codes).
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    storage: Storage,
}

mod sealed {
    use super::{ArcArray, DType, Element, IxDyn};
    use half::{bf16, f16};

    /// How arrays of `Self` are kept.
    pub trait Sealed: Sized {
        fn wrap(array: ArcArray<Self, IxDyn>) -> Storage;
        fn peek(storage: &Storage) -> Option<&ArcArray<Self, IxDyn>>;
        fn peek_mut(storage: &mut Storage) -> Option<&mut ArcArray<Self, IxDyn>>;
    }

    macro_rules! storage {
        ($($variant:ident: $ty:ty),*) => {
            /// The array behind a tensor, by the Rust type of its elements.
            #[derive(Clone, PartialEq)]
            pub enum Storage {
                $($variant(ArcArray<$ty, IxDyn>),)*
            }

            impl Storage {
                pub(super) fn dims(&self) -> &[usize] {
                    match self { $(Storage::$variant(a) => a.shape(),)* }
                }

                pub(super) fn reshaped(self, dims: &[usize]) -> Option<Self> {
                    match self {
                        $(Storage::$variant(a) => {
                            a.into_shape_with_order(IxDyn(dims)).ok().map(Storage::$variant)
                        })*
                    }
                }
            }

            $(
                impl Sealed for $ty {
                    fn wrap(array: ArcArray<Self, IxDyn>) -> Storage {
                        Storage::$variant(array)
                    }
                    fn peek(storage: &Storage) -> Option<&ArcArray<Self, IxDyn>> {
                        match storage {
                            Storage::$variant(a) => Some(a),
                            _ => None,
                        }
                    }
                    fn peek_mut(storage: &mut Storage) -> Option<&mut ArcArray<Self, IxDyn>> {
                        match storage {
                            Storage::$variant(a) => Some(a),
                            _ => None,
                        }
                    }
                }
                impl Element for $ty {
                    const DTYPE: DType = DType::$variant;
                }
            )*
        };
    }

    storage!(F16: f16, BF16: bf16, F32: f32, F64: f64, I8: i8, U8: u8, I16: i16, U16: u16,
        I32: i32, U32: u32, I64: i64, U64: u64, Bool: bool);
}
use sealed::Storage;

/// Rust types that can be elements of a [`Tensor`].
pub trait Element: sealed::Sealed + Clone + Copy + PartialEq + Send + Sync + Default + 'static {
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
        Self { dtype: T::DTYPE, storage: T::wrap(array) }
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
            .map(|a| a.view())
            .ok_or(GraphError::DType { expected: T::DTYPE, got: self.dtype })
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// As [`Tensor::view`].
    pub fn as_slice<T: Element>(&self) -> Result<&[T], GraphError> {
        T::peek(&self.storage)
            .and_then(|a| a.as_slice())
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
            .and_then(|a| a.as_slice_mut())
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
            .map(|a| {
                drop(self); // so that the clone may be the only owner
                a.into_owned()
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
        fn cast<T: Copy + Into<i64>>(a: &ArcArray<T, IxDyn>) -> Option<Vec<i64>> {
            Some(a.iter().map(|v| (*v).into()).collect())
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
            Storage::U64(a) => a.iter().map(|v| i64::try_from(*v).ok()).collect(),
            Storage::Bool(a) => Some(a.iter().map(|v| i64::from(*v)).collect()),
            _ => None,
        }
    }

    /// All elements of a float tensor (f16, bf16, f32, f64) as f32, in row-major order; `None` for other types.
    #[must_use]
    pub fn to_f32_vec(&self) -> Option<Vec<f32>> {
        match &self.storage {
            Storage::F16(a) => Some(a.iter().map(|v| v.to_f32()).collect()),
            Storage::BF16(a) => Some(a.iter().map(|v| v.to_f32()).collect()),
            Storage::F32(a) => Some(a.iter().copied().collect()),
            Storage::F64(a) => Some(a.iter().map(|v| *v as f32).collect()),
            _ => None,
        }
    }

    /// All elements of a float tensor as f64, in row-major order; `None` for other types.
    #[must_use]
    pub fn to_f64_vec(&self) -> Option<Vec<f64>> {
        match &self.storage {
            Storage::F16(a) => Some(a.iter().map(|v| v.to_f64()).collect()),
            Storage::BF16(a) => Some(a.iter().map(|v| v.to_f64()).collect()),
            Storage::F32(a) => Some(a.iter().map(|v| f64::from(*v)).collect()),
            Storage::F64(a) => Some(a.iter().copied().collect()),
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
    fn impossible_sizes_are_errors_even_beside_a_zero() {
        assert!(checked_numel(&[usize::MAX, 2], DType::U8).is_err());
        assert!(checked_numel(&[0, usize::MAX, 2], DType::U8).is_err());
        assert!(checked_numel(&[usize::MAX / 4], DType::F64).is_err());
        assert_eq!(checked_numel(&[0, 5], DType::F32).unwrap(), 0);
    }
}
