//! Training that is put aside, and goes on as if nothing had been.
//!
//! A checkpoint is a safetensors file. Its tensors are the values of parameters (`parameter/NAME`), those of the best epoch
//! (`best/NAME`), the running statistics of both (`parameter-statistics/NAME`, `best-statistics/NAME`), and the moments of
//! the optimiser (`first/NAME`, `second/NAME`); everything else is JSON in its metadata, under
//! `torsh-quantization.training`, beside the SHA-256 of it and of the tensors.

use super::Trainer;
use super::measure::Task;
use super::options::TrainOptions;
use super::report::EpochReport;
use super::trainer::Progress;
use crate::QatError;
use crate::fake::QuantizerState;
use crate::model::ModelState;
use crate::optim::{Moments, OptimizerState};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write as _;
use std::path::Path;
use tq_graph::Tensor;
use tq_graph::save::replace_file;

/// The version of the format that this crate writes and reads.
const VERSION: u32 = 3;
/// The metadata key.
const KEY: &str = "torsh-quantization.training";

/// What tells one training from another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    /// How it is quantized: the configuration of the plan, and the fake quantizers.
    quantization: serde_json::Value,
    /// SHA-256 of the model before training, as calibration left it.
    model: String,
    train: String,
    validation: String,
    options: TrainOptions,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    identity: Identity,
    epoch: usize,
    step: usize,
    loss: f64,
    history: Vec<EpochReport>,
    best: EpochReport,
    quantizers: Vec<QuantizerState>,
    /// `None` where it is as in `quantizers`: observers of activations hold thousands of numbers, and mostly stay.
    best_quantizers: Vec<Option<QuantizerState>>,
    /// Steps that the optimiser has taken with each parameter.
    steps: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    sha256: String,
    training: Saved,
}

impl Identity {
    pub(super) fn new(
        model: &ModelState,
        quantization: serde_json::Value,
        options: &TrainOptions,
        train: &Task,
        validation: &Task,
    ) -> Result<Self, QatError> {
        let mut sha = Sha256::new();
        for (name, value) in model.parameters.iter().chain(&model.statistics) {
            sha.update(format!("{name} {:?};", value.dims()));
            sha.update(value.le_bytes());
        }
        let quantizers = serde_json::to_vec(&model.quantizers)
            .map_err(|e| QatError::ModelState(format!("fake quantizers have no form in JSON: {e}")))?;
        sha.update(quantizers);
        Ok(Self {
            quantization,
            model: hex(&sha.finalize()),
            train: train.samples.digest(),
            validation: validation.samples.digest(),
            options: options.clone(),
        })
    }

    /// In what another one differs, in words.
    fn difference(&self, other: &Self) -> Option<String> {
        let options = |o: &TrainOptions| {
            // By way of a text, in which an f32 is as short as it can be.
            serde_json::to_string(o).ok().and_then(|t| serde_json::from_str(&t).ok()).unwrap_or_default()
        };
        let settings = [
            (self.quantization.clone(), other.quantization.clone()),
            (options(&self.options), options(&other.options)),
        ];
        if let Some(difference) =
            settings.iter().find_map(|(ours, theirs)| first_difference("", ours, theirs))
        {
            return Some(format!("it was trained with other settings: {difference}"));
        }
        if self.options != other.options {
            return Some("it was trained with other settings".to_owned());
        }
        let parts = [
            // Other samples calibrate otherwise: what differs first is what is to blame.
            (
                &self.train,
                &other.train,
                "it was trained on other samples (other data, other preprocessing, or another part of it taken for validation)",
            ),
            (&self.validation, &other.validation, "it was measured on other validation samples"),
            (&self.model, &other.model, "it is of another model, or of one that was calibrated otherwise"),
        ];
        parts.into_iter().find(|(a, b, _)| a != b).map(|(_, _, what)| what.to_owned())
    }
}

/// The first setting that differs, by the names that lead to it, with both values.
fn first_difference(path: &str, ours: &serde_json::Value, theirs: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (ours, theirs) {
        _ if ours == theirs => None,
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let get = |map: &serde_json::Map<String, Value>, name: &String| map.get(name).cloned();
            names.into_iter().find_map(|name| {
                let [ours, theirs] = [a, b].map(|map| get(map, name).unwrap_or_default());
                first_difference(&below(name), &ours, &theirs)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut both = a.iter().zip(b).enumerate();
            both.find_map(|(i, (a, b))| first_difference(&below(&i.to_string()), a, b))
        }
        _ => Some(format!("{path} was {theirs}, and is {ours}")),
    }
}

impl Trainer {
    /// Writes everything that [`Trainer::resume`] needs to the file at `path`, in place of what is there. The file appears
    /// whole or not at all ([`replace_file`]); the same training gives the same bytes.
    ///
    /// # Errors
    /// [`QatError::Checkpoint`] when it cannot be written; what was there is still there then.
    pub fn save_checkpoint(&self, path: &Path) -> Result<(), QatError> {
        let fail = |message: String| QatError::Checkpoint { path: path.to_owned(), message };
        let bytes = self.checkpoint().map_err(|e| fail(e.to_string()))?;
        replace_file(path, |out| out.write_all(&bytes)).map_err(|e: std::io::Error| fail(e.to_string()))
    }

    fn checkpoint(&self) -> Result<Vec<u8>, QatError> {
        let (model, optimizer) = (self.model.state_dict(), self.optimizer.state_dict());
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        for (part, state) in [("parameter", &model), ("best", &self.progress.best_state)] {
            let named = |(name, value): (&String, &Tensor)| (format!("{part}/{name}"), value.clone());
            tensors.extend(state.parameters.iter().map(named));
            let named =
                |(name, value): (&String, &Tensor)| (format!("{part}-statistics/{name}"), value.clone());
            tensors.extend(state.statistics.iter().map(named));
        }
        let mut steps = BTreeMap::new();
        for (name, moments) in optimizer.moments {
            for (part, values) in [("first", moments.first), ("second", moments.second)] {
                // Before the first step there are none.
                if !values.is_empty() {
                    tensors.insert(format!("{part}/{name}"), Tensor::vector(values));
                }
            }
            steps.insert(name, moments.steps);
        }
        let Progress { epoch, step, loss, history, best, best_state } = &self.progress;
        let both = best_state.quantizers.iter().zip(&model.quantizers);
        let best_quantizers = both.map(|(best, now)| (best != now).then(|| best.clone())).collect();
        let training = Saved {
            identity: self.identity.clone(),
            epoch: *epoch,
            step: *step,
            loss: *loss,
            history: history.clone(),
            best: *best,
            quantizers: model.quantizers,
            best_quantizers,
            steps,
        };
        let failed = |e: &dyn std::fmt::Display| QatError::ModelState(e.to_string());
        let sha256 = digest(&training, &tensors).map_err(|e| failed(&e))?;
        let envelope = Envelope { version: VERSION, sha256, training };
        let json = serde_json::to_string(&envelope).map_err(|e| failed(&e))?;
        let bytes: Vec<_> = tensors.values().map(Tensor::le_bytes).collect();
        let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
            Ok((name, TensorView::new(Dtype::F32, tensor.dims().to_vec(), bytes).map_err(|e| failed(&e))?))
        });
        let views = views.collect::<Result<Vec<_>, QatError>>()?;
        serialize(views, Some(HashMap::from([(KEY.to_owned(), json)]))).map_err(|e| failed(&e))
    }

    /// Goes on where a training of the same model, samples and options was when it wrote this file.
    ///
    /// # Errors
    /// [`QatError::Checkpoint`] when the file cannot be read, is cut short or changed, or is of another training, with the
    /// first thing that differs. Nothing is changed then.
    pub fn resume(&mut self, path: &Path) -> Result<(), QatError> {
        let fail = |message: String| QatError::Checkpoint { path: path.to_owned(), message };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let (saved, tensors) = parse(&bytes).map_err(fail)?;
        if let Some(difference) = self.identity.difference(&saved.identity) {
            return Err(fail(difference));
        }
        if saved.epoch == 0
            || saved.epoch > self.options.epochs + 1
            || saved.step > self.steps_per_epoch()
            || saved.history.len() != saved.epoch
            || !saved.loss.is_finite()
        {
            return Err(fail(format!("no training is in epoch {}, step {}", saved.epoch, saved.step)));
        }
        let part = |name: &str| {
            let own = tensors.iter().filter_map(|(n, t)| Some((n.strip_prefix(name)?.to_owned(), t.clone())));
            own.collect::<BTreeMap<String, Tensor>>()
        };
        let state = |name: &str, quantizers| ModelState {
            parameters: part(&format!("{name}/")),
            quantizers,
            statistics: part(&format!("{name}-statistics/")),
        };
        let both = saved.best_quantizers.into_iter().zip(&saved.quantizers);
        let best_quantizers = both.map(|(best, now)| best.unwrap_or_else(|| now.clone())).collect();
        let best_state = state("best", best_quantizers);
        let model = state("parameter", saved.quantizers);
        let (mut first, mut second) = (part("first/"), part("second/"));
        let values = |moments: &mut BTreeMap<String, Tensor>, name: &str| {
            moments.remove(name).map_or(Ok(Vec::new()), |t| t.as_slice::<f32>().map(<[f32]>::to_vec))
        };
        let mut optimizer = OptimizerState::default();
        for (name, steps) in saved.steps {
            let wrong = |e: tq_graph::GraphError| fail(e.to_string());
            let first = values(&mut first, &name).map_err(wrong)?;
            let second = values(&mut second, &name).map_err(wrong)?;
            optimizer.moments.insert(name, Moments { steps, first, second });
        }
        // The best state is tried as well: it will be needed.
        let before = self.model.state_dict();
        let moments = self.optimizer.state_dict();
        let loaded = self
            .model
            .load_state_dict(&best_state)
            .and_then(|()| self.model.load_state_dict(&model))
            .and_then(|()| self.optimizer.load_state_dict(&optimizer));
        if let Err(e) = loaded {
            self.model.load_state_dict(&before)?;
            self.optimizer.load_state_dict(&moments)?;
            return Err(fail(e.to_string()));
        }
        let Saved { epoch, step, loss, history, best, .. } = saved;
        self.progress = Progress { epoch, step, loss, history, best, best_state };
        Ok(())
    }
}

/// Reads the bytes of a checkpoint.
fn parse(bytes: &[u8]) -> Result<(Saved, BTreeMap<String, Tensor>), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("it is damaged, or no checkpoint: {e}");
    let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(&e))?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(&e))?;
    let json = header.metadata().as_ref().and_then(|m| m.get(KEY));
    let json = json.ok_or_else(|| format!("its metadata has no {KEY}"))?;
    // The version comes first: another one may have other fields.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } = serde_json::from_str(json).map_err(|e| damaged(&e))?;
    if version != VERSION {
        return Err(format!("version {version} of the format, this program reads {VERSION}"));
    }
    let envelope: Envelope = serde_json::from_str(json).map_err(|e| damaged(&e))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor {name} is {:?}, expected F32", view.dtype()));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let tensor = Tensor::new(view.shape(), values.collect::<Vec<f32>>()).map_err(|e| e.to_string())?;
        tensors.insert(name.to_owned(), tensor);
    }
    let found = digest(&envelope.training, &tensors).map_err(|e| e.to_string())?;
    if found != envelope.sha256 {
        return Err(format!("it was changed: its SHA-256 is {found}, not {}", envelope.sha256));
    }
    Ok((envelope.training, tensors))
}

/// SHA-256 of all that a checkpoint holds.
fn digest(training: &Saved, tensors: &BTreeMap<String, Tensor>) -> Result<String, serde_json::Error> {
    let mut sha = Sha256::new();
    sha.update(serde_json::to_vec(training)?);
    for (name, tensor) in tensors {
        sha.update(format!("{name} {:?};", tensor.dims()));
        sha.update(tensor.le_bytes());
    }
    Ok(hex(&sha.finalize()))
}

/// Hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
