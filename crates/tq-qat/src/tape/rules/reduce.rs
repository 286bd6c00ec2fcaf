//! Reductions.

use super::elementwise::{broadcast_strides, combine_broadcast};
use super::{Call, Gradient, Gradients};
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::ReduceKind;
use tq_graph::{Op, Tensor};

/// A reduction, as the operator that it is.
pub(super) struct Reduce<'a>(pub(super) &'a Op);

impl Reduce<'_> {
    fn kind(&self) -> Option<ReduceKind> {
        match self.0 {
            Op::Reduce { kind, .. } => Some(*kind),
            _ => None,
        }
    }
}

impl Gradient for Reduce<'_> {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        // The axes are read in any case.
        i == 1 || !matches!(self.kind(), Some(ReduceKind::Sum | ReduceKind::Mean))
    }

    fn keeps_output(&self, _: usize) -> bool {
        matches!(
            self.kind(),
            Some(
                ReduceKind::Max
                    | ReduceKind::Min
                    | ReduceKind::L2
                    | ReduceKind::LogSum
                    | ReduceKind::LogSumExp
            )
        )
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let Some(kind) = self.kind() else { return Err(OpError::Unsupported(self.0.name())) };
        let x_dims = call.input_dims[0].clone();
        let kept_dims = self.kept_dims(&call, &x_dims)?;
        let small = call.gradient()?.reshape(&kept_dims)?;
        let g = small.as_slice::<f32>()?;
        let group = x_dims.iter().product::<usize>() / small.len().max(1);
        let room = Tensor::new(&x_dims, vec![0.0f32; x_dims.iter().product()])?;
        let spread = |x: (&[f32], &[usize]), f: &(dyn Fn(f32, f32) -> f32 + Sync)| {
            combine_broadcast(room.clone(), (g, &kept_dims), x, |_, g, x| f(g, x))
        };
        // A value for every element out of `x` and a value for every result.
        let with = |x: &[f32], per: &[f32], f: &(dyn Fn(f32, f32) -> f32 + Sync)| {
            let x = Tensor::new(&x_dims, x.to_vec())?;
            combine_broadcast(x, (per, &kept_dims), (per, &kept_dims), |x, p, _| f(x, p))
        };
        let gradient = match kind {
            ReduceKind::Sum => spread((g, &kept_dims), &|g, _| g)?,
            ReduceKind::Mean => {
                let factor = 1.0 / group as f64;
                spread((g, &kept_dims), &|g, _| (f64::from(g) * factor) as f32)?
            }
            ReduceKind::L1 => spread((&call.f32s(0)?, &x_dims), &|g, x| g * sign(x))?,
            ReduceKind::SumSquare => spread((&call.f32s(0)?, &x_dims), &|g, x| 2.0 * g * x)?,
            ReduceKind::L2 => {
                // At the origin there is no derivative; as PyTorch does, zero stands for it.
                let ratio =
                    with(&call.f32s(0)?, &call.output_f32s(0)?, &|x, y| if y == 0.0 { 0.0 } else { x / y })?;
                spread((ratio.as_slice()?, &x_dims), &|g, r| g * r)?
            }
            ReduceKind::LogSum => {
                let y = call.output_f32s(0)?;
                let scaled: Vec<f32> = g.iter().zip(y.iter()).map(|(g, y)| g / libm::expf(*y)).collect();
                combine_broadcast(room, (&scaled, &kept_dims), (&scaled, &kept_dims), |_, g, _| g)?
            }
            ReduceKind::LogSumExp => {
                let ratio = with(&call.f32s(0)?, &call.output_f32s(0)?, &|x, y| libm::expf(x - y))?;
                spread((ratio.as_slice()?, &x_dims), &|g, r| g * r)?
            }
            ReduceKind::Max | ReduceKind::Min => {
                // Equal elements share the gradient, as in PyTorch's amax.
                let chosen =
                    with(&call.f32s(0)?, &call.output_f32s(0)?, &|x, y| f32::from(u8::from(x == y)))?;
                let counts = super::elementwise::sum_to(chosen.clone(), &kept_dims)?;
                let share: Vec<f32> = g.iter().zip(counts.as_slice::<f32>()?).map(|(g, n)| g / n).collect();
                let shares = (share.as_slice(), kept_dims.as_slice());
                combine_broadcast(
                    room,
                    shares,
                    (chosen.as_slice()?, &x_dims),
                    |_, g, c| if c > 0.0 { g } else { 0.0 },
                )?
            }
            ReduceKind::Prod => product(&call.f32s(0)?, &x_dims, g, &kept_dims)?,
        };
        call.first(gradient)
    }
}

impl Reduce<'_> {
    /// Shape of the result with the reduced axes as 1, as the evaluator has it.
    fn kept_dims(&self, call: &Call<'_>, x_dims: &[usize]) -> Result<Vec<usize>, OpError> {
        let Op::Reduce { noop_with_empty_axes, .. } = self.0 else {
            return Err(OpError::Unsupported(self.0.name()));
        };
        let axes =
            call.inputs.get(1).and_then(Option::as_ref).and_then(Tensor::to_i64_vec).unwrap_or_default();
        if axes.is_empty() {
            return Ok(if *noop_with_empty_axes { x_dims.to_vec() } else { vec![1; x_dims.len()] });
        }
        let mut dims = x_dims.to_vec();
        for axis in axes {
            let at = if axis < 0 { axis + x_dims.len() as i64 } else { axis };
            let slot = usize::try_from(at).ok().and_then(|at| dims.get_mut(at));
            *slot.ok_or_else(|| OpError::Attribute(format!("axis {axis} of shape {x_dims:?}")))? = 1;
        }
        Ok(dims)
    }
}

fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// Every element gets the product of the others, which must not be computed as a quotient where one is zero.
fn product(x: &[f32], dims: &[usize], g: &[f32], kept: &[usize]) -> Result<Tensor, OpError> {
    let steps = broadcast_strides(kept, dims);
    let group_of = |i: usize| super::elementwise::offset(i, dims, &steps);
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); g.len()];
    for i in 0..x.len() {
        members[group_of(i)].push(i);
    }
    let mut out = vec![0.0f32; x.len()];
    for (members, g) in members.iter().zip(g) {
        let mut before = Vec::with_capacity(members.len());
        let mut product = 1.0f64;
        for i in members {
            before.push(product);
            product *= f64::from(x[*i]);
        }
        let mut after = f64::from(*g);
        for (i, before) in members.iter().zip(before).rev() {
            out[*i] = (before * after) as f32;
            after *= f64::from(x[*i]);
        }
    }
    Ok(Tensor::new(dims, out)?)
}

/// Evaluates an operator of this crate's own.
pub(super) fn eval(op: &Op, inputs: &[Option<&Tensor>]) -> Result<Tensor, OpError> {
    let mut outputs = eval_op(op, inputs, 1, Precision::F32)?;
    Ok(outputs.swap_remove(0))
}
