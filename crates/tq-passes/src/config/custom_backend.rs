//! Backends of one's own.

use super::backend::BackendConfig;
use crate::PassError;
use crate::names::{did_you_mean, most_like};
use std::sync::Arc;
use tq_kernels::KernelLibrary;
use tq_qtypes::{CapabilityTable, DType, OperatorKind as Kind, OperatorSupport};

/// PyTorch's names of quantized operators, and what they are in a capability table.
const OPERATORS: &[(&str, &[Kind])] = &[
    ("quantized::linear", &[Kind::Linear]),
    ("quantized::linear_relu", &[Kind::Linear]),
    ("quantized::conv1d", CONVOLUTIONS),
    ("quantized::conv1d_relu", CONVOLUTIONS),
    ("quantized::conv2d", CONVOLUTIONS),
    ("quantized::conv2d_relu", CONVOLUTIONS),
    ("quantized::conv3d", CONVOLUTIONS),
    ("quantized::conv3d_relu", CONVOLUTIONS),
    ("quantized::add", &[Kind::Add]),
    ("quantized::add_relu", &[Kind::Add]),
    ("quantized::sub", &[Kind::Sub]),
    ("quantized::mul", &[Kind::Mul]),
    ("quantized::mul_relu", &[Kind::Mul]),
    ("quantized::cat", &[Kind::Concat]),
    ("quantized::max_pool2d", &[Kind::MaxPool]),
    ("quantized::avg_pool2d", &[Kind::AveragePool]),
    ("quantized::adaptive_avg_pool2d", &[Kind::AveragePool]),
    ("quantized::hardswish", &[Kind::Lookup]),
    ("quantized::sigmoid", &[Kind::Lookup]),
    ("quantized::elu", &[Kind::Lookup]),
    ("quantized::leaky_relu", &[Kind::Lookup]),
];

const CONVOLUTIONS: &[Kind] = &[Kind::Conv, Kind::DepthwiseConv];

/// A backend of one's own: the operators that it takes, by PyTorch's names, and the kernels that run them.
///
/// [`CustomBackend::config`] is what `quantize_fx` asks; what is not among the operators stays in float, with that as
/// the reason. The library goes to the session; what it lacks the scalar kernels run, and the session's explanation says
/// so. The operators take u8 and i8 activations and weights, with one scale a tensor or a channel.
///
/// A name stands for a family: `conv1d`, `conv2d` and `conv3d` for convolutions over any number of axes, an activation
/// function for every function of one code, and `_relu` needs no name, as clamps are part of the operator before them.
/// Operators that only move codes (reshape, transpose and their like) are always taken: they need no kernel.
///
/// ```
/// use tq_kernels::ScalarLibrary;
/// use tq_passes::CustomBackend;
/// use tq_qtypes::{DType, OperatorKind};
/// let backend = CustomBackend::new()
///     .supported_ops(["quantized::linear", "quantized::conv2d"])
///     .kernel_library(ScalarLibrary::new());
/// let config = backend.config()?;
/// assert!(config.operators.supports(OperatorKind::Conv, DType::U8, Some(DType::I8)));
/// assert!(!config.operators.supports(OperatorKind::Add, DType::U8, None));
/// # Ok::<(), tq_passes::PassError>(())
/// ```
#[derive(Debug, Clone)]
pub struct CustomBackend {
    name: String,
    operators: Vec<String>,
    library: Option<Arc<dyn KernelLibrary>>,
}

impl Default for CustomBackend {
    fn default() -> Self {
        Self { name: "custom".into(), operators: Vec::new(), library: None }
    }
}

impl CustomBackend {
    /// A backend named "custom" that takes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this name in messages.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// These operators too, by PyTorch's names (`"quantized::linear"`). Checked by [`CustomBackend::config`].
    #[must_use]
    pub fn supported_ops<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.operators.extend(names.into_iter().map(Into::into));
        self
    }

    /// With these kernels.
    #[must_use]
    pub fn kernel_library(mut self, library: impl KernelLibrary + 'static) -> Self {
        self.library = Some(Arc::new(library));
        self
    }

    /// The kernels, for the options of a session; `None` where none were given.
    #[must_use]
    pub fn library(&self) -> Option<Arc<dyn KernelLibrary>> {
        self.library.clone()
    }

    /// Which operators take which types, for `quantize_fx`.
    ///
    /// # Errors
    /// [`PassError::UnknownOperator`] for a name that is none.
    pub fn config(&self) -> Result<BackendConfig, PassError> {
        let mut kinds = vec![Kind::Movement];
        for name in &self.operators {
            let Some((_, found)) = OPERATORS.iter().find(|(known, _)| known == name) else {
                let hint = did_you_mean(&most_like(name, OPERATORS.iter().map(|(known, _)| *known)));
                return Err(PassError::UnknownOperator {
                    backend: self.name.clone(),
                    name: name.clone(),
                    hint,
                });
            };
            kinds.extend(*found);
        }
        kinds.sort_unstable();
        kinds.dedup();
        let codes = vec![DType::U8, DType::I8];
        let row = |kind: Kind| OperatorSupport {
            kind,
            activations: codes.clone(),
            weights: if kind.has_weights() { codes.clone() } else { Vec::new() },
            per_channel_weights: kind.has_weights(),
        };
        Ok(BackendConfig::new(self.name.clone(), CapabilityTable::new(kinds.into_iter().map(row).collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_operator_is_named_with_what_may_have_been_meant() {
        let error = CustomBackend::new().supported_ops(["quantized::conv2"]).config().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"quantized::conv2\"") && text.contains("quantized::conv2d"), "{text}");
    }

    #[test]
    fn each_operator_has_one_row() {
        let names = OPERATORS.iter().map(|(name, _)| *name);
        let config = CustomBackend::new().supported_ops(names).config().unwrap();
        let mut kinds: Vec<Kind> = config.operators.rows().iter().map(|r| r.kind).collect();
        let all = kinds.len();
        kinds.dedup();
        assert_eq!(kinds.len(), all);
        assert_eq!(all, 11);
    }
}
