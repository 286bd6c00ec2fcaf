//! Models for mobile devices: what inference needs, and nothing else.

mod simplify;

use crate::ExportError;
use std::collections::BTreeSet;
use std::path::Path;
use tq_graph::qdq::{FloatReason, QdqView};
use tq_graph::{Graph, infer};
use tq_passes::{Backend, BackendConfig};
use tq_qtypes::{DType, Granularity, OperatorKind};

/// A model for devices.
#[derive(Debug, Clone, PartialEq)]
pub struct MobileModel {
    /// The graph. Nodes and values that are neither inputs nor outputs are named by numbers.
    pub graph: Graph,
    /// Where the model differs from what `Backend::Qnnpack` has, and what is left in float, by the names in the source model.
    pub notes: Vec<String>,
}

impl MobileModel {
    /// Writes the native file, whole or not at all.
    ///
    /// # Errors
    /// As [`tq_format::save`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ExportError> {
        Ok(tq_format::save(&self.graph, path.as_ref())?)
    }
}

/// The model without what a device has no use for. It computes the same, bit for bit.
///
/// * What depends on constants alone is computed (codes of constants stay codes), Identity and Dropout go, equal constants
///   become one. None of it is done where other operators would run on codes afterwards than before: their last bits could
///   differ from the source's.
/// * Metadata, documentation, names of nodes and of values that are neither inputs nor outputs, types and shapes of what
///   lies between, and nodes that no output depends on are dropped ([`tq_format::strip`]).
///
/// The model is meant to have been quantized with the configuration `Backend::Qnnpack`: u8 activations, weights with one
/// scale a tensor. Any other runs on devices too, so that it is not refused, and never quantized again here:
/// [`MobileModel::notes`] tell what differs.
///
/// # Errors
/// [`ExportError::Graph`] for a graph that is not valid, [`ExportError::Pass`] when a constant cannot be computed.
///
/// ```
/// # use tq_graph::{Dim, Graph, Op, op::UnaryOp};
/// # let mut model = Graph::new("net");
/// # let x = model.add_input("x", tq_qtypes::DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
/// # let y = model.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
/// # model.outputs.push(y);
/// # let folder = std::env::temp_dir().join(format!("tq-doc-mobile-{}.tq", std::process::id()));
/// # let path = folder.as_path();
/// let mobile_model = tq_export::optimize_for_mobile(&model)?;
/// mobile_model.save(path)?;
/// assert_eq!(tq_format::load(path)?, mobile_model.graph);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn optimize_for_mobile(model: &Graph) -> Result<MobileModel, ExportError> {
    let mut source = model.clone(); // data is shared, so this is cheap
    infer::infer(&mut source)?;
    let view = QdqView::new(&source);
    let mut notes = differences(&source, &view);
    let mut graph = simplify::simplify(&source)?;
    if runs_on_codes(&QdqView::new(&graph)) != runs_on_codes(&view) {
        notes.push(
            "constants and idle nodes stay as they are: without them other operators would run on codes"
                .into(),
        );
        graph = source;
    }
    Ok(MobileModel { graph: tq_format::strip(&graph), notes })
}

/// The operators on codes, each with its nature; nodes that only move codes left out.
fn runs_on_codes(view: &QdqView) -> Vec<(OperatorKind, usize, bool)> {
    let moves = |kind| kind == OperatorKind::Movement;
    let operators = view.operators.iter().filter(|o| !moves(o.kind));
    operators.map(|o| (o.kind, o.inputs.len(), o.output_codes(0).is_some())).collect()
}

/// What a model has that the configuration for mobile processors does not give, a line each.
fn differences(graph: &Graph, view: &QdqView) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(backend) = backend_of(graph).filter(|b| b != Backend::Qnnpack.name()) {
        notes.push(format!("it was quantized for {backend}, not for {}", Backend::Qnnpack));
    }
    let on_codes = || view.operators.iter().filter(|o| o.kind != OperatorKind::Movement);
    if on_codes().next().is_none() {
        notes.push("it has no operator that runs on codes".into());
    }
    let weighted = || on_codes().filter_map(|o| o.weights.as_ref());
    let many = weighted().filter(|w| w.params.granularity != Granularity::PerTensor).count();
    if many > 0 {
        let all = weighted().count();
        notes.push(format!("{many} of {all} operators with weights have more than one scale of weights"));
    }
    let types: BTreeSet<String> = on_codes()
        .flat_map(|o| &o.inputs)
        .map(|codes| codes.params.dtype)
        .filter(|dtype| *dtype != DType::U8)
        .map(|dtype| dtype.to_string())
        .collect();
    if !types.is_empty() {
        let types: Vec<String> = types.into_iter().collect();
        notes.push(format!("there are activations of {}, not of u8 alone", types.join(", ")));
    }
    let table = BackendConfig::from(Backend::Qnnpack).operators;
    for operator in on_codes().filter(|o| o.run_time.is_none()) {
        let activation = operator.inputs.first().map_or(DType::U8, |codes| codes.params.dtype);
        let weights = operator.weights.as_ref().map(|w| w.params.dtype);
        // The tables of backends are of nodes: how many scales the weights of one have is no kind of its own there.
        let kind = match operator.kind {
            OperatorKind::GroupWiseLinear => OperatorKind::Linear,
            kind => kind,
        };
        if !table.supports(kind, activation, weights) {
            let weights = weights.map_or_else(String::new, |w| format!(" with weights of {w}"));
            let name = &graph.node(operator.node).name;
            notes.push(format!(
                "{name}: {kind} of {activation}{weights} is not in the table of {}",
                Backend::Qnnpack
            ));
        }
    }
    for float in view.floats.iter().filter(|f| f.reason != FloatReason::NotReal) {
        let node = graph.node(float.node);
        notes.push(format!("{} ({}) computes in float: {}", node.name, node.op.name(), float.reason));
    }
    notes
}

/// The backend that the metadata of a quantized model names.
fn backend_of(graph: &Graph) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(graph.metadata.get("tq.config")?).ok()?;
    let backend = config.get("backend")?;
    backend.as_str().or_else(|| backend.get("name")?.as_str()).map(str::to_owned)
}
