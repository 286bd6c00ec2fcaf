//! Running the program, and small files to run it on.
// Each test file uses its own part; what cannot be set up may panic.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod arrays;
pub(crate) mod browser;
pub(crate) mod cases;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A folder that goes away, and the program started in it.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
}

/// What a run of the program left.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs `tq` with these words.
    pub(crate) fn tq(&self, line: &str) -> Run {
        self.tq_with(line, |_| ())
    }

    pub(crate) fn tq_with(&self, line: &str, change: impl FnOnce(&mut Command)) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tq"));
        command.args(line.split_whitespace()).current_dir(self.folder.path());
        change(&mut command);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = |b: Vec<u8>| String::from_utf8(b).unwrap();
        Run { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs `tq`, which has to succeed and print one JSON object.
    pub(crate) fn json(&self, line: &str) -> serde_json::Value {
        let run = self.tq(line);
        // Long work says now and then on stderr how far it has come.
        assert_eq!(run.code, Some(0), "tq {line}: {}", run.stderr);
        let value: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(value.is_object());
        value
    }

    /// Runs `tq`, which has to fail with one line that holds these words, and to leave the files as they were.
    pub(crate) fn fails(&self, line: &str, words: &[&str]) {
        let before = self.files();
        let run = self.tq(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "tq {line}: {}", run.stderr);
        assert!(
            run.stderr.starts_with("error: ") && run.stderr.lines().count() == 1,
            "tq {line}: {}",
            run.stderr
        );
        for word in words {
            assert!(run.stderr.contains(word), "tq {line}: no {word:?} in {}", run.stderr);
        }
        assert!(!run.stderr.contains("internal error"), "tq {line}: {}", run.stderr);
        assert_eq!(self.files(), before, "tq {line}");
    }

    /// All files and folders, sorted.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                out.push(path.clone());
                if path.is_dir() {
                    walk(&path, out);
                }
            }
        }
        let mut out = Vec::new();
        walk(self.folder.path(), &mut out);
        out.sort();
        out
    }

    /// The embedded digits, as files: model.onnx, calib.npz, eval.npz, labels.npz.
    pub(crate) fn with_digits(self) -> Self {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
        for (from, to) in [
            ("model.onnx", "model.onnx"),
            ("calib_x_u8.npz", "calib.npz"),
            ("eval_x_u8.npz", "eval.npz"),
            ("eval_y_u8.npz", "labels.npz"),
        ] {
            std::fs::copy(demo.join(from), self.path(to)).unwrap();
        }
        self
    }
}

/// The bytes of an `.npy` file.
pub(crate) fn npy(descr: &str, dims: &[usize], data: &[u8]) -> Vec<u8> {
    let dims: String = dims.iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(data);
    out
}

pub(crate) fn npy_f32(dims: &[usize], data: &[f32]) -> Vec<u8> {
    npy("<f4", dims, &data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

pub(crate) fn npy_i64(dims: &[usize], data: &[i64]) -> Vec<u8> {
    npy("<i8", dims, &data.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
}

/// Shape text and data of an `.npy` file of f32.
pub(crate) fn read_f32(path: &Path) -> (String, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap();
    let end = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8(bytes[10..end].to_vec()).unwrap();
    assert!(header.contains("'<f4'"), "{header}");
    let shape = header.split_once('(').unwrap().1.split_once(')').unwrap().0.to_owned();
    (shape, bytes[end..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// A protobuf field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 128 {
        out.push(length as u8 | 128);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

/// A protobuf field that holds a small number.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// A node: operator, name, inputs, outputs.
pub(crate) type NodeText<'a> = (&'a str, &'a str, &'a [&'a str], &'a [&'a str]);

/// The bytes of a node.
pub(crate) fn node((op, name, ins, outs): &NodeText<'_>) -> Vec<u8> {
    let mut node = Vec::new();
    ins.iter().for_each(|i| node.extend(field(1, i.as_bytes())));
    outs.iter().for_each(|o| node.extend(field(2, o.as_bytes())));
    node.extend(field(3, name.as_bytes()));
    node.extend(field(4, op.as_bytes()));
    node
}

/// A node in another domain than ONNX's own.
pub(crate) fn in_domain(node: Vec<u8>, domain: &str) -> Vec<u8> {
    [node, field(7, domain.as_bytes())].concat()
}

/// A node with another attribute: a graph of these nodes.
pub(crate) fn with_graph(node: Vec<u8>, attribute: &str, nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut graph: Vec<u8> = nodes.iter().flat_map(|n| field(1, n)).collect();
    graph.extend(field(2, b"inner"));
    // The type of the attribute: a graph.
    let kind = [20 << 3 & 0x7f | 0x80, 1, 5];
    [node, field(5, &[field(1, attribute.as_bytes()), field(6, &graph), kind.to_vec()].concat())].concat()
}

/// An ONNX model of opset 13 without weights. A dimension of 0 is free and called N, those
/// from 250 on are free and called by their number.
pub(crate) fn onnx(nodes: &[NodeText<'_>], inputs: &[(&str, &[u8])], outputs: &[(&str, &[u8])]) -> Vec<u8> {
    model(&nodes.iter().map(node).collect::<Vec<_>>(), inputs, outputs)
}

/// As [`onnx`], of the bytes of nodes.
pub(crate) fn model(nodes: &[Vec<u8>], inputs: &[(&str, &[u8])], outputs: &[(&str, &[u8])]) -> Vec<u8> {
    let value = |(name, dims): &(&str, &[u8])| {
        let shape: Vec<u8> = dims
            .iter()
            .flat_map(|d| {
                let dim = match d {
                    0 => field(2, b"N"),
                    250.. => field(2, format!("S{d}").as_bytes()),
                    _ => number(1, *d),
                };
                field(1, &dim)
            })
            .collect();
        let tensor = [number(1, 1), field(2, &shape)].concat();
        [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
    };
    let mut graph = Vec::new();
    nodes.iter().for_each(|node| graph.extend(field(1, node)));
    graph.extend(field(2, b"g"));
    inputs.iter().for_each(|i| graph.extend(field(11, &value(i))));
    outputs.iter().for_each(|o| graph.extend(field(12, &value(o))));
    [number(1, 7), field(7, &graph), field(8, &number(2, 13))].concat()
}
