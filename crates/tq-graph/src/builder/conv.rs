//! Convolutions.

use super::extent::name_by_axes;
use super::{Extent, Init, Layer, Scope};
use crate::op::{ConvAttrs, ConvTransposeAttrs, Padding};
use crate::{GraphError, Op, ValueId};

/// A convolution over `N` spatial axes of `[batch, channels, ...]`. Parameters: `weight`
/// `[out_channels, in_channels / groups, kernel...]` and `bias` `[out_channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv<const N: usize> {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; N],
    stride: [usize; N],
    padding: Option<[usize; N]>,
    dilation: [usize; N],
    groups: usize,
    bias: bool,
}

/// A convolution over sequences.
pub type Conv1d = Conv<1>;
/// A convolution over images.
pub type Conv2d = Conv<2>;
/// A convolution over volumes.
pub type Conv3d = Conv<3>;

impl<const N: usize> Conv<N> {
    /// Stride 1, no padding, dilation 1, one group, with bias.
    #[must_use]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Extent<N>>) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel: kernel.into().0,
            stride: [1; N],
            padding: Some([0; N]),
            dilation: [1; N],
            groups: 1,
            bias: true,
        }
    }

    /// Step along each axis.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Extent<N>>) -> Self {
        self.stride = stride.into().0;
        self
    }

    /// Zeros on either side of each axis.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Extent<N>>) -> Self {
        self.padding = Some(padding.into().0);
        self
    }

    /// As many zeros as keep the extent, for stride 1; an odd one stands at the end.
    #[must_use]
    pub fn same_padding(mut self) -> Self {
        self.padding = None;
        self
    }

    /// Distance between kernel elements along each axis.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Extent<N>>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    /// Number of groups of channels that do not see each other.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Whether there is a bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

/// Fails unless settings that a convolution and its transpose share make sense; returns the weight's leading
/// dimensions after the first, and the product of the kernel.
fn check<const N: usize>(
    scope: &Scope<'_>,
    x: ValueId,
    channels: [usize; 2],
    groups: usize,
    windows: [[usize; N]; 3],
) -> Result<(), GraphError> {
    let [input, output] = channels;
    scope.expect_positive(&[("in_channels", input), ("out_channels", output), ("groups", groups)])?;
    for (name, list) in ["kernel", "stride", "dilation"].iter().zip(windows) {
        scope.expect_positive(&list.map(|n| (*name, n)))?;
    }
    for (name, n) in [("in_channels", input), ("out_channels", output)] {
        if n % groups != 0 {
            return scope.fail(format!("{name} {n} does not divide into {groups} groups"));
        }
    }
    let shape = scope.shape_of_rank(x, &[N + 2])?;
    scope.expect_dim("channels", &shape[1], input)
}

/// `a` times all of `kernel`; too large products are found when the parameter is made.
fn fan<const N: usize>(a: usize, kernel: [usize; N]) -> usize {
    kernel.iter().fold(a, |p, k| p.saturating_mul(*k))
}

impl<const N: usize> Layer for Conv<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["Conv1d", "Conv2d", "Conv3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let channels = [self.in_channels, self.out_channels];
        check(scope, x, channels, self.groups, [self.kernel, self.stride, self.dilation])?;
        let (mut begin, mut end) = (Vec::new(), Vec::new());
        for i in 0..N {
            let (b, e) = match self.padding {
                Some(p) => (p[i], p[i]),
                None if self.stride[i] != 1 => {
                    return scope.fail(format!("same padding with stride {}", self.stride[i]));
                }
                None => {
                    let total = self.dilation[i].saturating_mul(self.kernel[i] - 1);
                    (total / 2, total - total / 2)
                }
            };
            begin.push(b);
            end.push(e);
        }
        let per_group = self.in_channels / self.groups;
        let init = Init::fan_in(fan(per_group, self.kernel));
        let dims: Vec<usize> = [self.out_channels, per_group].into_iter().chain(self.kernel).collect();
        let mut inputs = vec![x, scope.parameter("weight", &dims, init.clone())?.value()];
        if self.bias {
            inputs.push(scope.parameter("bias", &[self.out_channels], init)?.value());
        }
        let op = Op::Conv(ConvAttrs {
            strides: self.stride.to_vec(),
            dilations: self.dilation.to_vec(),
            padding: Padding::Explicit { begin, end },
            groups: self.groups,
        });
        scope.node("", op, &inputs)
    }
}

/// A transposed convolution over `N` spatial axes. Parameters: `weight`
/// `[in_channels, out_channels / groups, kernel...]` and `bias` `[out_channels]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvTranspose<const N: usize> {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    output_padding: [usize; N],
    dilation: [usize; N],
    groups: usize,
    bias: bool,
}

/// A transposed convolution over sequences.
pub type ConvTranspose1d = ConvTranspose<1>;
/// A transposed convolution over images.
pub type ConvTranspose2d = ConvTranspose<2>;
/// A transposed convolution over volumes.
pub type ConvTranspose3d = ConvTranspose<3>;

impl<const N: usize> ConvTranspose<N> {
    /// Stride 1, no padding, dilation 1, one group, with bias.
    #[must_use]
    pub fn new(in_channels: usize, out_channels: usize, kernel: impl Into<Extent<N>>) -> Self {
        Self {
            in_channels,
            out_channels,
            kernel: kernel.into().0,
            stride: [1; N],
            padding: [0; N],
            output_padding: [0; N],
            dilation: [1; N],
            groups: 1,
            bias: true,
        }
    }

    /// Distance between the windows in the output.
    #[must_use]
    pub fn stride(mut self, stride: impl Into<Extent<N>>) -> Self {
        self.stride = stride.into().0;
        self
    }

    /// What is cut off either end of each axis of the output.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Extent<N>>) -> Self {
        self.padding = padding.into().0;
        self
    }

    /// What the output is longer by at the end of each axis; smaller than the stride or the dilation.
    #[must_use]
    pub fn output_padding(mut self, output_padding: impl Into<Extent<N>>) -> Self {
        self.output_padding = output_padding.into().0;
        self
    }

    /// Distance between kernel elements along each axis.
    #[must_use]
    pub fn dilation(mut self, dilation: impl Into<Extent<N>>) -> Self {
        self.dilation = dilation.into().0;
        self
    }

    /// Number of groups of channels that do not see each other.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }

    /// Whether there is a bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl<const N: usize> Layer for ConvTranspose<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let channels = [self.in_channels, self.out_channels];
        check(scope, x, channels, self.groups, [self.kernel, self.stride, self.dilation])?;
        for i in 0..N {
            let (extra, limit) = (self.output_padding[i], self.stride[i].max(self.dilation[i]));
            if extra >= limit {
                return scope.fail(format!(
                    "output_padding {extra} is not smaller than stride {} or dilation {}",
                    self.stride[i], self.dilation[i]
                ));
            }
        }
        let per_group = self.out_channels / self.groups;
        let init = Init::fan_in(fan(per_group, self.kernel));
        let dims: Vec<usize> = [self.in_channels, per_group].into_iter().chain(self.kernel).collect();
        let mut inputs = vec![x, scope.parameter("weight", &dims, init.clone())?.value()];
        if self.bias {
            inputs.push(scope.parameter("bias", &[self.out_channels], init)?.value());
        }
        let padding = self.padding.to_vec();
        let op = Op::ConvTranspose(ConvTransposeAttrs {
            strides: self.stride.to_vec(),
            dilations: self.dilation.to_vec(),
            padding: Padding::Explicit { begin: padding.clone(), end: padding },
            output_padding: self.output_padding.to_vec(),
            output_shape: None,
            groups: self.groups,
        });
        scope.node("", op, &inputs)
    }
}
