//! Products with 4-bit weights in groups.

use super::weighted::product_rows;
use super::{Compiled, Compiler, Done, float};
use crate::layout::Layout;
use crate::steps::group_wise::{Finish, GroupWise};
use tq_graph::qdq::{QOperator, QOutput};
use tq_kernels::AffineU8;

impl Compiler<'_> {
    pub(super) fn group_wise(&mut self, op: &QOperator) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let dims = self.known(x.value)?;
        let out_dims = match op.outputs.as_slice() {
            [QOutput::Codes(c)] => self.known(c.value)?,
            [QOutput::Float(v)] => self.known(*v)?,
            _ => return float("more than one result"),
        };
        let weights = self.packed(op)?;
        let (rows, macs) = product_rows(&dims, &weights, &out_dims)?;
        let (from, held) = self.input(x, Layout::First)?;
        let lhs = AffineU8 { scale: held.scale, zero_point: held.zero_point };
        let step = |finish| GroupWise { from, lhs, rows, weights, finish };
        match op.outputs.as_slice() {
            [QOutput::Codes(codes)] => {
                let held = self.held(codes)?;
                let to = self.new_buffer(out_dims.iter().product());
                let params = AffineU8 { scale: held.scale, zero_point: held.zero_point };
                let finish = Finish::Codes { to, params, clamp: held.clamp(op.bounds) };
                self.emit(step(finish), vec![from], vec![to]);
                self.set_form(codes.value, Layout::First, to);
            }
            [QOutput::Float(v)] => {
                let finish = Finish::Reals { to: *v, dims: out_dims };
                self.emit_mixed(step(finish), vec![from], vec![], vec![], vec![*v]);
                self.ready[v.0] = true;
            }
            _ => return float("more than one result"),
        }
        Ok(Done { kernel: Some(self.shared.kernels.group_wise().name().to_owned()), macs })
    }
}
