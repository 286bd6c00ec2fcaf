//! Quantization of neural networks: take a trained float model, calibrate it on data, run it in integers, compare it
//! with the original, and write it for other runtimes.
//!
//! This crate is the door to the workspace: it re-exports what a user needs and holds no logic of its own.
//!
//! * [`prelude`]: what static quantization needs.
//! * [`model`]: graphs and tensors; reading ONNX files, building models from layers.
//! * [`qconfig`]: configurations and observers.
//! * [`ptq`]: fusion, calibration, conversion.
//! * [`runtime`]: sessions on integer kernels, and the reference evaluator.
//! * [`backends`]: which kernels there are, and those of one's own.
//! * [`analysis`]: accuracy, output error, size and latency against the float model.
//! * [`debug`]: what the observers of a prepared model have seen, and which layers of a quantized one err.
//! * [`qat`]: training with fake quantization.
//! * [`export`]: native files, ONNX files for other runtimes and what these make of them, TensorRT, safetensors files.
//!
//! # Static quantization
//!
//! A model usually comes from a file, by [`prelude::load_model`]; here it is built, so that this runs as it stands.
//!
//! ```
//! use torsh_quantization::model::{Dim, op::{Op, UnaryOp}};
//! use torsh_quantization::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut model = Graph::new("net");
//! let x = model.add_input("x", DType::F32, vec![Dim::symbol("N"), 4usize.into()]);
//! let w = model.add_constant("w", Tensor::new(&[4, 3], (0..12).map(|i| i as f32 / 12.0 - 0.4).collect())?);
//! let h = model.add_node("linear", Op::MatMul, &[x, w], "h");
//! let y = model.add_node("relu", Op::Unary(UnaryOp::Relu), &[h], "y");
//! model.outputs.push(y);
//!
//! // Prepare the model for calibration.
//! let prepared = prepare_static(
//!     model,
//!     QuantConfig::default().backend(Backend::FBGEMM).observer(MinMaxObserver::default()),
//! )?;
//!
//! // Calibrate with representative data.
//! let calibration = [Tensor::new(&[2, 4], vec![0.1f32, -0.5, 2.0, 0.0, 1.0, -1.0, 0.3, 0.7])?];
//! for batch in &calibration {
//!     prepared.forward(batch)?;
//! }
//!
//! // Convert to the quantized model, and run it.
//! let quantized = convert(prepared)?;
//! let session = Session::new(&quantized.graph, SessionOptions::default())?;
//! let outputs = session.run(&calibration)?;
//! assert_eq!(outputs[0].dims(), [2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! # Dynamic quantization
//!
//! Without calibration: activations of linear and recurrent layers get their parameters from the data of every run.
//!
//! ```
//! use torsh_quantization::model::Op;
//! use torsh_quantization::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut model = Graph::new("net");
//! # let x = model.add_input("x", DType::F32, vec![2usize.into(), 4usize.into()]);
//! # let w = model.add_constant("w", Tensor::new(&[4, 3], (0..12).map(|i| i as f32 / 12.0 - 0.4).collect())?);
//! # let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
//! # model.outputs.push(y);
//! let dynamic_quantized = quantize_dynamic(
//!     model,
//!     QConfigDict::new()
//!         .set_module_type::<Linear>(default_dynamic_qconfig())
//!         .set_module_type::<LSTM>(default_dynamic_qconfig()),
//!     DType::I8,
//! )?;
//! let session = Session::new(&dynamic_quantized.graph, SessionOptions::default())?;
//! let outputs = session.run(&[Tensor::new(&[2, 4], vec![0.1f32, -0.5, 2.0, 0.0, 1.0, -1.0, 0.3, 0.7])?])?;
//! assert_eq!(outputs[0].dims(), [2, 3]);
//! # Ok(())
//! # }
//! ```
//!
//! # On a device
//!
//! A program that only runs models needs the native file and the runtime, which is what is left of this crate with
//! `default-features = false, features = ["runtime"]`: no import, no quantization, no analysis.
//!
//! ```
//! use torsh_quantization::export::{load, save};
//! use torsh_quantization::runtime::{Session, SessionOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # use torsh_quantization::model::{DType, Graph, Op, Tensor, op::UnaryOp};
//! # let mut model = Graph::new("net");
//! # let x = model.add_input("x", DType::F32, vec![2usize.into()]);
//! # let y = model.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
//! # model.outputs.push(y);
//! # let file = std::env::temp_dir().join(format!("torsh-doc-{}.tq", std::process::id()));
//! # let path = file.as_path();
//! save(&model, path)?;
//! let session = Session::new(&load(path)?, SessionOptions::default())?;
//! # std::fs::remove_file(path)?;
//! let outputs = session.run(&[Tensor::vector(vec![-1.0f32, 2.0])])?;
//! assert_eq!(outputs[0].as_slice::<f32>()?, [0.0, 2.0]);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

/// What static quantization needs.
pub mod prelude {
    #[cfg(feature = "full")]
    pub use tq_analysis::{CompareOptions, Dataset, Preprocess, compare_models};
    pub use tq_graph::{Graph, Tensor};
    #[cfg(feature = "full")]
    pub use tq_observers::{MinMaxObserver, Observer, PerChannelMinMaxObserver};
    #[cfg(feature = "full")]
    pub use tq_onnx::import as load_model;
    #[cfg(feature = "full")]
    pub use tq_passes::module_type::{GRU, LSTM, Linear, RNN};
    #[cfg(feature = "full")]
    pub use tq_passes::{
        Backend, DynamicSpec, Prepared, QConfigDict, QuantConfig, Quantized, Requantization, convert,
        default_dynamic_qconfig, prepare_static, pytorch_dynamic_qconfig, quantize_dynamic,
    };
    pub use tq_qtypes::DType;
    pub use tq_runtime::{Session, SessionOptions};
}

/// Models, the tensors they take, and reading them from ONNX files.
pub mod model {
    /// A graph, as users of other frameworks call it: `Model::builder()`.
    pub use tq_graph::Graph as Model;
    pub use tq_graph::builder;
    pub use tq_graph::{
        Dim, Element, Graph, GraphError, Node, NodeId, Op, Shape, Tensor, Value, ValueId, infer, op, qdq,
    };
    #[cfg(feature = "full")]
    pub use tq_onnx::{OnnxError, UnsupportedItem, import as load_model, import_bytes as load_model_bytes};
    pub use tq_qtypes::DType;
}

/// What is asked of quantization: configurations and observers, as plain data.
#[cfg(feature = "full")]
pub mod qconfig {
    pub use tq_observers::{
        EntropyObserver, FixedQParamsObserver, HistogramObserver, MinMaxObserver, Mode,
        MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, MseObserver, NoOpObserver,
        Observer, ObserverConfig, ObserverError, ObserverState, PerChannelMinMaxObserver,
        PerGroupMinMaxObserver, PercentileObserver, PlaceholderObserver, Range, RecordingObserver, Sampled,
    };
    pub use tq_passes::module_type::*;
    pub use tq_passes::{
        Backend, BackendConfig, CodeRange, Configuration, CustomBackend, GroupWiseQuantConfig, QConfig,
        QConfigDict, QuantConfig, Recipe, Requantization, Rule, bf16_qconfig, default_dynamic_qconfig,
        default_per_channel_weight_observer, default_weight_observer, fp16_qconfig, get_default_qconfig,
        get_default_qconfig_for, int4_qconfig, int8_qconfig, pytorch_dynamic_qconfig, quantize_fx,
        w4_qconfig, w4a8_qconfig, w8_qconfig, w8a16_qconfig,
    };
    pub use tq_qtypes::{
        AffineParams, CapabilityTable, DType, Granularity, OperatorKind, OperatorSupport, QScheme, QuantSpec,
    };
}

/// Quantized types: formats and their parameters, tensors of codes, and what values become in them.
pub mod qtypes {
    pub use tq_qtypes::fake_quantize::fake_quantize;
    pub use tq_qtypes::{
        AffineParams, BlockFloatParams, BlockFormat, Codebook, CodebookParams, DType, FloatParams,
        Granularity, QParams, QScheme, QTensor, QTypeError, QuantFormat, QuantSpec, Rounding,
    };
}

/// Quantization after training: fusion, calibration, conversion.
#[cfg(feature = "full")]
pub mod ptq {
    pub use tq_passes::{
        BiasAdjustment, CalibrationRanges, CalibrationState, ConvertReport, DynamicSpec, EqualizationReport,
        EqualizedLink, FusionEntry, FusionOutcome, FusionReport, IgnoredRange, NodePlan, NodeReport,
        PassError, Placement, Prepared, Quantized, RangesFormat, RangesReport, convert, equalize, explain,
        fold_constants, fuse, prepare_static, quantize_dynamic, quantize_fx,
    };
}

/// Training with fake quantization: the tape, fake quantizers, losses, optimisers, and models that become models of codes.
#[cfg(feature = "full")]
pub mod qat {
    pub use tq_qat::loss::{bce, bce_with_logits, cross_entropy, cross_entropy_smoothed, distillation, mse};
    pub use tq_qat::optim::{Adam, Optimizer, Schedule, Sgd, clip_grad_norm, clip_grad_value};
    pub use tq_qat::train::{
        Agreement, CodeDistances, Criterion, Distillation, EpochReport, Event, Imitation, OptimizerConfig,
        OutputComparison, OutputReport, SampleInput, Samples, Score, StepReport, Targets, TrainOptions,
        Trainer, check_batch_axis, same_decisions,
    };
    pub use tq_qat::{
        Activation, BatchNorm, CustomRule, FakeQuantize, FixedConstant, LearnableFakeQuantize, ModelState,
        Pact, Parameter, QatError, QatModel, QatOptions, Quantizer, QuantizerConfig, StochasticQuantize,
        Tape, Var, prepare_qat, prepare_qat_with,
    };
}

/// Running models: sessions on integer kernels, and the reference evaluator that they are judged by.
pub mod runtime {
    pub use tq_eval::{EvalError, Evaluator, Precision};
    pub use tq_runtime::{
        Execution, Explanation, LayerDepths, MemoryReport, NodeProfile, NodeReport, PlanMemory,
        ProductDepths, Profile, RuntimeError, Session, SessionOptions, StepError, Tap, machine,
    };
}

/// Kernels: those of this processor, and those of one's own.
pub mod backends {
    pub use tq_kernels::{
        DepthwiseRhs, Epilogue, GemmOut, Isa, KernelError, KernelLibrary, Kernels, Lhs, Lookup, Multipliers,
        OutputStage, PackedDepthwise, PackedRhs, QBinary, QConvert, QDepthwise, QGemm, QPool, RhsMatrix,
        ScalarLibrary, Window2d, Window3d, WindowAxis, conformance,
    };
    #[cfg(feature = "full")]
    pub use tq_passes::{Backend, BackendConfig, CustomBackend, Requantization};
    pub use tq_qtypes::{CapabilityTable, OperatorKind, OperatorSupport};
    pub use tq_runtime::{KernelChoice, SessionOptions};
}

/// How a quantized model compares with the float one.
#[cfg(feature = "full")]
pub mod analysis {
    pub use tq_analysis::{
        Accuracy, Advice, AdviceOptions, AnalysisError, AucFigures, Batch, Budget, Candidate, CompareOptions,
        Comparison, Dataset, EXACT_DB, EstimatedSensitivity, EvalOptions, Evaluation, Evidence, Fidelity,
        FidelityFigures, Finding, FindingKind, Latency, LatencyOptions, LayerSensitivity, Metric,
        MetricComparison, MetricError, MixedSearch, ModelFigures, OutputError, PairFigures, PairSimilarity,
        Preprocess, RecommendOptions, Recommendation, RocAuc, RowSource, Runner, SearchOptions, SearchPoint,
        Sensitivity, SensitivityEstimate, SensitivityOptions, Source, TensorKind, Trial, TrialFigures,
        Unexplained, Verdict, advise, compare_models, compare_with_metrics, compare_with_progress,
        concat_rows, estimate_sensitivity, evaluate, evaluate_against, evaluate_auc, evaluate_pairs, measure,
        measure_pair, mixed_precision_search, parameter_bytes, recommend, sensitivity_analysis,
        sensitivity_with_progress, spearman, take_rows, zeros_of,
    };
    pub use tq_analysis::{
        ExecutionFacts, FloatLayer, LayerForecast, LayerKernel, Network, NetworkNode, NodeKind,
        OverflowCertificate, PairCounts, Peer, PeerForecast, Report, ReportOptions, ReportStage,
        forecast_peers, overflow_certificates,
    };
    pub use tq_runtime::{JudgeReport, OperatorVerdict, judge};
}

/// Looking into models: what the observers of a prepared one have seen, and which layers of a quantized one err.
#[cfg(feature = "full")]
pub mod debug {
    pub use tq_analysis::{
        ChannelRange, Histogram, LayerError, LayerErrors, QuantizationDebugger, Unmatched, WeightRanges,
        observer_histograms, plot_histograms, plot_weight_ranges, weight_ranges,
    };
    pub use tq_observers::{Observer, ObserverState, Range};
    pub use tq_passes::get_observer_dict;
}

/// Writing models: native files, which are read here too; ONNX files in every form, and the linter that says what a target
/// makes of them; TensorRT; weights as safetensors files.
pub mod export {
    #[cfg(feature = "full")]
    pub use tq_export::lint::{RULES, Rule, Verdict};
    #[cfg(feature = "full")]
    pub use tq_export::tensorrt::{CacheAlgorithm, TensorRtModel};
    #[cfg(feature = "full")]
    pub use tq_export::{
        CalibrationCache, ExportError, Exported, InputScaling, LintReport, MobileModel, NodeLint, Outcome,
        Precision, Profile, Provenance, Target, TargetOptions, Version, export_for, export_quantized_onnx,
        export_tensorrt, fold_preprocess, for_tensorrt, forecast, lint, lint_at, optimize_for_mobile,
        strip_borders,
    };
    pub use tq_format::weights::{Form as WeightsForm, load as load_safetensors, save as save_safetensors};
    pub use tq_format::{FormatError, load, read, save, strip, write};
    pub use tq_graph::builder::{LoadOptions, LoadReport};
    #[cfg(feature = "full")]
    pub use tq_onnx::{
        BiasForm, ExportOptions, MAX_OPSET, MIN_OPSET, OnnxError, OperatorForm, WeightForm,
        export as export_onnx, export_bytes as export_onnx_bytes, formed as formed_onnx, opset_of,
    };
}
