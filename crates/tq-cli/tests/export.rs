//! `tq lint` and `tq export`: files for other programs, and what these will make of them.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::Bench;

const DIGITS: &str = "--scale 0.00392156862745098";

fn outputs(b: &Bench, model: &str, how: &str) -> Vec<u8> {
    b.json(&format!("run {model} --input eval.npz --out-dir out {how} --json"));
    let mut files: Vec<_> = std::fs::read_dir(b.path("out")).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    let bytes = std::fs::read(files.remove(0)).unwrap();
    std::fs::remove_dir_all(b.path("out")).unwrap();
    bytes
}

#[test]
fn every_form_of_a_file_gives_the_same_answers() {
    let b = Bench::new().with_digits();
    b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS} --json"));
    let lint = b.json("lint q.onnx --target onnxruntime --json");
    assert!(lint["integer"].as_u64().unwrap() > 3 && lint["refused"] == 0, "{lint}");
    let expected = outputs(&b, "q.onnx", DIGITS);
    for form in ["--opset 25", "--form qoperator", "--weights-as float --bias-as float", "--external-data 1k"]
    {
        let report = b.json(&format!("export q.onnx -o other.onnx --target onnxruntime {form} --json"));
        assert_eq!(report["opset"], if form.contains("25") { 25 } else { 13 });
        assert_eq!(outputs(&b, "other.onnx", DIGITS), expected, "{form}");
    }
    // With the preprocessing in it the model takes the stored bytes.
    b.json(&format!("export q.onnx -o bytes.onnx --fold-preprocess {DIGITS} --json"));
    assert_eq!(outputs(&b, "bytes.onnx", ""), expected);
    b.fails("export q.onnx -o q.onnx", &["q.onnx", "would replace what it is made from"]);
    b.fails("export q.onnx -o o.onnx --calibration-cache c", &["--target tensorrt"]);
}

#[test]
fn what_a_target_refuses_is_not_written() {
    let b = Bench::new().with_digits();
    b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS} --json"));
    let run = b.tq("lint q.onnx --target tensorrt --json");
    let lint: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(run.code, Some(1));
    assert!(lint["refused"].as_u64().unwrap() > 3, "{lint}");
    b.fails("export q.onnx -o t.onnx --target tensorrt", &["tensorrt", "refuses", "u8"]);
    assert!(!b.path("t.onnx").exists());

    b.json(&format!("quantize model.onnx -o s.onnx --backend tensorrt --calib calib.npz {DIGITS} --json"));
    let report = b.json(
        "export s.onnx -o t.onnx --target tensorrt@8.6 --calibration-cache c.cache --cache-version 8601 --json",
    );
    assert_eq!(report["lint"]["refused"], 0);
    b.fails(
        "export s.onnx -o h.onnx --target tensorrt --precision fp16",
        &["in FP16 refuses", "has no codes"],
    );
    b.fails("export s.onnx -o h.onnx --precision fp16", &["--precision is for --target tensorrt"]);
    let run = b.tq("export s.onnx -o h.onnx --target tensorrt --precision int2");
    assert!(run.code == Some(2) && run.stderr.contains("INT8, FP16, FP8, INT4"), "{}", run.stderr);
    assert!(!b.path("h.onnx").exists());
    let cache = std::fs::read_to_string(b.path("c.cache")).unwrap();
    assert!(cache.starts_with("TRT-8601-EntropyCalibration2\n") && cache.lines().count() > 3, "{cache}");
    assert_eq!(b.json("lint t.onnx --target tensorrt --json")["refused"], 0);
}
