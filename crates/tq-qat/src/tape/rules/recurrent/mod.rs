//! LSTM, GRU, RNN: back-propagation through time.
//!
//! Nothing but inputs is kept: the states are computed again, block by block. Blocks of samples are cut by the shapes
//! alone, and their sums are added in order, so results do not depend on the number of threads.

mod activation;
mod cell;

use super::{Call, Gradient, Gradients};
use cell::{Cell, Sums};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::Range;
use tq_eval::OpError;
use tq_graph::Tensor;
use tq_graph::op::{Direction, RecurrentAttrs, RecurrentKind};

/// Samples that one task works on.
const SAMPLES: usize = 32;

/// `x, w, r[, b[, lens[, h[, c[, p]]]]] -> y[, y_h[, y_c]]`.
pub(super) struct Recurrent<'a> {
    pub(super) kind: RecurrentKind,
    pub(super) attrs: &'a RecurrentAttrs,
}

/// Gradients that one block gives.
struct Block {
    direction: usize,
    samples: Range<usize>,
    /// Step by step, in the order of the data.
    x: Vec<Array2<f32>>,
    h: Array2<f32>,
    c: Array2<f32>,
    sums: Sums,
}

/// Data with its layout.
struct Layout {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    batch_first: bool,
}

impl Layout {
    /// Where the input of a step begins.
    fn input_at(&self, step: usize, sample: usize) -> usize {
        self.input * if self.batch_first { sample * self.steps + step } else { step * self.batch + sample }
    }

    /// Where the output of a step begins.
    fn output_at(&self, step: usize, direction: usize, sample: usize) -> usize {
        self.hidden
            * if self.batch_first {
                (sample * self.steps + step) * self.directions + direction
            } else {
                (step * self.directions + direction) * self.batch + sample
            }
    }

    /// Where the state of a sample begins.
    fn state_at(&self, direction: usize, sample: usize) -> usize {
        self.hidden
            * if self.batch_first {
                sample * self.directions + direction
            } else {
                direction * self.batch + sample
            }
    }
}

impl Gradient for Recurrent<'_> {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }

    fn backward(&self, call: Call<'_>) -> Gradients {
        let [first, second, input] = call.input_dims[0][..] else {
            return Err(OpError::Shape(format!("input of shape {:?}", call.input_dims[0])));
        };
        let batch_first = self.attrs.batch_first;
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let hidden = self.attrs.hidden_size;
        let layout =
            Layout { steps, batch, input, hidden, directions: self.attrs.direction.count(), batch_first };
        let lens: Vec<usize> = match call.inputs.get(4).and_then(Option::as_ref) {
            Some(lens) => lens.to_i64_vec().unwrap_or_default().iter().map(|n| *n as usize).collect(),
            None => vec![steps; batch],
        };
        let blocks: Vec<(usize, Range<usize>)> = (0..layout.directions)
            .flat_map(|d| (0..batch).step_by(SAMPLES).map(move |at| (d, at..batch.min(at + SAMPLES))))
            .collect();
        let done = blocks
            .into_par_iter()
            .map(|(direction, samples)| self.block(&call, &layout, &lens, direction, samples))
            .collect::<Result<Vec<Block>, OpError>>()?;
        self.gathered(&call, &layout, &lens, done)
    }
}

impl Recurrent<'_> {
    fn reverse(&self, direction: usize) -> bool {
        direction == 1 || self.attrs.direction == Direction::Reverse
    }

    fn block(
        &self,
        call: &Call<'_>,
        layout: &Layout,
        lens: &[usize],
        direction: usize,
        samples: Range<usize>,
    ) -> Result<Block, OpError> {
        let Layout { input, hidden, .. } = *layout;
        let rows = hidden * self.kind.gates();
        let n = samples.len();
        let part = |i: usize, len: usize| -> Result<Vec<f32>, OpError> {
            match call.inputs.get(i).and_then(Option::as_ref) {
                Some(t) => Ok(super::f32s(t)?[direction * len..][..len].to_vec()),
                None => Ok(Vec::new()),
            }
        };
        let (w, r) = (part(1, rows * input)?, part(2, rows * hidden)?);
        let (mut b, p) = (part(3, 2 * rows)?, part(7, 3 * hidden)?);
        b.resize(2 * rows, 0.0);
        let bad = |e: ndarray::ShapeError| OpError::Shape(e.to_string());
        let functions = self.attrs.activations.len() / layout.directions;
        let cell = Cell {
            kind: self.kind,
            functions: &self.attrs.activations[direction * functions..][..functions],
            clip: self.attrs.clip,
            w: ArrayView2::from_shape((rows, input), &w).map_err(bad)?,
            r: ArrayView2::from_shape((rows, hidden), &r).map_err(bad)?,
            b: &b,
            p: &p,
        };
        let state = |i: usize| -> Result<Array2<f32>, OpError> {
            let mut out = Array2::zeros((n, hidden));
            if let Some(t) = call.inputs.get(i).and_then(Option::as_ref) {
                let all = super::f32s(t)?;
                for (sample, mut row) in samples.clone().zip(out.rows_mut()) {
                    let from = &all[layout.state_at(direction, sample)..][..hidden];
                    row.iter_mut().zip(from).for_each(|(o, v)| *o = *v);
                }
            }
            Ok(out)
        };
        let (mut h, mut c) = (state(5)?, state(6)?);
        let x = call.f32s(0)?;
        let longest = samples.clone().map(|s| lens[s]).max().unwrap_or(0);
        let place = |step: usize, sample: usize| {
            let left = lens[sample].checked_sub(step + 1)?;
            Some(if self.reverse(direction) { left } else { step })
        };
        let mut steps = Vec::with_capacity(longest);
        for step in 0..longest {
            let mut data = Array2::zeros((n, input));
            for (sample, mut row) in samples.clone().zip(data.rows_mut()) {
                if let Some(place) = place(step, sample) {
                    let from = &x[layout.input_at(place, sample)..][..input];
                    row.iter_mut().zip(from).for_each(|(o, v)| *o = *v);
                }
            }
            let active = samples.clone().map(|s| step < lens[s]).collect();
            steps.push(cell.forward(active, data, &mut h, &mut c));
        }
        // Backward. A sequence without elements gives zeros, whatever its initial state.
        let last = |i: usize| -> Result<Array2<f32>, OpError> {
            let mut out = Array2::zeros((n, hidden));
            if let Some(Some(g)) = call.gradients.get(i) {
                let g = g.as_slice::<f32>()?;
                for (sample, mut row) in samples.clone().zip(out.rows_mut()) {
                    if lens[sample] > 0 {
                        let from = &g[layout.state_at(direction, sample)..][..hidden];
                        row.iter_mut().zip(from).for_each(|(o, v)| *o = *v);
                    }
                }
            }
            Ok(out)
        };
        let (mut dh, mut dc) = (last(1)?, last(2)?);
        let mut sums = cell.sums();
        let mut dx = Vec::with_capacity(longest);
        let dy = match &call.gradients[0] {
            Some(g) => Some(g.as_slice::<f32>()?),
            None => None,
        };
        while let Some(done) = steps.pop() {
            let step = steps.len();
            if let Some(dy) = dy {
                for (sample, mut row) in samples.clone().zip(dh.rows_mut()) {
                    if let Some(place) = place(step, sample) {
                        let from = &dy[layout.output_at(place, direction, sample)..][..hidden];
                        row.iter_mut().zip(from).for_each(|(o, v)| *o += *v);
                    }
                }
            }
            dx.push(cell.backward(&done, &mut dh, &mut dc, &mut sums));
        }
        dx.reverse();
        Ok(Block { direction, samples, x: dx, h: dh, c: dc, sums })
    }

    /// The gradients of all inputs out of those of the blocks.
    fn gathered(&self, call: &Call<'_>, layout: &Layout, lens: &[usize], blocks: Vec<Block>) -> Gradients {
        // An input that is absent has no room.
        let room = |(input, dims): (&Option<Tensor>, &Vec<usize>)| match input {
            Some(_) => vec![0.0f32; dims.iter().product()],
            None => Vec::new(),
        };
        let mut all: Vec<Vec<f32>> = call.inputs.iter().zip(call.input_dims).map(room).collect();
        all.resize(8, Vec::new());
        for block in blocks {
            let Block { direction, samples, x, h, c, sums } = block;
            for (step, dx) in x.iter().enumerate() {
                for (sample, row) in samples.clone().zip(dx.rows()) {
                    if step < lens[sample] {
                        let place = if self.reverse(direction) { lens[sample] - step - 1 } else { step };
                        let to = &mut all[0][layout.input_at(place, sample)..][..layout.input];
                        to.iter_mut().zip(row).for_each(|(o, v)| *o += v);
                    }
                }
            }
            for (i, states) in [(5, h), (6, c)] {
                if all[i].is_empty() {
                    continue;
                }
                for (sample, row) in samples.clone().zip(states.rows()) {
                    let to = &mut all[i][layout.state_at(direction, sample)..][..layout.hidden];
                    to.iter_mut().zip(row).for_each(|(o, v)| *o = *v);
                }
            }
            let parts = [
                (1, sums.w.iter().copied().collect::<Vec<f32>>()),
                (2, sums.r.iter().copied().collect()),
                (3, sums.b.to_vec()),
                (7, sums.p.to_vec()),
            ];
            for (i, part) in parts {
                if !all[i].is_empty() {
                    let to = &mut all[i][direction * part.len()..][..part.len()];
                    to.iter_mut().zip(part).for_each(|(o, v)| *o += v);
                }
            }
        }
        let mut out = call.nothing();
        for (i, (slot, data)) in out.iter_mut().zip(all).enumerate() {
            if call.needs(i) {
                *slot = Some(Tensor::new(&call.input_dims[i], data)?);
            }
        }
        Ok(out)
    }
}
