//! Functions of one code that are another one for each channel.

use super::{Compiled, Compiler, Done, float};
use crate::layout::Layout;
use crate::reference;
use crate::steps::elementwise::ChannelTables;
use tq_eval::Precision;
use tq_graph::op::BinaryOp;
use tq_graph::qdq::QOperator;
use tq_graph::{Op, Tensor};
use tq_qtypes::DType;

impl Compiler<'_> {
    /// The number of channels of an operator that has a slope for each of them.
    pub(super) fn slopes(&self, op: &QOperator, dims: &[usize]) -> Option<usize> {
        let node = self.graph.node(op.node);
        let slopes = node.input(1).filter(|_| node.op == Op::Binary(BinaryOp::PRelu))?;
        let count: usize = self.dims[slopes.0].as_ref()?.iter().product();
        (count > 1 && dims.get(1) == Some(&count)).then_some(count)
    }

    /// One table a channel, over codes with their channels last.
    pub(super) fn lookup_channels(
        &mut self,
        op: &QOperator,
        dims: &[usize],
        channels: usize,
    ) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let out = self.output(op)?;
        let out_held = self.held(&out)?;
        if self.known(out.value)? != dims {
            return float(format!("a result of another shape than {dims:?}"));
        }
        // Every code in every channel: 256 images of one position.
        let mut all = vec![1; dims.len()];
        (all[0], all[1]) = (256, channels);
        let codes = (0..=255u8).flat_map(|code| std::iter::repeat_n(code, channels));
        let codes = match self.held(x)?.signed {
            true => Tensor::new(&all, codes.map(|c| (c ^ crate::codes::FLIP) as i8).collect()),
            false => Tensor::new(&all, codes.collect()),
        };
        let codes = codes.map_err(|e| self.refuse(e))?;
        // In f64, as the judge does it: tables are made once, so they may as well be exact.
        let outs = match reference::evaluate(&self.graph, &self.producers, op, &[codes], &[], Precision::F64)
        {
            Ok(outs) => outs,
            Err(e) => return float(format!("no tables can be made: {e}")),
        };
        let values = match outs.first() {
            Some(t) if t.dtype() == DType::U8 => t.as_slice::<u8>().map(<[u8]>::to_vec),
            Some(t) => {
                t.as_slice::<i8>().map(|c| c.iter().map(|c| (*c as u8) ^ crate::codes::FLIP).collect())
            }
            None => Ok(Vec::new()),
        };
        let values = values.map_err(|e| self.refuse(e))?;
        if values.len() != 256 * channels {
            return float("a function of more than its own element");
        }
        let (lo, hi) = out_held.clamp(op.bounds);
        let value = |code: usize, c: usize| i32::from(values[code * channels + c]).clamp(lo, hi) as u8;
        let tables = (0..channels).map(|c| std::array::from_fn(|code| value(code, c))).collect();
        let (from, _) = self.input(x, Layout::Last)?;
        let to = self.new_buffer(dims.iter().product());
        self.emit(ChannelTables { from, to, tables }, vec![from], vec![to]);
        self.set_form(out.value, Layout::Last, to);
        Ok(Done { kernel: Some(self.shared.kernels.lookup().name().to_owned()), macs: 0 })
    }
}
