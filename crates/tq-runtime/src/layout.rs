//! The order in which the codes of a value lie in memory.

/// Order of the axes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// Row-major in the graph's own order of axes (`N, C, H, W`).
    First,
    /// Axis 1 goes last (`N, H, W, C`); only for ranks of 3 and more.
    Last,
}

impl Layout {
    /// For each axis in memory the axis of the graph.
    pub(crate) fn axes(self, rank: usize) -> Vec<usize> {
        match self {
            Layout::Last if rank >= 3 => {
                std::iter::once(0).chain(2..rank).chain(std::iter::once(1)).collect()
            }
            _ => (0..rank).collect(),
        }
    }

    /// The extents of the axes as they lie in memory.
    pub(crate) fn dims(self, dims: &[usize]) -> Vec<usize> {
        self.axes(dims.len()).into_iter().map(|a| dims[a]).collect()
    }

    /// The axis in memory of axis `axis` of the graph.
    pub(crate) fn position(self, rank: usize, axis: usize) -> usize {
        self.axes(rank).into_iter().position(|a| a == axis).unwrap_or(axis)
    }
}

/// True when both layouts of a value put its elements in the same order.
pub(crate) fn same_order(dims: &[usize]) -> bool {
    dims.len() < 3 || dims.contains(&0) || dims[1] == 1 || dims[2..].iter().all(|d| *d == 1)
}

/// Channels and positions (the product of all axes after the second) of a value of rank 3 or more.
pub(crate) fn channels_positions(dims: &[usize]) -> (usize, usize) {
    (dims.get(1).copied().unwrap_or(1), dims.iter().skip(2).product())
}

/// `data`, row-major of shape `dims`, with axis `axes[i]` moved to place `i`.
pub(crate) fn permute<T: Copy>(data: &[T], dims: &[usize], axes: &[usize]) -> Vec<T> {
    let mut strides = vec![1usize; dims.len()];
    for i in (0..dims.len().saturating_sub(1)).rev() {
        strides[i] = strides[i + 1] * dims[i + 1];
    }
    let out_dims: Vec<usize> = axes.iter().map(|a| dims[*a]).collect();
    let out_strides: Vec<usize> = axes.iter().map(|a| strides[*a]).collect();
    let mut out = Vec::with_capacity(data.len());
    let mut at = vec![0usize; axes.len()];
    let mut offset = 0;
    for _ in 0..data.len() {
        out.push(data[offset]);
        for i in (0..axes.len()).rev() {
            at[i] += 1;
            offset += out_strides[i];
            if at[i] < out_dims[i] {
                break;
            }
            offset -= out_strides[i] * out_dims[i];
            at[i] = 0;
        }
    }
    out
}

/// `data` in the graph's order, brought into `layout`.
pub(crate) fn to_layout<T: Copy>(data: &[T], dims: &[usize], layout: Layout) -> Vec<T> {
    permute(data, dims, &layout.axes(dims.len()))
}

/// `data` as it lies in `layout`, brought into the graph's order.
pub(crate) fn from_layout<T: Copy>(data: &[T], dims: &[usize], layout: Layout) -> Vec<T> {
    let axes = layout.axes(dims.len());
    let mut back = vec![0; axes.len()];
    for (i, a) in axes.iter().enumerate() {
        back[*a] = i;
    }
    permute(data, &layout.dims(dims), &back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_go_last_and_come_back() {
        let dims = [2, 3, 2, 2];
        let data: Vec<usize> = (0..24).collect();
        let last = to_layout(&data, &dims, Layout::Last);
        // Image 1, row 0, column 1, channel 2.
        assert_eq!(last[(2 * 2 + 1) * 3 + 2], data[((3 + 2) * 2) * 2 + 1]);
        assert_eq!(from_layout(&last, &dims, Layout::Last), data);
        assert_eq!(to_layout(&data, &dims, Layout::First), data);
    }

    #[test]
    fn layouts_coincide_where_one_side_is_a_single_element() {
        assert!(same_order(&[4, 7]));
        assert!(same_order(&[4, 7, 1, 1]));
        assert!(same_order(&[4, 1, 3, 3]));
        assert!(!same_order(&[1, 2, 3, 1]));
        assert!(same_order(&[1, 2, 0, 9]));
    }
}
