//! One direction of a recurrent operator on some of the samples.

use super::Shape;
use super::cell::Cell;
use super::products::{Operand, Products};
use crate::OpError;
use crate::number::Real;
use crate::ops::Context;
use std::ops::Range;
use tq_graph::op::{RecurrentAttrs, RecurrentKind};

/// Elements of projections that are computed at once: about what a second-level cache holds.
const TILE: usize = 1 << 17;

/// A recurrent operator with its inputs.
pub(super) struct Network<'a, T> {
    pub(super) kind: RecurrentKind,
    pub(super) attrs: &'a RecurrentAttrs,
    pub(super) shape: Shape,
    pub(super) x: &'a [T],
    pub(super) products: &'a dyn Products<T>,
    /// The range of the data of all sequences, where products ask for it.
    pub(super) range: Option<(f32, f32)>,
    /// Biases of the projection, then those of the recurrence.
    pub(super) b: Option<&'a [T]>,
    pub(super) h: Option<&'a [T]>,
    pub(super) c: Option<&'a [T]>,
    pub(super) p: Option<&'a [T]>,
    pub(super) lens: Option<&'a [usize]>,
    /// Results of another evaluation, `y`: every step begins from the state that these tell.
    pub(super) follow: Option<&'a [T]>,
    pub(super) clip: Option<T>,
}

/// What one direction gives for some of the samples.
pub(super) struct Block<T> {
    pub(super) direction: usize,
    pub(super) samples: Range<usize>,
    /// Step by step, sample by sample; zero after the end of a sequence.
    pub(super) y: Vec<T>,
    /// The last state of every sample.
    pub(super) h: Vec<T>,
    pub(super) c: Vec<T>,
}

impl<'a, T: Real> Network<'a, T> {
    pub(super) fn len(&self, sample: usize) -> usize {
        self.lens.map_or(self.shape.steps, |lens| lens[sample])
    }

    /// Initial states, zero where none are given.
    fn initial(
        &self,
        ctx: &Context,
        given: Option<&[T]>,
        direction: usize,
        samples: &Range<usize>,
    ) -> Result<Vec<T>, OpError> {
        let hidden = self.shape.hidden;
        let mut out = ctx.zeros::<T>(&[samples.len(), hidden])?;
        if let Some(given) = given {
            for (out, sample) in out.chunks_mut(hidden).zip(samples.clone()) {
                out.copy_from_slice(&given[self.shape.state_at(direction, sample) * hidden..][..hidden]);
            }
        }
        Ok(out)
    }

    /// The part of a parameter that belongs to a direction.
    fn part(&self, all: &'a [T], direction: usize) -> &'a [T] {
        let len = all.len() / self.shape.directions;
        &all[direction * len..][..len]
    }

    fn cell(&self, direction: usize) -> Cell<'a, T> {
        let functions = self.attrs.activations.len() / self.shape.directions;
        let bias = self.b.map(|b| self.part(b, direction));
        Cell {
            kind: self.kind,
            hidden: self.shape.hidden,
            functions: self.attrs.activations[direction * functions..][..functions].to_vec(),
            clip: self.clip,
            products: self.products,
            direction,
            ranges: self.range.is_some(),
            bias: bias.map(|b| &b[self.shape.rows..]),
            peepholes: self.p.map(|p| self.part(p, direction)),
        }
    }

    /// What every projection begins with: the biases that stand outside all products with states.
    fn offsets(&self, direction: usize) -> Vec<T> {
        let Shape { rows, hidden, .. } = self.shape;
        let Some(bias) = self.b.map(|b| self.part(b, direction)) else { return vec![T::ZERO; rows] };
        let (projection, recurrence) = bias.split_at(rows);
        let apart = match self.kind {
            RecurrentKind::Gru { linear_before_reset: true } => rows - hidden,
            _ => rows,
        };
        let sum = |i: usize| if i < apart { projection[i] + recurrence[i] } else { projection[i] };
        (0..rows).map(sum).collect()
    }

    /// Runs one direction on some of the samples.
    pub(super) fn run(
        &self,
        ctx: &Context,
        direction: usize,
        samples: Range<usize>,
        reverse: bool,
    ) -> Result<Block<T>, OpError> {
        let Shape { steps, input, hidden, rows, .. } = self.shape;
        let n = samples.len();
        let mut h = self.initial(ctx, self.h, direction, &samples)?;
        let mut c = self.initial(ctx, self.c, direction, &samples)?;
        let mut y = ctx.zeros::<T>(&[steps, n, hidden])?;
        let cell = self.cell(direction);
        let mut scratch = cell.scratch(n);
        let offsets = self.offsets(direction);
        let lens: Vec<usize> = samples.clone().map(|s| self.len(s)).collect();
        let longest = lens.iter().copied().max().unwrap_or(0);
        let tile = (TILE / (n * rows.max(input)).max(1)).max(1);
        let most = tile.min(longest);
        let (mut x, mut gates) = (ctx.zeros::<T>(&[most, n, input])?, ctx.zeros::<T>(&[most, n, rows])?);
        for first in (0..longest).step_by(tile) {
            let count = tile.min(longest - first);
            let (x, gates) = (&mut x[..count * n * input], &mut gates[..count * n * rows]);
            for step in 0..count {
                for (i, sample) in samples.clone().enumerate() {
                    let to = &mut x[(step * n + i) * input..][..input];
                    match place(first + step, lens[i], reverse) {
                        Some(place) => {
                            to.copy_from_slice(
                                &self.x[self.shape.input_at(place, sample) * input..][..input],
                            );
                        }
                        None => to.fill(T::ZERO),
                    }
                }
            }
            let range = self.range.unwrap_or_default();
            self.products.project(direction, Operand { data: x, range }, &offsets, gates)?;
            for (step, gates) in gates.chunks_mut((n * rows).max(1)).enumerate() {
                let step = first + step;
                cell.step(gates, &mut h, &mut c, &mut scratch, |i| step < lens[i])?;
                for (i, h) in h.chunks_mut(hidden).enumerate() {
                    if let Some(place) = place(step, lens[i], reverse) {
                        y[(place * n + i) * hidden..][..hidden].copy_from_slice(h);
                        if let Some(theirs) = self.follow {
                            let at = self.shape.output_at(place, direction, samples.start + i);
                            h.copy_from_slice(&theirs[at * hidden..][..hidden]);
                        }
                    }
                }
            }
        }
        // ONNX does not say what a sequence without elements leaves behind. ONNX Runtime gives zeros, not the
        // initial state.
        for (i, _) in lens.iter().enumerate().filter(|(_, len)| **len == 0) {
            h[i * hidden..][..hidden].fill(T::ZERO);
            c[i * hidden..][..hidden].fill(T::ZERO);
        }
        Ok(Block { direction, samples, y, h, c })
    }
}

/// Where in its sequence of `len` elements a network is after `step` steps, unless the sequence has ended.
fn place(step: usize, len: usize, reverse: bool) -> Option<usize> {
    let left = len.checked_sub(step + 1)?;
    Some(if reverse { left } else { step })
}
