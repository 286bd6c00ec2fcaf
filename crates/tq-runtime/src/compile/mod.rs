//! From a graph with concrete shapes to a plan.
//!
//! Nodes are visited in order. A quantized operator becomes integer steps; what refuses becomes float steps, with
//! its reason. Values are brought into the form that a reader asks for (codes in one of two layouts, or a tensor)
//! only when it asks, and once.

mod channels;
mod elementwise;
mod finish;
mod forms;
mod group_wise;
mod matmul;
mod movement;
mod pool;
mod run_time;
mod table;
mod transposed;
mod weighted;

use crate::codes::Held;
use crate::error::{RuntimeError, StepError};
use crate::explain::{Execution, NodeReport, is_float_product};
use crate::frame::Step;
use crate::layout::Layout;
use crate::plan::Plan;
use crate::requantize::exception;
use crate::session::Shared;
use crate::slots::BufferId;
use crate::steps::eval::Eval;
use crate::tap::OperatorTap;
use tq_eval::{Precision, eval_op};
use tq_graph::dim::known_shape;
use tq_graph::qdq::{Codes, QOperator, QOutput, QdqView, node_params};
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind};

/// Why an operator was not compiled to integer steps.
pub(crate) enum Refusal {
    /// It has to run in float, for this reason.
    Float(String),
    /// The graph cannot be run.
    Fail(RuntimeError),
}

impl From<RuntimeError> for Refusal {
    fn from(e: RuntimeError) -> Self {
        Refusal::Fail(e)
    }
}

type Compiled<T> = Result<T, Refusal>;

fn float<T>(reason: impl Into<String>) -> Compiled<T> {
    Err(Refusal::Float(reason.into()))
}

/// What became of an operator: its kernel, if it needed one, and its multiplications.
struct Done {
    kernel: Option<String>,
    macs: u64,
}

/// How a node is dealt with when its turn comes.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// The heart of an operator.
    Operator(usize),
    /// Part of an operator whose heart comes earlier.
    Absorbed,
    /// Evaluated on tensors.
    Float,
    /// A Quantize or Dequantize node with plain 8-bit parameters: done when somebody asks for its result.
    OnDemand,
    /// A DynamicQuantizeLinear node.
    RunTime,
    /// A Dequantize node of other parameters that nobody reads as a tensor.
    Unread,
}

pub(crate) struct PlannedStep {
    pub(crate) step: Box<dyn Step>,
    /// The node it works for, for errors.
    pub(crate) node: NodeId,
    reads: Vec<BufferId>,
    writes: Vec<BufferId>,
    tensor_reads: Vec<ValueId>,
    tensor_writes: Vec<ValueId>,
    /// True when what it writes as tensors is made anew in every run.
    evaluates: bool,
    /// Tensors that nobody reads after this step.
    pub(crate) release: Vec<ValueId>,
}

/// An array of codes under construction.
struct NewBuffer {
    size: usize,
    constant: Option<usize>,
}

pub(crate) struct Compiler<'s> {
    shared: &'s Shared,
    graph: Graph,
    view: QdqView,
    dims: Vec<Option<Vec<usize>>>,
    producers: Vec<Option<NodeId>>,
    /// For values that plain Quantize nodes give: the parameters.
    params: Vec<Option<AffineParams>>,
    roles: Vec<Role>,
    wants_last: Vec<bool>,
    steps: Vec<PlannedStep>,
    buffers: Vec<NewBuffer>,
    constants: Vec<Vec<u8>>,
    forms: Vec<[Option<BufferId>; 2]>,
    /// Values that exist as tensors when the run has come this far.
    ready: Vec<bool>,
    folded: Vec<Option<Tensor>>,
    taps: Vec<OperatorTap>,
    reports: Vec<NodeReport>,
    /// The node whose turn it is.
    current: NodeId,
}

/// Compiles `graph`, all of whose inputs have known shapes.
pub(crate) fn compile(shared: &Shared, graph: Graph, key: Vec<Vec<usize>>) -> Result<Plan, RuntimeError> {
    let mut compiler = Compiler::new(shared, graph)?;
    compiler.run()?;
    compiler.finish(key)
}

impl<'s> Compiler<'s> {
    fn new(shared: &'s Shared, graph: Graph) -> Result<Self, RuntimeError> {
        let view = QdqView::new(&graph);
        let dims: Vec<_> = graph.values.iter().map(|v| v.shape.as_deref().and_then(known_shape)).collect();
        for (value, dims) in graph.values.iter().zip(&dims) {
            let Some(dims) = dims else { continue };
            let bits = value.dtype.map_or(8, DType::bits);
            let numel = tq_graph::tensor::checked_numel(dims, value.dtype.unwrap_or(DType::U8))?;
            let bytes = numel.saturating_mul(bits.div_ceil(8));
            if bytes > shared.max_value_bytes && value.constant.is_none() {
                return Err(RuntimeError::TooLarge {
                    value: value.name.clone(),
                    dims: dims.clone(),
                    bytes,
                    limit: shared.max_value_bytes,
                });
            }
        }
        let mut ready: Vec<bool> = graph.values.iter().map(|v| v.constant.is_some()).collect();
        for v in &graph.inputs {
            ready[v.0] = true;
        }
        let n = graph.values.len();
        let mut compiler = Self {
            shared,
            dims,
            producers: graph.producers(),
            params: vec![None; n],
            roles: vec![Role::Float; graph.nodes.len()],
            wants_last: vec![false; n],
            steps: Vec::new(),
            buffers: Vec::new(),
            constants: Vec::new(),
            forms: vec![[None; 2]; n],
            ready,
            folded: vec![None; n],
            taps: Vec::new(),
            reports: Vec::new(),
            current: NodeId(0),
            graph,
            view,
        };
        compiler.assign_roles();
        compiler.assign_run_time_roles();
        compiler.prefer_layouts();
        Ok(compiler)
    }

    fn assign_roles(&mut self) {
        for (i, op) in self.view.operators.iter().enumerate() {
            for n in &op.absorbed {
                self.roles[n.0] = Role::Absorbed;
            }
            self.roles[op.node.0] = Role::Operator(i);
        }
        // Who reads values as tensors, whatever becomes of the operators.
        let mut read = vec![false; self.graph.values.len()];
        for v in &self.graph.outputs {
            read[v.0] = true;
        }
        for (id, node) in self.graph.iter_nodes() {
            let reads = match node.op {
                Op::DequantizeLinear { .. } => false,
                Op::QuantizeLinear { .. } => self.roles[id.0] == Role::Float,
                _ => self.roles[id.0] == Role::Float,
            };
            if reads {
                node.inputs.iter().flatten().for_each(|v| read[v.0] = true);
            }
        }
        for (id, node) in self.graph.iter_nodes() {
            let (Some(from), Some(to)) = (node.input(0), node.output(0)) else { continue };
            let plain = node_params(&self.graph, node).filter(is_plain);
            match node.op {
                Op::QuantizeLinear { .. } => {
                    if let Some(params) = plain
                        && self.graph.value(from).dtype == Some(DType::F32)
                    {
                        self.params[to.0] = Some(params);
                        if self.roles[id.0] == Role::Float && self.has_elements(to) {
                            self.roles[id.0] = Role::OnDemand;
                        }
                    }
                }
                Op::DequantizeLinear { .. } => {
                    // Empty values are evaluated in turn: what is done on demand never waits for more than its
                    // own inputs, so that a long chain is no deep recursion.
                    let empty = self.dims[to.0].as_ref().is_some_and(|d| d.contains(&0));
                    self.roles[id.0] = match plain {
                        Some(_) if self.has_elements(to) => Role::OnDemand,
                        _ if self.graph.constant(from).is_some() && self.is_table(to) => Role::Unread,
                        _ if empty || read[to.0] => Role::Float,
                        _ => Role::Unread,
                    };
                }
                _ => {}
            }
        }
    }

    /// True where the shape of `v` is known, and not that of an empty value.
    fn has_elements(&self, v: ValueId) -> bool {
        self.dims[v.0].as_ref().is_some_and(|d| !d.contains(&0))
    }

    /// Marks values of codes whose readers want channels last, going backwards through operators that do not mind.
    fn prefer_layouts(&mut self) {
        for op in self.view.operators.iter().rev() {
            let out_wants =
                (0..op.outputs.len()).any(|i| op.output_codes(i).is_some_and(|c| self.wants_last[c.value.0]));
            let wants = match op.kind {
                OperatorKind::Conv
                | OperatorKind::DepthwiseConv
                | OperatorKind::ConvTranspose
                | OperatorKind::MaxPool
                | OperatorKind::AveragePool => true,
                OperatorKind::Linear | OperatorKind::GroupWiseLinear | OperatorKind::MatMul => false,
                OperatorKind::Movement => {
                    out_wants && !matches!(self.graph.node(op.node).op, Op::Transpose { .. })
                }
                _ => out_wants,
            };
            if wants {
                op.inputs.iter().for_each(|c| self.wants_last[c.value.0] = true);
            }
        }
    }

    fn run(&mut self) -> Result<(), RuntimeError> {
        for i in 0..self.graph.nodes.len() {
            let id = NodeId(i);
            self.current = id;
            match self.roles[i] {
                Role::Operator(op) => self.operator(op)?,
                Role::Float => {
                    let reason = self.reason_of(id);
                    self.evaluate(id, reason)?;
                }
                Role::RunTime => self.dynamic_quantize(id)?,
                Role::Absorbed | Role::OnDemand | Role::Unread => {}
            }
        }
        for v in self.graph.outputs.clone() {
            self.tensor(v)?;
        }
        Ok(())
    }

    fn reason_of(&self, id: NodeId) -> Option<String> {
        self.view.floats.iter().find(|f| f.node == id).map(|f| f.reason.to_string())
    }

    /// Compiles operator `i` of the view, or leaves its nodes to be evaluated.
    fn operator(&mut self, i: usize) -> Result<(), RuntimeError> {
        let op = self.view.operators[i].clone();
        match self.integer(&op) {
            Ok(done) => {
                let report = self.report(op.node, Execution::Integer);
                let kernels = &self.shared.kernels;
                // That a library lacks a family is no secret.
                let fallback = match kernels.choice(op.kind) {
                    Some(choice) if choice.fallback && done.kernel.is_some() => Some(format!(
                        "library {} has no kernel for {}: the one of library {} runs",
                        kernels.library().name(),
                        op.kind,
                        choice.library
                    )),
                    _ => None,
                };
                let reasons = [fallback, exception(self.graph.requantization, &op)];
                let reason = reasons.into_iter().flatten().reduce(|a, b| format!("{a}; {b}"));
                self.reports.push(NodeReport { kernel: done.kernel, macs: done.macs, reason, ..report });
                let mut absorbed = op.absorbed.clone();
                absorbed.retain(|n| *n != op.node);
                for n in absorbed {
                    let into = self.graph.node(op.node).name.clone();
                    let report = self.report(n, Execution::Fused);
                    self.reports.push(NodeReport { reason: Some(format!("part of {into}")), ..report });
                }
                self.tap(i, &op);
                Ok(())
            }
            Err(Refusal::Float(reason)) => {
                for n in &op.absorbed {
                    self.roles[n.0] = match self.graph.node(*n).op {
                        Op::QuantizeLinear { .. }
                            if self
                                .graph
                                .node(*n)
                                .output(0)
                                .is_some_and(|v| self.params[v.0].is_some() && self.has_elements(v)) =>
                        {
                            Role::OnDemand
                        }
                        _ => Role::Float,
                    };
                }
                if self.roles[op.node.0] == Role::Float {
                    self.evaluate(op.node, Some(reason))?;
                }
                Ok(())
            }
            Err(Refusal::Fail(e)) => Err(e),
        }
    }

    fn integer(&mut self, op: &QOperator) -> Compiled<Done> {
        for codes in &op.inputs {
            match self.dims[codes.value.0].as_deref() {
                None => {
                    return float(format!(
                        "the shape of {} is only known at run time",
                        self.name(codes.value)
                    ));
                }
                Some(d) if d.contains(&0) => return float("an empty input"),
                Some(_) => {}
            }
        }
        for out in &op.outputs {
            let v = match out {
                QOutput::Codes(c) => c.value,
                QOutput::Float(v) => *v,
            };
            match self.dims[v.0].as_deref() {
                None => return float(format!("the shape of {} is only known at run time", self.name(v))),
                Some(d) if d.contains(&0) => return float("an empty result"),
                Some(_) => {}
            }
        }
        if let Some(run_time) = &op.run_time {
            match self.dims[run_time.real.0].as_deref() {
                None => {
                    return float(format!(
                        "the shape of {} is only known at run time",
                        self.name(run_time.real)
                    ));
                }
                Some(d) if d.contains(&0) => return float("an empty input"),
                Some(_) => {}
            }
            return match op.kind {
                OperatorKind::Recurrent => self.recurrent(op, run_time),
                OperatorKind::Conv | OperatorKind::DepthwiseConv => self.run_time_conv(op, run_time),
                _ => self.run_time_linear(op, run_time),
            };
        }
        match op.kind {
            OperatorKind::Conv | OperatorKind::DepthwiseConv => self.conv(op),
            OperatorKind::ConvTranspose => self.conv_transpose(op),
            OperatorKind::Linear => self.linear(op),
            OperatorKind::GroupWiseLinear => self.group_wise(op),
            OperatorKind::MatMul => self.matmul(op),
            OperatorKind::Add | OperatorKind::Sub | OperatorKind::Mul => self.binary(op),
            OperatorKind::Concat => self.concat(op),
            OperatorKind::MaxPool => self.max_pool(op),
            OperatorKind::AveragePool => self.average_pool(op),
            OperatorKind::Lookup => self.lookup(op),
            OperatorKind::Movement => self.movement(op),
            kind => float(format!("{kind} has no integer step")),
        }
    }

    /// Emits the evaluation of a node on tensors, or does it now where everything it reads is constant.
    fn evaluate(&mut self, id: NodeId, reason: Option<String>) -> Result<(), RuntimeError> {
        if self.gather_rows(id)? {
            return Ok(());
        }
        let node: Node = self.graph.node(id).clone();
        for v in node.inputs.iter().flatten() {
            self.tensor(*v)?;
        }
        let constants: Option<Vec<Option<&Tensor>>> = node
            .inputs
            .iter()
            .map(|v| match v {
                None => Some(None),
                Some(v) => self.constant(*v).map(Some),
            })
            .collect();
        if let Some(inputs) = constants {
            let outs = eval_op(&node.op, &inputs, node.outputs.len(), Precision::F32)
                .map_err(|e| self.fail(id, e))?;
            for (v, t) in node.outputs.iter().zip(outs) {
                if let Some(v) = v {
                    self.folded[v.0] = Some(t);
                    self.ready[v.0] = true;
                }
            }
            let report = self.report(id, Execution::Folded);
            self.reports.push(report);
            return Ok(());
        }
        let macs = self.float_macs(&node);
        let report = self.report(id, Execution::Float);
        self.reports.push(NodeReport {
            kernel: None,
            reason,
            macs,
            reproducible: !is_float_product(&node.op),
            ..report
        });
        let outs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        for v in &outs {
            self.ready[v.0] = true;
        }
        self.steps.push(PlannedStep {
            step: Box::new(Eval { node: id }),
            node: id,
            reads: Vec::new(),
            writes: Vec::new(),
            tensor_reads: node.inputs.iter().flatten().copied().collect(),
            tensor_writes: outs,
            evaluates: true,
            release: Vec::new(),
        });
        Ok(())
    }

    fn float_macs(&self, node: &Node) -> u64 {
        let len = |v: Option<ValueId>| -> Option<u64> {
            Some(self.dims[v?.0].as_ref()?.iter().map(|d| *d as u64).product())
        };
        let last = |v: Option<ValueId>| Some(*self.dims[v?.0].as_ref()?.last()? as u64);
        let macs = match &node.op {
            Op::Conv(_) | Op::ConvInteger(_) => {
                let dims = node.input(1).and_then(|v| self.dims[v.0].clone()).unwrap_or_default();
                let k: u64 = dims.iter().skip(1).map(|d| *d as u64).product();
                len(node.output(0)).map(|n| n.saturating_mul(k))
            }
            Op::ConvTranspose(_) => {
                let dims = node.input(1).and_then(|v| self.dims[v.0].clone()).unwrap_or_default();
                let k: u64 = dims.iter().skip(1).map(|d| *d as u64).product();
                len(node.input(0)).map(|n| n.saturating_mul(k))
            }
            Op::MatMul | Op::MatMulInteger => {
                len(node.output(0)).zip(last(node.input(0))).map(|(n, k)| n.saturating_mul(k))
            }
            Op::Gemm { trans_a, .. } => {
                let dims = node.input(0).and_then(|v| self.dims[v.0].clone()).unwrap_or_default();
                let k = dims.get(if *trans_a { 0 } else { 1 }).map(|d| *d as u64);
                len(node.output(0)).zip(k).map(|(n, k)| n.saturating_mul(k))
            }
            Op::Recurrent { .. } => {
                // Every element of every sequence meets the weights of the data and those of the state.
                let weights = len(node.input(1)).zip(len(node.input(2))).map(|(w, r)| w.saturating_add(r));
                let places = len(node.input(0)).zip(last(node.input(0))).and_then(|(n, k)| n.checked_div(k));
                places.zip(weights).map(|(n, w)| n.saturating_mul(w))
            }
            _ => None,
        };
        macs.unwrap_or(0)
    }

    fn emit(&mut self, step: impl Step + 'static, reads: Vec<BufferId>, writes: Vec<BufferId>) {
        self.emit_mixed(step, reads, writes, Vec::new(), Vec::new());
    }

    /// A step that also reads or writes tensors.
    fn emit_mixed(
        &mut self,
        step: impl Step + 'static,
        reads: Vec<BufferId>,
        writes: Vec<BufferId>,
        tensor_reads: Vec<ValueId>,
        tensor_writes: Vec<ValueId>,
    ) {
        self.steps.push(PlannedStep {
            step: Box::new(step),
            node: self.current,
            reads,
            writes,
            tensor_reads,
            tensor_writes,
            evaluates: false,
            release: Vec::new(),
        });
    }

    fn new_buffer(&mut self, size: usize) -> BufferId {
        self.buffers.push(NewBuffer { size, constant: None });
        BufferId(self.buffers.len() - 1)
    }

    fn new_constant(&mut self, codes: Vec<u8>) -> BufferId {
        self.constants.push(codes);
        let constant = Some(self.constants.len() - 1);
        self.buffers.push(NewBuffer { size: self.constants[self.constants.len() - 1].len(), constant });
        BufferId(self.buffers.len() - 1)
    }

    fn name(&self, v: ValueId) -> &str {
        &self.graph.value(v).name
    }

    /// The data of a value that is constant, or that has become so.
    fn constant(&self, v: ValueId) -> Option<&Tensor> {
        self.graph.constant(v).or_else(|| self.folded[v.0].as_ref())
    }

    /// The known shape of a value; operators are compiled only where shapes are known.
    fn known(&self, v: ValueId) -> Compiled<Vec<usize>> {
        match &self.dims[v.0] {
            Some(d) => Ok(d.clone()),
            None => float(format!("the shape of {} is only known at run time", self.name(v))),
        }
    }

    fn held(&self, codes: &Codes) -> Compiled<Held> {
        match Held::of(&codes.params) {
            Some(held) => Ok(held),
            None => float(format!("the parameters of {} are not plain 8-bit ones", self.name(codes.value))),
        }
    }

    /// The one output of an operator, as codes.
    fn output(&self, op: &QOperator) -> Compiled<Codes> {
        match op.output_codes(0) {
            Some(c) if op.outputs.len() == 1 => Ok(c.clone()),
            _ => float("a result that does not leave as codes"),
        }
    }

    fn fail(&self, id: NodeId, source: impl Into<StepError>) -> RuntimeError {
        let node = self.graph.node(id);
        RuntimeError::Node { node: node.name.clone(), op: node.op.name(), source: source.into() }
    }

    fn refuse(&self, source: impl Into<StepError>) -> Refusal {
        Refusal::Fail(self.fail(self.current, source))
    }

    fn report(&self, id: NodeId, execution: Execution) -> NodeReport {
        let node = self.graph.node(id);
        NodeReport {
            node: node.name.clone(),
            op: node.op.name(),
            execution,
            kernel: None,
            reason: None,
            macs: 0,
            depths: None,
            reproducible: true,
        }
    }

    /// The layout in which an operator that takes both should work.
    fn agnostic_layout(&self, op: &QOperator) -> Layout {
        let dynamic_last = op.inputs.iter().any(|c| {
            self.graph.constant(c.value).is_none() && self.forms[c.value.0][Layout::Last as usize].is_some()
        });
        let out_wants =
            (0..op.outputs.len()).any(|i| op.output_codes(i).is_some_and(|c| self.wants_last[c.value.0]));
        if dynamic_last || out_wants { Layout::Last } else { Layout::First }
    }
}

fn is_plain(params: &AffineParams) -> bool {
    params.granularity == Granularity::PerTensor && matches!(params.dtype, DType::U8 | DType::I8)
}
