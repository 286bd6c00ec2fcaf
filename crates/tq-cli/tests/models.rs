//! The program on real trained models with real data, from the folder that `TQ_MODELS_DIR` names.
//!
//! Each case is a folder with `case.json`: the model, arrays to calibrate and evaluate with, their preprocessing, the
//! float model's accuracy, and what ONNX Runtime's static quantization reaches on the same data.

#![allow(clippy::unwrap_used)] // a case that cannot be read fails the test

mod common;

use common::Bench;
use serde_json::Value;
use std::path::Path;

/// The models whose operators are all supported and whose metric is top-1.
const CASES: [&str; 6] = [
    "mnist_cnn",
    "cifar10_resnet20",
    "cifar10_resnet8",
    "kws_dscnn",
    "ocr_cls_mobilenetv3",
    "imagenet_efficientnet_lite0",
];

fn list(values: &Value) -> String {
    let texts: Vec<String> = values.as_array().unwrap().iter().map(Value::to_string).collect();
    texts.join(",")
}

/// The flags that say how the case's bytes become floats.
fn preprocessing(case: &Value) -> String {
    let p = &case["preprocess"];
    let mut flags = format!("--scale {}", p["scale"]);
    for key in ["mean", "std"] {
        if p[key].is_array() {
            flags += &format!(" --{key} {}", list(&p[key]));
        }
    }
    flags
}

/// ONNX Runtime's best static int8 figure.
fn best_of_onnxruntime(case: &Value) -> f64 {
    ["static_as_run_here", "static_exact_arithmetic"]
        .iter()
        .flat_map(|how| case["onnxruntime"][how].as_object().unwrap().values())
        .filter_map(Value::as_f64)
        .fold(0.0, f64::max)
}

#[test]
fn accuracy_on_real_models() {
    let Some(folder) = std::env::var_os("TQ_MODELS_DIR") else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return;
    };
    for name in CASES {
        let case_folder = Path::new(&folder).join(name);
        let case: Value =
            serde_json::from_slice(&std::fs::read(case_folder.join("case.json")).unwrap()).unwrap();
        let file = |key: &str| case_folder.join(case[key].as_str().unwrap()).display().to_string();
        let (model, flags) = (file("model"), preprocessing(&case));
        let data = format!("--input {} --labels {} {flags} --json", file("eval"), file("labels"));

        let b = Bench::new();
        b.json(&format!("quantize {model} -o q.onnx --calib {} {flags} --json", file("calib")));
        let float = b.json(&format!("eval {model} {data}"))["top1"].as_f64().unwrap();
        let int8 = b.json(&format!("eval q.onnx {data}"))["top1"].as_f64().unwrap();
        let (expected, best) = (case["float"].as_f64().unwrap(), best_of_onnxruntime(&case));
        println!(
            "{name}: float {float:.3} (expected {expected:.3}), int8 {int8:.3} (ONNX Runtime {best:.3})"
        );
        assert!((float - expected).abs() <= 0.05, "{name}: float {float}, expected {expected}");
        assert!(
            int8 >= float - 1.0 || int8 >= best,
            "{name}: int8 {int8}, float {float}, ONNX Runtime {best}"
        );
    }
}
