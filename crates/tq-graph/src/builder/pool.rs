//! Pools.

use super::extent::name_by_axes;
use super::{Extent, Layer, Scope};
use crate::op::{Padding, PoolAttrs};
use crate::{GraphError, Op, Tensor, ValueId};

/// A window that slides over `N` spatial axes.
#[derive(Debug, Clone, PartialEq)]
struct Window<const N: usize> {
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    dilation: [usize; N],
    ceil_mode: bool,
}

impl<const N: usize> Window<N> {
    fn new(kernel: [usize; N]) -> Self {
        Self { kernel, stride: kernel, padding: [0; N], dilation: [1; N], ceil_mode: false }
    }

    fn attrs(&self, scope: &Scope<'_>, x: ValueId) -> Result<PoolAttrs, GraphError> {
        scope.shape_of_rank(x, &[N + 2])?;
        for i in 0..N {
            let (kernel, padding) = (self.kernel[i], self.padding[i]);
            let positive = [("kernel", kernel), ("stride", self.stride[i]), ("dilation", self.dilation[i])];
            scope.expect_positive(&positive)?;
            if padding > kernel / 2 {
                return scope.fail(format!("padding {padding} is more than half of kernel {kernel}"));
            }
        }
        let padding = self.padding.to_vec();
        Ok(PoolAttrs {
            kernel: self.kernel.to_vec(),
            strides: self.stride.to_vec(),
            dilations: self.dilation.to_vec(),
            padding: Padding::Explicit { begin: padding.clone(), end: padding },
            ceil_mode: self.ceil_mode,
        })
    }
}

macro_rules! window_settings {
    () => {
        /// Step along each axis; by default the window's extent.
        #[must_use]
        pub fn stride(mut self, stride: impl Into<Extent<N>>) -> Self {
            self.window.stride = stride.into().0;
            self
        }

        /// Padding on either side of each axis, at most half of the window.
        #[must_use]
        pub fn padding(mut self, padding: impl Into<Extent<N>>) -> Self {
            self.window.padding = padding.into().0;
            self
        }

        /// Whether a window that hangs over the end gives an output too.
        #[must_use]
        pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
            self.window.ceil_mode = ceil_mode;
            self
        }
    };
}

/// The largest element of a window over `N` spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool<const N: usize> {
    window: Window<N>,
}

/// The largest element of a window over sequences.
pub type MaxPool1d = MaxPool<1>;
/// The largest element of a window over images.
pub type MaxPool2d = MaxPool<2>;
/// The largest element of a window over volumes.
pub type MaxPool3d = MaxPool<3>;

impl<const N: usize> MaxPool<N> {
    /// Windows of this extent, side by side.
    #[must_use]
    pub fn new(kernel: impl Into<Extent<N>>) -> Self {
        Self { window: Window::new(kernel.into().0) }
    }

    window_settings!();

    /// Distance between the elements of a window.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Extent<N>>) -> Self {
        self.window.dilation = dilation.into().0;
        self
    }
}

impl<const N: usize> Layer for MaxPool<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["MaxPool1d", "MaxPool2d", "MaxPool3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let attrs = self.window.attrs(scope, x)?;
        scope.node("", Op::MaxPool { attrs, column_major: false }, &[x])
    }
}

/// The mean of a window over `N` spatial axes.
#[derive(Debug, Clone, PartialEq)]
pub struct AvgPool<const N: usize> {
    window: Window<N>,
    count_include_pad: bool,
}

/// The mean of a window over sequences.
pub type AvgPool1d = AvgPool<1>;
/// The mean of a window over images.
pub type AvgPool2d = AvgPool<2>;
/// The mean of a window over volumes.
pub type AvgPool3d = AvgPool<3>;

impl<const N: usize> AvgPool<N> {
    /// Windows of this extent, side by side; as in PyTorch, padding counts in the divisor.
    #[must_use]
    pub fn new(kernel: impl Into<Extent<N>>) -> Self {
        Self { window: Window::new(kernel.into().0), count_include_pad: true }
    }

    window_settings!();

    /// Whether padding counts in the divisor.
    #[must_use]
    pub fn count_include_pad(mut self, include: bool) -> Self {
        self.count_include_pad = include;
        self
    }
}

impl<const N: usize> Layer for AvgPool<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["AvgPool1d", "AvgPool2d", "AvgPool3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let attrs = self.window.attrs(scope, x)?;
        scope.node("", Op::AveragePool { attrs, count_include_pad: self.count_include_pad }, &[x])
    }
}

/// The mean over all spatial axes, which stay as 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GlobalAvgPool;

impl Layer for GlobalAvgPool {
    fn type_name(&self) -> &'static str {
        "GlobalAvgPool"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.node("", Op::GlobalAveragePool, &[x])
    }
}

/// How an input of known spatial lengths is divided into a given number of windows.
enum Division {
    Global,
    /// Windows of equal extent, side by side.
    Even(PoolAttrs),
    /// Windows that overlap; the lengths are known.
    Uneven(Vec<usize>),
}

fn divide<const N: usize>(scope: &Scope<'_>, x: ValueId, output: [usize; N]) -> Result<Division, GraphError> {
    let shape = scope.shape_of_rank(x, &[N + 2])?;
    scope.expect_positive(&output.map(|n| ("output_size", n)))?;
    if output.iter().all(|n| *n == 1) {
        return Ok(Division::Global);
    }
    let mut lens = Vec::with_capacity(N);
    for dim in &shape[2..] {
        match dim.known_usize() {
            Some(0) => return scope.fail("the input has a spatial axis without elements"),
            Some(n) => lens.push(n),
            None => {
                return scope.fail(format!(
                    "the spatial axis of length {dim} is not known, and output_size is not 1"
                ));
            }
        }
    }
    if lens.iter().zip(output).any(|(l, o)| l % o != 0) {
        return Ok(Division::Uneven(lens));
    }
    let kernel: Vec<usize> = lens.iter().zip(output).map(|(l, o)| l / o).collect();
    Ok(Division::Even(PoolAttrs {
        strides: kernel.clone(),
        kernel,
        dilations: vec![1; N],
        padding: Padding::Explicit { begin: vec![0; N], end: vec![0; N] },
        ceil_mode: false,
    }))
}

/// Means over as many windows along each of `N` spatial axes as the output has elements: window `i` of `O` over a
/// length `L` goes from `floor(i * L / O)` to `ceil((i + 1) * L / O)`.
///
/// Where the windows are equal this is an average pool. Where they are not, each axis is a product with a constant
/// matrix of means, whose columns a per-channel format represents exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveAvgPool<const N: usize> {
    output: [usize; N],
}

/// [`AdaptiveAvgPool`] over sequences.
pub type AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
/// [`AdaptiveAvgPool`] over images.
pub type AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
/// [`AdaptiveAvgPool`] over volumes.
pub type AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

impl<const N: usize> AdaptiveAvgPool<N> {
    /// To these lengths.
    #[must_use]
    pub fn new(output_size: impl Into<Extent<N>>) -> Self {
        Self { output: output_size.into().0 }
    }
}

/// The matrix `[len, output]` whose columns take the means of the windows.
fn means(scope: &Scope<'_>, len: usize, output: usize) -> Result<Tensor, GraphError> {
    let Ok(size) = crate::tensor::checked_numel(&[len, output], tq_qtypes::DType::F32) else {
        return scope.fail(format!("output_size {output} for {len} elements is too large"));
    };
    let mut data = vec![0f32; size];
    for i in 0..output {
        let (start, end) = (i * len / output, ((i + 1) * len).div_ceil(output));
        for row in start..end {
            data[row * output + i] = 1.0 / (end - start) as f32;
        }
    }
    Tensor::new(&[len, output], data)
}

impl<const N: usize> Layer for AdaptiveAvgPool<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let lens = match divide(scope, x, self.output)? {
            Division::Global => return scope.node("", Op::GlobalAveragePool, &[x]),
            Division::Even(attrs) => {
                return scope.node("", Op::AveragePool { attrs, count_include_pad: false }, &[x]);
            }
            Division::Uneven(lens) => lens,
        };
        let mut x = x;
        for (i, (len, output)) in lens.into_iter().zip(self.output).enumerate() {
            if len == output {
                continue;
            }
            let matrix = means(scope, len, output)?;
            let matrix = scope.constant(&format!("means{i}"), matrix);
            // A product is over the last axis, so the axis goes there and back.
            let mut perm: Vec<usize> = (0..N + 2).collect();
            perm.swap(i + 2, N + 1);
            let swap = |perm: &Vec<usize>| Op::Transpose { perm: Some(perm.clone()) };
            let last = i + 1 == N;
            if !last {
                x = scope.node(&format!("there{i}"), swap(&perm), &[x])?;
            }
            x = scope.node(&format!("axis{i}"), Op::MatMul, &[x, matrix])?;
            if !last {
                x = scope.node(&format!("back{i}"), swap(&perm), &[x])?;
            }
        }
        Ok(x)
    }
}

/// The largest elements of as many windows along each of `N` spatial axes as the output has elements. The lengths of
/// the input must be multiples of those of the output.
#[derive(Debug, Clone, PartialEq)]
pub struct AdaptiveMaxPool<const N: usize> {
    output: [usize; N],
}

/// [`AdaptiveMaxPool`] over sequences.
pub type AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
/// [`AdaptiveMaxPool`] over images.
pub type AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
/// [`AdaptiveMaxPool`] over volumes.
pub type AdaptiveMaxPool3d = AdaptiveMaxPool<3>;

impl<const N: usize> AdaptiveMaxPool<N> {
    /// To these lengths.
    #[must_use]
    pub fn new(output_size: impl Into<Extent<N>>) -> Self {
        Self { output: output_size.into().0 }
    }
}

impl<const N: usize> Layer for AdaptiveMaxPool<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        match divide(scope, x, self.output)? {
            Division::Global => scope.node("", Op::GlobalMaxPool, &[x]),
            Division::Even(attrs) => scope.node("", Op::MaxPool { attrs, column_major: false }, &[x]),
            Division::Uneven(lens) => {
                scope.fail(format!("lengths {lens:?} are not multiples of output_size {:?}", self.output))
            }
        }
    }
}
