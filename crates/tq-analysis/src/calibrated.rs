//! Preparing a model and showing it data.

use crate::Batch;
use tq_graph::Graph;
use tq_passes::{Configuration, PassError, Prepared, prepare_static};

/// The model prepared as the configuration says, having seen these batches where anything is observed.
pub(crate) fn calibrated<'b>(
    model: &Graph,
    configuration: &Configuration,
    batches: impl IntoIterator<Item = &'b Batch>,
) -> Result<Prepared, PassError> {
    let prepared = prepare_static(model.clone(), configuration.clone())?;
    if !prepared.observers().is_empty() {
        for batch in batches {
            prepared.forward(batch)?;
        }
    }
    Ok(prepared)
}
