//! A model in training: the float graph that conversion starts from, with fake quantization where it will put codes.

mod bias;
mod constants;
mod conv_bn;
mod exact;
mod grid;
mod head;
mod run;
mod state;

pub use constants::FixedConstant;
pub use head::Activation;
pub(crate) use head::Head;
pub use state::ModelState;

use crate::{FakeQuantize, Parameter, QatError, Quantizer, QuantizerConfig, Tape, Var};
use constants::is_trained;
use conv_bn::ConvBn;
use run::{Run, last_reads};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, NodeId, Tensor, ValueId};
use tq_observers::ObserverConfig;
use tq_passes::training::{InputForm, Trained, convert_trained};
use tq_passes::{
    Configuration, Convertible, ObserverSetting, Placement, Prepared, Quantized, prepare_static,
};

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
/// follows a convolution or a linear layer is folded into it, unless [`QatOptions::batch_norm`] says otherwise.
///
/// # Errors
/// As [`prepare_static`]; [`QatError::Untrainable`] naming a node whose quantization training does not imitate.
pub fn prepare_qat(model: Graph, config: impl Into<Configuration>) -> Result<QatModel, QatError> {
    prepare_qat_with(model, config, &QatOptions::default())
}

/// How a model is fake-quantized.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct QatOptions {
    /// Activations; the observer that the configuration names begins, unless this has one of its own.
    pub activation: QuantizerConfig,
    /// Weights, likewise.
    pub weight: QuantizerConfig,
    /// What becomes of batch normalization that can be folded into the layer before it.
    pub batch_norm: BatchNorm,
}

/// Batch normalization in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNorm {
    /// It is folded before training: its statistics stay, and factor and offset are part of weights and bias.
    #[default]
    Folded,
    /// Factor and offset are trained, with the statistics of each batch until [`QatModel::freeze_bn_stats`]; the weights that
    /// are rounded to codes are those that folding will give. Converting folds them with the running statistics.
    Trained,
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
    QatModel::from_prepared_of(prepare_static(model.clone(), config)?, &model, options)
}

/// A model in training.
///
/// [`QatModel::forward`] gives a [`Var`] on a tape of its own, from which a loss and its gradients follow. Converted by
/// [`tq_passes::convert()`], it becomes a model of codes that computes what the forward pass imitates.
#[derive(Debug)]
pub struct QatModel {
    prepared: Prepared,
    forms: Vec<Vec<InputForm>>,
    /// Where each node is going to run.
    placements: Vec<Placement>,
    /// The clamps that become part of the operator before them, by the value that they read.
    clamps: HashMap<ValueId, NodeId>,
    /// What is trained, by the constant of the graph that it was.
    parameters: BTreeMap<ValueId, Parameter>,
    /// One a group of values.
    activations: Vec<Quantizer>,
    /// One a node with weights that become codes.
    weights: BTreeMap<NodeId, Quantizer>,
    /// One a layer whose normalization is trained.
    norms: BTreeMap<NodeId, ConvBn>,
    /// Scores of the first output, and of those others that a loss can take.
    heads: Vec<Head>,
    /// As it was fake-quantized.
    options: QatOptions,
    training: AtomicBool,
    /// Whether normalizations take the statistics of the batch while training.
    batch_statistics: AtomicBool,
}

impl QatModel {
    /// A prepared model, in training from now on. Activations begin with what calibration has shown to its observers,
    /// where the fake quantizers have no observers of their own. Batch normalization is part of the layers already, and
    /// stays there.
    ///
    /// # Errors
    /// As [`prepare_qat_with`].
    pub fn from_prepared(prepared: Prepared, options: &QatOptions) -> Result<Self, QatError> {
        Self::new(prepared, BTreeMap::new(), options)
    }

    /// As [`QatModel::from_prepared`], of what was prepared from `original`. With [`BatchNorm::Trained`] the batch
    /// normalization that was folded into layers is taken from there, and trained.
    ///
    /// # Errors
    /// As [`prepare_qat_with`].
    pub fn from_prepared_of(
        prepared: Prepared,
        original: &Graph,
        options: &QatOptions,
    ) -> Result<Self, QatError> {
        let norms = match options.batch_norm {
            BatchNorm::Folded => BTreeMap::new(),
            BatchNorm::Trained => ConvBn::of(&prepared, original)?,
        };
        Self::new(prepared, norms, options)
    }

    /// How many batch normalizations are trained, each as part of the layer before it.
    #[must_use]
    pub fn trained_batch_norms(&self) -> usize {
        self.norms.len()
    }

    fn new(
        prepared: Prepared,
        norms: BTreeMap<NodeId, ConvBn>,
        options: &QatOptions,
    ) -> Result<Self, QatError> {
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
                if let Some(tensor) = graph.constant(v)
                    && is_trained(node, slot, tensor).is_ok()
                    && !parameters.contains_key(&v)
                    && !norms.get(&id).is_some_and(|n| n.folded.contains(&v))
                {
                    parameters.insert(v, Parameter::new(graph.value(v).name.clone(), tensor.clone())?);
                }
            }
        }
        let heads = Head::all(&prepared, &forms);
        let placements: Vec<Placement> = prepared.placements().into_iter().map(|n| n.placement).collect();
        let is_clamp = |id: &NodeId| matches!(placements[id.0], Placement::Epilogue { .. });
        let nodes = graph.iter_nodes().filter(|(id, _)| is_clamp(id));
        let clamps = nodes.filter_map(|(id, node)| Some((node.input(0)?, id))).collect();
        let (training, batch_statistics) = (AtomicBool::new(true), AtomicBool::new(true));
        Ok(Self {
            forms,
            placements,
            clamps,
            parameters,
            activations,
            weights,
            norms,
            heads,
            options: options.clone(),
            training,
            batch_statistics,
            prepared,
        })
    }

    /// Everything that is trained: weights, biases, and scales that are learned. Scales of the channels of weights are
    /// there once a forward pass was made.
    #[must_use]
    pub fn parameters(&self) -> Vec<Parameter> {
        let quantizers = self.activations.iter().chain(self.weights.values());
        let scales = quantizers.flat_map(|q| q.parameters().iter().cloned());
        let norms = self.norms.values().flat_map(ConvBn::parameters);
        self.parameters.values().chain(norms).cloned().chain(scales).collect()
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

    /// Batch normalization goes on with its running statistics, as after training.
    pub fn freeze_bn_stats(&self) {
        self.set_batch_statistics(false);
    }

    /// Batch normalization takes the statistics of each batch again, while training.
    pub fn update_bn_stats(&self) {
        self.set_batch_statistics(true);
    }

    pub(crate) fn set_batch_statistics(&self, batch: bool) -> bool {
        self.batch_statistics.swap(batch, Ordering::Relaxed)
    }

    /// While training, activations are observed, stochastic rounding is stochastic, and batch normalization takes the
    /// statistics of the batch.
    pub fn train(&self, training: bool) {
        self.training.store(training, Ordering::Relaxed);
        self.quantizers().for_each(|q| q.set_training(training));
    }

    /// Whether any fake quantizer rounds.
    #[must_use]
    pub fn is_quantizing(&self) -> bool {
        self.quantizers().any(Quantizer::is_quantizing)
    }

    /// Whether the observers of all activations have seen something.
    #[must_use]
    pub fn is_calibrated(&self) -> bool {
        self.activations.iter().all(Quantizer::has_observed)
    }

    /// Lets fake quantizers of activations observe, or not: those that do not keep the scales that they have.
    pub fn set_observing_activations(&self, observing: bool) {
        self.activations.iter().for_each(|q| q.set_observing(observing));
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
        let mut run = self.begin(tape, inputs)?;
        let graph = self.prepared.graph();
        for (id, _) in graph.iter_nodes() {
            run.node(id)?;
        }
        let outputs = graph.outputs.iter();
        outputs
            .map(|v| run.value(*v).and_then(|var| run.read(*v, var, &self.prepared.float_form(*v))))
            .collect()
    }

    /// What [`QatModel::activation`] is applied to for the first output: the scores that losses take.
    ///
    /// # Errors
    /// As [`QatModel::run`].
    pub fn scores(&self, tape: &Tape, inputs: &[Tensor]) -> Result<Var, QatError> {
        let mut scores = self.scores_of(tape, inputs, 1)?;
        match scores.is_empty() {
            true => Err(QatError::Training("the model has no output".to_owned())),
            false => Ok(scores.swap_remove(0)),
        }
    }

    /// The scores of so many of [`QatModel::heads`]. What only others need is not computed.
    pub(crate) fn scores_of(
        &self,
        tape: &Tape,
        inputs: &[Tensor],
        heads: usize,
    ) -> Result<Vec<Var>, QatError> {
        let mut run = self.begin(tape, inputs)?;
        let heads = &self.heads[..heads.min(self.heads.len())];
        for (id, _) in self.prepared.graph().iter_nodes() {
            if heads.iter().all(|head| run.values.contains_key(&head.value)) {
                break;
            }
            run.node(id)?;
        }
        let mut read = |head: &Head| {
            let scores = run.value(head.value)?;
            run.read(head.value, scores, &head.form)
        };
        heads.iter().map(&mut read).collect()
    }

    /// Where losses can be taken: the first output before all others.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.heads
    }

    /// The names of the outputs, and whether each is among the first `heads` scores or made of them.
    pub(crate) fn outputs_of(&self, heads: usize) -> Vec<(String, bool)> {
        let graph = self.prepared.graph();
        let is_trained = |v| self.heads.iter().take(heads).any(|h| h.output == v || h.value == v);
        graph.outputs.iter().map(|v| (graph.value(*v).name.clone(), is_trained(*v))).collect()
    }

    /// The function that makes probabilities of scores at the end of the model; [`Activation::None`] where there is none.
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.heads.first().map_or(Activation::None, |h| h.activation)
    }

    /// The same scores as [`QatModel::scores`], of the float model with the present weights.
    ///
    /// # Errors
    /// [`QatError::Eval`] naming the node that fails.
    pub fn float_scores(&self) -> Result<Evaluator, QatError> {
        self.float_scores_of(1)
    }

    /// As [`QatModel::float_scores`], of so many of [`QatModel::heads`].
    pub(crate) fn float_scores_of(&self, heads: usize) -> Result<Evaluator, QatError> {
        let mut graph = self.float_graph()?;
        graph.outputs = self.heads.iter().take(heads).map(|h| h.value).collect();
        Ok(Evaluator::new(&graph, Precision::F32)?)
    }

    fn begin<'r>(&'r self, tape: &'r Tape, inputs: &[Tensor]) -> Result<Run<'r>, QatError> {
        let graph = self.prepared.graph();
        if inputs.len() != graph.inputs.len() {
            return Err(QatError::InputCount { expected: graph.inputs.len(), got: inputs.len() });
        }
        let mut last = last_reads(graph);
        // Scores are read once more when all is computed.
        self.heads.iter().for_each(|head| {
            last.remove(&head.value);
        });
        Ok(Run::new(self, tape, last, inputs))
    }

    /// How it is quantized, as plain data: the configuration of the plan, and the fake quantizers.
    pub(crate) fn quantization(&self) -> Result<serde_json::Value, QatError> {
        let none = |e: serde_json::Error| QatError::ModelState(format!("settings have no form in JSON: {e}"));
        // By way of a text, in which an f32 is as short as it can be.
        let both = (self.prepared.configuration(), &self.options);
        let [configuration, quantizers] =
            [serde_json::to_string(both.0), serde_json::to_string(both.1)].map(|text| text.map_err(none));
        let value = |text: String| serde_json::from_str::<serde_json::Value>(&text).map_err(none);
        Ok(serde_json::json!({
            "configuration": value(configuration?)?,
            "fake_quantizers": value(quantizers?)?,
        }))
    }

    /// What was prepared: the plan, and the configuration that it came from.
    #[must_use]
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The float graph that is trained, with the present weights.
    ///
    /// # Errors
    /// [`QatError::Graph`] when there is no such graph any more.
    pub fn float_graph(&self) -> Result<Graph, QatError> {
        let mut graph = self.prepared.graph().clone();
        for (v, value) in self.constants()? {
            graph.values[v.0].constant = Some(value);
        }
        Ok(graph)
    }
}

impl QatModel {
    fn node_name(&self, id: NodeId) -> String {
        self.prepared.graph().node(id).name.clone()
    }

    /// The present values of all constants that are trained.
    fn constants(&self) -> Result<BTreeMap<ValueId, Tensor>, QatError> {
        let mut out: BTreeMap<_, _> = self.parameters.iter().map(|(v, p)| (*v, p.value())).collect();
        for norm in self.norms.values() {
            out.extend(norm.folded.into_iter().zip(norm.fold()?));
        }
        Ok(out)
    }

    /// The present weights of a node.
    fn weight_of(&self, id: NodeId) -> Option<Tensor> {
        if let Some(norm) = self.norms.get(&id) {
            return norm.fold().ok().map(|[weight, _]| weight);
        }
        let graph = self.prepared.graph();
        let slot = self.forms[id.0].iter().position(|form| matches!(form, InputForm::Weights { .. }))?;
        let v = graph.node(id).input(slot)?;
        self.parameters.get(&v).map(Parameter::value).or_else(|| graph.constant(v).cloned())
    }
}

impl Convertible for QatModel {
    type Error = QatError;

    /// The model of codes, with the trained weights, and the scales that training has found.
    fn into_quantized(self) -> Result<Quantized, QatError> {
        let trained = self.trained()?;
        Ok(convert_trained(self.prepared, trained)?)
    }
}

impl Convertible for &QatModel {
    type Error = QatError;

    /// As that of the model itself, which can be trained on afterwards.
    fn into_quantized(self) -> Result<Quantized, QatError> {
        Ok(convert_trained(self.prepared.try_clone()?, self.trained()?)?)
    }
}

impl QatModel {
    /// What conversion takes from training.
    fn trained(&self) -> Result<Trained, QatError> {
        let constants = self.constants()?;
        let activations = self.activations.iter().map(Quantizer::qparams).collect::<Result<Vec<_>, _>>()?;
        let mut weights = BTreeMap::new();
        for (id, quantizer) in &self.weights {
            let planned = self.forms[id.0].iter().find_map(|form| match form {
                InputForm::Weights { observer, .. } => Some(observer),
                _ => None,
            });
            // What the observer of the plan would find in the trained weights needs not be given.
            if planned != Some(&quantizer.observer().config()) || !quantizer.follows_observer() {
                let weight = self.weight_of(*id).ok_or(QatError::NoWeights { node: self.node_name(*id) })?;
                weights.insert(*id, quantizer.qparams_for(&weight)?);
            }
        }
        Ok(Trained { constants, activations, weights })
    }
}
