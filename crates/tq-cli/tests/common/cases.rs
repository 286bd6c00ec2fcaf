//! Models with data, as `case.json` and `metrics.json` beside each describe them.
//!
//! Nothing is known here of any one model: inputs, arrays and metrics are read from the two files.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use torsh_quantization::analysis::{Dataset, Preprocess, zeros_of};
use torsh_quantization::model::{Graph, Tensor};

/// One folder.
pub(crate) struct Case {
    pub(crate) name: String,
    folder: PathBuf,
    case: Value,
    metrics: Value,
}

/// What a model is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    Top1,
    Auc,
    Spearman,
}

/// The flags that give one split of the data.
#[derive(Debug, Default)]
pub(crate) struct DataFlags {
    /// `[NAME=]FILE…`, and of pairs those of the second side.
    pub(crate) files: Vec<String>,
    pub(crate) pair_files: Vec<String>,
    /// Everything else.
    pub(crate) rest: String,
}

/// The cases of the folder in `TQ_MODELS_DIR` (of those that `TQ_CASE` names, where it is set), in order of their
/// names; `None` where it is not set.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let root = PathBuf::from(std::env::var_os("TQ_MODELS_DIR")?);
    let only = std::env::var("TQ_CASE").ok();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|f| f.join("case.json").is_file());
    folders.sort();
    let cases: Vec<Case> = folders.iter().map(|f| Case::read(f)).collect();
    Some(cases.into_iter().filter(|c| only.as_deref().is_none_or(|o| o == c.name)).collect())
}

/// All numbers under `value` whose key is `key`; all numbers at all where there is no key.
fn numbers(value: &Value, key: Option<&str>, out: &mut Vec<f64>) {
    let Value::Object(map) = value else {
        if key.is_none() {
            out.extend(value.as_f64());
        }
        return;
    };
    for (k, v) in map {
        match key {
            Some(key) if key == k => out.extend(v.as_f64()),
            _ => numbers(v, key, out),
        }
    }
}

impl Case {
    fn read(folder: &Path) -> Self {
        let json = |name: &str| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
        };
        Self {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            folder: folder.to_owned(),
            case: json("case.json"),
            metrics: json("metrics.json"),
        }
    }

    pub(crate) fn model(&self) -> String {
        self.file(self.case["model"].as_str().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn metric(&self) -> Metric {
        match self.main_key() {
            None => Metric::Top1,
            Some(key) if key.ends_with("spearman") => Metric::Spearman,
            Some(_) => Metric::Auc,
        }
    }

    /// The key of the main figure, where there are several.
    fn main_key(&self) -> Option<&str> {
        let keys = self.case["float"].as_object()?.keys();
        keys.map(String::as_str).find(|k| *k == "auc" || k.ends_with("spearman"))
    }

    /// The key of the figure that compares with the float model, where there is one.
    fn fidelity_key(&self) -> Option<&str> {
        let keys = self.case["float"].as_object()?.keys();
        keys.map(String::as_str).find(|k| k.starts_with("agree") || k.starts_with("mean_cos"))
    }

    /// Points, the scale of a percentage, for a figure of the main metric.
    fn points(&self, figure: f64) -> f64 {
        if self.metric() == Metric::Auc { 100.0 * figure } else { figure }
    }

    /// The float model's figure, in points.
    pub(crate) fn float(&self) -> f64 {
        let float = &self.case["float"];
        self.points(self.main_key().map_or(float, |k| &float[k]).as_f64().unwrap())
    }

    /// The best figure that ONNX Runtime reached by quantization, static or dynamic, in points.
    pub(crate) fn best_of_onnxruntime(&self) -> f64 {
        let mut found = Vec::new();
        numbers(&self.case["onnxruntime"], self.main_key(), &mut found);
        self.points(found.into_iter().fold(0.0, f64::max))
    }

    /// As [`Case::best_of_onnxruntime`], for agreement or cosine with the float model: the words for `--metric`, and
    /// the best figure in points.
    pub(crate) fn best_fidelity(&self) -> Option<(&'static str, f64)> {
        let key = self.fidelity_key()?;
        let mut found = Vec::new();
        numbers(&self.case["onnxruntime"], Some(key), &mut found);
        let best = found.into_iter().fold(0.0, f64::max);
        Some(if key.starts_with("agree") { ("agreement", best) } else { ("cosine", 100.0 * best) })
    }

    /// Samples of the evaluation: labels that there are.
    pub(crate) fn samples(&self) -> usize {
        super::arrays::read(&self.labels()).len()
    }

    pub(crate) fn labels(&self) -> String {
        match self.case["labels"].as_str() {
            Some(file) => self.file(file),
            None => self.array_file(&self.labels_array()),
        }
    }

    fn labels_array(&self) -> String {
        let keys = self.metrics["arrays"].as_object().unwrap().keys();
        keys.filter(|k| k.starts_with("eval_")).find(|k| is_label(k)).unwrap().clone()
    }

    fn array(&self, key: &str) -> Option<(&str, Vec<usize>)> {
        let entry = self.metrics["arrays"].get(key)?;
        let dims = entry[1].as_array()?.iter().map(|d| d.as_u64().unwrap() as usize).collect();
        Some((entry[0].as_str()?, dims))
    }

    fn array_file(&self, key: &str) -> String {
        let npy = self.folder.join(format!("{key}.npy"));
        if npy.is_file() { npy.display().to_string() } else { self.file(&format!("{key}.npz")) }
    }

    /// Inputs with their declared dimensions, as far as they are numbers.
    fn inputs(&self) -> Vec<(String, Vec<Option<u64>>)> {
        let inputs: &Map<String, Value> = self.metrics["model"]["inputs"].as_object().unwrap();
        let dims = |v: &Value| v[1].as_array().unwrap().iter().map(Value::as_u64).collect();
        inputs.iter().map(|(name, v)| (name.clone(), dims(v))).collect()
    }

    /// The evaluation data as the model takes it; of pairs the first side.
    pub(crate) fn dataset(&self, graph: &Graph) -> Dataset {
        let DataFlags { files, rest, .. } = self.data("eval");
        let of = |name: &str| -> Vec<Tensor> {
            let file = files.iter().find_map(|f| f.strip_prefix(name)?.strip_prefix('='));
            vec![file.map_or_else(|| zeros_of(graph, name).unwrap(), super::arrays::read)]
        };
        let inputs = graph.inputs.iter().map(|id| of(&graph.value(*id).name)).collect();
        let p = &self.case["preprocess"];
        let list = |key: &str| -> Vec<f32> {
            p[key].as_array().map_or(Vec::new(), |a| a.iter().map(|v| v.as_f64().unwrap() as f32).collect())
        };
        let scale = p["scale"].as_f64().map_or(1.0, |s| s as f32);
        let preprocess = Preprocess { scale, mean: list("mean"), std: list("std"), ..Preprocess::default() };
        match rest.contains("--sequences") {
            true => Dataset::with_sequences(graph, inputs, preprocess),
            false => Dataset::with_segments(graph, inputs, preprocess),
        }
        .unwrap()
    }

    /// The data of a split, `calib` or `eval`.
    pub(crate) fn data(&self, split: &str) -> DataFlags {
        let mut flags = DataFlags::default();
        let p = &self.case["preprocess"];
        if p["scale"].is_number() {
            flags.rest += &format!(" --scale {}", p["scale"]);
        }
        for key in ["mean", "std"] {
            if let Some(values) = p[key].as_array() {
                let texts: Vec<String> = values.iter().map(Value::to_string).collect();
                flags.rest += &format!(" --{key} {}", texts.join(","));
            }
        }
        if let Some(file) = self.case[split].as_str() {
            flags.files.push(format!("{}={}", self.case["input"].as_str().unwrap(), self.file(file)));
            return flags;
        }
        let inputs = self.inputs();
        let prefix = format!("{split}_");
        let keys = self.metrics["arrays"].as_object().unwrap().keys();
        let (mut fed, mut is_sequence) = (Vec::new(), false);
        for key in keys.filter(|k| k.starts_with(&prefix) && !is_label(k)) {
            let (_, dims) = self.array(key).unwrap();
            let words: Vec<&str> = key.split('_').skip(1).collect();
            let input = input_for(&inputs, &words, &dims);
            let spec = format!("{}={}", input.0, self.array_file(key));
            if words.contains(&"b") {
                flags.pair_files.push(spec)
            } else {
                flags.files.push(spec)
            }
            is_sequence |= dims.len() == input.1.len() + 1;
            fed.push(input.0.clone());
        }
        if is_sequence {
            flags.rest += " --sequences";
        }
        let zeros: Vec<&str> =
            inputs.iter().map(|i| i.0.as_str()).filter(|n| !fed.iter().any(|f| f == n)).collect();
        if !zeros.is_empty() {
            flags.rest += &format!(" --zeros {}", zeros.join(" "));
        }
        flags
    }
}

fn is_label(array: &str) -> bool {
    array.split('_').any(|word| ["y", "labels", "gold"].contains(&word))
}

/// The input that an array is for: one that has a word of its name, or the only one whose last dimensions it has.
fn input_for<'a>(
    inputs: &'a [(String, Vec<Option<u64>>)],
    words: &[&str],
    dims: &[usize],
) -> &'a (String, Vec<Option<u64>>) {
    let named = |(name, _): &&(String, Vec<Option<u64>>)| {
        words.iter().any(|w| w.len() > 1 && name.split(['_', '.']).any(|n| n == *w))
    };
    if let Some(found) = inputs.iter().find(named) {
        return found;
    }
    let fits = |(_, declared): &&(String, Vec<Option<u64>>)| {
        let last = declared.iter().rev().zip(dims.iter().rev());
        declared.len() <= dims.len() && last.clone().all(|(d, n)| d.is_none_or(|d| d == *n as u64))
    };
    let mut found = inputs.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(only), None) => only,
        _ => panic!("no telling which input {words:?} {dims:?} is for"),
    }
}
