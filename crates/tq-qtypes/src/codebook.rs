//! Codebooks: codes that name entries of a fixed table, in blocks with a scale each.
//!
//! `code = index of the table entry nearest to x / scale`, `x = scale * table[code]`. The scale of a block is its
//! largest magnitude, so that all quotients are in -1..=1, where the tables live.

use crate::Granularity;
use crate::QTypeError;
use crate::affine::check_finite;
use crate::index::ParamIndex;
use crate::narrow_float::{check_scales, largest_magnitudes, with_scales};
use crate::packing::CodeWidth;
use serde::{Deserialize, Serialize};

/// A table of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codebook {
    /// NormalFloat4: 16 values that cut a normal distribution into about equally likely parts.
    ///
    /// From QLoRA (Dettmers, Pagnoni, Holtzman, Zettlemoyer 2023, appendix E): eight quantiles of the normal
    /// distribution at evenly spaced probabilities from 0.9677083 down to (but without) 0.5, the mirror image of
    /// seven such, and zero, all divided by the largest. The f32 values are those of the authors' implementation.
    Nf4,
}

/// NF4 in ascending order.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

impl Codebook {
    /// The values in ascending order; a code is an index into them.
    #[must_use]
    pub const fn values(self) -> &'static [f32; 16] {
        match self {
            Codebook::Nf4 => &NF4,
        }
    }

    /// The name used in messages and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codebook::Nf4 => "nf4",
        }
    }

    /// Code of the value nearest to `x`; of two that are equally near the smaller one. NaN becomes code 0.
    ///
    /// ```
    /// use tq_qtypes::Codebook;
    /// assert_eq!(Codebook::Nf4.nearest(0.1), 8); // 0.0796
    /// assert_eq!(Codebook::Nf4.nearest(-5.0), 0);
    /// ```
    #[must_use]
    pub fn nearest(self, x: f32) -> u8 {
        self.nearest_with(&self.midpoints(), x)
    }

    /// Half-way points between neighbours; sums of two f32 numbers of like size are exact in f64.
    fn midpoints(self) -> [f64; 15] {
        let v = self.values();
        std::array::from_fn(|i| (f64::from(v[i]) + f64::from(v[i + 1])) / 2.0)
    }

    fn nearest_with(self, midpoints: &[f64; 15], x: f32) -> u8 {
        // Values are in ascending order: as many midpoints as are below `x` are passed.
        let x = f64::from(x);
        midpoints.iter().map(|m| u8::from(x > *m)).sum()
    }
}

/// Parameters of a tensor of codebook codes: `real = scale * table[code]`.
///
/// In the files of other tools a block of zeros may have scale 0; here it has scale 1, which reads the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodebookParams {
    /// The table.
    pub codebook: Codebook,
    /// What shares a scale: QLoRA's are groups of 64 along the last axis (the whole tensor as one axis there).
    pub granularity: Granularity,
    /// One scale per tensor, channel or group (groups in row-major order of the block grid).
    pub scale: Vec<f32>,
}

impl CodebookParams {
    /// The scales of this data: the largest magnitude of each set of elements that shares one, 1 for zeros.
    ///
    /// # Errors
    /// [`QTypeError::NonFinite`] when a value is NaN or infinite; those of [`Granularity::param_count`];
    /// [`QTypeError::Length`] when `x` and `dims` disagree.
    pub fn from_data(
        x: &[f32],
        dims: &[usize],
        codebook: Codebook,
        granularity: Granularity,
    ) -> Result<Self, QTypeError> {
        check_finite(x)?;
        let to_scale = |amax: f32| if amax == 0.0 { 1.0 } else { amax };
        let scale = largest_magnitudes(x, dims, granularity)?.into_iter().map(to_scale).collect();
        Ok(Self { codebook, granularity, scale })
    }

    /// Checks the scales and their number (as far as it does not depend on a shape).
    ///
    /// # Errors
    /// [`QTypeError::Length`] or [`QTypeError::BadScale`].
    pub fn validate(&self) -> Result<(), QTypeError> {
        check_scales(self.granularity, &self.scale)
    }

    pub(crate) fn width(&self) -> CodeWidth {
        CodeWidth::unsigned(4)
    }

    /// Codes of elements `first..` of a tensor with this index.
    pub(crate) fn encode(&self, index: &ParamIndex, first: usize, x: &[f32], codes: &mut [i32]) {
        let midpoints = self.codebook.midpoints();
        let code = |x: f32, s: f32| i32::from(self.codebook.nearest_with(&midpoints, x / s));
        with_scales(index, first, &self.scale, x, codes, code);
    }

    /// Values of codes `first..` of a tensor with this index.
    pub(crate) fn decode(&self, index: &ParamIndex, first: usize, codes: &[i32], x: &mut [f32]) {
        let values = self.codebook.values();
        with_scales(index, first, &self.scale, codes, x, |q, s| values[(q & 15) as usize] * s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The point below which a normal variable falls with probability `p`, by bisection.
    fn normal_quantile(p: f64) -> f64 {
        let (mut lo, mut hi) = (-10.0, 10.0);
        for _ in 0..200 {
            let mid = (lo + hi) / 2.0;
            if 0.5 * libm::erfc(-mid / std::f64::consts::SQRT_2) < p { lo = mid } else { hi = mid }
        }
        lo
    }

    #[test]
    fn nf4_is_the_table_that_the_paper_derives() {
        let offset = 0.967_708_3;
        // `n` quantiles from `offset` towards one half, which itself is left out.
        let quantiles =
            |n: usize| (0..n).map(move |i| normal_quantile(offset + (0.5 - offset) * i as f64 / n as f64));
        let mut values: Vec<f64> = quantiles(8).chain([0.0]).chain(quantiles(7).map(|v| -v)).collect();
        values.sort_by(f64::total_cmp);
        let largest = values[15];
        for (derived, table) in values.iter().zip(NF4) {
            assert!((derived / largest - f64::from(table)).abs() < 3e-7, "{derived} {table}");
        }
    }

    #[test]
    fn ties_go_down_and_special_values_to_the_ends() {
        let nearest = |x| Codebook::Nf4.nearest(x);
        for (code, v) in NF4.iter().enumerate() {
            assert_eq!(usize::from(nearest(*v)), code);
        }
        // Half-way between 0 and its neighbours, exactly.
        assert_eq!((nearest(NF4[8] / 2.0), nearest(NF4[6] / 2.0)), (7, 6));
        assert_eq!((nearest(f32::NAN), nearest(f32::INFINITY), nearest(f32::NEG_INFINITY)), (0, 15, 0));
    }

    #[test]
    fn blocks_have_their_largest_magnitude_as_scale() {
        let group = Granularity::PerGroup { axis: 0, group_size: 3 };
        let x = [0.5, -2.0, 1.0, 0.0, 0.0, 0.0, 1e-45];
        let params = CodebookParams::from_data(&x, &[7], Codebook::Nf4, group).unwrap();
        assert_eq!(params.scale, [2.0, 1.0, 1e-45]);
        let index = ParamIndex::new(group, &[7]).unwrap();
        let mut codes = [0; 7];
        params.encode(&index, 0, &x, &mut codes);
        assert_eq!(codes, [10, 0, 12, 7, 7, 7, 15]);
        let mut y = [9.0; 7];
        params.decode(&index, 0, &codes, &mut y);
        assert_eq!(y, [NF4[10] * 2.0, -2.0, NF4[12] * 2.0, 0.0, 0.0, 0.0, 1e-45]);
    }

    proptest! {
        #[test]
        fn nearest_is_nearest(x in -1.5f32..1.5) {
            let code = usize::from(Codebook::Nf4.nearest(x));
            let distance = |v: f32| (f64::from(v) - f64::from(x)).abs();
            for (other, v) in NF4.iter().enumerate() {
                let (here, there) = (distance(NF4[code]), distance(*v));
                prop_assert!(here < there || (here == there && code <= other), "{} {} {}", x, code, other);
            }
        }
    }
}
