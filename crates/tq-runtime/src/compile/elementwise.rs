//! Sums, differences and products of two tensors of codes.

use super::{Compiled, Compiler, Done, float};
use crate::codes::Held;
use crate::layout::{Layout, same_order, to_layout};
use crate::movement::IndexMap;
use crate::slots::BufferId;
use crate::steps::elementwise::Binary;
use tq_graph::qdq::{Codes, QOperator};
use tq_kernels::{BinaryOp, BinaryParams, Broadcast};
use tq_qtypes::OperatorKind;

impl Compiler<'_> {
    pub(super) fn binary(&mut self, op: &QOperator) -> Compiled<Done> {
        let [a, b] = op.inputs.as_slice() else { return float("not two operands") };
        let out = self.output(op)?;
        let out_held = self.held(&out)?;
        let dims = self.known(out.value)?;
        let preferred = self.agnostic_layout(op);
        let full = |c: &Codes, this: &Self| -> Compiled<bool> {
            Ok(padded(&this.known(c.value)?, dims.len()) == dims)
        };
        let (a_full, b_full) = (full(a, self)?, full(b, self)?);
        // The first operand of the kernel has the shape of the result.
        let (big, small, swapped) = match (a_full, b_full) {
            (true, _) => (a, b, false),
            (false, true) => (b, a, true),
            (false, false) => return float(format!("neither operand has the result's shape {dims:?}")),
        };
        let small_dims = padded(&self.known(small.value)?, dims.len());
        let form = |layout: Layout| {
            broadcast(&layout.dims(&dims), &layout.dims(&small_dims)).map(|broadcast| (layout, broadcast))
        };
        let Some((layout, broadcast)) =
            form(preferred).or_else(|| form(Layout::First)).or_else(|| form(Layout::Last))
        else {
            return float(format!("{small_dims:?} cannot be repeated over {dims:?}"));
        };
        let (lhs, lhs_held) = self.operand(big, layout, &dims)?;
        let (rhs, rhs_held) = self.operand(small, layout, &small_dims)?;
        let to = self.new_buffer(dims.iter().product());
        let params = BinaryParams {
            op: match (op.kind, swapped) {
                (OperatorKind::Add, _) => BinaryOp::Add,
                (OperatorKind::Mul, _) => BinaryOp::Mul,
                (_, false) => BinaryOp::Sub,
                (_, true) => BinaryOp::ReverseSub,
            },
            lhs: lhs_held.affine(),
            rhs: rhs_held.affine(),
            out: out_held.affine(),
            clamp: out_held.clamp(op.bounds),
        };
        self.emit(Binary { lhs, rhs, to, params, broadcast }, vec![lhs, rhs], vec![to]);
        self.set_form(out.value, layout, to);
        Ok(Done { kernel: Some(self.shared.kernels.binary().name().to_owned()), macs: 0 })
    }

    /// An operand as if it had shape `dims`, which is its own with axes of length 1 in front.
    fn operand(&mut self, codes: &Codes, layout: Layout, dims: &[usize]) -> Compiled<(BufferId, Held)> {
        let own = self.known(codes.value)?;
        if own.len() == dims.len() {
            return self.input(codes, layout);
        }
        // Axis 1 of the operand is another one of the result: only the graph's own order is common to both.
        let (id, held) = self.input(codes, Layout::First)?;
        if layout == Layout::First || same_order(dims) {
            return Ok((id, held));
        }
        if let Some(c) = self.buffers[id.0].constant {
            let moved = to_layout(&self.constants[c], dims, layout);
            return Ok((self.new_constant(moved), held));
        }
        match IndexMap::relayout(dims, Layout::First, layout) {
            Some(map) => Ok((self.moved(id, map, dims.iter().product(), 0), held)),
            None => float(format!("{dims:?} has more elements than positions can count")),
        }
    }
}

/// `dims` with axes of length 1 in front, up to `rank` axes.
fn padded(dims: &[usize], rank: usize) -> Vec<usize> {
    let mut out = vec![1; rank.saturating_sub(dims.len())];
    out.extend_from_slice(dims);
    out
}

/// How a value of extents `small` is repeated over one of extents `big`, both as they lie in memory.
fn broadcast(big: &[usize], small: &[usize]) -> Option<Broadcast> {
    if small == big {
        return Some(Broadcast::Same);
    }
    if small.len() != big.len() {
        return None;
    }
    if small.iter().all(|d| *d == 1) {
        return Some(Broadcast::Scalar);
    }
    // Equal axes at the end, then axes that are repeated, then equal axes again.
    let n = big.len();
    let suffix = (0..n).rev().take_while(|i| small[*i] == big[*i]).count();
    let ones = (0..n - suffix).rev().take_while(|i| small[*i] == 1).count();
    let prefix = n - suffix - ones;
    if small[..prefix] != big[..prefix] {
        return None;
    }
    let channels = big[n - suffix..].iter().product();
    let images: usize = big[..prefix].iter().product();
    if images == 1 {
        return Some(Broadcast::PerChannel { channels });
    }
    Some(Broadcast::PerImage { images, positions: big[prefix..n - suffix].iter().product(), channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_broadcasting() {
        let b = |big: &[usize], small: &[usize]| broadcast(big, small);
        assert_eq!(b(&[2, 4, 4, 3], &[2, 4, 4, 3]), Some(Broadcast::Same));
        assert_eq!(b(&[2, 4, 4, 3], &[1, 1, 1, 1]), Some(Broadcast::Scalar));
        assert_eq!(b(&[2, 4, 4, 3], &[1, 1, 1, 3]), Some(Broadcast::PerChannel { channels: 3 }));
        let per_image = Broadcast::PerImage { images: 2, positions: 16, channels: 3 };
        assert_eq!(b(&[2, 4, 4, 3], &[2, 1, 1, 3]), Some(per_image));
        // Channels first: each channel of each image is repeated over its positions.
        let per_plane = Broadcast::PerImage { images: 6, positions: 16, channels: 1 };
        assert_eq!(b(&[2, 3, 4, 4], &[2, 3, 1, 1]), Some(per_plane));
        assert_eq!(b(&[2, 3, 4, 4], &[1, 3, 1, 1]), None);
        assert_eq!(b(&[2, 3, 4, 4], &[1, 3, 4, 4]), Some(Broadcast::PerChannel { channels: 48 }));
    }
}
