//! Everyday operators, by name.

use super::Var;
use crate::QatError;
use tq_graph::op::{BinaryOp, ReduceKind, UnaryOp};
use tq_graph::{Op, Tensor};

impl Var {
    /// One node with one output of this and other inputs.
    fn with(&self, op: &Op, others: &[&Var]) -> Result<Var, QatError> {
        let inputs: Vec<Option<&Var>> = [self].iter().chain(others).map(|v| Some(*v)).collect();
        let mut outputs = self.tape().apply(op.name(), op, &inputs, 1)?;
        Ok(outputs.swap_remove(0))
    }

    /// Sum, with numpy broadcasting.
    ///
    /// # Errors
    /// As [`Tape::apply`](super::Tape::apply), as for all of these.
    pub fn add(&self, other: &Var) -> Result<Var, QatError> {
        self.with(&Op::Binary(BinaryOp::Add), &[other])
    }

    /// Difference, with numpy broadcasting.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn sub(&self, other: &Var) -> Result<Var, QatError> {
        self.with(&Op::Binary(BinaryOp::Sub), &[other])
    }

    /// Product, with numpy broadcasting.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn mul(&self, other: &Var) -> Result<Var, QatError> {
        self.with(&Op::Binary(BinaryOp::Mul), &[other])
    }

    /// Quotient, with numpy broadcasting.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn div(&self, other: &Var) -> Result<Var, QatError> {
        self.with(&Op::Binary(BinaryOp::Div), &[other])
    }

    /// Matrix product as in numpy.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn matmul(&self, other: &Var) -> Result<Var, QatError> {
        self.with(&Op::MatMul, &[other])
    }

    /// A function of every element.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn map(&self, function: UnaryOp) -> Result<Var, QatError> {
        self.with(&Op::Unary(function), &[])
    }

    /// Sum of all elements, a tensor of rank 0.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn sum(&self) -> Result<Var, QatError> {
        self.reduced(ReduceKind::Sum)
    }

    /// Mean of all elements, a tensor of rank 0.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn mean(&self) -> Result<Var, QatError> {
        self.reduced(ReduceKind::Mean)
    }

    /// The elements under another shape, where -1 is what remains.
    ///
    /// # Errors
    /// As [`Var::add`].
    pub fn reshape(&self, dims: &[i64]) -> Result<Var, QatError> {
        let dims = self.tape().constant(Tensor::vector(dims.to_vec()));
        self.with(&Op::Reshape { allow_zero: false }, &[&dims])
    }

    fn reduced(&self, kind: ReduceKind) -> Result<Var, QatError> {
        self.with(&Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: false }, &[])
    }
}
