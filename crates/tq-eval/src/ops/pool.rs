//! MaxPool, AveragePool, LpPool, GlobalMaxPool, GlobalLpPool.

use super::Context;
use crate::OpError;
use crate::number::{Number, Real, with_number, with_real};
use crate::parallel;
use crate::shape::numel;
use crate::window::Window;
use tq_graph::op::PoolAttrs;
use tq_graph::{Element, Tensor};

/// The window of a pool over `x`, and the shape of the output.
fn window(x: &Tensor, attrs: &PoolAttrs) -> Result<(Window, Vec<usize>), OpError> {
    let [n, c, input @ ..] = x.dims() else {
        return Err(OpError::Shape(format!("input of shape {:?} has no spatial axis", x.dims())));
    };
    let PoolAttrs { kernel, strides, dilations, padding, ceil_mode } = attrs;
    let window = Window::new(input, kernel, strides, dilations, padding, *ceil_mode)?;
    let dims = [*n, *c].into_iter().chain(window.output_dims()).collect();
    Ok((window, dims))
}

/// Calls `f` with every output plane, its index and the input plane.
fn for_planes<T: Sync, U: Send>(
    x: &[T],
    window: &Window,
    out: &mut [U],
    f: impl Fn(usize, &[T], &mut [U]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let (input, output) = (window.input_len(), window.output_len());
    parallel::chunks(out, output, (1 << 12) / output, &|i, out| f(i, &x[i * input..][..input], out));
}

/// Largest element of every window; padding never wins, NaN does. The second output holds flat indices into the
/// whole input, counted column-major within a plane where asked; -1 for a window wholly in the padding.
pub(crate) fn max_pool(
    ctx: &Context,
    x: &Tensor,
    attrs: &PoolAttrs,
    column_major: bool,
    indices: bool,
) -> Result<Vec<Tensor>, OpError> {
    let (window, dims) = window(x, attrs)?;
    with_number!(x.dtype(), T => {
        let data = x.as_slice::<T>()?;
        let mut out = ctx.zeros::<T>(&dims)?;
        for_planes(data, &window, &mut out, |_, x, out| {
            scan(&window, out, |at| largest(&window, x, at).map_or(T::LOWEST, |(v, _)| v));
        });
        let mut outputs = vec![Tensor::new(&dims, out)?];
        if indices {
            let mut out = ctx.zeros::<i64>(&dims)?;
            for_planes(data, &window, &mut out, |plane, x, out| {
                let [depth, height, width] = window.axes.map(|a| a.input);
                scan(&window, out, |at| {
                    let Some((_, [z, y, c])) = largest(&window, x, at) else { return -1 };
                    let within =
                        if column_major { (c * height + y) * depth + z } else { (z * height + y) * width + c };
                    (plane * x.len() + within) as i64
                });
            });
            outputs.push(Tensor::new(&dims, out)?);
        }
        Ok(outputs)
    })
}

/// Sets every element of an output plane from its position.
fn scan<U: Element>(window: &Window, out: &mut [U], f: impl Fn([usize; 3]) -> U) {
    let [_, height, width] = window.axes.map(|a| a.output);
    for (row, out) in out.chunks_mut(width).enumerate() {
        for (x, o) in out.iter_mut().enumerate() {
            *o = f([row / height, row % height, x]);
        }
    }
}

/// The first largest element of a window with its position in the input.
fn largest<T: Number>(window: &Window, x: &[T], at: [usize; 3]) -> Option<(T, [usize; 3])> {
    let mut best: Option<(T, [usize; 3])> = None;
    visit(window, at, |place, index| {
        let v = x[index];
        let wins = match best {
            None => true,
            // A NaN compares with nothing, itself included: it wins once and is never replaced.
            Some((b, _)) => v > b || (v.partial_cmp(&v).is_none() && b.partial_cmp(&b).is_some()),
        };
        if wins {
            best = Some((v, place));
        }
    });
    best
}

/// Calls `f` with position and flat index of every input element of a window, in row-major order.
fn visit(window: &Window, at: [usize; 3], mut f: impl FnMut([usize; 3], usize)) {
    let [z, y, c] = window.axes;
    let place =
        |axis: &crate::window::Axis, o: usize, k: usize| o * axis.stride + k * axis.dilation - axis.begin;
    let columns = c.taps(at[2]);
    for kz in z.taps(at[0]) {
        let iz = place(&z, at[0], kz);
        for ky in y.taps(at[1]) {
            let iy = place(&y, at[1], ky);
            for kx in columns.clone() {
                let ix = place(&c, at[2], kx);
                f([iz, iy, ix], (iz * y.input + iy) * c.input + ix);
            }
        }
    }
}

/// Mean of every window. Padding counts in the divisor where asked, what lies beyond the padding never does.
/// A window without any element gives 0.
pub(crate) fn average_pool(
    ctx: &Context,
    x: &Tensor,
    attrs: &PoolAttrs,
    count_include_pad: bool,
) -> Result<Tensor, OpError> {
    let (window, dims) = window(x, attrs)?;
    with_real!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(&dims)?;
        for_planes(x.as_slice::<T>()?, &window, &mut out, |_, x, out| {
            scan(&window, out, |at| average(&window, x, at, count_include_pad));
        });
        Ok(Tensor::new(&dims, out)?)
    })
}

fn average<T: Real>(window: &Window, x: &[T], at: [usize; 3], count_include_pad: bool) -> T {
    let mut sum = 0.0f64;
    let mut count = 0.0f64;
    visit(window, at, |_, index| {
        sum += x[index].to_f64();
        count += 1.0;
    });
    if count == 0.0 {
        return T::ZERO;
    }
    if count_include_pad {
        // As floats: with hostile pads the product need not fit an integer.
        count = window.axes.iter().zip(at).map(|(a, o)| a.padded_taps(o) as f64).product();
    }
    T::of_f64(sum / count)
}

/// `(sum of |x|^p)^(1/p)`, summed from first to last in f64.
struct Norm {
    p: u32,
    sum: f64,
}

impl Norm {
    fn new(p: u32) -> Result<Self, OpError> {
        if p == 0 { Err(OpError::Attribute("p is 0".into())) } else { Ok(Self { p, sum: 0.0 }) }
    }

    fn add(&mut self, v: f64) {
        self.sum += match self.p {
            1 => v.abs(),
            2 => v * v,
            p => libm::pow(v.abs(), f64::from(p)),
        };
    }

    fn value(&self) -> f64 {
        match self.p {
            1 => self.sum,
            2 => self.sum.sqrt(),
            p => libm::pow(self.sum, 1.0 / f64::from(p)),
        }
    }
}

/// The p-norm of every window; padding is zero.
pub(crate) fn lp_pool(ctx: &Context, x: &Tensor, attrs: &PoolAttrs, p: u32) -> Result<Tensor, OpError> {
    let (window, dims) = window(x, attrs)?;
    Norm::new(p)?;
    with_real!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(&dims)?;
        for_planes(x.as_slice::<T>()?, &window, &mut out, |_, x, out| {
            scan(&window, out, |at| {
                let mut norm = Norm { p, sum: 0.0 };
                visit(&window, at, |_, index| norm.add(x[index].to_f64()));
                T::of_f64(norm.value())
            });
        });
        Ok(Tensor::new(&dims, out)?)
    })
}

/// `f` of every plane, in a tensor whose spatial axes have length 1.
fn global<T: Real>(ctx: &Context, x: &Tensor, f: impl Fn(&[T]) -> T + Sync) -> Result<Tensor, OpError> {
    let [n, c, spatial @ ..] = x.dims() else {
        return Err(OpError::Shape(format!("input of shape {:?} has no channels", x.dims())));
    };
    let dims: Vec<usize> = [*n, *c].into_iter().chain(spatial.iter().map(|_| 1)).collect();
    let plane = numel(spatial);
    let mut out = ctx.zeros::<T>(&dims)?;
    let data = x.as_slice::<T>()?;
    parallel::chunks(&mut out, 1, (1 << 12) / plane.max(1), &|i, out| {
        out.fill(f(&data[i * plane..][..plane]));
    });
    Ok(Tensor::new(&dims, out)?)
}

/// Largest element of every plane; NaN wins.
pub(crate) fn global_max_pool(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    with_real!(x.dtype(), T => global::<T>(ctx, x, |plane| plane.iter().fold(T::LOWEST, |m, v| super::unary::raise(m, *v))))
}

/// The p-norm of every plane.
pub(crate) fn global_lp_pool(ctx: &Context, x: &Tensor, p: u32) -> Result<Tensor, OpError> {
    Norm::new(p)?;
    with_real!(x.dtype(), T => global::<T>(ctx, x, |plane| {
        let mut norm = Norm { p, sum: 0.0 };
        plane.iter().for_each(|v| norm.add(v.to_f64()));
        T::of_f64(norm.value())
    }))
}
