//! What the rules look at, one function a rule. Each says nothing of nodes that are not its business.

use super::{Place, Subject};
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::qdq::{Codes, QOutput, node_params};
use tq_graph::{Node, Op, Tensor, ValueId};
use tq_qtypes::{DType, Granularity, OperatorKind, Requantization, Rounding, affine};

type Found = Option<String>;

fn when(condition: bool) -> Found {
    condition.then(String::new)
}

fn is_quantize(op: &Op) -> bool {
    matches!(op, Op::QuantizeLinear { .. })
}

fn is_dequantize(op: &Op) -> bool {
    matches!(op, Op::DequantizeLinear { .. })
}

fn is_pair(op: &Op) -> bool {
    is_quantize(op) || is_dequantize(op)
}

/// The type of the codes of a Quantize or Dequantize.
fn code_type(s: &Subject<'_>, p: &Place<'_>) -> Option<DType> {
    let v = if is_quantize(&p.node.op) { p.node.output(0) } else { p.node.input(0) };
    v.and_then(|v| s.graph.value(v).dtype)
}

fn constant<'g>(s: &'g Subject<'_>, p: &Place<'_>, i: usize) -> Option<&'g Tensor> {
    p.node.input(i).and_then(|v| s.graph.constant(v))
}

pub(super) fn opset_too_high(s: &Subject<'_>, p: &Place<'_>) -> Found {
    // It is about the file: told once, of its first node.
    let first = s.graph.nodes.first()?.name == p.node.name;
    (first && s.opset > s.profile.max_opset).then(|| format!("{}, at most {}", s.opset, s.profile.max_opset))
}

pub(super) fn integer_operator(_: &Subject<'_>, p: &Place<'_>) -> Found {
    when(matches!(
        p.node.op,
        Op::DynamicQuantizeLinear { .. }
            | Op::QLinearConv(_)
            | Op::QLinearMatMul
            | Op::ConvInteger(_)
            | Op::MatMulInteger
    ))
}

pub(super) fn operator_on_codes(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let codes = p.node.input(0).and_then(|v| s.graph.value(v).dtype);
    let eight_bit = matches!(codes, Some(DType::U8 | DType::I8));
    when(match p.node.op {
        Op::QLinearConv(_) | Op::QLinearMatMul | Op::ConvInteger(_) | Op::MatMulInteger => true,
        Op::MaxPool { .. } => eight_bit,
        _ => false,
    })
}

pub(super) fn trt_type(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let dtype = code_type(s, p).filter(|_| is_pair(&p.node.op))?;
    let read = matches!(dtype, DType::I8 | DType::I4 | DType::F8E4M3FN);
    (!read).then(|| format!("these are {dtype}"))
}

pub(super) fn parameters_not_constant(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let missing = |i: usize| p.node.input(i).filter(|v| s.graph.constant(*v).is_none());
    let v = missing(1).or_else(|| missing(2)).filter(|_| is_pair(&p.node.op))?;
    Some(format!("{} is not", s.name(v)))
}

pub(super) fn zero_point(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let zeros = constant(s, p, 2).filter(|_| is_pair(&p.node.op))?.to_i64_vec()?;
    zeros.iter().find(|z| **z != 0).map(|z| format!("its zero point is {z}"))
}

pub(super) fn scale_not_positive(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let scales = constant(s, p, 1).filter(|_| is_pair(&p.node.op))?.to_f64_vec()?;
    let bad = scales.iter().position(|s| !(s.is_finite() && *s > 0.0))?;
    Some(format!("scale {bad} is {}", scales[bad]))
}

pub(super) fn per_channel_activation(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let many = constant(s, p, 1).filter(|t| is_pair(&p.node.op) && t.len() > 1)?;
    let data = p.node.input(0)?;
    let constant = |v| s.graph.constant(v).is_some();
    // The codes of constant floats are constant too.
    let behind = s.producer(data).filter(|n| is_quantize(&n.op)).and_then(|n| n.input(0));
    let activation = !constant(data) && !behind.is_some_and(constant);
    activation.then(|| format!("{} has {}", s.name(data), many.len()))
}

pub(super) fn odd_int4(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let dtype = code_type(s, p).filter(|_| is_pair(&p.node.op))?;
    let last = s.graph.value(p.node.input(0)?).shape.as_ref()?.last()?.known_usize()?;
    (dtype.bits() == 4 && last % 2 == 1).then(|| format!("it has {last} elements"))
}

pub(super) fn blocks(_: &Subject<'_>, p: &Place<'_>) -> Found {
    match p.node.op {
        Op::QuantizeLinear { block_size: n @ 1.., .. } | Op::DequantizeLinear { block_size: n @ 1.., .. } => {
            Some(format!("blocks of {n}"))
        }
        _ => None,
    }
}

pub(super) fn computes_on_codes(_: &Subject<'_>, p: &Place<'_>) -> Found {
    when(p.operator.is_some_and(|o| o.kind != OperatorKind::Movement))
}

pub(super) fn recurrent(_: &Subject<'_>, p: &Place<'_>) -> Found {
    when(p.operator.is_some_and(|o| o.kind == OperatorKind::Recurrent))
}

pub(super) fn fixed_point(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let product = |kind: OperatorKind| kind.has_weights() || kind == OperatorKind::MatMul;
    let asked = s.graph.requantization == Requantization::FixedPoint;
    when(asked && p.operator.is_some_and(|o| product(o.kind) && o.output_codes(0).is_some()))
}

pub(super) fn moves_codes(_: &Subject<'_>, p: &Place<'_>) -> Found {
    when(p.operator.is_some_and(|o| o.kind == OperatorKind::Movement))
}

pub(super) fn not_in_profile(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    let weights = operator.weights.as_ref().map(|w| w.params.dtype);
    let activation = operator.inputs.first().map_or(DType::U8, |x| x.params.dtype);
    let takes = s.profile.operators.supports(operator.kind, activation, weights);
    let what = || match weights {
        Some(w) => format!("{} of {activation} activations and {w} weights", operator.kind),
        None => format!("{} of {activation} codes", operator.kind),
    };
    (!takes && operator.run_time.is_none()).then(what)
}

pub(super) fn ort_nbits(s: &Subject<'_>, p: &Place<'_>) -> Found {
    if !matches!(p.node.op, Op::MatMul | Op::Gemm { trans_a: false, trans_b: false, .. })
        || p.operator.is_some()
    {
        return None;
    }
    let from = s.producer(p.node.input(1)?).filter(|n| is_dequantize(&n.op))?;
    let weights = from.input(0).and_then(|v| s.graph.constant(v))?;
    let params = node_params(s.graph, from)?;
    let alone = from.output(0).is_some_and(|v| s.consumers[v.0].len() == 1);
    // In exact mode i8 codes become u8 before this is looked for, and lose a zero point that is not written.
    let known_zero = params.dtype != DType::I8 || from.input(2).is_some();
    let fits = match params.granularity {
        Granularity::PerTensor => true,
        Granularity::PerChannel { axis: 1 } => known_zero,
        Granularity::PerGroup { axis: 0, group_size } => {
            group_size >= 16 && group_size.is_power_of_two() && known_zero
        }
        _ => false,
    };
    // A Gemm and a function behind it become one node before that.
    let fused = matches!(p.node.op, Op::Gemm { .. })
        && p.node.output(0).and_then(|y| only_reader(s, y)).is_some_and(|n| is_fused_with_gemm(&n.op));
    let eight_or_four = matches!(params.dtype, DType::I4 | DType::U4 | DType::I8 | DType::U8);
    when(fits && alone && !fused && weights.rank() == 2 && eight_or_four)
}

fn is_fused_with_gemm(op: &Op) -> bool {
    use UnaryOp::*;
    let Op::Unary(function) = op else { return false };
    matches!(
        function,
        Relu | LeakyRelu { .. }
            | ThresholdedRelu { .. }
            | Elu { .. }
            | Selu { .. }
            | Sigmoid
            | HardSigmoid { .. }
            | Softplus
            | Softsign
            | Tanh
    )
}

/// The one reader of a value that is no output.
fn only_reader<'g>(s: &'g Subject<'_>, v: ValueId) -> Option<&'g Node> {
    match s.consumers[v.0].as_slice() {
        [id] if !s.graph.outputs.contains(&v) => Some(s.graph.node(*id)),
        _ => None,
    }
}

pub(super) fn ort_where(s: &Subject<'_>, p: &Place<'_>) -> Found {
    if p.node.op != Op::Where {
        return None;
    }
    let data =
        |slot: usize| p.node.input(slot).filter(|v| s.producer(*v).is_some_and(|n| is_dequantize(&n.op)));
    let codes = |slot: usize| data(slot).and_then(|v| node_params(s.graph, s.producer(v)?)).map(|p| p.dtype);
    let after = only_reader(s, p.node.output(0)?).filter(|n| is_quantize(&n.op))?;
    let out = node_params(s.graph, after)?.dtype;
    let constant =
        |slot: usize| p.node.input(slot).and_then(|v| s.graph.constant(v)).is_some_and(|t| t.len() == 1);
    let either = |slot: usize| codes(slot) == Some(out) || constant(slot);
    when(either(1) && either(2) && (codes(1).is_some() || codes(2).is_some()))
}

/// For a product whose result is float and goes to a sum with a bias alone, so that ONNX Runtime makes a Gemm of both: the
/// number of its axes. Products of more than two axes are reshaped for it, which takes sizes that are known.
fn gemm_with_bias(s: &Subject<'_>, p: &Place<'_>) -> Option<usize> {
    let operator = p.operator.filter(|_| p.node.op == Op::MatMul)?;
    let QOutput::Float(product) = *operator.outputs.first()? else { return None };
    let weights = operator.weights.as_ref().and_then(|w| s.graph.value(w.value).shape.as_ref())?;
    let columns = weights.last()?.known_usize().filter(|_| weights.len() == 2)?;
    let shape = s.graph.value(p.node.input(0)?).shape.as_ref()?;
    let sum = only_reader(s, product).filter(|n| n.op == Op::Binary(BinaryOp::Add))?;
    let is_bias =
        |v: ValueId| s.graph.constant(v).is_some_and(|t| t.dims() == [columns] && t.dtype() == DType::F32);
    let known = shape.iter().all(|d| d.known().is_some());
    (known && sum.inputs.iter().flatten().any(|v| is_bias(*v))).then_some(shape.len())
}

pub(super) fn ort_bias_behind(s: &Subject<'_>, p: &Place<'_>) -> Found {
    when(gemm_with_bias(s, p).is_some())
}

pub(super) fn ort_int2(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator.filter(|_| matches!(p.node.op, Op::Conv(_) | Op::Gemm { .. } | Op::MatMul))?;
    let weights = operator.weights.as_ref()?.params.dtype;
    let to_codes = matches!(operator.outputs.first(), Some(QOutput::Codes(_)));
    // A Gemm with a float result is fused too, unless its bias is float.
    let fused = to_codes || (matches!(p.node.op, Op::Gemm { .. }) && ort_gemm_bias(s, p).is_none());
    (weights.bits() == 2 && fused).then(|| format!("these are {weights}"))
}

pub(super) fn ort_reshaped_i8(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let x = p.operator?.inputs.first()?.params.dtype;
    when(s.opset >= 21 && x == DType::I8 && gemm_with_bias(s, p).is_some_and(|axes| axes > 2))
}

pub(super) fn ort_softmax(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let Op::Softmax { .. } = p.node.op else { return None };
    let codes_before = s.producer(p.node.input(0)?).is_some_and(|n| is_dequantize(&n.op));
    let out = p.node.output(0)?;
    let after = &s.consumers[out.0];
    let codes_after = matches!(after.as_slice(), [id] if is_quantize(&s.graph.node(*id).op));
    when(codes_before && codes_after && !s.graph.outputs.contains(&out))
}

pub(super) fn ort_no_kernel(_: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    match operator.kind {
        OperatorKind::ConvTranspose | OperatorKind::Sub => Some(operator.kind.to_string()),
        _ if p.node.op == Op::GlobalMaxPool => Some("GlobalMaxPool".into()),
        _ => None,
    }
}

pub(super) fn ort_dilated_pool(_: &Subject<'_>, p: &Place<'_>) -> Found {
    let Op::AveragePool { attrs, .. } = &p.node.op else { return None };
    when(p.operator.is_some() && attrs.dilations.iter().any(|d| *d != 1))
}

pub(super) fn ort_table(_: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    // A sum or product with one constant is a function of one code to us, and an operator of two to it.
    let known = matches!(
        p.node.op,
        Op::Unary(UnaryOp::Sigmoid | UnaryOp::LeakyRelu { .. }) | Op::Binary(BinaryOp::Add | BinaryOp::Mul)
    );
    let bare = is_quantize(&p.node.op);
    (operator.kind == OperatorKind::Lookup && !known && !bare).then(|| p.node.op.name().to_owned())
}

fn is_conv(kind: OperatorKind) -> bool {
    matches!(kind, OperatorKind::Conv | OperatorKind::DepthwiseConv)
}

pub(super) fn ort_float_output(_: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    when(is_conv(operator.kind) && matches!(operator.outputs.first(), Some(QOutput::Float(_))))
}

pub(super) fn ort_bias_scale(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    let (x, w) = (operator.inputs.first()?, operator.weights.as_ref()?);
    let from = s.producer(p.node.input(2)?).filter(|n| is_dequantize(&n.op))?;
    let bias = node_params(s.graph, from).filter(|b| b.dtype == DType::I32)?;
    let (sx, _) = x.params.uniform()?;
    let of = |scales: &[f32], c: usize| scales.get(c).or(scales.first()).copied().unwrap_or(0.0);
    let n = bias.scale.len().max(w.params.scale.len());
    let bad = (0..n).find(|c| of(&bias.scale, *c) != sx * of(&w.params.scale, *c))?;
    Some(format!(
        "channel {bad} has {:e} instead of {:e}",
        of(&bias.scale, bad),
        sx * of(&w.params.scale, bad)
    ))
}

pub(super) fn ort_gemm_bias(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let Op::Gemm { .. } = p.node.op else { return None };
    let float_output = matches!(p.operator?.outputs.first(), Some(QOutput::Float(_)));
    let bias = p.node.input(2).and_then(|v| s.graph.constant(v))?;
    when(float_output && bias.dtype() == DType::F32)
}

pub(super) fn ort_clamp(_: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    let (lo, hi) = operator.bounds?;
    let codes = operator.output_codes(0)?;
    let (scale, zero) = codes.params.uniform()?;
    let (qmin, qmax) = codes.params.dtype.quant_range()?;
    let code = |x| affine::quantize_f32(x, scale, zero, qmin, qmax, Rounding::Divide);
    let cuts = code(lo) != qmin || code(hi) != qmax;
    // A MatMul gives its result in float then, and the clamp follows in float.
    when(cuts && p.node.op != Op::MatMul)
}

pub(super) fn ort_types(s: &Subject<'_>, p: &Place<'_>) -> Found {
    let operator = p.operator?;
    let first = operator.inputs.first()?;
    let x = type_for_ort(s, first);
    if let Some(w) = &operator.weights
        && first.params.dtype == DType::I8
    {
        if w.params.dtype != DType::I8 {
            return Some(format!("{x} with weights {}", w.params.dtype));
        }
        // It takes i8 activations with no weights, and makes u8 ones of them where one node reads them.
        if x == DType::I8 {
            return Some(format!("{} is i8 and read more than once, or an output", s.name(first.value)));
        }
    }
    if let Some(other) = operator.inputs.iter().find(|c| type_for_ort(s, c) != x)
        && operator.weights.is_none()
    {
        return Some(format!("{x} and {}", type_for_ort(s, other)));
    }
    let y = type_for_ort(s, operator.output_codes(0)?);
    (x != y && !is_quantize(&p.node.op)).then(|| format!("{x} in, {y} out"))
}

/// The type that ONNX Runtime gives codes on x86: i8 ones between a Quantize and the one Dequantize that reads them, whose
/// result is read once and is no output, become u8, and in exact mode so do constants.
fn type_for_ort(s: &Subject<'_>, codes: &Codes) -> DType {
    if codes.params.dtype == DType::I8 && s.graph.constant(codes.value).is_some() {
        return DType::U8;
    }
    let readers = &s.consumers[codes.value.0];
    let once = |v: ValueId| s.consumers[v.0].len() + usize::from(s.graph.outputs.contains(&v)) == 1;
    let alone = match readers.as_slice() {
        [id] => {
            let reader = s.graph.node(*id);
            is_dequantize(&reader.op) && reader.output(0).is_some_and(once)
        }
        _ => false,
    };
    let quantized = s.producer(codes.value).is_some_and(|n| is_quantize(&n.op));
    let becomes =
        codes.params.dtype == DType::I8 && quantized && alone && !s.graph.outputs.contains(&codes.value);
    if becomes { DType::U8 } else { codes.params.dtype }
}

pub(super) fn ort_reduce_mean(_: &Subject<'_>, p: &Place<'_>) -> Found {
    when(p.operator.is_some() && matches!(p.node.op, Op::Reduce { .. }))
}
