//! Configurations, plans, and calibration in parts.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::Bench;
use serde_json::{Value, json};

const CONFIG: &str = r#"
backend = "fbgemm"
global = "int8"

[[module_type]]
type = "Conv2d"
qconfig = { activation = { observer = "moving_average_min_max" } }

[[regex]]
pattern = "[ab]\\..*"
qconfig = "int8"

[[name]]
name = "b"
qconfig = "float"
"#;

/// The observers whose states are counts, and so do not depend on how the data was split.
const EXACT: [&str; 1] = ["min-max"];

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
        let d = b.json(&format!("quantize model.onnx --recipe {recipe} --dry-run --json"));
        assert_eq!(d["nodes"].as_array().unwrap().len(), 17, "{recipe}");
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
    let run = b.tq("quantize model.onnx -o q.onnx --recipe w8 --calib calib.npz");
    assert!(run.code == Some(0) && run.stderr.starts_with("note: "), "{}", run.stderr);
    b.fails("quantize model.onnx -o q2.onnx --recipe int8", &["model.onnx", "--calib", "--data"]);
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
    ] {
        assert_eq!(b.tq(line).code, Some(2), "{line}");
    }
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
