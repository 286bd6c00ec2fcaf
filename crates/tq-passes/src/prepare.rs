//! Calibration.

use crate::config::rules::Rules;
use crate::explain::{NodePlan, node_plans, unused_rules};
use crate::module_type::Types;
use crate::place::{Group, Plan, PlannedNode, Scheme, plan, weight_slots};
use crate::{
    BackendConfig, Configuration, FusionReport, NodeReport, PassError, QConfigDict, fold_constants, fuse,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, Op, Tensor, ValueId, infer};
use tq_observers::{Observer, ObserverError};

/// A model with observers on it, made by [`prepare_static`].
#[derive(Debug)]
pub struct Prepared {
    pub(crate) graph: Graph,
    pub(crate) plan: Plan,
    configuration: Configuration,
    pub(crate) fusion: FusionReport,
    plans: Vec<NodePlan>,
    warnings: Vec<String>,
    /// For every value whether it is computed in float even where codes of it are made.
    pub(crate) float_values: Vec<bool>,
    evaluator: Evaluator,
    calibration: Mutex<Calibration>,
}

/// What calibration has gathered so far.
#[derive(Debug, Clone)]
pub(crate) struct Calibration {
    /// One observer a group of values that share scales.
    pub(crate) observers: Vec<Box<dyn Observer>>,
    /// Batches taken.
    pub(crate) batches: u64,
}

/// Folds and fuses `model`, decides what is to run in integers, and puts observers on its tensors.
///
/// # Errors
/// [`PassError::Config`] when the configuration asks for what cannot be, [`PassError::AlreadyQuantized`] when the
/// model holds quantized operators, [`PassError::Graph`] and [`PassError::Fold`] when it is broken,
/// [`PassError::NonFiniteConstant`] when a constant to be quantized is not finite.
pub fn prepare_static(model: Graph, config: impl Into<Configuration>) -> Result<Prepared, PassError> {
    prepare(model, config.into())
}

/// [`prepare_static`] for rules and a backend.
///
/// Where the rules ask for no calibration, as those for weights alone, [`crate::convert()`] may follow at once.
///
/// # Errors
/// As [`prepare_static`].
pub fn quantize_fx(
    model: Graph,
    qconfig_dict: impl Into<QConfigDict>,
    backend: impl Into<BackendConfig>,
) -> Result<Prepared, PassError> {
    prepare(model, Configuration { backend: backend.into(), dict: qconfig_dict.into() })
}

fn prepare(mut model: Graph, configuration: Configuration) -> Result<Prepared, PassError> {
    configuration.validate()?;
    let rules = Rules::new(&configuration.dict)?;
    if let Some(node) = model.nodes.iter().find(|n| is_quantized(&n.op)) {
        return Err(PassError::AlreadyQuantized { node: node.name.clone(), op: node.op.name() });
    }
    infer::infer(&mut model)?;
    let mut graph = model.clone(); // constants share their data
    fold_constants(&mut graph)?;
    let fusion = fuse(&mut graph)?;
    let types = Types::new(&graph);
    let verdicts: Vec<_> = graph.nodes.iter().map(|n| rules.of(&types, n)).collect();
    let plan = plan(&graph, &verdicts, &configuration.backend);
    let plans = node_plans(&types, &rules, &plan);
    let mut warnings = unused_rules(&Types::new(&model), &types, &rules, &fusion);
    if configuration.dict.rules().all(|(_, qconfig)| qconfig.is_none()) {
        warnings.push("the configuration quantizes nothing: every node stays in float".to_owned());
    }
    let build = |group: &Group| {
        let error = |source| PassError::Observer { tensor: name_of_group(&graph, group), source };
        group.observer.build().map_err(error)
    };
    let observers = plan.groups.iter().map(build).collect::<Result<Vec<_>, _>>()?;
    check_constants(&graph, &plan)?;
    // What cannot be observed is better known now than after calibration.
    observe_constants(&graph, &plan, &mut observers.clone())?;
    let evaluator = Evaluator::new(&graph, Precision::F32)?;
    let calibration = Mutex::new(Calibration { observers, batches: 0 });
    let float_values = float_values(&graph, &plan);
    Ok(Prepared { graph, plan, configuration, fusion, plans, warnings, float_values, evaluator, calibration })
}

/// The name of the first tensor of a group, by which the group is known.
pub(crate) fn name_of_group(graph: &Graph, group: &Group) -> String {
    group.values.first().map_or("?".to_owned(), |v| graph.value(*v).name.clone())
}

/// Marks what float nodes give, and the inputs of the model.
fn float_values(graph: &Graph, plan: &Plan) -> Vec<bool> {
    let mut out = vec![false; graph.values.len()];
    graph.inputs.iter().for_each(|v| out[v.0] = true);
    for (node, planned) in graph.nodes.iter().zip(&plan.nodes) {
        if planned.scheme != Scheme::Static {
            node.outputs.iter().flatten().for_each(|v| out[v.0] = true);
        }
    }
    out
}

fn is_quantized(op: &Op) -> bool {
    matches!(
        op,
        Op::QuantizeLinear { .. }
            | Op::DequantizeLinear { .. }
            | Op::DynamicQuantizeLinear { .. }
            | Op::MatMulInteger
            | Op::ConvInteger(_)
            | Op::QLinearMatMul
            | Op::QLinearConv(_)
    ) || matches!(op, Op::Recurrent { attrs, .. } if attrs.dynamic.is_some())
}

/// Weights, biases and constant operands that become codes must be finite: better said now than after calibration.
pub(crate) fn check_constants(graph: &Graph, plan: &Plan) -> Result<(), PassError> {
    for (id, node) in graph.iter_nodes() {
        let constants = match plan.nodes[id.0].scheme {
            // The bounds of a clamp may be infinite, and stay float.
            Scheme::Static if plan.is_static(id) && !matches!(node.op, Op::Clip) => &node.inputs[..],
            Scheme::WeightOnly | Scheme::Dynamic(_) => {
                let slots = weight_slots(&node.op);
                node.inputs.get(slots[0]..=slots[slots.len() - 1]).unwrap_or_default()
            }
            _ => continue,
        };
        for v in constants.iter().flatten() {
            let Some(Ok(data)) = graph.constant(*v).map(|t| t.as_slice::<f32>()) else { continue };
            let count = data.iter().filter(|x| !x.is_finite()).count() as u64;
            if count > 0 {
                let (node, tensor) = (node.name.clone(), graph.value(*v).name.clone());
                return Err(PassError::NonFiniteConstant { node, tensor, count });
            }
        }
    }
    Ok(())
}

/// Constants that are concatenated with activations share their scale, so they are observed too: after the data, and
/// once, however many shards the data came in.
pub(crate) fn observe_constants(
    graph: &Graph,
    plan: &Plan,
    observers: &mut [Box<dyn Observer>],
) -> Result<(), PassError> {
    for (id, node) in graph.iter_nodes() {
        let group = node.output(0).and_then(|v| plan.group_of[v.0]);
        let (Op::Concat { .. }, Some(group), true) = (&node.op, group, plan.is_static(id)) else { continue };
        for v in node.inputs.iter().flatten() {
            let Some(tensor) = graph.constant(*v) else { continue };
            let name = &graph.value(*v).name;
            let observed = match tensor.as_slice::<f32>() {
                Ok(data) => observers[group].observe(data, tensor.dims()),
                Err(e) => return Err(e.into()),
            };
            observed.map_err(|e| constant_error(&node.name, name, e))?;
        }
    }
    Ok(())
}

/// The error of an observer that was given a constant.
pub(crate) fn constant_error(node: &str, tensor: &str, error: ObserverError) -> PassError {
    match error {
        ObserverError::NonFinite { count, .. } => {
            PassError::NonFiniteConstant { node: node.to_owned(), tensor: tensor.to_owned(), count }
        }
        source => PassError::Observer { tensor: tensor.to_owned(), source },
    }
}

/// The observers of a prepared model by the name of the tensor: [`Prepared::observers`] as PyTorch's users write it.
///
/// ```
/// # use tq_graph::{Graph, Op, Tensor, op::UnaryOp};
/// # use tq_passes::{QuantConfig, get_observer_dict, prepare_static};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut model = Graph::new("net");
/// # let x = model.add_input("x", tq_qtypes::DType::F32, vec![1usize.into(), 2usize.into()]);
/// # let w = model.add_constant("w", Tensor::new(&[2, 2], vec![1.0f32, 0.0, 0.0, 1.0])?);
/// # let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
/// # model.outputs.push(y);
/// let prepared = prepare_static(model, QuantConfig::default())?;
/// prepared.forward(&[Tensor::new(&[1, 2], vec![-1.0f32, 2.0])?])?;
/// for (name, observer) in get_observer_dict(&prepared) {
///     let Some(range) = observer.range() else { continue };
///     println!("{name}: range {range:.3}, {:?}", observer.calculate_qparams()?);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use]
pub fn get_observer_dict(prepared: &Prepared) -> BTreeMap<String, Box<dyn Observer>> {
    prepared.observers()
}

impl Prepared {
    /// Runs the float model on one batch, one tensor a graph input, and lets the observers see it.
    /// Returns the model's outputs.
    ///
    /// # Errors
    /// [`PassError::NonFinite`] naming the first tensor that holds NaN or infinities, [`PassError::Eval`] when the
    /// inputs do not fit or a node fails. The batch leaves no trace then.
    pub fn forward<B: AsRef<[Tensor]> + ?Sized>(&self, batch: &B) -> Result<Vec<Tensor>, PassError> {
        let mut calibration = self.calibration();
        let mut next = calibration.clone();
        next.batches += 1;
        let number = next.batches;
        let outputs = self.evaluator.run_tapped(batch.as_ref(), &mut |v: ValueId, tensor: &Tensor| {
            let Some(group) = self.plan.group_of[v.0] else { return Ok(()) };
            let data = tensor.as_slice::<f32>()?;
            next.observers[group].observe(data, tensor.dims()).map_err(|e| {
                let tensor = self.graph.value(v).name.clone();
                match e {
                    ObserverError::NonFinite { count, len } => {
                        PassError::NonFinite { tensor, count, len, batch: number }
                    }
                    source => PassError::Observer { tensor, source },
                }
            })
        })?;
        *calibration = next;
        Ok(outputs)
    }

    /// Number of batches that calibration has taken.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.calibration().batches
    }

    /// The fused float graph that calibration runs.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The configuration.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What fusion did.
    #[must_use]
    pub fn fusion_report(&self) -> &FusionReport {
        &self.fusion
    }

    /// Which rule won for every node of [`Prepared::graph`], and what comes of it.
    #[must_use]
    pub fn explain(&self) -> Vec<NodePlan> {
        self.plans.clone()
    }

    /// What is not wrong but probably not meant, in a sentence each: rules that are for no node.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same once more, with what calibration has shown so far; both go their own ways from then on.
    ///
    /// # Errors
    /// [`PassError::Eval`] when the float graph cannot be run any more, which is never for one that could.
    pub fn try_clone(&self) -> Result<Self, PassError> {
        Ok(Self {
            graph: self.graph.clone(),
            plan: self.plan.clone(),
            configuration: self.configuration.clone(),
            fusion: self.fusion.clone(),
            plans: self.plans.clone(),
            warnings: self.warnings.clone(),
            float_values: self.float_values.clone(),
            evaluator: Evaluator::new(&self.graph, Precision::F32)?,
            calibration: Mutex::new(self.calibration().clone()),
        })
    }

    /// Where every node of [`Prepared::graph`] is going to run.
    #[must_use]
    pub fn placements(&self) -> Vec<NodeReport> {
        let report = |(node, planned): (&tq_graph::Node, &PlannedNode)| NodeReport {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            placement: planned.placement.clone(),
        };
        self.graph.nodes.iter().zip(&self.plan.nodes).map(report).collect()
    }

    /// Copies of the observers as they are now, by the name of the tensor. Tensors that share scales share what
    /// they have seen.
    #[must_use]
    pub fn observers(&self) -> BTreeMap<String, Box<dyn Observer>> {
        let calibration = self.calibration();
        let mut out = BTreeMap::new();
        for (Group { values, .. }, observer) in self.plan.groups.iter().zip(&calibration.observers) {
            for v in values {
                out.insert(self.graph.value(*v).name.clone(), observer.clone());
            }
        }
        out
    }

    /// The state of calibration. A thread that panicked while it held the lock left the last complete state.
    pub(crate) fn calibration(&self) -> MutexGuard<'_, Calibration> {
        self.calibration.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
