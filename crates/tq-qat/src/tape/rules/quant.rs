//! DequantizeLinear.

use super::{Call, Gradient, Gradients};
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::{Op, Tensor};

/// `codes, scale[, zero_point]`: a scale gets the sum over its codes of gradient times distance from the zero point.
pub(super) struct Dequantize<'a> {
    pub(super) op: &'a Op,
    pub(super) axis: i64,
    pub(super) block_size: usize,
}

impl Gradient for Dequantize<'_> {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let mut out = call.nothing();
        if call.needs(0) {
            // To an operator that made codes of floats, and will say that it has no gradient.
            out[0] = Some(gradient.clone());
        }
        if !call.needs(1) {
            return Ok(out);
        }
        let (dims, scale_dims) = (&call.input_dims[0], &call.input_dims[1]);
        let ones = Tensor::new(scale_dims, vec![1.0f32; scale_dims.iter().product()])?;
        let inputs: Vec<Option<&Tensor>> = (0..call.inputs.len())
            .map(|i| if i == 1 { Some(&ones) } else { call.inputs[i].as_ref() })
            .collect();
        let distances = eval_op(self.op, &inputs, 1, Precision::F32)?.swap_remove(0);
        let rank = dims.len() as i64;
        let axis = usize::try_from(if self.axis < 0 { self.axis + rank } else { self.axis }).unwrap_or(0);
        let inner: usize = dims.get(axis + 1..).unwrap_or_default().iter().product();
        let len = dims.get(axis).copied().unwrap_or(1);
        // Which scale a line along the axis has.
        let scales = ones.len();
        let place = |i: usize| {
            let (outer, at, rest) = (i / (len * inner), i / inner % len, i % inner);
            match (scales, self.block_size) {
                (1, _) => 0,
                (_, 0) => at,
                (_, size) => (outer * len.div_ceil(size) + at / size) * inner + rest,
            }
        };
        let mut sums = vec![0.0f64; scales];
        let pairs = gradient.as_slice::<f32>()?.iter().zip(distances.as_slice::<f32>()?);
        for (i, (g, d)) in pairs.enumerate() {
            let sum = sums.get_mut(place(i));
            let sum = sum.ok_or_else(|| OpError::Shape(format!("scales of {scale_dims:?} for {dims:?}")))?;
            *sum += f64::from(*g) * f64::from(*d);
        }
        out[1] = Some(Tensor::new(scale_dims, sums.into_iter().map(|s| s as f32).collect::<Vec<f32>>())?);
        Ok(out)
    }
}
