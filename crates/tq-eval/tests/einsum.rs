//! Einsum against the sum of products that its equation is.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::EinsumEquation;
use tq_graph::{Op, Tensor};

fn run(equation: &str, operands: &[&Tensor]) -> Result<Tensor, OpError> {
    let operands: Vec<Option<&Tensor>> = operands.iter().map(|t| Some(*t)).collect();
    let op = Op::Einsum(equation.parse::<EinsumEquation>().unwrap());
    eval_op(&op, &operands, 1, Precision::F32).map(|mut t| t.remove(0))
}

/// Over all values of all letters: the product of the operands, added to the element of the result.
fn twin(operands: &[(&str, Tensor)], result: &str, lengths: &[usize; 4]) -> Vec<i64> {
    let at = |letters: &str, index: &[usize; 4]| {
        letters.bytes().fold(0, |at, c| at * lengths[usize::from(c - b'a')] + index[usize::from(c - b'a')])
    };
    let used: String = operands.iter().map(|(letters, _)| *letters).collect();
    // Letters that no operand has must not multiply the sums.
    let counts: Vec<usize> = (0..4)
        .map(|i| if used.contains(char::from(b'a' + i)) { lengths[usize::from(i)] } else { 1 })
        .collect();
    let mut out = vec![0; result.bytes().map(|c| lengths[usize::from(c - b'a')]).product()];
    for flat in 0..counts.iter().product::<usize>() {
        let mut rest = flat;
        let mut index = [0; 4];
        for (i, n) in counts.iter().enumerate() {
            (index[i], rest) = (rest % n, rest / n);
        }
        let product: i64 =
            operands.iter().map(|(l, t)| t.as_slice::<i64>().unwrap()[at(l, &index)]).product();
        out[at(result, &index)] += product;
    }
    out
}

fn letters(most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['a', 'b', 'c', 'd']), 0..=most)
        .prop_map(|l| l.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_equation(
        terms in prop::collection::vec(letters(3), 1..5), result in letters(4),
        lengths in prop::array::uniform4(0usize..4), seed in 0i64..1000
    ) {
        let mut letters: Vec<char> = result.chars().filter(|c| terms.iter().any(|t| t.contains(*c))).collect();
        letters.sort_unstable();
        letters.dedup();
        let result: String = letters.into_iter().rev().collect();
        let operands: Vec<(&str, Tensor)> = terms
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let dims: Vec<usize> = t.bytes().map(|c| lengths[usize::from(c - b'a')]).collect();
                let n: usize = dims.iter().product();
                let data = (0..n as i64).map(|v| (v * 7 + seed + i as i64) % 9 - 4).collect();
                (t.as_str(), Tensor::new(&dims, data).unwrap())
            })
            .collect();
        let equation = format!("{}->{result}", terms.join(","));
        let tensors: Vec<&Tensor> = operands.iter().map(|(_, t)| t).collect();
        let got = run(&equation, &tensors).unwrap();
        prop_assert_eq!(got.as_slice::<i64>().unwrap(), twin(&operands, &result, &lengths), "{}", equation);
    }
}

fn iota(dims: &[usize]) -> Tensor {
    Tensor::new(dims, (0..dims.iter().product::<usize>()).map(|v| v as f32).collect()).unwrap()
}

#[test]
fn ellipses_broadcast_and_may_stand_anywhere() {
    let (a, b) = (iota(&[2, 1, 3, 4]), iota(&[5, 4, 2]));
    let product = run("...ij,...jk", &[&a, &b]).unwrap();
    assert_eq!(product.dims(), [2, 5, 3, 2]);
    let moved = run("...ij,...jk->k...i", &[&a, &b]).unwrap();
    assert_eq!(moved.dims(), [2, 2, 5, 3]);
    let flat = eval_op(&Op::MatMul, &[Some(&a), Some(&b)], 1, Precision::F32).unwrap().remove(0);
    assert_eq!(product, flat);
    assert_eq!(run("i...->...i", &[&iota(&[2, 3, 4])]).unwrap().dims(), [3, 4, 2]);
}

#[test]
fn axes_of_length_one_are_as_long_as_others_of_their_letter() {
    let (a, b) = (iota(&[3]), iota(&[1]));
    assert_eq!(run("i,i->i", &[&a, &b]).unwrap().as_slice::<f32>().unwrap(), [0.0, 0.0, 0.0]);
    assert_eq!(run("i,i", &[&iota(&[1, 3]).reshape(&[3]).unwrap(), &a]).unwrap().dims(), [0usize; 0]);
    // A diagonal of a single row is that row.
    assert_eq!(run("ii->i", &[&iota(&[1, 3])]).unwrap().as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0]);
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(run("ij,jk", &[&iota(&[2, 3]), &iota(&[4, 2])]).is_err());
    assert!(run("ij", &[&iota(&[2])]).is_err());
    assert!(run("i,j", &[&iota(&[2])]).is_err());
    assert!(run("i...", &[&Tensor::scalar(1.0f32)]).is_err());
    let mixed = run("i,i", &[&iota(&[2]), &Tensor::vector(vec![1i64, 2])]);
    assert!(matches!(mixed, Err(OpError::DType { .. })));
    let parse = |text: &str| text.parse::<EinsumEquation>().unwrap_err();
    assert_eq!(parse("ij->k"), "k of the result stands in no operand");
    assert_eq!(parse("ij->ii"), "i stands twice in the result");
    assert_eq!(parse("i..j"), "'.' is neither a letter nor an ellipsis");
    assert_eq!(parse("...i..."), "a term has two ellipses");
    assert_eq!(parse("i->...i"), "only the result has an ellipsis");
    assert_eq!(parse("...i->i"), "the result lacks the ellipsis of the operands");
    assert_eq!(parse("i->j->k"), "'-' is neither a letter nor an ellipsis");
    assert!(parse(&"a".repeat(65)).contains("more than 64 letters"));
    // An outer product that no memory holds.
    let long = Tensor::new(&[1 << 20], vec![0i8; 1 << 20]).unwrap();
    let outer = run("i,j->ij", &[&long, &long]);
    assert!(matches!(outer, Err(OpError::TooLarge { .. })), "{outer:?}");
}
