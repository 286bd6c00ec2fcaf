//! One number for each spatial axis.

/// One number for each of `N` spatial axes. A single number stands for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent<const N: usize>(pub [usize; N]);

impl<const N: usize> From<usize> for Extent<N> {
    fn from(n: usize) -> Self {
        Extent([n; N])
    }
}

impl<const N: usize> From<[usize; N]> for Extent<N> {
    fn from(n: [usize; N]) -> Self {
        Extent(n)
    }
}

/// The name of a type over so many axes.
pub(super) const fn name_by_axes(n: usize, names: [&'static str; 3]) -> &'static str {
    match n {
        1 => names[0],
        2 => names[1],
        _ => names[2],
    }
}
