//! Module types: what PyTorch's users call the layers that ONNX operators came from.
//!
//! A configuration names a type by the marker type of this module ([`crate::QConfigDict::set_module_type`]), by the
//! marker's name, or by the name of an ONNX operator. `Conv2d` is a `Conv` over two spatial axes, `Linear` a `Gemm`
//! or a `MatMul` whose weights are constant; `Conv` is a `Conv` of any rank.

mod bilinear;

use crate::config::onnx_operators;
use std::collections::HashSet;
use tq_graph::{Graph, Node, Op, ValueId};

/// A type of layer that a configuration can name.
pub trait ModuleType {
    /// The name that files and messages use.
    const NAME: &'static str;
}

/// What a node must be, besides having the operator, to be of a type.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    /// Nothing else.
    Any,
    /// A product with constant weights of two axes.
    Weighted,
    /// So many spatial axes.
    Spatial(usize),
    /// One of these numbers of axes.
    Ranks(&'static [usize]),
    /// A clip with these bounds.
    Bounds(f32, f32),
    /// Part of a bilinear layer.
    Bilinear,
}

macro_rules! module_types {
    ($($(#[doc = $doc:literal])+ $name:ident: $ops:expr, $form:expr;)*) => {
        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name;

            impl ModuleType for $name {
                const NAME: &'static str = stringify!($name);
            }
        )*

        /// Every module type: name, operators, form.
        const TYPES: &[(&str, &[&str], Form)] = &[$((stringify!($name), $ops, $form),)*];
    };
}

module_types! {
    /// `x1 W x2 + b`, which ONNX has no operator for: all operators that [`tq_graph::builder::Bilinear`] writes it as, in a
    /// model from a file too. Its first product is no `Linear` then.
    Bilinear: &["MatMul", "Reshape", "Unsqueeze", "Squeeze", "Add"], Form::Bilinear;
    /// A matrix product with constant weights, with or without bias.
    Linear: &["Gemm", "MatMul"], Form::Weighted;
    /// A convolution over one axis.
    Conv1d: &["Conv"], Form::Spatial(1);
    /// A convolution over two axes.
    Conv2d: &["Conv"], Form::Spatial(2);
    /// A convolution over three axes.
    Conv3d: &["Conv"], Form::Spatial(3);
    /// A transposed convolution over one axis.
    ConvTranspose1d: &["ConvTranspose"], Form::Spatial(1);
    /// A transposed convolution over two axes.
    ConvTranspose2d: &["ConvTranspose"], Form::Spatial(2);
    /// A transposed convolution over three axes.
    ConvTranspose3d: &["ConvTranspose"], Form::Spatial(3);
    /// A long short-term memory layer.
    LSTM: &["LSTM"], Form::Any;
    /// A layer of gated recurrent units.
    GRU: &["GRU"], Form::Any;
    /// A plain recurrent layer.
    RNN: &["RNN"], Form::Any;
    /// `max(x, 0)`.
    ReLU: &["Relu"], Form::Any;
    /// A clip to 0..6.
    ReLU6: &["Clip"], Form::Bounds(0.0, 6.0);
    /// A clip with any other bounds.
    Hardtanh: &["Clip"], Form::Any;
    /// `x * relu6(x + 3) / 6`.
    Hardswish: &["HardSwish"], Form::Any;
    /// `relu6(x + 3) / 6` and the like.
    Hardsigmoid: &["HardSigmoid"], Form::Any;
    /// Exponential linear unit.
    ELU: &["Elu"], Form::Any;
    /// Scaled exponential linear unit.
    SELU: &["Selu"], Form::Any;
    /// Gaussian error linear unit.
    GELU: &["Gelu"], Form::Any;
    /// `x` where positive, else a fraction of it.
    LeakyReLU: &["LeakyRelu"], Form::Any;
    /// [`LeakyReLU`] with a learned fraction.
    PReLU: &["PRelu"], Form::Any;
    /// `1 / (1 + exp(-x))`.
    Sigmoid: &["Sigmoid"], Form::Any;
    /// Hyperbolic tangent.
    Tanh: &["Tanh"], Form::Any;
    /// Exponentials that sum to one.
    Softmax: &["Softmax"], Form::Any;
    /// Largest value of a window over one axis.
    MaxPool1d: &["MaxPool"], Form::Spatial(1);
    /// Largest value of a window over two axes.
    MaxPool2d: &["MaxPool"], Form::Spatial(2);
    /// Largest value of a window over three axes.
    MaxPool3d: &["MaxPool"], Form::Spatial(3);
    /// Mean of a window over one axis.
    AvgPool1d: &["AveragePool"], Form::Spatial(1);
    /// Mean of a window over two axes.
    AvgPool2d: &["AveragePool"], Form::Spatial(2);
    /// Mean of a window over three axes.
    AvgPool3d: &["AveragePool"], Form::Spatial(3);
    /// Mean over one whole axis.
    AdaptiveAvgPool1d: &["GlobalAveragePool"], Form::Spatial(1);
    /// Mean over two whole axes.
    AdaptiveAvgPool2d: &["GlobalAveragePool"], Form::Spatial(2);
    /// Mean over three whole axes.
    AdaptiveAvgPool3d: &["GlobalAveragePool"], Form::Spatial(3);
    /// Batch normalization of rows or of sequences, where fusion left one.
    BatchNorm1d: &["BatchNormalization"], Form::Ranks(&[2, 3]);
    /// Batch normalization of images, where fusion left one.
    BatchNorm2d: &["BatchNormalization"], Form::Ranks(&[4]);
    /// Batch normalization of volumes, where fusion left one.
    BatchNorm3d: &["BatchNormalization"], Form::Ranks(&[5]);
    /// Normalization over the last axes.
    LayerNorm: &["LayerNormalization"], Form::Any;
    /// Normalization over groups of channels.
    GroupNorm: &["GroupNormalization"], Form::Any;
    /// Rows of a table.
    Embedding: &["Gather"], Form::Weighted;
}

/// The module types of the nodes of a graph.
#[derive(Debug)]
pub(crate) struct Types<'g> {
    pub(crate) graph: &'g Graph,
    /// What the nodes of bilinear layers give.
    bilinear: HashSet<ValueId>,
}

impl<'g> Types<'g> {
    pub(crate) fn new(graph: &'g Graph) -> Self {
        Self { graph, bilinear: bilinear::results(graph) }
    }

    /// The module type of a node, the first that fits; `None` for operators that no module stands for.
    pub(crate) fn of(&self, node: &Node) -> Option<&'static str> {
        let op = node.op.name();
        TYPES
            .iter()
            .find(|(_, ops, form)| ops.contains(&op) && self.fits(*form, node))
            .map(|(name, ..)| *name)
    }

    fn fits(&self, form: Form, node: &Node) -> bool {
        let graph = self.graph;
        let rank = |i: usize| node.input(i).and_then(|v| graph.value(v).shape.as_ref()).map(Vec::len);
        match form {
            Form::Any => true,
            Form::Bilinear => node.output(0).is_some_and(|v| self.bilinear.contains(&v)),
            // The table of a Gather is its first input, the weights of a product its second.
            Form::Weighted => {
                let at = usize::from(!matches!(node.op, Op::Gather { .. }));
                graph.const_input(node, at).is_some_and(|t| t.rank() == 2)
            }
            Form::Spatial(n) => rank(0).or_else(|| rank(1)).is_some_and(|r| r == n + 2),
            Form::Ranks(ranks) => rank(0).is_some_and(|r| ranks.contains(&r)),
            Form::Bounds(lo, hi) => crate::fuse::clamp::bounds_of(graph, node) == Ok((lo, hi)),
        }
    }
}

/// True when a configuration may name this type.
pub(crate) fn is_known(name: &str) -> bool {
    TYPES.iter().any(|(n, ..)| *n == name) || onnx_operators::names().any(|n| n == name)
}

/// The known names that are most like `name`.
pub(crate) fn suggestions(name: &str) -> Vec<&'static str> {
    crate::names::most_like(name, TYPES.iter().map(|(n, ..)| *n).chain(onnx_operators::names()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_of_the_graph_can_be_named() {
        let named = |op: Op| is_known(op.name());
        assert!(
            named(Op::MatMul)
                && named(Op::Clip)
                && named(Op::GlobalAveragePool)
                && named(Op::Softmax { axis: 1 })
        );
        for (_, ops, _) in TYPES {
            assert!(ops.iter().all(|op| is_known(op)), "{ops:?}");
        }
        assert!(!is_known("conv2d") && !is_known(""));
    }

    #[test]
    fn typos_are_recognised() {
        assert_eq!(suggestions("conv2d")[0], "Conv2d");
        assert_eq!(suggestions("Liner")[0], "Linear");
        assert!(suggestions("zzzzzzzzzzzz").is_empty());
    }
}
