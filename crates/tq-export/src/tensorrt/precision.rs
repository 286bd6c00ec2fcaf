//! What TensorRT is to compute in, and which models go with it.

use crate::{ExportError, NodeLint, Outcome, Target, Version};
use std::fmt;
use std::str::FromStr;
use tq_graph::{Graph, Node, Op};
use tq_onnx::WeightForm;
use tq_qtypes::DType;

/// What TensorRT is to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 8-bit integers: signed symmetric codes.
    #[default]
    Int8,
    /// Half precision: no codes, weights in f16. Whether products are made in half precision is for TensorRT's builder to
    /// say (`--fp16`).
    Fp16,
    /// 8-bit floats: every pair has codes of the type `f8e4m3fn`.
    Fp8,
    /// 4-bit weights, in blocks or by channel, and float activations.
    Int4WeightOnly,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 4] =
        [Precision::Int8, Precision::Fp16, Precision::Fp8, Precision::Int4WeightOnly];

    /// The name, as TensorRT's users write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Precision::Int8 => "INT8",
            Precision::Fp16 => "FP16",
            Precision::Fp8 => "FP8",
            Precision::Int4WeightOnly => "INT4",
        }
    }

    /// The version that files are for where none is asked for: 4-bit codes need operator set 21, which 10 does not read.
    #[must_use]
    pub const fn target(self) -> Target {
        match self {
            Precision::Int4WeightOnly => Target::TensorRt { version: Version { major: 11, minor: 0 } },
            _ => Target::TENSORRT,
        }
    }

    /// How constant codes are written: 4-bit ones as they are, all others as the target likes them.
    pub(super) const fn weights(self) -> Option<WeightForm> {
        match self {
            Precision::Int4WeightOnly => Some(WeightForm::Codes),
            _ => None,
        }
    }

    /// The nodes that do not go with it. The graph has its types.
    pub(super) fn refused(self, graph: &Graph) -> Vec<NodeLint> {
        let refuse = |node: &Node, reason: String| NodeLint {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            outcome: Outcome::Refused,
            rule: "trt-precision".into(),
            reason,
        };
        let found = graph.nodes.iter().filter_map(|n| Some(refuse(n, self.objection(graph, n)?)));
        found.collect()
    }

    /// What speaks against a node.
    fn objection(self, graph: &Graph, node: &Node) -> Option<String> {
        let dtype = |v: Option<tq_graph::ValueId>| v.and_then(|v| graph.value(v).dtype);
        let codes = match node.op {
            Op::QuantizeLinear { .. } => dtype(node.output(0)),
            Op::DequantizeLinear { .. } => dtype(node.input(0)),
            _ => None,
        };
        match (self, codes) {
            // Biases are 32-bit codes, and become floats in the file.
            (Precision::Int8, Some(codes)) => {
                (!matches!(codes, DType::I8 | DType::I32)).then(|| format!("codes are i8, these are {codes}"))
            }
            (Precision::Int8, None) => None,
            (Precision::Fp16, Some(codes)) => Some(format!("half precision has no codes, these are {codes}")),
            (Precision::Fp16, None) => {
                let weighted =
                    matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } | Op::MatMul);
                let weights = node.input(1).filter(|_| weighted).and_then(|v| graph.constant(v))?;
                (weights.dtype() == DType::F32).then(|| "its weights are f32, not f16".into())
            }
            (Precision::Fp8, Some(codes)) => {
                (codes != DType::F8E4M3FN).then(|| format!("codes are f8e4m3fn, these are {codes}"))
            }
            (Precision::Int4WeightOnly, Some(codes)) => {
                let constant = node.input(0).is_some_and(|v| graph.constant(v).is_some());
                match (codes, constant) {
                    (DType::I4, true) => None,
                    (DType::I4, false) => Some("weights alone are codes".into()),
                    (codes, _) => Some(format!("weights alone are codes, of i4; these are {codes}")),
                }
            }
            (_, None) => None,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = ExportError;

    /// One of the names, in letters of any case.
    fn from_str(text: &str) -> Result<Self, ExportError> {
        let found = Self::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| ExportError::Unknown {
            what: "precision",
            given: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}
