//! Running a whole graph, node by node.

use crate::ops::{Context, DEFAULT_MAX_TENSOR_BYTES, eval_in, promoted};
use crate::{EvalError, Precision};
use std::collections::BTreeMap;
use tq_graph::{Dim, Graph, GraphError, Tensor, Value, ValueId};

/// A graph that can be run in one precision. It is shared freely between threads.
///
/// ```
/// use tq_eval::{Evaluator, Precision};
/// use tq_graph::{Graph, Op, Tensor, dim::shape_of, op::UnaryOp};
/// use tq_qtypes::DType;
/// let mut graph = Graph::new("relu");
/// let x = graph.add_input("x", DType::F32, shape_of(&[2]));
/// let y = graph.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
/// graph.outputs.push(y);
/// let outputs = Evaluator::new(&graph, Precision::F32)?.run(&[Tensor::vector(vec![-1.0f32, 2.0])])?;
/// assert_eq!(outputs[0].as_slice::<f32>()?, [0.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Evaluator {
    graph: Graph,
    context: Context,
    /// For every node the values that nobody reads after it.
    last_reads: Vec<Vec<ValueId>>,
}

impl Evaluator {
    /// Prepares a graph, which is copied (constants share their data, except that the judge promotes floats).
    ///
    /// # Errors
    /// [`EvalError::Graph`] when the graph is not valid.
    pub fn new(graph: &Graph, precision: Precision) -> Result<Self, EvalError> {
        graph.validate()?;
        let mut graph = graph.clone();
        let context = Context { precision, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES };
        if precision == Precision::F64 {
            // A constant that exists may become twice as large, whatever the limit on new tensors.
            let unlimited = Context { max_tensor_bytes: usize::MAX, ..context };
            for value in &mut graph.values {
                if let Some(constant) = &mut value.constant {
                    *constant = promoted(&unlimited, constant)
                        .map_err(|e| GraphError::Structure(format!("constant {}: {e}", value.name)))?;
                }
            }
        }
        let last_reads = last_reads(&graph);
        Ok(Self { graph, context, last_reads })
    }

    /// The same with another limit on the bytes of one tensor made during a run.
    #[must_use]
    pub fn max_tensor_bytes(mut self, bytes: usize) -> Self {
        self.context.max_tensor_bytes = bytes;
        self
    }

    /// The graph that is run; in [`Precision::F64`] with promoted constants.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Outputs of the graph, in its order, for inputs in its order.
    ///
    /// Inputs have the declared types and dimensions; a symbol stands for one number throughout. In
    /// [`Precision::F64`] an f64 tensor is taken for every float input, and float outputs are f64.
    ///
    /// # Errors
    /// [`EvalError::InputCount`] and [`EvalError::Input`] for tensors that do not fit, [`EvalError::Node`] naming
    /// the node that fails.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        self.run_tapped(inputs, &mut |_, _| Ok::<(), EvalError>(()))
    }

    /// [`Evaluator::run`] that shows every graph input and every node output to `tap`, as it comes to be.
    ///
    /// # Errors
    /// As [`Evaluator::run`], and what `tap` returns, which ends the run.
    pub fn run_tapped<E: From<EvalError>>(
        &self,
        inputs: &[Tensor],
        tap: &mut dyn FnMut(ValueId, &Tensor) -> Result<(), E>,
    ) -> Result<Vec<Tensor>, E> {
        let graph = &self.graph;
        let mut values: Vec<Option<Tensor>> = vec![None; graph.values.len()];
        for (id, tensor) in graph.inputs.iter().zip(self.checked(inputs)?) {
            tap(*id, &tensor)?;
            values[id.0] = Some(tensor);
        }
        for (i, node) in graph.nodes.iter().enumerate() {
            let failed = |source| EvalError::Node { node: node.name.clone(), op: node.op.name(), source };
            let args: Vec<Option<&Tensor>> = node
                .inputs
                .iter()
                .map(|slot| slot.and_then(|v| graph.constant(v).or(values[v.0].as_ref())))
                .collect();
            let results = eval_in(&self.context, &node.op, &args, node.outputs.len()).map_err(failed)?;
            for (slot, tensor) in node.outputs.iter().zip(results) {
                if let Some(v) = slot {
                    tap(*v, &tensor)?;
                    values[v.0] = Some(tensor);
                }
            }
            for v in &self.last_reads[i] {
                values[v.0] = None;
            }
        }
        graph
            .outputs
            .iter()
            .map(|v| {
                let tensor = graph.constant(*v).or(values[v.0].as_ref()).cloned();
                let undefined =
                    || GraphError::Structure(format!("output {} is not defined", graph.value(*v).name));
                tensor.ok_or_else(|| E::from(EvalError::Graph(undefined())))
            })
            .collect()
    }

    /// The inputs, promoted where the precision asks for it, after all checks.
    fn checked(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
        if inputs.len() != self.graph.inputs.len() {
            return Err(EvalError::InputCount { expected: self.graph.inputs.len(), got: inputs.len() });
        }
        let mut symbols = BTreeMap::new();
        let mut open = Vec::new();
        for (id, tensor) in self.graph.inputs.iter().zip(inputs) {
            let value = self.graph.value(*id);
            self.check_dtype(value, tensor)?;
            let Some(shape) = &value.shape else { continue };
            if shape.len() != tensor.rank() {
                let message = format!("rank {} given, {} expected", tensor.rank(), shape.len());
                return Err(EvalError::Input { name: value.name.clone(), message });
            }
            for (axis, (dim, len)) in shape.iter().zip(tensor.dims()).enumerate() {
                // A dimension that prints as a name is that symbol; expressions wait until symbols are known.
                let name = dim.to_string();
                let is_symbol = dim.known().is_none() && *dim == Dim::symbol(name.clone());
                if is_symbol {
                    symbols.entry(name).or_insert(*len as i64);
                }
                open.push((value, dim, axis, *len));
            }
        }
        for (value, dim, axis, len) in open {
            let expected = dim.bind(&symbols).and_then(|d| d.known());
            if expected.is_some_and(|e| e != len as i64) {
                let expected = if dim.known().is_some() {
                    dim.to_string()
                } else {
                    format!("{dim} = {}", expected.unwrap_or_default())
                };
                let message = format!("dimension {axis} is {len}, expected {expected}");
                return Err(EvalError::Input { name: value.name.clone(), message });
            }
        }
        let promote = |(id, tensor): (&ValueId, &Tensor)| {
            if self.context.precision == Precision::F32 {
                return Ok(tensor.clone());
            }
            promoted(&self.context, tensor).map_err(|e| EvalError::Input {
                name: self.graph.value(*id).name.clone(),
                message: e.to_string(),
            })
        };
        self.graph.inputs.iter().zip(inputs).map(promote).collect()
    }

    fn check_dtype(&self, value: &Value, tensor: &Tensor) -> Result<(), EvalError> {
        let Some(expected) = value.dtype else { return Ok(()) };
        let got = tensor.dtype();
        let judged =
            self.context.precision == Precision::F64 && expected.is_float() && got == tq_qtypes::DType::F64;
        if got == expected || judged {
            return Ok(());
        }
        let message = format!("{got} given, {expected} expected");
        Err(EvalError::Input { name: value.name.clone(), message })
    }
}

/// For every node the values, graph outputs excepted, that it is the last to read or that nobody reads.
fn last_reads(graph: &Graph) -> Vec<Vec<ValueId>> {
    let mut last: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for v in node.inputs.iter().chain(&node.outputs).flatten() {
            last[v.0] = Some(i);
        }
    }
    for v in &graph.outputs {
        last[v.0] = None;
    }
    let mut out = vec![Vec::new(); graph.nodes.len()];
    for (v, node) in last.into_iter().enumerate() {
        if let Some(i) = node {
            out[i].push(ValueId(v));
        }
    }
    out
}
