//! Pools and means.

use super::{Compiled, Compiler, Done, float};
use crate::geometry::{self, Axis, UNIT};
use crate::layout::{Layout, channels_positions};
use crate::steps::elementwise::Table;
use crate::steps::window::{AveragePool, MaxPool, Places, Windows};
use tq_graph::Op;
use tq_graph::op::PoolAttrs;
use tq_graph::qdq::QOperator;
use tq_kernels::{AverageParams, MaxParams, PAD, Window2d, Window3d, WindowAxis};

/// The window of a kernel for up to two spatial axes.
pub(super) fn window(images: usize, channels: usize, axes: &[Axis]) -> Option<Window2d> {
    let (h, w) = match axes {
        [w] => (UNIT, *w),
        [h, w] => (*h, *w),
        _ => return None,
    };
    Some(Window2d {
        batch: images,
        channels,
        in_h: h.input,
        in_w: w.input,
        out_h: h.output,
        out_w: w.output,
        kernel: (h.kernel, w.kernel),
        stride: (h.stride, w.stride),
        dilation: (h.dilation, w.dilation),
        pads: [h.begin, w.begin, h.end, w.end],
    })
}

/// The window of a kernel for up to three spatial axes.
pub(super) fn volume(images: usize, channels: usize, axes: &[Axis]) -> Option<Window3d> {
    let [d, plane @ ..] = axes else { return None };
    if plane.len() < 2 {
        return window(images, channels, axes).map(Window3d::from);
    }
    let depth = WindowAxis {
        input: d.input,
        kernel: d.kernel,
        stride: d.stride,
        dilation: d.dilation,
        pads: (d.begin, d.end),
        output: d.output,
    };
    Some(Window3d { plane: window(images, channels, plane)?, depth })
}

impl Compiler<'_> {
    fn pool_axes(&self, dims: &[usize], out_dims: &[usize], attrs: &PoolAttrs) -> Compiled<Vec<Axis>> {
        match geometry::axes(dims, out_dims, &attrs.kernel, &attrs.strides, &attrs.dilations, &attrs.padding)
        {
            Some(axes) if geometry::has_empty_window(&axes) => float("a window that lies wholly on padding"),
            Some(axes) => Ok(axes),
            None => float(format!("a window of {:?} over {dims:?}", attrs.kernel)),
        }
    }

    /// The windows of a pool: those of the kernels for up to two spatial axes, lists of places for more.
    fn windows(&self, dims: &[usize], axes: &[Axis]) -> Compiled<Windows> {
        let (images, channels) = (dims[0], dims[1]);
        if let Some(window) = window(images, channels, axes) {
            return Ok(Windows::Slid(window));
        }
        let rows: usize = axes.iter().map(|a| a.output).product();
        let taps: usize = axes.iter().map(|a| a.kernel).product();
        let list = rows.checked_mul(taps).and_then(|n| n.checked_mul(size_of::<usize>()));
        let fits = list.is_some_and(|bytes| bytes <= self.shared.max_value_bytes);
        match geometry::offsets(axes, 1, channels, PAD).filter(|_| fits) {
            Some(offsets) => {
                let image = dims[1..].iter().product();
                Ok(Windows::Listed(Places { images, image, channels, rows, taps, offsets }))
            }
            None => float(format!("a window of {taps} elements at {rows} positions")),
        }
    }

    pub(super) fn max_pool(&mut self, op: &QOperator) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let out = self.output(op)?;
        let (dims, out_dims) = (self.known(x.value)?, self.known(out.value)?);
        if dims.len() < 3 {
            return float(format!("a pool over {dims:?}"));
        }
        let axes = match self.graph.node(op.node).op.clone() {
            Op::MaxPool { attrs, .. } => self.pool_axes(&dims, &out_dims, &attrs)?,
            _ => all_positions(&dims),
        };
        let windows = self.windows(&dims, &axes)?;
        let out_held = self.held(&out)?;
        let (from, held) = self.input(x, Layout::Last)?;
        let size = out_dims.iter().product();
        let clamp = out_held.clamp(op.bounds);
        let same = held.same_codes(&out_held);
        let mut to = self.new_buffer(size);
        // Where parameters change the bounds are in the new ones: the table clamps.
        let params = MaxParams { clamp: if same { clamp } else { (0, 255) } };
        self.emit(MaxPool { from, to, windows, params }, vec![from], vec![to]);
        if !same && let Some(table) = super::movement::transfer(held, out_held, clamp) {
            let moved = self.new_buffer(size);
            self.emit(Table { from: to, to: moved, table }, vec![to], vec![moved]);
            to = moved;
        }
        self.set_form(out.value, Layout::Last, to);
        Ok(Done { kernel: Some(self.shared.kernels.pool().name().to_owned()), macs: 0 })
    }

    pub(super) fn average_pool(&mut self, op: &QOperator) -> Compiled<Done> {
        let Some(x) = op.inputs.first() else { return float("no input") };
        let out = self.output(op)?;
        let (dims, out_dims) = (self.known(x.value)?, self.known(out.value)?);
        if dims.len() < 3 {
            return float(format!("a pool over {dims:?}"));
        }
        let (axes, count_include_pad) = match self.graph.node(op.node).op.clone() {
            Op::AveragePool { attrs, count_include_pad } => {
                (self.pool_axes(&dims, &out_dims, &attrs)?, count_include_pad)
            }
            _ => (all_positions(&dims), false),
        };
        let windows = self.windows(&dims, &axes)?;
        let (from, held) = self.input(x, Layout::Last)?;
        let out_held = self.held(&out)?;
        let to = self.new_buffer(out_dims.iter().product());
        let divisors = match windows {
            Windows::Slid(_) => Vec::new(),
            Windows::Listed(_) => tq_eval::window::sizes(&axes, count_include_pad),
        };
        let params = AverageParams {
            input: held.affine(),
            out: out_held.affine(),
            count_include_pad,
            clamp: out_held.clamp(op.bounds),
        };
        self.emit(AveragePool { from, to, windows, params, divisors }, vec![from], vec![to]);
        self.set_form(out.value, Layout::Last, to);
        Ok(Done { kernel: Some(self.shared.kernels.pool().name().to_owned()), macs: 0 })
    }
}

/// One window over all positions, whatever their order and number of axes.
fn all_positions(dims: &[usize]) -> Vec<Axis> {
    let (_, positions) = channels_positions(dims);
    vec![Axis { input: positions, kernel: positions, ..UNIT }]
}
