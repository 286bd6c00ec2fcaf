//! What training with fake quantization has to know of a prepared model, and the way back from it.
//!
//! Training runs the fused float graph with fake quantization where [`crate::convert()`] puts codes. Both ask
//! [`Prepared::input_forms`] where that is, so that they cannot differ.

use crate::convert::weights::rounding_of;
use crate::place::{PlannedNode, Scheme, activations, weight_axes, weight_slots};
use crate::prepare::check_constants;
use crate::scheme::{Activation, Weights};
use crate::{PassError, Prepared, Quantized};
use std::collections::BTreeMap;
use tq_graph::op::BinaryOp;
use tq_graph::{Node, NodeId, Op, Tensor, ValueId};
use tq_observers::{Observer, ObserverConfig};
use tq_qtypes::{AffineParams, DType, Granularity, QuantSpec, Rounding};

/// How a node reads one of its inputs in the quantized graph.
#[derive(Debug, Clone, PartialEq)]
pub enum InputForm {
    /// There is none.
    Absent,
    /// As it is.
    Float,
    /// What its codes stand for: quantized and dequantized with the parameters of this group of values.
    Codes {
        /// Index into [`Prepared::groups`].
        group: usize,
    },
    /// A constant operand as codes.
    Operand {
        /// The group whose parameters it shares; where there is none, they are those of its own minimum and maximum.
        group: Option<usize>,
        /// What is asked of its own parameters.
        spec: QuantSpec,
    },
    /// Constant weights as codes.
    Weights {
        /// Finds their parameters; its axis is that of these weights.
        observer: ObserverConfig,
        /// How they are rounded.
        rounding: Rounding,
    },
    /// Constant weights in half precision, computed with in f32.
    Half(DType),
    /// A constant bias as i32 codes, whose scale is that of the activations times that of the weights.
    Bias {
        /// The group of the activations.
        group: usize,
    },
    /// Something that training does not imitate, and why.
    Unknown(String),
}

/// Values of the fused float graph that share scale and zero point.
#[derive(Debug, Clone)]
pub struct ValueGroup {
    /// The values, in graph order.
    pub values: Vec<ValueId>,
    /// Their observer, with what it has seen in calibration.
    pub observer: Box<dyn Observer>,
}

/// What training gives back for [`Prepared`]: everything that [`crate::convert()`] would find from observers, and new
/// weights.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trained {
    /// New values of constants of the fused float graph; of the shape and type that they had.
    pub constants: BTreeMap<ValueId, Tensor>,
    /// The parameters of every group, in the order of [`Prepared::groups`].
    pub activations: Vec<AffineParams>,
    /// The parameters of the weights of a node; those that are not here are found by its observer.
    pub weights: BTreeMap<NodeId, AffineParams>,
}

impl Prepared {
    /// The groups of values that become codes.
    #[must_use]
    pub fn groups(&self) -> Vec<ValueGroup> {
        let observers = self.calibration().observers.clone();
        let groups = self.plan.groups.iter().zip(observers);
        groups.map(|(g, observer)| ValueGroup { values: g.values.clone(), observer }).collect()
    }

    /// The group of a value's codes, if the value is made codes of.
    #[must_use]
    pub fn group_of(&self, value: ValueId) -> Option<usize> {
        self.plan.group_of[value.0]
    }

    /// The group with whose parameters whoever computes in float reads a value; `None` where the value itself is there.
    #[must_use]
    pub fn float_form(&self, value: ValueId) -> InputForm {
        match self.plan.group_of[value.0] {
            Some(group) if !self.float_values[value.0] => InputForm::Codes { group },
            _ => InputForm::Float,
        }
    }

    /// How a node of [`Prepared::graph`] reads its inputs in the quantized graph, in their order.
    ///
    /// # Panics
    /// For a node of another graph.
    #[must_use]
    pub fn input_forms(&self, node: NodeId) -> Vec<InputForm> {
        let (graph, planned) = (&self.graph, &self.plan.nodes[node.0]);
        let node = graph.node(node);
        let mut forms: Vec<InputForm> =
            node.inputs.iter().map(|v| v.map_or(InputForm::Absent, |v| self.float_form(v))).collect();
        if planned.scheme == Scheme::Static {
            for (slot, v) in activations(graph, node) {
                if let Some(group) = self.plan.group_of[v.0] {
                    forms[slot] = InputForm::Codes { group };
                }
            }
            if has_operands(node, planned) {
                self.operand_forms(node, planned, &mut forms);
            }
        }
        if planned.scheme != Scheme::Float && planned.has_weights {
            self.weight_forms(node, planned, &mut forms);
        }
        if let Scheme::Dynamic(_) = planned.scheme {
            let why = "its activations are quantized at run time";
            forms[0] = InputForm::Unknown(why.to_owned());
        }
        forms
    }

    fn operand_forms(&self, node: &Node, planned: &PlannedNode, forms: &mut [InputForm]) {
        for (slot, v) in node.inputs.iter().enumerate() {
            let Some(v) = v.filter(|v| self.graph.constant(*v).is_some()) else { continue };
            let shared = match node.op {
                Op::Concat { .. } => node.output(0).and_then(|o| self.plan.group_of[o.0]),
                _ => None,
            };
            let spec = planned.qconfig.as_ref().map(|q| Activation::of(&q.activation));
            let own = spec.and_then(|a| a.codes().copied());
            let of_group = |g: usize| self.plan.groups[g].observer.spec().copied();
            if let Some(spec) = shared.map_or(own, of_group) {
                debug_assert!(self.graph.constant(v).is_some());
                forms[slot] = InputForm::Operand { group: shared, spec };
            }
        }
    }

    fn weight_forms(&self, node: &Node, planned: &PlannedNode, forms: &mut [InputForm]) {
        let Some(qconfig) = &planned.qconfig else { return };
        let form = match Weights::of(&qconfig.weight) {
            Weights::Float => return,
            Weights::Half(dtype) => InputForm::Half(dtype),
            Weights::Codes(_) if matches!(node.op, Op::Recurrent { .. }) => {
                InputForm::Unknown("weights of recurrent layers are not trained as codes".to_owned())
            }
            Weights::Codes(spec) => {
                let [channel_axis, group_axis] = weight_axes(&node.op);
                let axis = match spec.granularity {
                    Granularity::PerGroup { .. } => group_axis,
                    _ => channel_axis,
                };
                let rounding = rounding_of(&qconfig.weight);
                InputForm::Weights { observer: qconfig.weight.clone().along(axis), rounding }
            }
        };
        for slot in weight_slots(&node.op) {
            let constant = node.input(*slot).is_some_and(|w| self.graph.constant(w).is_some());
            if constant {
                forms[*slot] = form.clone();
            }
        }
        let codes = matches!(form, InputForm::Weights { .. }) && planned.scheme == Scheme::Static;
        let group = node.input(0).and_then(|v| self.plan.group_of[v.0]);
        let bias = node.input(2).is_some_and(|b| self.graph.constant(b).is_some());
        if let Some(group) = group.filter(|_| codes && bias && planned.placement.sums_have_a_scale()) {
            forms[2] = InputForm::Bias { group };
        }
    }
}

/// True for operators whose constant operands become codes. The number beside other operators only shapes a table: an
/// exponent must stay what it is.
fn has_operands(node: &Node, planned: &PlannedNode) -> bool {
    match node.op {
        Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) | Op::Concat { .. } => true,
        Op::MatMul => !planned.has_weights,
        _ => false,
    }
}

/// [`crate::convert()`] with what training found in place of what observers would find. Codes that are fewer than those of
/// their type, as 0..=15 in u8, are kept to, as training has done: a Clip stands before the Quantize node, which takes it into
/// the integer operator before it.
///
/// # Errors
/// [`PassError::Trained`] when parameters or constants are not those of the model; otherwise as [`crate::convert()`].
pub fn convert_trained(mut prepared: Prepared, trained: Trained) -> Result<Quantized, PassError> {
    let groups = prepared.plan.groups.len();
    if trained.activations.len() != groups {
        let got = trained.activations.len();
        return Err(PassError::Trained(format!("{got} activation parameters for {groups} groups of values")));
    }
    for (id, tensor) in &trained.constants {
        let Some(value) = prepared.graph.values.get_mut(id.0) else {
            return Err(PassError::Trained(format!("value {} is not one of the model's", id.0)));
        };
        match &mut value.constant {
            Some(old) if old.dims() == tensor.dims() && old.dtype() == tensor.dtype() => {
                *old = tensor.clone()
            }
            old => {
                let was = old.as_ref().map_or("no constant".to_owned(), |t| format!("{:?}", t.dims()));
                let (name, dims) = (&value.name, tensor.dims());
                return Err(PassError::Trained(format!("{name} is {was}, the new value has shape {dims:?}")));
            }
        }
    }
    check_constants(&prepared.graph, &prepared.plan)?;
    crate::convert::quantized(prepared, &trained.activations, &trained.weights, Vec::new(), true)
}
