//! Evaluation on codes: what an integer session computes, to the last bit.
//!
//! Where no gradient is asked for, an operator that a session runs in integers is computed from the codes of its inputs:
//! sums are exact, and are rounded to codes as a session does it, with the multipliers that it takes. Sums of the real numbers that
//! codes stand for would be rounded before that, and fall to the other side of the middle between two codes now and then;
//! all layers after such a value tell the difference. Sums of two tensors, concatenations, maxima and what moves codes need
//! nothing of this: there a session computes in f32 as the evaluator does, or not at all.

use super::run::Run;
use crate::QatError;
use rayon::prelude::*;
use tq_eval::window::{self, Window};
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::{PoolAttrs, UnaryOp};
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_passes::Placement;
use tq_passes::training::InputForm;
use tq_qtypes::affine::{self, dequantize_f32, quantize_f32, quantize_f64};
use tq_qtypes::requantize::{Multiplier, average_multiplier, quantize_bias, requantize_wide};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind, Requantization, Rounding};

use crate::Var;

/// A result before it is rounded to codes.
pub(super) struct Exact {
    dims: Vec<usize>,
    kind: Kind,
    /// What a clamp puts on it.
    bounds: (f32, f32),
}

enum Kind {
    /// Sums of products of codes, in units of `lhs * rhs`, with one `rhs` or one a channel. `inner` elements that follow
    /// each other are of one channel.
    Products { sums: Vec<i64>, lhs: f32, rhs: Vec<f32>, inner: usize, by: Requantization },
    /// Sums of as many codes as `counts` says, one count for all or one a position.
    Averages { sums: Vec<i64>, scale: f32, counts: Vec<usize> },
    /// A function of one code, in f64 as tables are made.
    Values(Vec<f64>),
}

/// What becomes of the result of a node.
#[derive(PartialEq)]
enum Sink {
    /// Codes, at once or after a clamp.
    Codes,
    /// Real numbers.
    Real,
}

impl Exact {
    /// The result as real numbers, as a session leaves those that nobody quantizes.
    pub(super) fn real(&self) -> Result<Tensor, QatError> {
        let values: Vec<f32> = match &self.kind {
            Kind::Products { sums, lhs, rhs, inner, .. } => {
                let units: Vec<f32> = rhs.iter().map(|r| lhs * r).collect();
                self.each(sums, |i, sum| *sum as f32 * units[i / inner % units.len()])
            }
            Kind::Averages { sums, scale, counts } => self.each(sums, |i, sum| {
                (*sum as f64 * f64::from(*scale) / counts[i % counts.len()] as f64) as f32
            }),
            Kind::Values(values) => self.each(values, |_, v| *v as f32),
        };
        Ok(Tensor::new(&self.dims, values)?)
    }

    /// What the codes with these parameters stand for.
    pub(super) fn rounded(&self, params: &AffineParams) -> Result<Option<Tensor>, QatError> {
        let Some((scale, zero)) = eight_bits(params) else { return Ok(None) };
        let (min, max) = (params.quant_min, params.quant_max);
        let code = |x: f32| quantize_f32(x, scale, zero, min, max, Rounding::Divide);
        let (lo, hi) = (code(self.bounds.0), code(self.bounds.1));
        let real = |code: i32| dequantize_f32(code, scale, zero);
        let values: Vec<f32> = match &self.kind {
            Kind::Products { sums, lhs, rhs, inner, by } => {
                let factors: Vec<Multiplier> = rhs.iter().map(|r| by.multiplier(*lhs, *r, scale)).collect();
                let factor = |i: usize| factors[i / inner % factors.len()];
                self.each(sums, |i, sum| real(factor(i).requantize(*sum, zero, lo, hi)))
            }
            Kind::Averages { sums, scale: input, counts } => {
                let factors: Vec<f32> =
                    counts.iter().map(|n| average_multiplier(*input, scale, *n)).collect();
                let factor = |i: usize| factors[i % factors.len()];
                self.each(sums, |i, sum| real(requantize_wide(*sum, factor(i), zero, lo, hi)))
            }
            Kind::Values(values) => self
                .each(values, |_, v| real(quantize_f64(*v, f64::from(scale), zero, min, max).clamp(lo, hi))),
        };
        Ok(Some(Tensor::new(&self.dims, values)?))
    }

    /// The same within these bounds.
    fn clamped(mut self, bounds: (f32, f32)) -> Self {
        self.bounds = bounds;
        self
    }

    fn each<T: Sync>(&self, values: &[T], f: impl Fn(usize, &T) -> f32 + Sync) -> Vec<f32> {
        values.par_iter().enumerate().map(|(i, v)| f(i, v)).collect()
    }
}

impl Run<'_> {
    /// The result of a node from the codes of its inputs, `None` where a session would not compute it so, or as the
    /// evaluator does. `inputs` are as the node reads them; `bias` is what its bias was before rounding.
    pub(super) fn exactly(
        &self,
        id: NodeId,
        inputs: &[Option<Var>],
        bias: Option<&Var>,
    ) -> Result<Option<Exact>, QatError> {
        let Placement::Integer { kind, .. } = self.model.placements[id.0] else { return Ok(None) };
        let Some(sink) = self.sink(id, kind)? else { return Ok(None) };
        let node = self.model.prepared.graph().node(id);
        let failed =
            |source: OpError| QatError::Forward { node: node.name.clone(), op: node.op.name(), source };
        let found = match kind {
            OperatorKind::Linear
            | OperatorKind::Conv
            | OperatorKind::DepthwiseConv
            | OperatorKind::ConvTranspose => self.product(id, inputs, bias, &failed)?,
            OperatorKind::MatMul => self.product_of_codes(id, inputs, &failed)?,
            OperatorKind::AveragePool => self.averages(id, inputs, &failed)?,
            OperatorKind::Lookup => self.function(id, inputs, &failed)?,
            _ => None,
        };
        // What no kernel leaves as real numbers is computed in float then.
        let leaves_real = matches!(kind, OperatorKind::Linear | OperatorKind::Conv | OperatorKind::MatMul);
        Ok(found.filter(|_| sink == Sink::Codes || leaves_real))
    }

    /// The clamp `id` as bounds on the result of the operator before it, where a session has it so.
    pub(super) fn clamp_of(&mut self, id: NodeId) -> Result<Option<Exact>, QatError> {
        if !self.is_absorbed(id)? {
            return Ok(None);
        }
        let graph = self.model.prepared.graph();
        let node = graph.node(id);
        let before = node.input(0).and_then(|v| self.exact.remove(&v));
        Ok(before.zip(bounds(graph, node)).map(|(exact, bounds)| exact.clamped(bounds)))
    }

    /// How a session makes codes of the sums of products.
    fn requantization(&self) -> Requantization {
        self.model.prepared.configuration().backend.requantization
    }

    fn sink(&self, id: NodeId, kind: OperatorKind) -> Result<Option<Sink>, QatError> {
        let Some(out) = self.model.prepared.graph().node(id).output(0) else { return Ok(None) };
        if let InputForm::Codes { group } = self.model.prepared.float_form(out) {
            let params = self.params_of_group(group)?;
            return Ok(params.and_then(|p| eight_bits(&p)).map(|_| Sink::Codes));
        }
        // A function of one code takes no clamp.
        if kind != OperatorKind::Lookup
            && let Some(clamp) = self.model.clamps.get(&out)
            && self.is_absorbed(*clamp)?
        {
            return Ok(Some(Sink::Codes));
        }
        Ok(Some(Sink::Real))
    }

    /// Whether a clamp is part of the operator before it, as it is where 8-bit codes are made of its result.
    fn is_absorbed(&self, id: NodeId) -> Result<bool, QatError> {
        let out = self.model.prepared.graph().node(id).output(0);
        let (Placement::Epilogue { .. }, Some(out)) = (&self.model.placements[id.0], out) else {
            return Ok(false);
        };
        let InputForm::Codes { group } = self.model.prepared.float_form(out) else { return Ok(false) };
        Ok(self.params_of_group(group)?.is_some_and(|params| eight_bits(&params).is_some()))
    }

    /// The parameters of the codes of a group of values, `None` where they are not rounded or have none of their own.
    fn params_of_group(&self, group: usize) -> Result<Option<AffineParams>, QatError> {
        let quantizer = &self.model.activations[group];
        if !quantizer.is_quantizing() {
            return Ok(None);
        }
        match quantizer.qparams() {
            Ok(params) => Ok(Some(params)),
            Err(QatError::Format { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The parameters with which input `slot` is read as codes.
    fn params_of_input(&self, id: NodeId, slot: usize) -> Result<Option<AffineParams>, QatError> {
        let params = match self.model.forms[id.0].get(slot) {
            Some(InputForm::Codes { group } | InputForm::Operand { group: Some(group), .. }) => {
                self.params_of_group(*group)?
            }
            Some(InputForm::Operand { group: None, spec }) => {
                let Some(v) = self.model.prepared.graph().node(id).input(slot) else { return Ok(None) };
                let operand = self.value(v)?;
                let operand = operand.value();
                Some(AffineParams::from_data(operand.as_slice::<f32>()?, operand.dims(), spec)?)
            }
            _ => None,
        };
        Ok(params.filter(|p| eight_bits(p).is_some()))
    }

    /// An input as codes without their zero point, and the scale of one code.
    fn codes_of(
        &self,
        id: NodeId,
        slot: usize,
        inputs: &[Option<Var>],
    ) -> Result<Option<(Tensor, f32)>, QatError> {
        let (Some(params), Some(var)) = (self.params_of_input(id, slot)?, read(inputs, slot)) else {
            return Ok(None);
        };
        let scale = params.scale[0];
        Ok(without_zero_point(var.value(), &params)?.map(|codes| (codes, scale)))
    }

    /// A product with constant weights.
    fn product(
        &self,
        id: NodeId,
        inputs: &[Option<Var>],
        bias: Option<&Var>,
        failed: &dyn Fn(OpError) -> QatError,
    ) -> Result<Option<Exact>, QatError> {
        let node = self.model.prepared.graph().node(id);
        let (Some((x, lhs)), Some(weight)) = (self.codes_of(id, 0, inputs)?, read(inputs, 1)) else {
            return Ok(None);
        };
        let Some(quantizer) = self.model.weights.get(&id).filter(|q| q.is_quantizing()) else {
            return Ok(None);
        };
        let (axis, is_transposed) = match &node.op {
            Op::Conv(_) => (0, false),
            Op::ConvTranspose(_) => (1, true),
            Op::MatMul if weight.shape().len() == 2 => (1, false),
            Op::Gemm { alpha, beta, trans_a: false, trans_b } if *alpha == 1.0 && *beta == 1.0 => {
                (usize::from(!trans_b), false)
            }
            _ => return Ok(None),
        };
        let params = match quantizer.qparams() {
            Ok(params) if params.dtype.fits_8_bits() => params,
            Ok(_) | Err(QatError::Format { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let rhs = match params.granularity {
            Granularity::PerTensor => params.scale.clone(),
            Granularity::PerChannel { axis: own } if own == axis => params.scale.clone(),
            _ => return Ok(None),
        };
        let Some(w) = without_zero_point(weight.value(), &params)? else { return Ok(None) };
        let results = eval_op(&node.op, &[Some(&x), Some(&w), None][..node.inputs.len()], 1, Precision::F64);
        let sums = results.map_err(failed)?.swap_remove(0);
        let dims = sums.dims().to_vec();
        let channel_axis = match node.op {
            Op::Conv(_) | Op::ConvTranspose(_) => 1,
            _ => dims.len().saturating_sub(1),
        };
        let Some(channels) = dims.get(channel_axis).copied().filter(|c| *c > 0) else { return Ok(None) };
        let inner = dims[channel_axis + 1..].iter().product::<usize>().max(1);
        // Every group of a transposed convolution has the same scales.
        let rhs: Vec<f32> = match is_transposed && rhs.len() > 1 {
            true => rhs.iter().copied().cycle().take(channels).collect(),
            false => rhs,
        };
        let mut sums = whole(&sums)?;
        if let Some(bias) = bias {
            let values = bias.value().as_slice::<f32>()?;
            if values.len() != channels {
                return Ok(None);
            }
            let codes = quantize_bias(values, lhs, &rhs);
            // A session computes in float where a bias does not fit.
            if !codes.saturated.is_empty() {
                return Ok(None);
            }
            let of = |i: usize| i64::from(codes.values[i / inner % channels]);
            sums.iter_mut().enumerate().for_each(|(i, sum)| *sum += of(i));
        } else if node.input(2).is_some() {
            return Ok(None);
        }
        Ok(Some(Exact {
            dims,
            kind: Kind::Products { sums, lhs, rhs, inner, by: self.requantization() },
            bounds: NONE,
        }))
    }

    /// A product of two tensors of codes.
    fn product_of_codes(
        &self,
        id: NodeId,
        inputs: &[Option<Var>],
        failed: &dyn Fn(OpError) -> QatError,
    ) -> Result<Option<Exact>, QatError> {
        let both = (self.codes_of(id, 0, inputs)?, self.codes_of(id, 1, inputs)?);
        let (Some((a, lhs)), Some((b, rhs))) = both else { return Ok(None) };
        let results = eval_op(&Op::MatMul, &[Some(&a), Some(&b)], 1, Precision::F64);
        let sums = results.map_err(failed)?.swap_remove(0);
        let by = self.requantization();
        let kind = Kind::Products { sums: whole(&sums)?, lhs, rhs: vec![rhs], inner: 1, by };
        Ok(Some(Exact { dims: sums.dims().to_vec(), kind, bounds: NONE }))
    }

    /// Averages over windows, or over all positions.
    fn averages(
        &self,
        id: NodeId,
        inputs: &[Option<Var>],
        failed: &dyn Fn(OpError) -> QatError,
    ) -> Result<Option<Exact>, QatError> {
        let node = self.model.prepared.graph().node(id);
        let Some((x, scale)) = self.codes_of(id, 0, inputs)? else { return Ok(None) };
        if x.rank() < 3 {
            return Ok(None);
        }
        let counts = match &node.op {
            Op::AveragePool { attrs, count_include_pad } => {
                match window_sizes(attrs, *count_include_pad, x.dims()).map_err(failed)? {
                    Some(counts) => counts,
                    None => return Ok(None),
                }
            }
            _ => vec![x.dims()[2..].iter().product()],
        };
        let mut operands: Vec<Option<&Tensor>> = inputs.iter().map(|v| v.as_ref().map(Var::value)).collect();
        operands[0] = Some(&x);
        let means = eval_op(&node.op, &operands, 1, Precision::F64).map_err(failed)?.swap_remove(0);
        let dims = means.dims().to_vec();
        let means = means.as_slice::<f64>()?;
        // The mean times its count is the sum up to a rounding error far below one half.
        let sum = |(i, mean): (usize, &f64)| (mean * counts[i % counts.len()] as f64).round() as i64;
        let sums = means.iter().enumerate().map(sum).collect();
        Ok(Some(Exact { dims, kind: Kind::Averages { sums, scale, counts }, bounds: NONE }))
    }

    /// A function of one code.
    fn function(
        &self,
        id: NodeId,
        inputs: &[Option<Var>],
        failed: &dyn Fn(OpError) -> QatError,
    ) -> Result<Option<Exact>, QatError> {
        let node = self.model.prepared.graph().node(id);
        let mut operands = Vec::with_capacity(inputs.len());
        for (slot, var) in inputs.iter().enumerate() {
            operands.push(match (self.codes_of(id, slot, inputs)?, var) {
                (Some((codes, scale)), _) => {
                    let wide = |c: &f32| f64::from(*c) * f64::from(scale);
                    let values: Vec<f64> = codes.as_slice::<f32>()?.iter().map(wide).collect();
                    Some(Tensor::new(codes.dims(), values)?)
                }
                (None, Some(var)) => Some(var.value().clone()),
                (None, None) => None,
            });
        }
        let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
        let values = eval_op(&node.op, &operands, 1, Precision::F64).map_err(failed)?.swap_remove(0);
        let Ok(data) = values.as_slice::<f64>() else { return Ok(None) };
        Ok(Some(Exact { dims: values.dims().to_vec(), kind: Kind::Values(data.to_vec()), bounds: NONE }))
    }
}

/// No bounds.
const NONE: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

fn read(inputs: &[Option<Var>], slot: usize) -> Option<&Var> {
    inputs.get(slot).and_then(Option::as_ref)
}

/// Scale and zero point of codes that integer kernels take and give.
fn eight_bits(params: &AffineParams) -> Option<(f32, i32)> {
    params.uniform().filter(|_| matches!(params.dtype, DType::U8 | DType::I8))
}

/// The codes of a tensor that was rounded to them, without their zero points; `None` where it holds NaN.
fn without_zero_point(x: &Tensor, params: &AffineParams) -> Result<Option<Tensor>, QatError> {
    let data = x.as_slice::<f32>()?;
    if data.iter().any(|v| v.is_nan()) {
        return Ok(None);
    }
    // What codes stand for has the same codes again, at a scale of one without the zero points.
    let codes = affine::quantize(data, x.dims(), params, Rounding::Divide)?;
    let units = AffineParams { scale: vec![1.0; params.scale.len()], ..params.clone() };
    Ok(Some(Tensor::new(x.dims(), affine::dequantize(&codes, x.dims(), &units)?)?))
}

/// Sums of integers, which f64 holds exactly.
fn whole(sums: &Tensor) -> Result<Vec<i64>, QatError> {
    Ok(sums.as_slice::<f64>()?.iter().map(|v| *v as i64).collect())
}

/// What the sum of every window is divided by, for inputs of this shape; `None` where a window lies wholly on padding, which no
/// kernel takes.
fn window_sizes(
    attrs: &PoolAttrs,
    count_include_pad: bool,
    dims: &[usize],
) -> Result<Option<Vec<usize>>, OpError> {
    let PoolAttrs { kernel, strides, dilations, padding, ceil_mode, .. } = attrs;
    let window = Window::new(&dims[2..], kernel, strides, dilations, padding, *ceil_mode)?;
    let inside = window::sizes(&window.axes, false);
    if inside.contains(&0) {
        return Ok(None);
    }
    Ok(Some(if count_include_pad { window::sizes(&window.axes, true) } else { inside }))
}

/// The bounds of a Relu, or of a Clip with constant ones.
fn bounds(graph: &Graph, node: &Node) -> Option<(f32, f32)> {
    let bound = |v: Option<ValueId>, absent: f32| match v {
        None => Some(absent),
        Some(v) => graph.constant(v)?.as_slice::<f32>().ok().and_then(|b| b.first().copied()),
    };
    match node.op {
        Op::Unary(UnaryOp::Relu) => Some((0.0, f32::INFINITY)),
        Op::Clip => Some((bound(node.input(1), NONE.0)?, bound(node.input(2), NONE.1)?)),
        _ => None,
    }
}
