//! How the elements of a tensor are kept: in an array of their own, or in a buffer that tensors share.

use super::buffer::ByteBuffer;
use crate::tensor::Element;
use half::{bf16, f16};
use ndarray::{ArcArray, ArrayD, ArrayViewD, IxDyn};
use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use tq_qtypes::DType;

/// How elements of `Self` are kept, and what bytes they are in a file (little-endian).
pub trait Sealed: Sized + 'static {
    fn wrap(elements: Elements<Self>) -> Storage;
    fn peek(storage: &Storage) -> Option<&Elements<Self>>;
    fn peek_mut(storage: &mut Storage) -> Option<&mut Elements<Self>>;
    /// The bytes as elements, without a copy; `None` where their address, or what they hold, does not allow it.
    fn cast(bytes: &[u8]) -> Option<&[Self]>;
    /// One element; `None` for bytes that are none.
    fn read_le(bytes: &[u8]) -> Option<Self>;
    fn write_le(elements: &[Self]) -> Cow<'_, [u8]>;
}

/// Row-major elements with their shape.
#[derive(Clone)]
pub enum Elements<T> {
    Own(ArcArray<T, IxDyn>),
    Shared(Shared<T>),
}

/// Elements at their place in a shared buffer, which [`Sealed::cast`] has been seen to take.
#[derive(Clone)]
pub struct Shared<T> {
    buffer: Arc<ByteBuffer>,
    range: Range<usize>,
    dims: Vec<usize>,
    element: PhantomData<T>,
}

impl<T: Element> Elements<T> {
    /// The elements in `range` of the buffer, as many as the shape says; copied only where they cannot stay there.
    /// `None` where the bytes are no elements.
    pub(super) fn in_buffer(buffer: &Arc<ByteBuffer>, range: Range<usize>, dims: &[usize]) -> Option<Self> {
        let bytes = buffer.bytes().get(range.clone())?;
        if cfg!(target_endian = "little") && T::cast(bytes).is_some() {
            let (buffer, dims) = (Arc::clone(buffer), dims.to_vec());
            return Some(Elements::Shared(Shared { buffer, range, dims, element: PhantomData }));
        }
        let elements = bytes.chunks_exact(size_of::<T>()).map(T::read_le).collect::<Option<Vec<T>>>()?;
        Some(Elements::Own(ArrayD::from_shape_vec(IxDyn(dims), elements).ok()?.into_shared()))
    }

    pub(super) fn slice(&self) -> Option<&[T]> {
        match self {
            Elements::Own(array) => array.as_slice(),
            Elements::Shared(s) => T::cast(&s.buffer.bytes()[s.range.clone()]),
        }
    }

    pub(super) fn view(&self) -> Option<ArrayViewD<'_, T>> {
        match self {
            Elements::Own(array) => Some(array.view()),
            Elements::Shared(s) => ArrayViewD::from_shape(IxDyn(&s.dims), self.slice()?).ok(),
        }
    }

    /// An array of their own; copied where the data is shared.
    pub(super) fn into_array(self) -> Option<ArrayD<T>> {
        match self {
            Elements::Own(array) => Some(array.into_owned()),
            shared => Some(shared.view()?.to_owned()),
        }
    }

    /// The elements to write; copied first where the data is shared.
    pub(super) fn slice_mut(&mut self) -> Option<&mut [T]> {
        if let Elements::Shared(_) = self {
            *self = Elements::Own(self.view()?.to_owned().into_shared());
        }
        match self {
            Elements::Own(array) => array.as_slice_mut(),
            Elements::Shared(_) => None,
        }
    }

    fn reshaped(self, dims: &[usize]) -> Option<Self> {
        match self {
            Elements::Own(array) => array.into_shape_with_order(IxDyn(dims)).ok().map(Elements::Own),
            Elements::Shared(s) => Some(Elements::Shared(Shared { dims: dims.to_vec(), ..s })),
        }
    }
}

impl<T> Elements<T> {
    fn dims(&self) -> &[usize] {
        match self {
            Elements::Own(array) => array.shape(),
            Elements::Shared(s) => &s.dims,
        }
    }
}

impl<T: Element> PartialEq for Elements<T> {
    fn eq(&self, other: &Self) -> bool {
        self.dims() == other.dims() && self.slice() == other.slice()
    }
}

macro_rules! storage {
    ($($variant:ident: $ty:ty),*) => {
        /// The elements behind a tensor, by their Rust type.
        #[derive(Clone, PartialEq)]
        pub enum Storage {
            $($variant(Elements<$ty>),)*
        }

        impl Storage {
            pub(super) fn dims(&self) -> &[usize] {
                match self { $(Storage::$variant(e) => e.dims(),)* }
            }

            pub(super) fn reshaped(self, dims: &[usize]) -> Option<Self> {
                match self { $(Storage::$variant(e) => e.reshaped(dims).map(Storage::$variant),)* }
            }

            pub(super) fn in_buffer(
                kept_as: DType, buffer: &Arc<ByteBuffer>, range: Range<usize>, dims: &[usize],
            ) -> Option<Self> {
                match kept_as {
                    $(DType::$variant => Elements::in_buffer(buffer, range, dims).map(Storage::$variant),)*
                    _ => None,
                }
            }

            pub(super) fn le_bytes(&self) -> Option<Cow<'_, [u8]>> {
                match self { $(Storage::$variant(e) => e.slice().map(<$ty>::write_le),)* }
            }
        }

        $(
            impl Element for $ty {
                const DTYPE: DType = DType::$variant;
            }
        )*
    };
}

macro_rules! kept {
    ($variant:ident) => {
        fn wrap(elements: Elements<Self>) -> Storage {
            Storage::$variant(elements)
        }
        fn peek(storage: &Storage) -> Option<&Elements<Self>> {
            match storage {
                Storage::$variant(e) => Some(e),
                _ => None,
            }
        }
        fn peek_mut(storage: &mut Storage) -> Option<&mut Elements<Self>> {
            match storage {
                Storage::$variant(e) => Some(e),
                _ => None,
            }
        }
    };
}

macro_rules! numbers {
    ($($variant:ident: $ty:ty),*) => {
        $(
            impl Sealed for $ty {
                kept!($variant);
                fn cast(bytes: &[u8]) -> Option<&[Self]> {
                    bytemuck::try_cast_slice(bytes).ok()
                }
                fn read_le(bytes: &[u8]) -> Option<Self> {
                    bytes.try_into().ok().map(Self::from_le_bytes)
                }
                fn write_le(elements: &[Self]) -> Cow<'_, [u8]> {
                    if cfg!(target_endian = "little") {
                        Cow::Borrowed(bytemuck::cast_slice(elements))
                    } else {
                        Cow::Owned(elements.iter().flat_map(|e| e.to_le_bytes()).collect())
                    }
                }
            }
        )*
    };
}

storage!(F16: f16, BF16: bf16, F32: f32, F64: f64, I8: i8, U8: u8, I16: i16, U16: u16,
    I32: i32, U32: u32, I64: i64, U64: u64, Bool: bool);
numbers!(F16: f16, BF16: bf16, F32: f32, F64: f64, I8: i8, U8: u8, I16: i16, U16: u16,
    I32: i32, U32: u32, I64: i64, U64: u64);

impl Sealed for bool {
    kept!(Bool);
    /// Not every byte is a truth value, so they are looked at one by one.
    fn cast(_: &[u8]) -> Option<&[Self]> {
        None
    }
    fn read_le(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    fn write_le(elements: &[Self]) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(elements))
    }
}
