//! Models with data, as `case.json` beside each describes them.

use ndarray_npy::{NpzReader, ReadNpyExt};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use tq_graph::{Graph, Tensor};

/// Image classifiers and keyword models whose operators are supported.
const NAMES: [&str; 6] = [
    "mnist_cnn",
    "kws_dscnn",
    "cifar10_resnet8",
    "cifar10_resnet20",
    "ocr_cls_mobilenetv3",
    "imagenet_efficientnet_lite0",
];

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) float: f64,
    pub(crate) best_static: f64,
    dir: PathBuf,
    json: Value,
    labels: Vec<i64>,
}

/// Stored arrays with the preprocessing that makes them the model's input.
pub(crate) struct Data {
    values: Vec<f32>,
    dims: Vec<usize>,
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// The cases of the folder in `TQ_MODELS_DIR`, or none where it is not set.
pub(crate) fn cases() -> Option<Vec<Case>> {
    let root = PathBuf::from(std::env::var_os("TQ_MODELS_DIR")?);
    let only = std::env::var("TQ_CASE").ok();
    let wanted = NAMES.iter().filter(|n| only.as_deref().is_none_or(|o| o == **n));
    Some(wanted.map(|name| Case::read(&root.join(name), name)).collect())
}

fn largest_number(value: &Value) -> f64 {
    match value {
        Value::Object(map) => map.values().map(largest_number).fold(f64::NEG_INFINITY, f64::max),
        v => v.as_f64().unwrap_or(f64::NEG_INFINITY),
    }
}

impl Case {
    fn read(dir: &Path, name: &str) -> Case {
        let json: Value = serde_json::from_reader(File::open(dir.join("case.json")).unwrap()).unwrap();
        let labels =
            ndarray::ArrayD::<i64>::read_npy(File::open(dir.join(json["labels"].as_str().unwrap())).unwrap())
                .unwrap();
        let ort = &json["onnxruntime"];
        let best_static =
            largest_number(&ort["static_as_run_here"]).max(largest_number(&ort["static_exact_arithmetic"]));
        Case {
            name: name.to_owned(),
            float: json["float"].as_f64().unwrap(),
            best_static,
            dir: dir.to_owned(),
            labels: labels.into_iter().collect(),
            json,
        }
    }

    pub(crate) fn graph(&self) -> Graph {
        tq_onnx::import(&self.dir.join(self.json["model"].as_str().unwrap())).unwrap()
    }

    pub(crate) fn calibration(&self) -> Data {
        self.data("calib")
    }

    pub(crate) fn evaluation(&self) -> Data {
        self.data("eval")
    }

    /// How many samples of a batch have their label at the largest output.
    pub(crate) fn hits(&self, out: &Tensor, start: usize) -> usize {
        let rows = out.dims()[0];
        let scores = out.to_f32_vec().unwrap();
        let classes = scores.len() / rows;
        let best = |row: &[f32]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a }).unwrap();
        (0..rows)
            .filter(|i| best(&scores[i * classes..(i + 1) * classes]) as i64 == self.labels[start + i])
            .count()
    }

    fn data(&self, key: &str) -> Data {
        let path = self.dir.join(self.json[key].as_str().unwrap());
        let (values, dims) = read_array(&path);
        let pre = &self.json["preprocess"];
        let list = |v: &Value, default: f32| match v {
            Value::Array(a) => a.iter().map(|v| v.as_f64().unwrap() as f32).collect(),
            _ => vec![default; dims[1]],
        };
        let scale = pre["scale"].as_f64().map_or(1.0, |s| s as f32);
        Data { scale, mean: list(&pre["mean"], 0.0), std: list(&pre["std"], 1.0), values, dims }
    }
}

fn read_array(path: &Path) -> (Vec<f32>, Vec<usize>) {
    macro_rules! first_of {
        ($($ty:ty),*) => {$(
            let found = if path.extension().is_some_and(|e| e == "npz") {
                let mut npz = NpzReader::new(File::open(path).unwrap()).unwrap();
                npz.by_name::<ndarray::OwnedRepr<$ty>, ndarray::IxDyn>("x").ok()
            } else {
                ndarray::ArrayD::<$ty>::read_npy(File::open(path).unwrap()).ok()
            };
            if let Some(a) = found {
                let dims = a.shape().to_vec();
                return (a.into_iter().map(|v| v as f32).collect(), dims);
            }
        )*};
    }
    first_of!(u8, i8, f32);
    panic!("{} holds no known type", path.display())
}

impl Data {
    pub(crate) fn len(&self) -> usize {
        self.dims[0]
    }

    /// At most `n` samples from `start`, as the model takes them.
    pub(crate) fn batch(&self, start: usize, n: usize) -> Tensor {
        let end = (start + n).min(self.len());
        let sample: usize = self.dims[1..].iter().product();
        let area: usize = self.dims[2..].iter().product();
        let mut dims = self.dims.clone();
        dims[0] = end - start;
        let x = self.values[start * sample..end * sample].iter().enumerate().map(|(i, v)| {
            let c = (i / area) % self.dims[1];
            (v * self.scale - self.mean[c]) / self.std[c]
        });
        Tensor::new(&dims, x.collect()).unwrap()
    }
}
