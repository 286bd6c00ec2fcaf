//! A quantized model whose products are summed up and requantized as another kernel does it.

use super::product::{Differences, Product};
use crate::AnalysisError;
use std::collections::HashMap;
use tq_eval::{EvalError, Precision, eval_op};
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, GraphError, NodeId, Tensor, ValueId, infer};

/// How sums are made and become codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// As our sessions do it; products with weights in groups, which are no [`Product`], are evaluated in float.
    Exact,
    /// Products added by pairs that saturate at 16 bits.
    SaturatingPairs,
    /// Exact sums, requantized in fixed point.
    FixedPoint,
}

/// What is run: a node in float, or a product on codes.
enum Step {
    Node(NodeId),
    Product(usize),
}

/// Runs a quantized model: convolutions and products with constant weights on codes, with a chosen arithmetic, and
/// everything else node by node with the reference evaluator. Slow, and for analysis alone.
pub(crate) struct Interpreter {
    graph: Graph,
    products: Vec<Product>,
    steps: Vec<Step>,
    /// For every step the values that nobody reads after it.
    last_reads: Vec<Vec<ValueId>>,
}

impl Interpreter {
    pub(crate) fn new(quantized: &Graph) -> Result<Self, AnalysisError> {
        let mut graph = quantized.clone();
        infer::infer(&mut graph)?;
        let view = QdqView::new(&graph);
        let products: Vec<Product> =
            view.operators.iter().filter_map(|op| Product::new(&graph, op)).collect();
        let steps = steps(&graph, &products);
        let last_reads = last_reads(&graph, &products, &steps);
        Ok(Self { graph, products, steps, last_reads })
    }

    /// The products, in the order of [`Interpreter::run`]'s differences.
    pub(crate) fn products(&self) -> &[Product] {
        &self.products
    }

    /// Outputs of the model, and to each product is added what its results differ by from exact ones on the same codes.
    pub(crate) fn run(
        &self,
        inputs: &[Tensor],
        arithmetic: Arithmetic,
        differences: &mut [Differences],
    ) -> Result<Vec<Tensor>, AnalysisError> {
        let graph = &self.graph;
        let mut env: HashMap<ValueId, Tensor> =
            graph.inputs.iter().copied().zip(inputs.iter().cloned()).collect();
        for (step, dead) in self.steps.iter().zip(&self.last_reads) {
            match step {
                Step::Product(i) => {
                    let product = &self.products[*i];
                    let input = lookup(graph, &env, product.input())?;
                    let output = product.run(input, arithmetic, &mut differences[*i])?;
                    env.insert(product.output(), output);
                }
                Step::Node(id) => {
                    let node = graph.node(*id);
                    let args =
                        node.inputs.iter().map(|slot| slot.map(|v| lookup(graph, &env, v)).transpose());
                    let args = args.collect::<Result<Vec<_>, _>>()?;
                    let results =
                        eval_op(&node.op, &args, node.outputs.len(), Precision::F32).map_err(|source| {
                            EvalError::Node { node: node.name.clone(), op: node.op.name(), source }
                        })?;
                    let outputs = node.outputs.iter().zip(results);
                    env.extend(outputs.filter_map(|(slot, tensor)| slot.map(|v| (v, tensor))));
                }
            }
            for v in dead {
                env.remove(v);
            }
        }
        graph.outputs.iter().map(|v| lookup(graph, &env, *v).cloned()).collect()
    }
}

fn lookup<'e>(
    graph: &'e Graph,
    env: &'e HashMap<ValueId, Tensor>,
    v: ValueId,
) -> Result<&'e Tensor, AnalysisError> {
    let missing = || GraphError::Structure(format!("{} is not computed", graph.value(v).name));
    Ok(graph.constant(v).or_else(|| env.get(&v)).ok_or_else(missing)?)
}

/// What the outputs need, in the order of the graph; a product stands at its core.
fn steps(graph: &Graph, products: &[Product]) -> Vec<Step> {
    let producers = graph.producers();
    let by_output: HashMap<ValueId, usize> =
        products.iter().enumerate().map(|(i, p)| (p.output(), i)).collect();
    let mut wanted: HashMap<NodeId, Step> = HashMap::new();
    let mut open: Vec<ValueId> = graph.outputs.clone();
    while let Some(v) = open.pop() {
        if let Some(i) = by_output.get(&v) {
            if wanted.insert(products[*i].core(), Step::Product(*i)).is_none() {
                open.push(products[*i].input());
            }
        } else if let Some(id) = producers[v.0]
            && wanted.insert(id, Step::Node(id)).is_none()
        {
            open.extend(graph.node(id).inputs.iter().flatten());
        }
    }
    let mut order: Vec<(NodeId, Step)> = wanted.into_iter().collect();
    order.sort_by_key(|(id, _)| *id);
    order.into_iter().map(|(_, step)| step).collect()
}

fn last_reads(graph: &Graph, products: &[Product], steps: &[Step]) -> Vec<Vec<ValueId>> {
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (i, step) in steps.iter().enumerate() {
        match step {
            Step::Product(p) => last.extend([(products[*p].input(), i)]),
            Step::Node(id) => last.extend(graph.node(*id).inputs.iter().flatten().map(|v| (*v, i))),
        }
    }
    last.retain(|v, _| !graph.outputs.contains(v));
    let mut out = vec![Vec::new(); steps.len()];
    for (v, i) in last {
        out[i].push(v);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_graph::op::{BinaryOp, ConvAttrs, Op, Padding, UnaryOp};
    use tq_graph::{Dim, Shape};
    use tq_passes::{convert, int8_qconfig, prepare_static};
    use tq_qtypes::DType;
    use tq_runtime::{Session, SessionOptions};

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 8) as f32 / (1 << 23) as f32 - 1.0)
        };
        let mut state = seed;
        std::iter::from_fn(|| next(&mut state)).take(n).collect()
    }

    /// Convolutions with one group, with two and depthwise, a residual sum, a mean, and a linear layer.
    fn network() -> Graph {
        let mut g = Graph::new("net");
        let shape: Shape = vec![Dim::symbol("N"), 4usize.into(), 7usize.into(), 6usize.into()];
        let x = g.add_input("x", DType::F32, shape);
        let conv = |g: &mut Graph, i: u32, groups: usize, stride: usize, x: ValueId| {
            let dims = [4, 4 / groups, 3, 3];
            let w = Tensor::new(&dims, numbers(dims.iter().product(), i)).unwrap();
            let w = g.add_constant(format!("w{i}"), w);
            let b = g.add_constant(format!("b{i}"), Tensor::vector(numbers(4, i + 50)));
            let attrs = ConvAttrs {
                strides: vec![stride, 1],
                dilations: vec![1, 1],
                padding: Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] },
                groups,
            };
            let y = g.add_node(format!("conv{i}"), Op::Conv(attrs), &[x, w, b], format!("c{i}"));
            g.add_node(format!("relu{i}"), Op::Unary(UnaryOp::Relu), &[y], format!("r{i}"))
        };
        let a = conv(&mut g, 1, 1, 1, x);
        let b = conv(&mut g, 2, 2, 1, a);
        let sum = g.add_node("sum", Op::Binary(BinaryOp::Add), &[a, b], "s");
        let c = conv(&mut g, 3, 4, 2, sum);
        let mean = g.add_node("mean", Op::GlobalAveragePool, &[c], "m");
        let flat = g.add_node("flat", Op::Flatten { axis: 1 }, &[mean], "f");
        let w = g.add_constant("w", Tensor::new(&[4, 3], numbers(12, 9)).unwrap());
        let y = g.add_node("head", Op::MatMul, &[flat, w], "y");
        g.outputs.push(y);
        infer::infer(&mut g).unwrap();
        g
    }

    #[test]
    fn exact_arithmetic_is_the_sessions_to_the_last_bit() {
        let g = network();
        let x = Tensor::new(&[5, 4, 7, 6], numbers(840, 77)).unwrap();
        let prepared = prepare_static(g, int8_qconfig()).unwrap();
        prepared.forward(&x).unwrap();
        let quantized = convert(prepared).unwrap().graph;
        let interpreter = Interpreter::new(&quantized).unwrap();
        let names: Vec<&str> = interpreter.products().iter().map(Product::name).collect();
        assert_eq!(names, ["conv1", "conv2", "conv3", "head"]);
        assert_eq!(interpreter.products().iter().filter(|p| p.is_paired()).count(), 3);
        let mut differences = vec![Differences::default(); 4];
        let ours = interpreter.run(std::slice::from_ref(&x), Arithmetic::Exact, &mut differences).unwrap();
        let session = Session::new(&quantized, SessionOptions::default()).unwrap();
        assert_eq!(ours, session.run(std::slice::from_ref(&x)).unwrap());
        assert!(differences.iter().all(|d| d.changed == 0 && d.results > 0), "{differences:?}");
        // What is not read any more is gone: all that is left belongs to the last step.
        assert!(interpreter.last_reads.iter().flatten().count() >= interpreter.steps.len() - 1);
    }
}
