//! A file of every version, kept for ever: it is read, says what it said, and is written as it was.
//!
//! Beside each `vN.tq` stands `vN.txt`: the graph as text, and the bytes of its constants.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Source, ops, to_bytes};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use tq_format::VERSION;
use tq_graph::{Dim, Graph, Node, Op};
use tq_qtypes::{DType, Requantization};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn text(graph: &Graph) -> String {
    let mut out = graph.to_string();
    let mut line = |name: &str, tensor: &tq_graph::Tensor| {
        let hex: String = tensor.le_bytes().iter().map(|b| format!("{b:02x}")).collect();
        writeln!(out, "bytes {name:?} {tensor:?} {hex}").unwrap();
    };
    for value in &graph.values {
        if let Some(tensor) = &value.constant {
            line(&value.name, tensor);
        }
    }
    for node in &graph.nodes {
        if let Op::ConstantOfShape { value } = &node.op {
            line(&node.name, value);
        }
    }
    for value in &graph.values {
        writeln!(out, "value {:?} {:?} {}", value.name, value.dtype, shape(value.shape.as_deref())).unwrap();
    }
    out
}

fn shape(shape: Option<&[Dim]>) -> String {
    shape.map_or("?".into(), |s| s.iter().map(|d| format!("[{d}]")).collect())
}

#[test]
fn files_of_all_versions() {
    for version in 1..=VERSION {
        let bytes = std::fs::read(data(&format!("v{version}.tq"))).unwrap();
        let graph = tq_format::load(&data(&format!("v{version}.tq"))).unwrap();
        let expected = std::fs::read_to_string(data(&format!("v{version}.txt"))).unwrap();
        assert!(text(&graph) == expected, "v{version}.tq reads as\n{}", text(&graph));
        // A graph is of the oldest version that can say it, so that all of these are written as they were.
        assert!(to_bytes(&graph) == bytes, "v{version}.tq is not written as it was");
    }
}

/// Makes the files of a new version: `cargo test -p tq-format --test golden -- --ignored`. Those that are there stay.
#[test]
#[ignore = "for new versions only"]
fn write_the_files_of_this_version() {
    let path = data(&format!("v{VERSION}.tq"));
    assert!(!path.exists(), "{} is there, and has to stay as it is", path.display());
    let mut s = Source(VERSION);
    let mut g = Graph::new("every operator, every type");
    g.metadata.insert("license".into(), "MIT \"or\"\nApache".into());
    g.requantization = Requantization::FixedPoint;
    let n = Dim::symbol("batch");
    let half = n.checked_add(&Dim::from(1usize)).unwrap().checked_div_floor(&Dim::from(2usize)).unwrap();
    let x = g.add_input("x", DType::F32, vec![n.clone(), half.checked_mul(&n).unwrap(), Dim::from(3usize)]);
    for dtype in DType::ALL {
        let tensor = s.tensor(dtype, &[3, 2]);
        g.add_constant(format!("constant {dtype}"), tensor);
    }
    g.add_constant("__metadata__", tq_graph::Tensor::scalar(-0.0f32));
    for i in 0..ops::COUNT {
        let op = ops::nth(i, &mut s);
        let mut inputs = vec![Some(x); op.input_arity().0];
        if op.input_arity().1 > inputs.len() + 1 {
            inputs.extend([None, Some(x)]);
        }
        let outputs: Vec<_> = (0..op.output_arity().0)
            .map(|j| Some(g.add_value(format!("{}:{j}", op.name()), None, Some(vec![half.clone()]))))
            .collect();
        g.outputs.extend(outputs.iter().flatten());
        g.nodes.push(Node { name: format!("{i}"), op, inputs, outputs });
    }
    std::fs::create_dir_all(data("")).unwrap();
    tq_format::save(&g, &path).unwrap();
    std::fs::write(path.with_extension("txt"), text(&g)).unwrap();
}
