//! A model in training: the float graph that conversion starts from, with fake quantization where it will put codes.

mod bias;

use crate::fake::straight_through;
use crate::{FakeQuantize, Parameter, QatError, Quantizer, QuantizerConfig, Tape, Var};
use bias::fake_bias;
use std::collections::{BTreeMap, HashMap};
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId};
use tq_observers::ObserverConfig;
use tq_passes::training::{InputForm, Trained, convert_trained};
use tq_passes::{Configuration, Convertible, ObserverSetting, Prepared, Quantized, prepare_static};
use tq_qtypes::{AffineParams, DType, Rounding};

impl ObserverSetting for FakeQuantize {
    /// Its observer, or PyTorch's choice for training: a moving average of minimum and maximum.
    fn for_activations(self) -> Option<ObserverConfig> {
        Some(self.observer.unwrap_or_else(crate::fake::default_activation_observer))
    }

    fn for_weights(self) -> Option<ObserverConfig> {
        self.observer
    }
}

/// Prepares a float model for training with fake quantization, on observed scales.
///
/// What is quantized, where and how is what [`prepare_static`] says for the same configuration. BatchNormalization that
/// follows a convolution or a linear layer has been folded into it: training goes on with frozen statistics.
///
/// # Errors
/// As [`prepare_static`]; [`QatError::Untrainable`] naming a node whose quantization training does not imitate.
pub fn prepare_qat(model: Graph, config: impl Into<Configuration>) -> Result<QatModel, QatError> {
    prepare_qat_with(model, config, &QatOptions::default())
}

/// How a model is fake-quantized.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct QatOptions {
    /// Activations; the observer that the configuration names begins, unless this has one of its own.
    pub activation: QuantizerConfig,
    /// Weights, likewise.
    pub weight: QuantizerConfig,
}

/// [`prepare_qat`] with fake quantizers of one's own, as those that learn their scales.
///
/// # Errors
/// As [`prepare_qat`], and [`QatError::Setting`] for settings that cannot be.
pub fn prepare_qat_with(
    model: Graph,
    config: impl Into<Configuration>,
    options: &QatOptions,
) -> Result<QatModel, QatError> {
    QatModel::new(prepare_static(model, config)?, options)
}

/// A model in training.
///
/// [`QatModel::forward`] gives a [`Var`] on a tape of its own, from which a loss and its gradients follow. Converted by
/// [`tq_passes::convert()`], it becomes a model of codes that computes what the forward pass imitates.
#[derive(Debug)]
pub struct QatModel {
    prepared: Prepared,
    forms: Vec<Vec<InputForm>>,
    /// What is trained, by the constant of the graph that it was.
    parameters: BTreeMap<ValueId, Parameter>,
    /// One a group of values.
    activations: Vec<Quantizer>,
    /// One a node with weights that become codes.
    weights: BTreeMap<NodeId, Quantizer>,
}

impl QatModel {
    fn new(prepared: Prepared, options: &QatOptions) -> Result<Self, QatError> {
        let graph = prepared.graph();
        let forms: Vec<Vec<InputForm>> =
            (0..graph.nodes.len()).map(|i| prepared.input_forms(NodeId(i))).collect();
        let mut activations = Vec::new();
        for group in prepared.groups() {
            let name = group.values.first().map_or("", |v| &graph.value(*v).name);
            let observer = options.activation.observer(&group.observer.config())?;
            let seen = group.observer.count() > 0 && observer == group.observer.config();
            let quantizer = Quantizer::new(name, &options.activation, &observer)?;
            activations.push(if seen { quantizer.with_observer(group.observer) } else { quantizer });
        }
        let (mut parameters, mut weights) = (BTreeMap::new(), BTreeMap::new());
        for (id, node) in graph.iter_nodes() {
            for (slot, form) in forms[id.0].iter().enumerate() {
                let Some(v) = node.input(slot) else { continue };
                match form {
                    InputForm::Unknown(reason) => {
                        let (node, op, reason) = (node.name.clone(), node.op.name(), reason.clone());
                        return Err(QatError::Untrainable { node, op, reason });
                    }
                    InputForm::Weights { observer, rounding } => {
                        let name = format!("{}.weight", node.name);
                        let observer = options.weight.observer(observer)?;
                        let quantizer = Quantizer::new(name, &options.weight, &observer)?;
                        weights.insert(id, quantizer.with_rounding(*rounding).for_weights());
                    }
                    _ => {}
                }
                if is_trained(&node.op, slot)
                    && let Some(tensor) = graph.constant(v).filter(|t| t.dtype() == DType::F32)
                    && !parameters.contains_key(&v)
                {
                    parameters.insert(v, Parameter::new(graph.value(v).name.clone(), tensor.clone())?);
                }
            }
        }
        Ok(Self { forms, parameters, activations, weights, prepared })
    }

    /// Everything that is trained: weights, biases, and scales that are learned. Scales of the channels of weights are
    /// there once a forward pass was made.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let quantizers = self.activations.iter().chain(self.weights.values());
        let scales = quantizers.flat_map(|q| q.parameters().iter().cloned());
        self.parameters.values().cloned().chain(scales).collect()
    }

    /// The fake quantizers of activations and of weights.
    pub fn quantizers(&self) -> impl Iterator<Item = &Quantizer> {
        self.activations.iter().chain(self.weights.values())
    }

    /// Learning rates of groups of parameters that their fake quantizers ask for.
    #[must_use]
    pub fn group_rates(&self) -> BTreeMap<&'static str, f32> {
        self.quantizers().flat_map(Quantizer::rates).collect()
    }

    /// While training, activations are observed and stochastic rounding is stochastic.
    pub fn train(&self, training: bool) {
        self.quantizers().for_each(|q| q.set_training(training));
    }

    /// Lets fake quantizers observe, or not.
    pub fn set_observing(&self, observing: bool) {
        self.quantizers().for_each(|q| q.set_observing(observing));
    }

    /// Lets fake quantizers round, or hand on what they get: the float model.
    pub fn set_quantizing(&self, quantizing: bool) {
        self.quantizers().for_each(|q| q.set_quantizing(quantizing));
    }

    /// The first output of the model for its one input.
    ///
    /// # Errors
    /// As [`QatModel::run`].
    pub fn forward(&self, input: &Tensor) -> Result<Var, QatError> {
        let mut outputs = self.run(&Tape::new(), std::slice::from_ref(input))?;
        match outputs.is_empty() {
            true => Err(QatError::InputCount { expected: 0, got: 1 }),
            false => Ok(outputs.swap_remove(0)),
        }
    }

    /// All outputs of the model for its inputs, on this tape.
    ///
    /// # Errors
    /// [`QatError::InputCount`], [`QatError::Forward`] naming the node that fails, and what fake quantizers say of data
    /// that is not finite.
    pub fn run(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Vec<Var>, QatError> {
        let graph = self.prepared.graph();
        if inputs.len() != graph.inputs.len() {
            return Err(QatError::InputCount { expected: graph.inputs.len(), got: inputs.len() });
        }
        let mut run =
            Run { model: self, tape, values: HashMap::new(), codes: HashMap::new(), last: last_reads(graph) };
        for (v, tensor) in graph.inputs.iter().zip(inputs) {
            run.values.insert(*v, tape.constant(tensor.clone()));
        }
        for (id, _) in graph.iter_nodes() {
            run.node(id)?;
        }
        graph.outputs.iter().map(|v| run.read(*v, &self.prepared.float_form(*v))).collect()
    }

    /// The float graph that is trained, with the present weights.
    ///
    /// # Errors
    /// [`QatError::Graph`] when there is no such graph any more.
    pub fn float_graph(&self) -> Result<Graph, QatError> {
        let mut graph = self.prepared.graph().clone();
        for (v, p) in &self.parameters {
            graph.values[v.0].constant = Some(p.value());
        }
        Ok(graph)
    }
}

impl Convertible for QatModel {
    type Error = QatError;

    /// The model of codes, with the trained weights, and the scales that training has found.
    fn into_quantized(self) -> Result<Quantized, QatError> {
        let constants = self.parameters.iter().map(|(v, p)| (*v, p.value())).collect();
        let activations = self.activations.iter().map(Quantizer::qparams).collect::<Result<Vec<_>, _>>()?;
        let mut weights = BTreeMap::new();
        for (id, quantizer) in &self.weights {
            // What its observer would find in the trained weights needs not be given.
            if !quantizer.parameters().is_empty() {
                weights.insert(*id, quantizer.qparams()?);
            }
        }
        Ok(convert_trained(self.prepared, Trained { constants, activations, weights })?)
    }
}

/// Whether a constant at this input is trained.
fn is_trained(op: &Op, slot: usize) -> bool {
    match op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } => matches!(slot, 1 | 2),
        Op::MatMul => slot == 1,
        Op::LayerNormalization { .. } => matches!(slot, 1 | 2),
        _ => false,
    }
}

/// For every value the last node that reads it.
fn last_reads(graph: &Graph) -> HashMap<ValueId, NodeId> {
    let mut last = HashMap::new();
    for (id, node) in graph.iter_nodes() {
        for v in node.inputs.iter().flatten() {
            last.insert(*v, id);
        }
    }
    for v in &graph.outputs {
        last.remove(v);
    }
    last
}

/// One pass through the model.
struct Run<'r> {
    model: &'r QatModel,
    tape: &'r Tape,
    values: HashMap<ValueId, Var>,
    /// What values are after rounding to codes, by their group.
    codes: HashMap<ValueId, Var>,
    last: HashMap<ValueId, NodeId>,
}

impl Run<'_> {
    fn node(&mut self, id: NodeId) -> Result<(), QatError> {
        let graph = self.model.prepared.graph();
        let node = graph.node(id);
        let mut inputs: Vec<Option<Var>> = Vec::with_capacity(node.inputs.len());
        for (slot, form) in self.model.forms[id.0].iter().enumerate() {
            inputs.push(match (node.input(slot), form) {
                (None, _) | (_, InputForm::Absent) => None,
                (Some(v), InputForm::Weights { .. }) => {
                    let weight = self.value(v)?;
                    match self.model.weights.get(&id) {
                        Some(quantizer) => Some(quantizer.forward(&weight)?),
                        None => Some(weight),
                    }
                }
                (Some(v), InputForm::Bias { group }) => Some(self.bias(id, v, *group, &node.name)?),
                (Some(v), form) => Some(self.read(v, form)?),
            });
        }
        let inputs: Vec<Option<&Var>> = inputs.iter().map(Option::as_ref).collect();
        let outputs = self.tape.apply(&node.name, &node.op, &inputs, node.outputs.len())?;
        for (v, var) in node.outputs.iter().zip(outputs) {
            if let Some(v) = v {
                self.values.insert(*v, var);
            }
        }
        for v in node.inputs.iter().flatten().filter(|v| self.last.get(v) == Some(&id)) {
            self.values.remove(v);
            self.codes.remove(v);
        }
        Ok(())
    }

    /// A value as it is.
    fn value(&self, v: ValueId) -> Result<Var, QatError> {
        if let Some(var) = self.values.get(&v) {
            return Ok(var.clone());
        }
        let graph = self.model.prepared.graph();
        match (self.model.parameters.get(&v), graph.constant(v)) {
            (Some(parameter), _) => Ok(self.tape.parameter(parameter)),
            (None, Some(tensor)) => Ok(self.tape.constant(tensor.clone())),
            (None, None) => {
                let message = format!("value {} is read before it is computed", graph.value(v).name);
                Err(tq_graph::GraphError::Structure(message).into())
            }
        }
    }

    /// A value as a node reads it.
    fn read(&mut self, v: ValueId, form: &InputForm) -> Result<Var, QatError> {
        let var = self.value(v)?;
        match form {
            InputForm::Codes { group } => {
                if let Some(codes) = self.codes.get(&v) {
                    return Ok(codes.clone());
                }
                let codes = self.model.activations[*group].forward(&var)?;
                self.codes.insert(v, codes.clone());
                Ok(codes)
            }
            InputForm::Operand { group, spec } => {
                let params = match group {
                    Some(group) => self.model.activations[*group].qparams()?,
                    None => AffineParams::from_data(var.value().as_slice::<f32>()?, var.shape(), spec)?,
                };
                let value = straight_through::forward(var.value(), &params.into(), Rounding::Divide)?;
                Ok(self.tape.constant(value))
            }
            InputForm::Half(dtype) => {
                let op = |to| Op::Cast { to, saturate: true };
                let name = var.name().to_owned();
                let mut half = self.tape.apply(&name, &op(*dtype), &[Some(&var)], 1)?;
                let mut wide = self.tape.apply(&name, &op(DType::F32), &[Some(&half.swap_remove(0))], 1)?;
                Ok(wide.swap_remove(0))
            }
            _ => Ok(var),
        }
    }

    /// A bias as it is after rounding to units of the accumulator.
    fn bias(&mut self, id: NodeId, v: ValueId, group: usize, node: &str) -> Result<Var, QatError> {
        let bias = self.value(v)?;
        let (input, weights) = (&self.model.activations[group], self.model.weights.get(&id));
        let (Some(weights), Some((input, _))) = (weights, input.qparams()?.uniform()) else {
            return Ok(bias);
        };
        fake_bias(node, &bias, input, &weights.qparams()?.scale)
    }
}
