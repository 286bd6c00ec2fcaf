//! Einsum: the gradient of an operand is the product of the others with that of the result.

use super::elementwise::sum_to;
use super::matmul::as_f32;
use super::picks::Picks;
use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use tq_eval::OpError;
use tq_graph::op::{EinsumEquation, EinsumTerm};
use tq_graph::{Op, Tensor};

/// Sums of products.
pub(super) struct Einsum<'a>(pub(super) &'a EinsumEquation);

impl Gradient for Einsum<'_> {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        needs.iter().enumerate().any(|(j, n)| j != i && *n)
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let mut out = call.nothing();
        for (i, slot) in out.iter_mut().enumerate() {
            if call.needs(i) {
                *slot = Some(self.operand(&call, &gradient, i)?);
            }
        }
        Ok(out)
    }
}

impl Einsum<'_> {
    fn operand(&self, call: &Call<'_>, gradient: &Tensor, i: usize) -> Result<Tensor, OpError> {
        let equation = self.0;
        let term = &equation.operands[i];
        let dims = &call.input_dims[i];
        // Repeated letters stand for a diagonal: first the gradient of that, then its place in the operand.
        let unique = without_repeats(term);
        let mut terms = vec![equation.result.clone()];
        let mut tensors = vec![gradient.clone()];
        for (j, other) in equation.operands.iter().enumerate().filter(|(j, _)| *j != i) {
            terms.push(other.clone());
            tensors.push(as_f32(call, j)?);
        }
        // A letter that stands nowhere else, or with length 1, is summed over: the gradient is the same along it.
        let letters: Vec<char> = unique.letters().collect();
        for letter in letters {
            let len = length(term, dims, letter).unwrap_or(1);
            let mut others = terms.iter().zip(&tensors);
            if !others.any(|(t, x)| length(t, x.dims(), letter) == Some(len)) {
                terms.push(EinsumTerm { head: vec![letter], ellipsis: false, tail: Vec::new() });
                tensors.push(Tensor::vector(vec![1.0f32; len]));
            }
        }
        let backward = EinsumEquation { operands: terms, result: unique.clone() };
        let inputs: Vec<Option<&Tensor>> = tensors.iter().map(Some).collect();
        let full = eval(&Op::Einsum(backward), &inputs)?;
        if unique == *term {
            return sum_to(full, dims);
        }
        let diagonal = Op::Einsum(EinsumEquation { operands: vec![term.clone()], result: unique });
        let back = Picks { op: &diagonal, from: vec![0] };
        // Where others broadcast an axis of length 1, the diagonal has that length.
        let shape = eval(&diagonal, &[Some(&Tensor::new(dims, vec![0i64; dims.iter().product()])?)])?;
        let dims_of_diagonal = shape.dims().to_vec();
        let full = sum_to(full, &dims_of_diagonal)?;
        let inner = Call {
            inputs: vec![None],
            outputs: vec![None],
            input_dims: std::slice::from_ref(dims),
            output_dims: std::slice::from_ref(&dims_of_diagonal),
            needs: &[true],
            gradients: vec![Some(full)],
        };
        back.backward(inner)?.swap_remove(0).ok_or(OpError::MissingInput { index: i })
    }
}

/// The length of a letter's axis.
fn length(term: &EinsumTerm, dims: &[usize], letter: char) -> Option<usize> {
    let head = term.head.iter().position(|l| *l == letter);
    let tail = || term.tail.iter().rev().position(|l| *l == letter).map(|from_end| dims.len() - 1 - from_end);
    head.or_else(tail).and_then(|at| dims.get(at)).copied()
}

fn without_repeats(term: &EinsumTerm) -> EinsumTerm {
    let mut seen = Vec::new();
    let mut first = |letters: &[char]| -> Vec<char> {
        letters
            .iter()
            .copied()
            .filter(|l| {
                if seen.contains(l) {
                    false
                } else {
                    seen.push(*l);
                    true
                }
            })
            .collect()
    };
    let head = first(&term.head);
    let tail = first(&term.tail);
    EinsumTerm { head, ellipsis: term.ellipsis, tail }
}
