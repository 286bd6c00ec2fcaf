//! Normalizations.

use super::extent::name_by_axes;
use super::{Init, Layer, Scope};
use crate::{GraphError, Op, Tensor, ValueId};
use tq_qtypes::DType;

/// A factor or a shift of a normalization: a parameter, or a constant where the layer learns none.
fn vector(
    scope: &mut Scope<'_>,
    learned: bool,
    name: &str,
    dims: &[usize],
    start: f32,
) -> Result<ValueId, GraphError> {
    if learned {
        return Ok(scope.parameter(name, dims, Init::Constant(start))?.value());
    }
    let Ok(len) = crate::tensor::checked_numel(dims, DType::F32) else {
        return scope.fail(format!("{dims:?} is too large"));
    };
    let constant = Tensor::new(dims, vec![start; len])?;
    Ok(scope.constant(name, constant))
}

fn check_eps(scope: &Scope<'_>, eps: f32) -> Result<(), GraphError> {
    if eps >= 0.0 && eps.is_finite() { Ok(()) } else { scope.fail(format!("eps is {eps}")) }
}

/// Batch normalization by running statistics, over rows or `N` spatial axes. Parameters: `weight`, `bias`,
/// `running_mean` and `running_var`, of one element a channel. Fusion folds it into a convolution before it.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm<const N: usize> {
    features: usize,
    eps: f32,
    affine: bool,
}

/// Batch normalization of `[batch, channels]` or `[batch, channels, length]`.
pub type BatchNorm1d = BatchNorm<1>;
/// Batch normalization of images.
pub type BatchNorm2d = BatchNorm<2>;
/// Batch normalization of volumes.
pub type BatchNorm3d = BatchNorm<3>;

impl<const N: usize> BatchNorm<N> {
    /// With `eps` 1e-5, learned scale and shift.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        Self { features: num_features, eps: 1e-5, affine: true }
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Whether there are a learned scale and shift.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }
}

impl<const N: usize> Layer for BatchNorm<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.expect_positive(&[("num_features", self.features)])?;
        check_eps(scope, self.eps)?;
        let shape = scope.shape_of_rank(x, if N == 1 { &[2, 3] } else { &[N + 2][..] })?;
        scope.expect_dim("channels", &shape[1], self.features)?;
        let dims = [self.features];
        let scale = vector(scope, self.affine, "weight", &dims, 1.0)?;
        let shift = vector(scope, self.affine, "bias", &dims, 0.0)?;
        let mean = scope.parameter("running_mean", &dims, Init::Constant(0.0))?.value();
        let var = scope.parameter("running_var", &dims, Init::Constant(1.0))?.value();
        // A counter for training, which PyTorch saves.
        scope.ignore("num_batches_tracked");
        scope.node("", Op::BatchNormalization { epsilon: self.eps }, &[x, scale, shift, mean, var])
    }
}

/// Normalization over the last axes. Parameters: `weight` and `bias` of the shape of these axes.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    shape: Vec<usize>,
    eps: f32,
    affine: bool,
    bias: bool,
}

impl LayerNorm {
    /// Over axes of these lengths; `eps` 1e-5, learned scale and shift.
    #[must_use]
    pub fn new(normalized_shape: impl Into<Vec<usize>>) -> Self {
        Self { shape: normalized_shape.into(), eps: 1e-5, affine: true, bias: true }
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Whether there are a learned scale and shift.
    #[must_use]
    pub fn elementwise_affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }

    /// Whether there is a learned shift beside the scale.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }
}

impl Layer for LayerNorm {
    fn type_name(&self) -> &'static str {
        "LayerNorm"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        check_eps(scope, self.eps)?;
        let shape = scope.shape(x)?;
        let n = self.shape.len();
        if n == 0 || n > shape.len() {
            return scope.fail(format!("{n} normalized axes of {}", shape.len()));
        }
        for (dim, len) in shape[shape.len() - n..].iter().zip(&self.shape) {
            scope.expect_positive(&[("normalized_shape", *len)])?;
            scope.expect_dim("elements along a normalized axis", dim, *len)?;
        }
        let mut inputs = vec![x, vector(scope, self.affine, "weight", &self.shape, 1.0)?];
        if self.affine && self.bias {
            inputs.push(vector(scope, true, "bias", &self.shape, 0.0)?);
        }
        let op = Op::LayerNormalization { axis: -(n as i64), epsilon: self.eps, stash: DType::F32 };
        scope.node("", op, &inputs)
    }
}

/// Normalization of each channel of each sample over `N` spatial axes. Parameters, only where it is affine: `weight`
/// and `bias` of one element a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNorm<const N: usize> {
    features: usize,
    eps: f32,
    affine: bool,
}

/// Instance normalization of sequences.
pub type InstanceNorm1d = InstanceNorm<1>;
/// Instance normalization of images.
pub type InstanceNorm2d = InstanceNorm<2>;
/// Instance normalization of volumes.
pub type InstanceNorm3d = InstanceNorm<3>;

impl<const N: usize> InstanceNorm<N> {
    /// With `eps` 1e-5; as in PyTorch, without learned scale and shift.
    #[must_use]
    pub fn new(num_features: usize) -> Self {
        Self { features: num_features, eps: 1e-5, affine: false }
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Whether there are a learned scale and shift.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }
}

impl<const N: usize> Layer for InstanceNorm<N> {
    fn type_name(&self) -> &'static str {
        name_by_axes(N, ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"])
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.expect_positive(&[("num_features", self.features)])?;
        check_eps(scope, self.eps)?;
        let shape = scope.shape_of_rank(x, &[N + 2])?;
        scope.expect_dim("channels", &shape[1], self.features)?;
        let scale = vector(scope, self.affine, "weight", &[self.features], 1.0)?;
        let shift = vector(scope, self.affine, "bias", &[self.features], 0.0)?;
        scope.node("", Op::InstanceNormalization { epsilon: self.eps }, &[x, scale, shift])
    }
}

/// Normalization over groups of channels. Parameters: `weight` and `bias` of one element a channel.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    groups: usize,
    channels: usize,
    eps: f32,
    affine: bool,
}

impl GroupNorm {
    /// With `eps` 1e-5, learned scale and shift.
    #[must_use]
    pub fn new(num_groups: usize, num_channels: usize) -> Self {
        Self { groups: num_groups, channels: num_channels, eps: 1e-5, affine: true }
    }

    /// What is added to the variance.
    #[must_use]
    pub fn eps(mut self, eps: f32) -> Self {
        self.eps = eps;
        self
    }

    /// Whether there are a learned scale and shift.
    #[must_use]
    pub fn affine(mut self, affine: bool) -> Self {
        self.affine = affine;
        self
    }
}

impl Layer for GroupNorm {
    fn type_name(&self) -> &'static str {
        "GroupNorm"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.expect_positive(&[("num_groups", self.groups), ("num_channels", self.channels)])?;
        check_eps(scope, self.eps)?;
        if !self.channels.is_multiple_of(self.groups) {
            return scope
                .fail(format!("{} channels do not divide into {} groups", self.channels, self.groups));
        }
        let shape = scope.shape(x)?;
        if shape.len() < 2 {
            return scope.fail(format!("the input has {} axes, expected at least 2", shape.len()));
        }
        scope.expect_dim("channels", &shape[1], self.channels)?;
        let scale = vector(scope, self.affine, "weight", &[self.channels], 1.0)?;
        let shift = vector(scope, self.affine, "bias", &[self.channels], 0.0)?;
        scope.node("", Op::GroupNormalization { epsilon: self.eps, groups: self.groups }, &[x, scale, shift])
    }
}
