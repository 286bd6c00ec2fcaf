//! Transposed convolutions as plain ones.
//!
//! An element of the output meets only those kernel elements that a whole number of strides brings to it. Outputs that
//! agree in their remainder by the stride meet the same ones: they form a phase, and each phase is a convolution of
//! stride 1 over the input with a part of the kernel. So everything is gathered, sums are exact, and each result is
//! rounded once.

use tq_graph::op::{ConvTransposeAttrs, Padding};

/// The most phases that weights are packed for; with more the strides are so long that hardly an output meets a weight.
const MAX_PHASES: usize = 1024;

/// One spatial axis of a transposed convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransposedAxis {
    /// Elements of the input.
    pub(crate) input: usize,
    /// Elements of the output.
    pub(crate) output: usize,
    /// Distance in the output of what two neighbours of the input give.
    pub(crate) stride: usize,
    /// Distance of kernel elements.
    pub(crate) dilation: usize,
    /// What is cut off in front.
    pub(crate) begin: usize,
}

/// Outputs of one remainder along every axis, and the kernel elements that they meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    /// Along every axis the remainder of the place in the uncut output.
    pub(crate) remainders: Vec<usize>,
    /// Along every axis the kernel elements.
    pub(crate) taps: Vec<Vec<usize>>,
}

impl Phase {
    /// Kernel elements that an output meets.
    pub(crate) fn tap_count(&self) -> usize {
        self.taps.iter().map(Vec::len).product()
    }

    /// Those elements as positions in the whole kernel, row-major.
    pub(crate) fn kernel_positions(&self, kernel: &[usize]) -> Vec<usize> {
        let mut out = vec![0];
        for (taps, extent) in self.taps.iter().zip(kernel) {
            out = out.iter().flat_map(|at| taps.iter().map(move |k| at * extent + k)).collect();
        }
        out
    }

    /// The output positions of this phase along axis `i`.
    pub(crate) fn outputs(&self, i: usize, axis: &TransposedAxis) -> impl Iterator<Item = usize> + Clone {
        let first = (self.remainders[i] + axis.stride - axis.begin % axis.stride) % axis.stride;
        (first..axis.output).step_by(axis.stride)
    }

    /// For every output position of this phase (row-major) and every kernel element that it meets (row-major) the place
    /// in a channels-last input of `channels` channels, or `pad` where the element lies beside the input.
    pub(crate) fn offsets(
        &self,
        axes: &[TransposedAxis],
        channels: usize,
        pad: usize,
        most: usize,
    ) -> Option<Vec<usize>> {
        let rows =
            (0..axes.len()).try_fold(1usize, |n, i| n.checked_mul(self.outputs(i, &axes[i]).count()))?;
        let len = rows.checked_mul(self.tap_count()).filter(|n| *n <= most)?;
        // Along each axis: for each output the places of its kernel elements, none on padding.
        let places: Vec<Vec<Vec<Option<usize>>>> = axes
            .iter()
            .enumerate()
            .map(|(i, axis)| {
                let place = |o: usize, k: usize| {
                    let reach = (o + axis.begin).checked_sub(k * axis.dilation)?;
                    Some(reach / axis.stride).filter(|p| *p < axis.input)
                };
                self.outputs(i, axis).map(|o| self.taps[i].iter().map(|k| place(o, *k)).collect()).collect()
            })
            .collect();
        let mut list = Vec::new();
        list.try_reserve_exact(len).ok()?;
        let mut at = vec![0usize; axes.len()];
        for _ in 0..rows {
            let mut starts = vec![Some(0usize)];
            for (i, axis) in axes.iter().enumerate() {
                let along = &places[i][at[i]];
                starts = starts
                    .iter()
                    .flat_map(|s| along.iter().map(move |p| s.zip(*p).map(|(s, p)| s * axis.input + p)))
                    .collect();
            }
            list.extend(starts.into_iter().map(|s| s.map_or(pad, |s| s * channels)));
            for i in (0..axes.len()).rev() {
                at[i] += 1;
                if at[i] < places[i].len() {
                    break;
                }
                at[i] = 0;
            }
        }
        Some(list)
    }
}

/// All phases of a kernel, in row-major order of their remainders; `None` where there are none or too many.
pub(crate) fn phases(kernel: &[usize], attrs: &ConvTransposeAttrs) -> Option<Vec<Phase>> {
    let n = kernel.len();
    if attrs.strides.len() != n || attrs.dilations.len() != n || attrs.dilations.contains(&0) {
        return None;
    }
    let count = attrs.strides.iter().try_fold(1usize, |n, s| n.checked_mul(*s))?;
    if count == 0 || count > MAX_PHASES {
        return None;
    }
    let mut remainders = vec![0usize; n];
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        let taps = (0..n)
            .map(|i| {
                let meets = |k: &usize| {
                    k.checked_mul(attrs.dilations[i]).is_some_and(|d| d % attrs.strides[i] == remainders[i])
                };
                (0..kernel[i]).filter(meets).collect()
            })
            .collect();
        out.push(Phase { remainders: remainders.clone(), taps });
        for i in (0..n).rev() {
            remainders[i] += 1;
            if remainders[i] < attrs.strides[i] {
                break;
            }
            remainders[i] = 0;
        }
    }
    Some(out)
}

/// The axes of a transposed convolution from shape `dims` to shape `out_dims`, both with two axes before the spatial
/// ones; `None` when the parts do not go together, or sizes overflow.
pub(crate) fn axes(
    dims: &[usize],
    out_dims: &[usize],
    kernel: &[usize],
    attrs: &ConvTransposeAttrs,
) -> Option<Vec<TransposedAxis>> {
    let n = kernel.len();
    let agree = dims.len() == n + 2
        && out_dims.len() == n + 2
        && attrs.strides.len() == n
        && attrs.dilations.len() == n
        && attrs.output_padding.len() == n;
    if !agree || n == 0 {
        return None;
    }
    (0..n)
        .map(|i| {
            let (input, output) = (dims[i + 2], out_dims[i + 2]);
            let (stride, dilation) = (attrs.strides[i], attrs.dilations[i]);
            if kernel[i] == 0 || stride == 0 || dilation == 0 {
                return None;
            }
            let extent = (kernel[i] - 1).checked_mul(dilation)?.checked_add(1)?;
            // All that the windows cover together.
            let all = input.checked_sub(1)?.checked_mul(stride)?.checked_add(extent)?;
            let all = all.checked_add(attrs.output_padding[i])?;
            let begin = match &attrs.padding {
                Padding::Explicit { begin, .. } if attrs.output_shape.is_none() => *begin.get(i)?,
                padding => {
                    let total = all.saturating_sub(output);
                    if *padding == Padding::SameUpper { total / 2 } else { total - total / 2 }
                }
            };
            output.checked_add(begin)?.checked_add(stride)?;
            Some(TransposedAxis { input, output, stride, dilation, begin })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attrs(stride: usize, dilation: usize, begin: usize) -> ConvTransposeAttrs {
        ConvTransposeAttrs {
            strides: vec![stride],
            dilations: vec![dilation],
            padding: Padding::Explicit { begin: vec![begin], end: vec![0] },
            output_padding: vec![0],
            output_shape: None,
            groups: 1,
        }
    }

    /// Every product of the definition, where input `i` and kernel element `k` meet at `i * stride + k * dilation`, is
    /// in exactly one list, and no other is.
    #[test]
    fn phases_hold_every_product_once() {
        for (stride, dilation, begin, kernel, input) in [
            (1, 1, 0, 3, 4),
            (2, 1, 1, 3, 5),
            (3, 2, 2, 4, 3),
            (2, 2, 0, 3, 4),
            (4, 1, 0, 2, 3),
            (2, 3, 1, 5, 6),
        ] {
            let attrs = attrs(stride, dilation, begin);
            let output = (input - 1) * stride + (kernel - 1) * dilation + 1 - begin;
            let axes = axes(&[1, 1, input], &[1, 1, output], &[kernel], &attrs).unwrap();
            let mut found = Vec::new();
            for phase in phases(&[kernel], &attrs).unwrap() {
                let offsets = phase.offsets(&axes, 1, usize::MAX, usize::MAX).unwrap();
                let mut offsets = offsets.iter();
                for o in phase.outputs(0, &axes[0]) {
                    for k in &phase.taps[0] {
                        let i = *offsets.next().unwrap();
                        if i != usize::MAX {
                            found.push((o, *k, i));
                        }
                    }
                }
                assert!(offsets.next().is_none());
            }
            found.sort_unstable();
            let mut expected = Vec::new();
            for i in 0..input {
                for k in 0..kernel {
                    let place = i * stride + k * dilation;
                    if place >= begin && place - begin < output {
                        expected.push((place - begin, k, i));
                    }
                }
            }
            expected.sort_unstable();
            assert_eq!(found, expected, "stride {stride}, dilation {dilation}, begin {begin}");
        }
    }

    #[test]
    fn strides_without_end_are_refused() {
        let mut long = attrs(usize::MAX, 1, 0);
        assert_eq!(phases(&[3], &long), None);
        assert_eq!(axes(&[1, 1, 9], &[1, 1, 9], &[3], &long), None);
        long.strides = vec![0];
        assert_eq!(phases(&[3], &long), None);
    }
}
