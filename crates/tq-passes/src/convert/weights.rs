//! Codes and scales of weights and biases.

use super::overflow_safe;
use crate::place::{weight_axes, weight_input};
use crate::prepare::constant_error;
use crate::{BiasAdjustment, PassError};
use half::{bf16, f16};
use tq_graph::{Graph, Node, Op, Tensor, ValueId};
use tq_observers::{Mode, ObserverConfig};
use tq_qtypes::requantize::quantize_bias;
use tq_qtypes::{AffineParams, DType, Granularity, QTypeError, Rounding, affine};

/// Largest bias in units of the accumulator: half of what 32 bits hold, so that the products find room beside it
/// in a 32-bit accumulator.
const MAX_BIAS: f64 = 1_073_741_823.0;

/// Weights and bias of one node as codes.
#[derive(Debug)]
pub(super) struct LinearCodes {
    pub(super) weights: ValueId,
    pub(super) params: AffineParams,
    pub(super) codes: Tensor,
    /// The i32 bias with its scales, one a channel or one for all.
    pub(super) bias: Option<(ValueId, Tensor, Vec<f32>)>,
    pub(super) adjustments: Vec<BiasAdjustment>,
    /// Whether a scale is the smallest one, and larger than the range asks for.
    pub(super) is_floored: bool,
}

/// Quantizes the weights of a Conv, Gemm or MatMul, with these parameters or with those that the observer finds; its bias
/// too, where it runs on codes of this scale. With `overflow_safe` no pair of products leaves 16 bits.
pub(super) fn quantize_linear(
    graph: &Graph,
    node: &Node,
    observer: &ObserverConfig,
    given: Option<&AffineParams>,
    input_scale: Option<f32>,
    overflow_safe: bool,
) -> Result<Option<LinearCodes>, PassError> {
    let Some(w) = node.input(weight_input(&node.op)) else { return Ok(None) };
    let Some(tensor) = graph.constant(w) else { return Ok(None) };
    let name = &graph.value(w).name;
    let (data, dims) = (tensor.as_slice::<f32>()?, tensor.dims());
    let [channel_axis, group_axis] = weight_axes(&node.op);
    let axis = match observer.spec().map(|s| s.granularity) {
        Some(Granularity::PerGroup { .. }) => group_axis,
        _ => channel_axis,
    };
    let rounding = rounding_of(observer);
    let observer_error = |e| constant_error(&node.name, name, e);
    let mut is_floored = false;
    let mut params = match given {
        Some(params) => params.clone(),
        None => {
            let mut observer = observer.clone().along(axis).build().map_err(observer_error)?;
            observer.observe(data, dims).map_err(observer_error)?;
            let params = observer.calculate_qparams().map_err(observer_error)?;
            is_floored = super::is_floored(observer.as_ref(), &params);
            params
        }
    };
    if overflow_safe {
        if given.is_some() {
            let reason = "trained weights keep the scales that they were trained with".to_owned();
            return Err(PassError::OverflowSafe { node: node.name.clone(), reason });
        }
        overflow_safe::enlarge(node, data, dims, &mut params, rounding)?;
    }
    // Output channels of the same place in every group share the scale of a transposed convolution.
    let groups = match &node.op {
        Op::ConvTranspose(attrs) => attrs.groups,
        _ => 1,
    };
    let channels = dims.get(channel_axis).copied().unwrap_or(1) * groups;

    let mut adjustments = Vec::new();
    let mut bias = None;
    if let Some(input_scale) = input_scale {
        let values = match node.input(2) {
            Some(b) => Some((b, bias_values(graph, node, b, channels)?)),
            None => None,
        };
        let reals = values.as_ref().map_or(&[][..], |(_, values)| values);
        fit_bias(node, reals, input_scale, &mut params, &mut adjustments)?;
        bias = values.map(|(b, values)| {
            let scale: Vec<f32> = match params.scale.as_slice() {
                [one] => vec![*one],
                all => all.iter().copied().cycle().take(channels).collect(),
            };
            let q = quantize_bias(&values, input_scale, &scale);
            let scale = scale.iter().map(|s| input_scale * s).collect();
            (b, Tensor::vector(q.values), scale)
        });
    }
    let mut codes = affine::quantize(data, dims, &params, rounding)
        .map_err(|e| PassError::Observer { tensor: name.clone(), source: e.into() })?;
    if overflow_safe {
        overflow_safe::constrain(&node.op, dims, &mut codes);
    }
    let codes = codes_tensor(dims, &codes, &params)?;
    Ok(Some(LinearCodes { weights: w, params, codes, bias, adjustments, is_floored }))
}

/// PyTorch multiplies by the reciprocal of the scale. With its scale, the largest weight over 127.5, that weight is a tie,
/// so the difference is a whole code of every tensor or channel.
pub(crate) fn rounding_of(observer: &ObserverConfig) -> Rounding {
    match observer {
        ObserverConfig::MinMax { mode: Mode::PyTorch, .. }
        | ObserverConfig::PerChannelMinMax { mode: Mode::PyTorch, .. }
        | ObserverConfig::MovingAverageMinMax { mode: Mode::PyTorch, .. }
        | ObserverConfig::MovingAveragePerChannelMinMax { mode: Mode::PyTorch, .. }
        | ObserverConfig::Histogram { mode: Mode::PyTorch, .. } => Rounding::Reciprocal,
        _ => Rounding::Divide,
    }
}

/// The bias, one value a channel.
fn bias_values(graph: &Graph, node: &Node, b: ValueId, channels: usize) -> Result<Vec<f32>, PassError> {
    let Some(tensor) = graph.constant(b) else { return Ok(vec![0.0; channels]) };
    let data = tensor.as_slice::<f32>()?;
    let bad = data.iter().filter(|v| !v.is_finite()).count();
    if bad > 0 {
        let tensor = graph.value(b).name.clone();
        return Err(PassError::NonFiniteConstant { node: node.name.clone(), tensor, count: bad as u64 });
    }
    Ok(if data.len() == 1 { vec![data[0]; channels] } else { data.to_vec() })
}

/// Enlarges weight scales until every bias fits the accumulator, and until accumulators have a normal f32 scale.
fn fit_bias(
    node: &Node,
    bias: &[f32],
    input_scale: f32,
    params: &mut AffineParams,
    adjustments: &mut Vec<BiasAdjustment>,
) -> Result<(), PassError> {
    let (channels, shared) = (params.scale.len(), params.scale.len() == 1);
    let largest = bias.iter().fold(0.0f32, |m, b| m.max(b.abs()));
    for c in 0..params.scale.len() {
        let from = params.scale[c];
        let own = bias.iter().skip(c).step_by(channels).fold(0.0f32, |m, b| m.max(b.abs()));
        let b = f64::from(if shared { largest } else { own });
        let fits = |s: f32| {
            let product = input_scale * s;
            product.is_normal() && b / f64::from(product) <= MAX_BIAS
        };
        if fits(from) {
            continue;
        }
        let least = (b / MAX_BIAS).max(f64::from(f32::MIN_POSITIVE)) / f64::from(input_scale);
        // The quotient and the product are rounded: step up until it really fits.
        let mut to = (least as f32).max(from);
        while (input_scale * to).is_finite() && !fits(to) {
            to = (to * 1.000_001).next_up();
        }
        if !fits(to) {
            let source = QTypeError::BadScale { index: c, scale: to }.into();
            return Err(PassError::Observer { tensor: format!("weights of {}", node.name), source });
        }
        params.scale[c] = to;
        let channel = (!shared).then_some(c);
        adjustments.push(BiasAdjustment { node: node.name.clone(), channel, from, to });
    }
    Ok(())
}

/// Codes as a tensor of the type of `params`.
pub(super) fn codes_tensor(
    dims: &[usize],
    codes: &[i32],
    params: &AffineParams,
) -> Result<Tensor, PassError> {
    // Quantization clamped the codes to their type, so the conversions keep the value.
    let tensor = match params.dtype {
        DType::U8 | DType::U4 | DType::U2 => {
            Tensor::with_dtype(params.dtype, dims, codes.iter().map(|q| *q as u8).collect())
        }
        DType::I8 | DType::I4 | DType::I2 => {
            Tensor::with_dtype(params.dtype, dims, codes.iter().map(|q| *q as i8).collect())
        }
        DType::I32 => Tensor::with_dtype(params.dtype, dims, codes.to_vec()),
        DType::I16 => Tensor::with_dtype(params.dtype, dims, codes.iter().map(|q| *q as i16).collect()),
        DType::U16 => Tensor::with_dtype(params.dtype, dims, codes.iter().map(|q| *q as u16).collect()),
        other => return Err(PassError::Codes(other)),
    };
    Ok(tensor?)
}

/// Scales and zero points of a tensor of shape `dims` as tensors: scalars for one pair, one a channel, or the grid of
/// groups.
pub(super) fn param_tensors(dims: &[usize], params: &AffineParams) -> Result<[Tensor; 2], PassError> {
    let shape = match params.granularity {
        Granularity::PerTensor => Vec::new(),
        Granularity::PerChannel { .. } => vec![params.scale.len()],
        Granularity::PerGroup { axis, group_size } => {
            let blocks = |(i, d): (usize, &usize)| if i == axis { d.div_ceil(group_size.max(1)) } else { *d };
            dims.iter().enumerate().map(blocks).collect()
        }
    };
    Ok([Tensor::new(&shape, params.scale.clone())?, codes_tensor(&shape, &params.zero_point, params)?])
}

/// Weights in half precision.
pub(super) fn half_tensor(data: &[f32], dims: &[usize], dtype: DType) -> Result<Tensor, PassError> {
    Ok(match dtype {
        DType::BF16 => Tensor::new(dims, data.iter().map(|v| bf16::from_f32(*v)).collect())?,
        _ => Tensor::new(dims, data.iter().map(|v| f16::from_f32(*v)).collect())?,
    })
}
