//! Marks of tensors that stay in float.

use crate::observer::check_len;
use crate::spec::add_counts;
use crate::{Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::{AffineParams, DType, DynamicFormula, QuantSpec};

/// Marks a tensor that is kept in a float type, or that gets its codes at run time, and looks at nothing.
///
/// On weights f16 and bf16 mean half-precision storage with f32 arithmetic. On activations u8 means codes whose
/// parameters follow from the data of every run. Infinities are fine here: the masks of attention are full of them.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceholderObserver {
    dtype: DType,
    formula: DynamicFormula,
    count: u64,
}

impl Default for PlaceholderObserver {
    /// Kept as f32.
    fn default() -> Self {
        Self::with_args(DType::F32)
    }
}

impl PlaceholderObserver {
    /// Kept as `dtype`; one that is not f16, bf16, f32 or u8 is an error when data comes or the configuration is built.
    #[must_use]
    pub const fn with_args(dtype: DType) -> Self {
        Self { dtype, formula: DynamicFormula::Onnx, count: 0 }
    }

    /// Activations that become u8 codes at run time, with parameters by `formula`.
    #[must_use]
    pub const fn at_run_time(formula: DynamicFormula) -> Self {
        Self { dtype: DType::U8, formula, count: 0 }
    }

    /// Kept as `dtype`.
    ///
    /// # Errors
    /// [`ObserverError::Setting`] unless that is f16, bf16, f32 or u8.
    pub fn new(dtype: DType) -> Result<Self, ObserverError> {
        let observer = Self::with_args(dtype);
        observer.check()?;
        Ok(observer)
    }

    /// The type the tensor is kept in.
    #[must_use]
    pub const fn dtype(&self) -> DType {
        self.dtype
    }

    fn check(&self) -> Result<(), ObserverError> {
        if matches!(self.dtype, DType::F16 | DType::BF16 | DType::F32 | DType::U8) {
            return Ok(());
        }
        let (observer, value) = ("placeholder", self.dtype.to_string());
        Err(ObserverError::Setting {
            observer,
            setting: "dtype",
            value,
            allowed: "it must be f16, bf16, f32, or u8 for codes made at run time",
        })
    }
}

/// Marks a tensor that is not quantized, and looks at nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NoOpObserver {
    count: u64,
}

impl NoOpObserver {
    /// The observer.
    #[must_use]
    pub const fn new() -> Self {
        Self { count: 0 }
    }
}

/// The trait for an observer that only counts.
macro_rules! observes_nothing {
    ($observer:ident, $name:literal, $state:ident, $check:expr, $config:expr) => {
        impl Observer for $observer {
            fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
                $check(self)?;
                check_len(data, dims)?;
                self.count = add_counts($name, self.count, data.len() as u64)?;
                Ok(())
            }

            fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
                Err(ObserverError::NoParams { observer: $name })
            }

            fn range(&self) -> Option<Range> {
                None
            }

            fn count(&self) -> u64 {
                self.count
            }

            fn spec(&self) -> Option<&QuantSpec> {
                None
            }

            fn config(&self) -> ObserverConfig {
                $config(self)
            }

            fn state(&self) -> ObserverState {
                ObserverState::$state { count: self.count }
            }

            fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
                let ObserverState::$state { count } = state else {
                    return Err(ObserverError::Merge { observer: $name, other: state.observer_name() });
                };
                self.count = add_counts($name, self.count, *count)?;
                Ok(())
            }

            fn reset(&mut self) {
                self.count = 0;
            }

            fn boxed_clone(&self) -> Box<dyn Observer> {
                Box::new(self.clone())
            }
        }
    };
}

observes_nothing!(
    PlaceholderObserver,
    "placeholder",
    Placeholder,
    PlaceholderObserver::check,
    |o: &PlaceholderObserver| ObserverConfig::Placeholder { dtype: o.dtype, formula: o.formula }
);
observes_nothing!(NoOpObserver, "no_op", NoOp, |_: &NoOpObserver| Ok::<(), ObserverError>(()), |_| {
    ObserverConfig::NoOp
});
