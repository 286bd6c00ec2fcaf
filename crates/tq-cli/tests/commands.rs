//! Every subcommand, from the files it reads to those it writes.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{Bench, npy, npy_f32, npy_i64, onnx, read_f32};
use serde_json::Value;

fn number(v: &Value, key: &str) -> f64 {
    v[key].as_f64().unwrap_or_else(|| panic!("{key} in {v}"))
}

fn keys(v: &Value) -> Vec<&str> {
    v.as_object().unwrap().keys().map(String::as_str).collect()
}

const DIGITS: &str = "--scale 0.00392156862745098";

#[test]
fn from_float_to_int8_on_digits() {
    let b = Bench::new().with_digits();
    let q = b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS} --json"));
    assert_eq!(q["calibration_rows"], 256);
    assert_eq!(number(&q, "float_nodes") as usize, q["float"].as_array().unwrap().len());
    assert!(number(&q, "integer_nodes") > 5.0, "{q}");
    assert!(number(&q, "compression_ratio") > 2.5, "{q}");

    let data = format!("--input eval.npz --labels labels.npz {DIGITS} --json");
    let float = b.json(&format!("eval model.onnx {data}"));
    assert_eq!(keys(&float), ["metric", "n", "points", "top1", "top5"]);
    assert_eq!(float["n"], 400);
    assert!((number(&float, "top1") - 97.75).abs() < 0.05, "{float}");
    let int8 = b.json(&format!("eval q.onnx --batch 7 {data}"));
    assert!((number(&int8, "top1") - 97.75).abs() <= 1.0, "{int8}");
    let reference = b.json(&format!("eval q.onnx --reference {data}"));
    assert!((number(&int8, "top1") - number(&reference, "top1")).abs() <= 0.5, "{int8} {reference}");

    let c = b.json(&format!("compare model.onnx q.onnx {data}"));
    assert_eq!(c["float"]["top1"], float["top1"]);
    assert_eq!(c["quantized"]["top1"], int8["top1"]);
    let drop = number(&float, "top1") - number(&int8, "top1");
    assert!((number(&c, "accuracy_drop") - drop).abs() < 1e-9);
    assert!(
        number(&c, "sqnr_db") > 15.0 && number(&c, "cosine") > 0.99 && number(&c, "speedup") > 0.0,
        "{c}"
    );
    assert!(number(&c, "argmax_agreement") > 97.0, "{c}");
    let ratio = std::fs::metadata(b.path("model.onnx")).unwrap().len() as f64
        / std::fs::metadata(b.path("q.onnx")).unwrap().len() as f64;
    assert!((number(&c, "compression_ratio") - ratio).abs() < 1e-9);

    b.fails(
        &format!("quantize q.onnx -o qq.onnx --calib calib.npz {DIGITS}"),
        &["q.onnx", "quantized already"],
    );
    let i = b.json("inspect q.onnx --json");
    assert_eq!(i["already_quantized"], true);
    assert!(i["quantizable"].as_array().unwrap().len() > 5, "{i}");
    // Five convolutions and two linear layers, whose sums are proved to fit.
    let certificates = i["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 7, "{i}");
    assert!(certificates.iter().all(|c| c["wide_channels"] == 0 && c["depth"].as_u64().unwrap() >= 9), "{i}");
    let text = b.tq("inspect q.onnx").stdout;
    assert!(text.contains("channels fit 32 bits") && text.contains("pairs of weights"), "{text}");
}

#[test]
fn quantizing_twice_gives_the_same_bytes_and_per_tensor_is_smaller() {
    let b = Bench::new().with_digits();
    for (out, more) in
        [("a.onnx", ""), ("b.onnx", "--batch 64"), ("c.onnx", "--backend qnnpack --observer minmax")]
    {
        assert_eq!(
            b.tq(&format!("quantize model.onnx -o {out} --calib calib.npz {DIGITS} {more}")).code,
            Some(0)
        );
    }
    let read = |name| std::fs::read(b.path(name)).unwrap();
    assert!(read("a.onnx") == read("b.onnx"));
    assert!(read("c.onnx").len() < read("a.onnx").len());
}

#[test]
fn digits_are_inspected() {
    let b = Bench::new().with_digits();
    let mut i = b.json("inspect model.onnx --json");
    assert_eq!(i["parameters"], 56_634);
    for key in ["file_bytes", "parameter_bytes", "parameters"] {
        i[key] = Value::Null;
    }
    insta::assert_snapshot!("inspect_digits", serde_json::to_string_pretty(&i).unwrap());
}

#[test]
fn demo_needs_nothing() {
    let b = Bench::new();
    let d = b.json("demo --out-dir here/out --json");
    assert_eq!(d["n"], 400);
    assert!((number(&d["float"], "top1") - 97.75).abs() < 0.05, "{d}");
    assert!(number(&d, "accuracy_drop").abs() <= 1.0, "{d}");
    let files = ["here/out/mnist_float.onnx", "here/out/mnist_int8.onnx"];
    // And the one that was trained for 4 bits, which is no worse than what calibration alone gives.
    assert_eq!(b.files().len(), 5);
    assert!(b.path("here/out/mnist_int4_qat.onnx").is_file());
    assert!(number(&d["int4"], "trained_top1") >= number(&d["int4"], "calibrated_top1") - 0.5, "{d}");
    assert!(number(&d["int4"], "trained_top1") > 96.0, "{d}");
    for f in files {
        let size = std::fs::metadata(b.path(f)).unwrap().len();
        assert!(d["float"]["file_bytes"] == size || d["quantized"]["file_bytes"] == size);
    }
    let run = b.tq("demo");
    // Training says now and then how far it has come, where it takes long.
    let said = run.stderr.lines().all(|line| line.starts_with("training "));
    assert!(run.code == Some(0) && said, "{}", run.stderr);
    for word in ["top-1", "97.75 %", "latency", "smaller", "QAT", "tq-demo/mnist_int8.onnx"] {
        assert!(run.stdout.contains(word), "no {word} in {}", run.stdout);
    }
}

#[test]
fn run_takes_any_numeric_type_and_appends_batches() {
    let b = Bench::new();
    let dims: &[u8] = &[0, 2];
    b.write("m.onnx", &onnx(&[("Relu", "r", &["x"], &["y"])], &[("x", dims)], &[("y", dims)]));
    b.write("a=1.npy", &npy_f32(&[1, 2], &[-1.0, 2.0]));
    b.write("big.npy", &npy(">f4", &[1, 2], &[0x3f, 0x80, 0, 0, 0xbf, 0x80, 0, 0]));
    let r = b.json("run m.onnx --input a=1.npy --input x=big.npy --out-dir o --json");
    assert_eq!(r["rows"], 2);
    assert_eq!(r["outputs"][0]["shape"], serde_json::json!([2, 2]));
    assert_eq!(read_f32(&b.path("o/y.npy")), ("2, 2".into(), vec![0.0, 2.0, 1.0, 0.0]));
    for reference in ["", "--reference"] {
        b.json(&format!("run m.onnx --input a=1.npy big.npy --batch 1 --out-dir o2 {reference} --json"));
        assert_eq!(std::fs::read(b.path("o2/y.npy")).unwrap(), std::fs::read(b.path("o/y.npy")).unwrap());
    }
    // Bytes go through scale, mean and std; floats do not.
    b.write("bytes.npy", &npy("|i1", &[1, 2], &[255, 100]));
    let flags = "--scale 0.5 --mean -1,10 --std 2,4";
    b.json(
        &format!("run m.onnx --input bytes.npy a=1.npy --out-dir o {flags} --json").replace(" a=1.npy", ""),
    );
    assert_eq!(read_f32(&b.path("o/y.npy")).1, [0.25, 10.0]);
    b.json(&format!("run m.onnx --input a=1.npy --out-dir o {flags} --json"));
    assert_eq!(read_f32(&b.path("o/y.npy")).1, [0.0, 2.0]);
}

#[test]
fn files_are_named_after_outputs() {
    let b = Bench::new();
    let nodes: &[common::NodeText<'_>] =
        &[("Relu", "r", &["x"], &["a/b"]), ("Relu", "s", &["x"], &["a_b"]), ("Relu", "t", &["x"], &["y:0"])];
    b.write("m.onnx", &onnx(nodes, &[("x", &[])], &[("a/b", &[]), ("a_b", &[]), ("y:0", &[])]));
    b.write("x.npy", &npy_f32(&[], &[3.0]));
    b.json("run m.onnx --input x.npy --out-dir o --json");
    for f in ["a_b.npy", "a_b_2.npy", "y_0.npy"] {
        assert_eq!(read_f32(&b.path("o").join(f)), (String::new(), vec![3.0]));
    }
    assert_eq!(std::fs::read_dir(b.path("o")).unwrap().count(), 3);
}

#[test]
fn several_inputs_need_names_and_fixed_batches_loop() {
    let b = Bench::new();
    let dims: &[u8] = &[2, 2];
    b.write(
        "m.onnx",
        &onnx(&[("Sub", "s", &["a", "b"], &["y"])], &[("a", dims), ("b", dims)], &[("y", dims)]),
    );
    b.write("a.npy", &npy_f32(&[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
    b.write("b.npy", &npy_f32(&[4, 2], &[1.0; 8]));
    b.fails("run m.onnx --input a.npy --input b.npy --out-dir o", &["a.npy", "[a, b]"]);
    b.fails("run m.onnx --input a=a.npy --out-dir o", &["input b"]);
    b.json("run m.onnx --input a=a.npy --input b.npy --out-dir o --json");
    assert_eq!(read_f32(&b.path("o/y.npy")), ("4, 2".into(), vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]));
    // The last batch is filled up to find out what the third row gives, and only for that.
    b.write("three.npy", &npy_f32(&[3, 2], &[1.0; 6]));
    b.fails("run m.onnx --input a=three.npy b=three.npy --out-dir o2", &["3 rows", "batches of 2"]);
    b.write("one.npy", &npy_f32(&[1, 2], &[1.0; 2]));
    b.fails("run m.onnx --input a=one.npy b=one.npy --out-dir o2", &["shape [2, 2], got [1, 2]"]);
    b.write("low.npy", &npy_f32(&[3, 2], &[2.0, 1.0, 1.0, 2.0, 2.0, 1.0]));
    b.write("labels.npy", &npy_i64(&[3, 1], &[0, 1, 1]));
    let e = b.json("eval m.onnx --input a=low.npy --input b=three.npy --labels labels.npy --json");
    assert_eq!((e["n"].as_u64(), e["top5"].as_f64()), (Some(3), Some(100.0)));
    assert!((number(&e, "top1") - 200.0 / 3.0).abs() < 1e-9);
}

#[test]
fn bench_reports_times_and_kernels() {
    let b = Bench::new().with_digits();
    let r = b.json("bench model.onnx --runs 5 --json");
    for key in ["median_ms", "p10_ms", "p90_ms", "min_ms"] {
        assert!(number(&r, key) > 0.0);
    }
    assert!(r["kernels"].is_array());
    assert_eq!(r["input_shapes"], serde_json::json!([[1, 1, 28, 28]]));
    let r = b.json("bench model.onnx --runs 2 --threads 2 --shape input=3,1,28,28 --json");
    assert_eq!((r["threads"].as_u64(), r["runs"].as_u64()), (Some(2), Some(2)));
    assert_eq!(r["input_shapes"], serde_json::json!([[3, 1, 28, 28]]));
    let text = b.tq("bench model.onnx --runs 2 --shape 2x1x28x28");
    assert!(text.stdout.contains("median") && text.code == Some(0));
}

#[test]
fn bench_shows_the_time_of_each_node() {
    let b = Bench::new().with_digits();
    b.tq(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS}"));
    let r = b.json("bench q.onnx --runs 3 --profile --json");
    let nodes = r["profile"]["nodes"].as_array().unwrap();
    assert!(!nodes.is_empty() && nodes.iter().any(|n| number(n, "seconds") > 0.0 && number(n, "macs") > 0.0));
    let text = b.tq("bench q.onnx --runs 3 --profile");
    assert!(text.code == Some(0) && text.stdout.contains("by node (medians of 3 runs"), "{}", text.stdout);
    assert!(b.json("bench q.onnx --runs 3 --json")["profile"].is_null());
}

#[test]
fn doctor_tells_machine_kernels_and_figures() {
    let b = Bench::new();
    let r = b.json("doctor --ms 1 --json");
    assert_eq!(r["architecture"], std::env::consts::ARCH);
    assert!(number(&r["bandwidth"], "median") > 0.0);
    let products = r["products"].as_array().unwrap();
    assert!(
        products.iter().any(|p| p["chosen"] == true)
            && products.iter().all(|p| number(&p["gmacs"], "best") > 0.0)
    );
    // What sessions use is what is measured as chosen.
    let linear = r["kernels"].as_array().unwrap().iter().find(|k| k["operator"] == "linear").unwrap();
    let chosen = products.iter().find(|p| p["chosen"] == true).unwrap();
    assert_eq!(linear["kernel"], chosen["kernel"]);
    let text = b.tq("doctor --ms 1");
    for part in ["features that kernels use", "GB/s", "matrix products with requantization"] {
        assert!(text.stdout.contains(part), "{part}: {}", text.stdout);
    }
    assert_ne!(b.tq("doctor --ms 0").code, Some(0));
}

#[test]
fn text_output_goes_to_stdout() {
    let b = Bench::new().with_digits();
    let q = b.tq(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS}"));
    assert!(
        q.code == Some(0) && q.stdout.contains("nodes in integers") && q.stderr.is_empty(),
        "{}",
        q.stderr
    );
    let e = b.tq(&format!("eval model.onnx --input eval.npz --labels labels.npz {DIGITS}"));
    assert_eq!(e.stdout, "400 samples: top-1 97.750 %, top-5 99.500 %\n");
    let i = b.tq("inspect model.onnx");
    assert!(i.stdout.contains("input input: f32 [N, 1, 28, 28]"), "{}", i.stdout);
    assert!(i.stdout.contains("would be quantized"), "{}", i.stdout);
}
