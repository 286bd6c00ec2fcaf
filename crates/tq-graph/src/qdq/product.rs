//! Transposed convolutions, and products of two tensors of codes.

use super::matching::{Match, Matcher};
use super::{Codes, FloatReason};
use crate::op::ConvTransposeAttrs;
use crate::{Node, ValueId};
use tq_qtypes::Granularity;

impl Matcher<'_> {
    /// Activations, weights and bias of a transposed convolution.
    ///
    /// The weights have the axes input channels, output channels of a group, kernel: scales along axis 1 serve the
    /// channels of the same place in every group.
    pub(super) fn conv_transpose(
        &self,
        node: &Node,
        attrs: &ConvTransposeAttrs,
    ) -> Match<(Codes, Codes, Option<Vec<i32>>)> {
        let x = self.activation(node, 0)?;
        let w = self.weights(node, 1, 1)?;
        let each = self.weight_dims(&w).get(1).copied().unwrap_or(0);
        let channels = each.checked_mul(attrs.groups).filter(|n| *n > 0).ok_or_else(|| {
            FloatReason::Attribute(format!("{} groups of {each} output channels", attrs.groups))
        })?;
        let scale: Vec<f32> = match w.params.scale.as_slice() {
            [one] => vec![*one],
            all => all.iter().copied().cycle().take(channels).collect(),
        };
        let bias = self.bias(node, 2, &x, &scale, channels)?;
        Ok((x, w, bias))
    }

    /// Constant weights of at most 4 bits, a matrix, with a scale for every group of input features of each channel.
    pub(super) fn grouped_weights(&self, node: &Node, i: usize, channel_axis: usize) -> Option<Codes> {
        let codes = node.input(i).and_then(|v| self.dequantized[v.0].clone())?;
        let dims = self.graph.constant(codes.value)?.dims();
        let Granularity::PerGroup { axis, .. } = codes.params.granularity else { return None };
        let is_matrix = matches!(dims, [rows, columns] if *rows > 0 && *columns > 0);
        let fits = is_matrix
            && axis + channel_axis == 1
            && codes.params.dtype.fits_4_bits()
            && codes.params.granularity.param_count(dims) == Ok(codes.params.scale.len());
        fits.then_some(codes)
    }

    /// True for a Gather that picks rows of a constant table of codes, at places known only at run time.
    pub(super) fn picks_rows(&self, node: &Node) -> bool {
        let is_table = |v: ValueId| {
            self.dequantized[v.0].as_ref().is_some_and(|codes| self.graph.constant(codes.value).is_some())
        };
        node.input(0).is_some_and(is_table) && self.graph.const_input(node, 1).is_none()
    }

    /// True for a MatMul whose right-hand side is no matrix of constant weights.
    pub(super) fn multiplies_codes(&self, node: &Node) -> bool {
        node.input(1).is_some_and(|v| self.constant_dims(v).is_none_or(|dims| dims.len() != 2))
    }
}
