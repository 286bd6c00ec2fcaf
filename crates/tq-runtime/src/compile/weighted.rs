//! Convolutions and matrix products.

use super::{Compiled, Compiler, Done, float};
use crate::codes::Held;
use crate::geometry::{self, Axis};
use crate::layout::{Layout, same_order};
use crate::movement::{FILL, IndexMap};
use crate::requantize::Requantizer;
use crate::slots::BufferId;
use crate::steps::gemm::{Finish, Gemm, Group, Product, Rows};
use crate::steps::movement::Move;
use crate::steps::window::Depthwise;
use crate::weights::{Packed, is_depthwise};
use std::sync::Arc;
use tq_graph::Op;
use tq_graph::qdq::{QOperator, QOutput};
use tq_kernels::{GatheredRows, PAD};

/// Convolutions are unrolled whose taps beside each other have at most this many codes.
const UNROLLED_RUN: usize = 16;

/// The most bytes that the unrolled rows of one image may take.
const UNROLLED_BYTES: usize = 4 << 20;

/// Rows that a gathered product should have at least: small images are done several at a time.
const ROWS_AT_ONCE: usize = 512;

/// Rows and multiply-adds of a product of a value of shape `dims` with a matrix of weights.
pub(super) fn product_rows(dims: &[usize], weights: &Packed, out_dims: &[usize]) -> Compiled<(usize, u64)> {
    let depth = dims.last().copied().unwrap_or(0);
    let rows = dims.iter().product::<usize>().checked_div(depth).unwrap_or(0);
    if depth != weights.depth() || out_dims.iter().product::<usize>() != rows * weights.channels {
        return float(format!("{dims:?} times {} columns is not {out_dims:?}", weights.channels));
    }
    Ok((rows, rows as u64 * depth as u64 * weights.channels as u64))
}

impl Compiler<'_> {
    pub(super) fn packed(&self, op: &QOperator) -> Compiled<Arc<Packed>> {
        match self.shared.weights.get(&self.shared.kernels, &self.graph, op) {
            Ok(packed) => Ok(packed),
            Err(e) => float(format!("its weights cannot be packed: {e}")),
        }
    }

    pub(super) fn conv(&mut self, op: &QOperator) -> Compiled<Done> {
        let Op::Conv(attrs) = self.graph.node(op.node).op.clone() else { return float("not a convolution") };
        let (Some(x), Some(w)) = (op.inputs.first(), op.weights.as_ref()) else { return float("no weights") };
        let dims = self.known(x.value)?;
        let out = match op.outputs.as_slice() {
            [QOutput::Codes(c)] => c.value,
            [QOutput::Float(v)] => *v,
            _ => return float("more than one result"),
        };
        let out_dims = self.known(out)?;
        let w_dims = self.known(w.value)?;
        let [channels, depth, kernel @ ..] = w_dims.as_slice() else { return float("weights without axes") };
        let Some(axes) =
            geometry::axes(&dims, &out_dims, kernel, &attrs.strides, &attrs.dilations, &attrs.padding)
        else {
            return float(format!("a window of {kernel:?} over {dims:?}"));
        };
        let agree = attrs.groups > 0
            && depth.checked_mul(attrs.groups) == Some(dims[1])
            && out_dims[1] == *channels
            && out_dims[0] == dims[0];
        if !agree {
            return float(format!("weights {w_dims:?} in {} groups on {dims:?}", attrs.groups));
        }
        let packed = self.packed(op)?;
        let images = dims[0];
        let positions: usize = out_dims[2..].iter().product();
        let taps: usize = kernel.iter().product();
        let macs = (images * positions) as u64 * (channels * depth * taps) as u64;
        let (from, held) = self.input(x, Layout::Last)?;
        if is_depthwise(op.kind, &w_dims)
            && let [QOutput::Codes(codes)] = op.outputs.as_slice()
        {
            let Some(window) = super::pool::volume(images, dims[1], &axes) else {
                return float("too many spatial axes");
            };
            let out_held = self.held(codes)?;
            let to = self.new_buffer(out_dims.iter().product());
            let step = Depthwise {
                from,
                to,
                window,
                zero_point: held.zero_point,
                requantizer: self.requantizer(op, held, &packed.scale, out_held),
                weights: packed,
            };
            self.emit(step, vec![from], vec![to]);
            self.set_form(codes.value, Layout::Last, to);
            let kernel = Some(self.shared.kernels.depthwise().name().to_owned());
            return Ok(Done { kernel, macs });
        }
        let (from, rows) = match self.unrolled(from, held, &dims, &axes, attrs.groups) {
            Some(unrolled) => unrolled,
            None => (from, self.rows(&dims, &axes, *depth)?),
        };
        let each = channels / attrs.groups;
        let groups = (0..attrs.groups).map(|g| Group { first_in: g * depth, first_out: g * each }).collect();
        let unswap = (!same_order(&out_dims)).then_some((images, positions));
        self.product(op, from, held, packed, (groups, rows), &out_dims, unswap)?;
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }

    /// The rows of a convolution written out one after the other, where that is worth its memory: rows of short runs cost less
    /// when all of them are moved, byte by byte or run by run, before they are multiplied.
    fn unrolled(
        &mut self,
        from: BufferId,
        held: Held,
        dims: &[usize],
        axes: &[Axis],
        groups: usize,
    ) -> Option<(BufferId, Rows)> {
        let (images, channels) = (dims[0], dims[1]);
        let rows: usize = axes.iter().map(|a| a.output).product();
        let taps: usize = axes.iter().map(|a| a.kernel).product();
        let depth = taps.checked_mul(channels)?;
        let row_bytes = rows.checked_mul(depth)?;
        let run = axes.last().filter(|a| a.dilation == 1).map_or(1, |a| a.kernel).checked_mul(channels)?;
        if groups != 1 || taps == 1 || run > UNROLLED_RUN || row_bytes > UNROLLED_BYTES {
            return None;
        }
        let fits = |bytes: &usize| *bytes <= self.shared.max_value_bytes;
        let size = images.checked_mul(row_bytes).filter(fits)?;
        // Offsets of 8 bytes, and a place of 4 for each code.
        rows.checked_mul(taps)?.checked_mul(8)?.checked_add(row_bytes.checked_mul(4)?).filter(fits)?;
        let image = dims[1..].iter().product::<usize>();
        i32::try_from(image).ok()?;
        let mut map = Vec::new();
        map.try_reserve_exact(row_bytes).ok()?;
        for start in geometry::offsets(axes, 1, channels, PAD)? {
            match i32::try_from(start) {
                Ok(start) => map.extend((0..channels as i32).map(|c| start + c)),
                Err(_) => map.resize(map.len() + channels, FILL),
            }
        }
        let to = self.new_buffer(size);
        let map = IndexMap::new(map, image);
        self.emit(Move { from, to, map, images, fill: held.zero() }, vec![from], vec![to]);
        Some((to, Rows::Dense { rows: images * rows, stride: depth }))
    }

    /// The rows of a convolution over a channels-last value of shape `dims` (as the graph has it).
    pub(super) fn rows(&self, dims: &[usize], axes: &[Axis], run: usize) -> Compiled<Rows> {
        let (images, channels) = (dims[0], dims[1]);
        let in_positions: usize = dims[2..].iter().product();
        let pointwise = |a: &Axis| a.kernel == 1 && a.stride == 1 && a.begin == 0 && a.end == 0;
        if axes.iter().all(pointwise) {
            return Ok(Rows::Dense { rows: images * in_positions, stride: channels });
        }
        let rows: usize = axes.iter().map(|a| a.output).product();
        let taps: usize = axes.iter().map(|a| a.kernel).product();
        // Offsets and the runs that are made of them, 8 bytes each, and 8 for a row.
        let row = taps.checked_mul(16).and_then(|n| n.checked_add(8));
        let image = row.and_then(|row| row.checked_mul(rows));
        let most = image.map_or(0, |bytes| self.shared.max_value_bytes / bytes.max(1));
        if most == 0 {
            return float(format!("a window of {taps} elements at {rows} positions"));
        }
        let batch = ROWS_AT_ONCE.div_ceil(rows.max(1)).clamp(1, images).min(most);
        let Some(offsets) = geometry::offsets(axes, batch, channels, PAD) else {
            return float(format!("a window of {taps} elements at {rows} positions"));
        };
        match GatheredRows::new(&offsets, batch * rows, taps, run) {
            Ok(gather) => Ok(Rows::Indirect { gather, rows, images, batch, image: in_positions * channels }),
            Err(e) => float(format!("a window of {taps} elements at {rows} positions: {e}")),
        }
    }

    pub(super) fn linear(&mut self, op: &QOperator) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let dims = self.known(x.value)?;
        let out_dims = match op.outputs.as_slice() {
            [QOutput::Codes(c)] => self.known(c.value)?,
            [QOutput::Float(v)] => self.known(*v)?,
            _ => return float("more than one result"),
        };
        let packed = self.packed(op)?;
        let (rows, macs) = product_rows(&dims, &packed, &out_dims)?;
        let depth = packed.depth();
        let (from, held) = self.input(x, Layout::First)?;
        let groups = vec![Group { first_in: 0, first_out: 0 }];
        let rows = Rows::Dense { rows, stride: depth };
        self.product(op, from, held, packed, (groups, rows), &out_dims, None)?;
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }

    #[allow(clippy::too_many_arguments, reason = "a product has this many independent parts")]
    fn product(
        &mut self,
        op: &QOperator,
        from: BufferId,
        held: Held,
        weights: Arc<Packed>,
        (groups, rows): (Vec<Group>, Rows),
        out_dims: &[usize],
        unswap: Option<(usize, usize)>,
    ) -> Compiled<()> {
        let zero_point = held.zero_point;
        match op.outputs.as_slice() {
            [QOutput::Codes(codes)] => {
                let out_held = self.held(codes)?;
                let to = self.new_buffer(out_dims.iter().product());
                let requantizer = self.requantizer(op, held, &weights.scale, out_held);
                let finish = Finish::Codes { to, requantizer };
                let product = Product { from, weights, groups, rows };
                self.emit(Gemm { product, zero_point, finish }, vec![from], vec![to]);
                let layout = match op.kind {
                    tq_qtypes::OperatorKind::Linear => Layout::First,
                    _ => Layout::Last,
                };
                self.set_form(codes.value, layout, to);
            }
            [QOutput::Float(v)] => {
                let scale = weights.scale.iter().map(|sw| held.scale * sw).collect();
                let finish = Finish::Reals { to: *v, dims: out_dims.to_vec(), scale, unswap };
                let step = Gemm { product: Product { from, weights, groups, rows }, zero_point, finish };
                self.emit_mixed(step, vec![from], vec![], vec![], vec![*v]);
                self.ready[v.0] = true;
            }
            _ => return float("more than one result"),
        }
        Ok(())
    }

    /// What makes codes of `out` of sums of products of `x` with codes of these scales.
    pub(super) fn requantizer(&self, op: &QOperator, x: Held, rhs: &[f32], out: Held) -> Requantizer {
        Requantizer::new(self.graph.requantization, x.scale, rhs, out, out.clamp(op.bounds))
    }
}
