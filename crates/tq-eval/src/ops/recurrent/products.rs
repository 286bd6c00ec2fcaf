//! The matrix products within recurrent operators.

use crate::OpError;
use crate::number::{Number, Real};
use crate::ops::matmul::{Product, accumulate_parallel, matrix, matrix_mut};
use ndarray::Axis;
use std::borrow::Cow;
use std::ops::Range;
use tq_qtypes::{DType, DynamicFormula, affine};

/// Rows of values, and the range of those that count.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a, T> {
    /// Row after row.
    pub data: &'a [T],
    /// Smallest and largest value of the sequences that go on, with zero between them. Told only where the operator
    /// quantizes at run time.
    pub range: (f32, f32),
}

/// Which of the recurrence weights take part in a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// All.
    All,
    /// Those of a GRU's update and reset gates.
    Gates,
    /// Those of a GRU's candidate.
    Candidate,
}

impl Part {
    /// The rows of the weights of one direction, for so many elements of the hidden state.
    #[must_use]
    pub fn rows(self, hidden: usize, rows: usize) -> Range<usize> {
        match self {
            Part::All => 0..rows,
            Part::Gates => 0..rows.min(2 * hidden),
            Part::Candidate => rows.min(2 * hidden)..rows,
        }
    }
}

/// Where products are added to: columns from `first` on of rows that are `pitch` apart.
#[derive(Debug)]
pub struct Target<'a, T> {
    /// The rows.
    pub data: &'a mut [T],
    /// Elements from one row to the next.
    pub pitch: usize,
    /// First column.
    pub first: usize,
}

/// The matrix products of a recurrent operator.
pub trait Products<T>: Sync {
    /// Writes to every row of `out`, which are as long as `bias`, the product of the same row of `x` with the input weights of a
    /// direction, plus `bias`.
    ///
    /// # Errors
    /// Whatever keeps the product from being made.
    fn project(&self, direction: usize, x: Operand<'_, T>, bias: &[T], out: &mut [T]) -> Result<(), OpError>;

    /// Adds to every row of `out` the product of the same row of `h` with recurrence weights of a direction.
    ///
    /// # Errors
    /// Whatever keeps the product from being made.
    fn recur(
        &self,
        direction: usize,
        part: Part,
        h: Operand<'_, T>,
        out: Target<'_, T>,
    ) -> Result<(), OpError>;
}

/// Smallest and largest value, with zero between them; what is no number does not count.
pub(super) fn range_of<'a, T: Real>(rows: impl Iterator<Item = &'a [T]>) -> (f32, f32) {
    let ends = rows.map(range_of_row).fold((T::ZERO, T::ZERO), wider);
    (Number::to_f64(ends.0) as f32, Number::to_f64(ends.1) as f32)
}

/// [`range_of`] one row.
fn range_of_row<T: Real>(row: &[T]) -> (T, T) {
    // Each lane has its own ends: compilers make vectors of them, but not of one fold, nor of several rows.
    let (blocks, rest) = row.as_chunks::<16>();
    let (mut low, mut high) = ([T::ZERO; 16], [T::ZERO; 16]);
    for block in blocks {
        for ((low, high), &v) in low.iter_mut().zip(&mut high).zip(block) {
            (*low, *high) = wider((*low, *high), (v, v));
        }
    }
    let lanes = low.into_iter().zip(high);
    rest.iter().map(|&v| (v, v)).chain(lanes).fold((T::ZERO, T::ZERO), wider)
}

/// The range that has both, where the ends of `other` may be no numbers, which do not count. An end moves only for what is beyond
/// it, so zeros stay positive, and the order does not matter.
#[inline]
fn wider<T: Real>(range: (T, T), other: (T, T)) -> (T, T) {
    (if other.0 < range.0 { other.0 } else { range.0 }, if other.1 > range.1 { other.1 } else { range.1 })
}

/// Products with float weights; of values that went through codes, where the operator quantizes at run time.
pub(super) struct Matrices<'a, T> {
    pub(super) directions: usize,
    pub(super) hidden: usize,
    pub(super) rows: usize,
    pub(super) input: usize,
    pub(super) w: &'a [T],
    pub(super) r: &'a [T],
    pub(super) dynamic: Option<DynamicFormula>,
    /// Whether codes are chosen in f32, whatever the type: those of a session, to the last tie.
    pub(super) codes_in_f32: bool,
}

impl<'a, T: Real> Matrices<'a, T> {
    /// The part of weights that belongs to a direction.
    fn part(&self, all: &'a [T], direction: usize) -> &'a [T] {
        let len = all.len() / self.directions;
        &all[direction * len..][..len]
    }

    /// What the products are made of: the values, or what their codes stand for.
    fn seen<'v>(&self, x: Operand<'v, T>) -> Result<Cow<'v, [T]>, OpError> {
        let Some(formula) = self.dynamic else { return Ok(Cow::Borrowed(x.data)) };
        let (scale, zero_point) = formula.qparams(x.range.0, x.range.1)?;
        let code = |v: T| match T::DTYPE {
            // The judge divides, whatever the formula.
            DType::F64 if !self.codes_in_f32 => {
                affine::quantize_f64(v.to_f64(), f64::from(scale), zero_point, 0, 255)
            }
            _ => i32::from(formula.code(v.to_f64() as f32, scale, zero_point)),
        };
        let step = T::of_f32(scale);
        // Codes less their zero point are small integers, which f32 holds.
        let real = |v: &T| step * T::of_f32((code(*v) - zero_point) as f32);
        Ok(x.data.iter().map(real).collect())
    }
}

impl<T: Real + Product> Products<T> for Matrices<'_, T> {
    fn project(&self, direction: usize, x: Operand<'_, T>, bias: &[T], out: &mut [T]) -> Result<(), OpError> {
        let n = out.len() / self.rows;
        out.chunks_exact_mut(self.rows).for_each(|row| row.copy_from_slice(bias));
        let x = self.seen(x)?;
        let w = matrix(self.part(self.w, direction), self.rows, self.input)?.reversed_axes();
        accumulate_parallel(matrix(&x, n, self.input)?, w, matrix_mut(out, n, self.rows)?);
        Ok(())
    }

    fn recur(
        &self,
        direction: usize,
        part: Part,
        h: Operand<'_, T>,
        out: Target<'_, T>,
    ) -> Result<(), OpError> {
        let n = h.data.len() / self.hidden;
        let rows = part.rows(self.hidden, self.rows);
        let r = &self.part(self.r, direction)[rows.start * self.hidden..rows.end * self.hidden];
        let r = matrix(r, rows.len(), self.hidden)?.reversed_axes();
        let h = self.seen(h)?;
        let Target { data, pitch, first } = out;
        let (_, columns) = matrix_mut(data, n, pitch)?.split_at(Axis(1), first);
        let (columns, _) = columns.split_at(Axis(1), rows.len());
        accumulate_parallel(matrix(&h, n, self.hidden)?, r, columns);
        Ok(())
    }
}
