//! Activations.

use super::{Init, Layer, Scope};
use crate::op::{BinaryOp, UnaryOp};
use crate::{GraphError, Op, Tensor, ValueId};

/// Layers that are one operator of one input, with settings that may be refused.
macro_rules! unary {
    ($($(#[doc = $doc:literal])+ $name:ident = $op:expr;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name;

        impl Layer for $name {
            fn type_name(&self) -> &'static str {
                stringify!($name)
            }

            fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
                scope.node("", Op::Unary($op), &[x])
            }
        }
    )*};
}

unary! {
    /// `max(x, 0)`.
    ReLU = UnaryOp::Relu;
    /// `1 / (1 + exp(-x))`.
    Sigmoid = UnaryOp::Sigmoid;
    /// Hyperbolic tangent.
    Tanh = UnaryOp::Tanh;
    /// `x * relu6(x + 3) / 6`.
    Hardswish = UnaryOp::HardSwish;
    /// `relu6(x + 3) / 6`.
    Hardsigmoid = UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 };
    /// Scaled exponential linear unit (Klambauer et al., 2017, with their two constants).
    SELU = UnaryOp::Selu { alpha: 1.673_263_2, gamma: 1.050_701 };
    /// `x * tanh(ln(1 + exp(x)))`.
    Mish = UnaryOp::Mish;
    /// `x / (1 + |x|)`.
    Softsign = UnaryOp::Softsign;
}

/// Layers with one float setting.
macro_rules! with_setting {
    ($($(#[doc = $doc:literal])+ $name:ident($setting:ident, $default:literal) = $op:expr;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub struct $name {
            $setting: f32,
        }

        impl $name {
            #[doc = concat!("With this `", stringify!($setting), "`; PyTorch's default is ", stringify!($default), ".")]
            #[must_use]
            pub fn new($setting: f32) -> Self {
                Self { $setting }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new($default)
            }
        }

        impl Layer for $name {
            fn type_name(&self) -> &'static str {
                stringify!($name)
            }

            fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
                let make: fn(f32) -> UnaryOp = $op;
                if !self.$setting.is_finite() {
                    return scope.fail(format!(concat!(stringify!($setting), " is {}"), self.$setting));
                }
                scope.node("", Op::Unary(make(self.$setting)), &[x])
            }
        }
    )*};
}

with_setting! {
    /// `x` where not negative, else `negative_slope * x`.
    LeakyReLU(negative_slope, 0.01) = |alpha| UnaryOp::LeakyRelu { alpha };
    /// `x` where positive, else `alpha * (exp(x) - 1)`.
    ELU(alpha, 1.0) = |alpha| UnaryOp::Elu { alpha };
}

/// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CELU {
    alpha: f32,
}

impl CELU {
    /// With this `alpha`, which is not 0; PyTorch's default is 1.
    #[must_use]
    pub fn new(alpha: f32) -> Self {
        Self { alpha }
    }
}

impl Default for CELU {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Layer for CELU {
    fn type_name(&self) -> &'static str {
        "CELU"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        if self.alpha == 0.0 || !self.alpha.is_finite() {
            return scope.fail(format!("alpha is {}", self.alpha));
        }
        scope.node("", Op::Unary(UnaryOp::Celu { alpha: self.alpha }), &[x])
    }
}

/// `min(max(x, min), max)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hardtanh {
    min: f32,
    max: f32,
}

impl Hardtanh {
    /// With these bounds.
    #[must_use]
    pub fn new(min: f32, max: f32) -> Self {
        Self { min, max }
    }
}

impl Default for Hardtanh {
    fn default() -> Self {
        Self::new(-1.0, 1.0)
    }
}

impl Layer for Hardtanh {
    fn type_name(&self) -> &'static str {
        "Hardtanh"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        // A comparison that NaN fails too.
        if self.min.partial_cmp(&self.max) != Some(std::cmp::Ordering::Less) {
            return scope.fail(format!("min {} is not below max {}", self.min, self.max));
        }
        let min = scope.constant("min", Tensor::scalar(self.min));
        let max = scope.constant("max", Tensor::scalar(self.max));
        scope.node("", Op::Clip, &[x, min, max])
    }
}

/// `min(max(x, 0), 6)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReLU6;

impl Layer for ReLU6 {
    fn type_name(&self) -> &'static str {
        "ReLU6"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        Hardtanh::new(0.0, 6.0).apply(scope, x)
    }
}

/// `x * sigmoid(x)`, also called Swish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiLU;

impl Layer for SiLU {
    fn type_name(&self) -> &'static str {
        "SiLU"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let gate = scope.node("sigmoid", Op::Unary(UnaryOp::Sigmoid), &[x])?;
        scope.node("", Op::Binary(BinaryOp::Mul), &[x, gate])
    }
}

/// Gaussian error linear unit: by default `x * (1 + erf(x / sqrt(2))) / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GELU {
    tanh: bool,
}

impl GELU {
    /// The exact form.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The approximation by a hyperbolic tangent.
    #[must_use]
    pub fn tanh() -> Self {
        Self { tanh: true }
    }
}

impl Layer for GELU {
    fn type_name(&self) -> &'static str {
        "GELU"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.node("", Op::Unary(UnaryOp::Gelu { tanh: self.tanh }), &[x])
    }
}

/// `ln(1 + exp(beta * x)) / beta`. PyTorch's `threshold`, above which it gives `x`, changes less than the last bits
/// and is not needed here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softplus {
    beta: f32,
}

impl Softplus {
    /// With this `beta`; PyTorch's default is 1.
    #[must_use]
    pub fn new(beta: f32) -> Self {
        Self { beta }
    }
}

impl Default for Softplus {
    fn default() -> Self {
        Self::new(1.0)
    }
}

impl Layer for Softplus {
    fn type_name(&self) -> &'static str {
        "Softplus"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        if self.beta == 0.0 || !self.beta.is_finite() {
            return scope.fail(format!("beta is {}", self.beta));
        }
        if self.beta == 1.0 {
            return scope.node("", Op::Unary(UnaryOp::Softplus), &[x]);
        }
        let beta = scope.constant("beta", Tensor::scalar(self.beta));
        let x = scope.node("mul", Op::Binary(BinaryOp::Mul), &[x, beta])?;
        let y = scope.node("", Op::Unary(UnaryOp::Softplus), &[x])?;
        scope.node("div", Op::Binary(BinaryOp::Div), &[y, beta])
    }
}

/// `x` where not negative, else a learned fraction of it. Parameter: `weight`, of one element, or of one a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PReLU {
    parameters: usize,
}

impl PReLU {
    /// With so many fractions: 1, or the number of channels.
    #[must_use]
    pub fn new(num_parameters: usize) -> Self {
        Self { parameters: num_parameters }
    }
}

impl Default for PReLU {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Layer for PReLU {
    fn type_name(&self) -> &'static str {
        "PReLU"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let n = self.parameters;
        scope.expect_positive(&[("num_parameters", n)])?;
        let shape = scope.shape(x)?;
        let weight = scope.parameter("weight", &[n], Init::Constant(0.25))?;
        let slope = if n == 1 {
            weight.value()
        } else {
            if shape.len() < 2 {
                return scope.fail(format!("{n} parameters for an input of {} axes", shape.len()));
            }
            scope.expect_dim("channels", &shape[1], n)?;
            // Channels are the second axis.
            let dims: Vec<usize> = std::iter::once(n).chain(vec![1; shape.len() - 2]).collect();
            let target = dims.clone();
            scope.derived("slope", &[&weight], &dims, move |t| t[0].clone().reshape(&target))?
        };
        scope.node("", Op::Binary(BinaryOp::PRelu), &[x, slope])
    }
}

/// Layers over one axis.
macro_rules! over_axis {
    ($($(#[doc = $doc:literal])+ $name:ident;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            dim: i64,
        }

        impl $name {
            /// Over this axis, which may be negative.
            #[must_use]
            pub fn new(dim: i64) -> Self {
                Self { dim }
            }
        }

        impl Layer for $name {
            fn type_name(&self) -> &'static str {
                stringify!($name)
            }

            fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
                scope.node("", Op::$name { axis: self.dim }, &[x])
            }
        }
    )*};
}

over_axis! {
    /// Exponentials that sum to one along an axis.
    Softmax;
    /// Logarithm of the softmax.
    LogSoftmax;
}
