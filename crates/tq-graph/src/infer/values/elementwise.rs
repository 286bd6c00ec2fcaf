//! Arithmetic on elements, as far as it can be told for every value of the symbols.

use super::{Content, MAX_ELEMENTS, extent};
use crate::Dim;
use crate::infer::context::Context;
use crate::op::{BinaryOp, CompareOp, LogicOp, UnaryOp, VariadicOp};
use ndarray::{ArrayD, IxDyn};
use std::cmp::Ordering;
use tq_qtypes::DType;

type Elements = ArrayD<Dim>;

pub(super) fn cast(content: &Elements, to: DType) -> Option<Elements> {
    if to == DType::Bool {
        let truth = |d: &Dim| equal(d, &Dim::from(0i64)).map(|zero| flag(!zero));
        return map(content, truth);
    }
    Some(content.clone())
}

fn flag(truth: bool) -> Dim {
    Dim::from(i64::from(truth))
}

fn map(content: &Elements, f: impl Fn(&Dim) -> Option<Dim>) -> Option<Elements> {
    let elements: Option<Vec<Dim>> = content.iter().map(f).collect();
    ArrayD::from_shape_vec(content.raw_dim(), elements?).ok()
}

/// The shape to which contents broadcast, whose shapes go together; it may be larger than each of them.
fn common(parts: &[&Elements]) -> Option<Vec<usize>> {
    let rank = parts.iter().map(|p| p.ndim()).max()?;
    let dims: Vec<usize> = (0..rank)
        .map(|i| {
            let sizes = parts.iter().filter_map(|p| (i + p.ndim()).checked_sub(rank).map(|i| p.shape()[i]));
            sizes.fold(1, |n, size| if n == 1 { size } else { n })
        })
        .collect();
    (extent(&dims)? <= MAX_ELEMENTS).then_some(dims)
}

fn zip(a: &Elements, b: &Elements, f: impl Fn(&Dim, &Dim) -> Option<Dim>) -> Option<Elements> {
    let dims = common(&[a, b])?;
    let (a, b) = (a.broadcast(IxDyn(&dims))?, b.broadcast(IxDyn(&dims))?);
    let elements: Option<Vec<Dim>> = a.iter().zip(b.iter()).map(|(x, y)| f(x, y)).collect();
    ArrayD::from_shape_vec(IxDyn(&dims), elements?).ok()
}

pub(super) fn unary(op: UnaryOp, content: &Elements) -> Option<Elements> {
    let zero = Dim::from(0i64);
    match op {
        UnaryOp::Neg => map(content, |d| zero.checked_sub(d)),
        UnaryOp::Abs => map(content, |d| larger(d, &zero.checked_sub(d)?)),
        UnaryOp::Relu => map(content, |d| larger(d, &zero)),
        UnaryOp::Sign => map(content, |d| {
            Some(Dim::from(match order(d, &zero)? {
                Ordering::Less => -1i64,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            }))
        }),
        _ => None,
    }
}

pub(super) fn binary(op: BinaryOp, a: &Elements, b: &Elements) -> Option<Elements> {
    zip(a, b, |x, y| element(op, x, y))
}

fn element(op: BinaryOp, x: &Dim, y: &Dim) -> Option<Dim> {
    let positive = x.never_negative() && y.never_negative();
    match op {
        BinaryOp::Add => x.checked_add(y),
        BinaryOp::Sub => x.checked_sub(y),
        BinaryOp::Mul => x.checked_mul(y),
        BinaryOp::Div => match (x.known(), y.known()) {
            (Some(a), Some(b)) => a.checked_div(b).map(Dim::from),
            // Integers truncate towards zero: where signs are not known only an exact quotient is the same.
            _ if positive => x.checked_div_floor(y),
            _ => x.div_exact(y),
        },
        BinaryOp::Mod { fmod } => match (x.known(), y.known()) {
            (Some(a), Some(b)) => {
                let rest = a.checked_rem(b)?;
                let adjust = !fmod && rest != 0 && (rest < 0) != (b < 0);
                (if adjust { rest.checked_add(b) } else { Some(rest) }).map(Dim::from)
            }
            _ if positive => x.checked_sub(&y.checked_mul(&x.checked_div_floor(y)?)?),
            _ => None,
        },
        BinaryOp::Pow => {
            let exponent = u32::try_from(y.known()?).ok()?;
            x.known()?.checked_pow(exponent).map(Dim::from)
        }
        BinaryOp::PRelu => match order(x, &Dim::from(0i64))? {
            Ordering::Less => x.checked_mul(y),
            _ => Some(x.clone()),
        },
    }
}

/// How `x` compares with `y` for every value of the symbols, none of which is negative.
fn order(x: &Dim, y: &Dim) -> Option<Ordering> {
    let above = x.checked_sub(y)?;
    match above.known() {
        Some(n) => Some(n.cmp(&0)),
        None if above.checked_sub(&Dim::from(1i64))?.never_negative() => Some(Ordering::Greater),
        None if y.checked_sub(x)?.checked_sub(&Dim::from(1i64))?.never_negative() => Some(Ordering::Less),
        None => None,
    }
}

/// Whether `x` is at least `y` for every value of the symbols; `None` where that depends on them.
fn at_least(x: &Dim, y: &Dim) -> Option<bool> {
    match order(x, y) {
        Some(order) => Some(order != Ordering::Less),
        None if x.checked_sub(y)?.never_negative() => Some(true),
        None => None,
    }
}

fn equal(x: &Dim, y: &Dim) -> Option<bool> {
    order(x, y).map(Ordering::is_eq)
}

/// The larger of the two, whatever the symbols are.
pub(super) fn larger(x: &Dim, y: &Dim) -> Option<Dim> {
    if at_least(x, y) == Some(true) {
        return Some(x.clone());
    }
    (at_least(y, x) == Some(true)).then(|| y.clone())
}

/// The smaller of the two, whatever the symbols are.
pub(super) fn smaller(x: &Dim, y: &Dim) -> Option<Dim> {
    if at_least(x, y) == Some(true) {
        return Some(y.clone());
    }
    (at_least(y, x) == Some(true)).then(|| x.clone())
}

pub(super) fn compare(op: CompareOp, a: &Elements, b: &Elements) -> Option<Elements> {
    zip(a, b, |x, y| {
        let truth = match op {
            CompareOp::Equal => equal(x, y),
            CompareOp::GreaterOrEqual => at_least(x, y),
            CompareOp::LessOrEqual => at_least(y, x),
            CompareOp::Greater => at_least(y, x).map(|t| !t),
            CompareOp::Less => at_least(x, y).map(|t| !t),
        };
        truth.map(flag)
    })
}

pub(super) fn logic(op: LogicOp, a: &Elements, b: &Elements) -> Option<Elements> {
    zip(a, b, |x, y| {
        let (x, y) = (x.known()? != 0, y.known()? != 0);
        Some(flag(match op {
            LogicOp::And => x && y,
            LogicOp::Or => x || y,
            LogicOp::Xor => x != y,
        }))
    })
}

pub(super) fn not(content: &Elements) -> Option<Elements> {
    map(content, |d| d.known().map(|n| flag(n == 0)))
}

pub(super) fn choose(condition: &Elements, a: &Elements, b: &Elements) -> Option<Elements> {
    let dims = IxDyn(&common(&[condition, a, b])?);
    let (c, a, b) =
        (condition.broadcast(dims.clone())?, a.broadcast(dims.clone())?, b.broadcast(dims.clone())?);
    let elements: Option<Vec<Dim>> = c
        .iter()
        .zip(a.iter().zip(b.iter()))
        .map(|(c, (a, b))| Some(if c.known()? != 0 { a.clone() } else { b.clone() }))
        .collect();
    ArrayD::from_shape_vec(dims, elements?).ok()
}

pub(super) fn variadic(ctx: &Context<'_>, op: VariadicOp) -> Option<Elements> {
    let pick = match op {
        VariadicOp::Min => smaller,
        VariadicOp::Max => larger,
        VariadicOp::Sum | VariadicOp::Mean => return None,
    };
    let parts: Option<Vec<&Content>> = (0..ctx.node.inputs.len()).map(|i| ctx.content(i)).collect();
    let (first, rest) = parts.as_ref()?.split_first()?;
    rest.iter().try_fold(ArrayD::clone(first), |so_far, part| zip(&so_far, part, pick))
}
