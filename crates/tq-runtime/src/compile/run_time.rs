//! Operators whose activations are quantized at run time.

use super::weighted::product_rows;
use super::{Compiled, Compiler, Done, PlannedStep, Role, float};
use crate::error::RuntimeError;
use crate::explain::{Execution, NodeReport};
use crate::geometry;
use crate::layout::Layout;
use crate::steps::gemm::{Group, Product};
use crate::steps::recurrent::Recurrent;
use crate::steps::run_time::{DynamicProduct, DynamicQuantize};
use crate::steps::run_time_conv::{DynamicConvolution, Sums};
use crate::weights::is_depthwise;
use tq_graph::qdq::{QOperator, QOutput, RunTime};
use tq_graph::{NodeId, Op, ValueId};
use tq_qtypes::DynamicFormula;

impl Compiler<'_> {
    /// Marks the DynamicQuantizeLinear nodes that become steps.
    pub(super) fn assign_run_time_roles(&mut self) {
        for (id, node) in self.graph.iter_nodes() {
            let Op::DynamicQuantizeLinear { .. } = node.op else { continue };
            let Some(x) = node.input(0) else { continue };
            if node.outputs.iter().all(Option::is_some) && node.outputs.len() == 3 && self.has_elements(x) {
                self.roles[id.0] = Role::RunTime;
            }
        }
    }

    /// Codes, scale and zero point of a value.
    pub(super) fn dynamic_quantize(&mut self, id: NodeId) -> Result<(), RuntimeError> {
        let node = self.graph.node(id).clone();
        let (Op::DynamicQuantizeLinear { formula }, Some(from)) = (&node.op, node.input(0)) else {
            return self.evaluate(id, None);
        };
        let (Some(codes), Some(scale), Some(zero_point)) = (node.output(0), node.output(1), node.output(2))
        else {
            return self.evaluate(id, None);
        };
        if self.constant(from).is_some() {
            return self.evaluate(id, None);
        }
        self.tensor(from)?;
        let size = self.dims[from.0].iter().flatten().product();
        let to = self.new_buffer(size);
        let step = DynamicQuantize { from, formula: *formula, to, scale, zero_point };
        self.emit_mixed(step, vec![], vec![to], vec![from], vec![scale, zero_point]);
        self.set_form(codes, Layout::First, to);
        self.ready[scale.0] = true;
        self.ready[zero_point.0] = true;
        let kernel =
            (*formula == DynamicFormula::Onnx).then(|| self.shared.kernels.convert().name().to_owned());
        let report = self.report(id, Execution::Integer);
        self.reports.push(NodeReport { kernel, ..report });
        Ok(())
    }

    fn known_output(&self, op: &QOperator) -> Compiled<(ValueId, Vec<usize>)> {
        match op.outputs.as_slice() {
            [QOutput::Float(v)] => Ok((*v, self.known(*v)?)),
            _ => float("more than one result"),
        }
    }

    /// A product with weights.
    pub(super) fn run_time_linear(&mut self, op: &QOperator, run_time: &RunTime) -> Compiled<Done> {
        let [codes, scale, zero_point] = run_time.reads[..] else { return float("no parameters") };
        let Some(from) = self.forms[codes.0][Layout::First as usize] else {
            return float(format!("{} is not there as codes", self.name(codes)));
        };
        let dims = self.known(codes)?;
        let (to, out_dims) = self.known_output(op)?;
        let weights = self.packed(op)?;
        let (rows, macs) = product_rows(&dims, &weights, &out_dims)?;
        let bias = op.real_bias.clone();
        let step = DynamicProduct { from, scale, zero_point, weights, bias, rows, to, dims: out_dims };
        self.emit_mixed(step, vec![from], vec![], vec![scale, zero_point], vec![to]);
        self.ready[to.0] = true;
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }

    /// A convolution.
    pub(super) fn run_time_conv(&mut self, op: &QOperator, run_time: &RunTime) -> Compiled<Done> {
        let Op::ConvInteger(attrs) = self.graph.node(op.node).op.clone() else {
            return float("not a convolution");
        };
        let [codes, scale, zero_point] = run_time.reads[..] else { return float("no parameters") };
        let dims = self.known(codes)?;
        let (to, out_dims) = self.known_output(op)?;
        let w_dims = match &op.weights {
            Some(w) => self.known(w.value)?,
            None => return float("no weights"),
        };
        let [channels, depth, kernel @ ..] = w_dims.as_slice() else { return float("weights without axes") };
        let Some(axes) =
            geometry::axes(&dims, &out_dims, kernel, &attrs.strides, &attrs.dilations, &attrs.padding)
        else {
            return float(format!("a window of {kernel:?} over {dims:?}"));
        };
        let agree = attrs.groups > 0
            && depth.checked_mul(attrs.groups) == Some(dims[1])
            && out_dims[..2] == [dims[0], *channels];
        if !agree {
            return float(format!("weights {w_dims:?} in {} groups on {dims:?}", attrs.groups));
        }
        let weights = self.packed(op)?;
        let from = self.run_time_codes(codes, &dims)?;
        let (images, positions) = (dims[0], out_dims[2..].iter().product::<usize>());
        let taps: usize = kernel.iter().product();
        let macs = (images * positions) as u64 * (channels * depth * taps) as u64;
        let depthwise = is_depthwise(op.kind, &w_dims);
        let name = match depthwise {
            true => self.shared.kernels.depthwise().name(),
            false => self.shared.kernels.gemm().name(),
        };
        let sums = if depthwise {
            let Some(window) = super::pool::volume(images, dims[1], &axes) else {
                return float("too many spatial axes");
            };
            Sums::Depthwise { from, weights, window }
        } else {
            let rows = self.rows(&dims, &axes, *depth)?;
            let each = channels / attrs.groups;
            let groups = (0..attrs.groups).map(|g| Group { first_in: g * depth, first_out: g * each });
            Sums::Gathered(Product { from, weights, groups: groups.collect(), rows })
        };
        let bias = op.real_bias.clone();
        let step = DynamicConvolution {
            sums,
            scale,
            zero_point,
            bias,
            to,
            dims: out_dims,
            extent: (images, positions),
        };
        self.emit_mixed(step, vec![from], vec![], vec![scale, zero_point], vec![to]);
        self.ready[to.0] = true;
        Ok(Done { kernel: Some(name.to_owned()), macs })
    }

    /// Codes that a DynamicQuantizeLinear gave, with their channels last.
    fn run_time_codes(&mut self, codes: ValueId, dims: &[usize]) -> Compiled<crate::slots::BufferId> {
        match self.forms[codes.0] {
            [_, Some(last)] => Ok(last),
            [Some(first), None] => {
                let last = self.relayout(first, dims, Layout::First, Layout::Last)?;
                self.set_form(codes, Layout::Last, last);
                Ok(last)
            }
            [None, None] => float(format!("{} is not there as codes", self.name(codes))),
        }
    }

    /// A recurrent layer.
    pub(super) fn recurrent(&mut self, op: &QOperator, run_time: &RunTime) -> Compiled<Done> {
        let node = self.graph.node(op.node).clone();
        let Op::Recurrent { attrs, .. } = &node.op else { return float("not a recurrent layer") };
        let dims = self.known(run_time.real)?;
        let weights = self.packed(op)?;
        let agree = |v: Option<ValueId>| v.and_then(|v| self.dims[v.0].as_ref()).map(|d| d.to_vec());
        let crate::weights::Form::Recurrent(packed) = &weights.form else {
            return float("weights of another operator");
        };
        let directions = attrs.direction.count();
        let (Some(input), hidden) = (dims.last().copied(), attrs.hidden_size) else {
            return float("no axes");
        };
        if agree(node.input(1)) != Some(vec![directions, packed.rows, input])
            || agree(node.input(2)) != Some(vec![directions, packed.rows, hidden])
        {
            return float(format!("its weights do not go with data of shape {dims:?}"));
        }
        let reads: Vec<ValueId> = node
            .inputs
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != 1 && *i != 2)
            .filter_map(|(_, v)| *v)
            .collect();
        for v in &reads {
            self.tensor(*v)?;
        }
        let places = dims.iter().product::<usize>().checked_div(input).unwrap_or(0) * directions;
        let macs = places as u64 * packed.rows as u64 * (input + hidden) as u64;
        let writes: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        for v in &writes {
            self.ready[v.0] = true;
        }
        self.steps.push(PlannedStep {
            step: Box::new(Recurrent { node: op.node, formula: run_time.formula, weights }),
            node: op.node,
            reads: Vec::new(),
            writes: Vec::new(),
            tensor_reads: reads,
            tensor_writes: writes,
            evaluates: true,
            release: Vec::new(),
        });
        Ok(Done { kernel: Some(self.shared.kernels.gemm().name().to_owned()), macs })
    }
}
