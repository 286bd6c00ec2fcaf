//! Functions of one number.

use super::elementwise::combine;
use super::{Call, Derivative, Gradient, Gradients};
use libm::{cosf, coshf, erff, expf, log1pf, sinf, sinhf, tanhf};
use tq_graph::op::UnaryOp;

pub(super) fn derivative(op: UnaryOp) -> Derivative<'static> {
    match op {
        UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => Derivative::Nowhere,
        _ => Derivative::Flows(Box::new(Unary(op))),
    }
}

struct Unary(UnaryOp);

impl Unary {
    /// Whether the derivative is a function of the result, which the next node keeps anyhow.
    fn is_of_output(&self) -> bool {
        matches!(
            self.0,
            UnaryOp::Relu
                | UnaryOp::Sigmoid
                | UnaryOp::Exp
                | UnaryOp::Sqrt
                | UnaryOp::Reciprocal
                | UnaryOp::Tanh
                | UnaryOp::Neg
        )
    }
}

impl Gradient for Unary {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        !self.is_of_output()
    }

    fn keeps_output(&self, _: usize) -> bool {
        self.is_of_output() && self.0 != UnaryOp::Neg
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let g = call.gradient()?;
        if self.0 == UnaryOp::Neg {
            let gradient = super::elementwise::map(g, |g| -g)?;
            return call.first(gradient);
        }
        let v = if self.is_of_output() { call.output_f32s(0)? } else { call.f32s(0)? };
        let gradient = match self.0 {
            // A mask, not a product: a gradient that is not finite stops where nothing flows.
            UnaryOp::Relu => combine(g, &v, |g, y| if y > 0.0 || y.is_nan() { g } else { 0.0 })?,
            UnaryOp::ThresholdedRelu { alpha } => combine(g, &v, |g, x| if x > alpha { g } else { 0.0 })?,
            op => combine(g, &v, |g, v| g * slope(op, v))?,
        };
        call.first(gradient)
    }
}

/// The derivative at `v`: the argument, or the result for those of [`Unary::is_of_output`].
fn slope(op: UnaryOp, v: f32) -> f32 {
    match op {
        UnaryOp::LeakyRelu { alpha } => {
            if v >= 0.0 {
                1.0
            } else {
                alpha
            }
        }
        UnaryOp::ThresholdedRelu { alpha } => f32::from(u8::from(v > alpha)),
        UnaryOp::Elu { alpha } => {
            if v > 0.0 {
                1.0
            } else {
                alpha * expf(v)
            }
        }
        UnaryOp::Celu { alpha } => {
            if v > 0.0 {
                1.0
            } else {
                expf(v / alpha)
            }
        }
        UnaryOp::Selu { alpha, gamma } => gamma * if v > 0.0 { 1.0 } else { alpha * expf(v) },
        UnaryOp::HardSigmoid { alpha, beta } => {
            let y = alpha * v + beta;
            if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
        }
        UnaryOp::HardSwish => {
            if v <= -3.0 {
                0.0
            } else if v < 3.0 {
                v / 3.0 + 0.5
            } else {
                1.0
            }
        }
        UnaryOp::Softplus => sigmoid(v),
        UnaryOp::Softsign => {
            let d = 1.0 + v.abs();
            1.0 / (d * d)
        }
        UnaryOp::Mish => {
            // softplus in the form that does not overflow.
            let softplus = v.max(0.0) + log1pf(expf(-v.abs()));
            let t = tanhf(softplus);
            t + v * (1.0 - t * t) * sigmoid(v)
        }
        UnaryOp::Gelu { tanh: false } => {
            let density = expf(-0.5 * v * v) * 0.398_942_3;
            0.5 * (1.0 + erff(v * std::f32::consts::FRAC_1_SQRT_2)) + v * density
        }
        UnaryOp::Gelu { tanh: true } => {
            const ROOT: f32 = 0.797_884_6; // sqrt(2 / pi)
            let t = tanhf(ROOT * (v + 0.044_715 * v * v * v));
            0.5 * (1.0 + t) + 0.5 * v * (1.0 - t * t) * ROOT * (1.0 + 3.0 * 0.044_715 * v * v)
        }
        UnaryOp::Erf => std::f32::consts::FRAC_2_SQRT_PI * expf(-v * v),
        UnaryOp::Log => 1.0 / v,
        UnaryOp::Abs => {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                0.0
            }
        }
        UnaryOp::Sin => cosf(v),
        UnaryOp::Cos => -sinf(v),
        UnaryOp::Tan => {
            let c = cosf(v);
            1.0 / (c * c)
        }
        UnaryOp::Asin => 1.0 / ((1.0 - v) * (1.0 + v)).sqrt(),
        UnaryOp::Acos => -1.0 / ((1.0 - v) * (1.0 + v)).sqrt(),
        UnaryOp::Atan => 1.0 / (1.0 + v * v),
        UnaryOp::Sinh => coshf(v),
        UnaryOp::Cosh => sinhf(v),
        UnaryOp::Asinh => 1.0 / (v * v + 1.0).sqrt(),
        UnaryOp::Acosh => 1.0 / ((v - 1.0) * (v + 1.0)).sqrt(),
        UnaryOp::Atanh => 1.0 / ((1.0 - v) * (1.0 + v)),
        // Of the result.
        UnaryOp::Relu => f32::from(u8::from(v > 0.0)),
        UnaryOp::Sigmoid => v * (1.0 - v),
        UnaryOp::Exp => v,
        // There is none at 0. Infinity would make NaN of a norm of zero, of which quantized models have many.
        UnaryOp::Sqrt if v == 0.0 => 0.0,
        UnaryOp::Sqrt => 0.5 / v,
        UnaryOp::Reciprocal => -v * v,
        UnaryOp::Tanh => 1.0 - v * v,
        UnaryOp::Neg => -1.0,
        UnaryOp::Sign | UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round => 0.0,
    }
}

fn sigmoid(x: f32) -> f32 {
    if x >= 0.0 {
        1.0 / (1.0 + expf(-x))
    } else {
        let e = expf(x);
        e / (1.0 + e)
    }
}
