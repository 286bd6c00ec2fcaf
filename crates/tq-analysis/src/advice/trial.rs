//! What an error in some tensors alone does to the model's output: the measure of every cause.
//!
//! A cause is measured by repairing it. The float model runs with the tensors in question quantized as the quantized model
//! has them, then with the cause repaired and nothing else changed; by how much less the output errs is what the cause explains.

use super::readers::Readers;
use super::survey::Rows;
use crate::accuracy::nth;
use crate::constants::Operand;
use crate::{AnalysisError, OutputError, Runner};
use tq_graph::{Graph, Op, Tensor, ValueId, infer};
use tq_qtypes::{AffineParams, DType, Granularity, Rounding, affine};

/// One tensor of the float model, changed.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    /// Computed values become codes and real numbers again for these readers; others have them as they are.
    Quantize { value: ValueId, params: AffineParams, readers: Readers },
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
    // Numbers of nodes and outputs stay what they are: new ones come after them.
    for edit in edits {
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
        Edit::Quantize { value, params, readers } => {
            let real = insert(graph, *value, params)?;
            for id in &readers.nodes {
                graph.nodes[id.0].inputs.iter_mut().flatten().filter(|v| *v == value).for_each(|v| *v = real);
            }
            let outputs = readers.outputs.iter().filter(|i| graph.outputs.get(**i) == Some(value));
            for i in outputs.copied().collect::<Vec<_>>() {
                graph.outputs[i] = real;
            }
        }
    }
    Ok(())
}

/// A Quantize and a Dequantize node after a value, and a Clip before them where codes of their type are left out: the real numbers
/// that the codes stand for.
fn insert(graph: &mut Graph, value: ValueId, params: &AffineParams) -> Result<ValueId, AnalysisError> {
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
            let bound = |code: i32| Tensor::scalar(affine::dequantize_f32(code, scale, zero));
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
    Ok(graph.add_node(node, dequantize, &[codes, scale, zero], out))
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
