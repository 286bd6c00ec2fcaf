//! Tensors of codes.

mod bytes;

use crate::fake_quantize::CHUNK;
use crate::packing::{CodeWidth, Packer, check_codes, check_packed, unpack_at};
use crate::{QParams, QTypeError, QuantFormat, Rounding, index};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A quantized tensor: shape, parameters, and codes packed without gaps.
///
/// Always consistent, also after deserialization: the parameters are valid and fit the shape, there are as many codes
/// as elements, affine codes lie in `quant_min..=quant_max`, and bits beyond the last code are zero.
///
/// ```
/// use tq_qtypes::{Granularity, QTensor, QScheme, QuantSpec, Rounding};
/// let spec = QuantSpec::bits(true, 4, QScheme::Symmetric, Granularity::PerTensor)?;
/// let x = [0.7, -0.2, 0.1, 0.0, -0.7];
/// let q = QTensor::from_data(&x, &[5], spec, Rounding::Divide)?;
/// assert_eq!(q.codes(), [7, -2, 1, 0, -7]);
/// assert_eq!(q.packed().len(), 3);
/// assert_eq!(QTensor::from_bytes(&q.to_bytes())?, q);
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct QTensor {
    dims: Vec<usize>,
    params: QParams,
    packed: Vec<u8>,
}

/// A [`QTensor`] as it comes in.
#[derive(Deserialize)]
struct Unchecked {
    dims: Vec<usize>,
    params: QParams,
    packed: Vec<u8>,
}

impl TryFrom<Unchecked> for QTensor {
    type Error = QTypeError;

    fn try_from(raw: Unchecked) -> Result<Self, QTypeError> {
        QTensor::from_packed(raw.packed, &raw.dims, raw.params)
    }
}

impl QTensor {
    /// Quantizes a row-major tensor of shape `dims`. `rounding` is for affine parameters; the other schemes divide by
    /// their scales. Infinities saturate; NaN becomes the smallest code where codes have no NaN.
    ///
    /// # Errors
    /// Those of [`QParams::validate`]; [`QTypeError::Length`] when counts disagree.
    pub fn quantize(
        x: &[f32],
        dims: &[usize],
        params: &QParams,
        rounding: Rounding,
    ) -> Result<Self, QTypeError> {
        let index = params.index(dims, x.len())?;
        let mut packer = Packer::new(params.code_width(), x.len());
        let mut codes = vec![0; x.len().min(CHUNK)];
        for (i, x) in x.chunks(CHUNK).enumerate() {
            let codes = &mut codes[..x.len()];
            params.encode(&index, i * CHUNK, x, rounding, codes);
            packer.push(codes);
        }
        Ok(Self { dims: dims.to_vec(), params: params.clone(), packed: packer.finish() })
    }

    /// Quantizes a tensor with the parameters that `format` chooses for it.
    ///
    /// # Errors
    /// Those of [`QuantFormat::params_for`] and [`QTensor::quantize`].
    pub fn from_data(
        x: &[f32],
        dims: &[usize],
        format: impl Into<QuantFormat>,
        rounding: Rounding,
    ) -> Result<Self, QTypeError> {
        let params = format.into().params_for(x, dims)?;
        Self::quantize(x, dims, &params, rounding)
    }

    /// A tensor of these codes, row-major.
    ///
    /// # Errors
    /// Those of [`QParams::validate`]; [`QTypeError::Length`] when counts disagree; [`QTypeError::CodeRange`] for a
    /// code outside `quant_min..=quant_max`, or wider than codes of the scheme are.
    pub fn from_codes(codes: &[i32], dims: &[usize], params: QParams) -> Result<Self, QTypeError> {
        params.index(dims, codes.len())?;
        let (lo, hi) = code_range(&params);
        check_codes(codes, 0, lo, hi)?;
        let mut packer = Packer::new(params.code_width(), codes.len());
        packer.push(codes);
        Ok(Self { dims: dims.to_vec(), params, packed: packer.finish() })
    }

    /// A tensor of codes that are packed already, in the width [`QParams::code_width`].
    ///
    /// # Errors
    /// As [`QTensor::from_codes`]; [`QTypeError::Padding`] when bits beyond the last code are set.
    pub fn from_packed(packed: Vec<u8>, dims: &[usize], params: QParams) -> Result<Self, QTypeError> {
        let numel = index::numel(dims)?;
        params.index(dims, numel)?;
        let width = params.code_width();
        check_packed(&packed, numel, width)?;
        let (lo, hi) = code_range(&params);
        let tensor = Self { dims: dims.to_vec(), params, packed };
        if (lo, hi) != width.range() {
            tensor.for_each_chunk(0..numel, |first, codes| check_codes(codes, first, lo, hi))?;
        }
        Ok(tensor)
    }

    /// Shape.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// True when there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dims.contains(&0)
    }

    /// Parameters.
    #[must_use]
    pub fn params(&self) -> &QParams {
        &self.params
    }

    /// The packed codes, in the width [`QParams::code_width`]; see [`crate::packing`] for their order.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    /// The codes, row-major: integers for affine parameters, bit patterns for floats, table indices for codebooks;
    /// of MX blocks bit patterns, but the integers themselves for MXINT8.
    #[must_use]
    pub fn codes(&self) -> Vec<i32> {
        let mut codes = vec![0; self.len()];
        unpack_at(&self.packed, 0, self.width(), &mut codes);
        codes
    }

    /// The real values, row-major, each rounded to f32 once.
    #[must_use]
    pub fn dequantize(&self) -> Vec<f32> {
        let mut x = vec![0.0; self.len()];
        // The parameters fit the shape in every tensor there is, so this is never an error.
        if let Ok(index) = self.params.index(&self.dims, x.len()) {
            let mut codes = vec![0; x.len().min(CHUNK)];
            for (i, x) in x.chunks_mut(CHUNK).enumerate() {
                let codes = &mut codes[..x.len()];
                unpack_at(&self.packed, i * CHUNK, self.width(), codes);
                self.params.decode(&index, i * CHUNK, codes, x);
            }
        }
        x
    }

    /// The same values under other parameters, of any scheme.
    ///
    /// This is [`QTensor::dequantize`] followed by [`QTensor::quantize`] with [`Rounding::Divide`], as
    /// DequantizeLinear followed by QuantizeLinear computes it. Roundings, in this order: `scale * (code - zero_point)`
    /// to f32; its quotient with the new scale to f32; that to the nearest code, half to even.
    ///
    /// # Errors
    /// As [`QTensor::quantize`].
    pub fn requantize(&self, to: &QParams) -> Result<Self, QTypeError> {
        let numel = self.len();
        let from_index = self.params.index(&self.dims, numel)?;
        let to_index = to.index(&self.dims, numel)?;
        let mut packer = Packer::new(to.code_width(), numel);
        let mut x = vec![0.0; numel.min(CHUNK)];
        let mut new = vec![0; numel.min(CHUNK)];
        self.for_each_chunk(0..numel, |first, codes| {
            let (x, new) = (&mut x[..codes.len()], &mut new[..codes.len()]);
            self.params.decode(&from_index, first, codes, x);
            to.encode(&to_index, first, x, Rounding::Divide, new);
            packer.push(new);
            Ok(())
        })?;
        Ok(Self { dims: self.dims.clone(), params: to.clone(), packed: packer.finish() })
    }

    /// Indices `range` of `axis`, with the parameters that they use.
    ///
    /// # Errors
    /// As [`QParams::slice`]: a slice along an axis that is cut into groups must begin where a group begins, or stay
    /// within one group.
    pub fn slice(&self, axis: usize, range: Range<usize>) -> Result<Self, QTypeError> {
        let params = self.params.slice(&self.dims, axis, range.clone())?;
        let mut dims = self.dims.clone();
        dims[axis] = range.len();
        let numel = index::numel(&dims)?;
        let mut packer = Packer::new(self.width(), numel);
        if numel > 0 {
            let inner: usize = self.dims[axis + 1..].iter().product();
            let outer: usize = self.dims[..axis].iter().product();
            for row in 0..outer {
                let first = (row * self.dims[axis] + range.start) * inner;
                self.for_each_chunk(first..first + range.len() * inner, |_, codes| {
                    packer.push(codes);
                    Ok(())
                })?;
            }
        }
        Ok(Self { dims, params, packed: packer.finish() })
    }

    fn width(&self) -> CodeWidth {
        self.params.code_width()
    }

    /// Hands out the codes of `elements` in order, a chunk at a time, with the index of its first one.
    fn for_each_chunk(
        &self,
        elements: Range<usize>,
        mut f: impl FnMut(usize, &[i32]) -> Result<(), QTypeError>,
    ) -> Result<(), QTypeError> {
        let mut buffer = vec![0; elements.len().min(CHUNK)];
        let mut first = elements.start;
        while first < elements.end {
            let codes = &mut buffer[..(elements.end - first).min(CHUNK)];
            unpack_at(&self.packed, first, self.width(), codes);
            f(first, codes)?;
            first += codes.len();
        }
        Ok(())
    }
}

/// Codes that a tensor with these parameters may hold.
fn code_range(params: &QParams) -> (i64, i64) {
    match params {
        QParams::Affine(p) => (p.quant_min.into(), p.quant_max.into()),
        other => other.code_width().range(),
    }
}
