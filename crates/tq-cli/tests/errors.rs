//! Whatever is wrong ends in one line that names it, exit status 1, and no file.

mod common;

use common::{Bench, in_domain, model, node, npy, npy_f32, npy_i64, onnx, with_graph};

fn relu(dims: &[u8]) -> Vec<u8> {
    onnx(&[("Relu", "r", &["x"], &["y"])], &[("x", dims)], &[("y", dims)])
}

#[test]
fn missing_and_broken_models() {
    let b = Bench::new().with_digits();
    b.write("x.npy", &npy_f32(&[1, 2], &[0.0; 2]));
    b.fails("inspect nothing.onnx", &["nothing.onnx"]);
    b.fails("inspect .", &["."]);
    b.write("garbage.onnx", b"this is no model, and that is for sure");
    b.write("empty.onnx", b"");
    let whole = std::fs::read(b.path("model.onnx")).unwrap();
    b.write("cut.onnx", &whole[..whole.len() / 2]);
    for name in ["garbage.onnx", "empty.onnx", "cut.onnx"] {
        b.fails(&format!("inspect {name}"), &[name]);
        b.fails(&format!("bench {name} --json"), &[name]);
        b.fails(&format!("run {name} --input x.npy --out-dir out"), &[name]);
        b.fails(&format!("quantize {name} -o q.onnx --calib x.npy"), &[name]);
    }
}

#[test]
fn unsupported_operators_are_all_listed() {
    let b = Bench::new();
    let nodes: &[common::NodeText<'_>] = &[
        ("Relu", "fine", &["x"], &["a"]),
        ("StringNormalizer", "words", &["a"], &["b"]),
        ("FancyOp", "fancy", &["b"], &["y"]),
    ];
    b.write("m.onnx", &onnx(nodes, &[("x", &[1, 2])], &[("y", &[1, 2])]));
    b.write("x.npy", &npy_f32(&[1, 2], &[0.0; 2]));
    for line in [
        "inspect m.onnx",
        "run m.onnx --input x.npy --out-dir out",
        "quantize m.onnx -o q.onnx --calib x.npy",
    ] {
        b.fails(line, &["m.onnx", "StringNormalizer", "words", "FancyOp", "fancy"]);
    }
}

/// Control flow, what is inside of it, and operators that nobody has: one line names them all.
#[test]
fn control_flow_and_unknown_operators_are_all_listed() {
    let b = Bench::new();
    let choose = node(&("If", "choose", &["c"], &["a"]));
    let choose = with_graph(choose, "then_branch", &[node(&("FancyOp", "inside", &["x"], &["t"]))]);
    let choose = with_graph(choose, "else_branch", &[node(&("Relu", "plain", &["x"], &["e"]))]);
    let again = node(&("Loop", "again", &["", "", "a"], &["b"]));
    let nested = with_graph(
        node(&("If", "deep", &["c"], &["d"])),
        "then_branch",
        &[node(&("Relu", "r", &["x"], &["d"]))],
    );
    let again = with_graph(again, "body", &[nested]);
    let words = node(&("StringNormalizer", "words", &["b"], &["d"]));
    let frob = in_domain(node(&("Frob", "frob", &["d"], &["y"])), "acme");
    b.write(
        "m.onnx",
        &model(&[choose, again, words, frob], &[("x", &[1, 2]), ("c", &[1])], &[("y", &[1, 2])]),
    );
    b.write("x.npy", &npy_f32(&[1, 2], &[0.0; 2]));
    for line in [
        "inspect m.onnx",
        "explain m.onnx",
        "run m.onnx --input x.npy --out-dir out",
        "quantize m.onnx -o q.onnx --calib x.npy",
        "quantize m.onnx -o q.onnx --dynamic",
    ] {
        b.fails(
            line,
            &[
                "m.onnx",
                "If (has a sub-graph: choose, again/body/deep)",
                "Loop (has a sub-graph: again)",
                "FancyOp (choose/then_branch/inside)",
                "StringNormalizer (words)",
                "acme::Frob (frob)",
            ],
        );
    }
}

#[test]
fn wrong_arrays() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    b.write("good.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.write("wide.npy", &npy_f32(&[2, 4], &[1.0; 8]));
    b.write("flat.npy", &npy_f32(&[3], &[1.0; 3]));
    b.write("long.npy", &npy_i64(&[2, 3], &[1; 6]));
    b.write("text.npy", b"hello");
    b.write("empty.npy", &npy_f32(&[0, 3], &[]));
    b.write("nan.npy", &npy_f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0]));
    b.write("inf.npy", &npy_f32(&[1, 3], &[1.0, f32::INFINITY, 3.0]));
    b.write("bytes.npy", &npy("|u1", &[2, 3], &[1; 6]));
    b.write("huge.npy", &npy("<f4", &[1 << 40, 3], &[0; 12]));
    let cut = npy_f32(&[2, 3], &[1.0; 6]);
    b.write("cut.npy", &cut[..cut.len() - 1]);
    for (file, words) in [
        ("no.npy", &["no.npy", "No such file"][..]),
        ("wide.npy", &["wide.npy", "input x", "[2, 4]"]),
        ("flat.npy", &["flat.npy", "input x", "[3]"]),
        ("long.npy", &["long.npy", "input x", "expected f32, got i64"]),
        ("text.npy", &["text.npy", "not a .npy file"]),
        ("empty.npy", &["empty.npy", "no rows"]),
        ("huge.npy", &["huge.npy", "takes"]),
        ("cut.npy", &["cut.npy", "takes 24 bytes"]),
        (".", &["."]),
        ("y=good.npy", &["y=good.npy"]),
    ] {
        b.fails(&format!("run m.onnx --input {file} --out-dir out"), words);
        b.fails(&format!("quantize m.onnx -o q.onnx --calib {file}"), words);
        b.fails(&format!("compare m.onnx m.onnx --input {file} --json"), words);
    }
    b.fails("run m.onnx --out-dir out", &["input x", "no array"]);
    b.fails("run m.onnx --input bytes.npy --mean 1,2 --out-dir out", &["2 mean values", "3 channels"]);
    b.fails("run m.onnx --input bytes.npy --std 1,0,1 --out-dir out", &["std holds 0"]);
    b.fails("run m.onnx --input bytes.npy --scale nan --out-dir out", &["scale is NaN"]);
}

#[test]
fn data_that_is_not_finite_does_not_calibrate() {
    let b = Bench::new().with_digits();
    let mut data = vec![0.5f32; 2 * 784];
    data[1000] = f32::NAN;
    b.write("nan.npy", &npy_f32(&[2, 1, 28, 28], &data));
    data[1000] = f32::NEG_INFINITY;
    b.write("inf.npy", &npy_f32(&[2, 1, 28, 28], &data));
    for file in ["nan.npy", "inf.npy"] {
        b.fails(
            &format!("quantize model.onnx -o q.onnx --calib {file}"),
            &[file, "1 of", "NaN or infinite", "input"],
        );
        // A good batch before it does not help.
        b.fails(&format!("quantize model.onnx -o q.onnx --calib calib.npz --calib {file}"), &[file]);
    }
}

#[test]
fn wrong_labels() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.write("three.npy", &npy_i64(&[3], &[0, 1, 2]));
    b.write("large.npy", &npy_i64(&[2], &[0, 3]));
    b.write("negative.npy", &npy_i64(&[2], &[0, -1]));
    b.write("float.npy", &npy_f32(&[2], &[0.0, 1.0]));
    let line = |labels: &str| format!("eval m.onnx --input x.npy --labels {labels} --json");
    b.fails(&line("three.npy"), &["3 labels for 2 rows"]);
    b.fails(&line("large.npy"), &["row 1 is labelled 3", "3 classes"]);
    b.fails(&line("negative.npy"), &["row 1 is labelled -1"]);
    b.fails(&line("float.npy"), &["float.npy", "f32"]);
    b.fails(&line("no.npy"), &["no.npy"]);
    b.fails("eval m.onnx --input x.npy --labels large.npy --output z", &["output z", "[y]"]);
}

#[test]
fn outputs_that_cannot_be_written() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.fails("quantize m.onnx -o q.tflite --calib x.npy", &["q.tflite", ".onnx"]);
    b.fails("quantize no.onnx -o q --calib x.npy", &["q:", "extension"]);
    b.fails("quantize m.onnx -o no/q.onnx --calib x.npy", &["no/q.onnx"]);
    b.fails("quantize m.onnx -o m.onnx/q.onnx --calib x.npy", &["m.onnx/q.onnx"]);
    b.fails("run m.onnx --input x.npy --out-dir m.onnx", &["m.onnx"]);
    b.fails("run m.onnx --input x.npy --out-dir m.onnx/out", &["m.onnx/out"]);
    b.fails("run m.onnx --input x.npy --out-dir /proc/tq", &["/proc/tq"]);
    b.fails("demo --out-dir m.onnx/out --json", &["m.onnx/out"]);
}

#[test]
fn the_float_model_is_never_replaced() {
    let b = Bench::new();
    let model = relu(&[0, 3]);
    b.write("m.onnx", &model);
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.fails("quantize m.onnx -o ./m.onnx --calib x.npy", &["m.onnx", "replace"]);
    assert_eq!(std::fs::read(b.path("m.onnx")).unwrap(), model);
}

#[test]
fn batches_of_outputs_without_rows_are_not_joined() {
    let b = Bench::new();
    // Reversed axes: rows come last.
    let nodes: &[common::NodeText<'_>] = &[("Transpose", "t", &["x"], &["y"])];
    b.write("m.onnx", &onnx(nodes, &[("x", &[0, 3])], &[("y", &[3, 0])]));
    b.write("x.npy", &npy_f32(&[2, 3], &[1.0; 6]));
    b.fails("run m.onnx --input x.npy --out-dir out --batch 1", &["y", "first dimension"]);
    assert_eq!(b.tq("run m.onnx --input x.npy --out-dir out").code, Some(0));
}

#[test]
fn wrong_usage_is_status_two() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    for line in [
        "",
        "frobnicate",
        "inspect",
        "inspect m.onnx --frob",
        "quantize m.onnx --calib x.npy",
        "quantize m.onnx -o q.onnx",
        "quantize m.onnx -o q.onnx --calib x.npy --backend gpu",
        "quantize m.onnx -o q.onnx --calib x.npy --batch 0",
        "run m.onnx --input x.npy",
        "run m.onnx --input x.npy --out-dir o --mean a,b",
        "bench m.onnx --threads 0",
    ] {
        let run = b.tq(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "tq {line}");
    }
    assert_eq!(b.tq("--help").code, Some(0));
    assert_eq!(b.tq("--version").code, Some(0));
}

#[test]
fn shapes_that_make_no_sense() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    b.fails("bench m.onnx --shape 1x4", &["input x", "[[1, 4]]", "--shape gives others"]);
    b.fails("bench m.onnx --shape 1x3x3", &["input x"]);
    b.fails("bench m.onnx --shape axb", &["input x", "no shape"]);
    b.fails("bench m.onnx --shape 99999999999x3", &["input x", "more than"]);
    b.fails("bench m.onnx --shape 1x3 --shape 2x3", &["given 2 times"]);
    b.fails("bench m.onnx --shape y=1x3", &["no shape"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 3]));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = b.tq_with("inspect m.onnx", |c| {
        c.stdout(full);
    });
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.starts_with("error: stdout") && run.stderr.lines().count() == 1, "{}", run.stderr);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = b.tq_with("inspect m.onnx", |c| {
        c.stdout(writer);
    });
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));
}
