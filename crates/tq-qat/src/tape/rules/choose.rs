//! What chooses among values: Where, Clip, and functions of any number of tensors.

use super::elementwise::{combine_broadcast, map, sum_to};
use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use tq_graph::op::VariadicOp;
use tq_graph::{Op, Tensor};

/// `condition, a, b`.
pub(super) struct Where;

impl Gradient for Where {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i == 0
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let zero = Tensor::scalar(0.0f32);
        let mut out = call.nothing();
        for i in [1, 2] {
            if call.needs(i) {
                let (a, b) = if i == 1 { (&gradient, &zero) } else { (&zero, &gradient) };
                let chosen = eval(&Op::Where, &[Some(call.input(0)?), Some(a), Some(b)])?;
                out[i] = Some(sum_to(chosen, &call.input_dims[i])?);
            }
        }
        Ok(out)
    }
}

/// `x[, min[, max]]`: within the bounds, bounds included, the gradient is that of `x`, outside that of the bound.
pub(super) struct Clip;

impl Gradient for Clip {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let bound = |i: usize| match call.inputs.get(i).and_then(Option::as_ref) {
            Some(t) => super::f32s(t).map(|v| v.first().copied()),
            None => Ok(None),
        };
        let (min, max) = (bound(1)?.unwrap_or(f32::NEG_INFINITY), bound(2)?.unwrap_or(f32::INFINITY));
        let x = call.f32s(0)?;
        let mut out = call.nothing();
        // The upper bound wins where it is below the lower one.
        let part = |at: fn(f32, f32, f32) -> bool| {
            super::elementwise::combine(gradient.clone(), &x, |g, x| if at(x, min, max) { g } else { 0.0 })
        };
        if call.needs(0) {
            out[0] = Some(part(|x, min, max| !(x < min || x > max))?);
        }
        if call.needs(1) {
            out[1] = Some(sum_to(part(|x, min, max| x < min && min <= max)?, &call.input_dims[1])?);
        }
        if call.needs(2) {
            out[2] =
                Some(sum_to(part(|x, min, max| x > max || (x < min && min > max))?, &call.input_dims[2])?);
        }
        Ok(out)
    }
}

/// `x...`.
pub(super) struct Variadic(pub(super) VariadicOp);

impl Variadic {
    fn chooses(&self) -> bool {
        matches!(self.0, VariadicOp::Min | VariadicOp::Max)
    }
}

impl Gradient for Variadic {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        self.chooses()
    }

    fn keeps_output(&self, _: usize) -> bool {
        self.chooses()
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let mut gradient = call.gradient()?;
        let mut out = call.nothing();
        if self.chooses() {
            // Equal ones share the gradient.
            let y = call.output_f32s(0)?;
            let y = (&*y, call.output_dims[0].as_slice());
            let zeros = Tensor::new(gradient.dims(), vec![0.0f32; gradient.len()])?;
            let mut counts = zeros;
            for i in 0..call.input_dims.len() {
                let x = call.f32s(i)?;
                let x = (&*x, call.input_dims[i].as_slice());
                counts = combine_broadcast(counts, x, y, |n, x, y| n + f32::from(u8::from(x == y)))?;
            }
            let share = super::elementwise::combine(gradient, counts.as_slice()?, |g, n| g / n)?;
            for (i, slot) in out.iter_mut().enumerate() {
                if call.needs(i) {
                    let x = call.f32s(i)?;
                    let x = (&*x, call.input_dims[i].as_slice());
                    let own = combine_broadcast(share.clone(), x, y, |g, x, y| if x == y { g } else { 0.0 })?;
                    *slot = Some(sum_to(own, x.1)?);
                }
            }
            return Ok(out);
        }
        if self.0 == VariadicOp::Mean {
            let n = call.input_dims.len() as f32;
            gradient = map(gradient, |g| g / n)?;
        }
        for (i, slot) in out.iter_mut().enumerate() {
            if call.needs(i) {
                *slot = Some(sum_to(gradient.clone(), &call.input_dims[i])?);
            }
        }
        Ok(out)
    }
}
