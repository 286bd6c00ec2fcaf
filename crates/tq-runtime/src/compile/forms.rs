//! Bringing a value into the form that a reader asks for.

use super::{Compiled, Compiler, Refusal, Role};
use crate::codes::{FLIP, Held};
use crate::error::RuntimeError;
use crate::layout::{Layout, channels_positions, same_order, to_layout};
use crate::movement::IndexMap;
use crate::slots::BufferId;
use crate::steps::border::{Dequantize, Load, Quantize, Store};
use crate::steps::movement::{Move, Swap};
use tq_graph::qdq::Codes;
use tq_graph::{Op, Tensor, ValueId};

impl Compiler<'_> {
    /// The codes of `v` (with parameters `held`) in `layout`.
    pub(super) fn codes(&mut self, v: ValueId, held: Held, layout: Layout) -> Compiled<BufferId> {
        let dims = self.known(v)?;
        if let Some(id) = self.forms[v.0][layout as usize] {
            return Ok(id);
        }
        let other = match layout {
            Layout::First => Layout::Last,
            Layout::Last => Layout::First,
        };
        if let Some(id) = self.forms[v.0][other as usize] {
            let id = self.relayout(id, &dims, other, layout)?;
            self.set_form(v, layout, id);
            return Ok(id);
        }
        if let Some(tensor) = self.constant(v) {
            let codes = held_codes(tensor, held).map_err(|e| self.refuse(e))?;
            let id = self.new_constant(to_layout(&codes, &dims, layout));
            self.set_form(v, layout, id);
            return Ok(id);
        }
        let size = dims.iter().product();
        let id = if self.ready[v.0] {
            let id = self.new_buffer(size);
            self.emit_mixed(Load { from: v, to: id, signed: held.signed }, vec![], vec![id], vec![v], vec![]);
            id
        } else {
            self.quantized(v, size)?
        };
        self.set_form(v, Layout::First, id);
        if self.forms[v.0][layout as usize].is_none() {
            let moved = self.relayout(id, &dims, Layout::First, layout)?;
            self.set_form(v, layout, moved);
            return Ok(moved);
        }
        Ok(id)
    }

    /// The codes that a plain Quantize node gives, made here.
    fn quantized(&mut self, v: ValueId, size: usize) -> Compiled<BufferId> {
        let producer = self.producers[v.0].filter(|id| self.roles[id.0] == Role::OnDemand);
        let real = producer.and_then(|id| self.graph.node(id).input(0));
        // The Quantize node's own parameters: who reads the codes may take them for something else.
        let (Some(real), Some(held)) = (real, self.params[v.0].as_ref().and_then(Held::of)) else {
            return Err(Refusal::Float(format!("{} is not there as codes", self.name(v))));
        };
        self.tensor(real)?;
        let id = self.new_buffer(size);
        self.emit_mixed(Quantize { from: real, to: id, held }, vec![], vec![id], vec![real], vec![]);
        Ok(id)
    }

    /// Records where the codes of `v` are; in both layouts where these are the same.
    pub(super) fn set_form(&mut self, v: ValueId, layout: Layout, id: BufferId) {
        self.forms[v.0][layout as usize] = Some(id);
        if self.dims[v.0].as_deref().is_some_and(same_order) {
            self.forms[v.0] = [Some(id); 2];
        }
    }

    /// Codes of shape `dims` in another layout.
    pub(super) fn relayout(
        &mut self,
        id: BufferId,
        dims: &[usize],
        from: Layout,
        to: Layout,
    ) -> Compiled<BufferId> {
        if from == to || same_order(dims) {
            return Ok(id);
        }
        if let Some(c) = self.buffers[id.0].constant {
            let logical = crate::layout::from_layout(&self.constants[c], dims, from);
            return Ok(self.new_constant(to_layout(&logical, dims, to)));
        }
        let size = dims.iter().product();
        let out = self.new_buffer(size);
        let (channels, positions) = channels_positions(dims);
        let (rows, columns) = match to {
            Layout::Last => (channels, positions),
            Layout::First => (positions, channels),
        };
        self.emit(Swap { from: id, to: out, images: dims[0], rows, columns }, vec![id], vec![out]);
        Ok(out)
    }

    /// Copies codes along `map`, or hands them on where nothing moves.
    pub(super) fn moved(&mut self, id: BufferId, map: IndexMap, size: usize, fill: u8) -> BufferId {
        if map == IndexMap::Same {
            return id;
        }
        let out = self.new_buffer(size);
        self.emit(Move { from: id, to: out, map, images: 1, fill }, vec![id], vec![out]);
        out
    }

    /// The codes of an operator's input in `layout`.
    pub(super) fn input(&mut self, codes: &Codes, layout: Layout) -> Compiled<(BufferId, Held)> {
        let held = self.held(codes)?;
        Ok((self.codes(codes.value, held, layout)?, held))
    }

    /// Sees to it that `v` is there as a tensor when the run has come this far.
    pub(super) fn tensor(&mut self, v: ValueId) -> Result<(), RuntimeError> {
        if self.ready[v.0] {
            return Ok(());
        }
        if self.forms[v.0].iter().any(Option::is_some) {
            return self.store(v);
        }
        let Some(id) = self.producers[v.0] else {
            return Err(self.fail(self.current, crate::error::StepError::NoData(self.name(v).to_owned())));
        };
        let node = self.graph.node(id).clone();
        if self.roles[id.0] == Role::OnDemand
            && let Some(from) = node.input(0)
        {
            match node.op {
                Op::DequantizeLinear { .. } if self.constant(from).is_none() => {
                    return self.dequantized(v, from, id);
                }
                Op::QuantizeLinear { .. } => {
                    if let Some(held) = self.params[v.0].as_ref().and_then(Held::of) {
                        self.required(v, held)?;
                        return self.store(v);
                    }
                }
                _ => {}
            }
        }
        // Only Dequantize nodes are left out of turn: they read constants, inputs or evaluated tensors.
        let reason = self.reason_of(id);
        self.evaluate(id, reason)
    }

    fn required(&mut self, v: ValueId, held: Held) -> Result<BufferId, RuntimeError> {
        match self.codes(v, held, Layout::First) {
            Ok(id) => Ok(id),
            Err(Refusal::Fail(e)) => Err(e),
            Err(Refusal::Float(message)) => {
                Err(self.fail(self.current, crate::error::StepError::Shape(message)))
            }
        }
    }

    /// Real numbers of the codes `from`, as the Dequantize node `id` gives them.
    fn dequantized(&mut self, v: ValueId, from: ValueId, id: tq_graph::NodeId) -> Result<(), RuntimeError> {
        let held = tq_graph::qdq::node_params(&self.graph, self.graph.node(id)).as_ref().and_then(Held::of);
        let (Some(held), Some(dims)) = (held, self.dims[v.0].clone()) else {
            return self.evaluate(id, None);
        };
        let codes = self.required(from, held)?;
        self.emit_mixed(Dequantize { from: codes, to: v, held, dims }, vec![codes], vec![], vec![], vec![v]);
        self.ready[v.0] = true;
        Ok(())
    }

    /// Codes as a tensor of the graph's own type.
    fn store(&mut self, v: ValueId) -> Result<(), RuntimeError> {
        let signed = self.graph.value(v).dtype == Some(tq_qtypes::DType::I8);
        let Some(dims) = self.dims[v.0].clone() else {
            return Err(self.fail(self.current, crate::error::StepError::NoData(self.name(v).to_owned())));
        };
        let form = match self.forms[v.0] {
            [Some(id), _] => id,
            [None, Some(id)] => match self.relayout(id, &dims, Layout::Last, Layout::First) {
                Ok(id) => id,
                Err(Refusal::Fail(e)) => return Err(e),
                Err(Refusal::Float(m)) => {
                    return Err(self.fail(self.current, crate::error::StepError::Shape(m)));
                }
            },
            [None, None] => {
                return Err(self.fail(self.current, crate::error::StepError::NoData(self.name(v).to_owned())));
            }
        };
        self.set_form(v, Layout::First, form);
        self.emit_mixed(Store { from: form, to: v, signed, dims }, vec![form], vec![], vec![], vec![v]);
        self.ready[v.0] = true;
        Ok(())
    }
}

/// Codes of a constant of type u8 or i8, as held.
fn held_codes(tensor: &Tensor, held: Held) -> Result<Vec<u8>, crate::error::StepError> {
    Ok(if held.signed {
        tensor.as_slice::<i8>()?.iter().map(|c| (*c as u8) ^ FLIP).collect()
    } else {
        tensor.as_slice::<u8>()?.to_vec()
    })
}
