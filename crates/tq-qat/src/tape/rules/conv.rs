//! Convolutions and transposed convolutions: each is the other's way back.

use super::elementwise::sum_to;
use super::matmul::as_f32;
use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use tq_eval::OpError;
use tq_eval::adjoint::conv_weights;
use tq_eval::window::{Axis, Window};
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Padding};
use tq_graph::{Op, Tensor};

/// `x, w[, b]`.
pub(super) struct Conv<'a>(pub(super) &'a ConvAttrs);

/// `x, w[, b]`.
pub(super) struct ConvTranspose<'a>(pub(super) &'a ConvTransposeAttrs);

/// What a gradient of data or of weights needs of the other one.
fn keeps(i: usize, needs: &[bool]) -> bool {
    i < 2 && needs.get(1 - i).copied().unwrap_or(false)
}

impl Gradient for Conv<'_> {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        keeps(i, needs)
    }

    fn backward(&self, call: Call<'_>) -> Gradients {
        let attrs = self.0;
        backward(call, |input, kernel, gradient| {
            let window = Window::new(input, kernel, &attrs.strides, &attrs.dilations, &attrs.padding, false)?;
            let axes = spatial(&window, input.len());
            // What the last window leaves over at the end.
            let rest = |a: &Axis| {
                let reach = (a.output.max(1) - 1) * a.stride + (a.kernel - 1) * a.dilation + 1;
                (a.input + a.begin + a.end).saturating_sub(reach)
            };
            // Where the window ends within the padding, less is cut off.
            let data = Op::ConvTranspose(ConvTransposeAttrs {
                strides: list(axes, |a| a.stride),
                dilations: list(axes, |a| a.dilation),
                padding: Padding::Explicit { begin: list(axes, |a| a.begin), end: list(axes, |a| a.end) },
                output_padding: list(axes, rest),
                output_shape: None,
                groups: attrs.groups,
            });
            Ok(Way { data, convolution: attrs.clone(), gradient, transposed: false })
        })
    }
}

impl Gradient for ConvTranspose<'_> {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        keeps(i, needs)
    }

    fn backward(&self, call: Call<'_>) -> Gradients {
        let attrs = self.0;
        backward(call, |input, kernel, gradient| {
            // The convolution that reads where this one writes; what is cut off its end may be more or less than its
            // padding says, so that is chosen to give as many windows as there are.
            let window = Window::transposed(input, kernel, attrs)?;
            let axes = spatial(&window, input.len());
            let convolution = ConvAttrs {
                strides: list(axes, |a| a.stride),
                dilations: list(axes, |a| a.dilation),
                padding: Padding::Explicit { begin: list(axes, |a| a.begin), end: list(axes, needed_end) },
                groups: attrs.groups,
            };
            // Where more was asked for than the windows reach, the end of the gradient is not read.
            let gradient = trimmed(&gradient, axes)?;
            Ok(Way { data: Op::Conv(convolution.clone()), convolution, gradient, transposed: true })
        })
    }
}

/// The way back of a convolution, or of a transposed one.
struct Way {
    /// Makes the gradient of the data from the gradient and the weights.
    data: Op,
    /// The convolution of the two.
    convolution: ConvAttrs,
    /// As much of the gradient as is read.
    gradient: Tensor,
    /// Whether the convolution reads the gradient and makes the data, not the other way round.
    transposed: bool,
}

/// The gradients of data, weights and bias, on the way that is found for spatial dimensions, kernel and gradient.
fn backward(
    mut call: Call<'_>,
    way: impl FnOnce(&[usize], &[usize], Tensor) -> Result<Way, OpError>,
) -> Gradients {
    let gradient = call.gradient()?;
    let (x, w) = (&call.input_dims[0], &call.input_dims[1]);
    let ([_, _, input @ ..], [_, _, kernel @ ..]) = (x.as_slice(), w.as_slice()) else {
        return Err(OpError::Shape(format!("a convolution of {x:?} with {w:?}")));
    };
    let mut out = call.nothing();
    if call.needs(2) {
        out[2] = Some(of_bias(&gradient)?);
    }
    let way = way(input, kernel, gradient)?;
    if call.needs(0) {
        out[0] = Some(eval(&way.data, &[Some(&way.gradient), Some(&as_f32(&call, 1)?)])?);
    }
    if call.needs(1) {
        let x = as_f32(&call, 0)?;
        let (read, made) = if way.transposed { (&way.gradient, &x) } else { (&x, &way.gradient) };
        out[1] = Some(conv_weights(read, w, made, &way.convolution)?);
    }
    Ok(out)
}

/// The axes that there are.
fn spatial(window: &Window, rank: usize) -> &[Axis] {
    &window.axes[3 - rank..]
}

fn list(axes: &[Axis], f: impl Fn(&Axis) -> usize) -> Vec<usize> {
    axes.iter().map(f).collect()
}

/// How far all windows reach, counted from the first element of the input.
fn reach(axis: &Axis) -> usize {
    ((axis.output.max(1) - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1)
        .saturating_sub(axis.begin)
}

/// Padding after the input with which there are as many windows as the axis says.
fn needed_end(axis: &Axis) -> usize {
    reach(axis).saturating_sub(axis.input)
}

/// The part of a gradient that windows reach.
fn trimmed(gradient: &Tensor, axes: &[Axis]) -> Result<Tensor, OpError> {
    let ends: Vec<i64> = axes.iter().map(|a| reach(a).min(a.input) as i64).collect();
    if axes.iter().zip(&ends).all(|(a, e)| *e == a.input as i64) {
        return Ok(gradient.clone());
    }
    let starts = Tensor::vector(vec![0i64; ends.len()]);
    let places = Tensor::vector((0..ends.len() as i64).map(|i| i + 2).collect());
    eval(&Op::Slice, &[Some(gradient), Some(&starts), Some(&Tensor::vector(ends)), Some(&places)])
}

/// Sums over all axes but the channels.
fn of_bias(gradient: &Tensor) -> Result<Tensor, OpError> {
    let channels = gradient.dims().get(1).copied().unwrap_or(1);
    let mut dims = vec![1; gradient.rank().saturating_sub(1)];
    if let Some(first) = dims.first_mut() {
        *first = channels;
    }
    Ok(sum_to(gradient.clone(), &dims)?.reshape(&[channels])?)
}
