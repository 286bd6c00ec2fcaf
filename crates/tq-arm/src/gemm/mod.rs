//! Matrix products of `u8` codes with `i8` weights, 16 columns a panel.
//!
//! NEON and dot products multiply bytes of one sign: `Σ a·w = Σ (a - 128)·w + 128·Σ w`, where `a - 128` is `a` with its first bit
//! flipped, and the last term is packed behind a panel's weights. Sums wrap, so it does not matter that those on the way may
//! be larger than the result, which is proved to fit.

mod dotprod;
mod i8mm;
mod neon;
mod panel;

pub(crate) use dotprod::{DOTPROD, dotprod};
pub(crate) use i8mm::{I8MM, i8mm};
pub(crate) use neon::{NEON, neon};
pub(crate) use panel::{pack_sums, sums_bytes};

/// Columns of a tile.
pub(crate) const NR: usize = 16;

/// The shape of a tile.
pub(crate) struct Shape {
    /// Rows.
    pub(crate) mr: usize,
    /// Elements of K that rows and panels are padded to.
    pub(crate) ku: usize,
}
