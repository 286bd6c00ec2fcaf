//! Native files wherever a model is taken or written, and `tq export`.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{Bench, npy_f32};

const DIGITS: &str = "--scale 0.00392156862745098";

fn read(b: &Bench, name: &str) -> Vec<u8> {
    std::fs::read(b.path(name)).unwrap()
}

#[test]
fn digits_in_native_files() {
    let b = Bench::new().with_digits();
    let q = b.json(&format!("quantize model.onnx -o q.tq --calib calib.npz {DIGITS} --json"));
    assert!(q.get("opset").is_none() && q["integer_nodes"].as_u64().unwrap() > 5, "{q}");
    let q = b.json(&format!("quantize model.onnx -o q.onnx --calib calib.npz {DIGITS} --json"));
    assert_eq!(q["opset"], 13);
    // A native float model is quantized as well, to the same file.
    let e = b.json("export model.onnx -o model.tq --json");
    assert_eq!((&e["format"], &e["bytes"]), (&"tq".into(), &(read(&b, "model.tq").len() as u64).into()));
    b.json(&format!("quantize model.tq -o again.tq --calib calib.npz {DIGITS} --json"));
    assert!(read(&b, "again.tq") == read(&b, "q.tq"));
    // Every command takes it, and says of it what it says of the ONNX file.
    let data = format!("--input eval.npz {DIGITS}");
    for (line, keys) in [
        ("inspect FILE --json", &["quantizable", "not_quantizable", "parameters", "operators"][..]),
        ("eval FILE --labels labels.npz DATA --json", &["top1", "n"]),
        ("eval FILE --metric agreement --against model.tq DATA --json", &["agreement", "sqnr_db"]),
        ("eval FILE --reference --labels labels.npz DATA --json", &["top1"]),
        ("compare model.tq FILE DATA --labels labels.npz --json", &["sqnr_db", "argmax_agreement"]),
    ] {
        let answer = |file: &str| b.json(&line.replace("FILE", file).replace("DATA", &data));
        let (native, onnx) = (answer("q.tq"), answer("q.onnx"));
        for key in keys {
            assert!(native.get(key).is_some() && native[key] == onnx[key], "{line}: {key}: {native} {onnx}");
        }
    }
    b.json("export q.tq -o small.tq --strip --json");
    let e = b.json("export q.onnx -o mobile.tq --target mobile --json");
    let notes = e["notes"].to_string();
    assert!(notes.contains("quantized for fbgemm, not for qnnpack"), "{notes}");
    assert!(read(&b, "mobile.tq").len() <= read(&b, "small.tq").len());
    assert!(read(&b, "small.tq").len() < read(&b, "q.tq").len());
    for (file, out) in [("q.tq", "a"), ("q.onnx", "b"), ("small.tq", "c"), ("mobile.tq", "d")] {
        assert_eq!(b.tq(&format!("run {file} {data} --out-dir {out}")).code, Some(0));
    }
    let outputs: Vec<_> = std::fs::read_dir(b.path("a")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(outputs.len(), 1);
    for name in outputs {
        let of = |folder| std::fs::read(b.path(folder).join(&name)).unwrap();
        assert!(["b", "c", "d"].iter().all(|f| of("a") == of(f)), "{name:?}");
    }
    // Back to ONNX: the file that is written without the detour.
    let e = b.json("export q.tq -o back.onnx --json");
    assert_eq!((&e["format"], &e["opset"]), (&"onnx".into(), &13.into()));
    assert!(read(&b, "back.onnx") == read(&b, "q.onnx"));
    assert_eq!(b.tq("bench q.tq --json").code, Some(0));
    b.json("explain model.tq --json");
}

#[test]
fn requantization_travels_with_the_model() {
    let b = Bench::new().with_digits();
    let calib = format!("--calib calib.npz {DIGITS} --json");
    b.json(&format!("quantize model.onnx -o float.tq --backend qnnpack {calib}"));
    b.json(&format!("quantize model.onnx -o fixed.tq --backend qnnpack --requantize fixed-point {calib}"));
    b.write("fixed.toml", b"backend = \"qnnpack\"\nrequantization = \"fixed_point\"\nglobal = \"int8\"\n");
    b.json(&format!("quantize model.onnx -o configured.tq --config fixed.toml {calib}"));
    b.json("export fixed.tq -o fixed.onnx --json");
    b.json("export fixed.onnx -o back.tq --json");
    let e = b.json("export fixed.onnx -o mobile.tq --target mobile --json");
    assert!(!e["notes"].to_string().contains("quantized for"), "{e}");
    let run = |file: &str, isa: &str| {
        let line = format!("run {file} --input eval.npz {DIGITS} --out-dir out --json");
        let run = b.tq_with(&line, |c| {
            c.env("TQ_ISA", isa);
        });
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        read(&b, report["outputs"][0]["file"].as_str().unwrap())
    };
    let fixed = run("fixed.tq", "");
    for file in ["configured.tq", "fixed.onnx", "back.tq", "mobile.tq"] {
        assert!(run(file, "") == fixed, "{file}");
    }
    assert!(run("mobile.tq", "scalar") == fixed);
    assert!(run("float.tq", "") != fixed);
    // What others make of the file is told.
    let lint = b.tq("lint fixed.onnx --target onnxruntime");
    assert!(lint.stdout.contains("requantizes in float"), "{}", lint.stdout);
    let lint = b.tq("lint float.tq --target onnxruntime");
    assert!(!lint.stdout.contains("requantizes in float"), "{}", lint.stdout);
    let explained = b.tq("inspect fixed.tq");
    assert!(explained.stdout.contains("fixed point is for products"), "{}", explained.stdout);
}

#[test]
fn weights_go_out_and_come_in() {
    let b = Bench::new().with_digits();
    let e = b.json("export model.onnx -o w.safetensors --json");
    assert_eq!(e["format"], "safetensors");
    // The same weights change nothing.
    b.json("export model.onnx -o same.tq --weights w.safetensors --json");
    b.json("export model.onnx -o model.tq --json");
    assert!(read(&b, "same.tq") == read(&b, "model.tq"));
    // Those of the quantized model are other ones, of the same names where they are dequantized.
    b.json(&format!("quantize model.onnx -o q.tq --calib calib.npz {DIGITS} --json"));
    b.json("export q.tq -o q.safetensors --dequantize --json");
    b.json("export q.tq -o codes.safetensors --json");
    assert!(read(&b, "codes.safetensors").len() < read(&b, "w.safetensors").len() / 2);
    b.fails("export model.onnx -o m.tq --weights codes.safetensors", &["codes.safetensors", "no constants"]);
    let run = b.tq("export model.onnx -o m.tq --weights q.safetensors --partial");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(read(&b, "m.tq") != read(&b, "model.tq"));
}

#[test]
fn what_is_no_native_file() {
    let b = Bench::new().with_digits();
    b.json("export model.onnx -o model.tq --json");
    let whole = read(&b, "model.tq");
    b.write("cut.tq", &whole[..whole.len() / 2]);
    b.write("empty.tq", b"");
    b.write("onnx.tq", &read(&b, "model.onnx"));
    b.write("x.npy", &npy_f32(&[1, 1, 28, 28], &[0.5; 784]));
    b.json("export model.onnx -o w.safetensors --json");
    std::fs::rename(b.path("w.safetensors"), b.path("weights.tq")).unwrap();
    for (file, word) in [
        ("cut.tq", "the file ends within"),
        ("empty.tq", "the file ends within"),
        ("onnx.tq", "header"),
        ("weights.tq", "without a graph"),
        ("none.tq", "No such file"),
    ] {
        for line in ["inspect FILE", "run FILE --input x.npy --out-dir out", "export FILE -o x.onnx"] {
            b.fails(&line.replace("FILE", file), &[file, word]);
        }
    }
    b.fails("export model.onnx -o m.pt", &[".pt is not supported"]);
    b.fails("export model.onnx -o m", &["no extension"]);
    b.fails("export model.onnx -o m.onnx --target mobile", &["--target mobile writes .tq files"]);
    b.fails("export model.onnx -o m.tq --target onnx", &["--target onnx writes .onnx files"]);
    let run = b.tq("export model.onnx -o m.tq --target phone");
    assert!(run.code == Some(2) && run.stderr.contains("mobile, for .tq files"), "{}", run.stderr);
    b.fails("export model.onnx -o m.onnx --strip", &["--strip is for .tq files"]);
    b.fails("export model.onnx -o m.tq --dequantize", &["--dequantize is for .safetensors files"]);
    b.fails("export model.tq -o model.tq", &["would replace what it is made from"]);
    b.fails("export model.tq -o m.tq --weights model.onnx", &["model.onnx", "header"]);
}
