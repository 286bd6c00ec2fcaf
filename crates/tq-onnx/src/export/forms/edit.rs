//! Changing a graph node by node, with names that stay unique.

use crate::OnnxError;
use crate::names::Names;
use tq_graph::{Graph, Node, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType};

/// A graph, and the names it uses.
pub(super) struct Edit<'g> {
    pub(super) graph: &'g mut Graph,
    values: Names,
    nodes: Names,
}

impl<'g> Edit<'g> {
    pub(super) fn new(graph: &'g mut Graph) -> Self {
        let (mut values, mut nodes) = (Names::default(), Names::default());
        for value in &graph.values {
            values.take(&value.name);
        }
        for node in &graph.nodes {
            nodes.take(&node.name);
        }
        Self { graph, values, nodes }
    }

    pub(super) fn constant(&mut self, name: &str, data: Tensor) -> ValueId {
        let name = self.values.fresh(name);
        self.graph.add_constant(name, data)
    }

    pub(super) fn value(&mut self, name: &str) -> ValueId {
        let name = self.values.fresh(name);
        self.graph.add_value(name, None, None)
    }

    /// A node that is not in the graph yet.
    pub(super) fn node(&mut self, name: &str, op: Op, inputs: Vec<Option<ValueId>>, output: ValueId) -> Node {
        Node { name: self.nodes.fresh(name), op, inputs, outputs: vec![Some(output)] }
    }

    pub(super) fn name(&self, v: ValueId) -> &str {
        &self.graph.value(v).name
    }
}

/// The name of what codes of this name stand for.
pub(super) fn real_name(codes: &str) -> &str {
    codes.strip_suffix("_quantized").unwrap_or(codes)
}

/// Codes of any type as numbers.
pub(super) fn numbers(codes: &Tensor, name: &str) -> Result<Vec<i32>, OnnxError> {
    let error =
        || OnnxError::Tensor { name: name.to_owned(), message: format!("codes of type {}", codes.dtype()) };
    let wide = codes.to_i64_vec().ok_or_else(error)?;
    wide.into_iter().map(|q| i32::try_from(q).map_err(|_| error())).collect()
}

/// Numbers as codes of a type that holds them.
pub(super) fn codes(dtype: DType, dims: &[usize], numbers: &[i32]) -> Result<Tensor, OnnxError> {
    // The callers' numbers are codes of this type already, so the conversions keep the value.
    Ok(match dtype {
        DType::U8 | DType::U4 | DType::U2 => {
            Tensor::with_dtype(dtype, dims, numbers.iter().map(|q| *q as u8).collect())?
        }
        DType::I8 | DType::I4 | DType::I2 => {
            Tensor::with_dtype(dtype, dims, numbers.iter().map(|q| *q as i8).collect())?
        }
        DType::U16 => Tensor::with_dtype(dtype, dims, numbers.iter().map(|q| *q as u16).collect())?,
        DType::I16 => Tensor::with_dtype(dtype, dims, numbers.iter().map(|q| *q as i16).collect())?,
        _ => Tensor::with_dtype(DType::I32, dims, numbers.to_vec())?,
    })
}

/// What tq-qtypes says of the parameters of a value.
pub(super) fn qtype_error(name: &str, error: &tq_qtypes::QTypeError) -> OnnxError {
    OnnxError::Tensor { name: name.to_owned(), message: error.to_string() }
}

/// The scale of channel `c`.
pub(super) fn scale_of(params: &AffineParams, c: usize) -> f32 {
    params.scale.get(c).or(params.scale.first()).copied().unwrap_or(1.0)
}
