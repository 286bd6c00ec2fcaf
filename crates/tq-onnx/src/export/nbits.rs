//! Products with 4-bit weights in blocks as `com.microsoft` `MatMulNBits`.
//!
//! `MatMulNBits(A, B, scales[, zero_points, g_idx, bias])` of ONNX Runtime's contributed operators: `A [..., K]` times the
//! transposed `B`, whose rows are output features. B holds unsigned 4-bit codes as `[N, ceil(K / block), block / 2]`
//! bytes, the first of two codes in the low half; scales are `[N * blocks]`; zero points are packed in the same way, row
//! by row, and 8 where there are none.

use super::Writer;
use super::node::{int, size};
use crate::OnnxError;
use crate::proto::NodeProto;
use std::collections::{HashMap, HashSet};
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity};

/// The domain of the operator, and its version.
pub(super) const DOMAIN: &str = "com.microsoft";

/// What a signed code is less than its unsigned one, and the zero point where none is given.
const MIDDLE: i32 = 8;

/// One product that can be written so.
pub(super) struct Product {
    codes: ValueId,
    params: AffineParams,
    block: usize,
    /// Whether rows of the codes are output features.
    rows_are_outputs: bool,
}

/// The products of a graph, and the Dequantize nodes that nobody else reads.
#[derive(Default)]
pub(super) struct Products {
    pub(super) of_node: HashMap<NodeId, Product>,
    pub(super) skipped: HashSet<NodeId>,
}

impl Products {
    pub(super) fn of(graph: &Graph) -> Self {
        let producers = graph.producers();
        let mut out = Products::default();
        let mut readers: HashMap<NodeId, usize> = HashMap::new();
        for (id, node) in graph.iter_nodes() {
            let Some(from) = node.input(1).and_then(|w| producers[w.0]) else { continue };
            if let Some(product) = product(graph, node, graph.node(from)) {
                out.of_node.insert(id, product);
                *readers.entry(from).or_default() += 1;
            }
        }
        let consumers = graph.consumers();
        for (from, count) in readers {
            let real = graph.node(from).output(0);
            if real.is_some_and(|v| consumers[v.0].len() == count && !graph.outputs.contains(&v)) {
                out.skipped.insert(from);
            }
        }
        out
    }
}

fn product(graph: &Graph, node: &Node, dequantize: &Node) -> Option<Product> {
    let codes = dequantize.input(0).filter(|v| graph.constant(*v).is_some_and(|t| t.rank() == 2))?;
    let params = node_params(graph, dequantize).filter(|p| matches!(p.dtype, DType::I4 | DType::U4))?;
    let Granularity::PerGroup { axis, group_size: block } = params.granularity else { return None };
    let rows_are_outputs = axis == 1;
    let fits = match node.op {
        Op::MatMul => !rows_are_outputs,
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            let channels = graph.constant(codes)?.dims()[usize::from(!rows_are_outputs)];
            let bias =
                node.input(2).map(|b| graph.value(b).shape.as_deref().and_then(tq_graph::dim::known_shape));
            let plain = alpha == 1.0 && !trans_a && (beta == 1.0 || bias.is_none());
            plain && trans_b == rows_are_outputs && bias.is_none_or(|dims| dims == Some(vec![channels]))
        }
        _ => false,
    };
    let data = node.input(0)?;
    let real = graph.value(data).dtype == Some(DType::F32) && graph.constant(data).is_none();
    (fits && real && block >= 16 && block.is_power_of_two()).then_some(Product {
        codes,
        params,
        block,
        rows_are_outputs,
    })
}

impl Writer<'_> {
    /// Writes one such product.
    pub(super) fn nbits(&mut self, node: &Node, product: &Product) -> Result<(), OnnxError> {
        let graph = self.graph;
        let Product { codes, params, block, rows_are_outputs } = product;
        let Some(tensor) = graph.constant(*codes) else { return Ok(()) };
        let base = graph.value(*codes).name.clone();
        let shift = if params.dtype == DType::I4 { MIDDLE } else { 0 };
        let unsigned = |q: i32| u8::try_from(q + shift).unwrap_or_default() & 0x0f;
        let q = tensor.to_i64_vec().unwrap_or_default();
        let (rows, columns) = (tensor.dims()[0], tensor.dims()[1]);
        let (n, k) = if *rows_are_outputs { (rows, columns) } else { (columns, rows) };
        let blocks = k.div_ceil(*block);
        // Of output feature `c` the code of input feature `i`, and the parameters of block `b`.
        let at = |c: usize, i: usize| if *rows_are_outputs { c * columns + i } else { i * columns + c };
        let grid = |c: usize, b: usize| if *rows_are_outputs { c * blocks + b } else { b * n + c };
        let zero = |c: usize, b: usize| unsigned(params.zero_point.get(grid(c, b)).copied().unwrap_or(0));
        let (mut packed, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
        for c in 0..n {
            for b in 0..blocks {
                scales.push(params.scale.get(grid(c, b)).copied().unwrap_or(1.0));
                let code = |i: usize| match q.get(at(c, i)).filter(|_| i < k) {
                    Some(q) => unsigned(i32::try_from(*q).unwrap_or_default()),
                    // Beyond the last feature there is nothing to be multiplied.
                    None => zero(c, b),
                };
                packed.extend(
                    (0..block / 2).map(|j| code(b * block + 2 * j) | (code(b * block + 2 * j + 1) << 4)),
                );
            }
            let pair =
                |j: usize| zero(c, 2 * j) | if 2 * j + 1 < blocks { zero(c, 2 * j + 1) << 4 } else { 0 };
            zeros.extend((0..blocks.div_ceil(2)).map(pair));
        }
        let middle = (0..n).all(|c| (0..blocks).all(|b| i32::from(zero(c, b)) == MIDDLE));
        let name = |v: Option<ValueId>| v.map(|v| graph.value(v).name.clone()).unwrap_or_default();
        let packed = self.add(&format!("{base}_nbits"), Tensor::new(&[n, blocks, block / 2], packed)?);
        let scales = self.add(&format!("{base}_nbits_scales"), Tensor::vector(scales));
        let mut input = vec![name(node.input(0)), packed, scales];
        if !middle {
            input.push(self.add(&format!("{base}_nbits_zero_points"), Tensor::vector(zeros)));
        }
        if let Some(bias) = node.input(2) {
            input.resize(5, String::new());
            input.push(name(Some(bias)));
            self.used.insert(bias);
        }
        self.used.extend(node.input(0));
        self.nodes.push(NodeProto {
            name: Some(node.name.clone()),
            op_type: Some("MatMulNBits".to_owned()),
            domain: Some(DOMAIN.to_owned()),
            input,
            output: vec![name(node.output(0))],
            attribute: vec![size("K", k), size("N", n), int("bits", 4), size("block_size", *block)],
            ..NodeProto::default()
        });
        Ok(())
    }
}
