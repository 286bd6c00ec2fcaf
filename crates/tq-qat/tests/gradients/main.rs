//! The rule of every operator against central differences of the evaluator in f64.

#![allow(clippy::unwrap_used, missing_docs)]

mod case;
mod elementwise;
mod movement;
mod names;
mod norms;
mod pools;
mod products;
mod recurrent;
mod without;

use case::{Case, Expect};
use std::collections::BTreeSet;

fn cases() -> Vec<Case> {
    let mut cases = products::cases();
    cases.extend(elementwise::cases());
    cases.extend(norms::cases());
    cases.extend(pools::cases());
    cases.extend(movement::cases());
    cases.extend(recurrent::cases());
    cases.extend(without::cases());
    cases
}

fn check(cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let wrong: Vec<String> = cases.iter().filter_map(|c| c.check().err()).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn products_have_their_derivatives() {
    check(products::cases());
}

#[test]
fn functions_of_elements_have_their_derivatives() {
    check(elementwise::cases());
}

#[test]
fn normalizations_have_their_derivatives() {
    check(norms::cases());
}

#[test]
fn pools_have_their_derivatives() {
    check(pools::cases());
}

#[test]
fn what_moves_elements_has_its_derivative() {
    check(movement::cases());
}

#[test]
fn recurrent_operators_have_their_derivatives() {
    check(recurrent::cases());
}

#[test]
fn operators_without_a_derivative_say_so() {
    check(without::cases());
}

#[test]
fn every_operator_has_a_case() {
    let seen: BTreeSet<&str> = cases().iter().flat_map(|c| names::of(&c.op)).collect();
    let all = names::all();
    let missing: Vec<&&str> = all.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
    assert!(seen.iter().all(|name| all.contains(name)));
    // A list of operators to which no gradient is expected anywhere would prove nothing.
    assert!(cases().iter().filter(|c| c.expect == Expect::Gradient).count() > 150);
}

/// A rule that is wrong by one part in ten thousand is found.
#[test]
fn the_check_can_fail() {
    use tq_graph::Op;
    use tq_graph::op::UnaryOp;
    let op = |alpha| Op::Unary(UnaryOp::LeakyRelu { alpha });
    let right = Case::new("alpha", op(0.1), vec![case::values(1, &[9])]);
    assert!(right.check().is_ok());
    let wrong = right.reference(op(0.1001));
    assert!(wrong.check().is_err());
}
