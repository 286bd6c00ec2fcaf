//! Weights of quantized operators, packed once and shared by all plans.

use crate::codes::FLIP;
use crate::error::StepError;
use crate::layout::permute;
use crate::transposed;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tq_graph::op::{ConvTransposeAttrs, RecurrentKind};
use tq_graph::qdq::{Codes, QOperator, QdqView};
use tq_graph::{Graph, Op, Tensor};
use tq_kernels::{
    DepthwiseRhs, GroupWiseRhs, Kernels, PackedDepthwise, PackedGroupWise, PackedRhs, RhsMatrix,
};
use tq_qtypes::{DType, Granularity, OperatorKind};

/// Packed weights of one operator.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) form: Form,
    /// One scale, or one an output channel; none where the form has them.
    pub(crate) scale: Vec<f32>,
    /// Output channels.
    pub(crate) channels: usize,
}

#[derive(Debug)]
pub(crate) enum Form {
    /// One matrix a group.
    Matrices(Vec<PackedRhs>),
    /// For each phase of a transposed convolution one matrix a group.
    Phases(Vec<Vec<PackedRhs>>),
    /// 4-bit weights whose scales are shared by groups.
    GroupWise(PackedGroupWise),
    /// One filter a channel.
    Depthwise(PackedDepthwise),
    /// Those of a recurrent layer.
    Recurrent(RecurrentPacked),
}

/// Weights of a recurrent layer, direction by direction.
#[derive(Debug)]
pub(crate) struct RecurrentPacked {
    /// Rows a direction: gates times hidden elements.
    pub(crate) rows: usize,
    pub(crate) input: Vec<PackedRhs>,
    /// All rows at once; of a GRU those of its gates, then those of its candidate.
    pub(crate) recurrence: Vec<Vec<PackedRhs>>,
    /// One scale, or one for each row of all directions.
    pub(crate) input_scale: Vec<f32>,
    pub(crate) recurrence_scale: Vec<f32>,
}

impl Packed {
    fn bytes(&self) -> usize {
        let other = match &self.form {
            Form::Depthwise(packed) => size_of_val(packed.weights()),
            Form::GroupWise(packed) => packed.bytes(),
            _ => 0,
        };
        other + self.matrices().map(PackedRhs::bytes).sum::<usize>()
    }

    /// The matrices that it is made of.
    pub(crate) fn matrices(&self) -> Box<dyn Iterator<Item = &PackedRhs> + '_> {
        match &self.form {
            Form::Matrices(groups) => Box::new(groups.iter()),
            Form::Phases(phases) => Box::new(phases.iter().flatten()),
            Form::Depthwise(_) | Form::GroupWise(_) => Box::new(std::iter::empty()),
            Form::Recurrent(r) => Box::new(r.input.iter().chain(r.recurrence.iter().flatten())),
        }
    }

    /// Weights a channel; 0 where they are no single matrix.
    pub(crate) fn depth(&self) -> usize {
        match &self.form {
            Form::Matrices(groups) if groups.len() == 1 => groups[0].k(),
            Form::GroupWise(packed) => packed.k(),
            _ => 0,
        }
    }
}

/// Packed weights by the name of their node.
#[derive(Debug, Default)]
pub(crate) struct WeightStore(Mutex<HashMap<String, Arc<Packed>>>);

impl WeightStore {
    /// Packs the weights of all operators of `view`.
    ///
    /// What cannot be packed is left out: its operator runs in float, and the plan says why.
    pub(crate) fn new(kernels: &Kernels, graph: &Graph, view: &QdqView) -> Self {
        let store = Self::default();
        for op in view.operators.iter().filter(|op| op.weights.is_some()) {
            drop(store.get(kernels, graph, op));
        }
        store
    }

    /// The packed weights of `op`.
    pub(crate) fn get(
        &self,
        kernels: &Kernels,
        graph: &Graph,
        op: &QOperator,
    ) -> Result<Arc<Packed>, StepError> {
        let name = &graph.node(op.node).name;
        if let Some(packed) = self.lock().get(name) {
            return Ok(Arc::clone(packed));
        }
        let packed = Arc::new(pack(kernels, graph, op)?);
        self.lock().insert(name.clone(), Arc::clone(&packed));
        Ok(packed)
    }

    /// The packed weights of the node of this name, where it has any.
    pub(crate) fn of_node(&self, name: &str) -> Option<Arc<Packed>> {
        self.lock().get(name).cloned()
    }

    /// Bytes of all packed weights.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().values().map(|p| p.bytes()).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Packed>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True when the depthwise kernels take a convolution with weights of this shape: one to three spatial axes.
pub(crate) fn is_depthwise(kind: OperatorKind, weight_dims: &[usize]) -> bool {
    kind == OperatorKind::DepthwiseConv && matches!(weight_dims.len(), 3..=5)
}

fn pack(kernels: &Kernels, graph: &Graph, op: &QOperator) -> Result<Packed, StepError> {
    let missing = || StepError::Shape("weights that are not constant".into());
    let weights = op.weights.as_ref().ok_or_else(missing)?;
    let tensor = graph.constant(weights.value).ok_or_else(missing)?;
    if op.kind == OperatorKind::GroupWiseLinear {
        return group_wise(kernels, graph, op, weights, tensor);
    }
    let dims = tensor.dims();
    let (codes, shift) = signed_codes(tensor)?;
    let zero_point: Vec<i32> = weights.params.zero_point.iter().map(|z| z - shift).collect();
    let scale = weights.params.scale.clone();
    let bias = op.bias.as_deref();
    match &graph.node(op.node).op {
        Op::Conv(attrs) | Op::ConvInteger(attrs) => {
            let [channels, depth, kernel @ ..] = dims else { return Err(missing()) };
            let taps: usize = kernel.iter().product();
            if is_depthwise(op.kind, dims) {
                let kernel = match kernel {
                    [w] => [1, 1, *w],
                    [h, w] => [1, *h, *w],
                    [d, h, w] => [*d, *h, *w],
                    _ => return Err(missing()),
                };
                let packed = kernels.depthwise().pack(&DepthwiseRhs {
                    data: &codes,
                    channels: *channels,
                    kernel,
                    zero_point: &zero_point,
                    bias,
                })?;
                return Ok(Packed { form: Form::Depthwise(packed), scale, channels: *channels });
            }
            // [channel][depth][tap] becomes [channel][tap][depth]: activations have their channels last.
            let data = permute(&codes, &[*channels, *depth, taps], &[0, 2, 1]);
            let form = matrices(kernels, &data, *channels, depth * taps, attrs.groups, &zero_point, bias)?;
            Ok(Packed { form, scale, channels: *channels })
        }
        Op::ConvTranspose(attrs) => pack_transposed(kernels, (&codes, dims), attrs, &zero_point, scale, bias),
        Op::Recurrent { kind, attrs } => recurrent(kernels, graph, op, *kind, attrs.direction.count()),
        node => {
            let [rows, columns] = *dims else { return Err(missing()) };
            let (data, n, k) = if matches!(node, Op::Gemm { trans_b: true, .. }) {
                (codes, rows, columns)
            } else {
                (permute(&codes, &[rows, columns], &[1, 0]), columns, rows)
            };
            let form = matrices(kernels, &data, n, k, 1, &zero_point, bias)?;
            Ok(Packed { form, scale, channels: n })
        }
    }
}

/// A matrix of weights with a scale for every group of input features.
fn group_wise(
    kernels: &Kernels,
    graph: &Graph,
    op: &QOperator,
    weights: &Codes,
    tensor: &Tensor,
) -> Result<Packed, StepError> {
    let wrong = || StepError::Shape(format!("weights of shape {:?} in groups", tensor.dims()));
    let params = &weights.params;
    let (&[rows, columns], Granularity::PerGroup { group_size, .. }) = (tensor.dims(), params.granularity)
    else {
        return Err(wrong());
    };
    let has_channels_first = matches!(graph.node(op.node).op, Op::Gemm { trans_b: true, .. });
    let (n, k) = if has_channels_first { (rows, columns) } else { (columns, rows) };
    let groups = k.div_ceil(group_size.max(1));
    let is_unsigned = matches!(tensor.dtype(), DType::U4 | DType::U2);
    // The kernels take codes of -8..=7.
    let shift = if is_unsigned { 8 } else { 0 };
    let mut codes: Vec<i8> = match is_unsigned {
        true => tensor.as_slice::<u8>()?.iter().map(|c| *c as i8 - 8).collect(),
        false => tensor.as_slice::<i8>()?.to_vec(),
    };
    let mut zero_point: Vec<i32> = params.zero_point.iter().map(|z| z - shift).collect();
    let mut scale = params.scale.clone();
    if !has_channels_first {
        codes = permute(&codes, &[k, n], &[1, 0]);
        scale = permute(&scale, &[groups, n], &[1, 0]);
        if zero_point.len() > 1 {
            zero_point = permute(&zero_point, &[groups, n], &[1, 0]);
        }
    }
    check_sums(&scale, groups, group_size.min(k))?;
    let bias = op.real_bias.as_deref();
    let rhs = GroupWiseRhs { data: &codes, n, k, group_size, scale: &scale, zero_point: &zero_point, bias };
    let packed = kernels.group_wise().pack(&rhs)?;
    Ok(Packed { form: Form::GroupWise(packed), scale: Vec::new(), channels: n })
}

/// Kernels add groups up in f32 and multiply by the scale of the activations last: what they add must not leave f32, however
/// small that scale is. `scale` has `groups` scales a channel.
fn check_sums(scale: &[f32], groups: usize, group_size: usize) -> Result<(), StepError> {
    let largest = 255.0 * 15.0 * group_size as f64;
    for (channel, scale) in scale.chunks_exact(groups.max(1)).enumerate() {
        let sum = scale.iter().map(|s| f64::from(*s)).sum::<f64>() * largest;
        if sum > f64::from(f32::MAX) || scale.iter().any(|s| !s.is_normal()) {
            return Err(StepError::Shape(format!(
                "scales of channel {channel} with which sums of groups, up to {sum:e}, leave f32, or below {:e}",
                f32::MIN_POSITIVE
            )));
        }
    }
    Ok(())
}

/// Weights `[input channel][output channel of a group][tap]` as the matrices of every phase and group.
fn pack_transposed(
    kernels: &Kernels,
    (codes, dims): (&[i8], &[usize]),
    attrs: &ConvTransposeAttrs,
    zero_point: &[i32],
    scale: Vec<f32>,
    bias: Option<&[i32]>,
) -> Result<Packed, StepError> {
    let wrong = || StepError::Shape(format!("weights of shape {dims:?} in {} groups", attrs.groups));
    let [inputs, each, kernel @ ..] = dims else { return Err(wrong()) };
    let taps: usize = kernel.iter().product();
    if attrs.groups == 0 || !inputs.is_multiple_of(attrs.groups) || *inputs == 0 || *each == 0 {
        return Err(wrong());
    }
    let depth = inputs / attrs.groups;
    let phases = transposed::phases(kernel, attrs)
        .ok_or_else(|| StepError::Shape(format!("strides of {:?}", attrs.strides)))?;
    let pack = |phase: &transposed::Phase| {
        let positions = phase.kernel_positions(kernel);
        (0..attrs.groups)
            .map(|g| {
                let mut data = Vec::with_capacity(each * positions.len() * depth);
                for n in 0..*each {
                    for tap in &positions {
                        data.extend((0..depth).map(|c| codes[((g * depth + c) * each + n) * taps + tap]));
                    }
                }
                Ok(kernels.gemm().pack(&RhsMatrix {
                    data: &data,
                    n: *each,
                    k: positions.len() * depth,
                    zero_point,
                    bias: bias.and_then(|b| b.get(g * each..(g + 1) * each)),
                })?)
            })
            .collect::<Result<Vec<_>, StepError>>()
    };
    let form = Form::Phases(phases.iter().map(pack).collect::<Result<_, _>>()?);
    let channels = each * attrs.groups;
    // Scales along axis 1 serve the channels of the same place in every group.
    let scale = if scale.len() == 1 { scale } else { scale.iter().copied().cycle().take(channels).collect() };
    Ok(Packed { form, scale, channels })
}

fn matrices(
    kernels: &Kernels,
    data: &[i8],
    n: usize,
    k: usize,
    groups: usize,
    zero_point: &[i32],
    bias: Option<&[i32]>,
) -> Result<Form, StepError> {
    if groups == 0 || n == 0 || k == 0 || !n.is_multiple_of(groups) {
        return Err(StepError::Shape(format!("{n} output channels of {k} weights in {groups} groups")));
    }
    let each = n / groups;
    let slice = |i: usize| i * each..(i + 1) * each;
    let packed = (0..groups)
        .map(|g| {
            Ok(kernels.gemm().pack(&RhsMatrix {
                data: data.get(g * each * k..(g + 1) * each * k).unwrap_or_default(),
                n: each,
                k,
                zero_point: if zero_point.len() == 1 { zero_point } else { &zero_point[slice(g)] },
                bias: bias.map(|b| &b[slice(g)]),
            })?)
        })
        .collect::<Result<Vec<_>, StepError>>()?;
    Ok(Form::Matrices(packed))
}

fn recurrent(
    kernels: &Kernels,
    graph: &Graph,
    op: &QOperator,
    kind: RecurrentKind,
    directions: usize,
) -> Result<Packed, StepError> {
    let missing = || StepError::Shape("weights that are not constant".into());
    let both = op.weights.as_ref().zip(op.recurrence.as_ref()).ok_or_else(missing)?;
    // Rows of all directions, packed in pieces that begin and end at these shares of a direction's rows.
    let packed = |codes: &Codes, cuts: &[usize]| -> Result<(Vec<Vec<PackedRhs>>, usize), StepError> {
        let tensor = graph.constant(codes.value).ok_or_else(missing)?;
        let k = tensor.dims().last().copied().unwrap_or(0);
        let (data, shift) = signed_codes(tensor)?;
        let zero_point: Vec<i32> = codes.params.zero_point.iter().map(|z| z - shift).collect();
        let all = data.len().checked_div(k).unwrap_or(0);
        let rows = all.checked_div(directions).unwrap_or(0);
        let shares = *cuts.last().unwrap_or(&1);
        if rows == 0 || rows * directions != all || !rows.is_multiple_of(shares) {
            return Err(StepError::Shape(format!("{all} rows of weights in {directions} directions")));
        }
        let piece = |first: usize, last: usize| {
            Ok(kernels.gemm().pack(&RhsMatrix {
                data: data.get(first * k..last * k).unwrap_or_default(),
                n: last - first,
                k,
                zero_point: match zero_point.len() {
                    1 => &zero_point,
                    _ => zero_point.get(first..last).unwrap_or_default(),
                },
                bias: None,
            })?)
        };
        let of_direction = |d: usize| {
            cuts.windows(2)
                .map(|c| piece(d * rows + c[0] * rows / shares, d * rows + c[1] * rows / shares))
                .collect()
        };
        Ok(((0..directions).map(of_direction).collect::<Result<_, StepError>>()?, rows))
    };
    let (input, rows) = packed(both.0, &[0, 1])?;
    let cuts: &[usize] = if matches!(kind, RecurrentKind::Gru { .. }) { &[0, 2, 3] } else { &[0, 1] };
    let (recurrence, _) = packed(both.1, cuts)?;
    Ok(Packed {
        form: Form::Recurrent(RecurrentPacked {
            rows,
            input: input.into_iter().flatten().collect(),
            recurrence,
            input_scale: both.0.params.scale.clone(),
            recurrence_scale: both.1.params.scale.clone(),
        }),
        scale: Vec::new(),
        channels: rows,
    })
}

/// The codes as i8, and what was taken from each to make them so.
fn signed_codes(tensor: &Tensor) -> Result<(Vec<i8>, i32), StepError> {
    Ok(match tensor.dtype() {
        DType::U8 => (tensor.as_slice::<u8>()?.iter().map(|c| (*c ^ FLIP) as i8).collect(), 128),
        // Unsigned codes of fewer bits are non-negative as i8 too.
        DType::U4 | DType::U2 => (tensor.as_slice::<u8>()?.iter().map(|c| *c as i8).collect(), 0),
        _ => (tensor.as_slice::<i8>()?.to_vec(), 0),
    })
}
