//! The same quantized graph in other words: rewritings that change the form of a file and no code of any result.

mod bias;
mod edit;
mod qoperator;
mod weights;

use super::{BiasForm, ExportOptions, OperatorForm, WeightForm};
use crate::OnnxError;
use edit::Edit;
use tq_graph::{Graph, infer};

/// Brings an inferred graph into the form that the options ask for.
pub(super) fn apply(graph: &mut Graph, options: &ExportOptions) -> Result<(), OnnxError> {
    let mut changed = false;
    if let Some(form) = options.bias {
        let mut edit = Edit::new(graph);
        match form {
            BiasForm::Int32 => bias::to_codes(&mut edit)?,
            BiasForm::Float => bias::to_float(&mut edit)?,
        }
        changed = true;
    }
    if options.form == OperatorForm::QOperator {
        if changed {
            renew(graph)?;
        }
        qoperator::rewrite(&mut Edit::new(graph))?;
        changed = true;
    }
    if let Some(form) = options.weights {
        if changed {
            renew(graph)?;
        }
        match form {
            WeightForm::Codes => weights::to_codes(&mut Edit::new(graph))?,
            WeightForm::FloatPair => weights::to_pairs(&mut Edit::new(graph))?,
        }
        changed = true;
    }
    if changed {
        renew(graph)?;
    }
    Ok(())
}

fn renew(graph: &mut Graph) -> Result<(), OnnxError> {
    graph.compact();
    infer::infer(graph)?;
    Ok(())
}
