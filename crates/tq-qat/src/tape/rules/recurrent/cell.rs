//! One step of the networks, forward and backward.

use super::activation::Function;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, Slice};
use tq_graph::op::{Activation, RecurrentKind};

/// What all steps of one direction have in common.
pub(super) struct Cell<'a> {
    pub(super) kind: RecurrentKind,
    pub(super) functions: &'a [Activation],
    pub(super) clip: Option<f32>,
    /// Rows of weights by elements of the input.
    pub(super) w: ArrayView2<'a, f32>,
    /// Rows of weights by elements of the hidden state.
    pub(super) r: ArrayView2<'a, f32>,
    /// Biases of the projection, then those of the recurrence; zero where there are none.
    pub(super) b: &'a [f32],
    /// Weights of the cell state in the gates i, o, f; none, or all.
    pub(super) p: &'a [f32],
}

/// What one step was computed from, sample by sample.
pub(super) struct Step {
    pub(super) active: Vec<bool>,
    pub(super) x: Array2<f32>,
    pub(super) h: Array2<f32>,
    pub(super) c: Array2<f32>,
    /// Arguments of the functions of the gates.
    z: Array2<f32>,
    /// What they gave.
    v: Array2<f32>,
    /// LSTM: the new cell state. GRU: the recurrent part of the candidate, or the reset state it is made of.
    extra: Array2<f32>,
}

/// Gradients of the parameters of one direction.
pub(super) struct Sums {
    pub(super) w: Array2<f32>,
    pub(super) r: Array2<f32>,
    pub(super) b: Array1<f32>,
    pub(super) p: Array1<f32>,
}

impl Cell<'_> {
    fn hidden(&self) -> usize {
        self.r.ncols()
    }

    fn function(&self, i: usize) -> Function {
        Function { of: self.functions[i], clip: self.clip }
    }

    pub(super) fn sums(&self) -> Sums {
        Sums {
            w: Array2::zeros(self.w.dim()),
            r: Array2::zeros(self.r.dim()),
            b: Array1::zeros(self.b.len()),
            p: Array1::zeros(self.p.len()),
        }
    }

    /// Moves the states of the active samples on, and tells how.
    pub(super) fn forward(
        &self,
        active: Vec<bool>,
        x: Array2<f32>,
        h: &mut Array2<f32>,
        c: &mut Array2<f32>,
    ) -> Step {
        let (n, hidden, rows) = (x.nrows(), self.hidden(), self.w.nrows());
        let mut z = Array2::<f32>::zeros((n, rows));
        general_mat_mul(1.0, &x, &self.w.t(), 0.0, &mut z);
        z.rows_mut().into_iter().for_each(|mut row| {
            row.iter_mut().zip(&self.b[..rows]).for_each(|(z, b)| *z += b);
        });
        let mut step = Step {
            active,
            x,
            h: h.clone(),
            c: c.clone(),
            v: Array2::zeros((n, rows)),
            z,
            extra: Array2::zeros((n, hidden)),
        };
        match self.kind {
            RecurrentKind::Lstm { input_forget } => self.lstm(&mut step, h, c, input_forget),
            RecurrentKind::Gru { linear_before_reset } => self.gru(&mut step, h, linear_before_reset),
            RecurrentKind::Rnn => {
                self.recur(&mut step.z, &step.h, 0, rows);
                let f = self.function(0);
                for i in 0..n {
                    for k in 0..hidden {
                        step.v[[i, k]] = f.value(step.z[[i, k]]);
                        if step.active[i] {
                            h[[i, k]] = step.v[[i, k]];
                        }
                    }
                }
            }
        }
        step
    }

    /// Adds the product of states with rows of the recurrence weights, and their biases, to the same columns.
    fn recur(&self, out: &mut Array2<f32>, states: &Array2<f32>, first: usize, last: usize) {
        let mut columns = out.slice_axis_mut(Axis(1), Slice::from(first..last));
        general_mat_mul(
            1.0,
            states,
            &self.r.slice_axis(Axis(0), Slice::from(first..last)).t(),
            1.0,
            &mut columns,
        );
        let bias = &self.b[self.w.nrows()..][first..last];
        columns.rows_mut().into_iter().for_each(|mut row| {
            row.iter_mut().zip(bias).for_each(|(z, b)| *z += b);
        });
    }

    fn peephole(&self, gate: usize, k: usize) -> f32 {
        self.p.get(gate * self.hidden() + k).copied().unwrap_or(0.0)
    }

    fn lstm(&self, step: &mut Step, h: &mut Array2<f32>, c: &mut Array2<f32>, input_forget: bool) {
        let hidden = self.hidden();
        self.recur(&mut step.z, &step.h, 0, 4 * hidden);
        let (f, g) = (self.function(0), self.function(1));
        let last = Function { of: self.functions[2], clip: None };
        for i in 0..step.active.len() {
            for k in 0..hidden {
                let (input, output, forget, candidate) = (k, hidden + k, 2 * hidden + k, 3 * hidden + k);
                let before = step.c[[i, k]];
                step.z[[i, input]] += self.peephole(0, k) * before;
                step.z[[i, forget]] += self.peephole(2, k) * before;
                step.v[[i, input]] = f.value(step.z[[i, input]]);
                step.v[[i, forget]] =
                    if input_forget { 1.0 - step.v[[i, input]] } else { f.value(step.z[[i, forget]]) };
                step.v[[i, candidate]] = g.value(step.z[[i, candidate]]);
                let after = step.v[[i, forget]] * before + step.v[[i, input]] * step.v[[i, candidate]];
                step.extra[[i, k]] = after;
                step.z[[i, output]] += self.peephole(1, k) * after;
                step.v[[i, output]] = f.value(step.z[[i, output]]);
                if step.active[i] {
                    c[[i, k]] = after;
                    h[[i, k]] = step.v[[i, output]] * last.value(after);
                }
            }
        }
    }

    fn gru(&self, step: &mut Step, h: &mut Array2<f32>, linear_before_reset: bool) {
        let (n, hidden) = (step.active.len(), self.hidden());
        self.recur(&mut step.z, &step.h, 0, 2 * hidden);
        let (f, g) = (self.function(0), self.function(1));
        for i in 0..n {
            for k in 0..2 * hidden {
                step.v[[i, k]] = f.value(step.z[[i, k]]);
            }
        }
        let reset = step.v.slice_axis(Axis(1), Slice::from(hidden..2 * hidden)).to_owned();
        if linear_before_reset {
            let mut own = Array2::<f32>::zeros((n, 3 * hidden));
            self.recur(&mut own, &step.h, 2 * hidden, 3 * hidden);
            step.extra.assign(&own.slice_axis(Axis(1), Slice::from(2 * hidden..)));
            let mut candidate = step.z.slice_axis_mut(Axis(1), Slice::from(2 * hidden..));
            candidate += &(&reset * &step.extra);
        } else {
            step.extra = &reset * &step.h;
            let states = step.extra.clone();
            self.recur(&mut step.z, &states, 2 * hidden, 3 * hidden);
        }
        for i in 0..n {
            for k in 0..hidden {
                let candidate = g.value(step.z[[i, 2 * hidden + k]]);
                step.v[[i, 2 * hidden + k]] = candidate;
                if step.active[i] {
                    let update = step.v[[i, k]];
                    h[[i, k]] = (1.0 - update) * candidate + update * h[[i, k]];
                }
            }
        }
    }

    /// Takes the gradients of the states after a step to those before it, adds those of the parameters, and gives that
    /// of the input.
    pub(super) fn backward(
        &self,
        step: &Step,
        dh: &mut Array2<f32>,
        dc: &mut Array2<f32>,
        sums: &mut Sums,
    ) -> Array2<f32> {
        let (n, hidden, rows) = (step.active.len(), self.hidden(), self.w.nrows());
        let mut dz = Array2::<f32>::zeros((n, rows));
        match self.kind {
            RecurrentKind::Lstm { input_forget } => {
                self.lstm_back(step, dh, dc, sums, &mut dz, input_forget);
                self.recur_back(&dz, step, dh, sums, 0, rows);
            }
            RecurrentKind::Rnn => {
                let f = self.function(0);
                for i in (0..n).filter(|i| step.active[*i]) {
                    for k in 0..hidden {
                        dz[[i, k]] = dh[[i, k]] * f.slope(step.z[[i, k]]);
                        dh[[i, k]] = 0.0;
                    }
                }
                self.recur_back(&dz, step, dh, sums, 0, rows);
            }
            RecurrentKind::Gru { linear_before_reset } => {
                self.gru_back(step, dh, sums, &mut dz, linear_before_reset);
                self.recur_back(&dz, step, dh, sums, 0, 2 * hidden);
            }
        }
        general_mat_mul(1.0, &dz.t(), &step.x, 1.0, &mut sums.w);
        let mut bias = sums.b.slice_axis_mut(Axis(0), Slice::from(..rows));
        bias += &dz.sum_axis(Axis(0));
        dz.dot(&self.w)
    }

    /// What gradients of gates give the states and the recurrence weights.
    fn recur_back(
        &self,
        dz: &Array2<f32>,
        step: &Step,
        dh: &mut Array2<f32>,
        sums: &mut Sums,
        first: usize,
        last: usize,
    ) {
        let of_part = dz.slice_axis(Axis(1), Slice::from(first..last));
        general_mat_mul(
            1.0,
            &of_part.t(),
            &step.h,
            1.0,
            &mut sums.r.slice_axis_mut(Axis(0), Slice::from(first..last)),
        );
        general_mat_mul(1.0, &of_part, &self.r.slice_axis(Axis(0), Slice::from(first..last)), 1.0, dh);
        let rows = self.w.nrows();
        let mut bias = sums.b.slice_axis_mut(Axis(0), Slice::from(rows + first..rows + last));
        bias += &of_part.sum_axis(Axis(0));
    }

    fn lstm_back(
        &self,
        step: &Step,
        dh: &mut Array2<f32>,
        dc: &mut Array2<f32>,
        sums: &mut Sums,
        dz: &mut Array2<f32>,
        input_forget: bool,
    ) {
        let hidden = self.hidden();
        let (f, g) = (self.function(0), self.function(1));
        let last = Function { of: self.functions[2], clip: None };
        let peeps = !self.p.is_empty();
        for i in (0..step.active.len()).filter(|i| step.active[*i]) {
            for k in 0..hidden {
                let (input, output, forget, candidate) = (k, hidden + k, 2 * hidden + k, 3 * hidden + k);
                let (before, after) = (step.c[[i, k]], step.extra[[i, k]]);
                let dy = dh[[i, k]];
                dh[[i, k]] = 0.0;
                let d_output = dy * last.value(after) * f.slope(step.z[[i, output]]);
                let d_after = dc[[i, k]]
                    + dy * step.v[[i, output]] * last.slope(after)
                    + d_output * self.peephole(1, k);
                let d_forget = d_after * before;
                let mut d_input = d_after * step.v[[i, candidate]];
                let mut d_before = d_after * step.v[[i, forget]];
                dz[[i, output]] = d_output;
                dz[[i, candidate]] = d_after * step.v[[i, input]] * g.slope(step.z[[i, candidate]]);
                if input_forget {
                    d_input -= d_forget;
                } else {
                    dz[[i, forget]] = d_forget * f.slope(step.z[[i, forget]]);
                    d_before += dz[[i, forget]] * self.peephole(2, k);
                }
                dz[[i, input]] = d_input * f.slope(step.z[[i, input]]);
                d_before += dz[[i, input]] * self.peephole(0, k);
                dc[[i, k]] = d_before;
                if peeps {
                    sums.p[k] += dz[[i, input]] * before;
                    sums.p[hidden + k] += dz[[i, output]] * after;
                    sums.p[2 * hidden + k] += dz[[i, forget]] * before;
                }
            }
        }
    }

    fn gru_back(
        &self,
        step: &Step,
        dh: &mut Array2<f32>,
        sums: &mut Sums,
        dz: &mut Array2<f32>,
        linear_before_reset: bool,
    ) {
        let (n, hidden, rows) = (step.active.len(), self.hidden(), self.w.nrows());
        let (f, g) = (self.function(0), self.function(1));
        for i in (0..n).filter(|i| step.active[*i]) {
            for k in 0..hidden {
                let (update, candidate) = (step.v[[i, k]], step.v[[i, 2 * hidden + k]]);
                let dy = dh[[i, k]];
                dz[[i, k]] = dy * (step.h[[i, k]] - candidate) * f.slope(step.z[[i, k]]);
                dz[[i, 2 * hidden + k]] = dy * (1.0 - update) * g.slope(step.z[[i, 2 * hidden + k]]);
                dh[[i, k]] = dy * update;
            }
        }
        let of_candidate = dz.slice_axis(Axis(1), Slice::from(2 * hidden..)).to_owned();
        let reset = step.v.slice_axis(Axis(1), Slice::from(hidden..2 * hidden));
        let weights = self.r.slice_axis(Axis(0), Slice::from(2 * hidden..));
        // What the recurrence weights of the candidate were applied to, and the gradient of what they gave.
        let (operand, product) = match linear_before_reset {
            true => (&step.h, &of_candidate * &reset),
            false => (&step.extra, of_candidate.clone()),
        };
        general_mat_mul(
            1.0,
            &product.t(),
            operand,
            1.0,
            &mut sums.r.slice_axis_mut(Axis(0), Slice::from(2 * hidden..)),
        );
        let mut bias = sums.b.slice_axis_mut(Axis(0), Slice::from(rows + 2 * hidden..));
        bias += &product.sum_axis(Axis(0));
        let back = product.dot(&weights);
        for i in (0..n).filter(|i| step.active[*i]) {
            for k in 0..hidden {
                let d_reset = if linear_before_reset {
                    dh[[i, k]] += back[[i, k]];
                    of_candidate[[i, k]] * step.extra[[i, k]]
                } else {
                    dh[[i, k]] += back[[i, k]] * reset[[i, k]];
                    back[[i, k]] * step.h[[i, k]]
                };
                dz[[i, hidden + k]] = d_reset * f.slope(step.z[[i, hidden + k]]);
            }
        }
    }
}
