//! The functions within recurrent operators.

use crate::number::Real;
use crate::ops::unary::{clamp, softplus};
use tq_graph::op::Activation;

/// Clips every element to `-clip..=clip` where there is a bound, then replaces it by the function of it.
pub(super) fn activate<T: Real>(f: Activation, clip: Option<T>, x: &mut [T]) {
    if let Some(bound) = clip {
        each(x, |v| clamp(v, bound.negated(), bound));
    }
    let real = T::of_f32;
    match f {
        Activation::Relu => each(x, |v| if v <= T::ZERO { T::ZERO } else { v }),
        Activation::Tanh => each(x, T::tanh),
        Activation::Sigmoid => each(x, T::sigmoid),
        Activation::Affine { alpha, beta } => {
            let (alpha, beta) = (real(alpha), real(beta));
            each(x, |v| alpha * v + beta);
        }
        Activation::LeakyRelu { alpha } => {
            let alpha = real(alpha);
            each(x, |v| if v < T::ZERO { alpha * v } else { v });
        }
        Activation::ThresholdedRelu { alpha } => {
            let alpha = real(alpha);
            each(x, |v| if v < alpha { T::ZERO } else { v });
        }
        Activation::ScaledTanh { alpha, beta } => {
            let (alpha, beta) = (real(alpha), real(beta));
            each(x, |v| alpha * (beta * v).tanh());
        }
        Activation::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (real(alpha), real(beta));
            each(x, |v| clamp(alpha * v + beta, T::ZERO, T::ONE));
        }
        Activation::Elu { alpha } => {
            let alpha = real(alpha);
            each(x, |v| if v < T::ZERO { alpha * v.exp_m1() } else { v });
        }
        Activation::Softsign => each(x, |v| v / (T::ONE + v.magnitude())),
        Activation::Softplus => each(x, softplus),
    }
}

/// With the longest vectors of this processor: they do what one element at a time does.
fn each<T: Real>(x: &mut [T], f: impl Fn(T) -> T) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || x.iter_mut().for_each(|v| *v = f(*v)),
    );
}
