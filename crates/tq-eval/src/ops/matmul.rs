//! Matrix products.

use super::{Context, Inputs, few_rows, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_number};
use crate::parallel;
use crate::shape::{broadcast, broadcast_strides, broadcasts_to, numel};
use ndarray::{ArrayView2, ArrayViewMut2, Axis, ShapeBuilder};
use rayon::prelude::*;
use tq_graph::Tensor;

/// Types of which matrices can be multiplied.
pub(crate) trait Product: Number {
    /// `c += a * b`, in an order that depends on nothing but the shapes and how `a` and `b` lie in memory.
    fn accumulate(a: ArrayView2<Self>, b: ArrayView2<Self>, c: ArrayViewMut2<Self>);
}

macro_rules! product {
    ($f:ident: $($t:ty),*) => {$(
        impl Product for $t {
            fn accumulate(a: ArrayView2<Self>, b: ArrayView2<Self>, c: ArrayViewMut2<Self>) {
                $f(a, b, c);
            }
        }
    )*};
}
product!(accumulate_real: f32, f64);
product!(accumulate_integer: i8, u8, i16, u16, i32, u32, i64, u64);

/// With fewer rows than this, packing costs more than a packed product saves.
const FEW_ROWS: usize = 3;

fn accumulate_real<T: Real>(a: ArrayView2<T>, b: ArrayView2<T>, mut c: ArrayViewMut2<T>) {
    let (m, k) = a.dim();
    let n = b.ncols();
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    if n == 1 {
        return few_rows::dots(&b.column(0).to_vec(), a, c.column_mut(0));
    }
    if m < FEW_ROWS {
        return few_rows::multiply(a, b, c);
    }
    ndarray::linalg::general_mat_mul(T::ONE, &a, &b, T::ONE, &mut c);
}

fn accumulate_integer<T: Number>(a: ArrayView2<T>, b: ArrayView2<T>, mut c: ArrayViewMut2<T>) {
    for (a, mut c) in a.rows().into_iter().zip(c.rows_mut()) {
        for (a, b) in a.iter().zip(b.rows()) {
            for (c, b) in c.iter_mut().zip(b) {
                *c = c.plus(a.times(*b));
            }
        }
    }
}

/// `c += a * b`, cut into tasks whose sizes follow from the shapes alone.
pub(crate) fn accumulate_parallel<T: Product>(a: ArrayView2<T>, b: ArrayView2<T>, mut c: ArrayViewMut2<T>) {
    let (m, n) = c.dim();
    if m.saturating_mul(n).saturating_mul(a.ncols()) < 1 << 20 {
        return T::accumulate(a, b, c);
    }
    const ROWS: usize = 64;
    const COLUMNS: usize = 256;
    // Few rows wait for memory, which is read best in long runs.
    const LONG_RUN: usize = 1024;
    if m >= 2 * ROWS {
        let parts: Vec<_> =
            a.axis_chunks_iter(Axis(0), ROWS).zip(c.axis_chunks_iter_mut(Axis(0), ROWS)).collect();
        parts.into_par_iter().for_each(|(a, c)| T::accumulate(a, b, c));
    } else {
        let width = if m < FEW_ROWS && b.strides()[1] == 1 { LONG_RUN } else { COLUMNS };
        let columns = b.axis_chunks_iter(Axis(1), width).zip(c.axis_chunks_iter_mut(Axis(1), width));
        let parts: Vec<_> = columns.collect();
        parts.into_par_iter().for_each(|(b, c)| T::accumulate(a, b, c));
    }
}

/// The elements of one matrix of a row-major tensor.
pub(crate) fn matrix<T>(data: &[T], rows: usize, columns: usize) -> Result<ArrayView2<'_, T>, OpError> {
    ArrayView2::from_shape((rows, columns), data)
        .map_err(|_| OpError::Shape(format!("{} elements are no {rows}x{columns} matrix", data.len())))
}

pub(crate) fn matrix_mut<T>(
    data: &mut [T],
    rows: usize,
    columns: usize,
) -> Result<ArrayViewMut2<'_, T>, OpError> {
    let len = data.len();
    ArrayViewMut2::from_shape((rows, columns), data)
        .map_err(|_| OpError::Shape(format!("{len} elements are no {rows}x{columns} matrix")))
}

/// `alpha * op(a) * op(b) + beta * c`.
pub(crate) fn gemm(
    ctx: &Context,
    inputs: Inputs,
    factors: (f32, f32),
    trans: (bool, bool),
) -> Result<Tensor, OpError> {
    let a = inputs.need(0)?;
    same_dtype(a, inputs.need(1)?, "input 1")?;
    if let Some(c) = inputs.get(2) {
        same_dtype(a, c, "input 2")?;
    }
    with_number!(a.dtype(), T => gemm_as::<T>(ctx, inputs, factors, trans))
}

fn gemm_as<T: Product>(
    ctx: &Context,
    inputs: Inputs,
    (alpha, beta): (f32, f32),
    (trans_a, trans_b): (bool, bool),
) -> Result<Tensor, OpError> {
    let (a, b) = (inputs.need(0)?, inputs.need(1)?);
    if a.dtype().is_integer() && (alpha.fract() != 0.0 || beta.fract() != 0.0) {
        return Err(OpError::Attribute(format!("alpha {alpha} and beta {beta} on {}", a.dtype())));
    }
    let view = |t: &Tensor, trans: bool, name: &str| match *t.dims() {
        [rows, columns] => Ok(if trans { (columns, rows) } else { (rows, columns) }),
        _ => Err(OpError::Shape(format!("{name} has shape {:?}, expected rank 2", t.dims()))),
    };
    let ((m, k), (k2, n)) = (view(a, trans_a, "a")?, view(b, trans_b, "b")?);
    if k != k2 {
        return Err(OpError::Shape(format!("a {m}x{k} matrix times a {k2}x{n} matrix")));
    }
    let oriented = |data, trans: bool, rows, columns| {
        if trans {
            matrix(data, columns, rows).map(|v| v.reversed_axes())
        } else {
            matrix(data, rows, columns)
        }
    };
    let dims = [m, n];
    let mut out = ctx.zeros::<T>(&dims)?;
    let lhs = oriented(a.as_slice::<T>()?, trans_a, m, k)?;
    let rhs = oriented(b.as_slice::<T>()?, trans_b, k, n)?;
    accumulate_parallel(lhs, rhs, matrix_mut(&mut out, m, n)?);
    if alpha != 1.0 {
        let alpha = T::from_integral(alpha);
        out.iter_mut().for_each(|v| *v = v.times(alpha));
    }
    if let Some(c) = inputs.get(2) {
        if !broadcasts_to(c.dims(), &dims) {
            return Err(OpError::Shape(format!("c of shape {:?} does not broadcast to {dims:?}", c.dims())));
        }
        let steps = broadcast_strides(c.dims(), &dims);
        let (c, beta) = (c.as_slice::<T>()?, T::from_integral(beta));
        for (i, row) in out.chunks_mut(n.max(1)).enumerate() {
            for (j, v) in row.iter_mut().enumerate() {
                *v = v.plus(beta.times(c[i * steps[0] + j * steps[1]]));
            }
        }
    }
    Ok(Tensor::new(&dims, out)?)
}

/// How the matrices of two tensors pair up, as in `numpy.matmul`.
pub(crate) struct Batches {
    /// Shape of the result.
    pub(crate) dims: Vec<usize>,
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    /// Batch axes.
    batch: Vec<usize>,
    /// For every batch axis how many matrices of `a` and of `b` one step is.
    steps: (Vec<usize>, Vec<usize>),
}

impl Batches {
    pub(crate) fn new(a: &[usize], b: &[usize]) -> Result<Self, OpError> {
        let bad = || OpError::Shape(format!("matrix product of shapes {a:?} and {b:?}"));
        let (batch_a, m, k) = match a {
            [] => return Err(bad()),
            [k] => (&[][..], None, *k),
            [batch @ .., m, k] => (batch, Some(*m), *k),
        };
        let (batch_b, k2, n) = match b {
            [] => return Err(bad()),
            [k] => (&[][..], *k, None),
            [batch @ .., k, n] => (batch, *k, Some(*n)),
        };
        if k != k2 {
            return Err(bad());
        }
        let batch = broadcast(batch_a, batch_b).map_err(|_| bad())?;
        let dims = batch.iter().copied().chain(m).chain(n).collect();
        let steps = (broadcast_strides(batch_a, &batch), broadcast_strides(batch_b, &batch));
        Ok(Self { dims, m: m.unwrap_or(1), k, n: n.unwrap_or(1), batch, steps })
    }

    /// For every matrix of the result, which matrices of `a` and `b` it is the product of.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..numel(&self.batch)).map(|index| {
            let (mut rest, mut a, mut b) = (index, 0, 0);
            for (i, len) in self.batch.iter().enumerate().rev() {
                a += rest % len * self.steps.0[i];
                b += rest % len * self.steps.1[i];
                rest /= len;
            }
            (a, b)
        })
    }

    /// Row-major elements of the products.
    pub(crate) fn multiply<T: Product>(&self, ctx: &Context, a: &[T], b: &[T]) -> Result<Vec<T>, OpError> {
        let (m, k, n) = (self.m, self.k, self.n);
        let mut out = ctx.zeros::<T>(&self.dims)?;
        if out.is_empty() || k == 0 {
            return Ok(out);
        }
        if self.steps.1.iter().all(|s| *s == 0) && a.len() == numel(&self.batch) * m * k {
            // One right-hand side for all: one tall product.
            let rows = out.len() / n;
            accumulate_parallel(matrix(a, rows, k)?, matrix(b, k, n)?, matrix_mut(&mut out, rows, n)?);
            return Ok(out);
        }
        let pairs: Vec<_> = self.pairs().collect();
        parallel::try_chunks(&mut out, m * n, 1, &|at, out| {
            let (i, j) = pairs[at];
            let lhs = matrix(&a[i * m * k..][..m * k], m, k)?;
            let rhs = matrix(&b[j * k * n..][..k * n], k, n)?;
            accumulate_parallel(lhs, rhs, matrix_mut(out, m, n)?);
            Ok(())
        })?;
        Ok(out)
    }
}

/// Matrix product as in `numpy.matmul`.
pub(crate) fn matmul(ctx: &Context, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    same_dtype(a, b, "input 1")?;
    let batches = Batches::new(a.dims(), b.dims())?;
    with_number!(a.dtype(), T => {
        let data = batches.multiply::<T>(ctx, a.as_slice()?, b.as_slice()?)?;
        Ok(Tensor::new(&batches.dims, data)?)
    })
}

/// A window of a plane-major matrix: `rows` rows of `columns` elements, `pitch` apart.
pub(crate) fn strided<T>(
    data: &[T],
    rows: usize,
    columns: usize,
    pitch: usize,
) -> Result<ArrayView2<'_, T>, OpError> {
    ArrayView2::from_shape((rows, columns).strides((pitch, 1)), data)
        .map_err(|_| OpError::Shape(format!("{} elements hold no {rows} rows {pitch} apart", data.len())))
}
