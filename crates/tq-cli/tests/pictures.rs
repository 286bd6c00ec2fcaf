//! Folders of pictures in place of arrays.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{Bench, npy, npy_f32, npy_i64, onnx, read_f32};
use image::{ExtendedColorType, ImageFormat};
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

fn png(height: u32, width: u32, color: ExtendedColorType, data: &[u8]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image::write_buffer_with_format(&mut out, data, width, height, color, ImageFormat::Png).unwrap();
    out.into_inner()
}

fn put(b: &Bench, name: &str, bytes: &[u8]) {
    std::fs::create_dir_all(b.path(name).parent().unwrap()).unwrap();
    b.write(name, bytes);
}

/// `y = max(x, 0)` on pictures.
fn relu(dims: &[u8]) -> Vec<u8> {
    onnx(&[("Relu", "r", &["x"], &["y"])], &[("x", dims)], &[("y", dims)])
}

/// The array of an `.npz` file of the embedded digits, without its header.
fn array(path: PathBuf) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_index(0).unwrap().read_to_end(&mut bytes).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes.split_off(10 + header)
}

#[test]
fn digits_as_pictures_are_digits_as_arrays() {
    const N: usize = 120;
    let b = Bench::new().with_digits();
    let digits = array(b.path("eval.npz"));
    let labels = array(b.path("labels.npz"));
    // Folders in the order of the classes; arrays in the order that the listing has.
    let mut order: Vec<usize> = (0..N).collect();
    order.sort_by_key(|i| labels[*i]);
    for i in &order {
        let name = format!("digits/{}/{i:04}.png", labels[*i]);
        put(&b, &name, &png(28, 28, ExtendedColorType::L8, &digits[i * 784..][..784]));
    }
    let rows: Vec<u8> = order.iter().flat_map(|i| &digits[i * 784..][..784]).copied().collect();
    b.write("x.npy", &npy("|u1", &[N, 1, 28, 28], &rows));
    b.write("y.npy", &npy("|u1", &[N], &order.iter().map(|i| labels[*i]).collect::<Vec<u8>>()));

    for preset in ["--preset unit", "--scale 0.003921569", "--preset mnist --mean 0 --std 1 --batch 7"] {
        let bytes = |line: &str| {
            b.json(&format!("quantize model.onnx -o q.onnx {line} {preset} --json"));
            std::fs::read(b.path("q.onnx")).unwrap()
        };
        assert!(bytes("--data digits") == bytes("--calib x.npy"), "{preset}");
    }
    let mut e = b.json("eval q.onnx --data digits --preset unit --json");
    assert_eq!(e["classes"], serde_json::json!(["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    e.as_object_mut().unwrap().remove("classes");
    assert_eq!(e, b.json("eval q.onnx --input x.npy --labels y.npy --preset unit --json"));
    assert_eq!(e["n"], N);
    assert!(e["top1"].as_f64().unwrap() > 95.0);
    assert_eq!(e, b.json("eval q.onnx --data input=digits --labels y.npy --preset unit --json"));

    let c = b.json("compare model.onnx q.onnx --data digits --preset unit --json");
    assert_eq!(c["quantized"]["top1"], e["top1"]);
    let output = |line: &str| {
        let r = b.json(&format!("run q.onnx {line} --preset unit --out-dir out --json"));
        std::fs::read(b.path(r["outputs"][0]["file"].as_str().unwrap())).unwrap()
    };
    assert!(output("--data digits") == output("--input x.npy"));
}

#[test]
fn size_layout_and_channels_are_as_asked() {
    let b = Bench::new();
    let rgb: Vec<u8> = (0..4 * 6 * 3).map(|v| v as u8).collect();
    put(&b, "flat/a.png", &png(4, 6, ExtendedColorType::Rgb8, &rgb));
    put(&b, "flat/b.png", &png(4, 6, ExtendedColorType::Rgb8, &rgb));
    put(&b, "flat/notes.txt", b"not a picture");
    b.write("last.onnx", &relu(&[0, 4, 6, 3]));
    let run = b.tq("run last.onnx --data flat --out-dir o");
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert_eq!(run.stderr, "note: flat: left out, no PNG or JPEG: flat/notes.txt\n");
    let (shape, values) = read_f32(&b.path("o/y.npy"));
    assert_eq!(shape, "2, 4, 6, 3");
    assert!(values.iter().zip(rgb.iter().chain(&rgb)).all(|(v, r)| *v == f32::from(*r)));

    // Mean and std belong to the channels, wherever these are.
    b.write("first.onnx", &relu(&[0, 3, 250, 251]));
    b.json("run last.onnx --data flat --mean 0,1,2 --std 1,2,4 --out-dir last --json");
    b.json("run first.onnx --data flat --mean 0,1,2 --std 1,2,4 --out-dir first --json");
    let (last, first) = (read_f32(&b.path("last/y.npy")).1, read_f32(&b.path("first/y.npy")).1);
    for (i, v) in last.iter().enumerate() {
        let (picture, pixel, c) = (i / 72, i % 72 / 3, i % 3);
        assert_eq!(*v, first[picture * 72 + c * 24 + pixel]);
        let expected = (f32::from(rgb[pixel * 3 + c]) - c as f32) / [1.0, 2.0, 4.0][c];
        assert_eq!(*v, expected.max(0.0));
    }
    // The same for arrays of bytes when the layout is told.
    b.write("bytes.npy", &npy("|u1", &[1, 4, 6, 3], &rgb));
    b.json("run last.onnx --input bytes.npy --layout nhwc --mean 0,1,2 --std 1,2,4 --out-dir n --json");
    assert_eq!(read_f32(&b.path("n/y.npy")).1, last[..72]);

    b.json("run first.onnx --data flat --resize 8 --crop 7x9 --out-dir r --json");
    assert_eq!(read_f32(&b.path("r/y.npy")).0, "2, 3, 7, 9");
    b.write("grey.onnx", &relu(&[0, 1, 8, 8]));
    b.json("run grey.onnx --data flat --resize 8x8 --out-dir g --json");
    assert_eq!(read_f32(&b.path("g/y.npy")).0, "2, 1, 8, 8");
}

#[test]
fn what_is_wrong_with_pictures_is_named() {
    let b = Bench::new();
    let dims: &[u8] = &[0, 3, 4, 4];
    let nodes: &[common::NodeText<'_>] = &[("Relu", "r", &["x"], &["m"]), ("Add", "a", &["m", "x"], &["y"])];
    b.write("m.onnx", &onnx(nodes, &[("x", dims)], &[("y", dims)]));
    b.write("labels.npy", &npy_i64(&[2], &[0, 1]));
    let good = png(4, 4, ExtendedColorType::Rgb8, &[7; 48]);
    let every = |folder: &str, words: &[&str]| {
        b.fails(&format!("run m.onnx --data {folder} --out-dir out"), words);
        b.fails(&format!("quantize m.onnx -o q.onnx --data {folder}"), words);
        b.fails(&format!("eval m.onnx --data {folder} --labels labels.npy --json"), words);
        b.fails(&format!("compare m.onnx m.onnx --data {folder}"), words);
    };
    let bad = |name: &str, bytes: &[u8]| {
        put(&b, &format!("{name}/1.png"), &good);
        put(&b, &format!("{name}/2.png"), bytes);
    };
    bad("empty-file", b"");
    every("empty-file", &["empty-file/2.png", "empty"]);
    bad("text", b"this is no picture");
    every("text", &["text/2.png", "neither a PNG nor a JPEG"]);
    bad("cut", &good[..good.len() - 20]);
    every("cut", &["cut/2.png", "cannot be decoded"]);
    bad("large", &png(5, 4, ExtendedColorType::Rgb8, &[7; 60]));
    every("large", &["large/2.png", "5x4", "expected 4x4", "--resize"]);

    every("nowhere", &["nowhere", "No such file"]);
    every("m.onnx", &["m.onnx"]);
    std::fs::create_dir(b.path("nothing")).unwrap();
    every("nothing", &["nothing", "no PNG or JPEG"]);
    put(&b, "others/a.bmp", b"BM");
    every("others", &["others", "no PNG or JPEG", "a.bmp"]);
    put(&b, "mixed/a.png", &good);
    put(&b, "mixed/cats/b.png", &good);
    every("mixed", &["mixed", "beside folders"]);

    put(&b, "flat/1.png", &good);
    put(&b, "flat/2.png", &good);
    b.fails("eval m.onnx --data flat", &["flat", "labels are missing", "--labels"]);
    b.fails(
        "run m.onnx --data flat --crop 5 --out-dir out",
        &["flat", "expected shape [?, 3, 4, 4]", "5, 5"],
    );
    b.fails("run m.onnx --data flat --mean 1,2 --out-dir out", &["2 mean values", "3 channels"]);
    b.write("free.onnx", &relu(&[0, 3, 250, 251]));
    b.fails("run free.onnx --data flat --crop 5 --out-dir out", &["flat/1.png", "4x4", "5x5", "--crop"]);
    b.write("open.onnx", &relu(&[0, 250, 251, 252]));
    b.fails("run open.onnx --data flat --out-dir out", &["flat", "input x", "--layout"]);
    b.write("matrix.onnx", &relu(&[0, 4]));
    b.fails("run matrix.onnx --data flat --out-dir out", &["flat", "input x", "rank 2"]);
    b.write("five.onnx", &relu(&[0, 5, 4, 4]));
    b.fails("run five.onnx --data flat --layout nchw --out-dir out", &["5 channels"]);
    for size in ["0", "axb", "4x", "-3", "99999999999"] {
        assert_eq!(b.tq(&format!("run m.onnx --data flat --resize {size} --out-dir out")).code, Some(2));
    }
    put(&b, "classes/a/1.png", &good);
    put(&b, "classes/b/1.png", &good);
    b.fails("eval m.onnx --data classes --labels flat/1.png", &["flat/1.png"]);
    std::fs::create_dir(b.path("classes/c")).unwrap();
    b.fails("eval m.onnx --data classes", &["classes/c", "no pictures"]);
}

#[test]
fn pictures_and_arrays_serve_different_inputs() {
    let b = Bench::new();
    let dims: &[u8] = &[0, 1, 2, 2];
    let nodes: &[common::NodeText<'_>] = &[("Sub", "s", &["a", "b"], &["y"])];
    b.write("m.onnx", &onnx(nodes, &[("a", dims), ("b", dims)], &[("y", dims)]));
    put(&b, "p/1.png", &png(2, 2, ExtendedColorType::L8, &[9, 8, 7, 6]));
    b.write("b.npy", &npy_f32(&[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]));
    for line in ["--input b=b.npy --data p", "--input b.npy --data a=p", "--input b=b.npy --data a=p"] {
        b.json(&format!("run m.onnx {line} --out-dir o --json"));
        assert_eq!(read_f32(&b.path("o/y.npy")).1, [8.0, 6.0, 4.0, 2.0]);
    }
    b.fails("run m.onnx --data p --out-dir o2", &["p", "[a, b]"]);
}

#[cfg(unix)]
#[test]
fn odd_files_are_named() {
    use std::os::unix::fs::symlink;
    let b = Bench::new();
    b.write("m.onnx", &relu(&[0, 1, 1, 1]));
    let good = png(1, 1, ExtendedColorType::L8, &[7]);
    put(&b, "loop/a/1.png", &good);
    symlink(b.path("loop"), b.path("loop/a/again")).unwrap();
    let line = |folder: &str| format!("run m.onnx --data {folder} --out-dir out");
    // The listing of files that `fails` makes would follow the link.
    let run = b.tq(&line("loop"));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("loop/a/again") && run.stderr.lines().count() == 1, "{}", run.stderr);
    std::fs::remove_file(b.path("loop/a/again")).unwrap();
    put(&b, "self/1.png", &good);
    symlink(b.path("self/2.png"), b.path("self/2.png")).unwrap();
    b.fails(&line("self"), &["self/2.png"]);
    put(&b, "device/1.png", &good);
    symlink(Path::new("/dev/zero"), b.path("device/2.png")).unwrap();
    b.fails(&line("device"), &["device/2.png", "no regular file"]);
}
