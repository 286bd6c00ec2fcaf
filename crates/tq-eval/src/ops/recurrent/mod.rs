//! LSTM, GRU, RNN.
//!
//! The projections of many steps are one matrix product; after it each step adds the product of the state with the
//! recurrence weights. Directions and blocks of samples are independent and run in parallel; how they are cut
//! follows from the shapes alone. After the end of a sequence outputs are zero; the final states are those of its
//! last element.

mod activation;
mod cell;
mod products;
mod sequence;

use super::{Context, DEFAULT_MAX_TENSOR_BYTES, Inputs, promoted, same_dtype};
use crate::number::{Real, with_real};
use crate::{OpError, Precision};
use products::{Matrices, range_of};
pub use products::{Operand, Part, Products, Target};
use rayon::prelude::*;
use sequence::{Block, Network};
use tq_graph::Tensor;
use tq_graph::op::{Direction, RecurrentAttrs, RecurrentKind};
use tq_qtypes::DType;

/// Samples that one task works on.
const SAMPLES: usize = 32;

/// Sizes that the data has.
#[derive(Debug, Clone, Copy)]
struct Shape {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    /// Rows of weights: as many as gates for each element of the hidden state.
    rows: usize,
    batch_first: bool,
}

impl Shape {
    fn new(x: &Tensor, kind: RecurrentKind, attrs: &RecurrentAttrs) -> Result<Self, OpError> {
        let [first, second, input] = *x.dims() else {
            return Err(OpError::Shape(format!("input of shape {:?}, expected rank 3", x.dims())));
        };
        let (steps, batch) = if attrs.batch_first { (second, first) } else { (first, second) };
        let hidden = attrs.hidden_size;
        let Some(rows) = hidden.checked_mul(kind.gates()).filter(|n| (1..usize::MAX / 2).contains(n)) else {
            return Err(OpError::Attribute(format!("hidden_size is {hidden}")));
        };
        let directions = attrs.direction.count();
        let functions = directions * kind.default_activations().len();
        if attrs.activations.len() != functions {
            let message = format!("{} activations, expected {functions}", attrs.activations.len());
            return Err(OpError::Attribute(message));
        }
        Ok(Self { steps, batch, input, hidden, directions, rows, batch_first: attrs.batch_first })
    }

    /// Shape of the initial and the final states.
    fn state(&self) -> [usize; 3] {
        if self.batch_first {
            [self.batch, self.directions, self.hidden]
        } else {
            [self.directions, self.batch, self.hidden]
        }
    }

    /// Where the state of a sample begins, counted in states.
    fn state_at(&self, direction: usize, sample: usize) -> usize {
        if self.batch_first { sample * self.directions + direction } else { direction * self.batch + sample }
    }

    /// Where the input of a step begins, counted in inputs.
    fn input_at(&self, step: usize, sample: usize) -> usize {
        if self.batch_first { sample * self.steps + step } else { step * self.batch + sample }
    }

    fn sequence(&self) -> [usize; 4] {
        if self.batch_first {
            [self.batch, self.steps, self.directions, self.hidden]
        } else {
            [self.steps, self.directions, self.batch, self.hidden]
        }
    }

    /// Where the output of a step begins, counted in states.
    fn output_at(&self, step: usize, direction: usize, sample: usize) -> usize {
        if self.batch_first {
            (sample * self.steps + step) * self.directions + direction
        } else {
            (step * self.directions + direction) * self.batch + sample
        }
    }
}

fn expect(t: &Tensor, name: &str, dims: &[usize]) -> Result<(), OpError> {
    if t.dims() == dims {
        return Ok(());
    }
    Err(OpError::Shape(format!("{name} has shape {:?}, expected {dims:?}", t.dims())))
}

/// How many steps every sample has, where that is told.
fn lengths(lens: Option<&Tensor>, shape: &Shape) -> Result<Option<Vec<usize>>, OpError> {
    let Some(lens) = lens else { return Ok(None) };
    if lens.dtype() != DType::I32 {
        return Err(OpError::DType { what: "sequence_lens", got: lens.dtype(), expected: "i32".into() });
    }
    expect(lens, "sequence_lens", &[shape.batch])?;
    let one = |n: &i32| match usize::try_from(*n) {
        Ok(len) if len <= shape.steps => Ok(len),
        _ => Err(OpError::Attribute(format!("a sequence length is {n}, of at most {} steps", shape.steps))),
    };
    lens.as_slice::<i32>()?.iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// The operator; gives `y, y_h` and, for an LSTM, `y_c`, as many of them as asked for.
pub(crate) fn recurrent(
    ctx: &Context,
    inputs: Inputs,
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.need(0)?;
    let shape = Shape::new(x, kind, attrs)?;
    let Shape { directions, input, hidden, rows, .. } = shape;
    for (i, name, dims) in [(1, "w", [directions, rows, input]), (2, "r", [directions, rows, hidden])] {
        let t = inputs.need(i)?;
        same_dtype(x, t, name)?;
        expect(t, name, &dims)?;
    }
    with_real!(x.dtype(), T => {
        let (w, r) = (inputs.need(1)?.as_slice::<T>()?, inputs.need(2)?.as_slice::<T>()?);
        let products =
            Matrices { directions, hidden, rows, input, w, r, dynamic: attrs.dynamic, codes_in_f32: false };
        evaluated(ctx, inputs, kind, attrs, n_outputs, &products, None)
    })
}

/// The operator in f64, where every step begins from the hidden state that another evaluation had: `y` is its result.
///
/// An operator that quantizes its state amplifies differences: a tie that falls the other way is a whole code in all that
/// follows. Step by step two evaluations can be compared: codes are chosen in f32, as DynamicQuantizeLinear does, and all
/// else is f64. The final hidden states are those of `y`.
///
/// # Errors
/// Those of the operator, and [`OpError::Shape`] where `y` is not its result.
pub fn recurrent_following(
    inputs: &[Option<&Tensor>],
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
    n_outputs: usize,
    y: &Tensor,
) -> Result<Vec<Tensor>, OpError> {
    let ctx = Context { precision: Precision::F64, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES };
    let wide = |t: &Tensor| if t.dtype().is_float() { promoted(&ctx, t) } else { Ok(t.clone()) };
    let inputs = inputs.iter().map(|t| t.map(wide).transpose()).collect::<Result<Vec<_>, _>>()?;
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let inputs = Inputs(&inputs);
    let shape = Shape::new(inputs.need(0)?, kind, attrs)?;
    expect(y, "y", &shape.sequence())?;
    let y = wide(y)?;
    let Shape { directions, input, hidden, rows, .. } = shape;
    for (i, name, dims) in [(1, "w", [directions, rows, input]), (2, "r", [directions, rows, hidden])] {
        expect(inputs.need(i)?, name, &dims)?;
    }
    let (w, r) = (inputs.need(1)?.as_slice::<f64>()?, inputs.need(2)?.as_slice::<f64>()?);
    let products =
        Matrices { directions, hidden, rows, input, w, r, dynamic: attrs.dynamic, codes_in_f32: true };
    evaluated(&ctx, inputs, kind, attrs, n_outputs, &products, Some(y.as_slice::<f64>()?))
}

/// The operator on f32 data with matrix products of the caller's own; the weights among `inputs` are not looked at.
///
/// # Errors
/// Those of the operator for inputs that do not fit it, and those of `products`.
pub fn recurrent_with(
    inputs: &[Option<&Tensor>],
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
    n_outputs: usize,
    products: &dyn Products<f32>,
) -> Result<Vec<Tensor>, OpError> {
    let ctx = Context { precision: Precision::F32, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES };
    evaluated(&ctx, Inputs(inputs), kind, attrs, n_outputs, products, None)
}

fn evaluated<T: Real>(
    ctx: &Context,
    inputs: Inputs,
    kind: RecurrentKind,
    attrs: &RecurrentAttrs,
    n_outputs: usize,
    products: &dyn Products<T>,
    follow: Option<&[T]>,
) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.need(0)?;
    let shape = Shape::new(x, kind, attrs)?;
    let Shape { directions, hidden, rows, .. } = shape;
    let state = shape.state();
    let expected: [(usize, &'static str, &[usize]); 4] = [
        (3, "b", &[directions, 2 * rows]),
        (5, "initial_h", &state),
        (6, "initial_c", &state),
        (7, "p", &[directions, hidden.saturating_mul(3)]),
    ];
    for (i, name, dims) in expected {
        if let Some(t) = inputs.get(i) {
            same_dtype(x, t, name)?;
            expect(t, name, dims)?;
        }
    }
    let lens = lengths(inputs.get(4), &shape)?;
    let optional = |i: usize| inputs.get(i).map(|t| t.as_slice::<T>()).transpose();
    let mut network = Network {
        kind,
        attrs,
        shape,
        x: x.as_slice::<T>()?,
        products,
        range: None,
        b: optional(3)?,
        h: optional(5)?,
        c: optional(6)?,
        p: optional(7)?,
        lens: lens.as_deref(),
        follow,
        clip: attrs.clip.map(T::of_f32),
    };
    network.range = attrs.dynamic.map(|_| data_range(&network));
    run(ctx, &network, n_outputs)
}

/// The range of the data that the sequences have: what stands after the end of one does not count.
fn data_range<T: Real>(network: &Network<'_, T>) -> (f32, f32) {
    let Shape { batch, input, .. } = network.shape;
    let rows = (0..batch).flat_map(|sample| (0..network.len(sample)).map(move |step| (step, sample)));
    range_of(rows.map(|(step, sample)| &network.x[network.shape.input_at(step, sample) * input..][..input]))
}

fn run<T: Real>(ctx: &Context, network: &Network<'_, T>, n_outputs: usize) -> Result<Vec<Tensor>, OpError> {
    let shape = &network.shape;
    let hidden = shape.hidden;
    let mut y = ctx.zeros::<T>(&shape.sequence())?;
    let mut states = [ctx.zeros::<T>(&shape.state())?, ctx.zeros::<T>(&shape.state())?];
    // States that are quantized share their parameters: then all samples are one block.
    let samples = if network.range.is_some() { shape.batch.max(1) } else { SAMPLES };
    let blocks: Vec<(usize, usize)> = (0..shape.directions)
        .flat_map(|d| (0..shape.batch).step_by(samples).map(move |first| (d, first)))
        .collect();
    let finished = blocks.into_par_iter().map(|(direction, first)| {
        let samples = first..shape.batch.min(first + samples);
        let reverse = direction == 1 || network.attrs.direction == Direction::Reverse;
        network.run(ctx, direction, samples, reverse)
    });
    for block in finished.collect::<Result<Vec<Block<T>>, OpError>>()? {
        let n = block.samples.len();
        for (i, sample) in block.samples.clone().enumerate() {
            for step in 0..shape.steps {
                let at = shape.output_at(step, block.direction, sample) * hidden;
                y[at..][..hidden].copy_from_slice(&block.y[(step * n + i) * hidden..][..hidden]);
            }
            let at = shape.state_at(block.direction, sample) * hidden;
            for (all, own) in states.iter_mut().zip([&block.h, &block.c]) {
                all[at..][..hidden].copy_from_slice(&own[i * hidden..][..hidden]);
            }
        }
    }
    let mut outputs = vec![Tensor::new(&shape.sequence(), y)?];
    for state in states.into_iter().take(n_outputs.saturating_sub(1)) {
        outputs.push(Tensor::new(&shape.state(), state)?);
    }
    Ok(outputs)
}
