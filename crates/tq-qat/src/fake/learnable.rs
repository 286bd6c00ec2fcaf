//! Fake quantization whose scale and zero point are trained: LSQ (Esser et al., 2020) and LSQ+ (Bhalgat et al., 2020).

use super::chunks::{gradient_of_x, sums_by_parameter};
use crate::{CustomRule, QatError};
use std::ops::Range;
use tq_graph::Tensor;
use tq_qtypes::affine::{Side, fused_code_f32, round_zero_point};
use tq_qtypes::fake_quantize::FakeQuantizer;
use tq_qtypes::{AffineParams, DType, Granularity, QParams, QTypeError, Rounding};

/// The gradients of fake quantization with trained parameters.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnableGradients {
    /// Of the values.
    pub x: Tensor,
    /// Of the scales.
    pub scale: Vec<f32>,
    /// Of the zero points.
    pub zero_point: Vec<f32>,
}

/// Whose backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compatibility {
    /// The zero point of the forward pass.
    #[default]
    Native,
    /// PyTorch 2.5. Its learnable quantizers add the zero point before they round in the backward pass, by one fused
    /// multiply-add, which decides otherwise what lies halfway between two codes. And
    /// `fake_quantize_learnable_per_tensor_affine` rounds the zero point for it by adding one half and cutting off, so
    /// that -1 becomes 0 there.
    PyTorch,
}

/// The zero points that f32 ones stand for ([`round_zero_point`]).
#[must_use]
pub fn rounded_zero_points(zero_point: &[f32], quant_min: i32, quant_max: i32) -> Vec<i32> {
    zero_point.iter().map(|z| round_zero_point(*z, quant_min, quant_max)).collect()
}

/// What the gradients of scale and zero point are multiplied with so that they are as large, relative to the scale, as
/// those of weights: `1 / sqrt(elements * quant_max)`, the elements being those that share a scale.
#[must_use]
pub fn gradient_factor(elements: usize, quant_max: i32) -> f32 {
    (1.0 / (elements.max(1) as f64 * f64::from(quant_max.max(1))).sqrt()) as f32
}

/// The gradients for the gradient `g` of `y = scale * (code - zero_point)`, times `factor` for scale and zero point:
///
/// * of `x`: `g` where the rounded value is among the codes, 0 elsewhere;
/// * of the scale: the sum of `g * (y - x) / scale` inside, `g * (quant_min - zero_point)` below,
///   `g * (quant_max - zero_point)` above;
/// * of the zero point: the sum of `-g * scale` outside.
///
/// Each term is computed in f64 and rounded to f32; they are summed in f64 in one fixed order. A NaN among the values is in the gradient of
/// the scale.
///
/// # Errors
/// [`QatError::Quantize`] when the parameters are not those of `x`.
pub fn backward(
    x: &Tensor,
    params: &AffineParams,
    rounding: Rounding,
    gradient: &Tensor,
    factor: f32,
    compatibility: Compatibility,
) -> Result<LearnableGradients, QatError> {
    let (data, g) = (x.as_slice::<f32>()?, gradient.as_slice::<f32>()?);
    if data.len() != g.len() {
        let (what, expected, got) = ("elements of the gradient", data.len(), g.len());
        return Err(QTypeError::Length { what, expected, got }.into());
    }
    let params = backward_params(params, compatibility);
    let (lo, hi) = (params.quant_min, params.quant_max);
    let wrapped = QParams::Affine(params.clone());
    let quantizer = FakeQuantizer::new(&wrapped, x.dims(), data.len(), rounding)?;
    let compatible = compatibility == Compatibility::PyTorch;
    let sides = |first: usize, x: &[f32], sides: &mut [Side]| {
        if compatible {
            rounded_together(&quantizer, &params, first, x, |i, side, _| sides[i] = side);
        } else {
            quantizer.sides(first, x, sides);
        }
    };
    let dx = gradient_of_x((data, x.dims()), gradient.clone(), sides)?;
    let terms = |first: usize, last: usize, out: &mut [[f32; 2]]| {
        let (x, g) = (&data[first..last], &g[first..last]);
        // What codes have above the zero point, for those inside.
        let mut steps = vec![0.0; x.len()];
        let mut side = vec![Side::Inside; x.len()];
        if compatible {
            rounded_together(&quantizer, &params, first, x, |i, s, v| (side[i], steps[i]) = (s, v));
        } else {
            let mut codes = vec![0; x.len()];
            quantizer.codes(first, x, &mut codes);
            quantizer.sides(first, x, &mut side);
            for (i, _, z) in with_params(&quantizer, &params, first..last) {
                steps[i] = (i64::from(codes[i]) - i64::from(z)) as f64;
            }
        }
        for (i, s, z) in with_params(&quantizer, &params, first..last) {
            out[i] = match side[i] {
                // In f32 the difference of y and x loses what PyTorch's vector code keeps by fused multiplication.
                Side::Inside => [(f64::from(g[i]) * (steps[i] - f64::from(x[i]) / f64::from(s))) as f32, 0.0],
                Side::Below => [g[i] * (i64::from(lo) - i64::from(z)) as f32, -g[i] * s],
                Side::Above => [g[i] * (i64::from(hi) - i64::from(z)) as f32, -g[i] * s],
            };
        }
    };
    let sums = sums_by_parameter(&quantizer, data.len(), params.scale.len(), terms);
    let column = |k: usize| sums.iter().map(|s| (s[k] * f64::from(factor)) as f32).collect();
    Ok(LearnableGradients { x: dx, scale: column(0), zero_point: column(1) })
}

/// Index within `elements`, scale and zero point of every element.
fn with_params<'a>(
    quantizer: &'a FakeQuantizer<'_>,
    params: &'a AffineParams,
    elements: Range<usize>,
) -> impl Iterator<Item = (usize, f32, i32)> + 'a {
    let first = elements.start;
    quantizer.runs(elements).flat_map(move |run| {
        let (param, shared, start) = (run.param, run.shared, run.elements.start);
        run.elements.map(move |i| {
            let param = if shared { param } else { param + i - start };
            (i - first, params.scale[param], params.zero_point[param])
        })
    })
}

/// Side of the codes, and what the code has above the zero point, as PyTorch's backward pass rounds ([`fused_code_f32`]).
fn rounded_together(
    quantizer: &FakeQuantizer<'_>,
    params: &AffineParams,
    first: usize,
    x: &[f32],
    mut found: impl FnMut(usize, Side, f64),
) {
    let (lo, hi) = (f64::from(params.quant_min), f64::from(params.quant_max));
    for (i, s, z) in with_params(quantizer, params, first..first + x.len()) {
        let code = f64::from(fused_code_f32(x[i], s, z));
        let side = if code < lo {
            Side::Below
        } else if code > hi {
            Side::Above
        } else {
            Side::Inside
        };
        found(i, side, code - f64::from(z));
    }
}

/// The parameters of the backward pass.
fn backward_params(params: &AffineParams, compatibility: Compatibility) -> AffineParams {
    let mut params = params.clone();
    if compatibility == Compatibility::PyTorch && params.granularity == Granularity::PerTensor {
        for z in &mut params.zero_point {
            *z = (f64::from(*z) + 0.5) as i32;
        }
    }
    params
}

/// The smallest integer type that holds the codes, `own` if it does.
pub(super) fn dtype_for(own: DType, quant_min: i32, quant_max: i32) -> DType {
    let holds = |d: &DType| d.quant_range().is_some_and(|(lo, hi)| lo <= quant_min && quant_max <= hi);
    let others = [DType::I4, DType::U4, DType::I8, DType::U8, DType::I16, DType::U16, DType::I32];
    [own].into_iter().chain(others).find(holds).unwrap_or(DType::I32)
}

/// [`backward`] on a tape: inputs are `x`, scales, zero points.
pub(super) struct Learnable {
    pub(super) x: Tensor,
    pub(super) params: AffineParams,
    pub(super) rounding: Rounding,
    pub(super) factor: f32,
}

impl CustomRule for Learnable {
    fn name(&self) -> &'static str {
        "LearnableFakeQuantize"
    }

    fn backward(&self, gradient: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        let Self { x, params, rounding, factor } = self;
        let got = backward(x, params, *rounding, &gradient, *factor, Compatibility::Native)?;
        let need = |i: usize| needs.get(i).copied().unwrap_or(true);
        let vector = |i: usize, values: Vec<f32>| need(i).then(|| Tensor::vector(values));
        Ok(vec![Some(got.x), vector(1, got.scale), vector(2, got.zero_point)])
    }
}
