//! Matrix products.

use super::elementwise::sum_to;
use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use tq_eval::OpError;
use tq_graph::{Op, Tensor};

/// Product as in numpy.
pub(super) struct MatMul;

impl Gradient for MatMul {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        needs[1 - i]
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        // Vectors become matrices: a row on the left, a column on the right.
        let (a_dims, b_dims) = (as_matrix(&call.input_dims[0], true), as_matrix(&call.input_dims[1], false));
        let mut dims = call.output_dims[0].clone();
        if call.input_dims[0].len() == 1 {
            dims.insert(dims.len() - usize::from(call.input_dims[1].len() > 1), 1);
        }
        if call.input_dims[1].len() == 1 {
            dims.push(1);
        }
        let gradient = call.gradient()?.reshape(&dims)?;
        let mut out = call.nothing();
        if call.needs(0) {
            let b = transposed(as_f32(&call, 1)?.reshape(&b_dims)?)?;
            let full = eval(&Op::MatMul, &[Some(&gradient), Some(&b)])?;
            out[0] = Some(sum_to(full, &a_dims)?.reshape(&call.input_dims[0])?);
        }
        if call.needs(1) {
            let a = as_f32(&call, 0)?.reshape(&a_dims)?;
            // One right-hand side for all: one product over all rows, instead of a sum of products.
            let (a, gradient) = if b_dims.len() == 2 && dims.len() > 2 && a_dims.len() == dims.len() {
                let flat = |t: Tensor| {
                    let columns = t.dims().last().copied().unwrap_or(1);
                    let rows = t.dims()[..t.rank() - 1].iter().product();
                    t.reshape(&[rows, columns])
                };
                (flat(a)?, flat(gradient)?)
            } else {
                (a, gradient)
            };
            let full = eval(&Op::MatMul, &[Some(&transposed(a)?), Some(&gradient)])?;
            out[1] = Some(sum_to(full, &b_dims)?.reshape(&call.input_dims[1])?);
        }
        Ok(out)
    }
}

/// `a, b[, c]`: `alpha * op(a) * op(b) + beta * c`.
pub(super) struct Gemm {
    pub(super) alpha: f32,
    pub(super) beta: f32,
    /// Whether `a` and `b` are transposed.
    pub(super) trans: (bool, bool),
}

impl Gradient for Gemm {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        i < 2 && needs[1 - i]
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let product = |a: &Tensor, b: &Tensor, (trans_a, trans_b): (bool, bool)| {
            eval(&Op::Gemm { alpha: self.alpha, beta: 0.0, trans_a, trans_b }, &[Some(a), Some(b)])
        };
        let (trans_a, trans_b) = self.trans;
        let mut out = call.nothing();
        if call.needs(0) {
            let b = as_f32(&call, 1)?;
            out[0] = Some(match trans_a {
                false => product(&gradient, &b, (false, !trans_b))?,
                true => product(&b, &gradient, (trans_b, true))?,
            });
        }
        if call.needs(1) {
            let a = as_f32(&call, 0)?;
            out[1] = Some(match trans_b {
                false => product(&a, &gradient, (!trans_a, false))?,
                true => product(&gradient, &a, (true, trans_a))?,
            });
        }
        if call.needs(2) {
            let sum = sum_to(gradient, &call.input_dims[2])?;
            let beta = self.beta;
            out[2] = Some(if beta == 1.0 { sum } else { super::elementwise::map(sum, |g| beta * g)? });
        }
        Ok(out)
    }
}

/// A kept input as an f32 tensor.
pub(super) fn as_f32(call: &Call<'_>, i: usize) -> Result<Tensor, OpError> {
    let t = call.input(i)?;
    if t.as_slice::<f32>().is_ok() {
        return Ok(t.clone());
    }
    Ok(Tensor::new(t.dims(), super::f32s(t)?.into_owned())?)
}

fn as_matrix(dims: &[usize], row: bool) -> Vec<usize> {
    match dims {
        [len] if row => vec![1, *len],
        [len] => vec![*len, 1],
        dims => dims.to_vec(),
    }
}

/// The last two axes the other way round.
fn transposed(t: Tensor) -> Result<Tensor, OpError> {
    let mut perm: Vec<usize> = (0..t.rank()).collect();
    let last = t.rank().saturating_sub(1);
    if last > 0 {
        perm.swap(last - 1, last);
    }
    eval(&Op::Transpose { perm: Some(perm) }, &[Some(&t)])
}
