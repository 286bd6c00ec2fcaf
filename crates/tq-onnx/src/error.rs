//! Errors of this crate. All of them print as one line, whatever names a file carries.

use crate::{MAX_OPSET, MIN_OPSET, READ_OPSETS};
use std::path::{Path, PathBuf};
use tq_graph::{GraphError, one_line};

/// Something in a model that this crate does not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedItem {
    /// Name of the node; of the initializer, input or output where it is one of these.
    pub name: String,
    /// The operator, with its domain unless that is ONNX's own; or what else it is ("initializer", "input", ...).
    pub op: String,
    /// Why it is not supported; empty when the operator as such is not.
    pub reason: String,
}

/// What can go wrong when a model is read or written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// A file that cannot be read or written.
    #[error("{}: {message}", one_line(&.path.display().to_string()))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// Bytes that are not an ONNX model (or tensor).
    #[error("not an ONNX model: {}", one_line(.0))]
    NotOnnx(String),
    /// An operator set that is not read.
    #[error("opset {0} is not supported, {low} to {high} are", low = READ_OPSETS.start(), high = READ_OPSETS.end())]
    Opset(i64),
    /// An operator set that is not written.
    #[error("opset {0} is not written, {MIN_OPSET} to {MAX_OPSET} are")]
    WrittenOpset(i64),
    /// A model as such that is broken.
    #[error("model: {}", one_line(.0))]
    Model(String),
    /// Everything in the model that is not supported, in the order of the nodes.
    #[error("{}", list(.0))]
    Unsupported(Vec<UnsupportedItem>),
    /// A node that breaks the rules of its operator.
    #[error("node {} ({}): {}", one_line(.node), one_line(.op), one_line(.message))]
    Node {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A tensor whose data cannot be read.
    #[error("tensor {}: {}", one_line(.name), one_line(.message))]
    Tensor {
        /// Name of the tensor.
        name: String,
        /// What is wrong, with the numbers.
        message: String,
    },
    /// A node that the asked operator set has no words for.
    #[error("node {} ({op}) {}: {}", one_line(.node), needs_text(*.needs, *.opset), one_line(.what))]
    NotExpressible {
        /// Name of the node.
        node: String,
        /// Its operator.
        op: &'static str,
        /// The operator set asked for.
        opset: i64,
        /// The lowest operator set that can say it; 0 when none up to [`MAX_OPSET`] can.
        needs: i64,
        /// What asks for it.
        what: String,
    },
    /// The graph that the file describes contradicts itself.
    #[error("{}", one_line(&.0.to_string()))]
    Graph(#[from] GraphError),
}

impl OnnxError {
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        OnnxError::Io { path: path.to_owned(), message: error.to_string() }
    }
}

fn needs_text(needs: i64, opset: i64) -> String {
    if needs == 0 {
        format!("cannot be written at any opset up to {MAX_OPSET}")
    } else {
        format!("needs opset {needs}, not {opset}")
    }
}

/// All unsupported items in one line, those of one operator and reason together, in order of first appearance.
fn list(items: &[UnsupportedItem]) -> String {
    let mut groups: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    let mut index = std::collections::HashMap::new();
    for item in items {
        let key = (item.op.as_str(), item.reason.as_str());
        let at = *index.entry(key).or_insert_with(|| {
            groups.push((key.0, key.1, Vec::new()));
            groups.len() - 1
        });
        groups[at].2.push(&item.name);
    }
    let mut out = String::from("unsupported: ");
    for (i, (op, reason, names)) in groups.into_iter().enumerate() {
        if i > 0 {
            out.push_str("; ");
        }
        out.push_str(&one_line(op));
        out.push_str(" (");
        if !reason.is_empty() {
            out.push_str(&one_line(reason));
            out.push_str(": ");
        }
        let names: Vec<String> = names.into_iter().map(one_line).collect();
        out.push_str(&names.join(", "));
        out.push(')');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line() {
        let item = |name: &str, op: &str, reason: &str| UnsupportedItem {
            name: name.into(),
            op: op.into(),
            reason: reason.into(),
        };
        let error = OnnxError::Unsupported(vec![
            item("a", "Erf", ""),
            item("l", "Loop", "has a sub-graph"),
            item("b\nc", "Erf", ""),
        ]);
        assert_eq!(error.to_string(), "unsupported: Erf (a, b\\nc); Loop (has a sub-graph: l)");
    }
}
