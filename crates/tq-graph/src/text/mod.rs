//! The graph as text.

mod attributes;

use crate::dim::Shape;
use crate::{Graph, Value, ValueId};
use std::fmt::{self, Write as _};
use tq_qtypes::Requantization;

/// How much of one foreign text goes into a message.
const SHOWN_CHARS: usize = 200;

/// Text from a file made fit for a one-line message: control characters are escaped, the end is cut off when it is long.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == SHOWN_CHARS {
            out.push_str("...");
            break;
        }
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// One line for each input, constant, node and output, in order; constants by type and shape only.
///
/// ```
/// use tq_graph::{Dim, Graph, Op, infer::infer, op::UnaryOp};
/// use tq_qtypes::DType;
/// let mut graph = Graph::new("g");
/// let x = graph.add_input("x", DType::F32, vec![Dim::symbol("N"), Dim::from(3usize)]);
/// let y = graph.add_node("act", Op::Unary(UnaryOp::Relu), &[x], "y");
/// graph.outputs.push(y);
/// infer(&mut graph)?;
/// assert_eq!(
///     graph.to_string(),
///     "graph g\ninput x: f32[N, 3]\nact = Relu x -> y: f32[N, 3]\noutput y: f32[N, 3]\n"
/// );
/// # Ok::<(), tq_graph::GraphError>(())
/// ```
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "graph {}", Name(&self.name))?;
        for (key, text) in &self.metadata {
            writeln!(f, "metadata {} = {text:?}", Name(key))?;
        }
        if self.requantization != Requantization::default() {
            writeln!(f, "requantization {}", self.requantization)?;
        }
        for v in &self.inputs {
            writeln!(f, "input {}", Typed(self, *v))?;
        }
        for (i, value) in self.values.iter().enumerate() {
            if value.constant.is_some() {
                writeln!(f, "constant {}", Typed(self, ValueId(i)))?;
            }
        }
        for node in &self.nodes {
            write!(f, "{} = {}", Name(&node.name), node.op)?;
            for (i, v) in node.inputs.iter().enumerate() {
                write!(f, "{}", if i == 0 { " " } else { ", " })?;
                match v.and_then(|v| self.values.get(v.0)) {
                    Some(value) => write!(f, "{}", Name(&value.name))?,
                    None => write!(f, "_")?,
                }
            }
            write!(f, " ->")?;
            for (i, v) in node.outputs.iter().enumerate() {
                write!(f, "{}", if i == 0 { " " } else { ", " })?;
                match v {
                    Some(v) => write!(f, "{}", Typed(self, *v))?,
                    None => write!(f, "_")?,
                }
            }
            writeln!(f)?;
        }
        for v in &self.outputs {
            writeln!(f, "output {}", Typed(self, *v))?;
        }
        Ok(())
    }
}

/// A name; quoted where it would not be one word.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ',' | '"');
        if !self.0.is_empty() && self.0.chars().all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

/// A value as `name: dtype[shape]`.
struct Typed<'a>(&'a Graph, ValueId);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Value { name, dtype, shape, .. }) = self.0.values.get(self.1.0) else {
            return write!(f, "value {} that does not exist", self.1.0);
        };
        write!(f, "{}: ", Name(name))?;
        match dtype {
            Some(d) => write!(f, "{d}")?,
            None => write!(f, "?")?,
        }
        match shape {
            Some(s) => write_shape(f, s),
            None => write!(f, "[...]"),
        }
    }
}

fn write_shape(f: &mut fmt::Formatter<'_>, shape: &Shape) -> fmt::Result {
    write!(f, "[")?;
    for (i, d) in shape.iter().enumerate() {
        write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
    }
    write!(f, "]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(one_line("a\nb\u{2028}c"), "a\\nb\\u{2028}c");
        assert_eq!(one_line(&"x".repeat(300)).len(), SHOWN_CHARS + 3);
    }
}
