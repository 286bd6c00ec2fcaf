//! One step of the networks.

use super::activation::activate;
use super::products::{Operand, Part, Products, Target, range_of};
use crate::OpError;
use crate::number::Real;
use tq_graph::op::{Activation, RecurrentKind};

/// What a step needs besides data and states.
pub(super) struct Cell<'a, T> {
    pub(super) kind: RecurrentKind,
    pub(super) hidden: usize,
    pub(super) functions: Vec<Activation>,
    pub(super) clip: Option<T>,
    /// Products with the recurrence weights of this direction, and whether they want to know the range of the states.
    pub(super) products: &'a dyn Products<T>,
    pub(super) direction: usize,
    pub(super) ranges: bool,
    /// Biases of the recurrence.
    pub(super) bias: Option<&'a [T]>,
    /// Weights of the cell state in the gates i, o, f.
    pub(super) peepholes: Option<&'a [T]>,
}

/// Room that steps use again and again.
pub(super) struct Scratch<T> {
    /// As large as the hidden states of all samples.
    states: Vec<T>,
    /// As large as one hidden state.
    state: Vec<T>,
}

impl<T: Real> Cell<'_, T> {
    pub(super) fn scratch(&self, samples: usize) -> Scratch<T> {
        let states = match self.kind {
            RecurrentKind::Gru { .. } => samples * self.hidden,
            _ => 0,
        };
        Scratch { states: vec![T::ZERO; states], state: vec![T::ZERO; self.hidden] }
    }

    /// Moves the states of those samples on that are `active`. `gates` hold the projections of the input, with
    /// biases, and are used up.
    pub(super) fn step(
        &self,
        gates: &mut [T],
        h: &mut [T],
        c: &mut [T],
        scratch: &mut Scratch<T>,
        active: impl Fn(usize) -> bool,
    ) -> Result<(), OpError> {
        match self.kind {
            RecurrentKind::Lstm { input_forget } => self.lstm(gates, h, c, scratch, input_forget, active),
            RecurrentKind::Gru { linear_before_reset } => {
                self.gru(gates, h, scratch, linear_before_reset, active)
            }
            RecurrentKind::Rnn => self.rnn(gates, h, active),
        }
    }

    /// Adds the products of states, one a sample, with a part of the recurrence weights.
    fn recur(
        &self,
        part: Part,
        states: &[T],
        active: &impl Fn(usize) -> bool,
        out: Target<'_, T>,
    ) -> Result<(), OpError> {
        let range = if self.ranges {
            let rows = states.chunks(self.hidden).enumerate().filter(|(i, _)| active(*i));
            range_of(rows.map(|(_, row)| row))
        } else {
            (0.0, 0.0)
        };
        self.products.recur(self.direction, part, Operand { data: states, range }, out)
    }

    fn rnn(&self, gates: &mut [T], h: &mut [T], active: impl Fn(usize) -> bool) -> Result<(), OpError> {
        self.recur(Part::All, h, &active, Target { data: gates, pitch: self.hidden, first: 0 })?;
        for (i, (gate, h)) in gates.chunks_mut(self.hidden).zip(h.chunks_mut(self.hidden)).enumerate() {
            if active(i) {
                activate(self.functions[0], self.clip, gate);
                h.copy_from_slice(gate);
            }
        }
        Ok(())
    }

    fn lstm(
        &self,
        gates: &mut [T],
        h: &mut [T],
        c: &mut [T],
        scratch: &mut Scratch<T>,
        input_forget: bool,
        active: impl Fn(usize) -> bool,
    ) -> Result<(), OpError> {
        let hidden = self.hidden;
        self.recur(Part::All, h, &active, Target { data: gates, pitch: 4 * hidden, first: 0 })?;
        let [f, g, last] = self.functions[..] else {
            return Err(OpError::Attribute(format!("{} activations for an LSTM", self.functions.len())));
        };
        let states = h.chunks_mut(hidden).zip(c.chunks_mut(hidden));
        for (i, (gates, (h, c))) in gates.chunks_mut(4 * hidden).zip(states).enumerate() {
            if !active(i) {
                continue;
            }
            let (input, gates) = gates.split_at_mut(hidden);
            let (output, gates) = gates.split_at_mut(hidden);
            let (forget, candidate) = gates.split_at_mut(hidden);
            self.peep(input, 0, c);
            activate(f, self.clip, input);
            if input_forget {
                forget.iter_mut().zip(&*input).for_each(|(f, i)| *f = T::ONE - *i);
            } else {
                self.peep(forget, 2, c);
                activate(f, self.clip, forget);
            }
            activate(g, self.clip, candidate);
            let kept = forget.iter().zip(input).zip(candidate);
            c.iter_mut().zip(kept).for_each(|(c, ((f, i), g))| *c = *f * *c + *i * *g);
            self.peep(output, 1, c);
            activate(f, self.clip, output);
            scratch.state.copy_from_slice(c);
            activate(last, None, &mut scratch.state);
            h.iter_mut().zip(output.iter().zip(&scratch.state)).for_each(|(h, (o, s))| *h = *o * *s);
        }
        Ok(())
    }

    /// Adds the cell state times its weights in a gate.
    fn peep(&self, gate: &mut [T], index: usize, c: &[T]) {
        if let Some(weights) = self.peepholes {
            let weights = &weights[index * self.hidden..][..self.hidden];
            gate.iter_mut().zip(weights.iter().zip(c)).for_each(|(g, (w, c))| *g = *g + *w * *c);
        }
    }

    fn gru(
        &self,
        gates: &mut [T],
        h: &mut [T],
        scratch: &mut Scratch<T>,
        linear_before_reset: bool,
        active: impl Fn(usize) -> bool,
    ) -> Result<(), OpError> {
        let hidden = self.hidden;
        let [f, g] = self.functions[..] else {
            return Err(OpError::Attribute(format!("{} activations for a GRU", self.functions.len())));
        };
        self.recur(Part::Gates, h, &active, Target { data: gates, pitch: 3 * hidden, first: 0 })?;
        let states = &mut scratch.states;
        for (gates, (state, h)) in
            gates.chunks_mut(3 * hidden).zip(states.chunks_mut(hidden).zip(h.chunks(hidden)))
        {
            activate(f, self.clip, &mut gates[..2 * hidden]);
            let reset = &gates[hidden..2 * hidden];
            if linear_before_reset {
                match self.bias {
                    Some(bias) => state.copy_from_slice(&bias[2 * hidden..]),
                    None => state.fill(T::ZERO),
                }
            } else {
                state.iter_mut().zip(reset.iter().zip(h)).for_each(|(s, (r, h))| *s = *r * *h);
            }
        }
        if linear_before_reset {
            self.recur(Part::Candidate, h, &active, Target { data: states, pitch: hidden, first: 0 })?;
        } else {
            let out = Target { data: gates, pitch: 3 * hidden, first: 2 * hidden };
            self.recur(Part::Candidate, states, &active, out)?;
        }
        for (i, (gates, (state, h))) in
            gates.chunks_mut(3 * hidden).zip(states.chunks(hidden).zip(h.chunks_mut(hidden))).enumerate()
        {
            if !active(i) {
                continue;
            }
            let (update, gates) = gates.split_at_mut(hidden);
            let (reset, candidate) = gates.split_at_mut(hidden);
            if linear_before_reset {
                let kept = reset.iter().zip(state);
                candidate.iter_mut().zip(kept).for_each(|(c, (r, s))| *c = *c + *r * *s);
            }
            activate(g, self.clip, candidate);
            let mixed = update.iter().zip(candidate);
            h.iter_mut().zip(mixed).for_each(|(h, (z, c))| *h = (T::ONE - *z) * *c + *z * *h);
        }
        Ok(())
    }
}
