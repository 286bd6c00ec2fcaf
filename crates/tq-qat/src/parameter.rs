//! What is trained.

use crate::QatError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tq_graph::Tensor;
use tq_qtypes::DType;

/// A tensor of f32 that is trained, with the gradient that backward passes add up.
///
/// Cloning gives another handle to the same parameter: the model holds one, the optimiser another. The value is shared
/// with the tapes it stands on, and copied before it is written while one of them still needs it, so an update between
/// forward and backward pass changes nothing of the latter.
///
/// ```
/// use tq_graph::Tensor;
/// use tq_qat::{Parameter, Tape};
/// let w = Parameter::new("w", Tensor::vector(vec![1.0f32, 2.0]))?;
/// let tape = Tape::new();
/// let x = tape.constant(Tensor::vector(vec![3.0f32, 4.0]));
/// tape.parameter(&w).mul(&x)?.sum()?.backward()?;
/// assert_eq!(w.gradient().ok_or("no gradient")?.as_slice::<f32>()?, [3.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Parameter(Arc<Shared>);

struct Shared {
    name: String,
    dims: Vec<usize>,
    state: Mutex<State>,
}

struct State {
    value: Tensor,
    gradient: Option<Tensor>,
    requires_grad: bool,
    group: String,
}

impl Parameter {
    /// A parameter that requires a gradient, of the group that has no name.
    ///
    /// # Errors
    /// [`QatError::ParameterType`] for tensors that are not f32.
    pub fn new(name: impl Into<String>, value: Tensor) -> Result<Self, QatError> {
        let name = name.into();
        if value.dtype() != DType::F32 {
            return Err(QatError::ParameterType { name, got: value.dtype() });
        }
        let dims = value.dims().to_vec();
        let state = State { value, gradient: None, requires_grad: true, group: String::new() };
        Ok(Self(Arc::new(Shared { name, dims, state: Mutex::new(state) })))
    }

    /// The same parameter, now of the group of this name, by which an optimiser finds its options.
    #[must_use]
    pub fn in_group(self, group: impl Into<String>) -> Self {
        self.state().group = group.into();
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its shape, which never changes.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0.dims
    }

    /// The group it belongs to.
    #[must_use]
    pub fn group(&self) -> String {
        self.state().group.clone()
    }

    /// True for two handles to one parameter.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether tapes record what is made of it.
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        self.state().requires_grad
    }

    /// Lets tapes record what is made of it from now on, or not.
    pub fn set_requires_grad(&self, requires_grad: bool) {
        self.state().requires_grad = requires_grad;
    }

    /// The value; its elements are shared, not copied.
    #[must_use]
    pub fn value(&self) -> Tensor {
        self.state().value.clone()
    }

    /// Sets the value.
    ///
    /// # Errors
    /// [`QatError::ParameterType`] and [`QatError::ParameterShape`] for a tensor of another type or shape.
    pub fn set_value(&self, value: Tensor) -> Result<(), QatError> {
        self.check(&value)?;
        self.state().value = value;
        Ok(())
    }

    /// The sum of the gradients of all backward passes since [`Parameter::zero_grad`]; `None` when there was none.
    #[must_use]
    pub fn gradient(&self) -> Option<Tensor> {
        self.state().gradient.clone()
    }

    /// Sets the gradient.
    ///
    /// # Errors
    /// As [`Parameter::set_value`].
    pub fn set_gradient(&self, gradient: Option<Tensor>) -> Result<(), QatError> {
        if let Some(gradient) = &gradient {
            self.check(gradient)?;
        }
        self.state().gradient = gradient;
        Ok(())
    }

    /// Forgets the gradient.
    pub fn zero_grad(&self) {
        self.state().gradient = None;
    }

    /// Adds to the gradient, element by element.
    ///
    /// # Errors
    /// As [`Parameter::set_value`].
    pub fn add_gradient(&self, gradient: Tensor) -> Result<(), QatError> {
        self.check(&gradient)?;
        let mut state = self.state();
        let sum = match state.gradient.take() {
            Some(sum) => crate::tape::add_gradients(sum, &gradient)?,
            None => gradient,
        };
        state.gradient = Some(sum);
        Ok(())
    }

    /// Gives the elements of the value, to write, and those of the gradient, where there is one, to `change`: one step
    /// of an optimiser.
    ///
    /// # Errors
    /// What `change` returns.
    pub fn update<E: From<QatError>>(
        &self,
        change: impl FnOnce(&mut [f32], Option<&[f32]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut state = self.state();
        let State { value, gradient, .. } = &mut *state;
        let gradient = gradient.as_ref().map(Tensor::as_slice::<f32>).transpose().map_err(QatError::from)?;
        change(value.as_mut_slice::<f32>().map_err(QatError::from)?, gradient)
    }

    fn check(&self, tensor: &Tensor) -> Result<(), QatError> {
        if tensor.dtype() != DType::F32 {
            return Err(QatError::ParameterType { name: self.name().into(), got: tensor.dtype() });
        }
        if tensor.dims() != self.dims() {
            let (name, expected) = (self.name().into(), self.dims().to_vec());
            return Err(QatError::ParameterShape { name, expected, got: tensor.dims().to_vec() });
        }
        Ok(())
    }

    /// The state; nothing that panics half-way leaves it broken.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameter({} {:?})", self.name(), self.dims())
    }
}
