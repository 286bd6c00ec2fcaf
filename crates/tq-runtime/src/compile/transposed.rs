//! Transposed convolutions.

use super::{Compiled, Compiler, Done, float};
use crate::layout::Layout;
use crate::movement::IndexMap;
use crate::steps::movement::Move;
use crate::steps::transposed::Transposed;
use crate::transposed::{self, Phase, TransposedAxis};
use tq_graph::Op;
use tq_graph::qdq::QOperator;
use tq_kernels::{GatheredRows, PAD};

impl Compiler<'_> {
    pub(super) fn conv_transpose(&mut self, op: &QOperator) -> Compiled<Done> {
        let Op::ConvTranspose(attrs) = self.graph.node(op.node).op.clone() else {
            return float("not a transposed convolution");
        };
        let (Some(x), Some(w)) = (op.inputs.first(), op.weights.as_ref()) else { return float("no weights") };
        let out = self.output(op)?;
        let (dims, out_dims, w_dims) = (self.known(x.value)?, self.known(out.value)?, self.known(w.value)?);
        let [inputs, each, kernel @ ..] = w_dims.as_slice() else { return float("weights without axes") };
        let Some(axes) = transposed::axes(&dims, &out_dims, kernel, &attrs) else {
            return float(format!("a window of {kernel:?} from {dims:?} to {out_dims:?}"));
        };
        let groups = attrs.groups;
        let agree = groups > 0
            && dims[1] == *inputs
            && inputs.is_multiple_of(groups)
            && each.checked_mul(groups) == Some(out_dims[1])
            && out_dims[0] == dims[0]
            // A kernel without weights may be of any length, and phases walk over it.
            && !w_dims.contains(&0);
        if !agree {
            return float(format!("weights {w_dims:?} in {groups} groups from {dims:?} to {out_dims:?}"));
        }
        let Some(phases) = transposed::phases(kernel, &attrs) else {
            return float(format!("strides of {:?}", attrs.strides));
        };
        let weights = self.packed(op)?;
        let (from, held) = self.input(x, Layout::Last)?;
        let out_held = self.held(&out)?;
        let (images, channels, out_channels) = (dims[0], dims[1], out_dims[1]);
        let mut most = self.shared.max_value_bytes / size_of::<usize>();
        let mut rows = Vec::with_capacity(phases.len());
        let mut products = 0u64;
        for phase in &phases {
            // Each offset, the run that is made of it at most, and a row: 8 bytes each.
            let Some(offsets) = phase.offsets(&axes, channels, PAD, most / 3) else {
                return float(format!("a window of {kernel:?} at {:?} positions", &out_dims[2..]));
            };
            most -= 3 * offsets.len();
            products += offsets.len() as u64;
            let count: usize = axes.iter().enumerate().map(|(i, a)| phase.outputs(i, a).count()).product();
            match GatheredRows::new(&offsets, count, phase.tap_count(), channels / groups) {
                Ok(gathered) => rows.push(gathered),
                Err(e) => {
                    return float(format!("a window of {kernel:?} at {:?} positions: {e}", &out_dims[2..]));
                }
            }
        }
        let size: usize = out_dims.iter().product();
        let order = phase_order(&phases, &axes, out_channels);
        let Some(order) = order else {
            return float(format!("{out_dims:?} has more elements than positions can count"));
        };
        let to = self.new_buffer(size);
        let step = Transposed {
            from,
            to,
            phases: rows,
            images,
            image: dims[1..].iter().product(),
            depth: channels / groups,
            zero_point: held.zero_point,
            requantizer: self.requantizer(op, held, &weights.scale, out_held),
            weights,
        };
        self.emit(step, vec![from], vec![to]);
        let result = if order == IndexMap::Same {
            to
        } else {
            let result = self.new_buffer(size);
            let step = Move { from: to, to: result, map: order, images, fill: out_held.zero() };
            self.emit(step, vec![to], vec![result]);
            result
        };
        self.set_form(out.value, Layout::Last, result);
        let macs = (images as u64)
            .saturating_mul(products)
            .saturating_mul((channels / groups) as u64)
            .saturating_mul(out_channels as u64);
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }
}

/// For each code of a channels-last output image where it is among the rows in the order of the phases.
fn phase_order(phases: &[Phase], axes: &[TransposedAxis], channels: usize) -> Option<IndexMap> {
    let positions: usize = axes.iter().map(|a| a.output).product();
    let len = positions.checked_mul(channels)?;
    i32::try_from(len).ok()?;
    let mut row_of = vec![0usize; positions];
    let mut row = 0;
    for phase in phases {
        let mut places = vec![0usize];
        for (i, axis) in axes.iter().enumerate() {
            places = places
                .iter()
                .flat_map(|at| phase.outputs(i, axis).map(move |o| at * axis.output + o))
                .collect();
        }
        for place in places {
            row_of[place] = row;
            row += 1;
        }
    }
    let map = row_of.iter().flat_map(|row| (0..channels).map(move |c| (row * channels + c) as i32)).collect();
    Some(IndexMap::new(map, len))
}
