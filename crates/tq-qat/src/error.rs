//! Errors of this crate.

use crate::model::FixedConstant;
use std::path::PathBuf;
use tq_eval::{EvalError, OpError};
use tq_graph::GraphError;
use tq_observers::ObserverError;
use tq_passes::PassError;
use tq_qtypes::{DType, QTypeError};

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QatError {
    /// A node could not be computed.
    #[error("node {node} ({op}): {source}")]
    Forward {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        source: OpError,
    },
    /// The gradient of a node could not be computed.
    #[error("gradient of node {node} ({op}): {source}")]
    Backward {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// What is wrong.
        source: OpError,
    },
    /// A gradient must flow through an operator that has none.
    #[error("no gradient flows through node {node} ({op}): {reason}")]
    NoGradient {
        /// Name of the node.
        node: String,
        /// Name of its operator.
        op: &'static str,
        /// Why there is none.
        reason: &'static str,
    },
    /// A gradient whose shape is not that of the value it belongs to.
    #[error("node {node}: the gradient of {what} has shape {got:?}, the value {expected:?}")]
    GradientShape {
        /// Name of the node, or of the parameter.
        node: String,
        /// Which value.
        what: String,
        /// Shape of the value.
        expected: Vec<usize>,
        /// Shape of the gradient.
        got: Vec<usize>,
    },
    /// A rule that gives gradients for more or fewer values than the node has inputs.
    #[error("node {node}: {got} gradients for {expected} inputs")]
    GradientCount {
        /// Name of the node.
        node: String,
        /// Inputs of the node.
        expected: usize,
        /// Gradients given.
        got: usize,
    },
    /// Values of two tapes in one computation.
    #[error("node {node}: input {index} stands on another tape")]
    OtherTape {
        /// Name of the node.
        node: String,
        /// Position of the input.
        index: usize,
    },
    /// A backward pass over a tape that an earlier one has used up.
    #[error("the tape of {name} has been used up by an earlier backward pass; compute the value again")]
    UsedUp {
        /// Name of the value from which the gradient should flow.
        name: String,
    },
    /// A backward pass from a value that depends on no parameter that is trained.
    #[error("{name} depends on no parameter that requires a gradient")]
    NotTracked {
        /// Name of the value.
        name: String,
    },
    /// A backward pass without a gradient to start from, from a value that is not one number.
    #[error("{name} has shape {dims:?}; only from one number can a backward pass start by itself")]
    NotScalar {
        /// Name of the value.
        name: String,
        /// Its shape.
        dims: Vec<usize>,
    },
    /// A tensor that cannot be trained.
    #[error("parameter {name} is {got}; only f32 tensors are trained")]
    ParameterType {
        /// Name of the parameter.
        name: String,
        /// Its type.
        got: DType,
    },
    /// A new value of another shape than the parameter's.
    #[error("parameter {name} has shape {expected:?}, not {got:?}")]
    ParameterShape {
        /// Name of the parameter.
        name: String,
        /// Its shape.
        expected: Vec<usize>,
        /// Shape of the new value or gradient.
        got: Vec<usize>,
    },
    /// A fake quantizer whose observer refuses what it is shown, or has seen nothing.
    #[error("fake quantization of {tensor}: {source}")]
    Observer {
        /// Name of the tensor.
        tensor: String,
        /// What is wrong.
        source: ObserverError,
    },
    /// A setting that cannot be.
    #[error("{name}: {what} {value}: {allowed}")]
    Setting {
        /// Whose setting.
        name: String,
        /// Which.
        what: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A format that takes its parameters from each tensor has none of its own.
    #[error(
        "{name}: {format} takes its parameters from each tensor, and has no scale and zero point of its own"
    )]
    Format {
        /// Name of the quantizer.
        name: String,
        /// The format.
        format: String,
    },
    /// A node that training cannot imitate.
    #[error("node {node} ({op}) cannot be trained: {reason}")]
    Untrainable {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: &'static str,
        /// Why not.
        reason: String,
    },
    /// Inputs that are not those of the model.
    #[error("{got} tensors for {expected} inputs of the model")]
    InputCount {
        /// Inputs of the model.
        expected: usize,
        /// Tensors given.
        got: usize,
    },
    /// A node whose weights are nowhere.
    #[error("node {node}: its weights are no constant")]
    NoWeights {
        /// Name of the node.
        node: String,
    },
    /// What went wrong in a step of training.
    #[error("epoch {epoch}, step {step}: {source}")]
    Step {
        /// The epoch, counted from 1.
        epoch: usize,
        /// The step of that epoch, counted from 1.
        step: usize,
        /// What is wrong.
        source: Box<QatError>,
    },
    /// What went wrong when the model was measured on validation data.
    #[error("validation after epoch {epoch}: {source}")]
    Validation {
        /// Epochs of training before it.
        epoch: usize,
        /// What is wrong.
        source: Box<QatError>,
    },
    /// Samples that no model can be trained with.
    #[error("{what}: {message}")]
    Samples {
        /// Which samples: for training, or for validation.
        what: &'static str,
        /// What is wrong with them.
        message: String,
    },
    /// An input whose samples lie along another axis than the first.
    #[error(
        "input {input} has shape [{shape}]: its samples lie along axis {axis}, and samples are taken along axis 0; those of such models are given one by one, each whole"
    )]
    BatchAxis {
        /// Its name.
        input: String,
        /// Its shape.
        shape: String,
        /// The axis that the samples of the outputs come from.
        axis: usize,
    },
    /// Settings of training that do not go together.
    #[error("training: {0}")]
    Training(String),
    /// A first output that the criterion cannot take.
    #[error("output {output} is {dtype} of shape {dims:?} for {samples} samples: {expected}")]
    Scores {
        /// Name of the output.
        output: String,
        /// Its type.
        dtype: DType,
        /// Its shape.
        dims: Vec<usize>,
        /// For how many samples.
        samples: usize,
        /// What training takes.
        expected: String,
    },
    /// Targets that have not the shape of the output.
    #[error("a target has shape {got:?}, and output {output} has {expected:?} for each sample")]
    TargetShape {
        /// Shape of the target of one sample.
        got: Vec<usize>,
        /// Shape of what the model gives for one.
        expected: Vec<usize>,
        /// Name of the output.
        output: String,
    },
    /// A model without anything that training could change.
    #[error("the model has nothing to train{}", of_constants(constants))]
    NothingToTrain {
        /// Its constants of floats, each with the reason why it is not trained.
        constants: Vec<FixedConstant>,
    },
    /// Outputs that cannot be compared, since they are not of the same shape or type.
    #[error("{} cannot be compared: {message}", of_output(output))]
    Compared {
        /// Name of the output; empty for all of them.
        output: String,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint that cannot be written or read, or that is not of this training.
    #[error("checkpoint {}: {message}", .path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// State of another model.
    #[error("state of a model: {0}")]
    ModelState(String),
    /// The float model could not be computed.
    #[error("float model: {0}")]
    Eval(#[from] EvalError),
    /// Preparing or converting the model failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// Parameters of codes that are none, or none of such a tensor.
    #[error(transparent)]
    Quantize(#[from] QTypeError),
    /// An error of a tensor or of a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operator outside a tape could not be computed.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A loss that is NaN or infinite: training diverges, or its data is broken.
    #[error("the loss {loss} is {value}")]
    LossNotFinite {
        /// Which loss.
        loss: &'static str,
        /// What it is.
        value: f32,
    },
    /// What a loss is asked of has not the shape that it takes.
    #[error("loss {loss}: shape {got:?}, expected {expected}")]
    LossShape {
        /// Which loss.
        loss: &'static str,
        /// The shape given.
        got: Vec<usize>,
        /// In words.
        expected: String,
    },
    /// A sample with a number that is none.
    #[error("sample {sample}: element {element} of {} is {value}", of_input(*input))]
    SampleNotFinite {
        /// Which input; `None` for the targets.
        input: Option<usize>,
        /// The sample, counted from 0.
        sample: usize,
        /// Which of its numbers.
        element: usize,
        /// The number.
        value: f64,
    },
    /// A sample that looks up what is not in a table of the model.
    #[error(
        "sample {sample}: element {element} of input {name} is {index}, and node {node} looks it up in a table of {len}"
    )]
    Lookup {
        /// Which input.
        input: usize,
        /// Its name.
        name: String,
        /// The sample, counted from 0.
        sample: usize,
        /// Which of its numbers.
        element: usize,
        /// The number.
        index: i64,
        /// Name of the node.
        node: String,
        /// Entries of the table.
        len: usize,
    },
    /// A teacher of classes whose scores go through a sigmoid.
    #[error(
        "the first output goes through a sigmoid, and a teacher of classes is learned from by softmax: binary cross-entropy is the loss for such outputs"
    )]
    SigmoidOfClasses,
    /// More or fewer labels than samples.
    #[error("{labels} labels for {rows} samples")]
    LabelCount {
        /// Samples.
        rows: usize,
        /// Labels.
        labels: usize,
    },
    /// A label that is no class.
    #[error("label {label} of sample {row} is outside 0..{classes}")]
    LabelRange {
        /// The sample.
        row: usize,
        /// Its label.
        label: i64,
        /// How many classes there are.
        classes: usize,
    },
    /// A number that should be a probability.
    #[error("{what} {value} is not between 0 and 1")]
    Probability {
        /// What it should be the probability of.
        what: &'static str,
        /// The number.
        value: f32,
    },
    /// A target of binary cross-entropy that is no probability.
    #[error(
        "sample {sample}, element {element}: the target {value} is not between 0 and 1, as probabilities are"
    )]
    TargetProbability {
        /// The sample, counted from 0.
        sample: usize,
        /// The element of its target.
        element: usize,
        /// The number.
        value: f32,
    },
    /// A loss that is finite and absurd: training makes the model worse step by step.
    #[error(
        "the loss has exploded: {loss:.3e}, after {start:.3e} before training, at a learning rate of {lr:e}: a smaller one holds it"
    )]
    Exploded {
        /// Of the step.
        loss: f64,
        /// On the validation samples before training.
        start: f64,
        /// The learning rate of weights.
        lr: f32,
    },
    /// A gradient that holds NaN or infinities: it exploded.
    #[error("the gradient of parameter {parameter} is not finite in {count} of {len} elements")]
    GradientNotFinite {
        /// Name of the parameter.
        parameter: String,
        /// Elements that are NaN or infinite.
        count: usize,
        /// All elements.
        len: usize,
    },
    /// A setting of a loss or an optimiser that cannot be.
    #[error("{what} {value}: {allowed}")]
    Hyperparameter {
        /// Which.
        what: &'static str,
        /// Its value.
        value: f32,
        /// What it may be.
        allowed: &'static str,
    },
    /// The state of another optimiser, or parameters that cannot be told apart.
    #[error("optimiser: {0}")]
    OptimizerState(String),
}

fn of_input(input: Option<usize>) -> String {
    input.map_or_else(|| "the targets".to_owned(), |i| format!("input {i}"))
}

fn of_output(output: &str) -> String {
    if output.is_empty() { "outputs".to_owned() } else { format!("output {output}") }
}

fn of_constants(constants: &[FixedConstant]) -> String {
    match constants {
        [] => ": it has no constants of floats".to_owned(),
        [first, rest @ ..] => {
            let others = if rest.is_empty() { String::new() } else { format!(", and {} more", rest.len()) };
            format!(": {} of node {} ({}): {}{others}", first.name, first.node, first.op, first.reason)
        }
    }
}
