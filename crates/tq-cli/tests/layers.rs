//! `tq layers`: errors layer by layer, and their picture.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::Bench;

const DATA: &str = "--input eval.npz --scale 0.00392156862745098";

#[test]
fn layers_are_measured_and_drawn() {
    let b = Bench::new().with_digits();
    b.json("quantize model.onnx -o q.onnx --calib calib.npz --scale 0.00392156862745098 --json");
    let e = b.json(&format!("layers model.onnx q.onnx {DATA} --heatmap errors.png --json"));
    assert_eq!(e["rows"], 400);
    let layers = e["layers"].as_array().unwrap();
    assert!(layers.len() >= 5 && e["unmatched"].as_array().unwrap().is_empty(), "{e}");
    for l in layers {
        let db = |key: &str| l[key].as_f64().unwrap();
        assert!(db("introduced_db") > 20.0 && db("total_db") <= db("introduced_db") + 3.0, "{l}");
    }
    let png = std::fs::read(b.path("errors.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG\r\n\x1a\n") && png.len() > 2000, "{} bytes", png.len());
    // Nothing is measured before the name of the picture is known to do.
    b.fails(&format!("layers model.onnx q.onnx {DATA} --heatmap errors.jpg"), &["errors.jpg", ".png"]);
    b.fails(&format!("layers model.onnx q.onnx {DATA} --heatmap nowhere/errors.png"), &["nowhere"]);
    assert!(!b.path("errors.jpg").exists());
}

#[test]
fn two_pictures_have_two_names() {
    let b = Bench::new().with_digits();
    b.json("quantize model.onnx -o q.onnx --calib calib.npz --scale 0.00392156862745098 --json");
    let line = format!("layers model.onnx q.onnx {DATA} --heatmap a.png --weights a.png");
    b.fails(&line, &["a.png", "two pictures"]);
}

#[test]
fn layers_of_one_type_are_measured_with_one_set_of_data() {
    let b = Bench::new().with_digits();
    let s = b.json(&format!("sensitivity model.onnx {DATA} --only Conv --kinds weights activations --json"));
    let layers = s["layers"].as_array().unwrap();
    assert!(!layers.is_empty() && layers.iter().all(|l| l[1]["op"] == "Conv"), "{s}");
    let e = b.json(&format!("sensitivity model.onnx {DATA} --only Conv --estimate --kinds weights --json"));
    let layers = e["layers"].as_array().unwrap();
    assert!(!layers.is_empty() && layers.iter().all(|l| l[1]["op"] == "Conv"), "{e}");
}
