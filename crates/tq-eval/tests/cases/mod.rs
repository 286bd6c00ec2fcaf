//! Cases with models, inputs and expected outputs, in an archive.

use half::bf16;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use tq_eval::{EvalError, Evaluator, Precision};
use tq_graph::dim::known_shape;
use tq_graph::{Tensor, ValueId};
use tq_qtypes::DType;

/// A model with its inputs and the outputs that it should have.
pub(crate) struct Case {
    pub(crate) model: Vec<u8>,
    pub(crate) inputs: Vec<Tensor>,
    pub(crate) outputs: Vec<Tensor>,
}

/// The cases of an archive, by name: `<case>/model.onnx`, `<case>/input_<i>.pb`, `<case>/output_<i>.pb`. What stands
/// in `same.txt` (`<file> <other file>`) has the bytes of the other file.
pub(crate) fn read(archive: &[u8]) -> BTreeMap<String, Case> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut same = String::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        if name == "same.txt" {
            same = String::from_utf8(bytes).unwrap();
        } else if let Some((case, part)) = name.split_once('/') {
            files.entry(case.to_owned()).or_default().insert(part.to_owned(), bytes);
        }
    }
    for line in same.lines() {
        let (name, other) = line.split_once(' ').unwrap();
        let [(case, part), (other, other_part)] = [name, other].map(|n| n.split_once('/').unwrap());
        let bytes = files[other][other_part].clone();
        files.entry(case.to_owned()).or_default().insert(part.to_owned(), bytes);
    }
    files
        .into_iter()
        .map(|(name, files)| {
            let tensors = |kind: &str| {
                (0..)
                    .map_while(|i| files.get(&format!("{kind}_{i}.pb")))
                    .map(|b| tq_onnx::read_tensor(b).unwrap_or_else(|e| panic!("{name}: {e}")))
                    .collect()
            };
            let case = Case {
                model: files["model.onnx"].clone(),
                inputs: tensors("input"),
                outputs: tensors("output"),
            };
            (name, case)
        })
        .collect()
}

/// A text file of an archive.
#[allow(dead_code, reason = "not every test crate reads one")]
pub(crate) fn text(archive: &[u8], name: &str) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// What f32 results may be off by, in parts of the expected element and of the largest element beside it.
#[derive(Clone, Copy)]
pub(crate) struct Tolerance {
    /// Part of the element that every node may be off by.
    pub(crate) of_element: f64,
    /// Part of the largest element of the tensor.
    pub(crate) of_largest: f64,
}

/// How much coarser a type is than f32.
fn coarseness(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 500.0,
        DType::BF16 => 4000.0,
        _ => 1.0,
    }
}

/// What differs between an output and the expected one, if anything does.
fn difference(
    got: &Tensor,
    want: &Tensor,
    precision: Precision,
    tolerance: Tolerance,
    nodes: usize,
) -> Option<String> {
    if got.dims() != want.dims() {
        return Some(format!("shape {:?}, expected {:?}", got.dims(), want.dims()));
    }
    let float = want.dtype().is_float();
    let dtype = if float && precision == Precision::F64 { DType::F64 } else { want.dtype() };
    if got.dtype() != dtype {
        return Some(format!("type {}, expected {dtype}", got.dtype()));
    }
    if !float {
        return (got != want).then(|| "codes differ".to_owned());
    }
    let (got, wanted) = (got.to_f64_vec().unwrap(), want.to_f64_vec().unwrap());
    let largest = wanted.iter().filter(|w| w.is_finite()).fold(0.0f64, |m, w| m.max(w.abs()));
    // Every node of a function body rounds.
    let of_element = tolerance.of_element * coarseness(want.dtype()) * nodes.max(1) as f64;
    let fixed = 1e-7 + tolerance.of_largest * coarseness(want.dtype()) * largest;
    let pairs = got.into_iter().zip(wanted);
    for (i, (g, w)) in pairs.enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= fixed + of_element * w.abs();
        if !same {
            return Some(format!("element {i} is {g}, expected {w}"));
        }
    }
    None
}

/// Why a case fails.
struct Failure(String);

impl From<EvalError> for Failure {
    fn from(e: EvalError) -> Self {
        Failure(e.to_string())
    }
}

/// Imports and runs a case; the error says what differs. Every value has to have the type and the shape that were
/// inferred for it.
pub(crate) fn run(case: &Case, precision: Precision, tolerance: Tolerance) -> Result<(), String> {
    let graph = tq_onnx::import_bytes(&case.model, None).map_err(|e| format!("import: {e}"))?;
    let evaluator = Evaluator::new(&graph, precision).map_err(|e| e.to_string())?;
    // The files keep bf16 as u16: the model says which of these are meant so.
    let retype = |t: &Tensor, v: &ValueId| match graph.value(*v).dtype {
        Some(DType::BF16) if t.dtype() == DType::U16 => {
            let bits = t.as_slice::<u16>().unwrap();
            Tensor::new(t.dims(), bits.iter().map(|b| bf16::from_bits(*b)).collect()).unwrap()
        }
        _ => t.clone(),
    };
    let inputs: Vec<Tensor> = case.inputs.iter().zip(&graph.inputs).map(|(t, v)| retype(t, v)).collect();
    let wanted: Vec<Tensor> = case.outputs.iter().zip(&graph.outputs).map(|(t, v)| retype(t, v)).collect();
    let outputs = evaluator.run_tapped(&inputs, &mut |v, t| {
        let value = graph.value(v);
        let shape = value.shape.as_deref().and_then(known_shape);
        if shape.is_some_and(|s| s != t.dims()) {
            return Err(Failure(format!(
                "{} has shape {:?}, inferred {:?}",
                value.name,
                t.dims(),
                value.shape
            )));
        }
        let dtype =
            value.dtype.map(|d| if d.is_float() && precision == Precision::F64 { DType::F64 } else { d });
        match dtype.filter(|d| *d != t.dtype()) {
            Some(d) => Err(Failure(format!("{} is {}, inferred {d}", value.name, t.dtype()))),
            None => Ok(()),
        }
    });
    let outputs = outputs.map_err(|e: Failure| e.0)?;
    if outputs.len() != case.outputs.len() {
        return Err(format!("{} outputs, expected {}", outputs.len(), case.outputs.len()));
    }
    let mut pairs = outputs.iter().zip(&wanted).enumerate();
    match pairs.find_map(|(i, (g, w))| {
        difference(g, w, precision, tolerance, graph.nodes.len()).map(|d| format!("output {i}: {d}"))
    }) {
        Some(message) => Err(message),
        None => Ok(()),
    }
}
