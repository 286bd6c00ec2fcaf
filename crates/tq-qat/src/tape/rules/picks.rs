//! Operators whose results are elements of their inputs, unchanged: the operator itself, applied to the numbers of the
//! elements, tells where each one came from.

use super::{Call, Gradient, Gradients};
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::{Op, Tensor};

/// An operator that picks elements of the inputs `from`; what stands at another input only tells which.
pub(super) struct Picks<'a> {
    pub(super) op: &'a Op,
    pub(super) from: Vec<usize>,
}

impl Gradient for Picks<'_> {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        !self.from.contains(&i)
    }

    fn backward(&self, call: Call<'_>) -> Gradients {
        // Elements are numbered from 1 through all inputs that are picked from: 0 is a constant.
        let mut next = 1i64;
        let mut numbers: Vec<Option<Tensor>> = call.inputs.clone();
        let mut firsts = Vec::with_capacity(self.from.len());
        for i in &self.from {
            let Some(dims) = call.input_dims.get(*i) else { continue };
            let len: usize = dims.iter().product();
            firsts.push((*i, next as usize));
            numbers[*i] = Some(Tensor::new(dims, (next..next + len as i64).collect())?);
            next += len as i64;
        }
        let inputs: Vec<Option<&Tensor>> = numbers.iter().map(Option::as_ref).collect();
        let sources = eval_op(self.op, &inputs, call.gradients.len(), Precision::F32)?;
        let mut sums = vec![0.0f32; next as usize];
        for (source, gradient) in sources.iter().zip(&call.gradients) {
            let Some(gradient) = gradient else { continue };
            for (number, g) in source.as_slice::<i64>()?.iter().zip(gradient.as_slice::<f32>()?) {
                sums[*number as usize] += g;
            }
        }
        let mut out = call.nothing();
        for (i, first) in firsts {
            if call.needs(i) {
                let dims = &call.input_dims[i];
                let len: usize = dims.iter().product();
                out[i] = Some(Tensor::new(dims, sums[first..first + len].to_vec())?);
            }
        }
        Ok(out)
    }
}

/// Transpose: the permutation undone.
pub(super) struct Transpose<'a>(pub(super) Option<&'a [usize]>);

impl Gradient for Transpose<'_> {
    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let back = self.0.map(|perm| {
            let mut back = vec![0; perm.len()];
            perm.iter().enumerate().for_each(|(to, from)| back[*from] = to);
            back
        });
        let gradient = super::reduce::eval(&Op::Transpose { perm: back }, &[Some(&gradient)])?;
        call.first(gradient)
    }
}

/// Concat: the parts apart again.
pub(super) struct Concat(pub(super) i64);

impl Gradient for Concat {
    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let rank = gradient.rank() as i64;
        let axis = usize::try_from(if self.0 < 0 { self.0 + rank } else { self.0 })
            .ok()
            .filter(|a| *a < gradient.rank())
            .ok_or_else(|| OpError::Attribute(format!("axis {} of rank {rank}", self.0)))?;
        let lens: Vec<i64> = call.input_dims.iter().map(|d| d[axis] as i64).collect();
        let split = Op::Split { axis: self.0 };
        let parts = eval_op(
            &split,
            &[Some(&gradient), Some(&Tensor::vector(lens))],
            call.needs.len(),
            Precision::F32,
        )?;
        Ok(parts.into_iter().zip(call.needs).map(|(p, needed)| needed.then_some(p)).collect())
    }
}

/// Split: the parts together again; one without a gradient is zero.
pub(super) struct Split(pub(super) i64);

impl Gradient for Split {
    fn backward(&self, call: Call<'_>) -> Gradients {
        let part = |(gradient, dims): (&Option<Tensor>, &Vec<usize>)| match gradient {
            Some(gradient) => Ok(gradient.clone()),
            None => Tensor::new(dims, vec![0.0f32; dims.iter().product()]),
        };
        let parts = call.gradients.iter().zip(call.output_dims).map(part).collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<Option<&Tensor>> = parts.iter().map(Some).collect();
        call.first(super::reduce::eval(&Op::Concat { axis: self.0 }, &parts)?)
    }
}

/// Expand: sums over what was repeated.
pub(super) struct Expand;

impl Gradient for Expand {
    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = super::elementwise::sum_to(call.gradient()?, &call.input_dims[0])?;
        call.first(gradient)
    }
}
