//! ONNX files for a target.

use crate::unsigned::unsigned_activations;
use crate::{ExportError, LintReport, Target, lint};
use std::path::Path;
use tq_graph::{Graph, Tensor};
use tq_onnx::{ExportOptions, OperatorForm};

/// How a model is written for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetOptions {
    /// What it is for.
    pub target: Target,
    /// What is asked of the file; weights and biases that are `None` are as the target likes them.
    pub onnx: ExportOptions,
}

impl TargetOptions {
    /// For this target, as it likes files best.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self { target, onnx: ExportOptions::default() }
    }

    /// The options of the file, with the target's preferences for what is not set.
    fn resolved(&self) -> ExportOptions {
        let profile = self.target.profile();
        let mut onnx = self.onnx.clone();
        onnx.weights = onnx.weights.or(profile.weights);
        onnx.bias = onnx.bias.or(profile.bias);
        onnx
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The operator set.
    pub opset: i64,
    /// What the target will make of each node. Nothing in it is refused.
    pub lint: LintReport,
    /// What was changed for the target, a line each.
    pub notes: Vec<String>,
}

/// What a target will make of the file that [`export_for`] would write; nothing is written.
///
/// The linter reads the very graph that is in the file, after weights, biases and operators got their form.
///
/// # Errors
/// [`ExportError::Onnx`] where there is no such file, as [`tq_onnx::export`] says.
pub fn forecast(graph: &Graph, options: &TargetOptions) -> Result<LintReport, ExportError> {
    let (graph, onnx, _) = prepared(graph, options)?;
    linted(&graph, &onnx, &options.target)
}

/// Writes the file that `options` describe, unless the target refuses what would be in it, as [`forecast`] tells.
///
/// For ONNX Runtime operators on codes ([`OperatorForm::QOperator`]) get u8 activations where the graph has i8 ones, 128 added
/// to codes and zero points: its exact mode (`session.x64quantprecision`) has no QLinearConv and QLinearMatMul for i8 ones.
///
/// # Errors
/// [`ExportError::Refused`] with every node that the target refuses; [`ExportError::Onnx`] as
/// [`tq_onnx::export`]. Nothing is written then.
pub fn export_for(graph: &Graph, path: &Path, options: &TargetOptions) -> Result<Exported, ExportError> {
    let (graph, onnx, notes) = prepared(graph, options)?;
    let lint = linted(&graph, &onnx, &options.target)?;
    let refused: Vec<_> = lint.refused().cloned().collect();
    if !refused.is_empty() {
        return Err(ExportError::Refused { target: options.target.to_string(), nodes: refused });
    }
    let opset = tq_onnx::export(&graph, path, &onnx)?;
    Ok(Exported { opset, lint, notes })
}

/// The graph as the target wants it, how it is written, and what was changed.
fn prepared(
    graph: &Graph,
    options: &TargetOptions,
) -> Result<(Graph, ExportOptions, Vec<String>), ExportError> {
    let onnx = options.resolved();
    let mut graph = graph.clone(); // data is shared, so this is cheap
    let mut notes = Vec::new();
    if matches!(options.target, Target::OnnxRuntime { .. }) && onnx.form == OperatorForm::QOperator {
        match unsigned_activations(&mut graph)? {
            0 => {}
            n => {
                notes.push(format!("{n} tensors of i8 codes are written as u8, with zero points 128 higher"))
            }
        }
    }
    Ok((graph, onnx, notes))
}

/// What the target makes of the file of a graph.
fn linted(graph: &Graph, onnx: &ExportOptions, target: &Target) -> Result<LintReport, ExportError> {
    let (mut written, opset) = tq_onnx::formed(graph, onnx)?;
    // Float weights behind a Quantize are constant codes to whoever reads the file.
    tq_onnx::fold_constant_codes(&mut written);
    lint::lint_at(&written, target, opset)
}

/// The bytes of an ONNX file in QDQ form at an operator set, after checks that the model takes the example input.
///
/// `example_input` has one tensor for each input of the model. It is checked, not stored: models keep their symbolic
/// dimensions.
///
/// # Errors
/// [`ExportError::Example`] when number, types or shapes differ from the model's; [`ExportError::Onnx`] when the operator
/// set has no words for a node.
///
/// ```
/// # use tq_graph::{Dim, Graph, Op, Tensor, op::UnaryOp};
/// # let mut model = Graph::new("net");
/// # let x = model.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
/// # let y = model.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
/// # model.outputs.push(y);
/// let example_input = [Tensor::new(&[1, 2], vec![0.5f32, 1.0])?];
/// let bytes = tq_export::export_quantized_onnx(&model, &example_input, 13)?;
/// assert_eq!(tq_onnx::import_bytes(&bytes, None)?.inputs.len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn export_quantized_onnx(
    model: &Graph,
    example_input: &[Tensor],
    opset_version: i64,
) -> Result<Vec<u8>, ExportError> {
    if example_input.len() != model.inputs.len() {
        return Err(ExportError::Example {
            name: model.inputs.first().map_or("?".into(), |v| model.value(*v).name.clone()),
            message: format!("{} tensors for {} inputs", example_input.len(), model.inputs.len()),
        });
    }
    for (v, example) in model.inputs.iter().zip(example_input) {
        let value = model.value(*v);
        let fail = |message| Err(ExportError::Example { name: value.name.clone(), message });
        if value.dtype.is_some_and(|d| d != example.dtype()) {
            let wanted = value.dtype.map_or_else(String::new, |d| d.to_string());
            return fail(format!("it is {}, the model takes {wanted}", example.dtype()));
        }
        if let Some(shape) = &value.shape {
            let fits = |(d, n): (&tq_graph::Dim, &usize)| d.known_usize().is_none_or(|d| d == *n);
            if shape.len() != example.rank() || !shape.iter().zip(example.dims()).all(fits) {
                let wanted: Vec<String> = shape.iter().map(ToString::to_string).collect();
                return fail(format!(
                    "its shape is {:?}, the model takes [{}]",
                    example.dims(),
                    wanted.join(", ")
                ));
            }
        }
    }
    Ok(tq_onnx::export_bytes(model, &ExportOptions::at(opset_version))?)
}
