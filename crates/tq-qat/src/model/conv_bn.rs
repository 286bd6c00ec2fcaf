//! Convolutions and linear layers with the batch normalization after them, trained together.
//!
//! In the graph that is trained the normalization has been folded into the layer. Here it is taken apart again: weights,
//! factor and offset are parameters of their own, and what is rounded to codes is the weight as it will be when it is folded,
//! `weight * factor / sqrt(variance + epsilon)` with the running variance. This is PyTorch's `ConvBn2d` of
//! `torch.ao.nn.intrinsic.qat` (after Jacob et al., 2018, without their second convolution): while statistics are those of
//! batches, what comes out of the layer is divided by that factor again and then normalized.

use crate::{BatchStatistics, Parameter, QatError, Tape, Var};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_passes::{FusionOutcome, Prepared};

/// How much of a running statistic a batch replaces, as in PyTorch.
const MOMENTUM: f32 = 0.1;

/// Means and variances of the channels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Running {
    pub(super) mean: Vec<f32>,
    pub(super) variance: Vec<f32>,
}

/// One layer with its normalization.
#[derive(Debug)]
pub(super) struct ConvBn {
    /// Name of the normalization.
    pub(super) name: String,
    /// The weights of the fused graph, and its bias.
    pub(super) folded: [ValueId; 2],
    pub(super) weight: Parameter,
    bias: Option<Parameter>,
    scale: Parameter,
    offset: Parameter,
    epsilon: f32,
    /// Shape in which a value a channel meets the weights.
    by_weight: Vec<i64>,
    /// Shape in which it meets the results.
    by_result: Vec<i64>,
    running: Mutex<Running>,
}

impl ConvBn {
    /// The layers of `original` whose batch normalization alone was folded into them, by their nodes in the fused graph.
    pub(super) fn of(prepared: &Prepared, original: &Graph) -> Result<BTreeMap<NodeId, Self>, QatError> {
        let fused = prepared.graph();
        let mut out = BTreeMap::new();
        let entries = &prepared.fusion_report().entries;
        for entry in entries.iter().filter(|e| e.op == "BatchNormalization") {
            let FusionOutcome::Fused { into } = &entry.outcome else { continue };
            // Something else in the same layer, such as a factor or a second normalization: it stays folded.
            let inside = |o: &FusionOutcome| matches!(o, FusionOutcome::Fused { into: i } if i == into);
            if entries.iter().filter(|e| inside(&e.outcome)).count() != 1 {
                continue;
            }
            let node_of = |graph: &Graph, name: &str| {
                let mut nodes = graph.iter_nodes().filter(|(_, n)| n.name == name).map(|(id, _)| id);
                nodes.next().filter(|_| nodes.next().is_none())
            };
            let ids = (node_of(original, &entry.node), node_of(original, into), node_of(fused, into));
            let (Some(norm), Some(layer), Some(id)) = ids else { continue };
            let layers = (original.node(norm), original.node(layer), fused.node(id));
            if let Some(conv_bn) = Self::new(original, fused, layers)? {
                out.insert(id, conv_bn);
            }
        }
        Ok(out)
    }

    fn new(
        original: &Graph,
        fused: &Graph,
        (norm, layer, folded): (&Node, &Node, &Node),
    ) -> Result<Option<Self>, QatError> {
        let Op::BatchNormalization { epsilon } = norm.op else { return Ok(None) };
        let constant = |v: Option<ValueId>| original.constant(v?).filter(|t| t.as_slice::<f32>().is_ok());
        let [Some(scale), Some(offset), Some(mean), Some(variance), Some(weight)] =
            [norm.input(1), norm.input(2), norm.input(3), norm.input(4), layer.input(1)].map(constant)
        else {
            return Ok(None);
        };
        // Only what is directly behind the layer, on its own weights.
        if norm.input(0) != layer.output(0) || layer.op != folded.op {
            return Ok(None);
        }
        let (Some(w), Some(b)) = (folded.input(1), folded.input(2)) else { return Ok(None) };
        let channels = scale.len();
        let rank = weight.rank();
        let out_axis = match &layer.op {
            Op::Conv(_) => 0,
            Op::Gemm { alpha: 1.0, beta: 1.0, trans_b, .. } => usize::from(!trans_b),
            _ => return Ok(None),
        };
        let shared = fused.iter_nodes().filter(|(_, n)| n.inputs.contains(&Some(w))).count() != 1;
        if shared
            || weight.dims().get(out_axis) != Some(&channels)
            || fused.constant(w).map(Tensor::dims) != Some(weight.dims())
        {
            return Ok(None);
        }
        let shape = |axis: usize| {
            let mut dims = vec![1i64; rank];
            dims[axis] = channels as i64;
            dims
        };
        let named = |v: Option<ValueId>, t: &Tensor| {
            let name = v.map_or(String::new(), |v| original.value(v).name.clone());
            Parameter::new(name, t.clone())
        };
        let bias = match (layer.input(2), constant(layer.input(2))) {
            (None, _) => None,
            (Some(v), Some(t)) if t.len() == channels => {
                Some(Parameter::new(original.value(v).name.clone(), t.clone().reshape(&[channels])?)?)
            }
            _ => return Ok(None),
        };
        let running = Running {
            mean: mean.as_slice::<f32>()?.to_vec(),
            variance: variance.as_slice::<f32>()?.to_vec(),
        };
        Ok(Some(Self {
            name: norm.name.clone(),
            folded: [w, b],
            weight: named(layer.input(1), weight)?,
            bias,
            scale: named(norm.input(1), scale)?,
            offset: named(norm.input(2), offset)?,
            epsilon,
            by_weight: shape(out_axis),
            by_result: shape(1),
            running: Mutex::new(running),
        }))
    }

    /// What is trained.
    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        [&self.weight, &self.scale, &self.offset].into_iter().chain(&self.bias)
    }

    pub(super) fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `1 / sqrt(variance + epsilon)` of the running variance.
    fn inverse(&self) -> Vec<f64> {
        let epsilon = f64::from(self.epsilon);
        self.running().variance.iter().map(|v| 1.0 / (f64::from(*v) + epsilon).sqrt()).collect()
    }

    /// `factor / sqrt(variance + epsilon)`, one a channel, with its way back to the factor.
    fn fold_factor(&self, tape: &Tape) -> Result<Var, QatError> {
        let inverse = self.inverse().into_iter().map(|v| v as f32).collect::<Vec<_>>();
        tape.parameter(&self.scale).mul(&tape.constant(Tensor::vector(inverse)))
    }

    /// The weights as they will be folded, before rounding, and the factor that they carry.
    pub(super) fn folded_weight(&self, tape: &Tape) -> Result<(Var, Var), QatError> {
        let factor = self.fold_factor(tape)?;
        let weight = tape.parameter(&self.weight).mul(&factor.reshape(&self.by_weight)?)?;
        Ok((weight, factor))
    }

    /// The bias as it will be folded: `offset + (bias - mean) * factor`, of the running mean.
    pub(super) fn folded_bias(&self, tape: &Tape, factor: &Var) -> Result<Var, QatError> {
        let mean = tape.constant(Tensor::vector(self.running().mean.clone()));
        let centred = match &self.bias {
            Some(bias) => tape.parameter(bias).sub(&mean)?,
            None => tape.constant(Tensor::vector(vec![0.0f32; self.scale.dims()[0]])).sub(&mean)?,
        };
        tape.parameter(&self.offset).add(&centred.mul(factor)?)
    }

    /// What the layer makes of the folded weights without a bias, normalized with the statistics of the batch, which the
    /// running ones then follow.
    pub(super) fn normalized(&self, result: &Var, factor: &Var) -> Result<Var, QatError> {
        let tape = result.tape();
        let mut plain = result.div(&factor.reshape(&self.by_result)?)?;
        if let Some(bias) = &self.bias {
            plain = plain.add(&tape.parameter(bias).reshape(&self.by_result)?)?;
        }
        let (scale, offset) = (tape.parameter(&self.scale), tape.parameter(&self.offset));
        let (y, batch) = tape.batch_norm(&self.name, &plain, &scale, &offset, self.epsilon)?;
        if !tape.is_recomputing() {
            self.follow(&batch);
        }
        Ok(y)
    }

    fn follow(&self, batch: &BatchStatistics) {
        let mut running = self.running();
        let unbiased = batch.count as f64 / (batch.count.max(2) - 1) as f64;
        let moved = |old: f32, new: f64| {
            (f64::from(1.0 - MOMENTUM) * f64::from(old) + f64::from(MOMENTUM) * new) as f32
        };
        for (r, b) in running.mean.iter_mut().zip(&batch.mean) {
            *r = moved(*r, f64::from(*b));
        }
        for (r, b) in running.variance.iter_mut().zip(&batch.variance) {
            *r = moved(*r, f64::from(*b) * unbiased);
        }
    }

    /// Weights and bias as they are folded now: what conversion takes.
    pub(super) fn fold(&self) -> Result<[Tensor; 2], QatError> {
        let tape = Tape::without_gradients();
        let (weight, factor) = self.folded_weight(&tape)?;
        Ok([weight.value().clone(), self.folded_bias(&tape, &factor)?.value().clone()])
    }
}
