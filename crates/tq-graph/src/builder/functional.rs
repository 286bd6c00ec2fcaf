//! Operators without parameters, as methods of the builder. Their nodes are named after them: `add`, `add_1`, ...

use super::Builder;
use crate::op::{BinaryOp, ReduceKind};
use crate::{GraphError, Op, Tensor, ValueId};

impl Builder {
    fn functional(
        &mut self,
        base: &str,
        op: Op,
        inputs: &[ValueId],
        list: Option<Vec<i64>>,
    ) -> Result<ValueId, GraphError> {
        let name = self.fresh_node(base);
        let mut inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        if let Some(list) = list {
            let constant = self.fresh_value(&format!("{name}.list"));
            inputs.push(Some(self.graph.add_constant(constant, Tensor::vector(list))));
        }
        Ok(self.push(name, op, &inputs, 1)?[0])
    }

    /// `a + b`, with broadcasting.
    ///
    /// # Errors
    /// [`GraphError::Node`] when types or shapes do not fit; so for all of these methods.
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.functional("add", Op::Binary(BinaryOp::Add), &[a, b], None)
    }

    /// `a - b`, with broadcasting.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.functional("sub", Op::Binary(BinaryOp::Sub), &[a, b], None)
    }

    /// `a * b`, with broadcasting.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.functional("mul", Op::Binary(BinaryOp::Mul), &[a, b], None)
    }

    /// `a / b`, with broadcasting.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.functional("div", Op::Binary(BinaryOp::Div), &[a, b], None)
    }

    /// The matrix product, as numpy's `matmul`.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId, GraphError> {
        self.functional("matmul", Op::MatMul, &[a, b], None)
    }

    /// Values one after the other along an axis, which may be negative.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn concat(&mut self, values: &[ValueId], axis: i64) -> Result<ValueId, GraphError> {
        self.functional("concat", Op::Concat { axis }, values, None)
    }

    /// The same elements under another shape; 0 stands for the input's length of the axis, one -1 for what is left.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn reshape(&mut self, x: ValueId, dims: &[i64]) -> Result<ValueId, GraphError> {
        self.functional("reshape", Op::Reshape { allow_zero: false }, &[x], Some(dims.to_vec()))
    }

    /// Axes in another order: output axis `i` is input axis `perm[i]`.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn permute(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId, GraphError> {
        self.functional("permute", Op::Transpose { perm: Some(perm.to_vec()) }, &[x], None)
    }

    /// Two axes, which may be negative, exchanged.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn transpose(&mut self, x: ValueId, a: i64, b: i64) -> Result<ValueId, GraphError> {
        let rank = self.shape(x).map_or(0, Vec::len);
        let axis = |a: i64| usize::try_from(if a < 0 { a + rank as i64 } else { a }).unwrap_or(rank);
        let (i, j) = (axis(a), axis(b));
        if i >= rank || j >= rank {
            return Err(GraphError::Node {
                node: self.fresh_node("transpose"),
                op: "Transpose",
                message: format!("axes {a} and {b} of {rank} axes"),
            });
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        perm.swap(i, j);
        self.functional("transpose", Op::Transpose { perm: Some(perm) }, &[x], None)
    }

    /// The mean over these axes, which may be negative.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn mean(&mut self, x: ValueId, axes: &[i64], keep_dims: bool) -> Result<ValueId, GraphError> {
        self.reduce("mean", ReduceKind::Mean, x, axes, keep_dims)
    }

    /// The sum over these axes, which may be negative.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn sum(&mut self, x: ValueId, axes: &[i64], keep_dims: bool) -> Result<ValueId, GraphError> {
        self.reduce("sum", ReduceKind::Sum, x, axes, keep_dims)
    }

    fn reduce(
        &mut self,
        base: &str,
        kind: ReduceKind,
        x: ValueId,
        axes: &[i64],
        keep_dims: bool,
    ) -> Result<ValueId, GraphError> {
        let op = Op::Reduce { kind, keep_dims, noop_with_empty_axes: false };
        self.functional(base, op, &[x], Some(axes.to_vec()))
    }

    /// Without these axes of length 1.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn squeeze(&mut self, x: ValueId, axes: &[i64]) -> Result<ValueId, GraphError> {
        self.functional("squeeze", Op::Squeeze, &[x], Some(axes.to_vec()))
    }

    /// With new axes of length 1, at these places of the result.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[i64]) -> Result<ValueId, GraphError> {
        self.functional("unsqueeze", Op::Unsqueeze, &[x], Some(axes.to_vec()))
    }

    /// One position of an axis, which goes; both may be negative.
    ///
    /// # Errors
    /// As [`Builder::add`].
    pub fn select(&mut self, x: ValueId, axis: i64, index: i64) -> Result<ValueId, GraphError> {
        let name = self.fresh_node("select");
        let constant = self.fresh_value(&format!("{name}.index"));
        let index = self.graph.add_constant(constant, Tensor::scalar(index));
        Ok(self.push(name, Op::Gather { axis }, &[Some(x), Some(index)], 1)?[0])
    }
}
