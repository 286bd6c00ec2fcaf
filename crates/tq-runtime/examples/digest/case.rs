//! A quantized model with inputs, in a folder of its own: `model.tq`, and `inputs.safetensors` with the tensors of every run.

use crate::Result;
use std::path::Path;
use tq_format::weights::{self, Form};
use tq_graph::{Graph, Tensor};

const MODEL: &str = "model.tq";
const INPUTS: &str = "inputs.safetensors";

/// A model, and what it is run on.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) graph: Graph,
    /// The inputs of each run, in the order of the graph's.
    pub(crate) runs: Vec<Vec<Tensor>>,
}

impl Case {
    pub(crate) fn save(&self, folder: &Path) -> Result<()> {
        let folder = folder.join(&self.name);
        std::fs::create_dir_all(&folder)?;
        tq_format::save(&self.graph, &folder.join(MODEL))?;
        let mut inputs = Graph::new("inputs");
        for (i, run) in self.runs.iter().enumerate() {
            for (k, tensor) in run.iter().enumerate() {
                inputs.add_constant(name(i, k), tensor.clone());
            }
        }
        Ok(weights::save(&inputs, &folder.join(INPUTS), Form::Stored)?)
    }

    /// Reads what [`Case::save`] wrote, of the inputs the first `limit` ones and those of the same run.
    pub(crate) fn load(folder: &Path, limit: usize) -> Result<Self> {
        let graph = tq_format::load(&folder.join(MODEL))?;
        let bytes = std::fs::read(folder.join(INPUTS))?;
        let mut tensors = weights::read(&bytes)?;
        let mut case = Self { name: String::new(), graph, runs: Vec::new() };
        case.name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        while case.inputs() < limit {
            let of_run = |k| tensors.remove(&name(case.runs.len(), k));
            let run: Vec<Tensor> = (0..case.graph.inputs.len()).map_while(of_run).collect();
            if run.len() < case.graph.inputs.len() {
                break;
            }
            case.runs.push(run);
        }
        Ok(case)
    }

    /// How many samples there are in all runs.
    pub(crate) fn inputs(&self) -> usize {
        let samples = |run: &Vec<Tensor>| run.first().and_then(|t| t.dims().first().copied()).unwrap_or(0);
        self.runs.iter().map(samples).sum()
    }
}

fn name(run: usize, input: usize) -> String {
    format!("{run}/{input}")
}
