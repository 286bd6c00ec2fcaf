//! Values on a tape.

use super::{Source, Tape};
use crate::QatError;
use std::fmt;
use std::sync::Arc;
use tq_graph::Tensor;

/// A value on a [`Tape`]: a tensor, and the way its gradient takes. Cloning shares both.
#[derive(Clone)]
pub struct Var {
    tape: Tape,
    name: Arc<str>,
    value: Tensor,
    source: Option<Source>,
}

impl Var {
    pub(super) fn new(tape: Tape, name: &str, value: Tensor, source: Option<Source>) -> Self {
        Self { tape, name: name.into(), value, source }
    }

    pub(super) fn source(&self) -> Option<&Source> {
        self.source.as_ref()
    }

    /// The tape it stands on.
    #[must_use]
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// The name of the node or parameter it comes from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tensor.
    #[must_use]
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The shape of the tensor.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.value.dims()
    }

    /// The one number of a value that has one, such as a loss.
    ///
    /// # Errors
    /// [`QatError::NotScalar`] when it has more or less, [`QatError::Graph`] when it is no f32.
    pub fn item(&self) -> Result<f32, QatError> {
        match self.value.as_slice::<f32>()? {
            [one] => Ok(*one),
            _ => Err(QatError::NotScalar { name: self.name().into(), dims: self.shape().to_vec() }),
        }
    }

    /// Whether a gradient would reach a parameter from here.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        self.source.is_some()
    }

    /// The same value without a gradient.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { source: None, ..self.clone() }
    }

    /// Adds the derivative of this one number by every parameter to the parameter's gradient. That uses the tape up.
    ///
    /// # Errors
    /// [`QatError::NotScalar`] when it is not one number; otherwise as [`Var::backward_with`].
    pub fn backward(&self) -> Result<(), QatError> {
        if self.value.len() != 1 {
            return Err(QatError::NotScalar { name: self.name().into(), dims: self.shape().to_vec() });
        }
        self.backward_with(Tensor::new(self.shape(), vec![1.0f32])?)
    }

    /// Goes back from here with this gradient, of the shape of the value, and adds up the gradients of parameters. That
    /// uses the tape up.
    ///
    /// # Errors
    /// [`QatError::NotTracked`] when no parameter is behind it, [`QatError::UsedUp`], [`QatError::GradientShape`];
    /// [`QatError::NoGradient`] and [`QatError::Backward`] naming the node. Some parameters may have got their
    /// gradients then: forget them by [`Parameter::zero_grad`](crate::Parameter::zero_grad).
    pub fn backward_with(&self, gradient: Tensor) -> Result<(), QatError> {
        super::backward::check_gradient(&gradient, self.shape(), self.name(), || "its output".into())?;
        match &self.source {
            None => Err(QatError::NotTracked { name: self.name().into() }),
            Some(Source::Parameter(parameter)) => parameter.add_gradient(gradient),
            Some(Source::Slot(slot)) => {
                let mut state = self.tape.state();
                if state.used_up {
                    return Err(QatError::UsedUp { name: self.name().into() });
                }
                state.used_up = true;
                let records = std::mem::take(&mut state.records);
                let mut gradients = vec![None; state.slots];
                drop(state);
                gradients[*slot] = Some(gradient);
                super::backward::run(records, gradients)?;
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tracked = if self.is_tracked() { ", tracked" } else { "" };
        write!(f, "Var({} {:?}{tracked})", self.name, self.value)
    }
}
