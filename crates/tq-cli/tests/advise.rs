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

#[test]
fn other_data_wrong_pairs_and_data_that_is_not_finite_are_told() {
    let b = Bench::new().with_digits();
    b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {SCALE} --json"));
    // The scale of calibration is forgotten.
    let bytes = b.json("advise model.onnx q.onnx --input eval.npz --json");
    let first = &bytes["findings"][0];
    assert_eq!(first["kind"], "input_range", "{bytes}");
    assert!(first["advice"].as_str().unwrap().contains("--preset"), "{first}");
    let fractions = b.json("advise model.onnx q.onnx --input eval.npz --scale 0.00002 --json");
    assert_eq!(fractions["findings"][0]["kind"], "input_range", "{fractions}");
    // In the wrong order, twice the same.
    for command in ["advise", "layers"] {
        let line = |pair: &str| format!("{command} {pair} --input eval.npz {SCALE}");
        b.fails(&line("q.onnx model.onnx"), &["the float model comes first"]);
        b.fails(&line("q.onnx q.onnx"), &["the float model"]);
        b.fails(&line("model.onnx model.onnx"), &["nothing of the second model is quantized"]);
    }
    b.fails(
        &format!("compare q.onnx model.onnx --input eval.npz {SCALE}"),
        &["the first model is quantized and the second is not"],
    );
    let same = b.tq(&format!("compare model.onnx model.onnx --input eval.npz {SCALE}"));
    assert!(same.stderr.contains("the same model") && same.stdout.contains("SQNR exact"), "{}", same.stdout);
    // A table of no rows is no table.
    let run = b.tq(&format!("layers model.onnx q.onnx --input eval.npz {SCALE} --top 0"));
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    // Of two files that are joined the one is named that has it.
    let mut data = vec![0.25f32; 3 * 784];
    b.write("fine.npy", &common::npy_f32(&[3, 1, 28, 28], &data));
    data[784 + 5] = f32::INFINITY;
    b.write("inf.npy", &common::npy_f32(&[3, 1, 28, 28], &data));
    let bad = "--input fine.npy inf.npy";
    let words = ["inf.npy", "row 1 holds inf (element 5 of it)"];
    for command in ["advise", "layers", "compare"] {
        b.fails(&format!("{command} model.onnx q.onnx {bad}"), &words);
    }
    b.fails(&format!("report model.onnx q.onnx {bad} -o r.html"), &words);
    b.fails("sensitivity model.onnx --calib fine.npy inf.npy", &words);
    b.fails("quantize model.onnx -o m.onnx --calib fine.npy inf.npy --max-drop 1", &words);
    // Budgets that no number can keep.
    for (budget, word) in [
        ("--max-drop nan", "--max-drop NaN"),
        ("--max-latency nan", "--max-latency NaN"),
        ("--max-latency -2", "--max-latency -2"),
        ("--max-size 0", "--max-size 0"),
    ] {
        b.fails(&format!("quantize model.onnx -o m.onnx --calib fine.npy {budget}"), &[word]);
    }
}

#[test]
fn channels_are_evened_out_on_demand() {
    let b = Bench::new().with_digits();
    let q = b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {SCALE} --equalize --json"));
    assert!(q["equalized"]["links"].is_array(), "{q}");
    let layers = b.json(&format!("layers model.onnx q.onnx --input eval.npz {SCALE} --json"));
    for l in layers["layers"].as_array().unwrap() {
        assert!(l["total_db"].as_f64().unwrap() > 20.0, "{l}");
    }
    // The ranges of a saved state are those of other channels.
    let run = b.tq("quantize model.onnx -o p.onnx --calib-state s.json --equalize");
    assert_eq!(run.code, Some(2), "{}", run.stderr);
}

#[test]
fn a_file_of_operators_on_codes_has_the_layers_and_findings_of_its_twin() {
    let b = Bench::new().with_digits();
    b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {SCALE} --json"));
    b.json("export q.onnx -o qo.onnx --form qoperator --json");
    let [twin, told] = ["q.onnx", "qo.onnx"]
        .map(|q| b.json(&format!("layers model.onnx {q} --input eval.npz {SCALE} --json")));
    let names = |v: &serde_json::Value| -> Vec<String> {
        let all = [&v["layers"], &v["unmatched"]].map(|l| l.as_array().unwrap().clone());
        let mut names: Vec<String> =
            all.concat().iter().map(|l| l["node"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&twin), names(&told), "{twin} {told}");
    let layers = told["layers"].as_array().unwrap();
    assert!(layers.len() >= 3, "{told}");
    for l in layers {
        let of_twin = twin["layers"].as_array().unwrap().iter().find(|t| t["node"] == l["node"]).unwrap();
        for figure in ["introduced_db", "inherited_db", "total_db"] {
            let [a, b] = [l, of_twin].map(|l| l[figure].as_f64().unwrap());
            assert!((a - b).abs() < 0.5, "{figure}: {l} {of_twin}");
        }
    }
    let advice = b.json(&format!("advise model.onnx qo.onnx --input eval.npz {SCALE} --json"));
    assert_eq!(advice["skipped"].as_array().map(Vec::len), Some(0), "{advice}");
}
