//! Hard-swish, hard-sigmoid and GELU, which exporters write out as sums, clips, error functions and products.

use super::clamp::bounds_of;
use super::edit::{At, Editor};
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Op, ValueId};

/// How many products are opened while looking for a pattern.
const MAX_OPENED: usize = 3;

/// The activation that node `at` computes together with the nodes before it, and of what.
pub(super) fn matches(ed: &Editor, at: At) -> Option<(UnaryOp, ValueId)> {
    let out = ed.node(at).output(0)?;
    let (k, factors) = product(ed, out)?;
    search(ed, k, &factors, MAX_OPENED)
}

/// `v` as a constant times one or two tensors.
fn product(ed: &Editor, v: ValueId) -> Option<(f64, Vec<ValueId>)> {
    let node = ed.node(ed.producer(v)?);
    let Op::Binary(op) = node.op else { return None };
    let (a, b) = (node.input(0)?, node.input(1)?);
    if !ed.is_f32(v) {
        return None;
    }
    match (op, ed.scalar(a, b), ed.scalar(b, a)) {
        (BinaryOp::Mul, None, Some(c)) => Some((f64::from(c), vec![a])),
        (BinaryOp::Mul, Some(c), None) => Some((f64::from(c), vec![b])),
        (BinaryOp::Div, None, Some(c)) if c != 0.0 => Some((1.0 / f64::from(c), vec![a])),
        (BinaryOp::Mul, None, None) => Some((1.0, vec![a, b])),
        _ => None,
    }
}

fn search(ed: &Editor, k: f64, factors: &[ValueId], opened: usize) -> Option<(UnaryOp, ValueId)> {
    let found = match factors {
        [h] => hard_sigmoid(ed, k, *h),
        [a, b] => [(*a, *b), (*b, *a)]
            .into_iter()
            .find_map(|(x, h)| hard_swish(ed, k, x, h).or_else(|| gelu(ed, k, x, h))),
        _ => None,
    };
    if found.is_some() || opened == 0 {
        return found;
    }
    for (i, f) in factors.iter().enumerate() {
        let Some((c, inner)) = product(ed, *f) else { continue };
        if factors.len() - 1 + inner.len() > 2 {
            continue;
        }
        let mut next: Vec<ValueId> = factors.to_vec();
        next.splice(i..=i, inner);
        if let Some(found) = search(ed, k * c, &next, opened - 1) {
            return Some(found);
        }
    }
    None
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

/// `clip(x + b, 0, c)`: returns `x, b, c`.
fn shifted_clip(ed: &Editor, h: ValueId) -> Option<(ValueId, f64, f64)> {
    let clip = ed.node(ed.producer(h)?);
    if !matches!(clip.op, Op::Clip) {
        return None;
    }
    let (0.0, c) = bounds_of(ed.graph, clip).ok()? else { return None };
    let sum = clip.input(0)?;
    let add = ed.node(ed.producer(sum)?);
    if !matches!(add.op, Op::Binary(BinaryOp::Add)) || !c.is_finite() || c <= 0.0 {
        return None;
    }
    let (a, b) = (add.input(0)?, add.input(1)?);
    match (ed.scalar(a, b), ed.scalar(b, a)) {
        (None, Some(s)) => Some((a, f64::from(s), f64::from(c))),
        (Some(s), None) => Some((b, f64::from(s), f64::from(c))),
        _ => None,
    }
}

/// `k * clip(x + b, 0, 1 / k)` is a hard sigmoid of slope `k`.
fn hard_sigmoid(ed: &Editor, k: f64, h: ValueId) -> Option<(UnaryOp, ValueId)> {
    let (x, b, c) = shifted_clip(ed, h)?;
    let hit = near(k * c, 1.0) && ed.is_f32(x);
    hit.then_some((UnaryOp::HardSigmoid { alpha: (1.0 / c) as f32, beta: (b / c) as f32 }, x))
}

/// `x * clip(x + 3, 0, 6) / 6`, or `x` times its own hard sigmoid.
fn hard_swish(ed: &Editor, k: f64, x: ValueId, h: ValueId) -> Option<(UnaryOp, ValueId)> {
    if !ed.is_f32(x) {
        return None;
    }
    if let Some((y, b, c)) = shifted_clip(ed, h) {
        let hit = y == x && b == 3.0 && c == 6.0 && near(k * 6.0, 1.0);
        return hit.then_some((UnaryOp::HardSwish, x));
    }
    let node = ed.node(ed.producer(h)?);
    let Op::Unary(UnaryOp::HardSigmoid { alpha, beta }) = node.op else { return None };
    let hit = node.input(0) == Some(x)
        && near(f64::from(alpha) * 6.0, 1.0)
        && near(f64::from(beta), 0.5)
        && near(k, 1.0);
    hit.then_some((UnaryOp::HardSwish, x))
}

/// `x * (1 + erf(x / sqrt(2))) / 2`.
fn gelu(ed: &Editor, k: f64, x: ValueId, h: ValueId) -> Option<(UnaryOp, ValueId)> {
    let add = ed.node(ed.producer(h)?);
    if !matches!(add.op, Op::Binary(BinaryOp::Add)) || !near(k, 0.5) || !ed.is_f32(x) {
        return None;
    }
    let (a, b) = (add.input(0)?, add.input(1)?);
    let erf = match (ed.scalar(a, b), ed.scalar(b, a)) {
        (None, Some(1.0)) => a,
        (Some(1.0), None) => b,
        _ => return None,
    };
    let erf = ed.node(ed.producer(erf)?);
    if !matches!(erf.op, Op::Unary(UnaryOp::Erf)) {
        return None;
    }
    let (c, inner) = product(ed, erf.input(0)?)?;
    let hit = inner == [x] && near(c, std::f64::consts::FRAC_1_SQRT_2);
    hit.then_some((UnaryOp::Gelu { tanh: false }, x))
}
