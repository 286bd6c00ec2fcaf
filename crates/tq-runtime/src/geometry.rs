//! Windows that move over the spatial axes of a value.

use tq_graph::op::Padding;

pub(crate) use tq_eval::window::Axis;

/// The axis of a window of one element, for values that have fewer axes than a kernel expects.
pub(crate) const UNIT: Axis =
    Axis { input: 1, kernel: 1, stride: 1, dilation: 1, begin: 0, end: 0, output: 1 };

/// The axes of a window over a value of shape `dims` whose result has shape `out_dims`, both with two axes before
/// the spatial ones; `None` when the parts do not go together, or sizes overflow.
pub(crate) fn axes(
    dims: &[usize],
    out_dims: &[usize],
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    padding: &Padding,
) -> Option<Vec<Axis>> {
    let n = kernel.len();
    let agree = dims.len() == n + 2 && out_dims.len() == n + 2 && strides.len() == n && dilations.len() == n;
    if !agree || n == 0 {
        return None;
    }
    (0..n)
        .map(|i| {
            let (input, output) = (dims[i + 2], out_dims[i + 2]);
            let (kernel, stride, dilation) = (kernel[i], strides[i], dilations[i]);
            if kernel == 0 || stride == 0 || dilation == 0 {
                return None;
            }
            let extent = (kernel - 1).checked_mul(dilation)?.checked_add(1)?;
            let reach = output.saturating_sub(1).checked_mul(stride)?.checked_add(extent)?;
            let (begin, end) = match padding {
                Padding::Explicit { begin, end } => (*begin.get(i)?, *end.get(i)?),
                same => {
                    let total = reach.saturating_sub(input);
                    let (small, large) = (total / 2, total - total / 2);
                    if *same == Padding::SameUpper { (small, large) } else { (large, small) }
                }
            };
            input.checked_add(begin)?.checked_add(end)?;
            Some(Axis { input, kernel, stride, dilation, begin, end, output })
        })
        .collect()
}

/// True when some window of the product of `axes` lies wholly on padding.
pub(crate) fn has_empty_window(axes: &[Axis]) -> bool {
    axes.iter().any(|axis| (0..axis.output).any(|o| axis.taps(o).is_empty()))
}

/// For every window (row-major) and every element of it (row-major) the position in a channels-last input of
/// `images` images of `channels` channels, or `pad` for padding. `None` when the list does not fit memory.
pub(crate) fn offsets(axes: &[Axis], images: usize, channels: usize, pad: usize) -> Option<Vec<usize>> {
    let windows = axes.iter().try_fold(1usize, |n, a| n.checked_mul(a.output))?;
    let taps = axes.iter().try_fold(1usize, |n, a| n.checked_mul(a.kernel))?;
    let positions = axes.iter().try_fold(1usize, |n, a| n.checked_mul(a.input))?;
    let len = images.checked_mul(windows)?.checked_mul(taps)?;
    images.checked_mul(positions)?.checked_mul(channels)?;
    let mut list = Vec::new();
    list.try_reserve_exact(len).ok()?;
    let mut window = vec![0usize; axes.len()];
    let mut tap = vec![0usize; axes.len()];
    for image in 0..images {
        for _ in 0..windows {
            for _ in 0..taps {
                let place = axes
                    .iter()
                    .zip(window.iter().zip(&tap))
                    .try_fold(image, |at, (axis, (o, k))| axis.position(*o, *k).map(|p| at * axis.input + p));
                list.push(place.map_or(pad, |p| p * channels));
                advance(&mut tap, axes.iter().map(|a| a.kernel));
            }
            advance(&mut window, axes.iter().map(|a| a.output));
        }
    }
    Some(list)
}

/// The next index of a row-major walk; from the last one back to the first.
fn advance(index: &mut [usize], sizes: impl DoubleEndedIterator<Item = usize> + ExactSizeIterator) {
    for (i, size) in index.iter_mut().zip(sizes).rev() {
        *i += 1;
        if *i < size {
            return;
        }
        *i = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explicit(begin: &[usize], end: &[usize]) -> Padding {
        Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() }
    }

    #[test]
    fn offsets_of_a_padded_row() {
        let axes = axes(&[1, 2, 3], &[1, 4, 3], &[3], &[1], &[1], &explicit(&[1], &[1])).unwrap();
        let p = usize::MAX;
        assert_eq!(offsets(&axes, 1, 2, p).unwrap(), [p, 0, 2, 0, 2, 4, 2, 4, p]);
        assert_eq!(offsets(&axes, 2, 2, p).unwrap()[9..12], [p, 6, 8]);
    }

    #[test]
    fn same_padding_puts_the_odd_element_where_it_belongs() {
        let get = |p: Padding| {
            let a = axes(&[1, 1, 4], &[1, 1, 2], &[3], &[2], &[1], &p).unwrap()[0];
            (a.begin, a.end)
        };
        assert_eq!(get(Padding::SameUpper), (0, 1));
        assert_eq!(get(Padding::SameLower), (1, 0));
    }

    #[test]
    fn windows_on_padding_alone_are_found() {
        let a = axes(&[1, 1, 2], &[1, 1, 4], &[1], &[1], &[1], &explicit(&[1], &[1])).unwrap();
        assert!(has_empty_window(&a));
        let a = axes(&[1, 1, 2], &[1, 1, 3], &[2], &[1], &[1], &explicit(&[1], &[1])).unwrap();
        assert!(!has_empty_window(&a));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert!(axes(&[1, 1, 4], &[1, 1, 4], &[3], &[usize::MAX], &[1], &Padding::SameUpper).is_none());
        assert!(axes(&[1, 1, 4], &[1, 1, 4], &[0], &[1], &[1], &Padding::SameUpper).is_none());
    }
}
