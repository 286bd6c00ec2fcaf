//! Configurations, plans, and calibration in parts.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{Bench, npy, npy_f32, onnx};
use serde_json::{Value, json};

const CONFIG: &str = r#"
backend = "fbgemm"
global = "int8"

[[module_type]]
type = "Conv2d"
qconfig = { activation = { observer = "histogram" } }

[[regex]]
pattern = "[ab]\\..*"
qconfig = "int8"

[[name]]
name = "b"
qconfig = "float"
"#;

/// The observers whose states are counts, and so do not depend on how the data was split.
const EXACT: [&str; 5] = ["min-max", "histogram", "percentile", "entropy", "mse"];

fn node<'a>(report: &'a Value, name: &str) -> &'a Value {
    report["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|n| n["node"] == name)
        .unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn explain_names_winners_and_losers() {
    let b = Bench::new().with_digits();
    b.write("c.toml", CONFIG.as_bytes());
    let e = b.json("explain model.onnx --config c.toml --json");
    let conv = node(&e, "/a/a.0/Conv");
    assert_eq!(conv["rule"], json!({ "rule": "regex", "pattern": "[ab]\\..*" }));
    assert_eq!(conv["losers"], json!([{ "rule": "module_type", "name": "Conv2d" }, { "rule": "global" }]));
    assert_eq!((&conv["path"], &conv["module_type"]), (&json!("a.0"), &json!("Conv2d")));
    assert_eq!(conv["runs"], "integer");
    let conv = node(&e, "/b/b.0/Conv");
    assert_eq!(conv["rule"], json!({ "rule": "name", "name": "b" }));
    assert_eq!((conv["losers"].as_array().unwrap().len(), &conv["scheme"]), (3, &json!("float")));
    assert_eq!(conv["runs"], "float");
    assert!(conv["reason"].as_str().is_some_and(|r| !r.is_empty()), "{conv}");
    assert_eq!(node(&e, "/c/c.0/Conv")["rule"]["rule"], "module_type");
    assert_eq!(node(&e, "/f/Gemm")["rule"]["rule"], "global");
    assert_eq!(e["float_nodes"].as_u64().unwrap() + e["integer_nodes"].as_u64().unwrap(), nodes(&e));
    let text = b.tq("explain model.onnx --config c.toml");
    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""));
    for word in
        ["/a/a.0/Conv", "rules that lose", "regex rule", "name rule", "global rule", "nodes in integers"]
    {
        assert!(text.stdout.contains(word), "{word}: {}", text.stdout);
    }
}

fn nodes(report: &Value) -> u64 {
    report["nodes"].as_array().unwrap().len() as u64
}

#[test]
fn a_dry_run_writes_nothing_and_tells_what_would_be() {
    let b = Bench::new().with_digits();
    let before = b.files();
    let d = b.json("quantize model.onnx -o q.onnx --dry-run --json");
    let text = b.tq("quantize model.onnx --dry-run");
    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""));
    for word in ["/a/a.0/Conv", "Conv2d", "global rule", "integer"] {
        assert!(text.stdout.contains(word), "{word}: {}", text.stdout);
    }
    // Calibration data is not even looked at.
    b.json("quantize model.onnx -o q.onnx --dry-run --calib nowhere.npy --json");
    assert_eq!(b.files(), before);
    let q = b.json("quantize model.onnx -o q.onnx --calib calib.npz --preset unit --json");
    assert_eq!(d["integer_nodes"], q["integer_nodes"]);
    assert_eq!(d["float_nodes"], q["float_nodes"]);
    assert_eq!(d["config"], q["config"]);
}

#[test]
fn excluded_nodes_stay_float_and_only_types_are_quantized() {
    let b = Bench::new().with_digits();
    let line = "quantize model.onnx -o q.onnx --calib calib.npz --preset unit --json";
    let q = b.json(&format!("{line} --exclude /f/Gemm c"));
    let float: Vec<&str> =
        q["float"].as_array().unwrap().iter().map(|n| n["node"].as_str().unwrap()).collect();
    assert!(float.contains(&"/f/Gemm") && float.contains(&"/c/c.0/Conv"), "{float:?}");
    assert!(!float.contains(&"/g/Gemm"));
    let e = b.json("explain model.onnx --only Conv2d Gemm --exclude a --json");
    assert_eq!(node(&e, "/a/a.0/Conv")["runs"], "float");
    assert_eq!(node(&e, "/b/b.0/Conv")["runs"], "integer");
    assert_eq!(node(&e, "/g/Gemm")["runs"], "integer");
    assert_eq!(node(&e, "/Add")["runs"], "float");
    b.fails(&format!("{line} --exclude /f/Gem"), &["--exclude /f/Gem", "no"]);
    // Part of a convolution by now: said, not passed over.
    b.fails(&format!("{line} --exclude /a/a.1/BatchNormalization"), &["BatchNormalization", "/a/a.0/Conv"]);
    b.fails(&format!("{line} --only Conv22d"), &["Conv22d", "Conv2d"]);
}

#[test]
fn every_observer_and_recipe_works_by_its_name() {
    let b = Bench::new().with_digits();
    let eval = |file: &str| {
        let e = b.json(&format!("eval {file} --input eval.npz --labels labels.npz --preset unit --json"));
        e["top1"].as_f64().unwrap()
    };
    for observer in EXACT.iter().chain(&["moving-average-min-max"]) {
        b.json(&format!(
            "quantize model.onnx -o q.onnx --calib calib.npz --preset unit --observer {observer} --json"
        ));
        assert!(eval("q.onnx") > 97.0, "{observer}: {}", eval("q.onnx"));
    }
    let help = b.tq("quantize --help").stdout;
    let recipes = help.split_once("--recipe").unwrap().1.split_once("--backend").unwrap().0;
    let names: Vec<&str> =
        recipes.lines().filter_map(|l| l.trim().strip_prefix("- ")?.split_once(':')).map(|p| p.0).collect();
    assert!(names.contains(&"int8") && names.len() > 2, "{recipes}");
    for recipe in names {
        if recipe == "auto" {
            // Without data there is nothing to choose by.
            b.fails("quantize model.onnx --recipe auto --dry-run", &["calibration data"]);
        } else {
            let d = b.json(&format!("quantize model.onnx --recipe {recipe} --dry-run --json"));
            assert_eq!(d["nodes"].as_array().unwrap().len(), 17, "{recipe}");
        }
        b.json(&format!(
            "quantize model.onnx -o q.onnx --recipe {recipe} --calib calib.npz --preset unit --json"
        ));
        assert!(eval("q.onnx") > 97.0, "{recipe}: {}", eval("q.onnx"));
    }
}

#[test]
fn a_configuration_without_calibration_takes_no_data() {
    let b = Bench::new().with_digits();
    let run = b.tq("quantize model.onnx -o q.onnx --recipe w8");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let run = b.tq("quantize model.onnx -o q.onnx --dynamic");
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
    let by_flag = b.json("quantize model.onnx --dynamic --dry-run --json");
    assert_eq!(
        by_flag["nodes"],
        b.json("quantize model.onnx --recipe int8-dynamic --dry-run --json")["nodes"]
    );
    let run = b.tq("quantize model.onnx -o q.onnx --recipe w8 --calib calib.npz");
    assert!(run.code == Some(0) && run.stderr.starts_with("note: "), "{}", run.stderr);
    b.fails(
        "quantize model.onnx -o q2.onnx --recipe int8",
        &["model.onnx", "--calib", "--data", "--calib-state"],
    );
    b.fails("calibrate model.onnx -o s.json --recipe w8 --calib calib.npz", &["model.onnx", "nothing"]);
}

#[test]
fn shards_joined_in_any_order_are_the_whole() {
    let b = Bench::new().with_digits();
    let data = "--calib calib.npz --preset unit --batch 32";
    for observer in EXACT {
        let plan = format!("--observer {observer}");
        b.json(&format!("quantize model.onnx -o whole.onnx {data} {plan} --json"));
        let mut rows = 0;
        for i in 1..=3 {
            let c = b.json(&format!("calibrate model.onnx -o {i}.json --shard {i}/3 {data} {plan} --json"));
            assert_eq!(
                (c["shard"].as_str(), c["tensors"].as_u64() > Some(5)),
                (Some(&*format!("{i}/3")), true)
            );
            rows += c["rows"].as_u64().unwrap();
        }
        assert_eq!(rows, 256);
        let whole = std::fs::read(b.path("whole.onnx")).unwrap();
        for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
            let states = order.map(|i| format!("{i}.json")).join(" ");
            let m = b.json(&format!("merge-calib {states} -o all.json --json"));
            assert_eq!(m["batches"], 8, "{observer}");
            let q = b.json(&format!("quantize model.onnx -o a.onnx --calib-state all.json {plan} --json"));
            assert_eq!(q["calibration_batches"], 8);
            b.json(&format!("quantize model.onnx -o b.onnx --calib-state {states} {plan} --json"));
            for name in ["a.onnx", "b.onnx"] {
                assert!(std::fs::read(b.path(name)).unwrap() == whole, "{observer} {order:?} {name}");
            }
        }
    }
    let text = b.tq("merge-calib 1.json 2.json -o all.json");
    assert!(text.code == Some(0) && text.stdout.contains("batches"), "{}", text.stdout);
}

#[test]
fn states_that_do_not_fit_are_named() {
    let b = Bench::new().with_digits();
    b.write(
        "other.onnx",
        &onnx(
            &[("Relu", "r", &["x"], &["m"]), ("Add", "a", &["m", "x"], &["y"])],
            &[("x", &[0, 3])],
            &[("y", &[0, 3])],
        ),
    );
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.json("calibrate model.onnx -o s.json --calib calib.npz --preset unit --json");
    b.json("calibrate model.onnx -o hist.json --calib calib.npz --preset unit --observer histogram --json");
    b.json("calibrate other.onnx -o other.json --calib x.npy --json");
    let line = |state: &str| format!("quantize model.onnx -o q.onnx --calib-state {state}");
    b.fails(&line("hist.json"), &["hist.json", "calibration state: tensor"]);
    b.fails(&line("other.json"), &["other.json", "model with digest"]);
    b.fails(&line("none.json"), &["none.json", "No such file"]);
    b.fails("merge-calib s.json hist.json -o m.json", &["s.json", "hist.json", "different observers"]);
    b.fails("merge-calib s.json other.json -o m.json", &["s.json", "other.json"]);
    b.fails("merge-calib s.json model.onnx -o m.json", &["model.onnx"]);
    b.fails("merge-calib s.json -o m.txt", &["m.txt", ".json"]);
    b.fails("merge-calib s.json -o no/m.json", &["no/m.json"]);
    b.fails("calibrate model.onnx -o model.onnx --calib calib.npz", &["model.onnx", ".json"]);
    b.fails(
        "calibrate model.onnx -o t.json --calib calib.npz --shard 300/300",
        &["shard 300/300", "32 batches"],
    );
    let whole = std::fs::read(b.path("s.json")).unwrap();
    let mut wrong: Value = serde_json::from_slice(&whole).unwrap();
    wrong["version"] = json!(999);
    b.write("version.json", wrong.to_string().as_bytes());
    b.write("cut.json", &whole[..whole.len() / 2]);
    b.write("empty.json", b"");
    b.write("deep.json", "[".repeat(100_000).as_bytes());
    b.write("list.json", b"[]");
    for name in ["version.json", "cut.json", "empty.json", "deep.json", "list.json"] {
        b.fails(&line(name), &[name]);
        b.fails(&format!("merge-calib s.json {name} -o m.json"), &[name]);
    }
    b.fails(&line("."), &["."]);
}

#[test]
fn damaged_states_never_panic() {
    let b = Bench::new();
    b.write(
        "m.onnx",
        &onnx(
            &[("Relu", "r", &["x"], &["m"]), ("Add", "a", &["m", "x"], &["y"])],
            &[("x", &[0, 3])],
            &[("y", &[0, 3])],
        ),
    );
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0, 2.0, -3.0, 4.0, 5.0, 6.0]));
    for observer in ["min-max", "histogram"] {
        b.json(&format!("calibrate m.onnx -o s.json --calib x.npy --observer {observer} --json"));
        let whole = String::from_utf8(std::fs::read(b.path("s.json")).unwrap()).unwrap();
        let numbers: Vec<usize> = whole
            .char_indices()
            .filter(|(i, c)| {
                c.is_ascii_digit() && !whole[..*i].ends_with(|p: char| p.is_ascii_alphanumeric() || p == '.')
            })
            .map(|(i, _)| i)
            .collect();
        for at in numbers.iter().step_by(numbers.len().div_ceil(12)) {
            for by in ["-1", "1e308", "99999999999999999999", "18446744073709551615", "null"] {
                let end = whole[*at..].find(|c: char| !"0123456789.e+-".contains(c)).unwrap() + at;
                b.write("bad.json", format!("{}{by}{}", &whole[..*at], &whole[end..]).as_bytes());
                let run =
                    b.tq(&format!("quantize m.onnx -o q.onnx --calib-state bad.json --observer {observer}"));
                assert!(!run.stderr.contains("internal error") && run.code.is_some(), "{}", run.stderr);
            }
        }
    }
}

#[test]
fn wrong_configurations_are_named() {
    let b = Bench::new().with_digits();
    let with = |name: &str, text: &str, words: &[&str]| {
        b.write(name, text.as_bytes());
        let mut all = vec![name];
        all.extend(words);
        b.fails(&format!("explain model.onnx --config {name}"), &all);
        b.fails(&format!("quantize model.onnx -o q.onnx --calib calib.npz --config {name}"), &all);
        b.fails(&format!("calibrate model.onnx -o s.json --calib calib.npz --config {name}"), &all);
    };
    with("a.toml", "global = ", &["TOML"]);
    with("b.toml", "globl = \"int8\"", &["globl"]);
    with("c.toml", "global = \"int9\"", &["int9"]);
    with("d.json", "{\"global\": \"int8\"", &["JSON"]);
    with("e.yaml", "global: int8", &[".toml", ".json"]);
    with("f.toml", "[[regex]]\npattern = \"(\"\nqconfig = \"int8\"", &["regex"]);
    with("g.toml", "[[module_type]]\ntype = \"Conv9d\"\nqconfig = \"int8\"", &["Conv9d"]);
    with("h.toml", "backend = \"gpu\"", &["gpu"]);
    with("i.toml", "global = { activation = { observer = \"crystal_ball\" } }", &["crystal_ball"]);
    with("j.toml", "\u{0}\u{1}", &["TOML"]);
    b.write("k.toml", &[0xFF, 0xFE, 0x00]);
    b.fails("explain model.onnx --config k.toml", &["k.toml"]);
    b.fails("explain model.onnx --config none.toml", &["none.toml", "No such file"]);
    b.fails("explain none.onnx", &["none.onnx"]);
    std::fs::create_dir(b.path("folder.toml")).unwrap();
    b.fails("explain model.onnx --config folder.toml", &["folder.toml"]);
    // A rule for nothing is told, and is no error.
    b.write("l.toml", b"global = \"int8\"\n[[name]]\nname = \"nowhere\"\nqconfig = \"float\"");
    let run = b.tq("explain model.onnx --config l.toml --json");
    assert!(run.code == Some(0) && run.stderr.contains("nowhere"), "{}", run.stderr);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["warnings"][0].as_str().unwrap().contains("nowhere"));
    for line in [
        "explain model.onnx --config l.toml --recipe int8",
        "explain model.onnx --config l.toml --backend qnnpack",
        "explain model.onnx --recipe int9",
        "explain model.onnx --observer crystal-ball",
        "calibrate model.onnx -o s.json",
        "calibrate model.onnx --calib calib.npz",
        "calibrate model.onnx -o s.json --calib calib.npz --shard 0/3",
        "merge-calib -o s.json",
        "quantize model.onnx -o q.onnx --calib-state s.json --calib calib.npz",
    ] {
        assert_eq!(b.tq(line).code, Some(2), "{line}");
    }
}

#[test]
fn data_that_is_not_finite_leaves_no_state() {
    let b = Bench::new().with_digits();
    let mut data = vec![0.5f32; 784];
    data[7] = f32::NAN;
    b.write("nan.npy", &npy_f32(&[1, 1, 28, 28], &data));
    b.fails("calibrate model.onnx -o s.json --calib nan.npy", &["nan.npy", "NaN"]);
    b.write("bytes.npy", &npy("|u1", &[1, 1, 28, 27], &[0; 756]));
    b.fails("calibrate model.onnx -o s.json --calib bytes.npy", &["bytes.npy", "input"]);
}

#[test]
fn the_configuration_of_the_documentation_works() {
    let b = Bench::new().with_digits();
    let text = include_str!("../../../docs/CLI.md");
    let toml = text.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    b.write("c.toml", toml.as_bytes());
    let e = b.json("explain model.onnx --config c.toml --json");
    assert_eq!(e["warnings"].as_array().unwrap().len(), 2, "{}", e["warnings"]);
    assert_eq!(node(&e, "/a/a.0/Conv")["rule"]["name"], "Conv2d");
}

/// A state of min-max observers as the calibration files of other tools.
fn ranges_of(state: &Value) -> Vec<(String, f64, f64)> {
    let tensors = state["tensors"].as_object().unwrap();
    let range = |t: &Value, end: &str| t["state"]["range"][end].as_f64().unwrap();
    tensors.iter().map(|(name, t)| (name.clone(), range(t, "min"), range(t, "max"))).collect()
}

#[test]
fn ranges_of_other_tools_replace_calibration() {
    let b = Bench::new().with_digits();
    b.json("calibrate model.onnx -o s.json --calib calib.npz --preset unit --observer min-max --json");
    let state: Value = serde_json::from_slice(&std::fs::read(b.path("s.json")).unwrap()).unwrap();
    let ranges = ranges_of(&state);
    let ort = |entry: &dyn Fn(&(String, f64, f64)) -> Value| -> Value {
        json!({ "CLS": "TensorsData", "data": ranges.iter().map(|r| (r.0.clone(), entry(r))).collect::<serde_json::Map<_, _>>() })
    };
    let number = |v: f64| json!({ "data": [v], "dtype": "float32", "CLS": "numpy.array" });
    let mut file = ort(&|r| json!({ "lowest": number(r.1), "highest": number(r.2), "CLS": "TensorData" }));
    file["data"]["weight_of_nobody"] = json!([0, 1]);
    b.write("ort.json", file.to_string().as_bytes());
    let encodings: Vec<Value> = ranges
        .iter()
        .map(|(name, min, max)| json!({ "name": name, "min": min, "max": max, "dtype": "INT", "bw": 8 }))
        .collect();
    let aimet = json!({ "version": "1.0.0", "activation_encodings": encodings, "param_encodings": [] });
    b.write("aimet.json", aimet.to_string().as_bytes());
    b.json("quantize model.onnx -o calib.onnx --calib calib.npz --preset unit --observer min-max --json");
    // The files say how they were made; but for that they are the same.
    let stripped = |name: &str| {
        b.json(&format!("export {name} -o stripped.tq --strip --json"));
        std::fs::read(b.path("stripped.tq")).unwrap()
    };
    let want = stripped("calib.onnx");
    for (name, format) in [("ort.json", "ort"), ("aimet.json", "aimet")] {
        for told in ["", &format!(" --ranges-format {format}")] {
            let q = b.json(&format!(
                "quantize model.onnx -o r.onnx --ranges {name}{told} --observer min-max --json"
            ));
            assert_eq!(q["ranges"]["format"], format);
            assert_eq!(q["ranges"]["missing"], json!([]));
            assert!(q["ranges"]["taken"].as_array().unwrap().len() >= ranges.len());
            assert!(stripped("r.onnx") == want, "{name}");
        }
    }
    let text = b.tq("quantize model.onnx -o r.onnx --ranges ort.json");
    assert!(text.stdout.contains("fused away: weight_of_nobody"), "{}", text.stdout);
    // TensorRT's are symmetric.
    let hex = |v: f64| format!("{:08x}", (v as f32 / 127.0).to_bits());
    let lines = ranges.iter().map(|(name, min, max)| format!("{name}: {}\n", hex(max.max(-min))));
    b.write("trt.cache", format!("TRT-8600-EntropyCalibration2\n{}", lines.collect::<String>()).as_bytes());
    let q = b.json("quantize model.onnx -o t.onnx --ranges trt.cache --json");
    assert_eq!((&q["ranges"]["format"], &q["ranges"]["ignored"]), (&json!("tensorrt"), &json!([])));
    // What is not in the file needs data; with it, only that is calibrated.
    let left = &ranges[ranges.len() / 2].0;
    file["data"].as_object_mut().unwrap().remove(left);
    b.write("part.json", file.to_string().as_bytes());
    b.fails("quantize model.onnx -o p.onnx --ranges part.json", &["no", left, "--calib"]);
    let line =
        "quantize model.onnx -o p.onnx --ranges part.json --calib calib.npz --preset unit --observer min-max";
    assert_eq!(b.json(&format!("{line} --json"))["ranges"]["missing"], json!([left]));
    assert!(stripped("p.onnx") == want);
    b.fails("quantize model.onnx -o p.onnx --ranges ort.json --ranges-format tensorrt", &["line 1", "TRT-"]);
    b.fails("quantize model.onnx -o p.onnx --ranges model.onnx", &["model.onnx"]);
    b.write("nan.json", br#"{"x": [NaN, 1]}"#);
    b.fails("quantize model.onnx -o p.onnx --ranges nan.json", &["tensor x", "NaN"]);
}
