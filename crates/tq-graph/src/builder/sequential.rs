//! Chains of layers, and layers without arithmetic.

use super::{Layer, Scope};
use crate::{GraphError, Op, Tensor, ValueId};

/// The type name of [`Sequential`].
pub(super) const SEQUENTIAL: &str = "Sequential";

/// A chain of layers, named `0`, `1` and so on within it, as PyTorch's. It may be the whole model, under the empty
/// name.
#[derive(Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Layer>)>,
}

impl Sequential {
    /// An empty chain.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer at the end, named by its position.
    #[must_use]
    pub fn push(self, layer: impl Layer + 'static) -> Self {
        let position = self.layers.len().to_string();
        self.push_named(position, layer)
    }

    /// Adds a layer at the end under a name.
    #[must_use]
    pub fn push_named(mut self, name: impl Into<String>, layer: impl Layer + 'static) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }
}

impl Layer for Sequential {
    fn type_name(&self) -> &'static str {
        SEQUENTIAL
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        if let Some((i, _)) = self.layers.iter().enumerate().find(|(_, (name, _))| name.is_empty()) {
            return scope.fail(format!("layer {i} has no name"));
        }
        self.layers.iter().try_fold(x, |x, (name, layer)| scope.layer(name, x, layer.as_ref()))
    }
}

/// Gives its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Identity;

impl Layer for Identity {
    fn type_name(&self) -> &'static str {
        "Identity"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        scope.node("", Op::Identity, &[x])
    }
}

/// Does nothing when a model is not trained; it is here so that the layers after it keep their numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    p: f32,
}

impl Dropout {
    /// Drops elements with probability `p` in training.
    #[must_use]
    pub fn new(p: f32) -> Self {
        Self { p }
    }
}

impl Layer for Dropout {
    fn type_name(&self) -> &'static str {
        "Dropout"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        if !(0.0..=1.0).contains(&self.p) {
            return scope.fail(format!("the probability {} is not between 0 and 1", self.p));
        }
        scope.node("", Op::Dropout, &[x])
    }
}

/// Makes one axis of several neighbouring ones: by default of all but the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flatten {
    start: i64,
    end: i64,
}

impl Default for Flatten {
    fn default() -> Self {
        Self { start: 1, end: -1 }
    }
}

impl Flatten {
    /// Joins the axes from `start` to `end`, both included; they may be negative.
    #[must_use]
    pub fn new(start: i64, end: i64) -> Self {
        Self { start, end }
    }
}

impl Layer for Flatten {
    fn type_name(&self) -> &'static str {
        "Flatten"
    }

    fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
        let rank = scope.shape(x)?.len() as i64;
        let axis = |a: i64| if a < 0 { a + rank } else { a };
        let (start, end) = (axis(self.start), axis(self.end));
        if start < 0 || end >= rank || start > end {
            return scope.fail(format!("axes {} to {} of {rank} axes", self.start, self.end));
        }
        if (start, end) == (1, rank - 1) {
            return scope.node("", Op::Flatten { axis: 1 }, &[x]);
        }
        // The axes before keep their lengths by 0; those after would be shifted, so they must be known.
        let after = &scope.shape(x)?[end as usize + 1..];
        let mut dims = vec![0i64; start as usize];
        dims.push(-1);
        for d in after {
            match d.known() {
                Some(n) => dims.push(n),
                None => {
                    return scope.fail(format!("the axis of length {d} after the joined ones is not known"));
                }
            }
        }
        let dims = scope.constant("shape", Tensor::vector(dims));
        scope.node("", Op::Reshape { allow_zero: false }, &[x, dims])
    }
}
