//! Matrix products: 3 rows by 16 columns, K in groups of 4.
//!
//! `vpmaddubsw` multiplies unsigned codes with signed weights and adds pairs of products in 16 bits, where they saturate
//! beyond 32767. Two products of 127 by 128 fit, two of 255 by 128 do not. So packing finds out, for every group of 4 steps of K by
//! 8 columns, up to which code its products fit ([`proof`]), and pairs groups whose products may be added besides
//! ([`pack`]). A tile whose largest code is known walks over the pairs ([`panel`]) and multiplies each half of the columns by the shortest
//! sequence that is proved for it, or by one that is exact for any codes ([`tile`]). Where walks are short, neighbouring tiles take that
//! of the largest code of all of them.

mod codes;
mod pack;
mod panel;
mod proof;
mod rows;
mod tile;

pub(super) use codes::range;
pub(super) use pack::pack_panel;
pub(super) use panel::{depths, panel_bytes};
pub(super) use tile::tiles;

/// Rows of a tile.
pub(super) const MR: usize = 3;
/// Columns of a tile: two halves, each with proofs of its own.
pub(super) const NR: usize = 2 * HALF;
/// Columns of a half: a vector of 32-bit sums.
const HALF: usize = 8;
/// Elements of K at a time: what one 32-bit sum takes from `vpmaddubsw` and `vpmaddwd`.
pub(super) const KU: usize = 4;

/// The weights of one group in a half: `[HALF][KU]`.
type Group = [i8; HALF * KU];
/// Two groups, each of both halves.
type GroupPair = [[Group; 2]; 2];
