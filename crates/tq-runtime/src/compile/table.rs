//! Rows of constant tables: embeddings.

use super::{Compiler, PlannedStep};
use crate::error::RuntimeError;
use crate::explain::{Execution, NodeReport};
use crate::steps::table::GatherRows;
use tq_graph::qdq::node_params;
use tq_graph::{Node, NodeId, Op, ValueId};
use tq_qtypes::DType;
use tq_qtypes::index::ParamIndex;

/// A table of codes whose rows a Gather picks.
struct Table {
    codes: ValueId,
    indices: ValueId,
    step: GatherRows,
}

impl Compiler<'_> {
    /// True for a Dequantize node of a constant some of whose readers pick rows of it: it is not done in turn.
    pub(super) fn is_table(&self, real: ValueId) -> bool {
        self.graph.nodes.iter().any(|n| n.input(0) == Some(real) && self.table(n).is_some())
    }

    fn table(&self, node: &Node) -> Option<Table> {
        let Op::Gather { axis } = node.op else { return None };
        let (real, indices, to) = (node.input(0)?, node.input(1)?, node.output(0)?);
        let before = self.graph.node(self.producers[real.0]?);
        if !matches!(before.op, Op::DequantizeLinear { .. }) || self.graph.constant(indices).is_some() {
            return None;
        }
        let codes = before.input(0)?;
        let table = self.graph.constant(codes).filter(|t| GatherRows::reads(t))?;
        if axis != 0 && axis.checked_add(i64::try_from(table.rank()).ok()?) != Some(0) {
            return None;
        }
        if self.graph.value(to).dtype != Some(DType::F32) {
            return None;
        }
        let params = node_params(&self.graph, before)?;
        let places = ParamIndex::new(params.granularity, table.dims()).ok()?;
        Some(Table { codes, indices, step: GatherRows { table: codes, params, places, indices, to } })
    }

    /// Emits the picking of rows, where the node does that; false where it does not.
    pub(super) fn gather_rows(&mut self, id: NodeId) -> Result<bool, RuntimeError> {
        let Some(Table { codes, indices, step }) = self.table(self.graph.node(id)) else { return Ok(false) };
        if self.constant(indices).is_some() {
            return Ok(false);
        }
        self.tensor(indices)?;
        let dtype = self.graph.value(codes).dtype.map_or_else(String::new, |d| d.to_string());
        let to = step.to;
        let report = self.report(id, Execution::Float);
        self.reports.push(NodeReport {
            reason: Some(format!("rows of a table of {dtype} codes, dequantized as they are picked")),
            ..report
        });
        self.ready[to.0] = true;
        self.steps.push(PlannedStep {
            step: Box::new(step),
            node: id,
            reads: Vec::new(),
            writes: Vec::new(),
            tensor_reads: vec![indices],
            tensor_writes: vec![to],
            evaluates: true,
            release: Vec::new(),
        });
        Ok(true)
    }
}
