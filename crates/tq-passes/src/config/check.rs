//! What is said of a configuration before any model is looked at.

use super::rules::Rules;
use crate::scheme::{Activation, Weights};
use crate::{Configuration, PassError, QConfig, QConfigDict, Rule};
use tq_observers::ObserverConfig;
use tq_qtypes::{DType, Granularity};

impl Configuration {
    /// Checks that every rule can be followed: known types, regular expressions that are some, observers that can be
    /// built and ask for what conversion can write.
    ///
    /// # Errors
    /// [`PassError::UnknownModuleType`], [`PassError::Regex`], [`PassError::Rule`], and [`PassError::Config`] naming the
    /// rule and what is wrong with it.
    pub fn validate(&self) -> Result<(), PassError> {
        self.dict.validate()
    }
}

impl QConfigDict {
    /// As [`Configuration::validate`].
    ///
    /// # Errors
    /// As [`Configuration::validate`].
    pub fn validate(&self) -> Result<(), PassError> {
        Rules::new(self)?;
        for (rule, qconfig) in self.rules() {
            let Some(qconfig) = qconfig else { continue };
            check(&rule, qconfig)?;
        }
        Ok(())
    }
}

fn check(rule: &Rule, qconfig: &QConfig) -> Result<(), PassError> {
    let fail = |part, message| Err(PassError::Config { rule: rule.clone(), part, message });
    let built = |part, observer: &ObserverConfig| {
        observer.build().map_err(|e| PassError::Config { rule: rule.clone(), part, message: e.to_string() })
    };
    built("activation", &qconfig.activation)?;
    built("weight", &qconfig.weight)?;
    if let Activation::Codes(spec) = Activation::of(&qconfig.activation) {
        if !is_code(spec.dtype) {
            let message =
                format!("{} is no type for codes of activations; those of 2 to 16 bits are", spec.dtype);
            return fail("activation", message);
        }
        if spec.granularity != Granularity::PerTensor {
            let message = "activations have one scale a tensor, not one a channel or group".into();
            return fail("activation", message);
        }
    }
    if let ObserverConfig::Placeholder { dtype: DType::U8, .. } = qconfig.weight {
        return fail("weight", "weights are constant: nothing about them is found at run time".into());
    }
    if let Weights::Codes(spec) = Weights::of(&qconfig.weight) {
        if !is_code(spec.dtype) {
            let message =
                format!("{} is no type for codes of weights; those of 2 to 16 bits are", spec.dtype);
            return fail("weight", message);
        }
        if let Granularity::PerChannel { axis: axis @ 1.. } = spec.granularity {
            let message = format!(
                "channel axis {axis}: axis 0 means the output channels, wherever an operator keeps them"
            );
            return fail("weight", message);
        }
        if let Granularity::PerGroup { axis: axis @ (0 | 2..), .. } = spec.granularity {
            let message = format!(
                "group axis {axis}: axis 1 means the input features, wherever an operator keeps them"
            );
            return fail("weight", message);
        }
    }
    Ok(())
}

/// Types of codes that QuantizeLinear writes, in integers.
fn is_code(dtype: DType) -> bool {
    dtype.quant_range().is_some() && dtype.bits() <= 16
}
