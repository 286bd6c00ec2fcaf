//! What a layer is, and what it builds with.

use super::Builder;
use super::init::Init;
use super::parameter::{Derived, Slot};
use crate::dim::shape_of;
use crate::tensor::checked_numel;
use crate::{Dim, GraphError, Op, Shape, Tensor, ValueId};
use tq_qtypes::DType;

/// A layer: settings that turn one value into another. Those of this crate are named as in PyTorch; one's own build
/// themselves from operators and parameters by a [`Scope`].
///
/// ```
/// use tq_graph::builder::{Init, Layer, Scope};
/// use tq_graph::op::BinaryOp;
/// use tq_graph::{Graph, GraphError, Op, ValueId};
///
/// /// One learned factor a channel.
/// struct Scale(usize);
///
/// impl Layer for Scale {
///     fn type_name(&self) -> &'static str {
///         "Scale"
///     }
///     fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
///         let scale = scope.parameter("scale", &[self.0], Init::Constant(1.0))?;
///         scope.node("", Op::Binary(BinaryOp::Mul), &[x, scale.value()])
///     }
/// }
///
/// let mut b = Graph::builder();
/// let x = b.input("x", tq_qtypes::DType::F32, [4usize.into()])?;
/// let y = b.layer("scale", x, Scale(4))?;
/// b.output("y", y)?;
/// b.initialize(0)?;
/// assert_eq!(b.build()?.nodes.len(), 1);
/// # Ok::<(), GraphError>(())
/// ```
pub trait Layer {
    /// The name of the layer's type, for messages.
    fn type_name(&self) -> &'static str;

    /// Adds the layer's nodes and gives its result.
    ///
    /// # Errors
    /// [`GraphError::Node`] for settings that contradict each other or the shape of `x`.
    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError>;
}

/// The builder as a layer sees it: everything it adds is named after the layer.
pub struct Scope<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) name: String,
    pub(super) kind: &'static str,
}

/// A parameter of a layer, whose value comes later.
#[derive(Debug, Clone)]
pub struct Parameter {
    name: String,
    value: ValueId,
}

impl Parameter {
    /// The graph's value.
    #[must_use]
    pub fn value(&self) -> ValueId {
        self.value
    }
}

/// `name` within `outer`; either may be empty.
pub(super) fn join(outer: &str, name: &str) -> String {
    match (outer.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => outer.to_owned(),
        _ => format!("{outer}.{name}"),
    }
}

impl Scope<'_> {
    /// Takes the layer's name, so that no other layer gets it.
    pub(super) fn claim(&mut self) -> Result<(), GraphError> {
        // Only a chain may be the model itself.
        if self.name.is_empty() && self.kind != super::sequential::SEQUENTIAL {
            return self.fail("the layer has no name");
        }
        if self.builder.layers.contains(&self.name) || self.builder.node_names.contains(&self.name) {
            return self.fail("another layer has this name");
        }
        self.builder.layers.insert(self.name.clone());
        Ok(())
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// An error that names the layer.
    ///
    /// # Errors
    /// Always.
    pub fn fail<T>(&self, message: impl Into<String>) -> Result<T, GraphError> {
        Err(GraphError::Node { node: self.name.clone(), op: self.kind, message: message.into() })
    }

    /// The shape of a value.
    ///
    /// # Errors
    /// [`GraphError::Node`] when the number of its axes is not known.
    pub fn shape(&self, x: ValueId) -> Result<Shape, GraphError> {
        match self.builder.shape(x) {
            Some(shape) => Ok(shape.clone()),
            None => self.fail("the number of axes of the input is not known"),
        }
    }

    /// The shape of a value that must have one of these numbers of axes.
    ///
    /// # Errors
    /// [`GraphError::Node`] when it has not.
    pub fn shape_of_rank(&self, x: ValueId, ranks: &[usize]) -> Result<Shape, GraphError> {
        let shape = self.shape(x)?;
        if ranks.contains(&shape.len()) {
            return Ok(shape);
        }
        let expected: Vec<String> = ranks.iter().map(usize::to_string).collect();
        self.fail(format!("the input has {} axes, expected {}", shape.len(), expected.join(" or ")))
    }

    /// Fails when a dimension is known and not the expected one.
    ///
    /// # Errors
    /// [`GraphError::Node`] with both numbers; `what` names the dimension.
    pub fn expect_dim(&self, what: &str, dim: &Dim, expected: usize) -> Result<(), GraphError> {
        match dim.known_usize() {
            Some(n) if n != expected => self.fail(format!("the input has {n} {what}, expected {expected}")),
            _ => Ok(()),
        }
    }

    /// Fails when one of the named settings is zero.
    ///
    /// # Errors
    /// [`GraphError::Node`] naming the setting.
    pub fn expect_positive(&self, settings: &[(&str, usize)]) -> Result<(), GraphError> {
        match settings.iter().find(|(_, n)| *n == 0) {
            Some((name, _)) => self.fail(format!("{name} is 0")),
            None => Ok(()),
        }
    }

    /// A float parameter, named after the layer and `suffix`; its value is set before the model is built.
    ///
    /// # Errors
    /// [`GraphError::Node`] when the name is taken or no memory can hold the shape.
    pub fn parameter(&mut self, suffix: &str, dims: &[usize], init: Init) -> Result<Parameter, GraphError> {
        let name = join(&self.name, suffix);
        if let Err(e) = checked_numel(dims, DType::F32) {
            return self.fail(format!("parameter {suffix}: {e}"));
        }
        if !self.builder.value_names.insert(name.clone()) {
            return self.fail(format!("another value is named {name}"));
        }
        let value = self.builder.graph.add_value(name.clone(), Some(DType::F32), Some(shape_of(dims)));
        let slot = Slot { value, dims: dims.to_vec(), init, tensor: None };
        self.builder.slots.insert(name.clone(), slot);
        Ok(Parameter { name, value })
    }

    /// A constant that is computed from parameters when they are known. `f` gets their tensors in order and gives a
    /// tensor of shape `dims`.
    ///
    /// # Errors
    /// [`GraphError::Node`] when no memory can hold the shape.
    pub fn derived(
        &mut self,
        suffix: &str,
        parameters: &[&Parameter],
        dims: &[usize],
        f: impl Fn(&[Tensor]) -> Result<Tensor, GraphError> + 'static,
    ) -> Result<ValueId, GraphError> {
        if let Err(e) = checked_numel(dims, DType::F32) {
            return self.fail(format!("{suffix}: {e}"));
        }
        let name = self.builder.fresh_value(&join(&self.name, suffix));
        let value = self.builder.graph.add_value(name, Some(DType::F32), Some(shape_of(dims)));
        let parameters = parameters.iter().map(|p| p.name.clone()).collect();
        self.builder.derived.push(Derived { value, parameters, f: Box::new(f) });
        Ok(value)
    }

    /// A name that a weights file may hold though the model does not need it.
    pub fn ignore(&mut self, suffix: &str) {
        self.builder.ignored.insert(join(&self.name, suffix));
    }

    /// A constant, named after the layer and `suffix`.
    pub fn constant(&mut self, suffix: &str, tensor: Tensor) -> ValueId {
        let name = self.builder.fresh_value(&join(&self.name, suffix));
        self.builder.graph.add_constant(name, tensor)
    }

    /// A node with one output, named after the layer and `part`; the layer's chief node has no `part`.
    ///
    /// # Errors
    /// [`GraphError::Node`] when the operator does not take these inputs.
    pub fn node(&mut self, part: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        Ok(self.nodes(part, op, &inputs, 1)?[0])
    }

    /// A node with optional inputs and so many outputs, at least one.
    ///
    /// # Errors
    /// As [`Scope::node`].
    pub fn nodes(
        &mut self,
        part: &str,
        op: Op,
        inputs: &[Option<ValueId>],
        outputs: usize,
    ) -> Result<Vec<ValueId>, GraphError> {
        self.builder.push(join(&self.name, part), op, inputs, outputs)
    }

    /// Applies a layer within this one.
    ///
    /// # Errors
    /// As [`Builder::layer`].
    pub fn layer(&mut self, name: &str, x: ValueId, layer: &dyn Layer) -> Result<ValueId, GraphError> {
        let name = join(&self.name, name);
        layer.apply(&mut self.builder.scope(name, layer.type_name())?, x)
    }
}
