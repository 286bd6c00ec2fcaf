//! Einsum: operands are contracted two at a time, each time as one batched matrix product.

use super::matmul::{Batches, Product};
use super::movement::copy_strided;
use super::{Context, same_dtype};
use crate::OpError;
use crate::number::{Number, with_number};
use crate::shape::{broadcast, numel, strides};
use std::collections::BTreeMap;
use tq_graph::Tensor;
use tq_graph::op::{EinsumEquation, EinsumTerm};

/// An axis: a letter, or one of those that ellipses stand for, counted from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Letter(char),
    Ellipsis(usize),
}

/// A tensor whose axes have different labels.
struct Term {
    labels: Vec<Label>,
    tensor: Tensor,
}

impl Term {
    fn has(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    /// The product of the lengths of these axes.
    fn len(&self, labels: &[Label]) -> usize {
        labels.iter().filter_map(|l| self.position(*l)).map(|at| self.tensor.dims()[at]).product()
    }

    fn position(&self, label: Label) -> Option<usize> {
        self.labels.iter().position(|l| *l == label)
    }

    /// The same with the axes in this order, and the dimensions given.
    fn arranged(&self, ctx: &Context, labels: &[Label], dims: &[usize]) -> Result<Tensor, OpError> {
        let own = strides(self.tensor.dims());
        let places = || labels.iter().filter_map(|l| self.position(*l));
        let lens: Vec<usize> = places().map(|at| self.tensor.dims()[at]).collect();
        let steps: Vec<isize> = places().map(|at| own[at] as isize).collect();
        Ok(copy_strided(ctx, &self.tensor, 0, &lens, &steps)?.reshape(dims)?)
    }

    /// The same with only these axes; all others are summed over.
    fn summed<T: Number>(self, ctx: &Context, keep: &[Label]) -> Result<Term, OpError> {
        let (labels, rest): (Vec<Label>, Vec<Label>) = self.labels.iter().partition(|l| keep.contains(l));
        if rest.is_empty() {
            return Ok(self);
        }
        let inner = self.len(&rest);
        let dims: Vec<usize> = labels.iter().map(|l| self.len(std::slice::from_ref(l))).collect();
        let all: Vec<Label> = labels.iter().chain(&rest).copied().collect();
        let ordered = self.arranged(ctx, &all, &[numel(&dims), inner])?;
        let mut out = ctx.zeros::<T>(&dims)?;
        if inner > 0 {
            for (o, run) in out.iter_mut().zip(ordered.as_slice::<T>()?.chunks(inner)) {
                *o = if T::DTYPE.is_float() {
                    T::of_f64(run.iter().map(|v| v.to_f64()).sum())
                } else {
                    run.iter().fold(T::ZERO, |sum, v| sum.plus(*v))
                };
            }
        }
        Ok(Term { labels, tensor: Tensor::new(&dims, out)? })
    }
}

/// The labels of the axes of an operand, or of the result, when ellipses stand for `free` axes.
fn labels(term: &EinsumTerm, free: usize) -> Vec<Label> {
    let middle = (0..free).rev().map(Label::Ellipsis).filter(|_| term.ellipsis);
    let letter = |c: &char| Label::Letter(*c);
    term.head.iter().map(letter).chain(middle).chain(term.tail.iter().map(letter)).collect()
}

/// Lengths of all axes.
type Lengths = BTreeMap<Label, usize>;

/// The labels of every operand, and the length of every axis.
fn bind(operands: &[&Tensor], equation: &EinsumEquation) -> Result<(Vec<Vec<Label>>, Lengths), OpError> {
    if operands.len() != equation.operands.len() {
        return Err(OpError::Attribute(format!("{} operands for {equation}", operands.len())));
    }
    let mut lengths = Lengths::new();
    let mut all = Vec::with_capacity(operands.len());
    for (i, (x, term)) in operands.iter().zip(&equation.operands).enumerate() {
        let bad = || OpError::Shape(format!("operand {i} of shape {:?} does not fit {term}", x.dims()));
        let letters = term.head.len() + term.tail.len();
        let free = x.rank().checked_sub(letters).filter(|n| term.ellipsis || *n == 0).ok_or_else(bad)?;
        let labels = labels(term, free);
        for (label, len) in labels.iter().zip(x.dims()) {
            let known = lengths.entry(*label).or_insert(*len);
            *known = broadcast(&[*known], &[*len]).map_err(|_| bad())?[0];
        }
        all.push(labels);
    }
    Ok((all, lengths))
}

/// An operand with one axis a label: repeated ones become their diagonal. An axis of length 1 that others have longer
/// is left out.
fn operand(ctx: &Context, x: &Tensor, labels: &[Label], lengths: &Lengths) -> Result<Term, OpError> {
    let own = strides(x.dims());
    let mut axes: Vec<(Label, usize, isize)> = Vec::new();
    for ((label, len), step) in labels.iter().zip(x.dims()).zip(own) {
        let step = if *len == 1 { 0 } else { step as isize };
        match axes.iter_mut().find(|(l, _, _)| l == label) {
            // Beside a longer axis of the same label one of length 1 stays where it is.
            Some((_, known, all)) => (*known, *all) = (if *known == 1 { *len } else { *known }, *all + step),
            None => axes.push((*label, *len, step)),
        }
    }
    axes.retain(|(label, len, _)| *len != 1 || lengths.get(label) == Some(&1));
    let dims: Vec<usize> = axes.iter().map(|(_, len, _)| *len).collect();
    let steps: Vec<isize> = axes.iter().map(|(_, _, step)| *step).collect();
    let tensor = copy_strided(ctx, x, 0, &dims, &steps)?;
    Ok(Term { labels: axes.into_iter().map(|(label, _, _)| label).collect(), tensor })
}

/// The product of two operands, summed over the axes that nobody needs after it.
fn contract<T: Product>(ctx: &Context, a: &Term, b: &Term, needed: &[Label]) -> Result<Term, OpError> {
    let (both, of_a): (Vec<Label>, Vec<Label>) = a.labels.iter().partition(|l| b.has(**l));
    let (batch, inner): (Vec<Label>, Vec<Label>) = both.into_iter().partition(|l| needed.contains(l));
    let of_b: Vec<Label> = b.labels.iter().copied().filter(|l| !a.has(*l)).collect();
    let (n, m, k, p) = (a.len(&batch), a.len(&of_a), a.len(&inner), b.len(&of_b));
    let lhs = a.arranged(ctx, &[&batch[..], &of_a, &inner].concat(), &[n, m, k])?;
    let rhs = b.arranged(ctx, &[&batch[..], &inner, &of_b].concat(), &[n, k, p])?;
    let labels: Vec<Label> = [batch, of_a, of_b].concat();
    let length = |l: &Label| a.position(*l).map_or_else(|| b.len(&[*l]), |at| a.tensor.dims()[at]);
    let dims: Vec<usize> = labels.iter().map(length).collect();
    let data = if (m, k, p) == (1, 1, 1) {
        let pairs = lhs.as_slice::<T>()?.iter().zip(rhs.as_slice::<T>()?);
        pairs.map(|(a, b)| a.times(*b)).collect()
    } else {
        Batches::new(lhs.dims(), rhs.dims())?.multiply::<T>(ctx, lhs.as_slice()?, rhs.as_slice()?)?
    };
    Ok(Term { labels, tensor: Tensor::new(&dims, data)? })
}

/// Sums of products as the equation says.
pub(crate) fn einsum(
    ctx: &Context,
    operands: &[&Tensor],
    equation: &EinsumEquation,
) -> Result<Tensor, OpError> {
    let Some(first) = operands.first() else { return Err(OpError::MissingInput { index: 0 }) };
    for x in operands {
        same_dtype(first, x, "an operand")?;
    }
    let (all, lengths) = bind(operands, equation)?;
    let free = lengths.keys().filter(|l| matches!(l, Label::Ellipsis(_))).count();
    let result = labels(&equation.result, free);
    let dims: Vec<usize> = result.iter().filter_map(|l| lengths.get(l)).copied().collect();
    with_number!(first.dtype(), T => {
        ctx.numel::<T>(&dims)?;
        let mut terms = Vec::with_capacity(operands.len());
        for (x, labels) in operands.iter().zip(&all) {
            terms.push(operand(ctx, x, labels, &lengths)?);
        }
        let total = contracted::<T>(ctx, terms, &result)?;
        total.arranged(ctx, &result, &dims)
    })
}

/// The product of all operands, summed over the axes that the result does not have.
fn contracted<T: Product>(ctx: &Context, terms: Vec<Term>, result: &[Label]) -> Result<Term, OpError> {
    let needed = |others: &[&Term]| -> Vec<Label> {
        result.iter().chain(others.iter().flat_map(|t| &t.labels)).copied().collect()
    };
    let mut rest: Vec<Term> = Vec::with_capacity(terms.len());
    let mut left: std::collections::VecDeque<Term> = terms.into();
    while let Some(term) = left.pop_front() {
        let others: Vec<&Term> = left.iter().chain(&rest).collect();
        let keep = needed(&others);
        rest.push(term.summed::<T>(ctx, &keep)?);
    }
    let mut rest = rest.into_iter();
    let mut total = rest.next().ok_or(OpError::MissingInput { index: 0 })?;
    let mut rest: Vec<Term> = rest.collect();
    while !rest.is_empty() {
        // One that shares an axis, where there is one: outer products grow.
        let next = rest.iter().position(|t| t.labels.iter().any(|l| total.has(*l))).unwrap_or(0);
        let term = rest.remove(next);
        let keep = needed(&rest.iter().collect::<Vec<_>>());
        total = contract::<T>(ctx, &total, &term, &keep)?;
    }
    Ok(total)
}
