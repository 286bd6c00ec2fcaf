//! `tq advise`: findings as a table with words below it, and as JSON.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::Bench;

const SCALE: &str = "--scale 0.00392156862745098";

#[test]
fn findings_are_told_in_words_and_numbers() {
    let b = Bench::new().with_digits();
    b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {SCALE} --json"));
    let healthy = b.json(&format!("advise model.onnx q.onnx --input eval.npz {SCALE} --json"));
    assert_eq!(healthy["findings"].as_array().map(Vec::len), Some(0), "{healthy}");
    assert!(
        healthy["rows"].as_u64().unwrap() >= 64 && healthy["sqnr_db"].as_f64().unwrap() > 20.0,
        "{healthy}"
    );
    // Calibrated with pictures a tenth as bright.
    b.json("quantize model.onnx -o dark.onnx --calib calib.npz --scale 0.000392156862745098 --json");
    let dark = b.json(&format!("advise model.onnx dark.onnx --input eval.npz {SCALE} --json"));
    let first = &dark["findings"][0];
    assert_eq!(first["kind"], "clipped_activations", "{dark}");
    assert!(
        first["share"].as_f64().unwrap() > 20.0 && !first["nodes"].as_array().unwrap().is_empty(),
        "{first}"
    );
    let text = b.tq(&format!("advise model.onnx dark.onnx --input eval.npz {SCALE} --rows 16")).stdout;
    for expected in ["clipped activations", "beyond its codes", "--observer", "findings, from 16 samples"] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    b.fails(&format!("advise model.onnx q.onnx --input eval.npz {SCALE} --output nothing"), &["nothing"]);
}
