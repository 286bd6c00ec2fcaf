//! The functions within recurrent operators, with their slopes.

use libm::{expf, expm1f, log1pf, tanhf};
use tq_graph::op::Activation;

/// A function, and what its arguments are clipped to.
#[derive(Clone, Copy)]
pub(super) struct Function {
    pub(super) of: Activation,
    pub(super) clip: Option<f32>,
}

impl Function {
    pub(super) fn value(self, z: f32) -> f32 {
        let x = match self.clip {
            Some(bound) => z.max(-bound).min(bound),
            None => z,
        };
        match self.of {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => tanhf(x),
            Activation::Sigmoid => sigmoid(x),
            Activation::Affine { alpha, beta } => alpha * x + beta,
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Activation::ThresholdedRelu { alpha } => {
                if x < alpha {
                    0.0
                } else {
                    x
                }
            }
            Activation::ScaledTanh { alpha, beta } => alpha * tanhf(beta * x),
            Activation::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    alpha * expm1f(x)
                } else {
                    x
                }
            }
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + log1pf(expf(-x.abs())),
        }
    }

    /// The derivative; zero where the argument is clipped.
    pub(super) fn slope(self, x: f32) -> f32 {
        if self.clip.is_some_and(|bound| x.abs() > bound) {
            return 0.0;
        }
        match self.of {
            Activation::Relu => f32::from(u8::from(x > 0.0)),
            Activation::Tanh => {
                let t = tanhf(x);
                1.0 - t * t
            }
            Activation::Sigmoid => {
                let s = sigmoid(x);
                s * (1.0 - s)
            }
            Activation::Affine { alpha, .. } => alpha,
            Activation::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha
                } else {
                    1.0
                }
            }
            Activation::ThresholdedRelu { alpha } => f32::from(u8::from(x >= alpha)),
            Activation::ScaledTanh { alpha, beta } => {
                let t = tanhf(beta * x);
                alpha * beta * (1.0 - t * t)
            }
            Activation::HardSigmoid { alpha, beta } => {
                let y = alpha * x + beta;
                if y > 0.0 && y < 1.0 { alpha } else { 0.0 }
            }
            Activation::Elu { alpha } => {
                if x < 0.0 {
                    alpha * expf(x)
                } else {
                    1.0
                }
            }
            Activation::Softsign => {
                let d = 1.0 + x.abs();
                1.0 / (d * d)
            }
            Activation::Softplus => sigmoid(x),
        }
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
