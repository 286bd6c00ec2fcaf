//! The codes on whose grid an output lies.

use super::QatModel;
use crate::QatError;
use tq_graph::{Node, Op, ValueId};
use tq_passes::training::InputForm;
use tq_qtypes::AffineParams;

impl QatModel {
    /// The parameters of the codes that output `index` is dequantized from: its own, or those of the value that a Reshape,
    /// a Transpose or the like moves there. `None` for an output that is computed in float, for codes that are not affine,
    /// and where rounding is switched off.
    ///
    /// # Errors
    /// As [`crate::Quantizer::qparams`].
    pub fn output_params(&self, index: usize) -> Result<Option<AffineParams>, QatError> {
        let graph = self.prepared.graph();
        let Some(mut value) = graph.outputs.get(index).copied() else { return Ok(None) };
        let mut form = self.prepared.float_form(value);
        loop {
            if let InputForm::Codes { group } = form {
                let quantizer = &self.activations[group];
                return match quantizer.qparams() {
                    Ok(params) => Ok(Some(params).filter(|_| quantizer.is_quantizing())),
                    Err(QatError::Format { .. }) => Ok(None),
                    Err(e) => Err(e),
                };
            }
            let made_by = |v: ValueId| graph.iter_nodes().find(|(_, n)| n.outputs.contains(&Some(v)));
            let Some((id, node)) = made_by(value).filter(|(_, n)| moves(n)) else { return Ok(None) };
            let (Some(from), Some(read)) = (node.input(0), self.forms[id.0].first()) else { return Ok(None) };
            (value, form) = (from, read.clone());
        }
    }
}

/// Whether a node only moves the elements of its first input.
fn moves(node: &Node) -> bool {
    matches!(
        node.op,
        Op::Identity
            | Op::Dropout
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Slice
            | Op::Gather { .. }
            | Op::Expand
            | Op::Tile
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
    )
}
