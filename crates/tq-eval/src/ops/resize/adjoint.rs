//! Resize the other way round: what every input element went into.

use super::super::{Context, DEFAULT_MAX_TENSOR_BYTES, Inputs};
use super::{axes, fill_outside};
use crate::shape::numel;
use crate::{OpError, Precision, parallel};
use tq_graph::Tensor;
use tq_graph::op::{Coordinates, ResizeAttrs, ResizeMode};

/// The gradient of the first input of Resize for the gradient of its result, an f32 tensor. Of the first input only the
/// shape is looked at. Sums are made in f64, axis by axis.
///
/// # Errors
/// Those of the operator, and [`OpError::Shape`] for a gradient of another shape than the result.
pub fn resize_input(
    inputs: &[Option<&Tensor>],
    gradient: &Tensor,
    attrs: &ResizeAttrs,
) -> Result<Tensor, OpError> {
    let ctx = Context { precision: Precision::F32, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES };
    let inputs = Inputs(inputs);
    let x = inputs.need(0)?;
    let mut axes = axes(inputs, attrs)?;
    let mut dims = x.dims().to_vec();
    axes.iter().for_each(|a| dims[a.place] = a.output);
    if gradient.dims() != dims {
        return Err(OpError::Shape(format!("gradient of shape {:?} for {dims:?}", gradient.dims())));
    }
    let mut data: Vec<f64> = gradient.as_slice::<f32>()?.iter().map(|v| f64::from(*v)).collect();
    if let Coordinates::TfCropAndResize { .. } = attrs.coordinates {
        fill_outside(&mut data, &dims, &axes, attrs.coordinates, 0.0);
    }
    axes.reverse();
    for axis in axes {
        dims[axis.place] = axis.input;
        let inner = numel(&dims[axis.place + 1..]);
        let mut out = ctx.zeros::<f64>(&dims)?;
        let parts: Vec<Vec<(usize, f64)>> = match attrs.mode {
            ResizeMode::Nearest(rounding) => {
                axis.nearest(attrs.coordinates, rounding).into_iter().map(|p| vec![(p, 1.0)]).collect()
            }
            _ => {
                let taps = axis.taps(attrs);
                (0..axis.output).map(|o| taps.of(o).to_vec()).collect()
            }
        };
        let (block, source) = (axis.input * inner, axis.output * inner);
        parallel::chunks(&mut out, block, (1 << 12) / block.max(1), &|i, out| {
            for (from, parts) in data[i * source..][..source].chunks(inner.max(1)).zip(&parts) {
                for (place, weight) in parts {
                    let to = &mut out[place * inner..][..inner];
                    to.iter_mut().zip(from).for_each(|(o, v)| *o += weight * v);
                }
            }
        });
        data = out;
    }
    Ok(Tensor::new(&dims, data.into_iter().map(|v| v as f32).collect::<Vec<f32>>())?)
}
