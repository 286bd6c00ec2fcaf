//! What training for few bits recovers on real classifiers.
//!
//! `TQ_MODELS_DIR=FOLDER cargo test --release -p tq-cli --test qat_models -- --nocapture` prints the table of docs/QAT.md.
//! Neither model has labelled training data here, so the evaluation data is cut in two: every other sample is for training
//! (a fifth of these for choosing the epoch), and the figures are those of the other half, which no training sees.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, npy, npy_i64};
use std::path::PathBuf;
use torsh_quantization::model::{DType, Tensor};

struct Case {
    name: &'static str,
    /// Where the evaluation arrays are.
    x: &'static str,
    y: &'static str,
    preprocess: &'static str,
    /// Learning rates for (8, 8), (4, 8) and (4, 4) bits of weights and activations, and samples of a step.
    steps: [(&'static str, usize); 3],
}

const CASES: [Case; 2] = [
    Case {
        name: "kws_dscnn",
        x: "kws_dscnn/eval_x_i8.npy",
        y: "kws_dscnn/eval_y_i64.npy",
        preprocess: "--scale 0.5847029 --mean 48.5303407",
        // Chosen by the mean of several splits of the training half: for (4, 8) of 1e-3, 3e-4 and 1e-4, for (4, 4) of 1e-3
        // and 3e-3 with 8 and 32 samples a step.
        steps: [("0.00001", 32), ("0.0001", 32), ("0.001", 8)],
    },
    Case {
        name: "cifar10_resnet8",
        x: "cifar10_resnet20/eval_x_u8.npy",
        y: "cifar10_resnet20/eval_y_i64.npy",
        preprocess: "--preset none",
        steps: [("0.00001", 32), ("0.0001", 32), ("0.0001", 32)],
    },
];

/// Every other row, from this one on.
fn write_half(b: &Bench, name: &str, x: &Tensor, labels: &[i64], from: usize) {
    let bytes = x.le_bytes();
    let row = bytes.len() / labels.len();
    let rows: Vec<usize> = (from..labels.len()).step_by(2).collect();
    let data: Vec<u8> = rows.iter().flat_map(|r| bytes[r * row..(r + 1) * row].to_vec()).collect();
    let dims = [&[rows.len()][..], &x.dims()[1..]].concat();
    let descr = if x.dtype() == DType::I8 { "|i1" } else { "|u1" };
    b.write(&format!("{name}_x.npy"), &npy(descr, &dims, &data));
    let labels: Vec<i64> = rows.iter().map(|r| labels[*r]).collect();
    b.write(&format!("{name}_y.npy"), &npy_i64(&[labels.len()], &labels));
}

#[test]
fn training_recovers_half_of_what_four_bits_lose() {
    let Some(root) = std::env::var_os("TQ_MODELS_DIR").map(PathBuf::from) else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return;
    };
    println!("| model | weights, activations | float | calibrated (PTQ) | QAT, fixed scales | QAT, LSQ |");
    println!("|---|---|---|---|---|---|");
    for case in CASES {
        let b = Bench::new();
        let read = |file: &str| common::arrays::read(root.join(file).to_str().unwrap());
        let (x, labels) = (read(case.x), read(case.y).to_i64_vec().unwrap());
        write_half(&b, "train", &x, &labels, 0);
        write_half(&b, "report", &x, &labels, 1);
        let model = root.join(case.name).join("model.onnx").display().to_string();
        let top1 = |model: &str| {
            let data = "--input report_x.npy --labels report_y.npy";
            let eval = b.json(&format!("eval {model} {data} {} --json", case.preprocess));
            eval["top1"].as_f64().unwrap()
        };
        let float = top1(&model);
        for ((weights, activations), (lr, batch)) in [(8, 8), (4, 8), (4, 4)].into_iter().zip(case.steps) {
            let train = |rest: &str| {
                let report = b.json(&format!(
                    "qat {model} -o q.onnx --train train_x.npy --labels train_y.npy {} --val-split 0.2 --distill \
                     --bits {weights} --act-bits {activations} --batch {batch} --json {rest}",
                    case.preprocess
                ));
                let of = |e: &serde_json::Value| e["validation"]["top1"].as_f64().unwrap();
                assert!(of(&report["best"]) >= of(&report["history"][0]));
                // What is measured in training is what a session computes, to the last bit.
                let (output, rows) = (&report["measured"]["outputs"][0], &report["validation_rows"]);
                assert_eq!(output["same_decisions"], *rows, "{output}");
                assert_eq!(output["equal"], output["elements"], "{output}");
                top1("q.onnx")
            };
            // Without steps nothing becomes better than calibration.
            let ptq = train("--epochs 1 --lr 0");
            let fixed = train(&format!("--epochs 5 --lr {lr}"));
            let lsq = train(&format!("--epochs 5 --lr {lr} --lsq"));
            println!(
                "| {} | int{weights}, int{activations} | {float:.2} | {ptq:.2} | {fixed:.2} | {lsq:.2} |",
                case.name
            );
            let lost = float - ptq;
            // Where little was lost the half that is left over is chance.
            if lost > 2.0 {
                assert!(fixed >= float - 0.5 * lost && lsq >= float - 0.5 * lost);
            }
            assert!(fixed >= ptq - 1.0 && lsq >= ptq - 1.0);
        }
    }
}
