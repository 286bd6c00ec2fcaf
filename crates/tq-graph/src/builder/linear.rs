//! Products with weights, and tables.

use super::{Builder, Init, Layer, Scope};
use crate::op::BinaryOp;
use crate::{GraphError, Op, Tensor, ValueId};

/// `y = x W^T + b` over the last axis. Parameters: `weight` `[out_features, in_features]`, `bias` `[out_features]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    in_features: usize,
    out_features: usize,
    bias: bool,
    zero_bias: bool,
}

impl Linear {
    /// With bias.
    #[must_use]
    pub fn new(in_features: usize, out_features: usize) -> Self {
        Self { in_features, out_features, bias: true, zero_bias: false }
    }

    /// Whether there is a bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// The bias starts at zero.
    pub(super) fn zero_bias(mut self) -> Self {
        self.zero_bias = true;
        self
    }
}

/// The transpose of a tensor of two axes.
pub(super) fn transposed(t: &Tensor) -> Result<Tensor, GraphError> {
    Ok(Tensor::from_array(t.view::<f32>()?.reversed_axes().to_owned()))
}

impl Layer for Linear {
    fn type_name(&self) -> &'static str {
        "Linear"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let (input, output) = (self.in_features, self.out_features);
        scope.expect_positive(&[("in_features", input), ("out_features", output)])?;
        let shape = scope.shape(x)?;
        let Some(last) = shape.last() else { return scope.fail("the input has no axes") };
        scope.expect_dim("features", last, input)?;
        let weight = scope.parameter("weight", &[output, input], Init::fan_in(input))?;
        let start = if self.zero_bias { Init::Constant(0.0) } else { Init::fan_in(input) };
        let bias = if self.bias { Some(scope.parameter("bias", &[output], start)?) } else { None };
        if shape.len() == 2 {
            let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
            let inputs: Vec<ValueId> =
                [x, weight.value()].into_iter().chain(bias.iter().map(|b| b.value())).collect();
            return scope.node("", op, &inputs);
        }
        let weight = scope.derived("weight_t", &[&weight], &[input, output], |t| transposed(&t[0]))?;
        let y = scope.node("", Op::MatMul, &[x, weight])?;
        match bias {
            Some(bias) => scope.node("add", Op::Binary(BinaryOp::Add), &[y, bias.value()]),
            None => Ok(y),
        }
    }
}

/// `y_o = x1 W_o x2 + b_o` over the last axes of two inputs, whose other axes agree. Parameters: `weight`
/// `[out_features, in1_features, in2_features]`, `bias` `[out_features]`.
///
/// It becomes a product of `x1` with constant weights (which quantizes as any linear layer) and one of the result with
/// `x2`. Apply it by [`Builder::bilinear`].
#[derive(Debug, Clone, PartialEq)]
pub struct Bilinear {
    in1_features: usize,
    in2_features: usize,
    out_features: usize,
    bias: bool,
}

impl Bilinear {
    /// With bias.
    #[must_use]
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Self {
        Self { in1_features, in2_features, out_features, bias: true }
    }

    /// Whether there is a bias.
    #[must_use]
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    fn apply(&self, scope: &mut Scope<'_>, x1: ValueId, x2: ValueId) -> Result<ValueId, GraphError> {
        let (m, n, out) = (self.in1_features, self.in2_features, self.out_features);
        scope.expect_positive(&[("in1_features", m), ("in2_features", n), ("out_features", out)])?;
        let (s1, s2) = (scope.shape(x1)?, scope.shape(x2)?);
        if s1.is_empty() || s1.len() != s2.len() {
            return scope.fail(format!("the inputs have {} and {} axes", s1.len(), s2.len()));
        }
        scope.expect_dim("features in x1", &s1[s1.len() - 1], m)?;
        scope.expect_dim("features in x2", &s2[s2.len() - 1], n)?;
        let weight = scope.parameter("weight", &[out, m, n], Init::fan_in(m))?;
        let Some(columns) = out.checked_mul(n) else {
            return scope.fail(format!("out_features {out} times in2_features {n} is too large"));
        };
        let weight = scope.derived("weight_t", &[&weight], &[m, columns], move |t| {
            // [out, in1, in2] -> [in1, out * in2]
            let w = t[0].view::<f32>()?.permuted_axes(ndarray::IxDyn(&[1, 0, 2])).to_owned();
            Tensor::from_array(w).reshape(&[m, columns])
        })?;
        let t = scope.node("linear", Op::MatMul, &[x1, weight])?;
        let dims: Vec<i64> = vec![0; s1.len() - 1].into_iter().chain([out as i64, n as i64]).collect();
        let dims = scope.constant("shape", Tensor::vector(dims));
        let t = scope.node("reshape", Op::Reshape { allow_zero: false }, &[t, dims])?;
        let last = scope.constant("axis", Tensor::vector(vec![-1i64]));
        let x2 = scope.node("unsqueeze", Op::Unsqueeze, &[x2, last])?;
        let y = scope.node("", Op::MatMul, &[t, x2])?;
        let y = scope.node("squeeze", Op::Squeeze, &[y, last])?;
        if !self.bias {
            return Ok(y);
        }
        let bias = scope.parameter("bias", &[out], Init::fan_in(m))?;
        scope.node("add", Op::Binary(BinaryOp::Add), &[y, bias.value()])
    }
}

impl Builder {
    /// Applies a [`Bilinear`] layer to two values under a dotted name.
    ///
    /// # Errors
    /// As [`Builder::layer`].
    pub fn bilinear(
        &mut self,
        name: impl Into<String>,
        x1: ValueId,
        x2: ValueId,
        layer: Bilinear,
    ) -> Result<ValueId, GraphError> {
        layer.apply(&mut self.scope(name.into(), "Bilinear")?, x1, x2)
    }
}

/// Rows of a table, picked by an integer input. Parameter: `weight` `[num_embeddings, embedding_dim]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    rows: usize,
    width: usize,
    padding_idx: Option<usize>,
}

impl Embedding {
    /// A table of `num_embeddings` rows of `embedding_dim` elements.
    #[must_use]
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Self {
        Self { rows: num_embeddings, width: embedding_dim, padding_idx: None }
    }

    /// The row that starts as zeros.
    #[must_use]
    pub fn padding_idx(mut self, row: usize) -> Self {
        self.padding_idx = Some(row);
        self
    }
}

impl Layer for Embedding {
    fn type_name(&self) -> &'static str {
        "Embedding"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.expect_positive(&[("num_embeddings", self.rows), ("embedding_dim", self.width)])?;
        if let Some(row) = self.padding_idx.filter(|row| *row >= self.rows) {
            return scope.fail(format!("padding_idx {row} of {} rows", self.rows));
        }
        let init = Init::Normal { zero_row: self.padding_idx };
        let table = scope.parameter("weight", &[self.rows, self.width], init)?;
        scope.node("", Op::Gather { axis: 0 }, &[table.value(), x])
    }
}
