//! What calibration has gathered, as plain data.

use crate::prepare::name_of_group;
use crate::{PassError, Prepared};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tq_graph::{Graph, Tensor};
use tq_observers::{ObserverConfig, ObserverError, ObserverState};

/// The version of the format that this crate writes and reads.
const VERSION: u32 = 1;
/// Files larger than this are not read: the histograms of a thousand tensors take a tenth of it.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What calibration of a model has gathered: to be saved, loaded, and merged with that of other shards of the data.
///
/// Joining the states of shards gives what calibrating on all the data in one go gives: exactly for observers that
/// count ([`tq_observers::MinMaxObserver`], histograms and their like), in any order; within the tolerance that their
/// documentation states for moving averages.
///
/// ```
/// # use tq_graph::{Dim, Graph, Op, Tensor, op::UnaryOp};
/// # use tq_passes::{CalibrationState, PassError, QuantConfig, convert, prepare_static};
/// # use tq_qtypes::DType;
/// # fn model() -> Graph {
/// #     let mut model = Graph::new("net");
/// #     let x = model.add_input("x", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
/// #     let w = model.add_constant("w", Tensor::new(&[2, 2], vec![1.0f32, 2.0, -3.0, 4.0]).unwrap());
/// #     let y = model.add_node("linear", Op::MatMul, &[x, w], "y");
/// #     model.outputs.push(y);
/// #     model
/// # }
/// // On two machines:
/// let shard = |values: Vec<f32>| -> Result<String, Box<dyn std::error::Error>> {
///     let prepared = prepare_static(model(), QuantConfig::default())?;
///     prepared.forward(&[Tensor::new(&[1, 2], values)?])?;
///     Ok(prepared.calibration_state().to_json()?)
/// };
/// let (a, b) = (shard(vec![0.0, 1.0])?, shard(vec![-3.0, 0.5])?);
///
/// // On a third:
/// let mut state = CalibrationState::from_json(&a)?;
/// state.merge(&CalibrationState::from_json(&b)?)?;
/// let prepared = prepare_static(model(), QuantConfig::default())?;
/// prepared.load_calibration(&state)?;
/// assert_eq!(prepared.batches(), 2);
/// let quantized = convert(prepared)?;
/// # assert!(quantized.report.integer_nodes().count() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationState {
    version: u32,
    /// SHA-256 of the fused float graph, constants included.
    model: String,
    batches: u64,
    /// By the name of the first tensor of each group that shares scales.
    tensors: BTreeMap<String, TensorState>,
}

/// What one observer has gathered, and which observer it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorState {
    config: ObserverConfig,
    state: ObserverState,
}

impl CalibrationState {
    /// SHA-256 in hexadecimal digits of the model, the observers and what they gathered: what tells one calibration from
    /// another. In how many batches the data came makes no difference.
    ///
    /// # Errors
    /// As [`CalibrationState::to_json`].
    pub fn digest(&self) -> Result<String, PassError> {
        let state = Self { batches: 0, ..self.clone() };
        Ok(Sha256::digest(state.to_json()?).iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Number of batches.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// SHA-256 of the fused float graph that was calibrated, in hexadecimal digits.
    #[must_use]
    pub fn model_digest(&self) -> &str {
        &self.model
    }

    /// The names of the observed tensors, each with what its observer has gathered.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &ObserverState)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), &tensor.state))
    }

    /// Adds what another shard has gathered.
    ///
    /// # Errors
    /// [`PassError::CalibrationModel`] for that of another model; [`PassError::CalibrationTensor`] naming the first
    /// tensor that only one of them observed, or that they observed with different observers, or whose state is broken.
    /// Nothing is changed then.
    pub fn merge(&mut self, other: &CalibrationState) -> Result<(), PassError> {
        same_model(&self.model, &other.model)?;
        let mut tensors = self.tensors.clone();
        for (name, theirs) in &other.tensors {
            let fail = |message: String| PassError::CalibrationTensor { tensor: name.clone(), message };
            let Entry::Occupied(mut mine) = tensors.entry(name.clone()) else {
                return Err(fail("only one of the states has it".to_owned()));
            };
            if mine.get().config != theirs.config {
                let (a, b) = (&mine.get().config, &theirs.config);
                let which = difference(a, b, &[]).unwrap_or_default();
                return Err(fail(format!("the states come from different observers or settings{which}")));
            }
            let mut observer = theirs.config.build().map_err(|e| fail(e.to_string()))?;
            for state in [&mine.get().state, &theirs.state] {
                observer.merge_state(state).map_err(|e| fail(e.to_string()))?;
            }
            mine.get_mut().state = observer.state();
        }
        if let Some(name) = self.tensors.keys().find(|name| !other.tensors.contains_key(*name)) {
            let message = "only one of the states has it".to_owned();
            return Err(PassError::CalibrationTensor { tensor: name.clone(), message });
        }
        self.batches = add_batches(self.batches, other.batches)?;
        self.tensors = tensors;
        Ok(())
    }

    /// Writes JSON, the same for the same state.
    ///
    /// # Errors
    /// [`PassError::File`] when a number has no form in JSON.
    pub fn to_json(&self) -> Result<String, PassError> {
        serde_json::to_string(self).map_err(|e| file_error(&e))
    }

    /// Reads JSON.
    ///
    /// # Errors
    /// [`PassError::File`] with the place and what is wrong there, or for another version of the format;
    /// [`PassError::CalibrationTensor`] naming the first tensor whose state no observer of its settings can have.
    pub fn from_json(text: &str) -> Result<Self, PassError> {
        let state: Self = serde_json::from_str(text).map_err(|e| file_error(&e))?;
        if state.version != VERSION {
            let version = state.version;
            return Err(file_error(&format!(
                "version {version} of the format, this program reads {VERSION}"
            )));
        }
        for (name, tensor) in &state.tensors {
            let fail = |e: ObserverError| PassError::CalibrationTensor {
                tensor: name.clone(),
                message: e.to_string(),
            };
            tensor.config.build().map_err(fail)?.merge_state(&tensor.state).map_err(fail)?;
        }
        Ok(state)
    }

    /// Reads a file of JSON.
    ///
    /// # Errors
    /// [`PassError::File`] when it cannot be read, is larger than 1 GiB, or is wrong.
    pub fn from_file(path: &Path) -> Result<Self, PassError> {
        let fail = |e: &dyn std::fmt::Display| file_error(&format!("{}: {e}", path.display()));
        let mut text = String::new();
        let file = File::open(path).map_err(|e| fail(&e))?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| fail(&e))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(fail(&format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Self::from_json(&text).map_err(|e| match e {
            PassError::File { message, .. } => fail(&message),
            e => fail(&e),
        })
    }
}

impl Prepared {
    /// What calibration has gathered so far.
    #[must_use]
    pub fn calibration_state(&self) -> CalibrationState {
        let calibration = self.calibration();
        let tensors = self.plan.groups.iter().zip(&calibration.observers).map(|(group, observer)| {
            let state = TensorState { config: observer.config(), state: observer.state() };
            (name_of_group(&self.graph, group), state)
        });
        CalibrationState {
            version: VERSION,
            model: digest(&self.graph),
            batches: calibration.batches,
            tensors: tensors.collect(),
        }
    }

    /// Adds what calibration gathered elsewhere, as if its batches had been given to [`Prepared::forward`] here.
    ///
    /// The observers here may ask for other codes (fewer bits, another scheme), another smallest scale or another clipping
    /// than those that gathered the state: what they gather is the same.
    ///
    /// # Errors
    /// [`PassError::CalibrationModel`] for that of another model; [`PassError::CalibrationTensor`] naming the first
    /// tensor that is not observed on both sides, or by another kind of observer, or with settings that gather something
    /// else, or whose state is broken. Nothing is changed then.
    pub fn load_calibration(&self, state: &CalibrationState) -> Result<(), PassError> {
        same_model(&digest(&self.graph), &state.model)?;
        let mut calibration = self.calibration();
        let mut next = calibration.clone();
        let mut missing: BTreeMap<&str, &TensorState> =
            state.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for (group, observer) in self.plan.groups.iter().zip(&mut next.observers) {
            let name = name_of_group(&self.graph, group);
            let fail = |message: String| PassError::CalibrationTensor { tensor: name.clone(), message };
            let tensor = missing.remove(name.as_str()).ok_or_else(|| {
                fail("this configuration observes it, the state does not have it".to_owned())
            })?;
            if let Some(which) = difference(&tensor.config, &observer.config(), READ_OUT) {
                return Err(fail(format!("the state comes from another observer or other settings{which}")));
            }
            observer.merge_state(&tensor.state).map_err(|e| fail(e.to_string()))?;
        }
        if let Some(name) = missing.into_keys().next() {
            let message = "the state has it, this configuration does not observe it".to_owned();
            return Err(PassError::CalibrationTensor { tensor: name.to_owned(), message });
        }
        next.batches = add_batches(next.batches, state.batches)?;
        *calibration = next;
        Ok(())
    }
}

/// Settings by which ranges are read out of what was gathered: they do not change what is gathered.
const READ_OUT: &[&str] = &["codes", "eps", "percentile", "steps", "scale", "zero_point"];

/// The first setting in which two observers differ, in words; those of `but` may.
fn difference(theirs: &ObserverConfig, ours: &ObserverConfig, but: &[&str]) -> Option<String> {
    let settings = |config: &ObserverConfig| {
        let mut out = BTreeMap::new();
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(config) {
            out.extend(fields);
        }
        // What shares a scale shapes what is gathered, the codes do not.
        if let Some(mut codes) = out.remove("spec") {
            let granularity = codes.as_object_mut().and_then(|c| c.remove("granularity"));
            out.insert("granularity".to_owned(), granularity.unwrap_or_default());
            out.insert("codes".to_owned(), codes);
        }
        out.retain(|name, _| !but.contains(&name.as_str()));
        out
    };
    let (theirs, ours) = (settings(theirs), settings(ours));
    // The kind first: the settings of other kinds are others anyway.
    let names = std::iter::once("observer").chain(theirs.keys().chain(ours.keys()).map(String::as_str));
    let shown = |v: Option<&serde_json::Value>| v.map_or("none".to_owned(), ToString::to_string);
    let mut names = names.filter(|name| theirs.get(*name) != ours.get(*name));
    names.next().map(|name| format!(": {name} {} against {}", shown(theirs.get(name)), shown(ours.get(name))))
}

fn add_batches(a: u64, b: u64) -> Result<u64, PassError> {
    a.checked_add(b).ok_or_else(|| file_error(&"it counts more than 2^64 batches"))
}

fn same_model(expected: &str, got: &str) -> Result<(), PassError> {
    if expected == got {
        return Ok(());
    }
    Err(PassError::CalibrationModel { expected: expected.to_owned(), got: got.to_owned() })
}

fn file_error(error: &dyn std::fmt::Display) -> PassError {
    PassError::File { format: "calibration state", message: error.to_string() }
}

/// SHA-256 of a graph: its text, and the values of its constants.
fn digest(graph: &Graph) -> String {
    let mut hash = Sha256::new();
    hash.update(graph.to_string());
    for (i, value) in graph.values.iter().enumerate() {
        if let Some(tensor) = &value.constant {
            hash.update((i as u64).to_le_bytes());
            hash_values(&mut hash, tensor);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash_values(hash: &mut Sha256, tensor: &Tensor) {
    if let Ok(values) = tensor.as_slice::<f32>() {
        values.iter().for_each(|v| hash.update(v.to_bits().to_le_bytes()));
    } else if let Some(values) = tensor.to_i64_vec() {
        values.iter().for_each(|v| hash.update(v.to_le_bytes()));
    } else if let Some(values) = tensor.to_f64_vec() {
        values.iter().for_each(|v| hash.update(v.to_bits().to_le_bytes()));
    }
}
