//! The tensors that a trial is judged by.

use crate::AnalysisError;
use crate::accuracy::{find_output, nth};
use std::collections::HashSet;
use tq_graph::dim::Factor;
use tq_graph::infer::infer;
use tq_graph::{Dim, Graph, NodeId, Op, Tensor, ValueId};

/// What is looked at in the float model and in every trial.
///
/// A float output is judged itself. A decision is not: positions of the largest scores, indices of the boxes that are
/// kept, and what has as many rows as those. One code more or less turns it over or moves every row after it, which says
/// nothing about how faithful the numbers behind it are. It is judged by those numbers: the last float tensors before it
/// that have a shape of their own.
#[derive(Debug)]
pub(super) struct Judged {
    /// The tensors, in the order of the outputs that they stand for.
    pub(super) places: Vec<Place>,
    /// Outputs of integers or booleans that hang on float data: index and name. Told, not judged.
    pub(super) decisions: Vec<(usize, String)>,
    outputs: usize,
}

/// One tensor that is judged.
#[derive(Debug, PartialEq)]
pub(super) struct Place {
    /// Its name in the float model.
    pub(super) name: String,
    at: At,
}

#[derive(Debug, PartialEq)]
enum At {
    Output(usize),
    /// An input of a node, which conversion keeps under its name.
    Input(String, usize),
}

impl Judged {
    /// The tensors behind all outputs, or behind the one that is named.
    pub(super) fn new(graph: &Graph, wanted: Option<&str>) -> Result<Self, AnalysisError> {
        let mut inferred = graph.clone();
        infer(&mut inferred)?;
        let graph = &inferred;
        let mut outputs: Vec<(usize, ValueId)> = graph.outputs.iter().copied().enumerate().collect();
        let (index, _) = find_output(graph, wanted)?;
        if wanted.is_some() {
            outputs.retain(|(i, _)| *i == index);
        }
        let mut search = Search::new(graph);
        let mut decisions = Vec::new();
        for (i, id) in &outputs {
            let found = search.places.len();
            if search.is_judged_itself(*id) {
                search.add(*id, At::Output(*i));
                continue;
            }
            search.behind(*id);
            let value = graph.value(*id);
            if value.dtype.is_some_and(|d| d.is_float()) {
                // Its shape is not known and neither is any before it: there is nothing better to look at.
                if search.places.len() == found {
                    search.add(*id, At::Output(*i));
                }
            } else {
                decisions.push((*i, value.name.clone()));
            }
        }
        if search.places.is_empty() {
            let names: Vec<&str> = outputs.iter().map(|(_, id)| graph.value(*id).name.as_str()).collect();
            return Err(AnalysisError::Output {
                name: names.join(", "),
                message: "holds no floats and is computed from none: there is nothing to judge by".into(),
            });
        }
        Ok(Self { places: search.places, decisions, outputs: graph.outputs.len() })
    }

    /// The model with what is judged as outputs after its own.
    pub(super) fn tapped(&self, graph: &Graph) -> Result<Graph, AnalysisError> {
        let mut tapped = graph.clone();
        for place in &self.places {
            let At::Input(node, input) = &place.at else { continue };
            let value = graph.nodes.iter().find(|n| n.name == *node).and_then(|n| n.input(*input));
            tapped.outputs.push(value.ok_or_else(|| AnalysisError::Output {
                name: place.name.clone(),
                message: format!("node {node}, which it goes into, is not there any more"),
            })?);
        }
        Ok(tapped)
    }

    /// Of the outputs of the tapped model those that are judged, in the order of the places.
    pub(super) fn pick<'t>(&self, outputs: &'t [Tensor]) -> Result<Vec<&'t Tensor>, AnalysisError> {
        let mut taps = self.outputs..;
        let index = |at: &At| match at {
            At::Output(i) => Some(*i),
            At::Input(..) => taps.next(),
        };
        let indices: Vec<Option<usize>> = self.places.iter().map(|p| &p.at).map(index).collect();
        let pairs = indices.into_iter().zip(&self.places);
        pairs.map(|(i, p)| nth(outputs, i.unwrap_or(usize::MAX), &p.name)).collect()
    }
}

/// The way back from outputs to what is judged.
struct Search<'g> {
    graph: &'g Graph,
    producers: Vec<Option<NodeId>>,
    /// The symbols that the shapes of the graph's inputs bind.
    bound: HashSet<&'g str>,
    places: Vec<Place>,
    seen: HashSet<ValueId>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut bound = HashSet::new();
        for dim in graph.inputs.iter().filter_map(|id| graph.value(*id).shape.as_ref()).flatten() {
            symbols(dim, &mut bound);
        }
        Self { graph, producers: graph.producers(), bound, places: Vec::new(), seen: HashSet::new() }
    }

    fn is_judged_itself(&self, id: ValueId) -> bool {
        let value = self.graph.value(id);
        let mut in_shape = HashSet::new();
        value.shape.iter().flatten().for_each(|d| symbols(d, &mut in_shape));
        value.dtype.is_some_and(|d| d.is_float()) && value.shape.is_some() && in_shape.is_subset(&self.bound)
    }

    fn add(&mut self, id: ValueId, at: At) {
        if self.seen.insert(id) {
            self.places.push(Place { name: self.graph.value(id).name.clone(), at });
        }
    }

    /// Adds the float tensors that `id`, a decision, is made of.
    fn behind(&mut self, id: ValueId) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(node) = self.producers.get(id.0).copied().flatten() else { continue };
            let node = self.graph.node(node);
            // What asks for a shape does not see the numbers.
            if matches!(node.op, Op::Shape { .. } | Op::Size) {
                continue;
            }
            let computed = |id: &ValueId| self.producers.get(id.0).is_some_and(Option::is_some);
            let inputs = node.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?)));
            for (i, input) in inputs.filter(|(_, v)| computed(v)).collect::<Vec<_>>() {
                if self.is_judged_itself(input) {
                    self.add(input, At::Input(node.name.clone(), i));
                } else if self.seen.insert(input) {
                    open.push(input);
                }
            }
        }
    }
}

/// The symbols of an expression.
fn symbols<'d>(dim: &'d Dim, into: &mut HashSet<&'d str>) {
    for factor in dim.summands().into_iter().flat_map(|term| term.factors) {
        match factor {
            Factor::Symbol(name) => {
                into.insert(name);
            }
            Factor::Floor(a, b) => {
                symbols(a, into);
                symbols(b, into);
            }
        }
    }
}
