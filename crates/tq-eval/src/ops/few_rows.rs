//! Products of a few rows with a matrix that is read once a row: packing it, as products of many rows do, would cost more than it saves.
//!
//! Sums are added in an order that depends on nothing but the shapes and how the matrix lies in memory: vectors hold neighbouring
//! sums, or the eight parts that a sum is split into whether there are vectors or not.

use crate::number::Real;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2};

/// Rows of the matrix that are added in one pass over the sums, or columns that are multiplied at once.
const AT_ONCE: usize = 4;
/// Sums that a product with a contiguous column is split into.
const LANES: usize = 8;

/// `c += a * b`.
pub(super) fn multiply<T: Real>(a: ArrayView2<T>, b: ArrayView2<T>, mut c: ArrayViewMut2<T>) {
    for (a, c) in a.rows().into_iter().zip(c.rows_mut()) {
        let row = a.to_vec();
        if b.strides()[0] == 1 || row.len() == 1 {
            dots(&row, b.reversed_axes(), c);
        } else {
            add_rows(&row, b, c);
        }
    }
}

/// `c[i] += x · m[i]` for every row of `m`: each in [`LANES`] interleaved sums, then those from first to last.
pub(super) fn dots<T: Real>(x: &[T], m: ArrayView2<T>, mut c: ArrayViewMut1<T>) {
    let row = |i: usize| m.row(i).to_slice();
    let whole = m.nrows() / AT_ONCE * AT_ONCE;
    for i in (0..whole).step_by(AT_ONCE) {
        let rows: [_; AT_ONCE] = std::array::from_fn(|r| row(i + r));
        let sums = match rows {
            [Some(p), Some(q), Some(r), Some(s)] => dot(x, [p, q, r, s]),
            _ => std::array::from_fn(|r| dot(x, [&m.row(i + r).to_vec()])[0]),
        };
        for (r, sum) in sums.into_iter().enumerate() {
            c[i + r] = c[i + r] + sum;
        }
    }
    for i in whole..m.nrows() {
        let [sum] = match row(i) {
            Some(row) => dot(x, [row]),
            None => dot(x, [&m.row(i).to_vec()]),
        };
        c[i] = c[i] + sum;
    }
}

/// Products of `x` with rows of its length.
fn dot<T: Real, const R: usize>(x: &[T], rows: [&[T]; R]) -> [T; R] {
    let rows = rows.map(|row| &row[..x.len()]);
    let (x8, rest) = x.as_chunks::<LANES>();
    let rows8 = rows.map(|row| row.as_chunks::<LANES>().0);
    // With the vectors of this processor: they do what one element at a time does. The sums live in here, so that they stay in registers.
    let lanes = crate::vectors::arch().dispatch(
        #[inline(always)]
        || {
            let mut lanes = [[T::ZERO; LANES]; R];
            for (i, x) in x8.iter().enumerate() {
                for (lanes, row) in lanes.iter_mut().zip(rows8) {
                    let row = &row[i];
                    for l in 0..LANES {
                        lanes[l] = lanes[l] + x[l] * row[l];
                    }
                }
            }
            lanes
        },
    );
    let begin = x.len() - rest.len();
    std::array::from_fn(|r| {
        let sum = lanes[r].iter().fold(T::ZERO, |s, l| s + *l);
        rest.iter().zip(&rows[r][begin..]).fold(sum, |s, (x, w)| s + *x * *w)
    })
}

/// `c += x[k] * m[k]` for one row of `m` after the other.
fn add_rows<T: Real>(x: &[T], m: ArrayView2<T>, mut c: ArrayViewMut1<T>) {
    let one = |x: T, row: ArrayView1<T>, c: &mut ArrayViewMut1<T>| {
        c.iter_mut().zip(row).for_each(|(c, m)| *c = *c + x * *m);
    };
    let Some(sums) = c.as_slice_mut() else {
        x.iter().zip(m.rows()).for_each(|(x, row)| one(*x, row, &mut c));
        return;
    };
    let (fours, rest) = x.as_chunks::<AT_ONCE>();
    for (k, x) in fours.iter().enumerate() {
        let rows: [_; AT_ONCE] = std::array::from_fn(|r| m.row(k * AT_ONCE + r));
        match rows.each_ref().map(|row| row.to_slice()) {
            [Some(p), Some(q), Some(r), Some(s)] => add_four(*x, [p, q, r, s], sums),
            _ => x.iter().zip(rows).for_each(|(x, row)| one(*x, row, &mut ArrayViewMut1::from(&mut *sums))),
        }
    }
    for (x, row) in rest.iter().zip(m.rows().into_iter().skip(x.len() - rest.len())) {
        one(*x, row, &mut ArrayViewMut1::from(&mut *sums));
    }
}

/// Adds four rows, each times a number, in one pass over the sums.
fn add_four<T: Real>(x: [T; AT_ONCE], rows: [&[T]; AT_ONCE], sums: &mut [T]) {
    let [p, q, r, s] = rows.map(|row| &row[..sums.len()]);
    crate::vectors::arch().dispatch(
        #[inline(always)]
        || {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = *sum + x[0] * p[i] + x[1] * q[i] + x[2] * r[i] + x[3] * s[i];
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, ArrayBase, Axis, Ix2, RawData, Slice};

    /// `c + a * b`, one row of `b` after the other.
    fn in_order(a: &Array2<f32>, b: &Array2<f32>, c: &Array2<f32>) -> Array2<f32> {
        let mut c = c.clone();
        for ((i, j), c) in c.indexed_iter_mut() {
            for k in 0..a.ncols() {
                *c += a[[i, k]] * b[[k, j]];
            }
        }
        c
    }

    /// `c + a * b`, every sum in eight parts.
    fn in_lanes(a: &Array2<f32>, b: &Array2<f32>, c: &Array2<f32>) -> Array2<f32> {
        let mut c = c.clone();
        for ((i, j), c) in c.indexed_iter_mut() {
            let mut lanes = [0f32; LANES];
            let whole = a.ncols() / LANES * LANES;
            for k in 0..whole {
                lanes[k % LANES] += a[[i, k]] * b[[k, j]];
            }
            let sum = lanes.iter().fold(0.0, |s, l| s + l);
            *c += (whole..a.ncols()).fold(sum, |s, k| s + a[[i, k]] * b[[k, j]]);
        }
        c
    }

    fn numbers(rows: usize, columns: usize, seed: f32) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(i, j)| {
            (i as f32 * 12.9898 + j as f32 * 78.233 + seed).sin() * 43.5
        })
    }

    /// Every other row and column.
    fn every_other<S: RawData>(mut view: ArrayBase<S, Ix2>) -> ArrayBase<S, Ix2> {
        view.slice_axis_inplace(Axis(0), Slice::new(0, None, 2));
        view.slice_axis_inplace(Axis(1), Slice::new(0, None, 2));
        view
    }

    /// A matrix of which every other row and column has these values.
    fn spread(m: &Array2<f32>) -> Array2<f32> {
        let mut wide = Array2::zeros((2 * m.nrows(), 2 * m.ncols()));
        every_other(wide.view_mut()).assign(m);
        wide
    }

    #[test]
    fn sums_are_added_in_the_order_of_each_layout() {
        for (m, k, n) in
            [(1, 1, 1), (1, 2, 5), (2, 3, 4), (1, 4, 9), (2, 8, 3), (1, 13, 33), (2, 37, 7), (1, 64, 16)]
        {
            let (a, b, c) = (numbers(m, k, 0.1), numbers(k, n, 0.2), numbers(m, n, 0.3));
            let product = |b: ArrayView2<f32>| {
                let mut out = c.clone();
                multiply(a.view(), b, out.view_mut());
                out
            };
            let (rows, columns) = (b.clone(), b.t().as_standard_layout().into_owned());
            let lanes = in_lanes(&a, &b, &c);
            assert_eq!(product(columns.t()), lanes, "{m}x{k}x{n}");
            let expected = if k == 1 { lanes } else { in_order(&a, &b, &c) };
            assert_eq!(product(rows.view()), expected, "{m}x{k}x{n}");
            assert_eq!(product(every_other(spread(&b).view())), expected, "{m}x{k}x{n} with gaps");

            let (mut wide, mut out) = (spread(&c), c.clone());
            multiply(a.view(), rows.view(), every_other(wide.view_mut()));
            multiply(a.view(), rows.view(), out.view_mut());
            assert_eq!(every_other(wide.view()), out, "{m}x{k}x{n} to rows with gaps");
        }
    }

    #[test]
    fn products_with_one_column_do_not_ask_how_rows_lie() {
        let (a, b, c) = (numbers(11, 29, 0.4), numbers(29, 1, 0.5), numbers(11, 1, 0.6));
        let expected = in_lanes(&a, &b, &c);
        let wide = spread(&a);
        for a in [a.view(), every_other(wide.view())] {
            let mut out = c.clone();
            dots(&b.column(0).to_vec(), a, out.column_mut(0));
            assert_eq!(out, expected);
        }
    }
}
