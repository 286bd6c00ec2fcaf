//! Functions of two numbers.

use super::elementwise::{combine_broadcast, map, sum_to};
use super::{Call, Gradient, Gradients};
use tq_graph::op::BinaryOp;

/// `a, b`.
pub(super) struct Binary(pub(super) BinaryOp);

impl Gradient for Binary {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        match self.0 {
            BinaryOp::Add | BinaryOp::Sub => false,
            // The derivative by one factor is the other.
            BinaryOp::Mul => needs[1 - i],
            BinaryOp::Div => i == 1 || needs[1],
            BinaryOp::Pow | BinaryOp::PRelu => true,
            BinaryOp::Mod { .. } => needs[1],
        }
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let mut gradient = Some(call.gradient()?);
        let mut out = call.nothing();
        let last = call.needs.iter().rposition(|n| *n);
        for (i, slot) in out.iter_mut().enumerate() {
            if !call.needs(i) {
                continue;
            }
            // The last one may write over it.
            let g = if last == Some(i) { gradient.take() } else { gradient.clone() };
            let Some(g) = g else { continue };
            let full = match (self.0, i) {
                (BinaryOp::Add, _) | (BinaryOp::Sub | BinaryOp::Mod { .. }, 0) => g,
                (BinaryOp::Sub, _) => map(g, |g| -g)?,
                (BinaryOp::Mul, i) => with_one(&call, g, 1 - i, |g, other| g * other)?,
                (BinaryOp::Div, 0) => with_one(&call, g, 1, |g, b| g / b)?,
                (BinaryOp::Div, _) => with_both(&call, g, |g, a, b| -g * a / (b * b))?,
                (BinaryOp::Pow, 0) => with_both(&call, g, |g, a, b| {
                    // So that 0^0 and 0^1 have a derivative too.
                    if b == 0.0 { 0.0 } else { g * b * libm::powf(a, b - 1.0) }
                })?,
                (BinaryOp::Pow, _) => with_both(&call, g, |g, a, b| {
                    if a == 0.0 && b >= 0.0 { 0.0 } else { g * libm::powf(a, b) * libm::logf(a) }
                })?,
                // What is left of a: a - b * trunc(a / b).
                (BinaryOp::Mod { .. }, _) => with_both(&call, g, |g, a, b| -g * (a / b).trunc())?,
                (BinaryOp::PRelu, 0) => {
                    with_both(&call, g, |g, x, slope| if x >= 0.0 { g } else { g * slope })?
                }
                (BinaryOp::PRelu, _) => with_both(&call, g, |g, x, _| if x >= 0.0 { 0.0 } else { g * x })?,
            };
            *slot = Some(sum_to(full, &call.input_dims[i])?);
        }
        Ok(out)
    }
}

fn with_one(
    call: &Call<'_>,
    gradient: tq_graph::Tensor,
    i: usize,
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<tq_graph::Tensor, tq_eval::OpError> {
    let (x, dims) = (call.f32s(i)?, call.input_dims[i].as_slice());
    combine_broadcast(gradient, (&x, dims), (&x, dims), |g, x, _| f(g, x))
}

fn with_both(
    call: &Call<'_>,
    gradient: tq_graph::Tensor,
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Result<tq_graph::Tensor, tq_eval::OpError> {
    let (a, b) = (call.f32s(0)?, call.f32s(1)?);
    combine_broadcast(gradient, (&a, &call.input_dims[0]), (&b, &call.input_dims[1]), f)
}
