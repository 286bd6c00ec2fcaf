//! Multi-head attention.

use super::layer::Parameter;
use super::linear::transposed;
use super::{Builder, Init, Layer, Linear, Scope};
use crate::op::BinaryOp;
use crate::{GraphError, Op, Tensor, ValueId};

/// `softmax(q k^T / sqrt(d)) v` by heads, between projections (Vaswani et al., 2017). Parameters: `in_proj_weight`
/// `[3 * embed_dim, embed_dim]` (query, key, value), `in_proj_bias`, `out_proj.weight` and `out_proj.bias`.
///
/// As a [`Layer`] it attends to its own input; [`Builder::attention`] takes query, key and value. There are no masks.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiheadAttention {
    embed_dim: usize,
    num_heads: usize,
    bias: bool,
    batch_first: bool,
}

impl MultiheadAttention {
    /// With biases; as in PyTorch, time is the first axis.
    #[must_use]
    pub fn new(embed_dim: usize, num_heads: usize) -> Self {
        Self { embed_dim, num_heads, bias: true, batch_first: false }
    }

    /// Whether there are biases.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Whether the first axis is the batch instead of time.
    #[must_use]
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
        self
    }

    fn build(&self, scope: &mut Scope<'_>, inputs: [ValueId; 3]) -> Result<ValueId, GraphError> {
        let (width, heads) = (self.embed_dim, self.num_heads);
        scope.expect_positive(&[("embed_dim", width), ("num_heads", heads)])?;
        if width % heads != 0 {
            return scope.fail(format!("embed_dim {width} does not divide into {heads} heads"));
        }
        let Some(rows) = width.checked_mul(3) else {
            return scope.fail(format!("embed_dim {width} is too large"));
        };
        for x in inputs {
            let shape = scope.shape_of_rank(x, &[3])?;
            scope.expect_dim("features", &shape[2], width)?;
        }
        // Xavier's uniform bound for the three projections together.
        let bound = libm::sqrt(6.0 / (width as f64 * 4.0)) as f32;
        let weight = scope.parameter("in_proj_weight", &[rows, width], Init::Uniform(bound))?;
        let bias = match self.bias {
            true => Some(scope.parameter("in_proj_bias", &[rows], Init::Constant(0.0))?),
            false => None,
        };
        let split =
            scope.constant("split", Tensor::vector(vec![0i64, 0, heads as i64, (width / heads) as i64]));
        let mut projected = Vec::with_capacity(3);
        for (i, (x, name)) in inputs.into_iter().zip(["query", "key", "value"]).enumerate() {
            let x = self.swap_batch(scope, &format!("{name}_batch_first"), x)?;
            let x = self.project(scope, i, name, x, &weight, bias.as_ref())?;
            let x = scope.node(&format!("{name}_split"), Op::Reshape { allow_zero: false }, &[x, split])?;
            // [batch, time, heads, d] -> [batch, heads, time, d], keys with the last two exchanged
            let perm = if name == "key" { vec![0, 2, 3, 1] } else { vec![0, 2, 1, 3] };
            projected.push(scope.node(&format!("{name}_heads"), Op::Transpose { perm: Some(perm) }, &[x])?);
        }
        let [q, k, v] = projected[..] else { return scope.fail("three projections") };
        let scale = 1.0 / libm::sqrt((width / heads) as f64);
        let scale = scope.constant("scale", Tensor::scalar(scale as f32));
        let q = scope.node("scaled", Op::Binary(BinaryOp::Mul), &[q, scale])?;
        let scores = scope.node("scores", Op::MatMul, &[q, k])?;
        let scores = scope.node("softmax", Op::Softmax { axis: -1 }, &[scores])?;
        let y = scope.node("", Op::MatMul, &[scores, v])?;
        let y = scope.node("joined_heads", Op::Transpose { perm: Some(vec![0, 2, 1, 3]) }, &[y])?;
        let joined = scope.constant("joined", Tensor::vector(vec![0i64, 0, width as i64]));
        let y = scope.node("join", Op::Reshape { allow_zero: false }, &[y, joined])?;
        let y = scope.layer("out_proj", y, &Linear::new(width, width).bias(self.bias).zero_bias())?;
        self.swap_batch(scope, "time_first", y)
    }

    /// Exchanges the first two axes, where time comes first outside.
    fn swap_batch(&self, scope: &mut Scope<'_>, name: &str, x: ValueId) -> Result<ValueId, GraphError> {
        if self.batch_first {
            return Ok(x);
        }
        scope.node(name, Op::Transpose { perm: Some(vec![1, 0, 2]) }, &[x])
    }

    /// The projection of the query (0), the key (1) or the value (2).
    fn project(
        &self,
        scope: &mut Scope<'_>,
        i: usize,
        name: &str,
        x: ValueId,
        weight: &Parameter,
        bias: Option<&Parameter>,
    ) -> Result<ValueId, GraphError> {
        let width = self.embed_dim;
        let w = scope.derived(&format!("{name}_weight"), &[weight], &[width, width], move |t| {
            let part = t[0].as_slice::<f32>()?[i * width * width..(i + 1) * width * width].to_vec();
            transposed(&Tensor::new(&[width, width], part)?)
        })?;
        let y = scope.node(&format!("{name}_proj"), Op::MatMul, &[x, w])?;
        let Some(bias) = bias else { return Ok(y) };
        let b = scope.derived(&format!("{name}_bias"), &[bias], &[width], move |t| {
            Tensor::new(&[width], t[0].as_slice::<f32>()?[i * width..(i + 1) * width].to_vec())
        })?;
        scope.node(&format!("{name}_add"), Op::Binary(BinaryOp::Add), &[y, b])
    }
}

impl Layer for MultiheadAttention {
    fn type_name(&self) -> &'static str {
        "MultiheadAttention"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        self.build(scope, [x, x, x])
    }
}

impl Builder {
    /// Applies multi-head attention to a query, a key and a value under a dotted name.
    ///
    /// # Errors
    /// As [`Builder::layer`].
    pub fn attention(
        &mut self,
        name: impl Into<String>,
        query: ValueId,
        key: ValueId,
        value: ValueId,
        layer: MultiheadAttention,
    ) -> Result<ValueId, GraphError> {
        layer.build(&mut self.scope(name.into(), layer.type_name())?, [query, key, value])
    }
}
