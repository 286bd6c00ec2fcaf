//! What normalizations need beside their attributes.

use super::Writer;
use super::node::{Error, lack};
use crate::proto::NodeProto;
use tq_graph::{Node, Tensor};

impl Writer<'_> {
    /// Scale and bias of a GroupNormalization: one element a channel from opset 21, before it one a group.
    pub(super) fn group_parameters(
        &mut self,
        node: &Node,
        groups: usize,
        out: &mut NodeProto,
    ) -> Result<(), Error> {
        let dim = |i: usize, axis: usize| {
            let shape = node.input(i).and_then(|v| self.graph.value(v).shape.as_ref());
            shape.and_then(|s| s.get(axis)).and_then(tq_graph::Dim::known_usize)
        };
        let channels = dim(0, 1);
        for (i, what) in [(1, "scale"), (2, "bias")] {
            let len = dim(i, 0);
            let Some(v) = node.input(i) else { continue };
            let name = self.graph.value(v).name.clone();
            self.used.insert(v);
            if len == if self.opset >= 21 { channels } else { Some(groups) } {
                out.input.push(name);
                continue;
            }
            if self.opset < 21 {
                return lack(format!("{what} that is not one number a group"), 21);
            }
            let (Some(channels), Some(_)) = (channels, len) else {
                return lack(format!("{what} or channels of unknown size"), 0);
            };
            let per_group = channels.checked_div(groups).filter(|n| *n > 0).unwrap_or(1);
            let indices =
                (0..channels).map(|c| i64::try_from(c / per_group).unwrap_or(i64::MAX)).collect::<Vec<_>>();
            let indices = self.add(&format!("{}_groups", node.name), Tensor::vector(indices));
            let repeated = self.value_names.fresh(&format!("{name}_channels"));
            self.nodes.push(NodeProto {
                name: Some(self.node_names.fresh(&format!("{}_{what}", node.name))),
                op_type: Some("Gather".to_owned()),
                input: vec![name, indices],
                output: vec![repeated.clone()],
                ..NodeProto::default()
            });
            out.input.push(repeated);
        }
        Ok(())
    }
}
