//! Dynamic quantization: weights now, activations while the network runs.

use crate::config::presets::{default_dynamic_qconfig, fp16_qconfig};
use crate::module_type::{GRU, LSTM, Linear, ModuleType, RNN};
use crate::{BackendConfig, PassError, QConfig, QConfigDict, Quantized, convert, quantize_fx};
use tq_graph::Graph;
use tq_qtypes::DType;

/// Which layers [`quantize_dynamic`] quantizes: a set of module types, or rules.
///
/// The default is the set `Linear`, `LSTM`, `GRU`, `RNN`. A tuple of module types is a set; so are rules that say for
/// each layer how it is quantized.
///
/// ```
/// use tq_passes::module_type::{GRU, LSTM, Linear};
/// use tq_passes::{DynamicSpec, QConfigDict, default_dynamic_qconfig};
/// let set = DynamicSpec::from((Linear, LSTM, GRU));
/// let rules = QConfigDict::new()
///     .set_module_type::<Linear>(default_dynamic_qconfig())
///     .set_module_name("classifier", None);
/// assert_ne!(set, DynamicSpec::from(rules));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum DynamicSpec {
    /// Layers of these types, all in the way that the type of the weights asks for.
    Types(Vec<&'static str>),
    /// Layers as rules say.
    Rules(QConfigDict),
}

impl Default for DynamicSpec {
    fn default() -> Self {
        (Linear, LSTM, GRU, RNN).into()
    }
}

impl From<QConfigDict> for DynamicSpec {
    fn from(dict: QConfigDict) -> Self {
        DynamicSpec::Rules(dict)
    }
}

impl From<QConfig> for DynamicSpec {
    /// One rule for everything.
    fn from(qconfig: QConfig) -> Self {
        DynamicSpec::Rules(qconfig.into())
    }
}

macro_rules! sets {
    ($(($($t:ident),+))*) => {$(
        impl<$($t: ModuleType),+> From<($($t,)+)> for DynamicSpec {
            /// The set of these types.
            fn from(_: ($($t,)+)) -> Self {
                DynamicSpec::Types(vec![$($t::NAME),+])
            }
        }
    )*};
}
sets! { (A) (A, B) (A, B, C) (A, B, C, D) (A, B, C, D, E) (A, B, C, D, E, F) }

/// Quantizes a model whose activations get their parameters at run time, from the data of every run. No calibration.
///
/// `dtype` is the type of the weights where `qconfig_spec` names types alone: [`DType::I8`] for
/// [`default_dynamic_qconfig`], [`DType::F16`] for weights in half precision. Rules say it themselves.
///
/// A linear layer becomes `DynamicQuantizeLinear`, `MatMulInteger`, `Cast`, `Mul` and `Add`; a convolution, where its type or
/// a rule of its own names it, the same with `ConvInteger`. A recurrent layer keeps its operator, with weights behind `DequantizeLinear`, and is marked as one that quantizes its data and, in every step, its
/// state ([`tq_graph::op::RecurrentAttrs::dynamic`]). Layers under rules that ask for calibration cannot be converted
/// here: [`quantize_fx`] takes rules of both kinds.
///
/// # Errors
/// [`PassError::DynamicType`] for another `dtype`, [`PassError::NoCalibrationData`] where a rule asks for calibration, and
/// those of [`quantize_fx`].
///
/// ```
/// use tq_graph::{Graph, Op, Tensor, dim::shape_of};
/// use tq_passes::module_type::{GRU, LSTM, Linear};
/// use tq_passes::quantize_dynamic;
/// use tq_qtypes::DType;
/// let mut model = Graph::new("net");
/// let x = model.add_input("x", DType::F32, shape_of(&[2, 4]));
/// let w = model.add_constant("w", Tensor::new(&[4, 3], (0..12).map(|i| i as f32 / 12.0 - 0.4).collect())?);
/// let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
/// model.outputs.push(y);
/// let quantized = quantize_dynamic(model, (Linear, LSTM, GRU), DType::I8)?;
/// assert!(quantized.graph.nodes.iter().any(|n| n.op == Op::MatMulInteger));
/// assert_eq!(quantized.report.integer_nodes().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_dynamic(
    model: Graph,
    qconfig_spec: impl Into<DynamicSpec>,
    dtype: DType,
) -> Result<Quantized, PassError> {
    let dict = match qconfig_spec.into() {
        DynamicSpec::Rules(dict) => dict,
        DynamicSpec::Types(types) => {
            let qconfig = match dtype {
                DType::I8 => default_dynamic_qconfig(),
                DType::F16 => fp16_qconfig(),
                other => return Err(PassError::DynamicType(other)),
            };
            let set = |dict: QConfigDict, name: &str| dict.set_module_type_name(name, qconfig.clone());
            types.into_iter().fold(QConfigDict::new(), set)
        }
    };
    convert(quantize_fx(model, dict, BackendConfig::default())?)
}
