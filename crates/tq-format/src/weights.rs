//! Constants of a graph as plain safetensors files, by name: out for other programs, in from them.

use crate::data::{self, Meaning};
use crate::header::{Entry, Header, METADATA, name_of};
use crate::source::{Source, open};
use crate::{FormatError, packed};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use tq_graph::builder::{LoadOptions, LoadReport};
use tq_graph::save::replace_file;
use tq_graph::{Graph, Node, Op, Tensor, ValueId, qdq};
use tq_qtypes::{DType, QTensor};

/// What quantized constants are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As they are: codes, scales and zero points, each under its own name. Codes of two and four bits take a byte each,
    /// as `I8` or `U8`; the two 8-bit floats without negative zero are their bits, as `U8`.
    #[default]
    Stored,
    /// Codes that a DequantizeLinear reads as the f32 that it makes of them, `NAME_quantized` under `NAME`; their scales
    /// and zero points are left out.
    Dequantized,
}

/// Writes the constants of a graph to a safetensors file, one after the other. The file appears whole or not at all
/// ([`replace_file`]).
///
/// # Errors
/// As [`write()`], and [`FormatError::File`] where the file cannot be written; what was there is still there then.
pub fn save(graph: &Graph, path: &Path, form: Form) -> Result<(), FormatError> {
    replace_file(path, |out| write(graph, form, out)).map_err(|e: FormatError| e.of_file(path))
}

/// One constant on its way out.
struct Item<'a> {
    entry: Entry,
    tensor: &'a Tensor,
    /// The node that makes real numbers of it, if they are asked for.
    reader: Option<&'a Node>,
}

/// Writes the constants of a graph as a safetensors file. The same graph gives the same bytes.
///
/// # Errors
/// [`FormatError::Graph`] for a graph that is not valid; [`FormatError::Tensor`] for a constant named `__metadata__`,
/// which no such file can have, for a name that would be there twice, and for codes outside their range;
/// [`FormatError::Io`] for what the system says.
pub fn write(graph: &Graph, form: Form, out: &mut impl Write) -> Result<(), FormatError> {
    graph.validate()?;
    let (readers, parameters) = match form {
        Form::Stored => (HashMap::new(), HashSet::new()),
        Form::Dequantized => dequantized(graph),
    };
    let mut items = Vec::new();
    let mut names = HashSet::new();
    for (i, value) in graph.values.iter().enumerate() {
        let Some(tensor) = value.constant.as_ref().filter(|_| !parameters.contains(&ValueId(i))) else {
            continue;
        };
        let reader = readers.get(&ValueId(i)).copied();
        let (name, dtype) = match reader {
            Some(_) => (value.name.strip_suffix("_quantized").unwrap_or(&value.name), DType::F32),
            None => (value.name.as_str(), plain(tensor.dtype())),
        };
        if name == METADATA {
            return Err(FormatError::tensor(name, "the container has this name for itself"));
        }
        if !names.insert(name) {
            return Err(FormatError::tensor(name, "two constants have this name without _quantized"));
        }
        let (name, dims) = (name.to_owned(), tensor.dims().to_vec());
        let entry = Entry { name, dtype, dims, bytes: dtype.packed_bytes(tensor.len()) };
        items.push(Item { entry, tensor, reader });
    }
    items.sort_by(|a, b| Entry::order(&a.entry, &b.entry));
    let entries = items.iter().map(|item| item.entry.clone()).collect();
    out.write_all(&Header { metadata: BTreeMap::new(), entries }.to_bytes()?)?;
    for Item { entry, tensor, reader } in items {
        let bytes = match reader {
            Some(node) => {
                Cow::Owned(reals(graph, node, tensor).map_err(|e| FormatError::tensor(&entry.name, e))?)
            }
            None => tensor.le_bytes(),
        };
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// The type under which a file has the bytes of this type in memory.
const fn plain(dtype: DType) -> DType {
    match dtype {
        DType::I2 | DType::I4 => DType::I8,
        dtype if name_of(dtype).is_some() => dtype,
        _ => DType::U8,
    }
}

/// Constant codes with the node that dequantizes them, and the constants that only such nodes read as parameters.
fn dequantized(graph: &Graph) -> (HashMap<ValueId, &Node>, HashSet<ValueId>) {
    let mut readers = HashMap::new();
    let mut parameters = HashSet::new();
    for node in &graph.nodes {
        let codes = node.input(0).filter(|v| graph.constant(*v).is_some());
        if let (Op::DequantizeLinear { .. }, Some(codes)) = (&node.op, codes)
            && qdq::node_params(graph, node).is_some()
        {
            readers.entry(codes).or_insert(node);
            parameters.extend(node.inputs.iter().skip(1).flatten());
        }
    }
    let mut others: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    for node in &graph.nodes {
        let of_codes = node.input(0).is_some_and(|v| readers.contains_key(&v));
        if !(of_codes && matches!(node.op, Op::DequantizeLinear { .. })) {
            others.extend(node.inputs.iter().flatten());
        }
    }
    parameters.retain(|v| !others.contains(v));
    (readers, parameters)
}

/// The f32 that the node makes of constant codes, as bytes of a file.
fn reals(graph: &Graph, node: &Node, codes: &Tensor) -> Result<Vec<u8>, String> {
    let params = qdq::node_params(graph, node).ok_or("its parameters are not constant")?;
    let bytes = codes.le_bytes();
    let bytes = match packed::is_packed(codes.dtype()) {
        true => packed::pack(codes.dtype(), &bytes),
        false => bytes.into_owned(),
    };
    let codes = QTensor::from_packed(bytes, codes.dims(), params.into()).map_err(|e| e.to_string())?;
    Ok(codes.dequantize().into_iter().flat_map(f32::to_le_bytes).collect())
}

/// The tensors in the bytes of a safetensors file by their names, in one buffer. Metadata is not looked at.
///
/// # Errors
/// What is wrong with the file; [`FormatError::Tensor`] for element types that no [`Tensor`] has.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, FormatError> {
    tensors_of(&bytes)
}

fn tensors_of(source: &impl Source) -> Result<BTreeMap<String, Tensor>, FormatError> {
    let (header, start) = Header::read(source)?;
    let meaning = |e: &Entry| Meaning { dtype: e.dtype, dims: e.dims.clone() };
    let meanings: Vec<Meaning> = header.entries.iter().map(meaning).collect();
    let tensors = data::read(source, start, &header, &meanings)?;
    Ok(header.entries.into_iter().map(|e| e.name).zip(tensors).collect())
}

/// Gives constants of the graph the values that a safetensors file has for them, by name.
///
/// Shapes have to be the same. Floats become the type that the constant has; codes of two and four bits are taken from
/// `I8` and `U8`, as [`Form::Stored`] writes them; else types have to be the same. Missing are float constants with at
/// least one axis that the file does not have; unexpected are tensors that no constant is named after.
///
/// # Errors
/// [`FormatError::MissingWeights`] and [`FormatError::UnexpectedWeights`] with all names, unless the options let them
/// pass; [`FormatError::WeightShape`], [`FormatError::WeightType`]; else as [`read`]. The graph is as it was then.
pub fn load(graph: &mut Graph, path: &Path, options: LoadOptions) -> Result<LoadReport, FormatError> {
    let mut tensors = tensors_of(&open(path)?).map_err(|e| e.of_file(path))?;
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for (i, value) in graph.values.iter().enumerate() {
        let Some(constant) = &value.constant else { continue };
        match tensors.remove(&value.name) {
            Some(tensor) => found.push((i, fitted(&value.name, constant, tensor)?)),
            None if constant.dtype().is_float() && constant.rank() > 0 => missing.push(value.name.clone()),
            None => {}
        }
    }
    let report = LoadReport { missing, unexpected: tensors.into_keys().collect() };
    if !report.unexpected.is_empty() && !options.allow_unexpected {
        return Err(FormatError::UnexpectedWeights(report.unexpected));
    }
    if !report.missing.is_empty() && !options.allow_missing {
        return Err(FormatError::MissingWeights(report.missing));
    }
    for (i, tensor) in found {
        graph.values[i].constant = Some(tensor);
    }
    Ok(report)
}

/// The tensor as one of the constant's type.
fn fitted(name: &str, constant: &Tensor, tensor: Tensor) -> Result<Tensor, FormatError> {
    let (expected, got) = (constant.dtype(), tensor.dtype());
    if constant.dims() != tensor.dims() {
        let (expected, got) = (constant.dims().to_vec(), tensor.dims().to_vec());
        return Err(FormatError::WeightShape { name: name.to_owned(), expected, got });
    }
    let wrong = || FormatError::WeightType { name: name.to_owned(), expected, got };
    if expected == got {
        return Ok(tensor);
    }
    if expected.is_float() && got.is_float() {
        return converted(&tensor, expected).ok_or_else(wrong);
    }
    if plain(expected) == got {
        return tensor.retyped(expected).map_err(|e| FormatError::tensor(name, e));
    }
    Err(wrong())
}

/// The same numbers as another float type, each rounded once.
fn converted(tensor: &Tensor, to: DType) -> Option<Tensor> {
    use half::{bf16, f16};
    let wide = tensor.to_f64_vec()?.into_iter();
    let dims = tensor.dims();
    match to {
        DType::F16 => Tensor::new(dims, wide.map(f16::from_f64).collect()),
        DType::BF16 => Tensor::new(dims, wide.map(bf16::from_f64).collect()),
        DType::F32 => Tensor::new(dims, wide.map(|v| v as f32).collect()),
        DType::F64 => Tensor::new(dims, wide.collect()),
        _ => return None,
    }
    .ok()
}
