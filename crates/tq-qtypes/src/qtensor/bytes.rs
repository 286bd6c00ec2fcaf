//! Quantized tensors as bytes.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `TQQT` |
//! | 1 | version, 1 |
//! | 1 | scheme: 0 affine, 1 float, 2 codebook, 3 block float |
//! | 1 | type of the codes, numbered as in ONNX (affine, float); 0 NF4 (codebook); 0 MXFP4, 1 MXFP8 E4M3, 2 MXFP8 E5M2, 3 MXINT8 (block float) |
//! | 1 | granularity: 0 per tensor, 1 per channel, 2 per group |
//! | 8 | axis, 0 per tensor |
//! | 8 | group size, 0 unless per group |
//! | 8 | rank |
//! | 8 each | dimensions |
//! | 4 + 4 | smallest and largest code (affine only) |
//! | 8 | number of scales |
//! | 4 each | scales, f32 (block float: 1 each, E8M0) |
//! | 4 each | zero points, as many as scales (affine only) |
//! | the rest | packed codes, as [`crate::packing`] says |

use super::QTensor;
use crate::block_float::{BLOCK_SIZE, BlockFloatParams, BlockFormat};
use crate::codebook::{Codebook, CodebookParams};
use crate::narrow_float::FloatParams;
use crate::{AffineParams, DType, Granularity, QParams, QTypeError};

const MAGIC: &[u8; 4] = b"TQQT";
const VERSION: u8 = 1;

/// Types of codes with their ONNX numbers.
const DTYPES: [(DType, u8); 15] = [
    (DType::U8, 2),
    (DType::I8, 3),
    (DType::U16, 4),
    (DType::I16, 5),
    (DType::I32, 6),
    (DType::F16, 10),
    (DType::BF16, 16),
    (DType::F8E4M3FN, 17),
    (DType::F8E4M3FNUZ, 18),
    (DType::F8E5M2, 19),
    (DType::F8E5M2FNUZ, 20),
    (DType::U4, 21),
    (DType::I4, 22),
    (DType::U2, 25),
    (DType::I2, 26),
];

const FORMATS: [BlockFormat; 4] =
    [BlockFormat::MxFp4, BlockFormat::MxFp8E4M3, BlockFormat::MxFp8E5M2, BlockFormat::MxInt8];

impl QTensor {
    /// The tensor as bytes, for files and wires: a header of about 40 bytes, the parameters, and the packed codes.
    /// The same tensor gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let dtype_number = |dtype| DTYPES.iter().find(|(d, _)| *d == dtype).map_or(0, |(_, n)| *n);
        let (scheme, element) = match self.params() {
            QParams::Affine(p) => (0, dtype_number(p.dtype)),
            QParams::Float(p) => (1, dtype_number(p.dtype)),
            QParams::Codebook(CodebookParams { codebook: Codebook::Nf4, .. }) => (2, 0),
            QParams::BlockFloat(p) => {
                (3, FORMATS.iter().position(|f| *f == p.format).unwrap_or_default() as u8)
            }
        };
        let (granularity, axis, group_size) = match self.params().granularity() {
            Granularity::PerTensor => (0, 0, 0),
            Granularity::PerChannel { axis } => (1, axis, 0),
            Granularity::PerGroup { axis, group_size } => (2, axis, group_size),
        };
        let mut out = Vec::with_capacity(64 + 8 * self.params().param_count() + self.packed().len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&[VERSION, scheme, element, granularity]);
        let numbers = [axis, group_size, self.dims().len()];
        for n in numbers.iter().chain(self.dims()) {
            out.extend_from_slice(&(*n as u64).to_le_bytes());
        }
        if let QParams::Affine(p) = self.params() {
            out.extend_from_slice(&p.quant_min.to_le_bytes());
            out.extend_from_slice(&p.quant_max.to_le_bytes());
        }
        out.extend_from_slice(&(self.params().param_count() as u64).to_le_bytes());
        let floats = |scale: &[f32]| scale.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
        match self.params() {
            QParams::Affine(p) => {
                out.extend(floats(&p.scale));
                out.extend(p.zero_point.iter().flat_map(|z| z.to_le_bytes()));
            }
            QParams::Float(p) => out.extend(floats(&p.scale)),
            QParams::Codebook(p) => out.extend(floats(&p.scale)),
            QParams::BlockFloat(p) => out.extend_from_slice(&p.scale),
        }
        out.extend_from_slice(self.packed());
        out
    }

    /// The tensor that [`QTensor::to_bytes`] wrote. Nothing is allocated beyond what the bytes at hand fill.
    ///
    /// # Errors
    /// [`QTypeError::Malformed`] for bytes that are not such a tensor; those of [`QTensor::from_packed`] for one that
    /// contradicts itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, QTypeError> {
        let mut rest = Reader { bytes };
        if rest.take("the first word", 4)? != MAGIC {
            return Err(malformed("it does not begin with TQQT"));
        }
        let [version, scheme, element, granularity] = rest.array("the header")?;
        if version != VERSION {
            return Err(malformed(format!("version {version}: {VERSION} is the one that is read")));
        }
        let (axis, group_size, rank) =
            (rest.count("the axis")?, rest.count("the group size")?, rest.count("the rank")?);
        let granularity = match (granularity, axis, group_size) {
            (0, 0, 0) => Granularity::PerTensor,
            (1, axis, 0) => Granularity::PerChannel { axis },
            (2, axis, group_size) => Granularity::PerGroup { axis, group_size },
            _ => return Err(malformed(format!("granularity {granularity}, {axis}, {group_size}"))),
        };
        let dims = rest.many("dimensions", rank, u64::from_le_bytes)?;
        let dims: Option<Vec<usize>> = dims.into_iter().map(|d| usize::try_from(d).ok()).collect();
        let dims = dims.ok_or_else(|| malformed("a dimension beyond the memory of this machine"))?;
        let unknown = || malformed(format!("codes of type {element} in scheme {scheme}"));
        let dtype = || DTYPES.iter().find(|(_, n)| *n == element).map(|(d, _)| *d).ok_or_else(unknown);
        let params = match scheme {
            0 => {
                let quant_min = i32::from_le_bytes(rest.array("the smallest code")?);
                let quant_max = i32::from_le_bytes(rest.array("the largest code")?);
                let count = rest.count("the number of scales")?;
                let scale = rest.many("scales", count, f32::from_le_bytes)?;
                let zero_point = rest.many("zero points", count, i32::from_le_bytes)?;
                AffineParams { dtype: dtype()?, quant_min, quant_max, granularity, scale, zero_point }.into()
            }
            1 | 2 => {
                let count = rest.count("the number of scales")?;
                let scale = rest.many("scales", count, f32::from_le_bytes)?;
                match (scheme, element) {
                    (1, _) => FloatParams { dtype: dtype()?, granularity, scale }.into(),
                    (_, 0) => CodebookParams { codebook: Codebook::Nf4, granularity, scale }.into(),
                    _ => return Err(unknown()),
                }
            }
            3 => {
                let format = *FORMATS.get(usize::from(element)).ok_or_else(unknown)?;
                let count = rest.count("the number of scales")?;
                let scale = rest.take("scales", count)?.to_vec();
                let blocks = Granularity::PerGroup { axis, group_size: BLOCK_SIZE };
                if granularity != blocks {
                    return Err(malformed(format!("MX blocks of {group_size}: they have {BLOCK_SIZE}")));
                }
                BlockFloatParams { format, axis, scale }.into()
            }
            _ => return Err(malformed(format!("scheme {scheme}"))),
        };
        QTensor::from_packed(rest.bytes.to_vec(), &dims, params)
    }
}

fn malformed(message: impl Into<String>) -> QTypeError {
    QTypeError::Malformed(message.into())
}

/// What has not been read yet.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, what: &str, n: usize) -> Result<&'a [u8], QTypeError> {
        let Some((taken, rest)) = self.bytes.split_at_checked(n) else {
            let left = self.bytes.len();
            return Err(malformed(format!("{n} bytes of {what} where {left} are left")));
        };
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], QTypeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(what, N)?);
        Ok(array)
    }

    fn count(&mut self, what: &str) -> Result<usize, QTypeError> {
        let n = u64::from_le_bytes(self.array(what)?);
        usize::try_from(n).map_err(|_| malformed(format!("{what} is {n}")))
    }

    /// `n` numbers of `N` bytes each.
    fn many<T, const N: usize>(
        &mut self,
        what: &str,
        n: usize,
        from_le: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, QTypeError> {
        let size = n.checked_mul(N).ok_or_else(|| malformed(format!("{n} {what}")))?;
        let (words, _) = self.take(what, size)?.as_chunks::<N>();
        Ok(words.iter().map(|w| from_le(*w)).collect())
    }
}
