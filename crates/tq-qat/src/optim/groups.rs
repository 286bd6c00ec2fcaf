//! What all optimisers keep: parameters, learning rates, moments.

use super::Schedule;
use crate::{Parameter, QatError};
use std::collections::BTreeMap;

/// What earlier gradients have left for one parameter.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moments {
    /// Steps taken.
    pub steps: u64,
    /// The moving average of gradients (the momentum buffer of SGD); empty before the first step that needs it.
    pub first: Vec<f32>,
    /// The moving average of squared gradients; empty where there is none.
    pub second: Vec<f32>,
}

/// The moments of all parameters, by their names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OptimizerState {
    /// One a parameter.
    pub moments: BTreeMap<String, Moments>,
}

/// Parameters with their learning rates and moments.
#[derive(Debug, Clone)]
pub(super) struct Groups {
    entries: Vec<(Parameter, Moments)>,
    base: f32,
    own: BTreeMap<String, f32>,
    /// Of single parameters, by their names.
    single: BTreeMap<String, f32>,
    schedule: Schedule,
    step: u64,
}

impl Groups {
    pub(super) fn new(parameters: impl IntoIterator<Item = Parameter>, lr: f32) -> Result<Self, QatError> {
        check("learning rate", lr)?;
        let entries: Vec<_> = parameters.into_iter().map(|p| (p, Moments::default())).collect();
        let mut names = std::collections::BTreeSet::new();
        if let Some((p, _)) = entries.iter().find(|(p, _)| !names.insert(p.name().to_owned())) {
            return Err(QatError::OptimizerState(format!("there are two parameters {}", p.name())));
        }
        Ok(Self {
            entries,
            base: lr,
            own: BTreeMap::new(),
            single: BTreeMap::new(),
            schedule: Schedule::Constant,
            step: 0,
        })
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        self.entries.iter().map(|(p, _)| p.clone()).collect()
    }

    pub(super) fn set_group_lr(&mut self, group: &str, lr: f32) -> Result<(), QatError> {
        check("learning rate", lr)?;
        self.own.insert(group.to_owned(), lr);
        Ok(())
    }

    pub(super) fn set_parameter_lr(&mut self, name: &str, lr: f32) -> Result<(), QatError> {
        check("learning rate", lr)?;
        if !self.entries.iter().any(|(p, _)| p.name() == name) {
            return Err(QatError::OptimizerState(format!("there is no parameter {name}")));
        }
        self.single.insert(name.to_owned(), lr);
        Ok(())
    }

    pub(super) fn schedule(&mut self, schedule: &Schedule, step: u64) {
        (self.schedule, self.step) = (schedule.clone(), step);
    }

    pub(super) fn lr(&self, group: &str) -> f32 {
        let base = self.own.get(group).copied().unwrap_or(self.base);
        self.schedule.lr(base, self.step)
    }

    /// Calls `update` with the learning rate, the values, the gradient and the moments of every parameter that has a
    /// gradient.
    pub(super) fn step(
        &mut self,
        update: impl Fn(f32, &mut [f32], &[f32], &mut Moments),
    ) -> Result<(), QatError> {
        super::clip::check_gradients(self.entries.iter().map(|(p, _)| p))?;
        for i in 0..self.entries.len() {
            let parameter = &self.entries[i].0;
            let lr = match self.single.get(parameter.name()) {
                Some(base) => self.schedule.lr(*base, self.step),
                None => self.lr(&parameter.group()),
            };
            let (parameter, moments) = &mut self.entries[i];
            parameter.update::<QatError>(|values, gradient| {
                if let Some(gradient) = gradient {
                    moments.steps += 1;
                    update(lr, values, gradient, moments);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn state_dict(&self) -> OptimizerState {
        let moments = self.entries.iter().map(|(p, m)| (p.name().to_owned(), m.clone()));
        OptimizerState { moments: moments.collect() }
    }

    pub(super) fn load_state_dict(&mut self, state: &OptimizerState) -> Result<(), QatError> {
        let fail = |message: String| Err(QatError::OptimizerState(message));
        if state.moments.len() != self.entries.len() {
            return fail(format!("{} parameters, the state has {}", self.entries.len(), state.moments.len()));
        }
        let mut next = Vec::with_capacity(self.entries.len());
        for (p, _) in &self.entries {
            let Some(moments) = state.moments.get(p.name()) else {
                return fail(format!("it has nothing of parameter {}", p.name()));
            };
            let len = p.dims().iter().product::<usize>();
            if let Some(got) =
                [&moments.first, &moments.second].iter().find(|m| !m.is_empty() && m.len() != len)
            {
                return fail(format!("parameter {} has {len} elements, the state {}", p.name(), got.len()));
            }
            next.push((p.clone(), moments.clone()));
        }
        self.entries = next;
        Ok(())
    }
}

/// [`QatError::Hyperparameter`] unless `value` is finite and not below 0.
pub(super) fn check(what: &'static str, value: f32) -> Result<(), QatError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(QatError::Hyperparameter { what, value, allowed: "it is finite and not below 0" })
}

/// [`QatError::Hyperparameter`] unless `value` is at least 0 and below 1.
pub(super) fn check_decay(what: &'static str, value: f32) -> Result<(), QatError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(QatError::Hyperparameter { what, value, allowed: "it is at least 0 and below 1" })
}

/// What all optimisers hand on to [`Groups`].
macro_rules! by_groups {
    () => {
        fn parameters(&self) -> Vec<$crate::Parameter> {
            self.groups.parameters()
        }

        fn set_group_lr(&mut self, group: &str, lr: f32) -> Result<(), $crate::QatError> {
            self.groups.set_group_lr(group, lr)
        }

        fn set_parameter_lr(&mut self, name: &str, lr: f32) -> Result<(), $crate::QatError> {
            self.groups.set_parameter_lr(name, lr)
        }

        fn schedule(&mut self, schedule: &$crate::optim::Schedule, step: u64) {
            self.groups.schedule(schedule, step);
        }

        fn lr(&self, group: &str) -> f32 {
            self.groups.lr(group)
        }

        fn state_dict(&self) -> $crate::optim::OptimizerState {
            self.groups.state_dict()
        }

        fn load_state_dict(&mut self, state: &$crate::optim::OptimizerState) -> Result<(), $crate::QatError> {
            self.groups.load_state_dict(state)
        }
    };
}
pub(super) use by_groups;
