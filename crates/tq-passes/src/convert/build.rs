//! Writing the QDQ graph.

use super::weights::{codes_tensor, quantize_linear, zero_point_tensor};
use crate::fuse::clamp::bounds_of;
use crate::names::fresh;
use crate::place::activations;
use crate::prepare::constant_error;
use crate::{BiasAdjustment, PassError, Placement, Prepared};
use std::collections::{HashMap, HashSet};
use tq_graph::{Graph, Node, Op, Tensor, ValueId};
use tq_qtypes::affine::quantize_f32;
use tq_qtypes::{AffineParams, DType, Granularity, Rounding, affine};

/// The QDQ graph (not yet compacted or inferred), and the weights that became coarser.
pub(super) fn quantized_graph(
    prepared: &Prepared,
    params: &[AffineParams],
) -> Result<(Graph, Vec<BiasAdjustment>), PassError> {
    let float = &prepared.graph;
    let mut builder = Builder {
        prepared,
        params,
        names: Names::of(float),
        graph: Graph { nodes: Vec::with_capacity(float.nodes.len() * 3), ..float.clone() },
        codes: HashMap::new(),
        dequantized: vec![None; float.values.len()],
        raw: (0..float.values.len()).map(ValueId).collect(),
        adjustments: Vec::new(),
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
    Ok((builder.graph, builder.adjustments))
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

/// Constant codes made before: of which value, with which parameters (scale bits, zero points, type, axis), and where.
type CodesKey = (ValueId, Vec<u32>, Vec<i32>, DType, Option<usize>);

struct Builder<'p> {
    prepared: &'p Prepared,
    params: &'p [AffineParams],
    names: Names,
    graph: Graph,
    /// Constant codes already made, so that a constant shared in the float model stays shared (weights do not).
    codes: HashMap<CodesKey, ValueId>,
    /// For every value of the float graph the real value that stands for its codes.
    dequantized: Vec<Option<ValueId>>,
    /// For every value of the float graph the one that its producer writes.
    raw: Vec<ValueId>,
    adjustments: Vec<BiasAdjustment>,
}

impl Builder<'_> {
    fn add_node(&mut self, name: String, op: Op, inputs: &[ValueId], output: ValueId) {
        let name = fresh(&name, &mut self.names.nodes);
        let inputs = inputs.iter().map(|v| Some(*v)).collect();
        self.graph.nodes.push(Node { name, op, inputs, outputs: vec![Some(output)] });
    }

    fn add_value(&mut self, name: String, dtype: DType) -> ValueId {
        let name = fresh(&name, &mut self.names.values);
        self.graph.add_value(name, Some(dtype), None)
    }

    fn add_constant(&mut self, name: String, tensor: Tensor) -> ValueId {
        let name = fresh(&name, &mut self.names.values);
        self.graph.add_constant(name, tensor)
    }

    /// The constants `x_scale` and `x_zero_point`.
    fn add_params(&mut self, base: &str, params: &AffineParams) -> Result<[ValueId; 2], PassError> {
        let scale = match params.granularity {
            Granularity::PerTensor => Tensor::scalar(params.scale[0]),
            _ => Tensor::vector(params.scale.clone()),
        };
        let zero = zero_point_tensor(params)?;
        Ok([
            self.add_constant(format!("{base}_scale"), scale),
            self.add_constant(format!("{base}_zero_point"), zero),
        ])
    }

    /// Clamps that the quantizer after them does anyway: their host gives their result itself.
    fn redundant_clamps(&mut self) -> Vec<bool> {
        let float = &self.prepared.graph;
        let mut dropped = vec![false; float.nodes.len()];
        for (i, node) in float.nodes.iter().enumerate() {
            let Placement::Epilogue { .. } = self.prepared.plan.placements[i] else { continue };
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
            if code(lo) == qmin && code(hi) == qmax {
                dropped[i] = true;
                self.raw[inner.0] = out;
            }
        }
        dropped
    }

    /// What a node that runs on codes reads for `v`.
    fn read_codes(&self, v: ValueId) -> ValueId {
        self.dequantized[v.0].unwrap_or(v)
    }

    /// What a node that runs in float reads for `v`: the float value wherever it really exists.
    fn read_float(&self, v: ValueId) -> ValueId {
        self.dequantized[v.0].filter(|_| !self.exists_in_float(v)).unwrap_or(v)
    }

    /// True for values that are computed in float whether anybody reads codes of them or not.
    fn exists_in_float(&self, v: ValueId) -> bool {
        self.prepared.float_values[v.0]
    }

    fn node(&mut self, i: usize, node: &Node) -> Result<(), PassError> {
        let prepared = self.prepared;
        let float = &prepared.graph;
        let placement = &prepared.plan.placements[i];
        let mut inputs = node.inputs.clone();
        if placement.is_quantized() {
            for (slot, v) in activations(float, node) {
                inputs[slot] = Some(self.read_codes(v));
            }
            match node.op {
                Op::Conv(_) | Op::Gemm { .. } | Op::MatMul => self.linear(node, &mut inputs)?,
                Op::Binary(_) | Op::Concat { .. } => self.operands(node, &mut inputs)?,
                _ => {}
            }
        }
        let on_codes: Vec<ValueId> = match placement.is_quantized() {
            true => activations(float, node).map(|(_, v)| v).collect(),
            false => Vec::new(),
        };
        for (slot, v) in inputs.iter_mut().enumerate() {
            // Shapes, indices and the like, and everything that float nodes read.
            if let Some(read) = node.input(slot)
                && *v == Some(read)
                && !on_codes.contains(&read)
            {
                *v = Some(self.read_float(read));
            }
        }
        let outputs = node.outputs.iter().map(|o| o.map(|v| self.raw[v.0])).collect();
        self.graph.nodes.push(Node { name: node.name.clone(), op: node.op.clone(), inputs, outputs });
        let written: Vec<ValueId> = node.outputs.iter().flatten().map(|v| self.raw[v.0]).collect();
        for v in written {
            self.pair(v)?;
        }
        Ok(())
    }

    /// Puts a Quantize and Dequantize pair behind `v`, if `v` is to be codes.
    fn pair(&mut self, v: ValueId) -> Result<(), PassError> {
        let prepared = self.prepared;
        let Some(group) = prepared.plan.group_of[v.0] else { return Ok(()) };
        let params = &self.params[group];
        let name = prepared.graph.value(v).name.clone();
        let [scale, zero] = self.add_params(&name, params)?;
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
        let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
        self.add_node(format!("{name}_QuantizeLinear"), quantize, &[v, scale, zero], codes);
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

    /// Weights and bias of a Conv, Gemm or MatMul as constant codes.
    fn linear(&mut self, node: &Node, inputs: &mut [Option<ValueId>]) -> Result<(), PassError> {
        let prepared = self.prepared;
        let group = node.input(0).and_then(|v| prepared.plan.group_of[v.0]);
        let Some((input_scale, _)) = group.and_then(|g| self.params[g].uniform()) else { return Ok(()) };
        let Some(q) = quantize_linear(&prepared.graph, node, &prepared.config, input_scale)? else {
            return Ok(());
        };
        self.adjustments.extend(q.adjustments);
        // Never shared: ONNX Runtime's exact integer mode rewrites i8 weights and their zero points once for each
        // operator that reads them, and refuses a file in which two operators read the same tensor.
        inputs[1] = Some(self.new_codes(q.weights, &q.params, q.codes)?);
        if let Some((b, codes, scale)) = q.bias {
            let per_channel = scale.len() > 1;
            let granularity =
                if per_channel { Granularity::PerChannel { axis: 0 } } else { Granularity::PerTensor };
            let zero_point = vec![0; scale.len()];
            let name = prepared.graph.value(b).name.clone();
            let zero = if per_channel { Tensor::vector(zero_point.clone()) } else { Tensor::scalar(0i32) };
            let scale_tensor =
                if per_channel { Tensor::vector(scale.clone()) } else { Tensor::scalar(scale[0]) };
            let params = AffineParams {
                dtype: DType::I32,
                quant_min: i32::MIN,
                quant_max: i32::MAX,
                granularity,
                scale,
                zero_point,
            };
            let key = key(b, &params);
            let back = match self.codes.get(&key) {
                Some(v) => *v,
                None => {
                    let scale = self.add_constant(format!("{name}_scale"), scale_tensor);
                    let zero = self.add_constant(format!("{name}_zero_point"), zero);
                    self.dequantize_constant(&name, codes, [scale, zero], granularity, key)
                }
            };
            inputs[2] = Some(back);
        }
        Ok(())
    }

    /// Constant operands as codes: within the shared scale for Concat, with parameters of their own elsewhere.
    fn operands(&mut self, node: &Node, inputs: &mut [Option<ValueId>]) -> Result<(), PassError> {
        let prepared = self.prepared;
        for (slot, v) in node.inputs.iter().enumerate() {
            let Some(v) = *v else { continue };
            let Some(tensor) = prepared.graph.constant(v) else { continue };
            let name = prepared.graph.value(v).name.clone();
            let data = tensor.as_slice::<f32>()?;
            let shared = match node.op {
                Op::Concat { .. } => node.output(0).and_then(|o| prepared.plan.group_of[o.0]),
                _ => None,
            };
            let params = match shared {
                Some(group) => self.params[group].clone(),
                None => {
                    let error = |e| constant_error(&node.name, &name, e);
                    let mut observer = prepared.config.activation_observer().build().map_err(error)?;
                    observer.observe(data, tensor.dims()).map_err(error)?;
                    observer.calculate_qparams().map_err(error)?
                }
            };
            let codes = affine::quantize(data, tensor.dims(), &params, Rounding::Divide)
                .map_err(|e| PassError::Observer { tensor: name, source: e.into() })?;
            let codes = codes_tensor(tensor.dims(), &codes, &params)?;
            inputs[slot] = Some(self.constant_codes(v, &params, codes)?);
        }
        Ok(())
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
    fn new_codes(&mut self, v: ValueId, params: &AffineParams, codes: Tensor) -> Result<ValueId, PassError> {
        let key = key(v, params);
        let name = self.prepared.graph.value(v).name.clone();
        let constants = self.add_params(&name, params)?;
        Ok(self.dequantize_constant(&name, codes, constants, params.granularity, key))
    }

    fn dequantize_constant(
        &mut self,
        name: &str,
        codes: Tensor,
        [scale, zero]: [ValueId; 2],
        granularity: Granularity,
        key: CodesKey,
    ) -> ValueId {
        let axis = match granularity {
            Granularity::PerChannel { axis } => axis as i64,
            _ => 1,
        };
        let codes = self.add_constant(format!("{name}_quantized"), codes);
        let back = self.add_value(format!("{name}_dequantized"), DType::F32);
        let op = Op::DequantizeLinear { axis, block_size: 0 };
        self.add_node(format!("{name}_DequantizeLinear"), op, &[codes, scale, zero], back);
        self.codes.insert(key, back);
        back
    }
}

fn key(v: ValueId, params: &AffineParams) -> CodesKey {
    let axis = match params.granularity {
        Granularity::PerChannel { axis } => Some(axis),
        _ => None,
    };
    let scale = params.scale.iter().map(|s| s.to_bits()).collect();
    (v, scale, params.zero_point.clone(), params.dtype, axis)
}
