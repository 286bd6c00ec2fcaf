//! The table of rules. Of those of a target the first one that speaks of a node decides; where none does, an operator
//! that the view of quantized operators has computes in integers, and any other node does not.

use super::checks::*;
use super::{Outcome, Place, Subject};
use crate::Target;

/// What a rule decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The node is refused.
    Refused,
    /// The node computes in float.
    Float,
    /// The node computes in integers, though it has no form of a quantized operator.
    Integer,
    /// The node moves codes.
    Moved,
}

impl Verdict {
    /// What it makes of a node.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self {
            Verdict::Refused => Outcome::Refused,
            Verdict::Float => Outcome::Float,
            Verdict::Integer => Outcome::Integer,
            Verdict::Moved => Outcome::Moved,
        }
    }
}

/// One rule.
pub struct Rule {
    /// Its name.
    pub id: &'static str,
    /// The targets that have it.
    pub(crate) target: fn(&Target) -> bool,
    /// Which targets these are, in words.
    pub targets: &'static str,
    /// What it looks at.
    pub looks_at: &'static str,
    /// What it decides.
    pub verdict: Verdict,
    /// The reason it gives.
    pub words: &'static str,
    /// Where it is known from.
    pub source: &'static str,
    /// Whether it speaks of a node; the text says what it found, if there is more to say.
    pub(crate) check: fn(&Subject<'_>, &Place<'_>) -> Option<String>,
}

const fn any(_: &Target) -> bool {
    true
}
const fn ort(t: &Target) -> bool {
    matches!(t, Target::OnnxRuntime { .. })
}
const fn trt(t: &Target) -> bool {
    matches!(t, Target::TensorRt { .. })
}
const fn not_trt(t: &Target) -> bool {
    !trt(t)
}
const fn not_onnx(t: &Target) -> bool {
    !matches!(t, Target::Onnx)
}
const fn tract(t: &Target) -> bool {
    matches!(t, Target::Tract)
}

const ORT: &str = "onnxruntime";
const TRT: &str = "tensorrt";
const TRACT: &str = "tract";
const MEASURED: &str = "measured on ONNX Runtime 1.32, CPU, extended optimizations";
const PARSER: &str = "onnx-tensorrt 10.1, parser sources";
const TRACT_DOC: &str = "sources of tract-onnx 0.23";

/// All rules.
pub const RULES: &[Rule] = &[
    Rule {
        id: "opset",
        target: any,
        targets: "all",
        looks_at: "the operator set of the file",
        verdict: Verdict::Refused,
        words: "the target reads no operator set this high",
        source: "tables of versions of the targets; opset 25 measured on ONNX Runtime 1.32",
        check: opset_too_high,
    },
    // TensorRT: what its parser refuses.
    Rule {
        id: "trt-qlinear",
        target: trt,
        targets: TRT,
        looks_at: "DynamicQuantizeLinear, QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger",
        verdict: Verdict::Refused,
        words: "the parser has no such operator",
        source: PARSER,
        check: integer_operator,
    },
    Rule {
        id: "trt-type",
        target: trt,
        targets: TRT,
        looks_at: "the type of codes",
        verdict: Verdict::Refused,
        words: "codes are signed 8-bit or 4-bit integers, or 8-bit floats",
        source: PARSER,
        check: trt_type,
    },
    Rule {
        id: "trt-parameters",
        target: trt,
        targets: TRT,
        looks_at: "scales and zero points that are not constant",
        verdict: Verdict::Refused,
        words: "scale and zero point must be constant",
        source: PARSER,
        check: parameters_not_constant,
    },
    Rule {
        id: "trt-zero-point",
        target: trt,
        targets: TRT,
        looks_at: "zero points",
        verdict: Verdict::Refused,
        words: "only symmetric quantization is read",
        source: PARSER,
        check: zero_point,
    },
    Rule {
        id: "trt-scale",
        target: trt,
        targets: TRT,
        looks_at: "scales",
        verdict: Verdict::Refused,
        words: "scales must be positive and finite",
        source: PARSER,
        check: scale_not_positive,
    },
    Rule {
        id: "trt-per-channel-activation",
        target: trt,
        targets: TRT,
        looks_at: "scales by channel of values that are not constant",
        verdict: Verdict::Refused,
        words: "activations have one scale a tensor",
        source: PARSER,
        check: per_channel_activation,
    },
    Rule {
        id: "trt-int4",
        target: trt,
        targets: TRT,
        looks_at: "the last axis of 4-bit codes",
        verdict: Verdict::Refused,
        words: "the last axis of 4-bit codes must be even",
        source: PARSER,
        check: odd_int4,
    },
    Rule {
        id: "ort-dilated-pool",
        target: ort,
        targets: ORT,
        looks_at: "AveragePool with dilations between Dequantize and Quantize",
        verdict: Verdict::Refused,
        words: "its integer pool has no dilations, and the file does not load with extended optimizations",
        source: MEASURED,
        check: ort_dilated_pool,
    },
    Rule {
        id: "ort-int2",
        target: ort,
        targets: ORT,
        looks_at: "2-bit weights of convolutions and linear layers that become one operator on codes",
        verdict: Verdict::Refused,
        words: "its integer kernels have no 2-bit weights, and the file does not load with extended optimizations",
        source: MEASURED,
        check: ort_int2,
    },
    Rule {
        id: "ort-reshaped-i8",
        target: ort,
        targets: ORT,
        looks_at: "from operator set 21 on MatMul of known sizes over three axes or more and i8 activations, to which alone a bias is added",
        verdict: Verdict::Refused,
        words: "it is reshaped for a Gemm, with u8 zero points for i8 codes, and the file does not load with extended optimizations",
        source: MEASURED,
        check: ort_reshaped_i8,
    },
    // Operators on codes, as the QOperator form has them.
    Rule {
        id: "integer-operator",
        target: not_trt,
        targets: "all but tensorrt",
        looks_at: "QLinearConv, QLinearMatMul, ConvInteger, MatMulInteger, and MaxPool on codes",
        verdict: Verdict::Integer,
        words: "computes on codes",
        source: "ONNX operators, opset 25",
        check: operator_on_codes,
    },
    // tract: everything between Quantize and Dequantize is float.
    Rule {
        id: "tract-blocks",
        target: tract,
        targets: TRACT,
        looks_at: "scales by block",
        verdict: Verdict::Refused,
        words: "scales by block are not read",
        source: TRACT_DOC,
        check: blocks,
    },
    Rule {
        id: "tract-float",
        target: tract,
        targets: TRACT,
        looks_at: "operators between Dequantize and Quantize",
        verdict: Verdict::Float,
        words: "computed in float between Dequantize and Quantize, which multiplies by 1/scale (codes may differ by one)",
        source: TRACT_DOC,
        check: computes_on_codes,
    },
    // ONNX Runtime: what its optimizer fuses, in the order in which it looks.
    Rule {
        id: "ort-nbits",
        target: ort,
        targets: ORT,
        looks_at: "MatMul and Gemm of floats with constant 4- or 8-bit weights of one scale, one a column, or one a block of them",
        verdict: Verdict::Integer,
        words: "becomes MatMulNBits",
        source: MEASURED,
        check: ort_nbits,
    },
    Rule {
        id: "ort-softmax",
        target: ort,
        targets: ORT,
        looks_at: "Softmax between Dequantize and Quantize",
        verdict: Verdict::Integer,
        words: "becomes QLinearSoftmax",
        source: MEASURED,
        check: ort_softmax,
    },
    Rule {
        id: "ort-where",
        target: ort,
        targets: ORT,
        looks_at: "Where between Dequantize and Quantize, a single constant on one side at most",
        verdict: Verdict::Integer,
        words: "becomes QLinearWhere",
        source: MEASURED,
        check: ort_where,
    },
    Rule {
        id: "ort-bias-behind",
        target: ort,
        targets: ORT,
        looks_at: "MatMul of known sizes with a float result, to which alone a bias is added",
        verdict: Verdict::Float,
        words: "becomes a Gemm with a float bias and a float result",
        source: MEASURED,
        check: ort_bias_behind,
    },
    Rule {
        id: "ort-recurrent",
        target: ort,
        targets: ORT,
        looks_at: "LSTM, GRU and RNN that quantize their data at run time",
        verdict: Verdict::Float,
        words: "ONNX has no words for it: runs in float on dequantized weights",
        source: "ONNX operators, opset 25",
        check: recurrent,
    },
    Rule {
        id: "ort-no-kernel",
        target: ort,
        targets: ORT,
        looks_at: "operators without a QLinear kernel",
        verdict: Verdict::Float,
        words: "there is no integer kernel",
        source: MEASURED,
        check: ort_no_kernel,
    },
    Rule {
        id: "ort-table",
        target: ort,
        targets: ORT,
        looks_at: "functions of one code other than Sigmoid, LeakyRelu, and a sum or product with a constant",
        verdict: Verdict::Float,
        words: "there is no integer kernel for this function",
        source: MEASURED,
        check: ort_table,
    },
    Rule {
        id: "ort-float-output",
        target: ort,
        targets: ORT,
        looks_at: "convolutions whose result is not quantized",
        verdict: Verdict::Float,
        words: "a convolution is fused only where its result is quantized",
        source: MEASURED,
        check: ort_float_output,
    },
    Rule {
        id: "ort-bias-scale",
        target: ort,
        targets: ORT,
        looks_at: "32-bit biases whose scale is not that of input times weights",
        verdict: Verdict::Float,
        words: "the scale of the bias is not input scale times weight scale",
        source: MEASURED,
        check: ort_bias_scale,
    },
    Rule {
        id: "ort-gemm-bias",
        target: ort,
        targets: ORT,
        looks_at: "Gemm with a float bias and a float result",
        verdict: Verdict::Float,
        words: "a Gemm with a float result is fused only where its bias is 32-bit codes, or absent",
        source: MEASURED,
        check: ort_gemm_bias,
    },
    Rule {
        id: "ort-clamp",
        target: ort,
        targets: ORT,
        looks_at: "a Relu or Clip before the Quantize that cuts off codes",
        verdict: Verdict::Float,
        words: "the clamp between it and its Quantize cuts off codes, so the two are not fused",
        source: MEASURED,
        check: ort_clamp,
    },
    Rule {
        id: "ort-types",
        target: ort,
        targets: ORT,
        looks_at: "mixed types of codes, and i8 activations that are read more than once, with weights",
        verdict: Verdict::Float,
        words: "input and output, or signed input and weights, have different types of codes",
        source: MEASURED,
        check: ort_types,
    },
    Rule {
        id: "ort-reduce-mean",
        target: ort,
        targets: ORT,
        looks_at: "ReduceMean",
        verdict: Verdict::Float,
        words: "there is no integer kernel for means over chosen axes",
        source: MEASURED,
        check: ort_reduce_mean,
    },
    Rule {
        id: "moved",
        target: any,
        targets: "all",
        looks_at: "operators that move codes",
        verdict: Verdict::Moved,
        words: "moves codes",
        source: "the operators themselves",
        check: moves_codes,
    },
    Rule {
        id: "no-integer-kernel",
        target: any,
        targets: "all",
        looks_at: "the target's table of operators",
        verdict: Verdict::Float,
        words: "the target computes this in float",
        source: "the profile of the target",
        check: not_in_profile,
    },
    Rule {
        id: "float-requantization",
        target: not_onnx,
        targets: "all but onnx",
        looks_at: "products on codes of a model that requantizes in fixed point",
        verdict: Verdict::Integer,
        words: "computes on codes, and requantizes in float: codes near the middle of two are others than in fixed point",
        source: "the metadata entry that asks for it is ours alone",
        check: fixed_point,
    },
];
