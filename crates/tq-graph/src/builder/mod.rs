//! Models built in Rust, from layers that are named and parameterised as those of PyTorch.
//!
//! [`Graph::builder`] gives a [`Builder`]. A layer is applied to a value under a dotted name and gives a value;
//! [`Builder::build`] gives the graph, complete with types and shapes. The parameters of a layer are named after it
//! (`features.0.weight`) and have PyTorch's shapes. They come from a safetensors file
//! ([`Builder::load_weights`]), one by one ([`Builder::set_weight`]), or from a seed ([`Builder::initialize`]).
//!
//! ```
//! use tq_graph::builder::{Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential};
//! use tq_graph::{Dim, Graph};
//! use tq_qtypes::DType;
//!
//! let mut b = Graph::builder();
//! let x = b.input("image", DType::F32, [Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()])?;
//! // A chain of layers, named features.0, features.1 and so on ...
//! let stem = Sequential::new().push(Conv2d::new(3, 16, 3).padding(1)).push(ReLU).push(MaxPool2d::new(2));
//! let x = b.layer("features", x, stem)?;
//! // ... and a free graph: a residual branch.
//! let y = b.layer("branch", x, Conv2d::new(16, 16, 3).padding(1))?;
//! let x = b.add(x, y)?;
//! let x = b.layer("flatten", x, Flatten::default())?;
//! let y = b.layer("classifier", x, Linear::new(16 * 4 * 4, 10))?;
//! b.output("logits", y)?;
//!
//! b.initialize(42)?;
//! let model = b.build()?;
//! assert!(model.nodes.iter().any(|n| n.name == "features.0"));
//! assert!(model.find_value("classifier.weight").is_some());
//! # Ok::<(), tq_graph::GraphError>(())
//! ```

mod activation;
mod attention;
mod conv;
mod extent;
mod functional;
mod init;
mod layer;
mod linear;
mod norm;
mod parameter;
mod pool;
mod recurrent;
mod safetensors;
mod sequential;
mod weights;

pub use activation::{
    CELU, ELU, GELU, Hardsigmoid, Hardswish, Hardtanh, LeakyReLU, LogSoftmax, Mish, PReLU, ReLU, ReLU6, SELU,
    SiLU, Sigmoid, Softmax, Softplus, Softsign, Tanh,
};
pub use attention::MultiheadAttention;
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use extent::Extent;
pub use init::Init;
pub use layer::{Layer, Parameter, Scope};
pub use linear::{Bilinear, Embedding, Linear};
pub use norm::{
    BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, InstanceNorm, InstanceNorm1d,
    InstanceNorm2d, InstanceNorm3d, LayerNorm,
};
pub use pool::{
    AdaptiveAvgPool, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, AdaptiveMaxPool,
    AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, AvgPool, AvgPool1d, AvgPool2d, AvgPool3d,
    GlobalAvgPool, MaxPool, MaxPool1d, MaxPool2d, MaxPool3d,
};
pub use recurrent::{GRU, LSTM, RNN, Recurrent, RecurrentLayer, RecurrentOutput};
pub use safetensors::{read_safetensors, write_safetensors};
pub use sequential::{Dropout, Flatten, Identity, Sequential};
pub use weights::{LoadOptions, LoadReport};

use crate::{Graph, GraphError, Node, Op, Shape, Tensor, ValueId};
use parameter::{Derived, Slot};
use std::collections::{BTreeMap, HashMap, HashSet};
use tq_qtypes::DType;

/// A model under construction. See the [module](self).
#[derive(Default)]
pub struct Builder {
    graph: Graph,
    /// Parameters by PyTorch's names.
    slots: BTreeMap<String, Slot>,
    /// Constants that are computed from parameters once these are known.
    derived: Vec<Derived>,
    /// Names that a weights file may hold though nothing needs them.
    ignored: HashSet<String>,
    layers: HashSet<String>,
    value_names: HashSet<String>,
    node_names: HashSet<String>,
    /// How many nodes were named after each operator.
    counters: HashMap<String, usize>,
}

impl Graph {
    /// A builder of a new model.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { graph: Graph::new("model"), ..Builder::default() }
    }
}

impl Builder {
    /// Names the model.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.graph.name = name.into();
        self
    }

    /// An input of the model. Dimensions may be symbolic, as in `[Dim::symbol("N"), 3usize.into()]`.
    ///
    /// # Errors
    /// [`GraphError::Input`] when the name is empty or taken.
    pub fn input(
        &mut self,
        name: impl Into<String>,
        dtype: DType,
        dims: impl Into<Shape>,
    ) -> Result<ValueId, GraphError> {
        let name = name.into();
        if name.is_empty() || !self.value_names.insert(name.clone()) {
            let message = if name.is_empty() { "has no name" } else { "another value has this name" };
            return Err(GraphError::Input { name, message: message.into() });
        }
        Ok(self.graph.add_input(name, dtype, dims.into()))
    }

    /// Makes `x` an output of the model, of this name.
    ///
    /// # Errors
    /// [`GraphError::Structure`] when the name is empty or taken, or `x` is no value of this builder.
    pub fn output(&mut self, name: impl Into<String>, x: ValueId) -> Result<(), GraphError> {
        let name = name.into();
        let wrong = |what: &str| Err(GraphError::Structure(format!("output {name:?}: {what}")));
        if x.0 >= self.graph.values.len() {
            return wrong("the value belongs to another model");
        }
        if name.is_empty() || !self.value_names.insert(name.clone()) {
            return wrong(if name.is_empty() { "has no name" } else { "another value has this name" });
        }
        let made = self.graph.nodes.iter().any(|n| n.outputs.contains(&Some(x)));
        let x = if made && !self.graph.outputs.contains(&x) {
            x
        } else {
            let node = self.fresh_node("output");
            self.push(node, Op::Identity, &[Some(x)], 1)?[0]
        };
        self.graph.values[x.0].name = name;
        self.graph.outputs.push(x);
        Ok(())
    }

    /// Applies a layer to `x` under a dotted name, which no other layer may have.
    ///
    /// # Errors
    /// [`GraphError::Node`], naming the layer, for settings that contradict each other or the shape of `x`, for an
    /// empty name and for one that is taken.
    pub fn layer(
        &mut self,
        name: impl Into<String>,
        x: ValueId,
        layer: impl Layer,
    ) -> Result<ValueId, GraphError> {
        layer.apply(&mut self.scope(name.into(), layer.type_name())?, x)
    }

    /// Applies an operator of the graph under a name of its own, and gives its first output: for what no layer and
    /// no method stands for.
    ///
    /// # Errors
    /// [`GraphError::Node`] for inputs that the operator does not take, and for names as [`Builder::layer`].
    pub fn node(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let mut scope = self.scope(name.into(), op.name())?;
        scope.node("", op, inputs)
    }

    /// A constant of the model.
    ///
    /// # Errors
    /// [`GraphError::Structure`] when the name is empty or taken.
    pub fn constant(&mut self, name: impl Into<String>, tensor: Tensor) -> Result<ValueId, GraphError> {
        let name = name.into();
        if name.is_empty() || !self.value_names.insert(name.clone()) {
            return Err(GraphError::Structure(format!("constant {name:?}: the name is empty or taken")));
        }
        Ok(self.graph.add_constant(name, tensor))
    }

    /// The shape of a value, where it is known already.
    #[must_use]
    pub fn shape(&self, x: ValueId) -> Option<&Shape> {
        self.graph.values.get(x.0).and_then(|v| v.shape.as_ref())
    }

    /// Completes the model: all parameters become constants, what no output needs is dropped, and every value gets
    /// its type and shape.
    ///
    /// # Errors
    /// [`GraphError::MissingWeights`] naming every parameter that has no value; [`GraphError::Structure`] for a model
    /// without outputs; otherwise as [`crate::infer::infer`].
    pub fn build(mut self) -> Result<Graph, GraphError> {
        if self.graph.outputs.is_empty() {
            return Err(GraphError::Structure("the model has no outputs".into()));
        }
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(GraphError::MissingWeights(missing));
        }
        self.fill_constants()?;
        self.graph.compact();
        crate::infer::infer(&mut self.graph)?;
        Ok(self.graph)
    }

    fn scope(&mut self, name: String, kind: &'static str) -> Result<Scope<'_>, GraphError> {
        let mut scope = Scope { builder: self, name, kind };
        scope.claim()?;
        Ok(scope)
    }

    /// A value name like `base` that is not taken.
    fn fresh_value(&mut self, base: &str) -> String {
        let mut name = base.to_owned();
        let mut i = 0;
        while !self.value_names.insert(name.clone()) {
            i += 1;
            name = format!("{base}_{i}");
        }
        name
    }

    /// A node name after an operator: `add`, `add_1`, `add_2`.
    fn fresh_node(&mut self, base: &str) -> String {
        loop {
            let count = self.counters.entry(base.to_owned()).or_insert(0);
            let name = if *count == 0 { base.to_owned() } else { format!("{base}_{count}") };
            *count += 1;
            if !self.node_names.contains(&name) && !self.layers.contains(&name) {
                return name;
            }
        }
    }

    /// Adds a node; its outputs get types and shapes at once, so that mistakes show where they are made.
    fn push(
        &mut self,
        name: String,
        op: Op,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Result<Vec<ValueId>, GraphError> {
        let fail =
            |message: &str| GraphError::Node { node: name.clone(), op: op.name(), message: message.into() };
        if inputs.iter().flatten().any(|v| v.0 >= self.graph.values.len()) {
            return Err(fail("an input belongs to another model"));
        }
        if self.node_names.contains(&name) {
            return Err(fail("another node has this name"));
        }
        // A graph of this node alone.
        let mut alone = Graph::new("");
        let mut map: HashMap<ValueId, ValueId> = HashMap::new();
        for v in inputs.iter().flatten() {
            map.entry(*v).or_insert_with(|| {
                alone.values.push(self.graph.values[v.0].clone());
                ValueId(alone.values.len() - 1)
            });
        }
        alone.inputs =
            (0..alone.values.len()).map(ValueId).filter(|v| alone.values[v.0].constant.is_none()).collect();
        let names: Vec<String> = (0..outputs)
            .map(|i| {
                let suffix = if i == 0 { "output".to_owned() } else { format!("output_{i}") };
                self.fresh_value(&format!("{name}.{suffix}"))
            })
            .collect();
        let results: Vec<Option<ValueId>> =
            names.into_iter().map(|n| Some(alone.add_value(n, None, None))).collect();
        let local = inputs.iter().map(|v| v.and_then(|v| map.get(&v).copied())).collect();
        alone.nodes.push(Node { name, op, inputs: local, outputs: results.clone() });
        crate::infer::infer(&mut alone)?;

        let Some(mut node) = alone.nodes.pop() else { return Ok(Vec::new()) };
        let mut ids = Vec::with_capacity(outputs);
        for v in results.into_iter().flatten() {
            self.graph.values.push(alone.values[v.0].clone());
            ids.push(ValueId(self.graph.values.len() - 1));
        }
        node.inputs = inputs.to_vec();
        node.outputs = ids.iter().copied().map(Some).collect();
        self.node_names.insert(node.name.clone());
        self.graph.nodes.push(node);
        Ok(ids)
    }
}
