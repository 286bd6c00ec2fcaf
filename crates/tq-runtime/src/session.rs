//! Sessions: a graph, its packed weights, and its plans.

use crate::compile::compile;
use crate::error::RuntimeError;
use crate::explain::{self, Execution, Explanation, MemoryReport, PlanMemory};
use crate::options::{KernelChoice, SessionOptions};
use crate::plan::{Plan, Watch};
use crate::profile::{LargestCodes, NodeProfile, Profile, Times};
use crate::tap::Tap;
use crate::weights::WeightStore;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tq_graph::dim::known_shape;
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, Tensor, infer};
use tq_kernels::{Isa, KernelLibrary, Kernels};

/// What all plans of a session share.
pub(crate) struct Shared {
    pub(crate) kernels: Kernels,
    pub(crate) weights: WeightStore,
    pub(crate) max_value_bytes: usize,
}

/// A graph ready to run. `&Session` may be shared between threads.
///
/// Quantized operators run on codes, everything else in float. Plans are made for the shapes that the inputs have
/// and kept for the next time; weights are packed once.
pub struct Session {
    shared: Shared,
    graph: Graph,
    max_plans: usize,
    /// Plans, the most recently used one last.
    plans: Mutex<Vec<Arc<Plan>>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("graph", &self.graph.name)
            .field("kernels", &self.shared.kernels)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Prepares `graph` to be run: checks it, chooses kernels and packs the weights of its quantized operators.
    ///
    /// # Errors
    /// [`RuntimeError::Graph`] for a broken graph, [`RuntimeError::IsaUnavailable`] and [`RuntimeError::Kernel`] for
    /// kernels that cannot be had.
    pub fn new(graph: &Graph, options: SessionOptions) -> Result<Self, RuntimeError> {
        let mut graph = graph.clone();
        graph.validate()?;
        infer::infer(&mut graph)?;
        let kernels = choose_kernels(options.kernels)?;
        let view = QdqView::new(&graph);
        let weights = WeightStore::new(&kernels, &graph, &view);
        tq_kernels::buffer::warm_up();
        let shared = Shared { kernels, weights, max_value_bytes: options.max_value_bytes };
        Ok(Self { shared, graph, max_plans: options.max_plans.max(1), plans: Mutex::new(Vec::new()) })
    }

    /// The graph that runs.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The kernels in use.
    #[must_use]
    pub fn kernels(&self) -> &Kernels {
        &self.shared.kernels
    }

    /// Runs on `inputs`, in the order of the graph's inputs; the outputs are in the order of its outputs.
    ///
    /// # Errors
    /// [`RuntimeError::InputCount`] and [`RuntimeError::Input`] for inputs that do not fit; others where the graph
    /// cannot be run on them.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, RuntimeError> {
        self.plan(inputs)?.run(&self.shared.kernels, inputs, Watch::Nothing)
    }

    /// Runs on named inputs, in any order.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_named(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<Tensor>, RuntimeError> {
        for (name, _) in inputs {
            let known = self.graph.inputs.iter().any(|v| self.graph.value(*v).name == *name);
            if !known {
                return Err(RuntimeError::Input {
                    name: (*name).to_owned(),
                    message: format!("is no input of the graph, whose inputs are {}", self.input_names()),
                });
            }
            if inputs.iter().filter(|(n, _)| n == name).count() > 1 {
                return Err(RuntimeError::Input {
                    name: (*name).to_owned(),
                    message: "is given twice".into(),
                });
            }
        }
        let ordered =
            self.graph
                .inputs
                .iter()
                .map(|v| {
                    let name = &self.graph.value(*v).name;
                    inputs.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone()).ok_or_else(|| {
                        RuntimeError::Input { name: name.clone(), message: "is not given".into() }
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
        self.run(&ordered)
    }

    /// Runs and writes the results into `outputs`: in place where type and shape are those of the result and the
    /// tensor's data is not shared, else by replacing the tensor.
    ///
    /// Where every operator runs on codes this allocates nothing, once it has run with the same shapes before.
    /// Float steps allocate their results.
    ///
    /// # Errors
    /// As [`Session::run`], and [`RuntimeError::OutputCount`].
    pub fn run_into(&self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<(), RuntimeError> {
        if outputs.len() != self.graph.outputs.len() {
            return Err(RuntimeError::OutputCount { expected: self.graph.outputs.len(), got: outputs.len() });
        }
        self.plan(inputs)?.run_into(&self.shared.kernels, inputs, outputs)
    }

    /// Runs, and shows the codes that each quantized operator takes and gives.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_tapped(
        &self,
        inputs: &[Tensor],
        tap: &mut dyn FnMut(Tap<'_>),
    ) -> Result<Vec<Tensor>, RuntimeError> {
        self.plan(inputs)?.run(&self.shared.kernels, inputs, Watch::Codes(tap))
    }

    /// Runs `runs` times, at least once, and tells where the time goes. One run more comes before, which warms the memory and
    /// looks at the codes.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn profile(&self, inputs: &[Tensor], runs: usize) -> Result<Profile, RuntimeError> {
        let plan = self.plan(inputs)?;
        let Shared { kernels, weights, .. } = &self.shared;
        let mut codes = LargestCodes::default();
        plan.run(kernels, inputs, Watch::Codes(&mut |tap| codes.see(&tap)))?;
        let mut times = Times::default();
        for _ in 0..runs.max(1) {
            let mut steps = Vec::new();
            plan.run(kernels, inputs, Watch::Times(&mut steps))?;
            times.add(plan.graph().nodes.len(), &steps);
        }
        let index = plan.graph().nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i));
        let index: HashMap<&str, usize> = index.collect();
        let timed = |n: &explain::NodeReport| {
            let seconds = times.of(*index.get(n.node.as_str())?);
            let largest_code = codes.of(&n.node);
            let largest = largest_code.unwrap_or(u8::MAX);
            let runs = matches!(n.execution, Execution::Integer | Execution::Float) || seconds > 0.0;
            runs.then(|| NodeProfile {
                node: n.node.clone(),
                op: n.op,
                execution: n.execution,
                kernel: n.kernel.clone(),
                seconds,
                macs: n.macs,
                largest_code,
                depths: weights.product_depths(kernels, &n.node, largest),
            })
        };
        Ok(Profile {
            input_shapes: plan.key().to_vec(),
            runs: runs.max(1),
            seconds: times.total(),
            nodes: plan.reports().iter().filter_map(timed).collect(),
        })
    }

    /// Makes the plan for inputs of these shapes, unless it is there, so that the first run need not.
    ///
    /// # Errors
    /// Where the graph does not take these shapes.
    pub fn prepare(&self, shapes: &[Vec<usize>]) -> Result<(), RuntimeError> {
        self.plan_for(shapes).map(|_| ())
    }

    /// What runs how, for the shapes of the latest run; without one, for the graph's own shapes with 1 for every
    /// unknown dimension. Where the graph does not take those, what the graph alone tells.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let latest = self.lock().last().cloned();
        let plan = latest.or_else(|| self.plan_for(&self.default_shapes()).ok());
        let (input_shapes, mut nodes) = match plan {
            Some(plan) => {
                let nodes = explain::with_resolved(&self.graph, plan.graph(), plan.reports());
                (plan.key().to_vec(), nodes)
            }
            None => (Vec::new(), explain::of_graph(&self.graph)),
        };
        let Shared { kernels, weights, .. } = &self.shared;
        for n in nodes.iter_mut().filter(|n| n.execution == Execution::Integer) {
            n.depths = weights.layer_depths(kernels, &n.node);
        }
        Explanation { input_shapes, library: self.shared.kernels.library().name().to_owned(), nodes }
    }

    /// Bytes of weights and of the plans that are kept.
    #[must_use]
    pub fn memory(&self) -> MemoryReport {
        let plans = self.lock();
        MemoryReport {
            packed_weights: self.shared.weights.bytes(),
            plans: plans
                .iter()
                .map(|p| PlanMemory {
                    input_shapes: p.key().to_vec(),
                    arena: p.arena_bytes(),
                    unshared: p.unshared_bytes(),
                })
                .collect(),
        }
    }

    fn default_shapes(&self) -> Vec<Vec<usize>> {
        self.graph
            .inputs
            .iter()
            .map(|v| match &self.graph.value(*v).shape {
                Some(shape) => shape.iter().map(|d| d.known_usize().unwrap_or(1)).collect(),
                None => Vec::new(),
            })
            .collect()
    }

    fn input_names(&self) -> String {
        let names: Vec<&str> = self.graph.inputs.iter().map(|v| self.graph.value(*v).name.as_str()).collect();
        names.join(", ")
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, inputs: &[Tensor]) -> Result<Arc<Plan>, RuntimeError> {
        self.check(inputs)?;
        if let Some(plan) = self.recall(|p| p.is_for(inputs)) {
            return Ok(plan);
        }
        let shapes: Vec<Vec<usize>> = inputs.iter().map(|t| t.dims().to_vec()).collect();
        self.plan_for(&shapes)
    }

    /// The plan that `is_it` accepts, now the most recently used one.
    fn recall(&self, is_it: impl Fn(&Plan) -> bool) -> Option<Arc<Plan>> {
        let mut plans = self.lock();
        let at = plans.iter().position(|p| is_it(p))?;
        plans[at..].rotate_left(1);
        plans.last().cloned()
    }

    fn plan_for(&self, shapes: &[Vec<usize>]) -> Result<Arc<Plan>, RuntimeError> {
        if let Some(plan) = self.recall(|p| p.key() == shapes) {
            return Ok(plan);
        }
        let bound = infer::bind(&self.graph, shapes)?;
        let plan = Arc::new(compile(&self.shared, bound, shapes.to_vec())?);
        let mut plans = self.lock();
        // Another thread may have been faster; two equal plans would only waste memory.
        if !plans.iter().any(|p| p.key() == shapes) {
            if plans.len() >= self.max_plans {
                plans.remove(0);
            }
            plans.push(Arc::clone(&plan));
        }
        Ok(plan)
    }

    fn check(&self, inputs: &[Tensor]) -> Result<(), RuntimeError> {
        if inputs.len() != self.graph.inputs.len() {
            return Err(RuntimeError::InputCount {
                expected: self.graph.inputs.len(),
                got: inputs.len(),
                names: self.input_names(),
            });
        }
        for (v, tensor) in self.graph.inputs.iter().zip(inputs) {
            let value = self.graph.value(*v);
            let wrong = |message| Err(RuntimeError::Input { name: value.name.clone(), message });
            if let Some(dtype) = value.dtype
                && dtype != tensor.dtype()
            {
                return wrong(format!("expected {dtype}, got {}", tensor.dtype()));
            }
            let Some(shape) = &value.shape else { continue };
            if known_shape(shape).is_some_and(|s| s == tensor.dims()) {
                continue;
            }
            let fits = shape.len() == tensor.rank()
                && shape.iter().zip(tensor.dims()).all(|(d, n)| d.known_usize().is_none_or(|d| d == *n));
            if !fits {
                let expected: Vec<String> = shape.iter().map(ToString::to_string).collect();
                return wrong(format!("expected shape [{}], got {:?}", expected.join(", "), tensor.dims()));
            }
        }
        Ok(())
    }
}

/// The kernels that `choice` asks for.
pub(crate) fn choose_kernels(choice: KernelChoice) -> Result<Kernels, RuntimeError> {
    // A name in `TQ_ISA` that is none is an error here, whatever was chosen.
    Isa::limit_from_env()?;
    match choice {
        KernelChoice::Auto => Ok(Kernels::new(natives().next())),
        KernelChoice::Isa(Isa::Scalar) => Ok(Kernels::scalar()),
        KernelChoice::Isa(isa) => match natives().find(|library| library.isa() == isa) {
            Some(library) => Ok(Kernels::new(Some(library))),
            None => Err(RuntimeError::IsaUnavailable(isa)),
        },
        KernelChoice::Library(library) => Ok(Kernels::shared(library)),
    }
}

/// The libraries for this processor, the best first, without the scalar one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn natives() -> impl Iterator<Item = &'static dyn KernelLibrary> {
    tq_x86::libraries()
}

/// The libraries for this processor, the best first, without the scalar one.
#[cfg(target_arch = "aarch64")]
pub(crate) fn natives() -> impl Iterator<Item = &'static dyn KernelLibrary> {
    tq_arm::libraries()
}

/// No library but the scalar one is made for this processor.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn natives() -> impl Iterator<Item = &'static dyn KernelLibrary> {
    std::iter::empty()
}
