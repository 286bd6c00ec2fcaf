//! What the error of one layer becomes on its way through the rest of the model.

use super::single::with_float_weights;
use crate::accuracy::{find_output, nth};
use crate::layers::{Pair, Tapped, Unmatched, computed, matched, part, values};
use crate::{AnalysisError, Batch, OutputError, Runner, parameter_bytes};
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, NodeId, Tensor, ValueId};

/// One layer of a quantized model, and what it does to the output if all else is float.
pub(crate) struct LayerNoise {
    /// Name of the node.
    pub(crate) node: String,
    /// Its operator.
    pub(crate) op: String,
    /// The error of the layer's result.
    pub(crate) introduced: OutputError,
    /// The error of the model's output.
    pub(crate) output: OutputError,
    /// Bytes of the constants of the layer, quantized and in float.
    pub(crate) bytes: [u64; 2],
    /// What it reads in the float model, for one batch.
    pub(crate) reads: Vec<Tensor>,
    /// The layer by itself, quantized and in float, each from real numbers to real numbers.
    pub(crate) parts: [Graph; 2],
}

/// All layers of a quantized model that have a counterpart in the float model.
pub(crate) struct Noises {
    pub(crate) layers: Vec<LayerNoise>,
    pub(crate) unmatched: Vec<Unmatched>,
    pub(crate) rows: usize,
}

impl Noises {
    /// Runs each layer of `quantized` on the float model's data, and then the float model from that layer on.
    ///
    /// `float` is fused as conversion fuses it. With `float_weights` the layers have that model's weights. Layers go in parallel; the figures do not depend on the number of threads.
    pub(crate) fn measure(
        float: &Graph,
        quantized: &Graph,
        output: Option<&str>,
        batches: &[Batch],
        float_weights: bool,
    ) -> Result<Self, AnalysisError> {
        let (index, name) = find_output(float, output)?;
        let output = float.outputs[index];
        let (mut pairs, unmatched) = matched(float, quantized)?;
        if float_weights {
            for pair in &mut pairs {
                pair.quantized_part = with_float_weights(pair.quantized_part.clone(), float);
            }
        }
        let consumers = float.consumers();
        let rests: Vec<Rest> = pairs
            .iter()
            .map(|p| Rest::new(float, &consumers, p.float, output))
            .collect::<Result<_, AnalysisError>>()?;
        let read = pairs.iter().flat_map(|p| p.float_reads.iter().chain([&p.float]));
        let read = read.chain(rests.iter().flat_map(|r| r.reads())).copied().chain([output]);
        let tapped = Tapped::new(float, values(read))?;
        let mut runs: Vec<LayerRun<'_>> = pairs
            .iter()
            .zip(&rests)
            .map(|(p, r)| LayerRun::new(p, r))
            .collect::<Result<_, AnalysisError>>()?;
        for batch in batches {
            // What the float model computes for one batch is in memory at a time.
            let values = tapped.run(batch)?;
            runs.par_iter_mut().try_for_each(|run| run.add(&values, batch, (output, name)))?;
        }
        let layers = runs.into_iter().map(LayerRun::finish).collect();
        Ok(Self { layers, unmatched, rows: batches.iter().map(|b| b.rows).sum() })
    }
}

/// What comes after a value, up to the output.
enum Rest {
    /// The value is the output.
    Nothing,
    /// The output does not depend on it.
    Elsewhere,
    /// These nodes, as a graph, and what it reads.
    Nodes(Box<Graph>, Vec<ValueId>),
}

impl Rest {
    fn new(
        graph: &Graph,
        consumers: &[Vec<NodeId>],
        value: ValueId,
        output: ValueId,
    ) -> Result<Self, AnalysisError> {
        if value == output {
            return Ok(Rest::Nothing);
        }
        let (mut after, mut open) = (HashSet::new(), vec![value]);
        while let Some(v) = open.pop() {
            for id in &consumers[v.0] {
                if after.insert(id.0) {
                    open.extend(graph.node(*id).outputs.iter().flatten().copied());
                }
            }
        }
        // Of these only what leads to the output.
        let producers = graph.producers();
        let (mut core, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![output]);
        while let Some(v) = open.pop() {
            let Some(id) = producers[v.0].filter(|id| after.contains(&id.0)) else { continue };
            if seen.insert(id.0) {
                core.push(id);
                open.extend(graph.node(id).inputs.iter().flatten().copied());
            }
        }
        if core.is_empty() {
            return Ok(Rest::Elsewhere);
        }
        let (rest, inputs) = part(graph, &core, output)?;
        Ok(Rest::Nodes(Box::new(rest), inputs))
    }

    fn reads(&self) -> &[ValueId] {
        match self {
            Rest::Nodes(_, inputs) => inputs,
            Rest::Nothing | Rest::Elsewhere => &[],
        }
    }
}

/// One layer by itself, and the float model from it on.
struct LayerRun<'p> {
    pair: &'p Pair,
    rest: &'p Rest,
    own: Evaluator,
    after: Option<Runner>,
    introduced: OutputError,
    output: OutputError,
    first_reads: Vec<Tensor>,
}

impl<'p> LayerRun<'p> {
    fn new(pair: &'p Pair, rest: &'p Rest) -> Result<Self, AnalysisError> {
        let after = match rest {
            Rest::Nodes(graph, _) => Some(Runner::session(graph)?),
            Rest::Nothing | Rest::Elsewhere => None,
        };
        Ok(Self {
            pair,
            rest,
            own: Evaluator::new(&pair.quantized_part, Precision::F32)?,
            after,
            introduced: OutputError::default(),
            output: OutputError::default(),
            first_reads: Vec::new(),
        })
    }

    fn add(
        &mut self,
        values: &HashMap<ValueId, Tensor>,
        batch: &Batch,
        (output, name): (ValueId, &str),
    ) -> Result<(), AnalysisError> {
        let get = |v: &ValueId| computed(values, *v, self.pair);
        let expected = get(&output)?;
        let reads = self.pair.float_reads.iter().map(get).collect::<Result<Vec<_>, _>>()?;
        let result = self.own.run(&reads)?.pop().ok_or(AnalysisError::Empty)?;
        self.introduced.add(&get(&self.pair.float)?, &result)?;
        let answer = match (self.rest, &self.after) {
            (Rest::Nodes(_, inputs), Some(after)) => {
                let input = |v: &ValueId| if *v == self.pair.float { Ok(result.clone()) } else { get(v) };
                let inputs = inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
                nth(&after.run(&inputs)?, 0, name)?.clone()
            }
            (Rest::Elsewhere, _) => expected.clone(),
            _ => result,
        };
        self.output.add(&batch.trim(expected)?, &batch.trim(answer)?)?;
        if self.first_reads.is_empty() {
            self.first_reads = reads;
        }
        Ok(())
    }

    fn finish(self) -> LayerNoise {
        let parts = [self.pair.quantized_part.clone(), self.pair.float_part.clone()];
        LayerNoise {
            node: self.pair.node.clone(),
            op: self.pair.op.clone(),
            introduced: self.introduced,
            output: self.output,
            bytes: [parameter_bytes(&parts[0]), parameter_bytes(&parts[1])],
            reads: self.first_reads,
            parts,
        }
    }
}
