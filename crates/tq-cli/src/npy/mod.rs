//! Arrays in numpy's files: `.npy`, and `.npz` with one array.
//!
//! Sizes that a file declares are checked against the bytes it has before anything is allocated for them.

mod header;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use read::read_array;
#[cfg(feature = "full")]
pub(crate) use read::read_npz_bytes;
pub(crate) use write::npy_bytes;

/// What the first bytes of an `.npy` file say.
#[derive(Debug, Clone, PartialEq)]
struct Header {
    kind: Kind,
    big_endian: bool,
    fortran_order: bool,
    dims: Vec<usize>,
}

/// Element types that a tensor can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Kind {
    const fn bytes(self) -> usize {
        match self {
            Kind::Bool | Kind::I8 | Kind::U8 => 1,
            Kind::F16 | Kind::I16 | Kind::U16 => 2,
            Kind::F32 | Kind::I32 | Kind::U32 => 4,
            Kind::F64 | Kind::I64 | Kind::U64 => 8,
        }
    }
}

/// What can be wrong with an array file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NpyError {
    /// The file cannot be opened or read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no `.npy` file.
    #[error("not a .npy file")]
    Magic,
    /// A version of the format that does not exist yet.
    #[error(".npy version {0}.{1} is not known")]
    Version(u8, u8),
    /// The header is not as numpy writes it.
    #[error(".npy header: {0}")]
    Header(String),
    /// Elements that are no plain numbers.
    #[error("arrays of type {0} are not supported")]
    DType(String),
    /// The shape is larger than any memory.
    #[error("shape {0:?} is too large")]
    TooLarge(Vec<usize>),
    /// Fewer bytes than the shape needs, or more.
    #[error("shape {dims:?} takes {expected} bytes, the file holds {found}")]
    Length { dims: Vec<usize>, expected: u64, found: String },
    /// The archive is broken.
    #[error(".npz archive: {0}")]
    Archive(String),
    /// The archive holds no array, or several.
    #[error(".npz archive holds {0} arrays, expected one")]
    Count(usize),
}
