//! Everything that training changes in a model, as plain data.

use super::QatModel;
use super::conv_bn::Running;
use crate::fake::QuantizerState;
use crate::{Parameter, QatError};
use std::collections::BTreeMap;
use tq_graph::Tensor;

/// Everything that training changes in a [`QatModel`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelState {
    /// Values of parameters, by their names.
    pub parameters: BTreeMap<String, Tensor>,
    /// States of fake quantizers, in the order of [`QatModel::quantizers`].
    pub quantizers: Vec<QuantizerState>,
    /// Running means and variances, by the names of the normalizations with `.mean` and `.variance` after them.
    pub statistics: BTreeMap<String, Tensor>,
}

impl QatModel {
    /// What training has changed so far.
    #[must_use]
    pub fn state_dict(&self) -> ModelState {
        let parameters = self.parameters().iter().map(|p| (p.name().to_owned(), p.value())).collect();
        let mut statistics = BTreeMap::new();
        for norm in self.norms.values() {
            let running = norm.running();
            statistics.insert(format!("{}.mean", norm.name), Tensor::vector(running.mean.clone()));
            statistics.insert(format!("{}.variance", norm.name), Tensor::vector(running.variance.clone()));
        }
        ModelState { parameters, quantizers: self.quantizers().map(|q| q.state_dict()).collect(), statistics }
    }

    /// Becomes what a model of the same graph and configuration was.
    ///
    /// # Errors
    /// [`QatError::ModelState`], [`QatError::ParameterShape`], [`QatError::ParameterType`] and [`QatError::Observer`] for
    /// the state of another model; the model is as it was then.
    pub fn load_state_dict(&self, state: &ModelState) -> Result<(), QatError> {
        let before = self.state_dict();
        self.become_state(state).inspect_err(|_| {
            // What it was it can be again.
            let _ = self.become_state(&before);
        })
    }

    fn become_state(&self, state: &ModelState) -> Result<(), QatError> {
        let quantizers: Vec<_> = self.quantizers().collect();
        if quantizers.len() != state.quantizers.len() {
            let (ours, theirs) = (quantizers.len(), state.quantizers.len());
            return Err(QatError::ModelState(format!("{theirs} fake quantizers, the model has {ours}")));
        }
        for (quantizer, state) in quantizers.into_iter().zip(&state.quantizers) {
            quantizer.load_state_dict(state)?;
        }
        let parameters: BTreeMap<String, Parameter> =
            self.parameters().into_iter().map(|p| (p.name().to_owned(), p)).collect();
        if let Some(name) = state.parameters.keys().find(|name| !parameters.contains_key(*name)) {
            return Err(QatError::ModelState(format!("the model has no parameter {name}")));
        }
        for (name, parameter) in parameters {
            let Some(value) = state.parameters.get(&name) else {
                return Err(QatError::ModelState(format!("it has nothing of parameter {name}")));
            };
            parameter.set_value(value.clone())?;
        }
        if state.statistics.len() != 2 * self.norms.len() {
            let (ours, theirs) = (2 * self.norms.len(), state.statistics.len());
            return Err(QatError::ModelState(format!("{theirs} running statistics, the model has {ours}")));
        }
        for norm in self.norms.values() {
            let mut running = norm.running();
            let Running { mean, variance } = &mut *running;
            for (what, values) in [("mean", mean), ("variance", variance)] {
                let name = format!("{}.{what}", norm.name);
                match state.statistics.get(&name).map(Tensor::as_slice::<f32>).transpose()? {
                    Some(saved) if saved.len() == values.len() => values.copy_from_slice(saved),
                    _ => return Err(QatError::ModelState(format!("it has nothing that fits {name}"))),
                }
            }
        }
        Ok(())
    }
}
