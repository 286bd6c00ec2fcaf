//! What the error of one layer becomes on its way through the rest of the model.

use crate::accuracy::{find_output, nth};
use crate::layers::{Pair, Unmatched, matched, part};
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
    /// `float` is fused as conversion fuses it. Layers go in parallel; the figures do not depend on the number of threads.
    pub(crate) fn measure(
        float: &Graph,
        quantized: &Graph,
        output: Option<&str>,
        batches: &[Batch],
    ) -> Result<Self, AnalysisError> {
        let (index, name) = find_output(float, output)?;
        let output = float.outputs[index];
        let (pairs, unmatched) = matched(float, quantized)?;
        let consumers = float.consumers();
        let rests: Vec<Rest> = pairs
            .iter()
            .map(|p| Rest::new(float, &consumers, p.float, output))
            .collect::<Result<_, AnalysisError>>()?;
        let run = FloatRun::new(float, &pairs, &rests, batches, (index, name))?;
        let layers = pairs.par_iter().zip(&rests).map(|(pair, rest)| run.layer(pair, rest));
        let layers = layers.collect::<Result<Vec<_>, AnalysisError>>()?;
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

/// What the float model computes for some batches.
struct FloatRun<'a> {
    values: Vec<HashMap<ValueId, Tensor>>,
    outputs: Vec<Tensor>,
    batches: &'a [Batch],
    name: &'a str,
}

impl<'a> FloatRun<'a> {
    fn new(
        float: &Graph,
        pairs: &[Pair],
        rests: &[Rest],
        batches: &'a [Batch],
        (index, name): (usize, &'a str),
    ) -> Result<Self, AnalysisError> {
        let own = float.outputs.len();
        let mut tapped = float.clone();
        let mut seen: HashSet<ValueId> = float.inputs.iter().copied().collect();
        let read = pairs.iter().flat_map(|p| p.float_reads.iter().chain([&p.float]));
        for v in read.chain(rests.iter().flat_map(|r| r.reads())) {
            if seen.insert(*v) {
                tapped.outputs.push(*v);
            }
        }
        let runner = Runner::session(&tapped)?;
        let (mut values, mut outputs) = (Vec::new(), Vec::new());
        for batch in batches {
            let all = runner.run(&batch.inputs)?;
            outputs.push(nth(&all, index, name)?.clone());
            let inputs = float.inputs.iter().copied().zip(batch.inputs.iter().cloned());
            let taps = tapped.outputs[own..].iter().copied().zip(all.into_iter().skip(own));
            values.push(inputs.chain(taps).collect());
        }
        Ok(Self { values, outputs, batches, name })
    }

    fn layer(&self, pair: &Pair, rest: &Rest) -> Result<LayerNoise, AnalysisError> {
        let own = Evaluator::new(&pair.quantized_part, Precision::F32)?;
        let runner = match rest {
            Rest::Nodes(graph, _) => Some(Runner::session(graph)?),
            Rest::Nothing | Rest::Elsewhere => None,
        };
        let (mut introduced, mut output) = (OutputError::default(), OutputError::default());
        let mut first_reads = Vec::new();
        for ((values, expected), batch) in self.values.iter().zip(&self.outputs).zip(self.batches) {
            let get = |v: &ValueId| {
                values.get(v).cloned().ok_or_else(|| AnalysisError::Output {
                    name: pair.node.clone(),
                    message: "a tensor beside it was not computed".into(),
                })
            };
            let reads = pair.float_reads.iter().map(get).collect::<Result<Vec<_>, _>>()?;
            let result = own.run(&reads)?.pop().ok_or(AnalysisError::Empty)?;
            introduced.add(&get(&pair.float)?, &result)?;
            if first_reads.is_empty() {
                first_reads = reads;
            }
            let answer = match (rest, &runner) {
                (Rest::Nodes(_, inputs), Some(runner)) => {
                    let input = |v: &ValueId| if *v == pair.float { Ok(result.clone()) } else { get(v) };
                    let inputs = inputs.iter().map(input).collect::<Result<Vec<_>, _>>()?;
                    nth(&runner.run(&inputs)?, 0, self.name)?.clone()
                }
                (Rest::Elsewhere, _) => expected.clone(),
                _ => result,
            };
            output.add(&batch.trim(expected.clone())?, &batch.trim(answer)?)?;
        }
        let parts = [pair.quantized_part.clone(), pair.float_part.clone()];
        Ok(LayerNoise {
            node: pair.node.clone(),
            op: pair.op.clone(),
            introduced,
            output,
            bytes: [parameter_bytes(&parts[0]), parameter_bytes(&parts[1])],
            reads: first_reads,
            parts,
        })
    }
}
