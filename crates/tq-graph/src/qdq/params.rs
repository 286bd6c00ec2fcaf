//! Constant scales and zero points as [`AffineParams`].

use crate::{Graph, Node, Op, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity};

/// Parameters of a Quantize or Dequantize node, if scale and zero point are constant and valid.
///
/// The type of the codes is that of the zero point, else of the codes themselves, else u8.
pub(super) fn of_node(graph: &Graph, node: &Node) -> Option<AffineParams> {
    let (axis, block_size, real, codes) = match &node.op {
        Op::QuantizeLinear { axis, block_size, .. } => (*axis, *block_size, node.input(0)?, node.output(0)?),
        Op::DequantizeLinear { axis, block_size } => (*axis, *block_size, node.input(0)?, node.input(0)?),
        _ => return None,
    };
    let scale = graph.const_input(node, 1)?;
    if scale.dtype() != DType::F32 {
        return None;
    }
    let zero = match node.input(2) {
        Some(v) => Some(graph.constant(v)?),
        None => None,
    };
    let dtype = match (&node.op, zero) {
        (_, Some(z)) => z.dtype(),
        (Op::QuantizeLinear { output_dtype: Some(d), .. }, None) => *d,
        (Op::QuantizeLinear { .. }, None) => DType::U8,
        _ => graph.value(codes).dtype?,
    };
    let (quant_min, quant_max) = dtype.quant_range()?;
    let granularity = granularity(graph, real, scale.dims(), axis, block_size)?;
    let scale = scale.as_slice::<f32>().ok()?.to_vec();
    let zero_point = match zero {
        None => vec![0; scale.len()],
        Some(z) => z.to_i64_vec()?.into_iter().map(|v| i32::try_from(v).ok()).collect::<Option<_>>()?,
    };
    let params = AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point };
    params.validate().is_ok().then_some(params)
}

fn granularity(
    graph: &Graph,
    data: ValueId,
    scale_dims: &[usize],
    axis: i64,
    block_size: usize,
) -> Option<Granularity> {
    if scale_dims.iter().product::<usize>() == 1 && block_size == 0 {
        return Some(Granularity::PerTensor);
    }
    let rank = graph.value(data).shape.as_ref()?.len();
    let axis = match axis {
        // A tensor of rank 1 has one axis, whatever the attribute says.
        _ if rank == 1 => 0,
        a if a < 0 => a.checked_add(i64::try_from(rank).ok()?)?,
        a => a,
    };
    let axis = usize::try_from(axis).ok().filter(|a| *a < rank)?;
    Some(if block_size > 0 {
        Granularity::PerGroup { axis, group_size: block_size }
    } else {
        Granularity::PerChannel { axis }
    })
}
