//! What a session answers, as one number.

use crate::case::Case;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashSet};
use tq_graph::{Graph, Tensor};
use tq_kernels::Isa;
use tq_runtime::{Explanation, RuntimeError, Session};

/// Digests of a model's answers to all its inputs.
///
/// A float product adds up in an order that depends on the processor, so neither its result nor what is made of it is the same to
/// the bit on all of them. Both digests leave those tensors out, and the pairs of numbers say how many are left, of how many.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) outputs: (usize, usize),
    pub(crate) operators: (usize, usize),
    of_outputs: String,
    of_operators: String,
}

impl Digest {
    /// That of the results, and that of what every integer operator gave.
    #[cfg(test)]
    pub(crate) fn results(&self) -> String {
        format!("{} {}", self.of_outputs, self.of_operators)
    }

    /// One line of JSON.
    pub(crate) fn line(&self, case: &Case, isa: Isa, threads: usize) -> serde_json::Value {
        serde_json::json!({
            "case": case.name,
            "level": isa.name(),
            "threads": threads,
            "inputs": case.inputs(),
            "outputs": [self.outputs.0, self.outputs.1],
            "operators": [self.operators.0, self.operators.1],
            "of_outputs": self.of_outputs,
            "of_operators": self.of_operators,
        })
    }
}

/// Runs `case` and digests what comes of it.
pub(crate) fn of(session: &Session, case: &Case) -> Result<Digest, RuntimeError> {
    let mut operators: BTreeMap<String, Sha256> = BTreeMap::new();
    let mut outputs = Sha256::new();
    let mut counts = ((0, 0), 0);
    for run in &case.runs {
        session.prepare(&run.iter().map(|t| t.dims().to_vec()).collect::<Vec<_>>())?;
        let explanation = session.explain();
        let mut tainted = None;
        counts.1 = 0;
        let results = session.run_tapped(run, &mut |tap| {
            let tainted = tainted.get_or_insert_with(|| Tainted::of(tap.graph, &explanation));
            counts.1 += 1;
            let node = tap.graph.node(tap.operator.node);
            if !tainted.nodes.contains(node.name.as_str()) {
                let hash = operators.entry(node.name.clone()).or_default();
                tap.outputs.iter().for_each(|tensor| add(hash, tensor));
            }
        })?;
        let graph = session.graph();
        let tainted = Tainted::of(graph, &explanation);
        let of_all = graph.outputs.iter().zip(&results);
        let same = of_all.filter(|(v, _)| !tainted.values.contains(graph.value(**v).name.as_str()));
        counts.0 = (0, results.len());
        for (v, tensor) in same {
            counts.0.0 += 1;
            outputs.update(graph.value(*v).name.as_bytes());
            add(&mut outputs, tensor);
        }
    }
    let mut all = Sha256::new();
    for (name, hash) in &operators {
        all.update(name.as_bytes());
        all.update(hash.clone().finalize());
    }
    Ok(Digest {
        outputs: counts.0,
        operators: (operators.len(), counts.1),
        of_outputs: hex(&outputs.finalize()),
        of_operators: hex(&all.finalize()),
    })
}

/// Type, shape and bytes: two tensors of one sum are equal.
fn add(hash: &mut Sha256, tensor: &Tensor) {
    hash.update(format!("{:?} {:?}", tensor.dtype(), tensor.dims()));
    hash.update(tensor.le_bytes());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Nodes and values that a float product has a part in, by name.
struct Tainted {
    nodes: HashSet<String>,
    values: HashSet<String>,
}

impl Tainted {
    fn of(graph: &Graph, explanation: &Explanation) -> Self {
        let products: HashSet<&str> =
            explanation.nodes.iter().filter(|n| !n.reproducible).map(|n| n.node.as_str()).collect();
        let mut all = Self { nodes: HashSet::new(), values: HashSet::new() };
        // Nodes stand in an order in which values come before their readers.
        for node in &graph.nodes {
            let name = |v: &tq_graph::ValueId| graph.value(*v).name.clone();
            let reads = node.inputs.iter().flatten().map(name).any(|v| all.values.contains(&v));
            if reads || products.contains(node.name.as_str()) {
                all.nodes.insert(node.name.clone());
                all.values.extend(node.outputs.iter().flatten().map(name));
            }
        }
        all
    }
}
