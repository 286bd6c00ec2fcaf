//! Functions of one element.

use super::{Context, Inputs, map, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_number, with_real};
use tq_graph::Tensor;
use tq_graph::op::UnaryOp;
use tq_qtypes::DType;

/// A function of every element. NaN stays NaN.
pub(crate) fn unary(ctx: &Context, op: UnaryOp, x: &Tensor) -> Result<Tensor, OpError> {
    match op {
        UnaryOp::Relu => with_number!(x.dtype(), T => relu::<T>(ctx, x)),
        UnaryOp::Abs => with_number!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), T::magnitude)),
        UnaryOp::Sign => with_number!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), sign::<T>)),
        UnaryOp::Neg if matches!(x.dtype(), DType::U8 | DType::U16 | DType::U32 | DType::U64) => {
            Err(OpError::DType { what: "input 0", got: x.dtype(), expected: "a signed number".into() })
        }
        UnaryOp::Neg => with_number!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), T::negated)),
        UnaryOp::Erf if x.dtype().is_integer() => with_number!(x.dtype(), T => {
            map(ctx, x.as_slice::<T>()?, x.dims(), |v| T::of_f64(libm::erf(v.to_f64())))
        }),
        _ => with_real!(x.dtype(), T => real::<T>(ctx, op, x)),
    }
}

fn relu<T: Number>(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    map(ctx, x.as_slice::<T>()?, x.dims(), |v| if v <= T::ZERO { T::ZERO } else { v })
}

/// -1, 0 or 1; zeros and NaN as they are.
fn sign<T: Number>(v: T) -> T {
    if v > T::ZERO {
        T::ONE
    } else if v < T::ZERO {
        T::ONE.negated()
    } else {
        v
    }
}

fn real<T: Real>(ctx: &Context, op: UnaryOp, x: &Tensor) -> Result<Tensor, OpError> {
    let (data, dims) = (x.as_slice::<T>()?, x.dims());
    let one = |f: fn(T) -> T| map(ctx, data, dims, f);
    match op {
        UnaryOp::Relu => relu::<T>(ctx, x),
        UnaryOp::LeakyRelu { alpha } => {
            let alpha = T::of_f32(alpha);
            map(ctx, data, dims, |v| if v < T::ZERO { alpha * v } else { v })
        }
        UnaryOp::ThresholdedRelu { alpha } => {
            let alpha = T::of_f32(alpha);
            map(ctx, data, dims, |v| if v <= alpha { T::ZERO } else { v })
        }
        UnaryOp::Elu { alpha } => {
            let alpha = T::of_f32(alpha);
            map(ctx, data, dims, |v| if v > T::ZERO { v } else { alpha * v.exp_m1() })
        }
        UnaryOp::Celu { alpha } => {
            let alpha = T::of_f32(alpha);
            map(ctx, data, dims, |v| raise(v, T::ZERO) + lower(alpha * (v / alpha).exp_m1(), T::ZERO))
        }
        UnaryOp::Selu { alpha, gamma } => {
            let (alpha, gamma) = (T::of_f32(alpha), T::of_f32(gamma));
            map(ctx, data, dims, |v| gamma * if v > T::ZERO { v } else { alpha * v.exp_m1() })
        }
        UnaryOp::Sigmoid => one(T::sigmoid),
        UnaryOp::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (T::of_f32(alpha), T::of_f32(beta));
            map(ctx, data, dims, |v| clamp(alpha * v + beta, T::ZERO, T::ONE))
        }
        UnaryOp::HardSwish => {
            let (six, half) = (T::of_f32(6.0), T::of_f32(0.5));
            map(ctx, data, dims, |v| v * clamp(v / six + half, T::ZERO, T::ONE))
        }
        UnaryOp::Softplus => one(softplus::<T>),
        UnaryOp::Softsign => one(|v| v / (T::ONE + v.magnitude())),
        UnaryOp::Mish => one(|v| v * softplus(v).tanh()),
        UnaryOp::Gelu { tanh: false } => {
            let (half, root) = (T::of_f64(0.5), T::of_f64(std::f64::consts::FRAC_1_SQRT_2));
            // `erfc` keeps its digits where `1 + erf` of a negative number loses them.
            map(ctx, data, dims, |v| half * v * (v * root).negated().erfc())
        }
        UnaryOp::Gelu { tanh: true } => {
            let (root, cubic) = (T::of_f64(2.0 * SQRT_2_OVER_PI), T::of_f64(0.044715));
            // `(1 + tanh(u)) / 2` is the sigmoid of `2 u`.
            map(ctx, data, dims, |v| v * (root * (v + cubic * v * v * v)).sigmoid())
        }
        UnaryOp::Erf => one(T::erf),
        UnaryOp::Exp => one(T::exp),
        UnaryOp::Log => one(T::ln),
        UnaryOp::Sqrt => one(T::sqrt),
        UnaryOp::Reciprocal => one(|v| T::ONE / v),
        UnaryOp::Floor => one(T::floor),
        UnaryOp::Ceil => one(T::ceil),
        UnaryOp::Round => one(T::round),
        UnaryOp::Sin => one(T::sin),
        UnaryOp::Cos => one(T::cos),
        UnaryOp::Tan => one(T::tan),
        UnaryOp::Asin => one(T::asin),
        UnaryOp::Acos => one(T::acos),
        UnaryOp::Atan => one(T::atan),
        UnaryOp::Sinh => one(T::sinh),
        UnaryOp::Cosh => one(T::cosh),
        UnaryOp::Tanh => one(T::tanh),
        UnaryOp::Asinh => one(T::asinh),
        UnaryOp::Acosh => one(T::acosh),
        UnaryOp::Atanh => one(T::atanh),
        other => Err(OpError::Unsupported(other.name())),
    }
}

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

/// `ln(1 + exp(x))`, written so that the exponential never overflows.
pub(crate) fn softplus<T: Real>(x: T) -> T {
    raise(x, T::ZERO) + x.magnitude().negated().exp().ln_1p()
}

/// `min(max(x, lo), hi)` as in numpy: NaN in any of the three gives NaN, and `hi` wins over `lo`.
pub(crate) fn clamp<T: Number>(x: T, lo: T, hi: T) -> T {
    lower(raise(x, lo), hi)
}

/// The larger of the two, or NaN if one is.
pub(crate) fn raise<T: Number>(x: T, lo: T) -> T {
    if x >= lo || x.partial_cmp(&x).is_none() { x } else { lo }
}

/// The smaller of the two, or NaN if one is.
pub(crate) fn lower<T: Number>(x: T, hi: T) -> T {
    if x <= hi || x.partial_cmp(&x).is_none() { x } else { hi }
}

/// Clip between two optional scalars.
pub(crate) fn clip(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    with_number!(x.dtype(), T => clip_as::<T>(ctx, x, inputs.get(1), inputs.get(2)))
}

fn clip_as<T: Number>(
    ctx: &Context,
    x: &Tensor,
    min: Option<&Tensor>,
    max: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let bound = |t: Option<&Tensor>, what: &'static str| {
        let Some(t) = t else { return Ok(None) };
        same_dtype(x, t, what)?;
        match t.as_slice::<T>()? {
            [v] => Ok(Some(*v)),
            v => Err(OpError::Shape(format!("{what} has {} elements, expected one", v.len()))),
        }
    };
    let data = x.as_slice::<T>()?;
    match (bound(min, "min")?, bound(max, "max")?) {
        (None, None) => Ok(x.clone()),
        (Some(lo), Some(hi)) => map(ctx, data, x.dims(), |v| clamp(v, lo, hi)),
        (Some(lo), None) => map(ctx, data, x.dims(), |v| raise(v, lo)),
        (None, Some(hi)) => map(ctx, data, x.dims(), |v| lower(v, hi)),
    }
}
