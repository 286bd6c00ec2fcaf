//! Which codes of their type Quantize nodes really give.

use super::{QOutput, QdqView, node_params};
use crate::{Graph, Op, ValueId};
use std::collections::HashMap;
use tq_qtypes::{AffineParams, OperatorKind, Rounding, affine};

/// A bound counts as a code where it is that far from one, in steps: it was computed as a product of two f32.
const ON_A_CODE: f64 = 1e-3;

/// Parameters of every Quantize node that has constant ones, by the value that holds its codes; `quant_min` and `quant_max` are
/// the ends of the codes that it can give.
///
/// A Quantize node clamps to its type alone. Codes of fewer bits, as training for 4-bit activations gives them, therefore have a
/// Clip before it whose bounds are codes, and that is what tells them here. What pools, joins or moves such codes has no others.
/// Bounds that lie between codes, or are open, belong to the network (as those of Relu do) and say nothing about the codes.
#[must_use]
pub fn codes_in_use(graph: &Graph, view: &QdqView) -> HashMap<ValueId, AffineParams> {
    let producers = graph.producers();
    let mut found: HashMap<ValueId, AffineParams> = HashMap::new();
    let mut clipped: HashMap<ValueId, (i32, i32)> = HashMap::new();
    for node in &graph.nodes {
        let (Op::QuantizeLinear { .. }, Some(real), Some(codes)) = (&node.op, node.input(0), node.output(0))
        else {
            continue;
        };
        let Some(params) = node_params(graph, node) else { continue };
        if let Some(before) = producers[real.0].map(|id| graph.node(id))
            && matches!(before.op, Op::Clip)
            && let [Some(lo), Some(hi)] = [1, 2].map(|i| bound(graph, before.input(i)))
            && let Some(ends) = ends(&params, lo, hi)
        {
            clipped.insert(codes, ends);
        }
        found.insert(codes, params);
    }
    // Operators are in topological order, so that what they read is known.
    for op in view.operators.iter().filter(|o| keeps(o.kind)) {
        let of = |v: ValueId, params: &AffineParams| {
            clipped.get(&v).copied().unwrap_or((params.quant_min, params.quant_max))
        };
        let together =
            op.inputs.iter().map(|c| of(c.value, &c.params)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        for out in &op.outputs {
            if let (QOutput::Codes(out), Some(ends)) = (out, together)
                && op.inputs.iter().all(|c| c.params == out.params)
                && ends != (out.params.quant_min, out.params.quant_max)
            {
                clipped.entry(out.value).or_insert(ends);
            }
        }
    }
    for (codes, (lo, hi)) in clipped {
        if let Some(params) = found.get_mut(&codes) {
            (params.quant_min, params.quant_max) = (lo, hi);
        }
    }
    found
}

/// Operators whose results have no codes that their inputs do not lie between.
fn keeps(kind: OperatorKind) -> bool {
    use OperatorKind as K;
    matches!(kind, K::Movement | K::MaxPool | K::AveragePool | K::Concat)
}

fn bound(graph: &Graph, value: Option<ValueId>) -> Option<f32> {
    match graph.constant(value?)?.to_f32_vec()?.as_slice() {
        [b] if b.is_finite() => Some(*b),
        _ => None,
    }
}

/// The codes of two bounds, if both are codes and leave out others.
fn ends(params: &AffineParams, lo: f32, hi: f32) -> Option<(i32, i32)> {
    let (scale, zero) = params.uniform()?;
    let is_code = |b: f32| {
        let at = f64::from(b) / f64::from(scale);
        (at - libm::round(at)).abs() < ON_A_CODE
    };
    let code = |b| affine::quantize_f32(b, scale, zero, params.quant_min, params.quant_max, Rounding::Divide);
    let ends = (code(lo), code(hi));
    let some = ends.0 < ends.1 && ends != (params.quant_min, params.quant_max);
    (some && is_code(lo) && is_code(hi)).then_some(ends)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::op::UnaryOp;
    use crate::{Tensor, infer};
    use tq_qtypes::DType;

    fn pair(g: &mut Graph, name: &str, x: ValueId, scale: ValueId, zero: ValueId) -> (ValueId, ValueId) {
        let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
        let q = g.add_node(format!("{name}_q"), quantize, &[x, scale, zero], format!("{name}_codes"));
        let d = Op::DequantizeLinear { axis: 1, block_size: 0 };
        (q, g.add_node(format!("{name}_d"), d, &[q, scale, zero], format!("{name}_real")))
    }

    /// Codes of x after a Clip, and of them moved, which are the same ones.
    fn ranges(bounds: Option<(f32, f32)>, zero: u8) -> [(i32, i32); 2] {
        let mut g = Graph::new("g");
        let x = g.add_input("x", DType::F32, vec![1usize.into(), 2usize.into(), 4usize.into()]);
        let scale = g.add_constant("s", Tensor::scalar(0.3f32));
        let zero = g.add_constant("z", Tensor::scalar(zero));
        let before = match bounds {
            Some((lo, hi)) => {
                let lo = g.add_constant("lo", Tensor::scalar(lo));
                let hi = g.add_constant("hi", Tensor::scalar(hi));
                g.add_node("clip", Op::Clip, &[x, lo, hi], "c")
            }
            None => g.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "c"),
        };
        let (first, real) = pair(&mut g, "a", before, scale, zero);
        let moved = g.add_node("flat", Op::Flatten { axis: 1 }, &[real], "f");
        let (second, out) = pair(&mut g, "b", moved, scale, zero);
        g.outputs.push(out);
        infer::infer(&mut g).unwrap();
        let used = codes_in_use(&g, &QdqView::new(&g));
        [first, second].map(|v| (used[&v].quant_min, used[&v].quant_max))
    }

    #[test]
    fn a_clip_at_codes_is_their_range_and_others_are_not() {
        // 4 bits, as training makes them: code times scale, in f32.
        assert_eq!(ranges(Some((0.0, 15.0 * 0.3f32)), 0), [(0, 15); 2]);
        assert_eq!(ranges(Some((-8.0 * 0.3f32, 7.0 * 0.3f32)), 8), [(0, 15); 2]);
        // A clip of the network, between codes; one that cuts nothing off; a Relu.
        assert_eq!(ranges(Some((0.0, 5.0)), 0), [(0, 255); 2]);
        assert_eq!(ranges(Some((0.0, 300.0)), 0), [(0, 255); 2]);
        assert_eq!(ranges(None, 128), [(0, 255); 2]);
    }
}
