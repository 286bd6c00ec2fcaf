//! From stored bytes to what a network takes.

use crate::AnalysisError;
use half::{bf16, f16};
use tq_graph::Tensor;
use tq_qtypes::DType;

/// `x = (stored * scale - mean[c]) / std[c]`, computed in f32, with `c` along the channel axis.
///
/// `mean` and `std` hold one value for every channel or a single one for all; empty means 0 and 1.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Preprocess {
    /// Factor of the stored value.
    pub scale: f32,
    /// Subtracted after scaling, per channel.
    pub mean: Vec<f32>,
    /// Divisor, per channel.
    pub std: Vec<f32>,
    /// Axis of the channels: 1, or 3 for pictures whose channels come last.
    pub channel_axis: usize,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self { scale: 1.0, mean: Vec::new(), std: Vec::new(), channel_axis: 1 }
    }
}

impl Preprocess {
    /// Checks what can be checked without data: finite numbers, no division by zero.
    ///
    /// # Errors
    /// [`AnalysisError::Preprocess`] naming the value.
    pub fn validate(&self) -> Result<(), AnalysisError> {
        let fail = |m: String| Err(AnalysisError::Preprocess(m));
        if !self.scale.is_finite() {
            return fail(format!("scale is {}", self.scale));
        }
        if let Some(v) = self.mean.iter().find(|v| !v.is_finite()) {
            return fail(format!("mean holds {v}"));
        }
        match self.std.iter().find(|v| !v.is_finite() || **v == 0.0) {
            Some(v) => fail(format!("std holds {v}")),
            None => Ok(()),
        }
    }

    /// Whether an array of this type is converted for an input of that type: bytes for a float input are.
    #[must_use]
    pub fn applies(stored: DType, input: DType) -> bool {
        matches!(stored, DType::U8 | DType::I8) && input.is_float()
    }

    /// Checks the numbers of channels against the shape of an array.
    ///
    /// # Errors
    /// [`AnalysisError::Preprocess`] when `mean` or `std` hold neither one value nor one a channel.
    pub fn check_dims(&self, dims: &[usize]) -> Result<(), AnalysisError> {
        let axis = self.channel_axis;
        for (what, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() > 1 && dims.get(axis) != Some(&values.len()) {
                let channels = dims
                    .get(axis)
                    .map_or(format!("no axis {axis}"), |c| format!("{c} channels on axis {axis}"));
                return Err(AnalysisError::Preprocess(format!(
                    "{} {what} values for an array of shape {dims:?}, which has {channels}",
                    values.len()
                )));
            }
        }
        Ok(())
    }

    /// The array as floats of type `to`; an array that is no u8 or i8, or is wanted as it is, comes back unchanged.
    ///
    /// # Errors
    /// As [`Preprocess::validate`] and [`Preprocess::check_dims`].
    pub fn apply(&self, stored: &Tensor, to: DType) -> Result<Tensor, AnalysisError> {
        if !Self::applies(stored.dtype(), to) {
            return Ok(stored.clone());
        }
        self.validate()?;
        self.check_dims(stored.dims())?;
        let dims = stored.dims();
        let channels = dims.get(self.channel_axis).copied().unwrap_or(1).max(1);
        let after = dims.iter().skip(self.channel_axis).skip(1);
        let inner = after.product::<usize>().max(1);
        // A byte has 256 values: each channel is a table.
        let channel = |values: &[f32], c: usize, default: f32| {
            values.get(if values.len() == 1 { 0 } else { c }).copied().unwrap_or(default)
        };
        let tables: Vec<[f32; 256]> = (0..if self.mean.len().max(self.std.len()) > 1 { channels } else { 1 })
            .map(|c| {
                let (mean, std) = (channel(&self.mean, c, 0.0), channel(&self.std, c, 1.0));
                std::array::from_fn(|code| {
                    let stored = match stored.dtype() {
                        DType::I8 => f32::from(code as u8 as i8),
                        _ => code as f32,
                    };
                    (stored * self.scale - mean) / std
                })
            })
            .collect();
        let codes: Vec<u8>;
        let codes: &[u8] = match stored.dtype() {
            DType::I8 => {
                codes = stored.as_slice::<i8>()?.iter().map(|v| *v as u8).collect();
                &codes
            }
            _ => stored.as_slice::<u8>()?,
        };
        let mut out = Vec::with_capacity(codes.len());
        for (i, plane) in codes.chunks(inner).enumerate() {
            let table = &tables[i % channels % tables.len()];
            out.extend(plane.iter().map(|c| table[usize::from(*c)]));
        }
        Ok(match to {
            DType::F64 => Tensor::new(dims, out.into_iter().map(f64::from).collect())?,
            DType::F16 => Tensor::new(dims, out.into_iter().map(f16::from_f32).collect())?,
            DType::BF16 => Tensor::new(dims, out.into_iter().map(bf16::from_f32).collect())?,
            _ => Tensor::new(dims, out)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formula_holds_for_every_code_and_channel() {
        let (mean, std) = (vec![0.485, -0.5, 3.0], vec![0.229, 0.5, -2.0]);
        let p = Preprocess { scale: 1.0 / 255.0, mean, std, ..Preprocess::default() };
        for signed in [false, true] {
            let codes: Vec<u8> = (0..2 * 3 * 256).map(|i| i as u8).collect();
            let t = if signed {
                Tensor::new(&[2, 3, 16, 16], codes.iter().map(|c| *c as i8).collect()).unwrap()
            } else {
                Tensor::new(&[2, 3, 16, 16], codes.clone()).unwrap()
            };
            let out = p.apply(&t, DType::F32).unwrap();
            for (i, y) in out.as_slice::<f32>().unwrap().iter().enumerate() {
                let c = i / 256 % 3;
                let x = if signed { f32::from(codes[i] as i8) } else { f32::from(codes[i]) };
                assert_eq!(*y, (x * p.scale - p.mean[c]) / p.std[c]);
            }
        }
    }

    #[test]
    fn channels_may_come_last() {
        let p = Preprocess { mean: vec![1.0, 2.0, 3.0], channel_axis: 3, ..Preprocess::default() };
        let t = Tensor::new(&[1, 2, 1, 3], vec![1u8, 2, 3, 11, 22, 33]).unwrap();
        let y = p.apply(&t, DType::F32).unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [0.0, 0.0, 0.0, 10.0, 20.0, 30.0]);
        let text = p.check_dims(&[1, 3, 2]).unwrap_err().to_string();
        assert!(text.contains("no axis 3"), "{text}");
    }

    #[test]
    fn one_value_serves_all_channels_and_any_rank() {
        let p = Preprocess { scale: 0.5, mean: vec![1.0], std: vec![2.0], ..Preprocess::default() };
        for dims in [vec![4], vec![2, 2], vec![1, 4, 1]] {
            let t = Tensor::new(&dims, vec![0u8, 2, 4, 255]).unwrap();
            let y = p.apply(&t, DType::F32).unwrap();
            assert_eq!(y.as_slice::<f32>().unwrap(), [-0.5, 0.0, 0.5, 63.25]);
        }
        let scalar = p.apply(&Tensor::scalar(4u8), DType::F64).unwrap();
        assert_eq!(scalar.as_slice::<f64>().unwrap(), [0.5]);
    }

    #[test]
    fn only_bytes_for_floats_are_touched() {
        let p = Preprocess { scale: 9.0, ..Preprocess::default() };
        let f = Tensor::vector(vec![1.0f32]);
        assert_eq!(p.apply(&f, DType::F32).unwrap(), f);
        let ids = Tensor::vector(vec![1i64]);
        assert_eq!(p.apply(&ids, DType::I64).unwrap(), ids);
        let bytes = Tensor::vector(vec![1u8]);
        assert_eq!(p.apply(&bytes, DType::U8).unwrap(), bytes);
    }

    #[test]
    fn wrong_parameters_are_named() {
        let t = Tensor::new(&[1, 2, 1], vec![0u8; 2]).unwrap();
        let three = Preprocess { mean: vec![1.0; 3], ..Preprocess::default() };
        assert!(three.apply(&t, DType::F32).unwrap_err().to_string().contains("3 mean values"));
        let flat = Tensor::vector(vec![0u8; 2]);
        let two = Preprocess { std: vec![1.0; 2], ..Preprocess::default() };
        assert!(two.apply(&flat, DType::F32).is_err());
        let zero = Preprocess { std: vec![0.0], ..Preprocess::default() };
        assert!(zero.validate().unwrap_err().to_string().contains("std holds 0"));
        assert!(Preprocess { scale: f32::NAN, ..Preprocess::default() }.validate().is_err());
    }

    #[test]
    fn nothing_in_nothing_out() {
        let p = Preprocess { mean: vec![1.0, 2.0], ..Preprocess::default() };
        let t = Tensor::new(&[0, 2, 5], Vec::<u8>::new()).unwrap();
        assert_eq!(p.apply(&t, DType::F32).unwrap().dims(), [0, 2, 5]);
    }
}
