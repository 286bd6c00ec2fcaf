//! Geometry of sliding windows: convolutions and pools.
//!
//! What reads an input window by window ([`Window::new`]), and what writes an output window by window
//! ([`Window::transposed`]), is told by the same numbers: the gradients of such operators go over them too.

use crate::OpError;
use std::ops::Range;
use tq_graph::op::{ConvTransposeAttrs, Padding};

/// Sizes beyond this make no window: sums and products of a few of them still fit i64.
const MAX_EXTENT: i64 = 1 << 60;

/// One spatial axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    /// Length of the input.
    pub input: usize,
    /// Elements of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Step within a window.
    pub dilation: usize,
    /// Padding before the input.
    pub begin: usize,
    /// Padding after the input.
    pub end: usize,
    /// Number of windows.
    pub output: usize,
}

impl Axis {
    const UNIT: Axis = Axis { input: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, end: 0, output: 1 };

    /// Position in the input of element `k` of window `o`, unless it lies in the padding.
    pub fn position(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.begin).filter(|p| *p < self.input)
    }

    /// Elements of window `o` that lie inside the input.
    pub fn taps(&self, o: usize) -> Range<usize> {
        let start = o * self.stride;
        let lo = self.begin.saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        let hi = (self.begin + self.input).saturating_sub(start).div_ceil(self.dilation).min(self.kernel);
        lo..hi.max(lo)
    }

    /// Windows whose element `k` lies inside the input.
    pub fn windows(&self, k: usize) -> Range<usize> {
        let offset = k * self.dilation;
        let lo = self.begin.saturating_sub(offset).div_ceil(self.stride).min(self.output);
        let hi = (self.begin + self.input).saturating_sub(offset).div_ceil(self.stride).min(self.output);
        lo..hi.max(lo)
    }

    /// Number of elements of window `o` that lie inside the input and its padding.
    pub fn padded_taps(&self, o: usize) -> usize {
        let room = (self.begin + self.input + self.end).saturating_sub(o * self.stride);
        room.div_ceil(self.dilation).min(self.kernel)
    }

    fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        padding: AxisPadding,
        ceil: bool,
    ) -> Result<Self, OpError> {
        let bad = |why: &str| {
            OpError::Shape(format!(
                "{why}: input {input}, kernel {kernel}, stride {stride}, dilation {dilation}, padding {padding:?}"
            ))
        };
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(bad("kernel, stride and dilation must be at least 1"));
        }
        let signed = |v: usize| i64::try_from(v).ok().filter(|v| *v < MAX_EXTENT);
        let too_large = || bad("window too large");
        let extent = signed(kernel - 1)
            .and_then(|k| k.checked_mul(signed(dilation)?))
            .filter(|e| *e < MAX_EXTENT)
            .ok_or_else(too_large)?
            + 1;
        let (length, step) = (signed(input).ok_or_else(too_large)?, signed(stride).ok_or_else(too_large)?);
        let (begin, end, output) = match padding {
            AxisPadding::Explicit(begin, end) => {
                let b = signed(begin).ok_or_else(too_large)?;
                let e = signed(end).ok_or_else(too_large)?;
                let room = length + b + e - extent;
                let mut output = if ceil { -((-room).div_euclid(step)) } else { room.div_euclid(step) } + 1;
                // A last window that would start in the padding after the input is left out.
                if ceil && output > 1 && (output - 1).checked_mul(step).is_none_or(|s| s >= length + b) {
                    output -= 1;
                }
                if output < 1 {
                    return Err(bad("the window does not fit the padded input"));
                }
                (begin, end, output as usize)
            }
            AxisPadding::Same { upper } => {
                let output = input.div_ceil(stride);
                let needed = match output {
                    0 => 0,
                    n => (n as i64 - 1)
                        .checked_mul(step)
                        .and_then(|v| v.checked_add(extent))
                        .ok_or_else(too_large)?,
                };
                let total = (needed - length).max(0) as usize;
                let small = total / 2;
                if upper { (small, total - small, output) } else { (total - small, small, output) }
            }
        };
        Ok(Self { input, kernel, stride, dilation, begin, end, output })
    }
}

impl Axis {
    fn transposed(
        input: usize,
        kernel: usize,
        (stride, dilation): (usize, usize),
        padding: AxisPadding,
        more: usize,
        wanted: Option<usize>,
    ) -> Result<Self, OpError> {
        let bad = |why: &str| {
            OpError::Shape(format!(
                "{why}: input {input}, kernel {kernel}, stride {stride}, dilation {dilation}, padding {padding:?}, \
                 output padding {more}"
            ))
        };
        if kernel == 0 || stride == 0 || dilation == 0 {
            return Err(bad("kernel, stride and dilation must be at least 1"));
        }
        let signed = |v: usize| i64::try_from(v).ok().filter(|v| *v < MAX_EXTENT);
        let product = |a: i64, b: usize| a.checked_mul(signed(b)?).filter(|p| p.abs() < MAX_EXTENT);
        let sizes = || {
            let extent = product(signed(kernel)? - 1, dilation)? + 1;
            // All that the windows cover.
            let all = product(signed(input)? - 1, stride)? + extent + signed(more)?;
            Some((all, product(signed(input)?, stride)?))
        };
        let (all, same) = sizes().ok_or_else(|| bad("window too large"))?;
        let fixed = match padding {
            AxisPadding::Explicit(begin, end) if wanted.is_none() => Some((begin, end)),
            _ => None,
        };
        let (begin, end, output) = match fixed {
            Some((begin, end)) => {
                let (b, e) = signed(begin).zip(signed(end)).ok_or_else(|| bad("padding too large"))?;
                (begin, end, all - b - e)
            }
            None => {
                let output = match wanted {
                    Some(n) => signed(n).ok_or_else(|| bad("output too large"))?,
                    None => same,
                };
                let total = (all - output).max(0) as usize;
                let small = total / 2;
                let upper = matches!(padding, AxisPadding::Same { upper: true });
                let (begin, end) = if upper { (small, total - small) } else { (total - small, small) };
                (begin, end, output)
            }
        };
        match usize::try_from(output) {
            Ok(output) => Ok(Self { input: output, kernel, stride, dilation, begin, end, output: input }),
            Err(_) => Err(bad("nothing is left of the output")),
        }
    }
}

/// For every window over the product of `axes` (row-major) by how much its sum is divided to be an average: its elements on the
/// input, or on the input and its padding.
#[must_use]
pub fn sizes(axes: &[Axis], count_padding: bool) -> Vec<usize> {
    let mut sizes = vec![1usize];
    for axis in axes {
        let along = |o: usize| if count_padding { axis.padded_taps(o) } else { axis.taps(o).len() };
        sizes =
            sizes.iter().flat_map(|n| (0..axis.output).map(move |o| n.saturating_mul(along(o)))).collect();
    }
    sizes
}

/// Padding of one axis.
#[derive(Debug, Clone, Copy)]
enum AxisPadding {
    Explicit(usize, usize),
    Same { upper: bool },
}

/// A window over up to three spatial axes; absent leading ones have length 1.
#[derive(Debug, Clone)]
pub struct Window {
    /// Depth, height, width.
    pub axes: [Axis; 3],
    rank: usize,
}

impl Window {
    /// The window of extent `kernel` over spatial dimensions `input`.
    ///
    /// Empty `strides`, `dilations` and pads stand for their defaults.
    ///
    /// # Errors
    /// [`OpError::Shape`] when there are not 1 to 3 axes, when lists have other lengths, and when a window
    /// does not fit.
    pub fn new(
        input: &[usize],
        kernel: &[usize],
        strides: &[usize],
        dilations: &[usize],
        padding: &Padding,
        ceil: bool,
    ) -> Result<Self, OpError> {
        let rank = input.len();
        if !(1..=3).contains(&rank) {
            return Err(OpError::Shape(format!("{rank} spatial axes, expected 1 to 3")));
        }
        let check = |what: &str, len: usize, may_be_empty: bool| {
            if len == rank || (may_be_empty && len == 0) {
                return Ok(());
            }
            Err(OpError::Shape(format!("{len} {what} for {rank} spatial axes")))
        };
        check("kernel sizes", kernel.len(), false)?;
        check("strides", strides.len(), true)?;
        check("dilations", dilations.len(), true)?;
        if let Padding::Explicit { begin, end } = padding {
            check("pads at the beginning", begin.len(), true)?;
            check("pads at the end", end.len(), true)?;
        }
        let mut axes = [Axis::UNIT; 3];
        for i in 0..rank {
            let or = |list: &[usize], default: usize| list.get(i).copied().unwrap_or(default);
            let pad = match padding {
                Padding::Explicit { begin, end } => AxisPadding::Explicit(or(begin, 0), or(end, 0)),
                Padding::SameUpper => AxisPadding::Same { upper: true },
                Padding::SameLower => AxisPadding::Same { upper: false },
            };
            axes[3 - rank + i] = Axis::new(input[i], kernel[i], or(strides, 1), or(dilations, 1), pad, ceil)?;
        }
        Ok(Self { axes, rank })
    }

    /// The window with which a convolution would make `input` out of the output of this transposed one: where that
    /// convolution reads, this one writes. Its input is our output.
    ///
    /// # Errors
    /// [`OpError::Shape`] as [`Window::new`], and for outputs that would be cut off altogether.
    pub fn transposed(
        input: &[usize],
        kernel: &[usize],
        attrs: &ConvTransposeAttrs,
    ) -> Result<Self, OpError> {
        let rank = input.len();
        let ConvTransposeAttrs { strides, dilations, padding, output_padding, output_shape, .. } = attrs;
        let mut lists = vec![kernel, strides, dilations, output_padding];
        lists.extend(output_shape.as_deref());
        if let Padding::Explicit { begin, end } = padding {
            lists.extend([begin.as_slice(), end]);
        }
        if !(1..=3).contains(&rank) || lists.iter().any(|l| l.len() != rank) {
            return Err(OpError::Shape(format!("attributes {attrs:?} for {rank} spatial axes")));
        }
        let mut axes = [Axis::UNIT; 3];
        for (i, axis) in axes[3 - rank..].iter_mut().enumerate() {
            let pad = match padding {
                Padding::Explicit { begin, end } => AxisPadding::Explicit(begin[i], end[i]),
                Padding::SameUpper => AxisPadding::Same { upper: true },
                Padding::SameLower => AxisPadding::Same { upper: false },
            };
            let wanted = output_shape.as_ref().map(|s| s[i]);
            let steps = (strides[i], dilations[i]);
            *axis = Axis::transposed(input[i], kernel[i], steps, pad, output_padding[i], wanted)?;
        }
        Ok(Self { axes, rank })
    }

    /// Spatial dimensions of the input.
    pub fn input_dims(&self) -> Vec<usize> {
        self.axes[3 - self.rank..].iter().map(|a| a.input).collect()
    }

    /// Spatial dimensions of the output.
    pub fn output_dims(&self) -> Vec<usize> {
        self.axes[3 - self.rank..].iter().map(|a| a.output).collect()
    }

    /// Elements of an input plane.
    pub fn input_len(&self) -> usize {
        self.axes.iter().map(|a| a.input).product()
    }

    /// Elements of an output plane.
    pub fn output_len(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// Elements of the window.
    pub fn kernel_len(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// True when every window is exactly the input element of the same index.
    pub fn is_pointwise(&self) -> bool {
        self.axes.iter().all(|a| a.kernel == 1 && a.stride == 1 && a.begin == 0 && a.end == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn explicit(b: usize, e: usize) -> Padding {
        Padding::Explicit { begin: vec![b], end: vec![e] }
    }

    #[test]
    fn output_sizes() {
        let out = |i, k, s, d, p: &Padding, ceil| {
            Window::new(&[i], &[k], &[s], &[d], p, ceil).map(|w| w.output_dims()[0])
        };
        assert_eq!(out(7, 3, 2, 1, &explicit(1, 1), false), Ok(4));
        assert_eq!(out(4, 3, 2, 1, &explicit(0, 0), true), Ok(2));
        // The second window would start in the padding.
        assert_eq!(out(2, 1, 2, 1, &explicit(0, 1), true), Ok(1));
        assert_eq!(out(2, 3, 2, 1, &explicit(0, 0), true), Ok(1));
        assert_eq!(out(5, 3, 2, 1, &Padding::SameUpper, false), Ok(3));
        assert!(out(2, 3, 1, 1, &explicit(0, 0), false).is_err());
        assert!(out(2, 1, 0, 1, &explicit(0, 0), false).is_err());
        assert!(out(2, usize::MAX, 1, usize::MAX, &explicit(0, 0), false).is_err());
        assert_eq!(out(0, 3, 2, 1, &Padding::SameUpper, false), Ok(0));
        assert_eq!(out(0, 3, 1, 1, &explicit(2, 2), false), Ok(2));
    }

    proptest! {
        #[test]
        fn taps_and_windows_are_the_positions_inside(
            i in 0usize..9, k in 1usize..5, s in 1usize..4, d in 1usize..4, b in 0usize..5, e in 0usize..5, ceil: bool
        ) {
            let Ok(window) = Window::new(&[i], &[k], &[s], &[d], &explicit(b, e), ceil) else { return Ok(()) };
            let axis = window.axes[2];
            for o in 0..axis.output {
                for t in 0..k {
                    let inside = axis.position(o, t).is_some();
                    prop_assert_eq!(axis.taps(o).contains(&t), inside);
                    prop_assert_eq!(axis.windows(t).contains(&o), inside);
                }
                let padded = (0..k).filter(|t| o * s + t * d < b + i + e).count();
                prop_assert_eq!(axis.padded_taps(o), padded);
            }
        }
    }
}
