//! What an error in some tensors alone does to the model's output: the measure of every cause.
//!
//! A cause is measured by repairing it. The float model runs with the tensors in question quantized as the quantized model
//! has them, then with the cause repaired and nothing else changed; by how much less the output errs is what the cause explains.

use super::survey::Rows;
use crate::accuracy::nth;
use crate::constants::Operand;
use crate::{AnalysisError, OutputError, Runner};
use tq_graph::{Graph, Node, Op, Tensor, ValueId, infer};
use tq_qtypes::{AffineParams, DType, Granularity, Rounding, affine};

/// One tensor of the float model, changed.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// Computed values become codes and real numbers again.
    Quantize(ValueId, AffineParams),
    /// A node reads a constant of these values; others that read the same one keep it.
    Operand(Operand, Vec<f32>),
}

impl Edit {
    /// Values of a constant that become codes of this shape and real numbers again.
    pub(super) fn quantized_operand(
        at: Operand,
        values: &[f32],
        dims: &[usize],
        params: &AffineParams,
    ) -> Result<Self, AnalysisError> {
        Ok(Edit::Operand(at, rounded(values, dims, params)?))
    }
}

/// Values that became codes and real numbers again.
pub(super) fn rounded(
    values: &[f32],
    dims: &[usize],
    params: &AffineParams,
) -> Result<Vec<f32>, AnalysisError> {
    let codes = affine::quantize(values, dims, params, Rounding::Divide)?;
    Ok(affine::dequantize(&codes, dims, params)?)
}

/// Energy of the error of the output over that of the output itself, with these edits of the float model.
pub(super) fn noise(float: &Graph, edits: &[Edit], rows: &Rows) -> Result<f64, AnalysisError> {
    let mut graph = float.clone();
    // Operands first: they go by the numbers of nodes.
    let (operands, others): (Vec<_>, Vec<_>) = edits.iter().partition(|e| matches!(e, Edit::Operand(..)));
    for edit in operands.into_iter().chain(others) {
        apply(&mut graph, edit)?;
    }
    graph.sort()?;
    infer::infer(&mut graph)?;
    Ok(error(&Runner::session(&graph)?, rows)?.relative_noise())
}

/// The error of a model's output against the float model's.
pub(super) fn error(model: &Runner, rows: &Rows) -> Result<OutputError, AnalysisError> {
    let mut error = OutputError::default();
    for (batch, expected) in rows.batches.iter().zip(&rows.outputs) {
        let outputs = model.run(&batch.inputs)?;
        error.add(expected, &batch.trim(nth(&outputs, rows.output, &rows.output_name)?.clone())?)?;
    }
    Ok(error)
}

fn apply(graph: &mut Graph, edit: &Edit) -> Result<(), AnalysisError> {
    match edit {
        Edit::Operand(at, values) => {
            let Some(old) = graph.constant(at.value) else { return Ok(()) };
            let new = Tensor::new(old.dims(), values.clone())?;
            let name = graph.fresh_value_name(&format!("{}_trial", graph.value(at.value).name));
            let id = graph.add_constant(name, new);
            graph.nodes[at.node.0].inputs[at.input] = Some(id);
        }
        Edit::Quantize(id, params) => {
            let (first, real) = insert(graph, *id, params)?;
            redirect(graph, *id, real, first);
        }
    }
    Ok(())
}

/// A Quantize and a Dequantize node after a value, and a Clip before them where codes of their type are left out: the first of
/// these results, and the real numbers that the codes stand for.
fn insert(
    graph: &mut Graph,
    value: ValueId,
    params: &AffineParams,
) -> Result<(ValueId, ValueId), AnalysisError> {
    let name = graph.value(value).name.clone();
    let (axis, dims) = match params.granularity {
        Granularity::PerChannel { axis } => (axis as i64, vec![params.scale.len()]),
        _ => (0, Vec::new()),
    };
    let fresh = |graph: &Graph, what: &str| graph.fresh_value_name(&format!("{name}_{what}"));
    let scale = fresh(graph, "trial_scale");
    let scale = graph.add_constant(scale, Tensor::new(&dims, params.scale.clone())?);
    let zero = fresh(graph, "trial_zero_point");
    let zero = graph.add_constant(zero, zero_points(&dims, params)?);
    let quantize = Op::QuantizeLinear { axis, block_size: 0, output_dtype: None, saturate: true };
    let (node, out) = (graph.fresh_node_name(&format!("{name}_trial_q")), fresh(graph, "trial_codes"));
    let narrow = params.dtype.quant_range() != Some((params.quant_min, params.quant_max));
    let clamped = match params.uniform().filter(|_| narrow) {
        Some((scale, zero)) => {
            let bound = |code: i32| Tensor::scalar((i64::from(code) - i64::from(zero)) as f32 * scale);
            let [least, most] = [params.quant_min, params.quant_max].map(|code| {
                let name = fresh(graph, "trial_bound");
                graph.add_constant(name, bound(code))
            });
            let (node, out) =
                (graph.fresh_node_name(&format!("{name}_trial_clip")), fresh(graph, "trial_clamped"));
            graph.add_node(node, Op::Clip, &[value, least, most], out)
        }
        None => value,
    };
    let codes = graph.add_node(node, quantize, &[clamped, scale, zero], out);
    let dequantize = Op::DequantizeLinear { axis, block_size: 0 };
    let (node, out) = (graph.fresh_node_name(&format!("{name}_trial_dq")), fresh(graph, "trial_real"));
    let real = graph.add_node(node, dequantize, &[codes, scale, zero], out);
    Ok((if clamped == value { codes } else { clamped }, real))
}

fn zero_points(dims: &[usize], params: &AffineParams) -> Result<Tensor, AnalysisError> {
    let z = &params.zero_point;
    // They are codes of the type, so that the conversions keep the value.
    Ok(match params.dtype {
        DType::U8 | DType::U4 | DType::U2 => {
            Tensor::with_dtype(params.dtype, dims, z.iter().map(|z| *z as u8).collect())?
        }
        DType::U16 => Tensor::with_dtype(params.dtype, dims, z.iter().map(|z| *z as u16).collect())?,
        DType::I16 => Tensor::with_dtype(params.dtype, dims, z.iter().map(|z| *z as i16).collect())?,
        DType::I32 => Tensor::with_dtype(params.dtype, dims, z.clone())?,
        _ => Tensor::with_dtype(params.dtype, dims, z.iter().map(|z| *z as i8).collect())?,
    })
}

/// Everybody who reads `from` reads `to`, but the node that makes `but`.
fn redirect(graph: &mut Graph, from: ValueId, to: ValueId, but: ValueId) {
    let reads = |node: &&mut Node| node.output(0) != Some(but);
    for node in graph.nodes.iter_mut().filter(reads) {
        node.inputs.iter_mut().flatten().filter(|v| **v == from).for_each(|v| *v = to);
    }
    graph.outputs.iter_mut().filter(|v| **v == from).for_each(|v| *v = to);
}
