//! Models with data, as `case.json` beside each describes them.

use ndarray_npy::{NpzReader, ReadNpyExt};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use tq_graph::{Graph, Tensor};
use tq_passes::{QuantConfig, convert, prepare_static};

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
    dir: PathBuf,
    json: Value,
}

/// Stored arrays with the preprocessing that makes them the model's input.
pub(crate) struct Data {
    values: Vec<f32>,
    dims: Vec<usize>,
    scale: f32,
    mean: Vec<f32>,
    std: Vec<f32>,
}

/// The cases of the folder in `TQ_MODELS_DIR` (of those that `TQ_CASE` names, where it is set), or none, visibly.
pub(crate) fn cases() -> Vec<Case> {
    let Some(root) = std::env::var_os("TQ_MODELS_DIR").map(PathBuf::from) else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return Vec::new();
    };
    let only = std::env::var("TQ_CASE").ok();
    let wanted = NAMES.iter().filter(|n| only.as_deref().is_none_or(|o| o == **n));
    wanted.map(|name| case_in(name, &root.join(name)).unwrap()).collect()
}

/// The case in `dir`.
pub(crate) fn case_in(name: &str, dir: &Path) -> std::io::Result<Case> {
    let json = serde_json::from_reader(File::open(dir.join("case.json"))?)?;
    Ok(Case { name: name.to_owned(), dir: dir.to_owned(), json })
}

impl Case {
    pub(crate) fn float_graph(&self) -> Graph {
        tq_onnx::import(&self.path("model")).unwrap()
    }

    /// The model quantized with the default configuration.
    pub(crate) fn quantized_graph(&self) -> Graph {
        let prepared = prepare_static(self.float_graph(), QuantConfig::default()).unwrap();
        let calibration = self.data("calib");
        for start in (0..calibration.len()).step_by(32) {
            prepared.forward(&calibration.batch(start, 32)).unwrap();
        }
        convert(prepared).unwrap().graph
    }

    /// Top-1 accuracy of the float model, in percent.
    pub(crate) fn float_metric(&self) -> f64 {
        self.json["float"].as_f64().unwrap()
    }

    /// The best accuracy that ONNX Runtime's static quantization reached, in percent.
    pub(crate) fn best_static(&self) -> f64 {
        fn largest(value: &Value) -> f64 {
            match value {
                Value::Object(map) => map.values().map(largest).fold(f64::NEG_INFINITY, f64::max),
                v => v.as_f64().unwrap_or(f64::NEG_INFINITY),
            }
        }
        let ort = &self.json["onnxruntime"];
        largest(&ort["static_as_run_here"]).max(largest(&ort["static_exact_arithmetic"]))
    }

    pub(crate) fn labels(&self) -> Vec<i64> {
        let file = File::open(self.path("labels")).unwrap();
        ndarray::ArrayD::<i64>::read_npy(file).unwrap().into_iter().collect()
    }

    pub(crate) fn data(&self, key: &str) -> Data {
        let (values, dims) = read_array(&self.path(key));
        let pre = &self.json["preprocess"];
        let list = |v: &Value, default: f32| match v {
            Value::Array(a) => a.iter().map(|v| v.as_f64().unwrap() as f32).collect(),
            _ => vec![default; dims[1]],
        };
        let scale = pre["scale"].as_f64().map_or(1.0, |s| s as f32);
        Data { scale, mean: list(&pre["mean"], 0.0), std: list(&pre["std"], 1.0), values, dims }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(self.json[key].as_str().unwrap())
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

/// How many rows of `scores` have their largest value at the label.
pub(crate) fn hits(scores: &Tensor, labels: &[i64]) -> usize {
    let rows = scores.dims()[0];
    let values = scores.to_f32_vec().unwrap();
    let classes = values.len() / rows;
    let best = |row: &[f32]| (0..row.len()).reduce(|a, b| if row[b] > row[a] { b } else { a }).unwrap();
    (0..rows).filter(|i| best(&values[i * classes..(i + 1) * classes]) as i64 == labels[*i]).count()
}
