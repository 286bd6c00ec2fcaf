//! Products of two activations.

use super::{Compiled, Compiler, Done, float};
use crate::layout::Layout;
use crate::steps::matmul::{Finish, MatMul};
use tq_graph::qdq::{QOperator, QOutput};

impl Compiler<'_> {
    pub(super) fn matmul(&mut self, op: &QOperator) -> Compiled<Done> {
        let [a, b] = op.inputs.as_slice() else { return float("not two operands") };
        let (a_dims, b_dims) = (self.known(a.value)?, self.known(b.value)?);
        let out = match op.outputs.as_slice() {
            [QOutput::Codes(c)] => c.value,
            [QOutput::Float(v)] => *v,
            _ => return float("more than one result"),
        };
        let out_dims = self.known(out)?;
        let Some(shape) = ProductShape::of(&a_dims, &b_dims, &out_dims) else {
            return float(format!("{a_dims:?} times {b_dims:?} gives {out_dims:?}"));
        };
        let ProductShape { pairs, rows, depth, columns } = shape;
        let macs = (pairs.len() as u64)
            .saturating_mul(rows as u64)
            .saturating_mul(depth as u64)
            .saturating_mul(columns as u64);
        let (lhs, a_held) = self.input(a, Layout::First)?;
        let (rhs, b_held) = self.input(b, Layout::First)?;
        let zero_points = (a_held.zero_point, b_held.zero_point);
        let step = |finish| MatMul { lhs, rhs, pairs, rows, depth, columns, zero_points, finish };
        match op.outputs.as_slice() {
            [QOutput::Codes(codes)] => {
                let held = self.held(codes)?;
                let to = self.new_buffer(out_dims.iter().product());
                let requantizer = self.requantizer(op, a_held, &[b_held.scale], held);
                let finish = Finish::Codes { to, requantizer };
                self.emit(step(finish), vec![lhs, rhs], vec![to]);
                self.set_form(codes.value, Layout::First, to);
            }
            _ => {
                let finish = Finish::Reals { to: out, dims: out_dims, scale: a_held.scale * b_held.scale };
                self.emit_mixed(step(finish), vec![lhs, rhs], vec![], vec![], vec![out]);
                self.ready[out.0] = true;
            }
        }
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }
}

/// Which matrices are multiplied.
struct ProductShape {
    /// For each product the first element of both sides.
    pairs: Vec<(usize, usize)>,
    rows: usize,
    depth: usize,
    columns: usize,
}

impl ProductShape {
    /// Matrices of the last two axes, the axes before them broadcast; `None` for vectors and for shapes that do not go
    /// together.
    fn of(a: &[usize], b: &[usize], out: &[usize]) -> Option<Self> {
        let ([a_batch @ .., rows, depth], [b_batch @ .., b_depth, columns]) = (a, b) else { return None };
        let [batch @ .., out_rows, out_columns] = out else { return None };
        if depth != b_depth || (rows, columns) != (out_rows, out_columns) {
            return None;
        }
        let lhs = starts(a_batch, batch, rows * depth)?;
        let rhs = starts(b_batch, batch, depth * columns)?;
        let size = rows * depth;
        // One right side for matrices that follow each other: they are one matrix.
        let one = rhs.iter().all(|b| *b == 0) && lhs.iter().enumerate().all(|(i, a)| *a == i * size);
        let (pairs, rows) = match (one, lhs.len()) {
            (true, n @ 1..) => (vec![(0, 0)], rows * n),
            _ => (lhs.into_iter().zip(rhs).collect(), *rows),
        };
        Some(Self { pairs, rows, depth: *depth, columns: *columns })
    }
}

/// For every index of `batch` where the matrix of `size` elements starts that is broadcast to it.
fn starts(own: &[usize], batch: &[usize], size: usize) -> Option<Vec<usize>> {
    let lead = batch.len().checked_sub(own.len())?;
    let mut list = vec![0usize];
    for (i, extent) in batch.iter().enumerate() {
        let own = if i < lead { 1 } else { own[i - lead] };
        if own != 1 && own != *extent {
            return None;
        }
        let step = |at: usize, j: usize| if own == 1 { at } else { at * own + j };
        list = list.iter().flat_map(|at| (0..*extent).map(move |j| step(*at, j))).collect();
    }
    Some(list.into_iter().map(|at| at * size).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_broadcast() {
        assert_eq!(starts(&[2, 1], &[2, 3], 5).unwrap(), [0, 0, 0, 5, 5, 5]);
        assert_eq!(starts(&[3], &[2, 3], 5).unwrap(), [0, 5, 10, 0, 5, 10]);
        assert_eq!(starts(&[4], &[2, 3], 5), None);
        let shape = ProductShape::of(&[2, 3, 4, 5], &[1, 1, 5, 6], &[2, 3, 4, 6]).unwrap();
        assert_eq!((shape.pairs, shape.rows), (vec![(0, 0)], 24));
        let shape = ProductShape::of(&[1, 4, 5], &[2, 5, 6], &[2, 4, 6]).unwrap();
        assert_eq!((shape.pairs, shape.rows), (vec![(0, 0), (0, 30)], 4));
        assert!(ProductShape::of(&[5], &[5, 6], &[6]).is_none());
    }
}
