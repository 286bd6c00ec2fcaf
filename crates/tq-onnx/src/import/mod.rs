//! From a file to a graph.

mod around;
mod constant_codes;
mod elementwise;
mod graph;
mod hard_swish;
mod identities;
mod index;
mod microsoft;
mod newer;
mod older;
mod on_codes;
mod operator;
mod order;
mod plan;
mod qlinear;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod softmax;
mod subgraphs;
mod window;

use crate::external::Folder;
use crate::proto::{ModelProto, TensorProto};
use crate::tensor::Problem;
use crate::wire::Message;
use crate::{OnnxError, requantization, run_time, tensor, wire};
use bytes::Bytes;
use prost::Message as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tq_graph::{Graph, Tensor, infer};

/// A protobuf message cannot be larger.
const MAX_FILE: u64 = i32::MAX as u64;

/// Reads the model in the file at `path`. External data may lie in the file's folder and below it.
///
/// The graph is validated, its types and shapes are inferred, and shape arithmetic is gone from it. Its operators
/// have opset-21 semantics: what older versions kept in attributes is in constant inputs.
/// `Constant` nodes and initializers (also those that are inputs at the same time) are constants of the graph.
///
/// # Errors
/// [`OnnxError::Unsupported`] lists everything in the model that is not supported; the other variants
/// name the first thing that is wrong.
pub fn import(path: &Path) -> Result<Graph, OnnxError> {
    let folder = Folder::new(path.parent());
    from_bytes(Bytes::from(read_file(path)?), folder)
}

/// Reads a model from memory. External data may lie in `base_dir` and below it, and is an error without one.
///
/// # Errors
/// As [`import`].
///
/// ```
/// let error = tq_onnx::import_bytes(b"", None).unwrap_err();
/// assert_eq!(error.to_string(), "not an ONNX model: it is empty");
/// ```
pub fn import_bytes(bytes: &[u8], base_dir: Option<&Path>) -> Result<Graph, OnnxError> {
    from_bytes(Bytes::copy_from_slice(bytes), Folder::new(base_dir))
}

/// Reads one serialized `TensorProto`, as the ONNX project's test data has them. Its data must be in the bytes.
///
/// # Errors
/// [`OnnxError::NotOnnx`] when the bytes are no such message, [`OnnxError::Tensor`] when its data cannot be read.
pub fn read_tensor(bytes: &[u8]) -> Result<Tensor, OnnxError> {
    wire::check(bytes, Message::Tensor).map_err(OnnxError::NotOnnx)?;
    let proto =
        TensorProto::decode(Bytes::copy_from_slice(bytes)).map_err(|e| OnnxError::NotOnnx(e.to_string()))?;
    tensor::read(&proto, &mut Folder::default()).map_err(|problem| {
        let message = match problem {
            Problem::Unsupported(reason) => format!("{reason} is not supported"),
            Problem::Malformed(message) => message,
        };
        OnnxError::Tensor { name: proto.name().to_owned(), message }
    })
}

/// The operator set that an ONNX file imports; `None` where it names none of ONNX's own.
///
/// # Errors
/// [`OnnxError::Io`] when the file cannot be read, [`OnnxError::NotOnnx`] when it is no model.
pub fn opset_of(path: &Path) -> Result<Option<i64>, OnnxError> {
    let bytes = read_file(path)?;
    wire::check(&bytes, Message::Model).map_err(OnnxError::NotOnnx)?;
    let model = ModelProto::decode(Bytes::from(bytes)).map_err(|e| OnnxError::NotOnnx(e.to_string()))?;
    let own = model.opset_import.iter().filter(|o| graph::is_onnx(o.domain()));
    Ok(own.map(|o| o.version()).max())
}

/// Puts constant codes in the place of every Quantize node whose input and parameters are constant f32: what importing the
/// file does whose graph this is.
pub fn fold_constant_codes(graph: &mut Graph) {
    constant_codes::fold(graph);
}

fn read_file(path: &Path) -> Result<Vec<u8>, OnnxError> {
    let io = |e: std::io::Error| OnnxError::io(path, &e);
    let fail = |message: &str| OnnxError::Io { path: path.to_owned(), message: message.to_owned() };
    // Before it is opened: opening a pipe would wait for a writer.
    let metadata = path.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(fail("it is not a regular file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(fail("it is larger than 2 GiB, which no protobuf file is"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail("it is larger than 2 GiB, which no protobuf file is"));
    }
    Ok(bytes)
}

fn from_bytes(bytes: Bytes, folder: Folder) -> Result<Graph, OnnxError> {
    let not_onnx = |m: &str| Err(OnnxError::NotOnnx(m.to_owned()));
    if bytes.is_empty() {
        return not_onnx("it is empty");
    }
    if bytes.starts_with(b"version https://git-lfs") {
        return not_onnx("it is a Git LFS pointer, the file itself was not fetched");
    }
    wire::check(&bytes, Message::Model).map_err(OnnxError::NotOnnx)?;
    let model = ModelProto::decode(bytes).map_err(|e| OnnxError::NotOnnx(e.to_string()))?;
    let mut graph = graph::build(&model, folder)?;
    drop(model); // the weights live in the graph now
    graph.validate()?;
    hard_swish::fold(&mut graph);
    identities::remove(&mut graph);
    constant_codes::fold(&mut graph);
    on_codes::rewrite(&mut graph);
    infer::simplify_shapes(&mut graph)?;
    trim_outputs(&mut graph);
    run_time::restore(&mut graph)?;
    requantization::restore(&mut graph)?;
    graph.validate()?;
    Ok(graph)
}

/// Leaves away last outputs that nobody reads, so that a file without them gives the same graph.
fn trim_outputs(graph: &mut Graph) {
    for node in &mut graph.nodes {
        let least = node.op.output_arity().0;
        while node.outputs.len() > least && node.outputs.last() == Some(&None) {
            node.outputs.pop();
        }
    }
}
