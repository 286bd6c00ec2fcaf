//! How a session runs the quantized model.

use crate::{AnalysisError, Dataset};
use serde::Serialize;
use tq_graph::Graph;
use tq_runtime::{Execution, Explanation, Session, SessionOptions};

/// A node that runs in float.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FloatLayer {
    /// Name of the node.
    pub node: String,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// Why it does.
    pub reason: String,
    /// Its multiplications.
    pub macs: u64,
}

/// The kernel of a node that runs in integers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerKernel {
    /// Name of the node.
    pub node: String,
    /// Name of the kernel.
    pub kernel: String,
}

/// What runs in integers and what in float, for one row of data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExecutionFacts {
    /// Name of the kernel library.
    pub library: String,
    /// Multiplications in integers.
    pub integer_macs: u64,
    /// Multiplications in float.
    pub float_macs: u64,
    /// Whether results are the same on every processor.
    pub reproducible: bool,
    /// The nodes that run in float, those with most multiplications first.
    pub floats: Vec<FloatLayer>,
    /// The kernels of those that run in integers, in the order of the model.
    pub kernels: Vec<LayerKernel>,
}

impl ExecutionFacts {
    /// Percent of the multiplications that are done in integers; none where there are no multiplications.
    #[must_use]
    pub fn integer_share(&self) -> Option<f64> {
        let all = self.integer_macs.saturating_add(self.float_macs);
        (all > 0).then(|| 100.0 * self.integer_macs as f64 / all as f64)
    }
}

pub(super) fn execution(
    quantized: &Graph,
    data: &Dataset,
) -> Result<(ExecutionFacts, Explanation), AnalysisError> {
    let session = Session::new(quantized, SessionOptions::default())?;
    if let Some(batch) = data.batches(Some(1)).next() {
        session.run(&batch?.inputs)?;
    }
    let explanation = session.explain();
    let (integer_macs, float_macs) = explanation.macs();
    let mut floats: Vec<FloatLayer> = explanation
        .floats()
        // Where numbers become codes and back is no layer.
        .filter(|n| !matches!(n.op, "QuantizeLinear" | "DequantizeLinear"))
        .map(|n| FloatLayer {
            node: n.node.clone(),
            op: n.op.to_owned(),
            reason: n.reason.clone().unwrap_or_default(),
            macs: n.macs,
        })
        .collect();
    floats.sort_by_key(|f| std::cmp::Reverse(f.macs));
    let integer = explanation.nodes.iter().filter(|n| n.execution == Execution::Integer);
    let kernels = integer
        .filter_map(|n| Some(LayerKernel { node: n.node.clone(), kernel: n.kernel.clone()? }))
        .collect();
    let facts = ExecutionFacts {
        library: explanation.library.clone(),
        integer_macs,
        float_macs,
        reproducible: explanation.reproducible(),
        floats,
        kernels,
    };
    Ok((facts, explanation))
}
