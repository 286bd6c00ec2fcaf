//! Einsum as the products of matrices that it stands for.

use super::edit::{At, Editor};
use tq_graph::op::{EinsumEquation, EinsumTerm};
use tq_graph::{Op, Tensor, ValueId};

/// An operand with a letter for each of its axes.
#[derive(Clone)]
struct Operand {
    value: ValueId,
    letters: Vec<char>,
}

/// An operator on the value before it, with a constant beside it where it takes one.
struct Step(Op, Option<Tensor>);

/// Rewrites an Einsum to MatMul between Transpose, Reshape, Squeeze and Unsqueeze, where it is a product of matrices:
/// of data and weights over any letters, or of two activations over one. Three operands, one of them constant, are two
/// products. False where it is no such thing and stays.
pub(super) fn to_products(ed: &mut Editor<'_>, at: At) -> bool {
    let node = ed.node(at);
    let (Op::Einsum(equation), Some(out)) = (&node.op, node.output(0)) else { return false };
    let inputs: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
    let Some((operands, result)) = spelled_out(ed, equation, &inputs, out) else { return false };
    match operands.as_slice() {
        [x, y] => product(ed, at, x, y, &result),
        [_, _, _] => two_products(ed, at, &operands, &result),
        _ => false,
    }
}

/// The letters of operands and result, axes of an ellipsis among them; `None` where they are not those of matrices.
fn spelled_out(
    ed: &Editor<'_>,
    equation: &EinsumEquation,
    inputs: &[ValueId],
    out: ValueId,
) -> Option<(Vec<Operand>, Vec<char>)> {
    // Axes of an ellipsis that two operands have may be broadcast.
    if equation.operands.iter().filter(|o| o.ellipsis).count() > 1 || equation.operands.len() != inputs.len()
    {
        return None;
    }
    let spelled = |term: &EinsumTerm, rank: usize| {
        let hidden = rank.checked_sub(term.letters().count()).filter(|n| *n == 0 || term.ellipsis)?;
        // Letters of an equation are ASCII.
        let between = (0..hidden as u32).filter_map(|i| char::from_u32(0xE000 + i));
        let letters: Vec<char> =
            term.head.iter().copied().chain(between).chain(term.tail.iter().copied()).collect();
        let repeated = letters.iter().enumerate().any(|(i, c)| letters[..i].contains(c));
        (!repeated).then_some(letters)
    };
    let mut operands = Vec::new();
    for (value, term) in inputs.iter().zip(&equation.operands) {
        let letters = spelled(term, ed.rank(*value).filter(|_| ed.is_f32(*value))?)?;
        operands.push(Operand { value: *value, letters });
    }
    Some((operands, spelled(&equation.result, ed.rank(out)?)?))
}

/// A product of two matrices, or stacks of them, with what goes before and after it.
struct Product {
    left: (ValueId, Vec<Step>),
    right: Right,
    after: Vec<Step>,
}

enum Right {
    Data(ValueId, Vec<Step>),
    /// Weights, with the name of what they are made of.
    Weights(String, Tensor),
}

/// Makes `at` the product of `x` and `y`.
fn product(ed: &mut Editor<'_>, at: At, x: &Operand, y: &Operand, result: &[char]) -> bool {
    let found = match (ed.graph.constant(x.value).is_some(), ed.graph.constant(y.value).is_some()) {
        (false, true) => with_weights(ed, x, y, result),
        (true, false) => with_weights(ed, y, x, result),
        (false, false) => of_activations(ed, x, y, result),
        (true, true) => None,
    };
    let Some(product) = found else { return false };
    become_product(ed, at, product);
    true
}

/// The constant one with the operand that it shares a sum with first, then what that gives with the third.
fn two_products(ed: &mut Editor<'_>, at: At, operands: &[Operand], result: &[char]) -> bool {
    let is_constant = |o: &&Operand| ed.graph.constant(o.value).is_some();
    let (weights, data): (Vec<&Operand>, Vec<&Operand>) = operands.iter().partition(is_constant);
    let ([w], [a, b]) = (weights.as_slice(), data.as_slice()) else { return false };
    for (first, last) in [(a, b), (b, a)] {
        let needed = |c: &char| last.letters.contains(c) || result.contains(c);
        let mut between: Vec<char> = first.letters.iter().copied().filter(needed).collect();
        between.extend(w.letters.iter().filter(|c| needed(c) && !first.letters.contains(c)));
        let Some(inner) = with_weights(ed, first, w, &between) else { continue };
        // Nothing is added before it is known that the second product is one too.
        let Some(outer) = stacks(&between, &last.letters, result) else { continue };
        let shared = |o: &Operand| -> Vec<char> {
            o.letters.iter().copied().filter(|c| last.letters.contains(c)).collect()
        };
        if [first, w].into_iter().any(|o| agree(ed, o, last, &shared(o)).is_none()) {
            continue;
        }
        let (left, right) = sides(ed, at, inner.left, inner.right);
        let base = ed.node(at).name.clone();
        let value = add(ed, at, &format!("{base}_MatMul"), Op::MatMul, &[left, right]);
        let value = chain(ed, at, value, inner.after);
        become_product(ed, at, outer.of(value, last.value));
        return true;
    }
    false
}

/// The node `at` multiplies from now on, and keeps its name; what comes after gives its output.
fn become_product(ed: &mut Editor<'_>, at: At, product: Product) {
    let (left, right) = sides(ed, at, product.left, product.right);
    ed.rewrite(at, Op::MatMul, &[left, right]);
    if let (false, Some(out)) = (product.after.is_empty(), ed.node(at).output(0)) {
        let between = ed.add_value(&format!("{}_product", ed.name_of(out).to_owned()));
        ed.rename_output(at, out, between);
        let last = chain(ed, at, between, product.after);
        if let Some(node) = ed.producer(last) {
            ed.rename_output(node, last, out);
        }
    }
}

fn sides(ed: &mut Editor<'_>, at: At, left: (ValueId, Vec<Step>), right: Right) -> (ValueId, ValueId) {
    let left = chain(ed, at, left.0, left.1);
    let right = match right {
        Right::Data(value, steps) => chain(ed, at, value, steps),
        Right::Weights(base, tensor) => ed.add_constant(&base, tensor),
    };
    (left, right)
}

/// Applies the steps one after the other.
fn chain(ed: &mut Editor<'_>, at: At, from: ValueId, steps: Vec<Step>) -> ValueId {
    steps.into_iter().fold(from, |value, Step(op, constant)| {
        let base = format!("{}_{}", ed.name_of(value), op.name());
        let mut inputs = vec![value];
        inputs.extend(constant.map(|t| ed.add_constant(&format!("{base}_axes"), t)));
        add(ed, at, &base, op, &inputs)
    })
}

/// A node before `at`, whose result has a shape of its own.
fn add(ed: &mut Editor<'_>, at: At, base: &str, op: Op, inputs: &[ValueId]) -> ValueId {
    let out = ed.add_node_before(at, base, op, inputs);
    ed.graph.values[out.0].shape = None;
    out
}

/// `x`, and weights of which any letters are summed over and any are new.
fn with_weights(ed: &Editor<'_>, x: &Operand, w: &Operand, result: &[char]) -> Option<Product> {
    let split = Split::new(&x.letters, &w.letters, result)?;
    if !split.stacked.is_empty() || split.summed.is_empty() || split.left.is_empty() {
        return None;
    }
    let (data, dims) = ed.constant_f32(w.value)?;
    agree(ed, x, w, &split.summed)?;
    let size = |c: &char| w.letters.iter().position(|l| l == c).map(|i| dims[i]);
    let sizes = |letters: &[char]| letters.iter().map(size).collect::<Option<Vec<usize>>>();
    let (summed, new) = (sizes(&split.summed)?, sizes(&split.right)?);
    let order = [&split.summed[..], &split.right[..]].concat();
    let matrix = permuted(data, dims, &w.letters, &order)?;
    let (rows, columns) = (summed.iter().product::<usize>(), new.iter().product::<usize>());
    let tensor = Tensor::new(&[rows, columns], matrix).ok()?;
    // A 0 keeps the axis in its place.
    let kept = vec![0i64; split.left.len()];
    let reshape = |last: Vec<i64>| {
        let to = [kept.clone(), last].concat();
        Step(Op::Reshape { allow_zero: false }, Some(Tensor::vector(to)))
    };
    let mut before = transposed(&x.letters, &[&split.left[..], &split.summed[..]].concat());
    if split.summed.len() > 1 {
        before.push(reshape(vec![rows as i64]));
    }
    let mut after = Vec::new();
    if split.right.len() != 1 {
        after.push(reshape(new.iter().map(|n| *n as i64).collect()));
    }
    after.extend(transposed(&[&split.left[..], &split.right[..]].concat(), result));
    let weights = Right::Weights(format!("{}_matrix", ed.name_of(w.value)), tensor);
    Some(Product { left: (x.value, before), right: weights, after })
}

/// Two activations: stacks of matrices with one letter summed over.
fn of_activations(ed: &Editor<'_>, x: &Operand, y: &Operand, result: &[char]) -> Option<Product> {
    let split = Split::new(&x.letters, &y.letters, result)?;
    agree(ed, x, y, &[&split.stacked[..], &split.summed[..]].concat())?;
    Some(stacks(&x.letters, &y.letters, result)?.of(x.value, y.value))
}

/// A product of two activations before it is known which.
struct Stacks {
    left: Vec<Step>,
    right: Vec<Step>,
    after: Vec<Step>,
}

impl Stacks {
    fn of(self, x: ValueId, y: ValueId) -> Product {
        Product { left: (x, self.left), right: Right::Data(y, self.right), after: self.after }
    }
}

fn stacks(x: &[char], y: &[char], result: &[char]) -> Option<Stacks> {
    let split = Split::new(x, y, result)?;
    let Split { stacked, summed, left, right } = &split;
    if summed.len() != 1 || left.len() > 1 || right.len() > 1 {
        return None;
    }
    let axis = |i: usize| Some(Tensor::vector(vec![i as i64]));
    let depth = stacked.len();
    let mut before = transposed(x, &[&stacked[..], &left[..], &summed[..]].concat());
    if left.is_empty() {
        before.push(Step(Op::Unsqueeze, axis(depth)));
    }
    let mut other = transposed(y, &[&stacked[..], &summed[..], &right[..]].concat());
    if right.is_empty() {
        other.push(Step(Op::Unsqueeze, axis(depth + 1)));
    }
    let mut after = Vec::new();
    if right.is_empty() {
        after.push(Step(Op::Squeeze, axis(depth + 1)));
    }
    if left.is_empty() {
        after.push(Step(Op::Squeeze, axis(depth)));
    }
    after.extend(transposed(&[&stacked[..], &left[..], &right[..]].concat(), result));
    Some(Stacks { left: before, right: other, after })
}

/// What the letters of two operands are to their product, in the order of the result, or of the first operand.
struct Split {
    /// In both and in the result.
    stacked: Vec<char>,
    /// In both, and not in the result.
    summed: Vec<char>,
    /// Of the first operand alone.
    left: Vec<char>,
    /// Of the second alone.
    right: Vec<char>,
}

impl Split {
    /// `None` where a letter of one operand alone is summed over, or the result has one of neither.
    fn new(x: &[char], y: &[char], result: &[char]) -> Option<Self> {
        let of =
            |test: &dyn Fn(&char) -> bool| result.iter().copied().filter(|c| test(c)).collect::<Vec<_>>();
        let split = Split {
            stacked: of(&|c| x.contains(c) && y.contains(c)),
            summed: x.iter().copied().filter(|c| y.contains(c) && !result.contains(c)).collect(),
            left: of(&|c| x.contains(c) && !y.contains(c)),
            right: of(&|c| !x.contains(c) && y.contains(c)),
        };
        let both = split.stacked.len() + split.summed.len();
        let whole = both + split.left.len() == x.len()
            && both + split.right.len() == y.len()
            && split.stacked.len() + split.left.len() + split.right.len() == result.len();
        whole.then_some(split)
    }
}

/// Whether both have the same size along these letters: an axis of 1 beside a larger one would be broadcast.
fn agree(ed: &Editor<'_>, x: &Operand, y: &Operand, letters: &[char]) -> Option<()> {
    let size = |o: &Operand, c: &char| {
        let shape = ed.graph.value(o.value).shape.as_ref()?;
        shape.get(o.letters.iter().position(|l| l == c)?).cloned()
    };
    letters.iter().all(|c| size(x, c).is_some_and(|a| size(y, c) == Some(a))).then_some(())
}

/// The step from one order of letters to another; none where they are the same.
fn transposed(from: &[char], to: &[char]) -> Vec<Step> {
    let perm: Option<Vec<usize>> = to.iter().map(|c| from.iter().position(|l| l == c)).collect();
    if from == to { Vec::new() } else { vec![Step(Op::Transpose { perm }, None)] }
}

/// The elements of a tensor in the order of axes that `to` says.
fn permuted(data: &[f32], dims: &[usize], from: &[char], to: &[char]) -> Option<Vec<f32>> {
    let axes: Vec<usize> = to.iter().map(|c| from.iter().position(|l| l == c)).collect::<Option<_>>()?;
    let stride = |axis: &usize| dims[axis + 1..].iter().product::<usize>();
    let walk: Vec<(usize, usize)> = axes.iter().map(|a| (dims[*a], stride(a))).collect();
    let mut offsets = vec![0usize];
    for (n, stride) in walk {
        offsets = offsets.into_iter().flat_map(|o| (0..n).map(move |i| o + i * stride)).collect();
    }
    offsets.into_iter().map(|o| data.get(o).copied()).collect()
}
