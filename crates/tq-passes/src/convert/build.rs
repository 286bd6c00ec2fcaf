//! Writing the QDQ graph.

use super::is_floored;
use super::weights::{codes_tensor, half_tensor, param_tensors, quantize_linear};
use crate::fuse::clamp::bounds_of;
use crate::names::fresh;
use crate::place::{PlannedNode, Scheme, weight_input, weight_slots};
use crate::prepare::constant_error;
use crate::scheme::Weights;
use crate::training::InputForm;
use crate::{BiasAdjustment, PassError, Placement, Prepared};
use std::collections::{BTreeMap, HashMap, HashSet};
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_observers::{MinMaxObserver, Observer as _};
use tq_qtypes::affine::{DEFAULT_EPS, quantize_f32};
use tq_qtypes::{AffineParams, DType, DynamicFormula, Granularity, QuantSpec, Rounding, affine};

/// What is told of a conversion besides where nodes run.
#[derive(Default)]
pub(super) struct Notes {
    /// Weights that became coarser for the sake of their bias.
    pub(super) adjustments: Vec<BiasAdjustment>,
    /// Constants at the smallest scale, though their range asks for a smaller one.
    pub(super) floored: Vec<String>,
}

/// The QDQ graph (not yet compacted or inferred), and what became coarser in it.
pub(super) fn quantized_graph(
    prepared: &Prepared,
    params: &[AffineParams],
    weights: &BTreeMap<NodeId, AffineParams>,
    saturate: bool,
) -> Result<(Graph, Notes), PassError> {
    let float = &prepared.graph;
    let mut builder = Builder {
        prepared,
        params,
        weights,
        saturate,
        merged: HashMap::new(),
        names: Names::of(float),
        graph: Graph {
            nodes: Vec::with_capacity(float.nodes.len() * 3),
            requantization: prepared.configuration().backend.requantization,
            ..float.clone()
        },
        codes: HashMap::new(),
        halves: HashMap::new(),
        run_time: HashMap::new(),
        dequantized: vec![None; float.values.len()],
        raw: (0..float.values.len()).map(ValueId).collect(),
        notes: Notes::default(),
    };
    builder.graph.nodes.clear();
    let dropped = builder.redundant_clamps();
    for v in &float.inputs {
        builder.pair(*v)?;
    }
    for (i, node) in float.nodes.iter().enumerate() {
        if !dropped[i] {
            builder.node(i, node)?;
        }
    }
    Ok((builder.graph, builder.notes))
}

struct Names {
    values: HashSet<String>,
    nodes: HashSet<String>,
}

impl Names {
    fn of(graph: &Graph) -> Self {
        Self {
            values: graph.values.iter().map(|v| v.name.clone()).collect(),
            nodes: graph.nodes.iter().map(|n| n.name.clone()).collect(),
        }
    }
}

/// Constant codes made before: of which value, with which parameters (scale bits, zero points, type, granularity), and where.
type CodesKey = (ValueId, Vec<u32>, Vec<i32>, DType, Granularity);

pub(super) struct Builder<'p> {
    pub(super) prepared: &'p Prepared,
    params: &'p [AffineParams],
    /// Parameters of weights that need not be found.
    weights: &'p BTreeMap<NodeId, AffineParams>,
    /// Whether values are clamped to codes that are fewer than those of their type.
    saturate: bool,
    /// Bounds of clamps that became part of that one, by the value that they give.
    merged: HashMap<ValueId, (f32, f32)>,
    names: Names,
    pub(super) graph: Graph,
    /// Constant codes already made, so that a constant shared in the float model stays shared (weights do not).
    codes: HashMap<CodesKey, ValueId>,
    /// The f32 value of constants kept in half precision.
    halves: HashMap<(ValueId, DType), ValueId>,
    /// Codes, scale and zero point of values that are quantized at run time, once for all that read them.
    pub(super) run_time: HashMap<(ValueId, DynamicFormula), [ValueId; 3]>,
    /// For every value of the float graph the real value that stands for its codes.
    dequantized: Vec<Option<ValueId>>,
    /// For every value of the float graph the one that its producer writes.
    pub(super) raw: Vec<ValueId>,
    pub(super) notes: Notes,
}

impl Builder<'_> {
    pub(super) fn add_node(&mut self, name: String, op: Op, inputs: &[ValueId], output: ValueId) {
        let name = fresh(&name, &mut self.names.nodes);
        let inputs = inputs.iter().map(|v| Some(*v)).collect();
        self.graph.nodes.push(Node { name, op, inputs, outputs: vec![Some(output)] });
    }

    pub(super) fn add_value(&mut self, name: String, dtype: DType) -> ValueId {
        let name = fresh(&name, &mut self.names.values);
        self.graph.add_value(name, Some(dtype), None)
    }

    pub(super) fn add_constant(&mut self, name: String, tensor: Tensor) -> ValueId {
        let name = fresh(&name, &mut self.names.values);
        self.graph.add_constant(name, tensor)
    }

    /// The constants `x_scale` and `x_zero_point` of a tensor of shape `dims`.
    pub(super) fn add_params(
        &mut self,
        base: &str,
        dims: &[usize],
        params: &AffineParams,
    ) -> Result<[ValueId; 2], PassError> {
        let [scale, zero] = param_tensors(dims, params)?;
        Ok([
            self.add_constant(format!("{base}_scale"), scale),
            self.add_constant(format!("{base}_zero_point"), zero),
        ])
    }

    /// Clamps that the quantizer after them does anyway, or the one to its codes that will stand before it: their host
    /// gives their result itself. An operator takes one clamp only.
    fn redundant_clamps(&mut self) -> Vec<bool> {
        let float = &self.prepared.graph;
        let mut dropped = vec![false; float.nodes.len()];
        for (i, node) in float.nodes.iter().enumerate() {
            let Placement::Epilogue { .. } = self.prepared.plan.nodes[i].placement else { continue };
            let (Some(inner), Some(out)) = (node.input(0), node.output(0)) else { continue };
            let (Some(group), Ok((lo, hi))) = (self.prepared.plan.group_of[out.0], bounds_of(float, node))
            else {
                continue;
            };
            let p = &self.params[group];
            let (Some((scale, zero)), Some((qmin, qmax))) = (p.uniform(), p.dtype.quant_range()) else {
                continue;
            };
            let code = |x: f32| quantize_f32(x, scale, zero, qmin, qmax, Rounding::Divide);
            let is_merged = self.saturate && is_narrow(p);
            if is_merged {
                self.merged.insert(out, (lo, hi));
            }
            if is_merged || (code(lo) == qmin && code(hi) == qmax) {
                dropped[i] = true;
                self.raw[inner.0] = out;
            }
        }
        dropped
    }

    /// What a node that runs in float reads for `v`: the float value wherever it really exists.
    pub(super) fn read_float(&self, v: ValueId) -> ValueId {
        self.dequantized[v.0].filter(|_| !self.exists_in_float(v)).unwrap_or(v)
    }

    /// True for values that are computed in float whether anybody reads codes of them or not.
    fn exists_in_float(&self, v: ValueId) -> bool {
        self.prepared.float_values[v.0]
    }

    fn node(&mut self, i: usize, node: &Node) -> Result<(), PassError> {
        let prepared = self.prepared;
        let planned = &prepared.plan.nodes[i];
        if let Scheme::Dynamic(formula) = planned.scheme
            && !matches!(node.op, Op::Recurrent { .. })
        {
            return self.run_time_product(node, planned, formula);
        }
        let mut inputs = node.inputs.clone();
        for (slot, form) in prepared.input_forms(NodeId(i)).into_iter().enumerate() {
            let Some(v) = inputs[slot] else { continue };
            match form {
                InputForm::Codes { .. } => inputs[slot] = Some(self.dequantized[v.0].unwrap_or(v)),
                InputForm::Operand { group, spec } => {
                    inputs[slot] = Some(self.operand(node, v, group, spec)?);
                }
                InputForm::Absent
                | InputForm::Float
                | InputForm::Weights { .. }
                | InputForm::Half(_)
                | InputForm::Bias { .. }
                | InputForm::Unknown(_) => {}
            }
        }
        if planned.scheme != Scheme::Float && planned.has_weights {
            self.weights(NodeId(i), node, planned, &mut inputs)?;
        }
        let outputs = node.outputs.iter().map(|o| o.map(|v| self.raw[v.0])).collect();
        let mut op = node.op.clone();
        if let (Op::Recurrent { attrs, .. }, Scheme::Dynamic(formula)) = (&mut op, planned.scheme) {
            attrs.dynamic = Some(formula);
        }
        self.graph.nodes.push(Node { name: node.name.clone(), op, inputs, outputs });
        let written: Vec<ValueId> = node.outputs.iter().flatten().map(|v| self.raw[v.0]).collect();
        for v in written {
            self.pair(v)?;
        }
        Ok(())
    }

    /// Puts a Quantize and Dequantize pair behind `v`, if `v` is to be codes.
    pub(super) fn pair(&mut self, v: ValueId) -> Result<(), PassError> {
        let prepared = self.prepared;
        let Some(group) = prepared.plan.group_of[v.0] else { return Ok(()) };
        let params = &self.params[group];
        let name = prepared.graph.value(v).name.clone();
        let [scale, zero] = self.add_params(&name, &[], params)?;
        let codes = self.add_value(format!("{name}_quantized"), params.dtype);
        // A float output of the model keeps its name, so the one before the pair gives it up.
        let is_output = prepared.graph.outputs.contains(&v) && !self.exists_in_float(v);
        let back = if is_output {
            let before = fresh(&format!("{name}_float"), &mut self.names.values);
            self.graph.values[v.0].name = before;
            self.graph.add_value(name.clone(), Some(DType::F32), None)
        } else {
            self.add_value(format!("{name}_dequantized"), DType::F32)
        };
        let clamped = self.saturated(v, group, &name);
        let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
        self.add_node(format!("{name}_QuantizeLinear"), quantize, &[clamped, scale, zero], codes);
        let dequantize = Op::DequantizeLinear { axis: 1, block_size: 0 };
        self.add_node(format!("{name}_DequantizeLinear"), dequantize, &[codes, scale, zero], back);
        self.dequantized[v.0] = Some(back);
        if is_output {
            for out in &mut self.graph.outputs {
                if *out == v {
                    *out = back;
                }
            }
        }
        Ok(())
    }

    /// `v` within what its codes can say, where these are fewer than those of their type and someone asks for it: the
    /// Quantize node after it clamps to the type alone.
    fn saturated(&mut self, v: ValueId, group: usize, name: &str) -> ValueId {
        let (prepared, params) = (self.prepared, &self.params[group]);
        let (lo, hi) = (params.quant_min, params.quant_max);
        let is_clamped = self.saturate && is_narrow(params);
        let Some((scale, zero)) = params.uniform().filter(|_| is_clamped) else { return v };
        // What only moves or chooses among such values has no others.
        let float = &prepared.graph;
        let same = |i: &ValueId| float.constant(*i).is_some() || prepared.plan.group_of[i.0] == Some(group);
        let producer = float.nodes.iter().find(|n| n.outputs.contains(&Some(v)));
        if producer.is_some_and(|n| n.inputs.iter().flatten().all(same)) {
            return v;
        }
        let (above, below) = self.merged.get(&v).copied().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let bound = |code: i32| affine::dequantize_f32(code, scale, zero).max(above).min(below);
        let (least, most) = (Tensor::scalar(bound(lo)), Tensor::scalar(bound(hi)));
        let least = self.add_constant(format!("{name}_least"), least);
        let most = self.add_constant(format!("{name}_most"), most);
        let clamped = self.add_value(format!("{name}_clamped"), DType::F32);
        self.add_node(format!("{name}_Clip"), Op::Clip, &[v, least, most], clamped);
        clamped
    }

    /// Weights of a Conv, Gemm or MatMul as its rule has them; with weights and data as codes the bias too.
    fn weights(
        &mut self,
        id: NodeId,
        node: &Node,
        planned: &PlannedNode,
        inputs: &mut [Option<ValueId>],
    ) -> Result<(), PassError> {
        let prepared = self.prepared;
        let Some(qconfig) = &planned.qconfig else { return Ok(()) };
        match Weights::of(&qconfig.weight) {
            Weights::Float => return Ok(()),
            Weights::Half(dtype) => return self.half_weights(node, dtype, inputs),
            Weights::Codes(_) if matches!(node.op, Op::Recurrent { .. }) => {
                return self.recurrent_weights(node, &qconfig.weight, inputs);
            }
            Weights::Codes(_) => {}
        }
        let group = node.input(0).and_then(|v| prepared.plan.group_of[v.0]);
        // Where sums have no scale, the bias is added as it is.
        let input_scale = group
            .filter(|_| planned.placement.sums_have_a_scale())
            .and_then(|g| self.params[g].uniform())
            .map(|(scale, _)| scale);
        // Products in float do not saturate.
        let safe = prepared.configuration().backend.overflow_safe_weights && input_scale.is_some();
        let given = self.weights.get(&id);
        let Some(q) = quantize_linear(&prepared.graph, node, &qconfig.weight, given, input_scale, safe)?
        else {
            return Ok(());
        };
        self.notes.adjustments.extend(q.adjustments);
        if q.is_floored {
            self.notes.floored.push(prepared.graph.value(q.weights).name.clone());
        }
        inputs[weight_input(&node.op)] = Some(match planned.scheme {
            // Never shared: ONNX Runtime's exact integer mode rewrites i8 weights and their zero points once for each
            // operator that reads them, and refuses a file in which two operators read the same tensor.
            Scheme::Static => self.new_codes(q.weights, &q.params, q.codes)?,
            _ => self.constant_codes(q.weights, &q.params, q.codes)?,
        });
        if let Some((b, codes, scale)) = q.bias {
            let granularity = match scale.len() {
                1 => Granularity::PerTensor,
                _ => Granularity::PerChannel { axis: 0 },
            };
            let zero_point = vec![0; scale.len()];
            let (quant_min, quant_max) = (i32::MIN, i32::MAX);
            let params =
                AffineParams { dtype: DType::I32, quant_min, quant_max, granularity, scale, zero_point };
            inputs[2] = Some(self.constant_codes(b, &params, codes)?);
        }
        Ok(())
    }

    /// Weights in half precision, cast to f32 where they are read.
    fn half_weights(
        &mut self,
        node: &Node,
        dtype: DType,
        inputs: &mut [Option<ValueId>],
    ) -> Result<(), PassError> {
        let float = &self.prepared.graph;
        for slot in weight_slots(&node.op) {
            let Some(w) = node.input(*slot) else { continue };
            let Some(tensor) = float.constant(w) else { continue };
            let wide = match self.halves.get(&(w, dtype)) {
                Some(v) => *v,
                None => {
                    let name = float.value(w).name.clone();
                    let half = half_tensor(tensor.as_slice::<f32>()?, tensor.dims(), dtype)?;
                    let half = self.add_constant(format!("{name}_{dtype}"), half);
                    let wide = self.add_value(format!("{name}_f32"), DType::F32);
                    let cast = Op::Cast { to: DType::F32, saturate: true };
                    self.add_node(format!("{name}_Cast"), cast, &[half], wide);
                    self.halves.insert((w, dtype), wide);
                    wide
                }
            };
            inputs[*slot] = Some(wide);
        }
        Ok(())
    }

    /// A constant operand as codes: within the scale of a group, or with parameters of its own.
    fn operand(
        &mut self,
        node: &Node,
        v: ValueId,
        group: Option<usize>,
        spec: QuantSpec,
    ) -> Result<ValueId, PassError> {
        let prepared = self.prepared;
        let Some(tensor) = prepared.graph.constant(v) else { return Ok(v) };
        let name = prepared.graph.value(v).name.clone();
        let data = tensor.as_slice::<f32>()?;
        let params = match group {
            Some(group) => self.params[group].clone(),
            None => {
                let error = |e| constant_error(&node.name, &name, e);
                // All of it is known, so its range is its range, however activations are observed.
                let mut observer = MinMaxObserver::new(spec, DEFAULT_EPS).map_err(error)?;
                observer.observe(data, tensor.dims()).map_err(error)?;
                let params = observer.calculate_qparams().map_err(error)?;
                if is_floored(&observer, &params) {
                    self.notes.floored.push(name.clone());
                }
                params
            }
        };
        let codes = affine::quantize(data, tensor.dims(), &params, Rounding::Divide)
            .map_err(|e| PassError::Observer { tensor: name, source: e.into() })?;
        let codes = codes_tensor(tensor.dims(), &codes, &params)?;
        self.constant_codes(v, &params, codes)
    }

    /// The real value behind constant codes of `v`, made now or before.
    fn constant_codes(
        &mut self,
        v: ValueId,
        params: &AffineParams,
        codes: Tensor,
    ) -> Result<ValueId, PassError> {
        match self.codes.get(&key(v, params)) {
            Some(back) => Ok(*back),
            None => self.new_codes(v, params, codes),
        }
    }

    /// The real value behind constant codes of `v`, with scale and zero point of its own.
    pub(super) fn new_codes(
        &mut self,
        v: ValueId,
        params: &AffineParams,
        codes: Tensor,
    ) -> Result<ValueId, PassError> {
        let name = self.prepared.graph.value(v).name.clone();
        let (axis, block_size) = match params.granularity {
            Granularity::PerTensor => (1, 0),
            Granularity::PerChannel { axis } => (axis as i64, 0),
            Granularity::PerGroup { axis, group_size } => (axis as i64, group_size),
        };
        let [scale, zero] = self.add_params(&name, codes.dims(), params)?;
        let codes = self.add_constant(format!("{name}_quantized"), codes);
        let back = self.add_value(format!("{name}_dequantized"), DType::F32);
        let op = Op::DequantizeLinear { axis, block_size };
        self.add_node(format!("{name}_DequantizeLinear"), op, &[codes, scale, zero], back);
        self.codes.insert(key(v, params), back);
        Ok(back)
    }
}

/// Whether the codes are fewer than those of their type.
fn is_narrow(params: &AffineParams) -> bool {
    let (lo, hi) = (params.quant_min, params.quant_max);
    params.dtype.quant_range().is_some_and(|(min, max)| min < lo || hi < max)
}

fn key(v: ValueId, params: &AffineParams) -> CodesKey {
    let scale = params.scale.iter().map(|s| s.to_bits()).collect();
    (v, scale, params.zero_point.clone(), params.dtype, params.granularity)
}
