//! Errors of this crate.

use crate::Rule;
use tq_eval::{EvalError, OpError};
use tq_graph::GraphError;
use tq_observers::ObserverError;
use tq_qtypes::DType;

/// What can go wrong between a float graph and a quantized one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// What training gave back is not of the model.
    #[error("trained parameters do not fit the model: {0}")]
    Trained(String),
    /// The graph is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The float model could not be evaluated.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// A node on constants could not be computed.
    #[error("node {node} ({op}): {source}")]
    Fold {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        source: OpError,
    },
    /// The model holds quantized operators already.
    #[error("the model is quantized already: node {node} is a {op}")]
    AlreadyQuantized {
        /// First such node.
        node: String,
        /// Name of its operator.
        op: &'static str,
    },
    /// A rule asks for what cannot be.
    #[error("configuration: {rule}: {part}: {message}")]
    Config {
        /// The rule.
        rule: Rule,
        /// Which part of it.
        part: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// A rule that cannot be followed.
    #[error("configuration: {rule}: {message}")]
    Rule {
        /// The rule.
        rule: Rule,
        /// What is wrong with it.
        message: String,
    },
    /// A rule for a type that is neither a module type nor an ONNX operator.
    #[error("configuration: there is no module type and no operator {name:?}{hint}")]
    UnknownModuleType {
        /// The name.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// A regular expression that is none.
    #[error("configuration: regex rule \"{pattern}\": {message}")]
    Regex {
        /// The pattern.
        pattern: String,
        /// What is wrong with it, and where.
        message: String,
    },
    /// A recipe that does not exist.
    #[error("there is no recipe {name:?}{hint}; the recipes are {known}")]
    UnknownRecipe {
        /// The word.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
        /// All there are.
        known: String,
    },
    /// An operator of a backend of one's own that has no name here.
    #[error("backend {backend}: there is no operator {name:?}{hint}")]
    UnknownOperator {
        /// Name of the backend.
        backend: String,
        /// The operator asked for.
        name: String,
        /// What may have been meant, or nothing.
        hint: String,
    },
    /// A file that is not what it should be.
    #[error("{format}: {message}")]
    File {
        /// What the file should be.
        format: &'static str,
        /// What is wrong with it, and where.
        message: String,
    },
    /// A type of weights that dynamic quantization does not make.
    #[error("dynamic quantization makes i8 or f16 weights, not {0}")]
    DynamicType(DType),
    /// Codes of a type that no tensor of codes has.
    #[error("{0} is no type for codes")]
    Codes(DType),
    /// Calibration data, or what the model makes of it, is not finite. Nothing of the batch was taken.
    #[error("calibration batch {batch}: {count} of {len} values of tensor {tensor} are NaN or infinite")]
    NonFinite {
        /// Name of the first such tensor in the model's order.
        tensor: String,
        /// How many of its values are not finite.
        count: u64,
        /// How many values it has.
        len: u64,
        /// The batch, counted from 1.
        batch: u64,
    },
    /// An observer could not work with a tensor.
    #[error("tensor {tensor}: {source}")]
    Observer {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        source: ObserverError,
    },
    /// Conversion was asked for before any calibration batch.
    #[error("no calibration data: call forward with at least one batch before convert")]
    NoCalibrationData,
    /// Calibration batches came, but this tensor never held a value.
    #[error("no calibration data for tensor {tensor}: it had no elements in any of {batches} batches")]
    NeverObserved {
        /// Name of the tensor.
        tensor: String,
        /// Number of batches.
        batches: u64,
    },
    /// A calibration state that comes from another model.
    #[error("calibration state: it is of the model with digest {got}, this one has {expected}")]
    CalibrationModel {
        /// SHA-256 of the fused graph at hand.
        expected: String,
        /// SHA-256 of the fused graph that was calibrated.
        got: String,
    },
    /// A calibration state that does not go with the observers, or with another state.
    #[error("calibration state: tensor {tensor}: {message}")]
    CalibrationTensor {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        message: String,
    },
    /// A range in another tool's calibration file that is none.
    #[error("calibration ranges: tensor {tensor}: from {min} to {max} is no range")]
    Range {
        /// Name of the tensor.
        tensor: String,
        /// Where it begins.
        min: f32,
        /// Where it ends.
        max: f32,
    },
    /// Weights that are to keep products in 16 bits are not of the kind for which that is done.
    #[error("node {node} cannot have overflow-safe weights: {reason}")]
    OverflowSafe {
        /// Name of the node.
        node: String,
        /// What it takes.
        reason: String,
    },
    /// A constant that is to be quantized is not finite.
    #[error("node {node}: {count} values of constant {tensor} are NaN or infinite")]
    NonFiniteConstant {
        /// Name of the node that reads it.
        node: String,
        /// Name of the constant.
        tensor: String,
        /// How many values are not finite.
        count: u64,
    },
}
