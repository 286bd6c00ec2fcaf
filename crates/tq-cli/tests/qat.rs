//! `tq qat`: it trains, keeps the best, goes on where it was killed, and says what is wrong.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Bench, npy, npy_f32, npy_i64};
use std::process::{Command, Stdio};
use std::time::Duration;
use torsh_quantization::export::save;
use torsh_quantization::model::load_model;

/// Digits to train on, and others to validate with: x.npy, y.npy, vx.npy, vy.npy.
fn digits(train: usize, validation: usize) -> Bench {
    let b = Bench::new().with_digits();
    let x = common::arrays::read(b.path("eval.npz").to_str().unwrap());
    let y = common::arrays::read(b.path("labels.npz").to_str().unwrap());
    let (pixels, labels) = (x.as_slice::<u8>().unwrap(), y.to_i64_vec().unwrap());
    let size = pixels.len() / labels.len();
    let mut at = 0;
    for (name, n) in [("", train), ("v", validation)] {
        let dims = [&[n][..], &x.dims()[1..]].concat();
        b.write(&format!("{name}x.npy"), &npy("|u1", &dims, &pixels[at * size..(at + n) * size]));
        b.write(&format!("{name}y.npy"), &npy_i64(&[n], &labels[at..at + n]));
        at += n;
    }
    b
}

const COMMON: &str =
    "qat model.onnx --train x.npy --labels y.npy --val vx.npy --val-labels vy.npy --preset unit";

#[test]
fn four_bits_are_trained_and_written() {
    let b = digits(192, 96);
    let line =
        format!("{COMMON} --bits 4 --act-bits 4 --lsq --distill --lr 0.001 --epochs 2 --batch 16 --json");
    let report = b.json(&format!("{line} -o q.onnx"));
    let history = report["history"].as_array().unwrap();
    assert_eq!((history.len(), report["training_rows"].as_u64()), (3, Some(192)));
    let top1 = |e: &serde_json::Value| e["validation"]["top1"].as_f64().unwrap();
    assert_eq!(top1(&report["best"]), history.iter().map(top1).fold(0.0, f64::max));
    assert!(history[2]["loss"].as_f64() < history[1]["loss"].as_f64(), "{history:?}");
    assert!(report["integer_nodes"].as_u64() > Some(3));
    // What was written is what was measured, and any command takes it.
    let eval = b.json("eval q.onnx --input vx.npy --labels vy.npy --preset unit --json");
    assert_eq!(eval["top1"], report["measured"]["top1"]);
    // And it is what training imitated, to the last bit.
    assert_eq!(eval["top1"], report["best"]["validation"]["top1"]);
    let output = &report["measured"]["outputs"][0];
    assert_eq!((output["same_decisions"].as_u64(), output["elements"].as_u64()), (Some(96), Some(960)));
    assert_eq!((output["equal"].as_u64(), output["largest_difference"].as_f64()), (Some(960), Some(0.0)));
    // The sums of the last linear layer stay float: there are no codes to count by.
    assert!(output["codes"].is_null());

    // The same bytes again, also in the words for people.
    let text = b.tq(&format!("{} -o again.onnx", line.replace("--json", "")));
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    for words in [
        "192 samples to train on, 96 to validate with",
        "validation loss",
        "█",
        "of the float model, ",
        "before training (calibrated only)",
        "decides as in training on 96 of 96; 100.000 % of numbers are the same",
        "it is computed in float and has no codes",
        "nodes in integers, ",
    ] {
        assert!(text.stdout.contains(words), "{}", text.stdout);
    }
    let bytes = |name: &str| std::fs::read(b.path(name)).unwrap();
    assert_eq!(bytes("q.onnx"), bytes("again.onnx"));
}

#[test]
fn without_labels_the_float_model_teaches() {
    let b = digits(64, 1);
    let report = b.json(
        "qat model.onnx -o q.tq --train x.npy --val-split 0.25 --distill=1 --preset unit --epochs 1 --json",
    );
    assert_eq!((report["training_rows"].as_u64(), report["validation_rows"].as_u64()), (Some(48), Some(16)));
    assert!(report["best"]["validation"]["agreement"].as_f64() > Some(80.0));
    assert!(report["measured"]["agreement"].as_f64() > Some(80.0));
    assert!(report["measured"]["top1"].is_null() && report["best"]["validation"]["top1"].is_null());
    let line =
        "qat model.onnx -o q.tq --train x.npy --val-split 0.25 --distill=1 --preset unit --epochs 1 --lr 0";
    let text = b.tq(line).stdout;
    assert!(text.contains("agreement with the float model") && !text.contains("top-1"), "{text}");
}

/// The network of digits with its features as a second output, which no label is for.
fn two_outputs(b: &Bench) {
    let mut graph = load_model(&b.path("model.onnx")).unwrap();
    let features = graph.nodes.iter().find(|n| n.name == "/Relu_2").unwrap().output(0).unwrap();
    graph.outputs.push(features);
    save(&graph, &b.path("two.tq")).unwrap();
}

#[test]
fn of_several_outputs_each_is_told_and_training_resumes() {
    let b = digits(96, 32);
    two_outputs(&b);
    let line = format!("{COMMON} --bits 4 --act-bits 4 --lsq --epochs 2 --batch 16 --lr 0.003 --json")
        .replace("model.onnx", "two.tq");
    let alone = b.json(&format!("{line} -o q.onnx --checkpoint c"));
    let taught = b.json(&format!("{line} --distill -o d.onnx"));
    let second = |r: &serde_json::Value| r["outputs"][1].clone();
    let db = |r: &serde_json::Value, when: &str| second(r)[when]["sqnr_db"].as_f64().unwrap();
    assert_eq!(
        (&second(&alone)["is_trained"], &second(&taught)["is_trained"]),
        (&false.into(), &true.into())
    );
    assert_eq!(db(&alone, "before"), db(&taught, "before"));
    assert!(db(&taught, "after") > db(&alone, "after") + 1.0, "{taught} {alone}");
    // The last checkpoint is taken up, and the same comes out.
    let before = std::fs::read(b.path("q.onnx")).unwrap();
    b.json(&format!("{line} -o q.onnx --checkpoint c --resume"));
    assert_eq!(before, std::fs::read(b.path("q.onnx")).unwrap());
    let text = b.tq(&format!("{} -o q.onnx --checkpoint c --resume", line.replace("--json", ""))).stdout;
    assert!(text.contains("(not trained): against the float model SQNR "), "{text}");
}

#[test]
fn batch_normalization_is_trained_where_asked_for() {
    let b = digits(64, 32);
    let line = format!("{COMMON} --epochs 2 --batch 16 --lr 0.001 --json");
    let report = b.json(&format!("{line} --bn-epochs 1 -o bn.onnx"));
    assert_eq!(report["training"]["bn_epochs"].as_u64(), Some(1));
    let folded = b.json(&format!("{line} -o folded.onnx"));
    let frozen = b.json(&format!("{line} --bn-epochs 0 -o frozen.onnx"));
    // In the first epoch statistics are those of batches in one of the three, in the second in none.
    let losses = [&report, &folded, &frozen].map(|r| r["history"][1]["loss"].as_f64().unwrap());
    assert!(losses[0] != losses[1] && losses[0] != losses[2], "{losses:?}");
    // Before training nothing tells them apart but rounding errors of folding.
    let start = |r: &serde_json::Value| r["history"][0]["validation"]["loss"].as_f64().unwrap();
    assert!((start(&report) - start(&folded)).abs() < 1e-3 && start(&report) == start(&frozen));
}

/// Training that ends in numbers that are none leaves the best model before that, and says so.
#[test]
fn what_was_best_is_kept_when_training_diverges() {
    let b = digits(32, 16);
    let run = b.tq(&format!("{COMMON} --optimizer sgd --lr 1e38 --batch 2 --json -o q.onnx"));
    assert_eq!(run.code, Some(1));
    let error = run.stderr.lines().find(|l| l.starts_with("error: ")).unwrap();
    for words in ["the model before training (calibrated only) was written to q.onnx", "epoch 1"] {
        assert!(error.contains(words), "{error}");
    }
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert!(report["stopped"].as_str().unwrap().contains("epoch 1"));
    // It is what calibration gives.
    b.json(&format!("{COMMON} --epochs 1 --lr 0 --json -o calibrated.onnx"));
    let top1 = |m: &str| {
        b.json(&format!("eval {m} --input vx.npy --labels vy.npy --preset unit --json"))["top1"].clone()
    };
    assert_eq!(top1("q.onnx"), top1("calibrated.onnx"));
}

/// Starts a training that writes `parts.onnx`, with its checkpoints in `c.tqt`, and kills it in the middle of an epoch: after the
/// third checkpoint that is seen, however long that takes. False, with nothing left, where it was over before.
fn killed_in_time(b: &Bench, line: &str) -> bool {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tq"))
        .args(line.split_whitespace())
        .current_dir(b.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 3 && child.try_wait().unwrap().is_none() {
        if let Ok(bytes) = std::fs::read(b.path("c.tqt")) {
            seen.insert(bytes);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let over = b.path("parts.onnx").exists();
    if over {
        for name in ["parts.onnx", "c.tqt"] {
            std::fs::remove_file(b.path(name)).unwrap();
        }
    }
    !over
}

/// Killed by the system while it trains, and started again: the same bytes as if nothing had been.
#[test]
fn killed_it_goes_on_to_the_same_bytes() {
    let b = digits(256, 32);
    let line = format!("{COMMON} --bits 4 --lsq --epochs 2 --batch 8 --lr 0.001");
    assert_eq!(b.tq(&format!("{line} -o whole.onnx")).code, Some(0));
    let killed = format!("{line} -o parts.onnx --checkpoint c.tqt --every 1");
    // On a machine with much else to do it may be over before this process has seen what it waits for.
    assert!((0..5).any(|_| killed_in_time(&b, &killed)), "it was over before it was killed, again and again");
    let run = b.tq(&format!("{killed} --resume"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("going on in epoch"), "{}", run.stderr);
    let bytes = |name: &str| std::fs::read(b.path(name)).unwrap();
    assert_eq!(bytes("whole.onnx"), bytes("parts.onnx"));
    // All is done: the file says so, and gives the same again.
    let run = b.tq(&format!("{killed} --resume"));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(bytes("whole.onnx"), bytes("parts.onnx"));
    b.fails(&format!("{killed} --resume --seed 5"), &["c.tqt", "other settings", "seed"]);
    let five = killed.replace("--bits 4", "--bits 5");
    b.fails(
        &format!("{five} --resume"),
        &["c.tqt", "other settings: configuration.global.weight.", " was \"i4\", and is \"i8\""],
    );
    // What the kill may have left half written is gone.
    let left = |p: &std::path::PathBuf| p.extension().is_some_and(|e| e == "tmp");
    assert!(!b.files().iter().any(left), "{:?}", b.files());
    b.write("c.tqt", b"what is this");
    b.fails(&format!("{killed} --resume"), &["c.tqt", "it is damaged, or no checkpoint"]);
}

#[test]
fn what_is_wrong_is_named() {
    let b = digits(16, 8);
    b.write("short.npy", &npy_i64(&[15], &[0; 15]));
    b.write("eleven.npy", &npy_i64(&[16], &[0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    let base = "qat model.onnx -o q.onnx --train x.npy --preset unit";
    b.fails(base, &["x.npy", "labels are missing"]);
    b.fails(&format!("{base} --labels short.npy"), &["short.npy: 15 labels for 16 samples of x.npy"]);
    b.fails(
        &format!("{base} --labels eleven.npy --val vx.npy --val-labels vy.npy"),
        &["eleven.npy", "label 11 of sample 5 is outside 0..10"],
    );
    b.fails(&format!("{base} --labels nothing.npy"), &["nothing.npy"]);
    b.fails(&format!("{base} --labels y.npy --val vx.npy"), &["vx.npy", "labels are missing"]);
    b.fails(&format!("{base} --labels y.npy --val-split 1.5"), &["--val-split", "1.5"]);
    b.fails(&format!("{base} --labels y.npy --lr -1"), &["learning rate -1"]);
    b.fails(&format!("{base} --labels y.npy --checkpoint none/c --epochs 1"), &["none/c"]);
    b.fails(&format!("{base} --labels y.npy --checkpoint c --resume"), &["checkpoint c"]);
    b.fails(&format!("{base} --labels y.npy --recipe auto"), &["--recipe auto"]);
    b.fails("qat model.onnx -o model.onnx --train x.npy --labels y.npy", &["would replace"]);
    b.fails("qat model.onnx -o q.pt --train x.npy --labels y.npy", &[".pt"]);
    b.fails(&format!("{base} --labels y.npy --sequences"), &["x.npy", "counts sequences"]);
    // Samples are named by their place in the files, whichever part of the split they are in.
    for seed in 0..4 {
        let line = format!("{base} --labels eleven.npy --val-split 0.5 --seed {seed}");
        b.fails(&line, &["eleven.npy: label 11 of sample 5 is outside 0..10"]);
    }
    let line = format!("{base} --labels y.npy --val x.npy --val-labels eleven.npy");
    b.fails(&line, &["eleven.npy: label 11 of sample 5 is outside 0..10"]);
    let mut pixels = vec![0.5f32; 8 * 784];
    b.write("a.npy", &npy_f32(&[8, 1, 28, 28], &pixels));
    pixels[2 * 784 + 7] = f32::NAN;
    b.write("b.npy", &npy_f32(&[8, 1, 28, 28], &pixels));
    let line = "qat model.onnx -o q.onnx --train a.npy b.npy --labels y.npy";
    b.fails(line, &["b.npy: sample 2: element 7 of input 0 is NaN"]);
    b.fails(&format!("{base} --distill=0"), &["x.npy", "labels are missing", "--distill=0"]);
    b.write("there", b"a checkpoint of hours");
    b.fails(&format!("{base} --labels y.npy --checkpoint there"), &["there: a checkpoint", "--resume"]);
    assert_eq!(std::fs::read(b.path("there")).unwrap(), b"a checkpoint of hours");
    // A checkpoint replaces nothing that is read.
    for (words, file) in [
        ("--labels y.npy", "model.onnx"),
        ("--labels y.npy", "x.npy"),
        ("--labels y.npy", "y.npy"),
        ("--labels y.npy --val input=vx.npy --val-labels vy.npy", "vx.npy"),
    ] {
        let before = std::fs::read(b.path(file)).unwrap();
        let run = b.tq(&format!("{base} {words} --checkpoint {file}"));
        assert_eq!(run.code, Some(1), "{file}");
        assert!(run.stderr.contains("would replace"), "{}", run.stderr);
        assert_eq!(std::fs::read(b.path(file)).unwrap(), before, "{file}");
    }
    // Nor does the output, and it is tried before any training.
    for file in ["x.npy", "y.npy", "vx.npy", "vy.npy"] {
        let link = format!("{}.onnx", &file[..file.len() - 4]);
        std::fs::hard_link(b.path(file), b.path(&link)).unwrap();
        let line = base.replace("x.npy", "x.onnx").replace("q.onnx", &link);
        let line = format!("{line} --labels y.onnx --val vx.onnx --val-labels vy.onnx");
        b.fails(&line, &["would replace", &link]);
    }
    #[cfg(target_os = "linux")]
    b.fails(
        &format!("{base} --labels y.npy").replace("q.onnx", "/proc/q.onnx"),
        &["/proc/q.onnx: cannot be written"],
    );
    for (words, told) in [
        ("--weight-decay -1", "weight decay -1"),
        ("--lr NaN", "learning rate NaN"),
        ("--label-smoothing 1.5", "label smoothing 1.5"),
        ("--max-grad-norm -2", "largest gradient norm -2"),
        ("--distill=-0.5", "weight of distillation -0.5"),
        ("--distill --temperature 0", "temperature 0"),
        ("--temperature 3", "--temperature is for --distill"),
        ("--loss mse --label-smoothing 0.1", "--label-smoothing is for"),
        ("--loss kl --distill=0.5", "--distill=0.5"),
        ("--loss mse --distill", "leave out"),
        ("--loss mse", "y.npy: values are i64"),
    ] {
        b.fails(&format!("{base} --labels y.npy {words}"), &[told]);
    }
    b.fails(&format!("{base} --loss bce"), &["x.npy: values are missing"]);
    b.write("wide.npy", &npy_f32(&[16, 11], &[0.0; 176]));
    let line = format!("{base} --labels wide.npy --loss mse");
    b.fails(&line, &["wide.npy: a target has shape [11], and output ", " has [10] for each sample"]);
    for wrong in [
        "--epochs 0",
        "--epochs -1",
        "--bits 1",
        "--bits 9",
        "--resume",
        "--every 5",
        "--bits 4 --recipe int8",
    ] {
        assert_eq!(b.tq(&format!("{base} --labels y.npy {wrong}")).code, Some(2), "{wrong}");
    }
}

/// Values instead of classes: what the float model gives is learned, with the same result from a file as from the model.
#[test]
fn values_are_learned_as_classes_are() {
    let b = digits(64, 32);
    b.tq("run model.onnx --input x.npy --preset unit --out-dir float");
    let scores = b.files().into_iter().find(|p| p.starts_with(b.path("float")) && p.is_file()).unwrap();
    std::fs::copy(scores, b.path("scores.npy")).unwrap();
    let line = "qat model.onnx --train x.npy --val-split 0.25 --preset unit --bits 4 --act-bits 4 --epochs 2 --batch 16 --lr 0.001 --loss mse";
    let given = b.json(&format!("{line} --labels scores.npy --json -o given.onnx"));
    let taught = b.json(&format!("{line} --distill --json -o taught.onnx"));
    // A session and the evaluator sum floats in batches of other sizes: the last digits may differ.
    let losses = |r: &serde_json::Value| {
        let history = r["history"].as_array().unwrap();
        history.iter().map(|e| e["validation"]["loss"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    for (a, b) in losses(&given).iter().zip(losses(&taught)) {
        assert!((a - b).abs() < 1e-5 * a, "{} {}", given["history"], taught["history"]);
    }
    let loss = |e: &serde_json::Value| e["validation"]["loss"].as_f64().unwrap();
    assert!(loss(&given["best"]) < 0.9 * loss(&given["history"][0]), "{}", given["history"]);
    assert!(given["measured"]["top1"].is_null() && given["best"]["validation"]["top1"].is_null());
    let text = b.tq(&format!("{line} --distill -o taught.onnx")).stdout;
    assert!(text.contains("on the validation data: loss "), "{text}");
    let kl = b.json(&line.replace("--loss mse", "--loss kl --json -o kl.onnx"));
    let same = line.replace("--loss mse", "--distill=1 --json -o distilled.onnx");
    assert_eq!(kl["history"], b.json(&same)["history"]);
}

/// Where no kernel takes the codes, nobody says that it ran in integers.
#[test]
fn what_computes_in_float_is_called_so() {
    let b = digits(16, 16);
    let line = format!("{COMMON} --recipe fp16 --epochs 1 --lr 0 -o q.onnx");
    let text = b.tq(&line).stdout;
    assert!(text.contains("no node runs in integers: all ") && !text.contains("nodes in integers"), "{text}");
    assert_eq!(b.json(&format!("{line} --json"))["integer_nodes"].as_u64(), Some(0));
}

/// What would be trained without need is said, and nothing is written.
#[test]
fn what_cannot_be_meant_is_refused() {
    let b = digits(16, 16);
    let refused = |line: &str, words: &str| {
        let run = b.tq(&format!("{COMMON} --epochs 1 {line}"));
        assert!(run.code == Some(1) && run.stderr.contains(words), "{line}: {}", run.stderr);
        assert!(!b.path("q.onnx").exists());
    };
    let plan = b.json("explain model.onnx --json");
    let nodes: Vec<&str> =
        plan["nodes"].as_array().unwrap().iter().filter_map(|n| n["node"].as_str()).collect();
    refused(&format!("-o q.onnx --exclude {}", nodes.join(" ")), "nothing in it would be quantized");
    refused("-o q.onnx --checkpoint ./q.onnx", "the checkpoint would replace the output");
    // Unprepared, the float model guesses: that is not quantization's fault.
    let line = format!("{} --epochs 1 --scale 0.0001 -o q.onnx", COMMON.replace("--preset unit", ""));
    let text = b.tq(&line).stdout;
    assert!(text.contains("the float model itself is right on "), "{text}");
}

/// Numbers that look up what no table has are of a sample, and that has a file.
#[test]
fn a_sample_that_looks_up_nothing_is_named() {
    use torsh_quantization::model::{DType, Dim, Graph, Op, Tensor, infer::infer};
    let b = Bench::new();
    let mut g = Graph::new("words");
    let ids = g.add_input("ids", DType::I64, vec![Dim::symbol("N"), 2usize.into()]);
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
    let words = g.add_constant("words", Tensor::new(&[10, 3], wave(30)).unwrap());
    let x = g.add_node("embed", Op::Gather { axis: 0 }, &[words, ids], "embedded");
    let x = g.add_node("flat", Op::Flatten { axis: 1 }, &[x], "flattened");
    let w = g.add_constant("w", Tensor::new(&[6, 4], wave(24)).unwrap());
    let x = g.add_node("body", Op::MatMul, &[x, w], "x");
    let w = g.add_constant("v", Tensor::new(&[4, 2], wave(8)).unwrap());
    let y = g.add_node("/head/linear\nscores", Op::MatMul, &[x, w], "y");
    g.outputs.push(y);
    infer(&mut g).unwrap();
    save(&g, &b.path("words.tq")).unwrap();
    // Negative numbers count from the end.
    let mut rows: Vec<i64> = (0..16).map(|i| i % 20 - 10).collect();
    b.write("good.npy", &npy_i64(&[8, 2], &rows));
    rows[3 * 2 + 1] = 10;
    b.write("bad.npy", &npy_i64(&[8, 2], &rows));
    b.write("y.npy", &npy_i64(&[8], &[0, 1, 0, 1, 0, 1, 0, 1]));
    b.write("yy.npy", &npy_i64(&[16], &[0, 1].repeat(8)));
    let told =
        ["bad.npy: sample 3: element 1 of input ids is 10, and node embed looks it up in a table of 10"];
    let line = "qat words.tq -o q.tq --epochs 1 --batch 4";
    // Whichever part it falls to.
    b.fails(&format!("{line} --train good.npy bad.npy --labels yy.npy --val-split 0.9"), &told);
    b.fails(&format!("{line} --train good.npy bad.npy --labels yy.npy --val-split 0.1"), &told);
    let good = format!("{line} --train good.npy --labels y.npy");
    b.fails(&format!("{good} --val bad.npy --val-labels y.npy"), &told);
    b.fails(&format!("{line} --train idx=good.npy --labels y.npy"), &["no input `idx`: it has [ids]"]);
    b.fails(&format!("{good} --zeros ids"), &["good.npy", "--zeros makes all of them zeros"]);
    let named = format!("{line} --train ids=good.npy --labels y.npy --zeros ids");
    b.fails(&named, &["ids=good.npy: data for input ids, which --zeros makes zeros"]);
    // The end of a line in a name is none of a table.
    let run = b.tq(&format!("{good} --exclude head"));
    assert!(run.stdout.contains("│ /head/linear\u{FFFD}scores "), "{} {}", run.stdout, run.stderr);
}

/// A folder that is there when training begins may be gone when it is over: the model is not lost.
#[test]
fn a_folder_that_vanishes_is_made_again() {
    let b = digits(64, 16);
    std::fs::create_dir(b.path("out")).unwrap();
    let line = format!("{COMMON} --epochs 3 --batch 4 --checkpoint c.tqt --every 1 -o out/q.onnx");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tq"))
        .args(line.split_whitespace())
        .current_dir(b.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !b.path("c.tqt").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::fs::remove_dir(b.path("out")).expect("training was over before");
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && told.contains("the folder was gone"), "{told}");
    assert!(load_model(&b.path("out/q.onnx")).is_ok());
}

/// Samples behind the steps of a sequence are no rows: said before labels are counted.
#[test]
fn samples_behind_another_axis_are_refused() {
    use torsh_quantization::model::op::ReduceKind;
    use torsh_quantization::model::{DType, Dim, Graph, Op, Tensor};
    for steps in [Dim::symbol("T"), 7usize.into()] {
        let b = Bench::new();
        let mut g = Graph::new("steps first");
        let x = g.add_input("x", DType::F32, vec![steps, Dim::symbol("N"), 4usize.into()]);
        let turned = g.add_node("turned", Op::Transpose { perm: Some(vec![1, 0, 2]) }, &[x], "turned.y");
        let mean = g.add_constant("axes", Tensor::vector(vec![1i64]));
        let mean = g.add_node(
            "mean",
            Op::Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false },
            &[turned, mean],
            "m",
        );
        let w = g.add_constant("w", Tensor::new(&[4, 3], (0..12).map(|i| i as f32 - 5.0).collect()).unwrap());
        let y = g.add_node("linear", Op::MatMul, &[mean, w], "y");
        g.outputs.push(y);
        save(&g, &b.path("steps.tq")).unwrap();
        b.write("x.npy", &npy("<f4", &[7, 10, 4], &[0; 1120]));
        b.write("y.npy", &npy_i64(&[10], &[0; 10]));
        b.fails(
            "qat steps.tq -o q.onnx --train x.npy --labels y.npy",
            &["its samples lie along axis 1", "--sequences"],
        );
    }
}

/// Clips for a model of frames, with an initial state of zeros.
#[test]
fn sequences_are_trained_run_by_run() {
    use torsh_quantization::model::{DType, Dim, Graph, Op, Tensor, infer::infer};
    let b = Bench::new();
    let mut g = Graph::new("frames");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("T"), 3usize.into()]);
    let h = g.add_input("h", DType::F32, vec![1usize.into(), 2usize.into()]);
    let w = g.add_constant("w", Tensor::new(&[3, 2], vec![0.3f32, -0.2, 0.5, 0.1, -0.4, 0.2]).unwrap());
    let y = g.add_node("linear", Op::MatMul, &[x, w], "z");
    let add = Op::Binary(torsh_quantization::model::op::BinaryOp::Add);
    let y = g.add_node("state", add, &[y, h], "s");
    let y = g.add_node("sigmoid", Op::Unary(torsh_quantization::model::op::UnaryOp::Sigmoid), &[y], "y");
    g.outputs.push(y);
    infer(&mut g).unwrap();
    save(&g, &b.path("frames.tq")).unwrap();
    let wave = |n: usize| (0..n).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
    b.write("clips.npy", &npy_f32(&[12, 5, 3], &wave(180)));
    let bits: Vec<f32> = wave(120).iter().map(|v| f32::from(u8::from(*v > 0.0))).collect();
    b.write("y.npy", &npy_f32(&[12, 5, 2], &bits));
    b.write("bad.npy", &npy_f32(&[12, 4, 2], &bits[..96]));
    let line = "qat frames.tq -o q.tq --train x=clips.npy --sequences --zeros h --loss bce --epochs 3 --batch 4 --lr 0.05 --val-split 0.25";
    let report = b.json(&format!("{line} --labels y.npy --json"));
    assert_eq!((report["training_rows"].as_u64(), report["validation_rows"].as_u64()), (Some(9), Some(3)));
    let losses: Vec<f64> =
        report["history"].as_array().unwrap().iter().filter_map(|e| e["loss"].as_f64()).collect();
    assert!(losses[2] < losses[0], "{losses:?}");
    assert_eq!(b.tq(&format!("{line} --distill")).code, Some(0));
    b.fails(&format!("{line} --labels bad.npy"), &["bad.npy: a target has shape [4, 2]", "[5, 2]"]);
    b.fails(&line.replace("bce", "cross-entropy --distill"), &["output y", "several rows a sample"]);
}
