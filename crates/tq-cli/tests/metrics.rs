//! `tq eval --metric` and `tq quantize --recipe auto`, from the files that they read to what they print.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{Bench, npy_f32, npy_i64, onnx, read_f32};

/// The input, doubled where it is positive: `y = relu(x) + x`.
fn doubler(dims: &[u8]) -> Vec<u8> {
    onnx(&[("Relu", "r", &["x"], &["p"]), ("Add", "a", &["p", "x"], &["y"])], &[("x", dims)], &[("y", dims)])
}

fn close(found: &serde_json::Value, expected: f64) {
    assert!((found.as_f64().unwrap() - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn area_under_the_curve() {
    let b = Bench::new();
    b.write("m.onnx", &doubler(&[0]));
    b.write("x.npy", &npy_f32(&[4], &[0.1, 0.4, 0.35, 0.8]));
    b.write("l.npy", &npy_i64(&[2, 2], &[0, 0, 1, 1]));
    let r = b.json("eval m.onnx --metric auc --input x.npy --labels l.npy --batch 3 --json");
    close(&r["auc"], 0.75);
    close(&r["points"], 75.0);
    // Twice 0.4 and 0.35 are on the same side of 0.5.
    close(&r["accuracy"], 75.0);
    b.write("two.npy", &npy_i64(&[2], &[0, 1]));
    b.fails("eval m.onnx --metric auc --input x.npy --labels two.npy", &["2 labels"]);
    b.write("bad.npy", &npy_i64(&[4], &[0, 0, 1, 5]));
    b.fails("eval m.onnx --metric auc --input x.npy --labels bad.npy", &["label 3 is 5"]);
    b.write("one.npy", &npy_i64(&[4], &[1, 1, 1, 1]));
    b.fails("eval m.onnx --metric auc --input x.npy --labels one.npy", &["needs both"]);
}

#[test]
fn agreement_and_cosine_with_another_model() {
    let b = Bench::new();
    b.write("m.onnx", &doubler(&[0, 2]));
    b.write("f.onnx", &onnx(&[("Identity", "i", &["x"], &["y"])], &[("x", &[0, 2])], &[("y", &[0, 2])]));
    b.write("x.npy", &npy_f32(&[2, 2], &[1.0, 0.0, -3.0, 4.0]));
    let r = b.json("eval m.onnx --metric agreement --against f.onnx --input x.npy --json");
    close(&r["agreement"], 100.0);
    // The second row is (-3, 8) beside (-3, 4).
    let cosine = (1.0 + 41.0 / (25f64 * 73.0).sqrt()) / 2.0;
    close(&r["cosine"], cosine);
    let r = b.json("eval m.onnx --metric cosine --against f.onnx --input x.npy --json");
    assert_eq!(r["metric"], "cosine");
    close(&r["points"], 100.0 * cosine);
    assert_eq!(b.tq("eval m.onnx --metric agreement --input x.npy").code, Some(2));
}

#[test]
fn rank_correlation_of_pairs() {
    let b = Bench::new();
    b.write("m.onnx", &onnx(&[("Identity", "i", &["x"], &["y"])], &[("x", &[0, 2])], &[("y", &[0, 2])]));
    b.write("a.npy", &npy_f32(&[4, 2], &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]));
    b.write("b.npy", &npy_f32(&[4, 2], &[3.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 2.0]));
    b.write("gold.npy", &npy_f32(&[4], &[5.0, 4.5, 1.0, 0.5]));
    let line =
        "eval m.onnx --metric spearman --input a.npy --pair-input b.npy --labels gold.npy --batch 3 --json";
    // Ranks 4 3 1 2 and 4 3 2 1: 1 - 6 * 2 / (4 * 15).
    close(&b.json(line)["spearman"], 0.8);
    b.write("short.npy", &npy_f32(&[3], &[5.0, 4.5, 1.0]));
    b.fails(&line.replace("gold", "short").replace(" --json", ""), &["3 gold scores for 4 pairs"]);
    assert_eq!(b.tq("eval m.onnx --metric spearman --input a.npy --labels gold.npy").code, Some(2));
}

#[test]
fn sequences_are_runs_of_their_own() {
    let b = Bench::new();
    let nodes: &[common::NodeText<'_>] =
        &[("Add", "a", &["x", "h"], &["s"]), ("Mul", "m", &["s", "x"], &["y"])];
    b.write("m.onnx", &onnx(nodes, &[("x", &[0, 2]), ("h", &[1, 2])], &[("y", &[0, 2])]));
    let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
    b.write("x.npy", &npy_f32(&[2, 3, 2], &values));
    let r = b.json("run m.onnx --input x.npy --sequences --zeros h --out-dir out --json");
    assert_eq!(r["rows"], 6);
    let (shape, y) = read_f32(&b.path("out/y.npy"));
    assert_eq!(shape, "2, 3, 2");
    assert_eq!(y, values.iter().map(|v| v * v).collect::<Vec<f32>>());
    b.fails("run m.onnx --input x.npy --sequences --zeros c --out-dir o2", &["c", "it has [x, h]"]);
    b.fails("run m.onnx --input x.npy --zeros h --out-dir o2", &["input x", "expected shape"]);
    let line = "quantize m.onnx -o q.onnx --calib x.npy --sequences --zeros h --json";
    assert_eq!(b.json(line)["calibration_batches"], 2);
    let c = b.json("compare m.onnx q.onnx --input x.npy --sequences --zeros h --json");
    assert_eq!(c["n"], 6);
}

#[test]
fn the_recipe_is_searched_for_and_said() {
    let b = Bench::new().with_digits();
    let line = "quantize model.onnx -o q.onnx --recipe auto --calib calib.npz --scale 0.00392156862745098";
    let r = b.json(&format!("{line} --json"));
    let found = &r["recommendation"];
    assert!(found["chosen"].as_str().unwrap().starts_with("int8/"), "{found}");
    assert_eq!((&found["met"], &found["rows"]), (&true.into(), &256.into()));
    let trials = found["trials"].as_array().unwrap();
    let chosen: Vec<_> = trials.iter().filter(|t| t["verdict"] == "chosen").collect();
    assert_eq!(chosen.len(), 1, "{found}");
    assert_eq!(chosen[0]["name"], found["chosen"]);
    assert!(trials.iter().all(|t| !t["why"].as_str().unwrap().is_empty()), "{found}");
    let text = b.tq(line);
    assert!(text.stdout.contains("int8/percentile") && text.stdout.contains("chosen:"), "{}", text.stdout);
    b.fails(&format!("{line} --observer mse"), &["--observer"]);
    b.fails("quantize model.onnx -o q2.onnx --recipe auto", &["calibration data"]);
    b.fails("explain model.onnx --recipe auto", &["--recipe auto"]);
}
