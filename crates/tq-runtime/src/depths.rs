//! How deep products are added in 16 bits: what packing has proved.

use crate::weights::WeightStore;
use serde::Serialize;
use std::fmt;
use tq_kernels::{Depths, Kernels};

/// Shares of a layer's multiply-adds by the sequence of instructions that is proved exact for them. They come to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ProductDepths {
    /// Products of four codes and weights added in 16 bits before they are widened: the fastest.
    pub two_deep: f64,
    /// Products of two.
    pub one_deep: f64,
    /// Magnitudes of weights with codes about 0 that take their signs: exact for any of them, and the slowest.
    pub plain: f64,
}

impl ProductDepths {
    /// The shares of the parts; `None` where there are none.
    pub(crate) fn of(parts: Depths) -> Option<Self> {
        let all = parts.two + parts.one + parts.plain;
        let share = |part: usize| part as f64 / all as f64;
        let shares =
            Self { two_deep: share(parts.two), one_deep: share(parts.one), plain: share(parts.plain) };
        (all > 0).then_some(shares)
    }
}

impl fmt::Display for ProductDepths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| 100.0 * share;
        let (two, one, plain) = (percent(self.two_deep), percent(self.one_deep), percent(self.plain));
        write!(f, "{two:.0} % two deep, {one:.0} % one deep, {plain:.0} % plain")
    }
}

/// What is proved of the packed weights of a layer, on kernels that add products in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerDepths {
    /// Whatever the codes are.
    pub any_codes: ProductDepths,
    /// Where no code is above 127. Kernels look at the codes of every few rows and take the deepest sequence that is
    /// proved for these, so that a run lies between this and [`LayerDepths::any_codes`], or above where codes are smaller
    /// still.
    pub codes_to_127: ProductDepths,
}

impl WeightStore {
    /// How the products of a node run where no code is above `largest`; `None` for nodes without products, and on kernels
    /// that never add in 16 bits, where all are exact at the same cost.
    pub(crate) fn product_depths(&self, kernels: &Kernels, node: &str, largest: u8) -> Option<ProductDepths> {
        let packed = self.of_node(node)?;
        let of = |largest: u8| {
            let all = packed.matrices().map(|rhs| kernels.gemm().depths(rhs, largest));
            all.fold(Depths::default(), Depths::plus)
        };
        // Codes up to 1 saturate nothing: a kernel that runs even these plainly knows no other way.
        let smallest = of(1);
        (smallest.two + smallest.one > 0).then(|| ProductDepths::of(of(largest))).flatten()
    }

    /// [`WeightStore::product_depths`] for any codes and for small ones.
    pub(crate) fn layer_depths(&self, kernels: &Kernels, node: &str) -> Option<LayerDepths> {
        let of = |largest| self.product_depths(kernels, node, largest);
        Some(LayerDepths { any_codes: of(u8::MAX)?, codes_to_127: of(127)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_to_one() {
        let shares = ProductDepths::of(Depths { two: 1, one: 2, plain: 1 }).unwrap();
        assert_eq!(shares.to_string(), "25 % two deep, 50 % one deep, 25 % plain");
        assert_eq!(ProductDepths::of(Depths::default()), None);
    }
}
