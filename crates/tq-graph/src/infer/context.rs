//! What the rules of the operators see of the graph, and the arithmetic they share.

use super::values::Content;
use crate::{Dim, Graph, GraphError, Node, Shape};
use std::ops::RangeInclusive;
use tq_qtypes::DType;

/// Axes that a tensor may have; arrays of every known library stop here or earlier.
pub(super) const MAX_RANK: usize = 64;

/// What is known of one output of a node.
#[derive(Debug, Default)]
pub(super) struct Fact {
    pub(super) dtype: Option<DType>,
    pub(super) shape: Option<Shape>,
}

impl Fact {
    pub(super) fn new(dtype: Option<DType>, shape: Option<Shape>) -> Self {
        Self { dtype, shape }
    }
}

/// One node and what is known of its inputs.
pub(super) struct Context<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
    pub(super) contents: &'a [Option<Content>],
}

impl<'a> Context<'a> {
    /// The error that names this node.
    pub(super) fn error(&self, message: impl Into<String>) -> GraphError {
        GraphError::Node { node: self.node.name.clone(), op: self.node.op.name(), message: message.into() }
    }

    /// [`Context::error`] as a result.
    pub(super) fn fail<T>(&self, message: impl Into<String>) -> Result<T, GraphError> {
        Err(self.error(message))
    }

    pub(super) fn has(&self, i: usize) -> bool {
        self.node.input(i).is_some()
    }

    pub(super) fn dtype(&self, i: usize) -> Option<DType> {
        self.node.input(i).and_then(|v| self.graph.value(v).dtype)
    }

    pub(super) fn shape(&self, i: usize) -> Option<&'a [Dim]> {
        self.node.input(i).and_then(|v| self.graph.value(v).shape.as_deref())
    }

    pub(super) fn content(&self, i: usize) -> Option<&'a Content> {
        self.node.input(i).and_then(|v| self.contents.get(v.0)).and_then(Option::as_ref)
    }

    /// The elements of an integer input, if all of them are known numbers.
    pub(super) fn ints(&self, i: usize) -> Option<Vec<i64>> {
        self.content(i).and_then(|c| super::values::known(c))
    }

    /// The name under which output `i` goes in symbols and messages.
    fn output_name(&self, i: usize) -> &str {
        self.node.output(i).map_or(self.node.name.as_str(), |v| self.graph.value(v).name.as_str())
    }

    /// The symbol for a dimension of output `i` that only the data tells.
    pub(super) fn unknown(&self, i: usize, axis: usize) -> Dim {
        Dim::symbol(format!("?{}.{axis}", self.output_name(i)))
    }

    /// `rank` symbols for output 0, or nothing when the rank itself is beyond reason.
    pub(super) fn unknown_shape(&self, rank: usize) -> Option<Shape> {
        (rank <= MAX_RANK).then(|| (0..rank).map(|axis| self.unknown(0, axis)).collect())
    }

    /// The length of a parameter tensor (rank 0 or 1), if it is known.
    pub(super) fn len_of(&self, i: usize) -> Option<usize> {
        match self.shape(i)? {
            [] => Some(1),
            [n] => n.known_usize(),
            _ => None,
        }
    }

    /// Fails when a parameter tensor is known to have more than `rank` axes, or fewer when `exact`.
    pub(super) fn check_param(&self, i: usize, name: &str, scalar_too: bool) -> Result<(), GraphError> {
        match self.shape(i).map(<[Dim]>::len) {
            None | Some(1) => {}
            Some(0) if scalar_too => {}
            Some(r) => return self.fail(format!("{name} has rank {r}, expected 1")),
        }
        match self.dtype(i) {
            None | Some(DType::I64 | DType::I32) => Ok(()),
            Some(d) => self.fail(format!("{name} is {d}, expected i64")),
        }
    }

    /// The type of input `i`, which must satisfy `ok`.
    pub(super) fn expect_dtype(
        &self,
        i: usize,
        name: &str,
        expected: &str,
        ok: impl Fn(DType) -> bool,
    ) -> Result<Option<DType>, GraphError> {
        match self.dtype(i) {
            Some(d) if !ok(d) => self.fail(format!("{name} is {d}, expected {expected}")),
            d => Ok(d),
        }
    }

    /// The common type of inputs `a` and `b`.
    pub(super) fn same_dtype(
        &self,
        (a, a_name): (usize, &str),
        (b, b_name): (usize, &str),
    ) -> Result<Option<DType>, GraphError> {
        match (self.dtype(a), self.dtype(b)) {
            (Some(x), Some(y)) if x != y => self.fail(format!("{a_name} is {x} but {b_name} is {y}")),
            (x, y) => Ok(x.or(y)),
        }
    }

    /// The shape of input `i`, whose rank must lie in `ranks`.
    pub(super) fn expect_rank(
        &self,
        i: usize,
        name: &str,
        ranks: RangeInclusive<usize>,
    ) -> Result<Option<&'a [Dim]>, GraphError> {
        match self.shape(i) {
            Some(s) if !ranks.contains(&s.len()) => {
                let (lo, hi) = (ranks.start(), ranks.end());
                let expected = match (lo, hi) {
                    (lo, hi) if lo == hi => format!("{lo}"),
                    (lo, &usize::MAX) => format!("at least {lo}"),
                    (lo, hi) => format!("{lo} to {hi}"),
                };
                self.fail(format!("{name} has rank {}, expected {expected}", s.len()))
            }
            s => Ok(s),
        }
    }

    /// Fails when input `i` is known not to be a vector of `n` elements.
    pub(super) fn expect_vector(&self, i: usize, name: &str, n: &Dim) -> Result<(), GraphError> {
        match self.expect_rank(i, name, 1..=1)? {
            Some([d]) if conflict(d, n) => self.fail(format!("{name} has {d} elements, expected {n}")),
            _ => Ok(()),
        }
    }

    /// `axis`, counted from the end when negative, within `0..rank`.
    pub(super) fn axis(&self, axis: i64, rank: usize) -> Result<usize, GraphError> {
        normalize_axis(axis, rank)
            .ok_or_else(|| self.error(format!("axis {axis} is out of range for rank {rank}")))
    }

    /// Which of `0..rank` stand in `axes`; repeated ones are an error.
    pub(super) fn axis_set(&self, axes: &[i64], rank: usize) -> Result<Vec<bool>, GraphError> {
        let mut set = vec![false; rank];
        for &a in axes {
            let at = self.axis(a, rank)?;
            if std::mem::replace(&mut set[at], true) {
                return self.fail(format!("axis {a} is given twice"));
            }
        }
        Ok(set)
    }

    /// A computed dimension of output `out`: known ones must not be negative or overflow, while an expression that
    /// grew too long becomes a symbol.
    pub(super) fn settle(
        &self,
        out: usize,
        axis: usize,
        value: Option<Dim>,
        operands: &[&Dim],
    ) -> Result<Dim, GraphError> {
        match value {
            Some(d) => match d.known() {
                Some(n) if n < 0 => self.fail(format!("output axis {axis} would have {n} elements")),
                _ => Ok(d),
            },
            None if operands.iter().all(|d| d.known().is_some()) => {
                self.fail(format!("the size of output axis {axis} overflows"))
            }
            None => Ok(self.unknown(out, axis)),
        }
    }

    /// Product of dimensions, as dimension `axis` of the output.
    pub(super) fn product(&self, axis: usize, dims: &[Dim]) -> Result<Dim, GraphError> {
        let value = dims.iter().try_fold(Dim::from(1i64), |p, d| p.checked_mul(d));
        self.settle(0, axis, value, &dims.iter().collect::<Vec<_>>())
    }

    /// The shape to which both broadcast (ONNX multidirectional broadcasting, as in numpy).
    pub(super) fn broadcast(&self, a: &[Dim], b: &[Dim]) -> Result<Shape, GraphError> {
        let rank = a.len().max(b.len());
        let one = Dim::from(1i64);
        let at =
            |s: &'_ [Dim], i: usize| (i + s.len()).checked_sub(rank).map_or(one.clone(), |i| s[i].clone());
        (0..rank)
            .map(|i| {
                let (x, y) = (at(a, i), at(b, i));
                match (x.known(), y.known()) {
                    _ if x == y => Ok(x),
                    (Some(1), _) => Ok(y),
                    (_, Some(1)) => Ok(x),
                    (Some(_), Some(_)) => {
                        self.fail(format!("shapes {} and {} do not broadcast", show(a), show(b)))
                    }
                    // The other one is either equal at run time, or 1.
                    (None, Some(_)) => Ok(y),
                    _ => Ok(x),
                }
            })
            .collect()
    }
}

/// `axis`, counted from the end when negative, if it lies within `0..rank`.
pub(super) fn normalize_axis(axis: i64, rank: usize) -> Option<usize> {
    let r = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(r)? } else { axis };
    usize::try_from(axis).ok().filter(|a| *a < rank)
}

/// Whether two dimensions are known to differ.
pub(super) fn conflict(a: &Dim, b: &Dim) -> bool {
    matches!((a.known(), b.known()), (Some(x), Some(y)) if x != y)
}

/// The one that is known of two dimensions that are equal at run time; `None` when they are known to differ.
pub(super) fn unify(a: &Dim, b: &Dim) -> Option<Dim> {
    match (a.known(), b.known()) {
        (Some(x), Some(y)) if x != y => None,
        (None, Some(_)) => Some(b.clone()),
        _ => Some(a.clone()),
    }
}

/// A shape as messages show it.
pub(super) fn show(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
