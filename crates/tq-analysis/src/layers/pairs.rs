//! Layers of a quantized model and what they were in the float one.

use super::error::Unmatched;
use super::part::{constants, part};
use crate::AnalysisError;
use crate::product::{made_by, moves_codes, static_product};
use std::collections::{HashMap, HashSet};
use tq_graph::qdq::{FloatNode, QOutput, QdqView, codes_in_use, node_params};
use tq_graph::{Graph, Node, NodeId, Op, ValueId, infer};
use tq_qtypes::{AffineParams, DType};

/// A layer in both models.
pub(crate) struct Pair {
    /// Name of the node.
    pub(crate) node: String,
    /// Its operator.
    pub(crate) op: String,
    /// Name of its result in the float model.
    pub(crate) tensor: String,
    /// Its result in the float model.
    pub(crate) float: ValueId,
    /// Its result in the quantized model, in real numbers.
    pub(crate) real: ValueId,
    /// The codes of its result, where it has some.
    pub(crate) params: Option<AffineParams>,
    /// The layer of the quantized model by itself; its inputs are `float_reads`.
    pub(crate) quantized_part: Graph,
    /// What the layer reads, in the float model.
    pub(crate) float_reads: Vec<ValueId>,
    /// The layer of the float model by itself.
    pub(crate) float_part: Graph,
    /// What that one reads.
    pub(crate) float_inputs: Vec<ValueId>,
    /// For each of these what the quantized model has in its place; `None` where there is nothing.
    pub(crate) reads: Vec<Option<ValueId>>,
}

/// A layer of the quantized model: the node, the nodes that it stands for, and its result.
struct Layer {
    node: NodeId,
    nodes: Vec<NodeId>,
    result: Result<(ValueId, Option<AffineParams>), String>,
    /// Names that the result may have in the float model.
    names: Vec<String>,
}

/// All layers that have a counterpart, and those that have none.
pub(crate) fn matched(
    float: &Graph,
    quantized: &Graph,
) -> Result<(Vec<Pair>, Vec<Unmatched>), AnalysisError> {
    let names = Names::new(float, quantized);
    let (mut pairs, mut unmatched) = (Vec::new(), Vec::new());
    for layer in layers(quantized, &names) {
        let node = quantized.node(layer.node);
        match pair(float, quantized, &names, &layer)? {
            Ok(pair) => pairs.push(pair),
            Err(reason) => {
                unmatched.push(Unmatched { node: node.name.clone(), op: node.op.name().to_owned(), reason })
            }
        }
    }
    Ok((pairs, unmatched))
}

/// Names and neighbours of the two models.
struct Names<'g> {
    float: HashMap<&'g str, ValueId>,
    float_nodes: HashMap<&'g str, NodeId>,
    float_producers: Vec<Option<NodeId>>,
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
    /// Real numbers of computed codes, by the names that these may have in the float model.
    reals: HashMap<String, ValueId>,
}

impl<'g> Names<'g> {
    fn new(float: &'g Graph, quantized: &'g Graph) -> Self {
        let computed = |(_, v): &(usize, &'g tq_graph::Value)| v.constant.is_none();
        let values = float.values.iter().enumerate().filter(computed);
        let mut reals = HashMap::new();
        for node in quantized.nodes.iter().filter(|n| matches!(n.op, Op::DequantizeLinear { .. })) {
            if let (Some(codes), Some(real)) = (node.input(0), node.output(0))
                && quantized.constant(codes).is_none()
            {
                for stem in stems(&quantized.value(codes).name) {
                    reals.entry(stem).or_insert(real);
                }
            }
        }
        Self {
            float: values.map(|(i, v)| (v.name.as_str(), ValueId(i))).collect(),
            float_nodes: float.iter_nodes().map(|(id, n)| (n.name.as_str(), id)).collect(),
            float_producers: float.producers(),
            producers: quantized.producers(),
            consumers: quantized.consumers(),
            reals,
        }
    }

    /// The real numbers that codes stand for.
    fn dequantized(&self, quantized: &Graph, codes: ValueId) -> Option<(NodeId, ValueId)> {
        self.consumers[codes.0].iter().find_map(|id| {
            let node = quantized.node(*id);
            let dequantizes = matches!(node.op, Op::DequantizeLinear { .. }) && node.input(0) == Some(codes);
            node.output(0).filter(|_| dequantizes).map(|v| (*id, v))
        })
    }

    /// The codes that a real value becomes.
    fn codes_of(&self, quantized: &Graph, real: ValueId) -> Option<ValueId> {
        self.consumers[real.0].iter().find_map(|id| {
            let node = quantized.node(*id);
            matches!(node.op, Op::QuantizeLinear { .. }).then(|| node.output(0)).flatten()
        })
    }

    /// The value of the float model that a value of the quantized one was.
    fn counterpart(&self, quantized: &Graph, v: ValueId) -> Option<ValueId> {
        let mut names = Vec::new();
        if let Some(codes) = self.codes_of(quantized, v) {
            names.extend(stems(&quantized.value(codes).name));
        }
        names.extend(stems(&quantized.value(v).name));
        names.iter().find_map(|n| self.float.get(n.as_str()).copied())
    }
}

/// The name in the float model of what conversion named so, and the name itself.
///
/// Where there was such a name already, conversion has put a number behind its own.
pub(crate) fn stems(name: &str) -> Vec<String> {
    let of = |name: &str| {
        let stem = ["_quantized", "_dequantized", "_float"].iter().find_map(|s| name.strip_suffix(s));
        stem.map(str::to_owned)
    };
    let unnumbered =
        name.rsplit_once('_').filter(|(_, n)| n.parse::<u32>().is_ok()).map(|(before, _)| before);
    [of(name), Some(name.to_owned()), unnumbered.and_then(of)].into_iter().flatten().collect()
}

fn layers(quantized: &Graph, names: &Names<'_>) -> Vec<Layer> {
    let view = QdqView::new(quantized);
    let in_use = codes_in_use(quantized, &view);
    let mut layers = Vec::new();
    for op in &view.operators {
        for output in &op.outputs {
            let mut nodes = op.absorbed.clone();
            let (result, found) = match output {
                QOutput::Float(v) => (Ok((*v, None)), stems(&quantized.value(*v).name)),
                QOutput::Codes(c) => {
                    let clamp = clamp(quantized, &names.consumers, c.value);
                    nodes.extend(clamp.map(|(id, _)| id));
                    let codes = clamp.map_or(c.value, |(_, clamped)| clamped);
                    let result = match names.dequantized(quantized, codes) {
                        Some((id, real)) => {
                            nodes.push(id);
                            Ok((real, Some(in_use.get(&c.value).unwrap_or(&c.params).clone())))
                        }
                        // `with_real_results` has given every other one a Dequantize.
                        None => Err("what its codes stand for is not constant".to_owned()),
                    };
                    (result, stems(&quantized.value(codes).name))
                }
            };
            layers.push(Layer { node: op.node, nodes, result, names: found });
        }
    }
    // Operators in float on quantized weights.
    let constant = constants(quantized);
    let on_codes = |v: &ValueId| {
        let from = names.producers[v.0].map(|id| &quantized.node(id).op);
        constant.contains(v) && matches!(from, Some(Op::DequantizeLinear { .. } | Op::Cast { .. }))
    };
    for float in &view.floats {
        let node = quantized.node(float.node);
        if let Some(layer) = on_integers(quantized, names, float) {
            layers.push(layer);
            continue;
        }
        if let Some(out) = node.output(0)
            && node.inputs.iter().flatten().any(on_codes)
            && !constant.contains(&out)
        {
            let names = stems(&quantized.value(out).name);
            layers.push(Layer { node: float.node, nodes: vec![float.node], result: Ok((out, None)), names });
        }
    }
    layers.sort_by_key(|l| l.node);
    layers
}

/// A node that takes codes as they are and is no operator of the view: a product whose sums are scaled by a constant, or one of another
/// form, of which it is told why it has no figures.
fn on_integers(quantized: &Graph, names: &Names<'_>, float: &FloatNode) -> Option<Layer> {
    let (id, node) = (float.node, quantized.node(float.node));
    let of = |result, nodes, names| Some(Layer { node: id, nodes, result, names });
    let none = |why: String| of(Err(why), vec![id], Vec::new());
    match &node.op {
        Op::MatMulInteger | Op::ConvInteger(_) => {
            let product = static_product(quantized, &names.producers, &names.consumers, id);
            match product {
                Some(p) => of(Ok((p.result, None)), p.nodes, stems(&quantized.value(p.result).name)),
                None => none(float.reason.to_string()),
            }
        }
        Op::QLinearConv(_) | Op::QLinearMatMul => {
            none("its scales and zero points are not constants of a form that is looked at".to_owned())
        }
        _ => {
            let codes = moved(quantized, node)?;
            // Codes that no Quantize has made are bytes of another kind.
            let (dequantize, real) = names.dequantized(quantized, codes)?;
            let params = node_params(quantized, quantized.node(dequantize));
            of(Ok((real, params)), vec![id, dequantize], stems(&quantized.value(codes).name))
        }
    }
}

/// The codes that a node gives which takes codes and moves them. A Clip of codes belongs to the operator before it.
fn moved(graph: &Graph, node: &Node) -> Option<ValueId> {
    let (from, to) = (node.input(0)?, node.output(0)?);
    let moves = moves_codes(&node.op) && node.op != Op::Clip;
    (moves && is_code(graph, from) && is_code(graph, to)).then_some(to)
}

/// The Clip of codes that alone reads these, as an activation function is on codes, and what it gives.
fn clamp(graph: &Graph, consumers: &[Vec<NodeId>], codes: ValueId) -> Option<(NodeId, ValueId)> {
    let dequantizes = |id: &&NodeId| matches!(graph.node(**id).op, Op::DequantizeLinear { .. });
    let mut others = consumers[codes.0].iter().filter(|id| !dequantizes(id));
    let (id, None) = (*others.next()?, others.next()) else { return None };
    let node = graph.node(id);
    let clamped = node.output(0).filter(|_| node.op == Op::Clip && node.input(0) == Some(codes))?;
    Some((id, clamped))
}

/// Whether a computed value is of a type that codes have.
pub(super) fn is_code(graph: &Graph, v: ValueId) -> bool {
    let bytes = [DType::U8, DType::I8, DType::U4, DType::I4, DType::U2, DType::I2];
    graph.constant(v).is_none() && graph.value(v).dtype.is_some_and(|t| bytes.contains(&t))
}

/// The quantized model with a Dequantize behind all codes that have none, as where operators take codes and give codes: what a layer's
/// result stands for can then be looked at.
pub(super) fn with_real_results(mut quantized: Graph) -> Result<Graph, AnalysisError> {
    let view = QdqView::new(&quantized);
    let consumers = quantized.consumers();
    let has_real = |codes: ValueId| {
        let dequantizes = |id: &NodeId| {
            let node = quantized.node(*id);
            matches!(node.op, Op::DequantizeLinear { .. }) && node.input(0) == Some(codes)
        };
        consumers[codes.0].iter().any(dequantizes)
    };
    let producers = quantized.producers();
    let of_operators = view.operators.iter().flat_map(|o| &o.outputs).filter_map(|output| match output {
        QOutput::Codes(c) => {
            Some(clamp(&quantized, &consumers, c.value).map_or(c.value, |(_, clamped)| clamped))
        }
        QOutput::Float(_) => None,
    });
    let moved = view.floats.iter().filter_map(|f| moved(&quantized, quantized.node(f.node)));
    let missing: Vec<(ValueId, Op, Vec<ValueId>)> = of_operators
        .chain(moved)
        .filter(|codes| !has_real(*codes))
        .filter_map(|codes| {
            let node = made_by(&quantized, &producers, codes)?;
            let Op::QuantizeLinear { axis, block_size, .. } = node.op else { return None };
            let params = [node.input(1), node.input(2)].into_iter().flatten();
            let inputs = std::iter::once(codes).chain(params).collect();
            Some((codes, Op::DequantizeLinear { axis, block_size }, inputs))
        })
        .collect();
    for (codes, op, inputs) in missing {
        let name = format!("{}_looked_at", quantized.value(codes).name);
        let (node, out) = (quantized.fresh_node_name(&name), quantized.fresh_value_name(&name));
        quantized.add_node(node, op, &inputs, out);
    }
    infer::infer(&mut quantized)?;
    Ok(quantized)
}

fn pair(
    float: &Graph,
    quantized: &Graph,
    names: &Names<'_>,
    layer: &Layer,
) -> Result<Result<Pair, String>, AnalysisError> {
    let (real, params) = match &layer.result {
        Ok(found) => found.clone(),
        Err(reason) => return Ok(Err(reason.clone())),
    };
    let Some(counterpart) = layer.names.iter().find_map(|n| names.float.get(n.as_str()).copied()) else {
        let tried = layer.names.join(" or ");
        return Ok(Err(format!("the float model has no tensor {tried}")));
    };
    let node = quantized.node(layer.node);
    let Some(float_nodes) = float_layer(float, names, counterpart, &node.name) else {
        let name = &float.value(counterpart).name;
        return Ok(Err(format!("{name} is an input of the float model")));
    };
    let (quantized_part, inputs) = part(quantized, &layer.nodes, real)?;
    let mut float_reads = Vec::new();
    for v in &inputs {
        match names.counterpart(quantized, *v) {
            Some(same) => float_reads.push(same),
            None => {
                let name = &quantized.value(*v).name;
                return Ok(Err(format!("it reads {name}, which the float model does not have")));
            }
        }
    }
    let (float_part, float_inputs) = part(float, &float_nodes, counterpart)?;
    let standing_for = |v: &ValueId| {
        // What is moved as codes on its way is found by its name.
        let Some(at) = float_reads.iter().position(|same| same == v) else {
            return names.reals.get(float.value(*v).name.as_str()).copied();
        };
        let codes = names.codes_of(quantized, inputs[at]);
        let real = codes.and_then(|c| names.dequantized(quantized, c)).map(|(_, real)| real);
        Some(real.unwrap_or(inputs[at]))
    };
    let reads = float_inputs.iter().map(standing_for).collect();
    Ok(Ok(Pair {
        node: node.name.clone(),
        op: node.op.name().to_owned(),
        tensor: float.value(counterpart).name.clone(),
        float: counterpart,
        real,
        params,
        quantized_part,
        float_reads,
        float_part,
        float_inputs,
        reads,
    }))
}

/// The nodes of the float model from the one of this name to the one that gives `value`; where no node before it has
/// the name, that one alone.
fn float_layer(float: &Graph, names: &Names<'_>, value: ValueId, name: &str) -> Option<Vec<NodeId>> {
    let last = names.float_producers[value.0]?;
    let wanted = names.float_nodes.get(name);
    let mut path = vec![last];
    let mut seen = HashSet::from([last]);
    while path.last() != wanted && wanted.is_some() {
        let at = float.node(*path.last()?);
        let before = at.inputs.iter().flatten().find_map(|v| names.float_producers[v.0]);
        match before.filter(|id| seen.insert(*id) && path.len() < 8) {
            Some(id) => path.push(id),
            None => return Some(vec![last]),
        }
    }
    Some(path)
}
