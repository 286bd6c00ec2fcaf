//! Operators whose activations are quantized at run time, and the weights of recurrent ones.

use super::build::Builder;
use super::is_floored;
use super::weights::{codes_tensor, param_tensors, quantize_linear, rounding_of};
use crate::PassError;
use crate::place::PlannedNode;
use crate::prepare::constant_error;
use tq_graph::op::BinaryOp;
use tq_graph::{Node, Op, Tensor, ValueId};
use tq_observers::ObserverConfig;
use tq_qtypes::{AffineParams, DType, DynamicFormula, Granularity, affine};

impl Builder<'_> {
    /// A linear layer or a convolution in the form that ONNX has for it, and that other quantizers write:
    /// DynamicQuantizeLinear, MatMulInteger or ConvInteger (which keeps the node's name), Cast, Mul by both scales, Add of
    /// the bias. Scales and biases of a convolution are columns, so that they meet its channels.
    pub(super) fn run_time_product(
        &mut self,
        node: &Node,
        planned: &PlannedNode,
        formula: DynamicFormula,
    ) -> Result<(), PassError> {
        let prepared = self.prepared;
        let float = &prepared.graph;
        let (Some(x), Some(y), Some(qconfig)) = (node.input(0), node.output(0), &planned.qconfig) else {
            return Ok(());
        };
        let safe = prepared.configuration().backend.overflow_safe_weights;
        let Some(q) = quantize_linear(float, node, &qconfig.weight, None, None, safe)? else { return Ok(()) };
        if q.is_floored {
            self.notes.floored.push(float.value(q.weights).name.clone());
        }
        let (mut params, mut codes) = (q.params, q.codes);
        if let Op::Gemm { trans_b: true, .. } = node.op {
            codes = transposed(&codes)?;
        }
        let column = match &node.op {
            Op::Conv(_) => vec![1; codes.rank() - 2],
            _ => Vec::new(),
        };
        if let (Granularity::PerChannel { axis }, true) = (&mut params.granularity, column.is_empty()) {
            *axis = 1;
        }
        let [x_codes, x_scale, x_zero_point] = self.run_time_codes(x, formula);
        let name = float.value(q.weights).name.clone();
        let [scale, zero_point] = param_tensors(codes.dims(), &params)?;
        let upright = |t: Tensor| match t.len() {
            1 => t.reshape(&[]),
            n => t.reshape(&[&[n], &column[..]].concat()),
        };
        let scale = upright(scale)?;
        let w_scale = self.add_constant(format!("{name}_scale"), scale);
        let mut operands = vec![x_codes, self.add_constant(format!("{name}_quantized"), codes), x_zero_point];
        if params.zero_point.iter().any(|z| *z != 0) {
            operands.push(self.add_constant(format!("{name}_zero_point"), zero_point));
        }

        let (out, bias) = (self.raw[y.0], node.input(2));
        let base = float.value(y).name.clone();
        let sums = self.add_value(format!("{base}_accumulator"), DType::I32);
        let inputs = operands.into_iter().map(Some).collect();
        // The name is the node's own, which reports go by.
        let op = match &node.op {
            Op::Conv(attrs) => Op::ConvInteger(attrs.clone()),
            _ => Op::MatMulInteger,
        };
        let product = Node { name: node.name.clone(), op, inputs, outputs: vec![Some(sums)] };
        self.graph.nodes.push(product);
        let real_sums = self.add_value(format!("{base}_accumulator_f32"), DType::F32);
        let cast = Op::Cast { to: DType::F32, saturate: true };
        self.add_node(format!("{}_Cast", node.name), cast, &[sums], real_sums);
        let scale = self.add_value(format!("{base}_scale"), DType::F32);
        let mul = Op::Binary(BinaryOp::Mul);
        self.add_node(format!("{}_Scale", node.name), mul.clone(), &[x_scale, w_scale], scale);
        let scaled = match bias {
            Some(_) => self.add_value(format!("{base}_product"), DType::F32),
            None => out,
        };
        self.add_node(format!("{}_Mul", node.name), mul, &[real_sums, scale], scaled);
        if let Some(bias) = bias {
            let bias = match float.constant(bias) {
                Some(t) if !column.is_empty() => {
                    let name = format!("{}_column", float.value(bias).name);
                    self.add_constant(name, upright(t.clone())?)
                }
                _ => self.read_float(bias),
            };
            self.add_node(format!("{}_Add", node.name), Op::Binary(BinaryOp::Add), &[scaled, bias], out);
        }
        self.pair(out)
    }

    /// Codes, scale and zero point of a value, made at run time: one node for all that read it.
    fn run_time_codes(&mut self, x: ValueId, formula: DynamicFormula) -> [ValueId; 3] {
        let x = self.read_float(x);
        if let Some(values) = self.run_time.get(&(x, formula)) {
            return *values;
        }
        let name = self.graph.value(x).name.clone();
        let values = [
            self.add_value(format!("{name}_quantized"), DType::U8),
            self.add_value(format!("{name}_scale"), DType::F32),
            self.add_value(format!("{name}_zero_point"), DType::U8),
        ];
        let node = format!("{name}_DynamicQuantizeLinear");
        self.add_node(node, Op::DynamicQuantizeLinear { formula }, &[x], values[0]);
        if let Some(node) = self.graph.nodes.last_mut() {
            node.outputs = values.into_iter().map(Some).collect();
        }
        self.run_time.insert((x, formula), values);
        values
    }

    /// Both weights of a recurrent layer as codes, with one scale a row, or one a direction.
    ///
    /// Two directions are more rows than one axis of the weights counts: their codes lie in two axes, and a Reshape
    /// brings what they stand for into three. So operator set 13 has words for them too.
    pub(super) fn recurrent_weights(
        &mut self,
        node: &Node,
        observer: &ObserverConfig,
        inputs: &mut [Option<ValueId>],
    ) -> Result<(), PassError> {
        let prepared = self.prepared;
        let float = &prepared.graph;
        for slot in [1, 2] {
            let Some(w) = node.input(slot) else { continue };
            let Some(tensor) = float.constant(w) else { continue };
            let [directions, rows, columns] = *tensor.dims() else { continue };
            let name = float.value(w).name.clone();
            let error = |e| constant_error(&node.name, &name, e);
            let data = tensor.as_slice::<f32>()?;
            let of_direction = (rows * columns).max(1);
            let mut scale = Vec::new();
            let mut zero_point = Vec::new();
            let mut params = None;
            for data in data.chunks(of_direction) {
                let mut observer = observer.clone().along(0).build().map_err(error)?;
                observer.observe(data, &[rows, columns]).map_err(error)?;
                let own = observer.calculate_qparams().map_err(error)?;
                if is_floored(observer.as_ref(), &own) {
                    self.notes.floored.push(name.clone());
                }
                let repeat = if own.scale.len() == 1 && directions > 1 { rows } else { 1 };
                scale.extend(own.scale.iter().flat_map(|s| vec![*s; repeat]));
                zero_point.extend(own.zero_point.iter().flat_map(|z| vec![*z; repeat]));
                params = Some(own);
            }
            let Some(params) = params else { continue };
            let flat = [directions * rows, columns];
            let granularity = match scale.len() {
                1 => Granularity::PerTensor,
                _ => Granularity::PerChannel { axis: 0 },
            };
            let mut params = AffineParams { granularity, scale, zero_point, ..params };
            let codes = affine::quantize(data, &flat, &params, rounding_of(observer))
                .map_err(|e| PassError::Observer { tensor: name.clone(), source: e.into() })?;
            inputs[slot] = Some(if directions == 1 {
                if let Granularity::PerChannel { axis } = &mut params.granularity {
                    *axis = 1;
                }
                self.new_codes(w, &params, codes_tensor(tensor.dims(), &codes, &params)?)?
            } else {
                let two = self.new_codes(w, &params, codes_tensor(&flat, &codes, &params)?)?;
                let dims = tensor.dims().iter().map(|d| *d as i64).collect();
                let shape = self.add_constant(format!("{name}_shape"), Tensor::vector(dims));
                let three = self.add_value(format!("{name}_directions"), DType::F32);
                let reshape = Op::Reshape { allow_zero: false };
                self.add_node(format!("{name}_Reshape"), reshape, &[two, shape], three);
                three
            });
        }
        Ok(())
    }
}

/// The transpose of a matrix of codes.
fn transposed(codes: &Tensor) -> Result<Tensor, PassError> {
    fn swap<T: Copy>(data: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c])).collect()
    }
    let [rows, columns] = *codes.dims() else { return Err(PassError::Codes(codes.dtype())) };
    Ok(match codes.dtype() {
        DType::U8 => Tensor::new(&[columns, rows], swap(codes.as_slice::<u8>()?, rows, columns))?,
        DType::I8 => Tensor::new(&[columns, rows], swap(codes.as_slice::<i8>()?, rows, columns))?,
        other => return Err(PassError::Codes(other)),
    })
}
