//! Reading a model of 300 MB: the native file against the ONNX file of the same graph, time and memory.
//!
//! `cargo bench -p benches --bench load`. Each reading is a process of its own, so that its peak memory is its own (from
//! Linux's `/proc`); files are in the system's cache, so that the disk is not what is measured. The graphs that both
//! give have to be the same.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use tempfile::TempDir;
use torsh_quantization::export::{ExportOptions, export_onnx, load, save};
use torsh_quantization::model::op::UnaryOp;
use torsh_quantization::model::{DType, Dim, Graph, Op, Tensor, infer::infer, load_model};

/// Times that each file is read; medians are shown.
const RUNS: usize = 7;

/// Rows and columns of the weights: 16 Mi elements a layer, two products.
const WIDTH: (usize, usize) = (2048, 4096);

/// Perceptrons with residual connections: some layers of about this many bytes in all.
fn model(dtype: DType, bytes: usize) -> Graph {
    let mut g = Graph::new("load");
    let (narrow, wide) = WIDTH;
    let mut x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), narrow.into()]);
    let layers = bytes / (2 * narrow * wide * dtype.bits() / 8);
    for i in 0..layers {
        let up = linear(&mut g, &format!("layers.{i}.up"), x, dtype, [narrow, wide]);
        let act = g.add_node(format!("layers.{i}.act"), Op::Unary(UnaryOp::Relu), &[up], format!("act.{i}"));
        let down = linear(&mut g, &format!("layers.{i}.down"), act, dtype, [wide, narrow]);
        let add = Op::Binary(torsh_quantization::model::op::BinaryOp::Add);
        x = g.add_node(format!("layers.{i}.add"), add, &[x, down], format!("add.{i}"));
    }
    g.outputs.push(x);
    infer(&mut g).expect("the model is made to be valid");
    g
}

fn linear(
    g: &mut Graph,
    name: &str,
    x: torsh_quantization::model::ValueId,
    dtype: DType,
    dims: [usize; 2],
) -> torsh_quantization::model::ValueId {
    let n = dims[0] * dims[1];
    let seed = u32::try_from(g.values.len()).unwrap_or(1);
    let weight = if dtype == DType::I8 {
        let codes: Vec<i8> = benches::noise(seed, n).into_iter().map(|v| (v >> 24) as u8 as i8).collect();
        let codes = g.add_constant(format!("{name}.weight_quantized"), tensor(&dims, codes));
        let scale =
            g.add_constant(format!("{name}.weight_scale"), tensor(&[dims[1]], vec![0.01f32; dims[1]]));
        let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
        g.add_node(format!("{name}.dequantize"), op, &[codes, scale], format!("{name}.weight"))
    } else {
        g.add_constant(format!("{name}.weight"), tensor(&dims, benches::reals(seed, n)))
    };
    g.add_node(name, Op::MatMul, &[x, weight], format!("{name}.out"))
}

fn tensor<T: torsh_quantization::model::Element>(dims: &[usize], data: Vec<T>) -> Tensor {
    Tensor::new(dims, data).expect("the data is made to fit the shape")
}

/// Most memory that this process has had, in MB; `None` where the system does not tell.
fn peak() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib * 1024.0 / 1e6)
}

/// Milliseconds that all threads of this process have computed, which other programs hardly change; `None` where the
/// system does not tell.
fn computed() -> Option<f64> {
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok().map(|ns| ns / 1e6)
    };
    std::fs::read_dir("/proc/self/task").ok()?.map(of_thread).sum()
}

fn read(path: &Path) -> Graph {
    let graph = match path.extension().is_some_and(|e| e == "tq") {
        true => load(path).map_err(|e| e.to_string()),
        false => load_model(path).map_err(|e| e.to_string()),
    };
    graph.unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// One reading in a process of its own: milliseconds that pass, milliseconds of all processors, megabytes at the most,
/// and megabytes when it was saved as a native file after that.
fn measured(path: &Path) -> [f64; 4] {
    let program = std::env::current_exe().expect("the program has a path");
    let output = Command::new(program).env("TQ_BENCH_LOAD", path).output().expect("it runs again");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    numbers.try_into().expect("four numbers")
}

/// The middle one, once they are in order.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() {
    if let Some(path) = std::env::var_os("TQ_BENCH_LOAD") {
        let (before, worked) = (Instant::now(), computed());
        let graph = read(Path::new(&path));
        let ms = before.elapsed().as_secs_f64() * 1e3;
        let cpu = computed().zip(worked).map_or(f64::NAN, |(a, b)| a - b);
        let reading = peak().unwrap_or(f64::NAN);
        save(&graph, &Path::new(&path).with_extension("again")).expect("it is written");
        println!("{ms} {cpu} {reading} {}", peak().unwrap_or(f64::NAN));
        drop(graph);
        return;
    }
    let folder = TempDir::new().expect("a temporary folder");
    println!(
        "| model | file | size MB | read ms | of all processors, ms | peak memory MB | and saved again |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, dtype) in [("float32", DType::F32), ("int8", DType::I8)] {
        let graph = model(dtype, 300_000_000);
        let paths: [PathBuf; 2] = ["onnx", "tq"].map(|e| folder.path().join(format!("{name}.{e}")));
        export_onnx(&graph, &paths[0], &ExportOptions::default()).expect("it is written");
        save(&graph, &paths[1]).expect("it is written");
        let (onnx, native) = (read(&paths[0]), read(&paths[1]));
        assert!(native == graph, "the native file is another graph");
        let data = |g: &Graph| {
            let mut all: Vec<_> =
                g.values.iter().filter_map(|v| Some((v.name.clone(), v.constant.clone()?))).collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert!(data(&onnx) == data(&native) && onnx.nodes.len() == native.nodes.len(), "the two differ");
        drop((graph, onnx, native));
        let mut times = Vec::new();
        for path in &paths {
            let runs: Vec<[f64; 4]> = (0..RUNS).map(|_| measured(path)).collect();
            let [ms, cpu, mb, saving] = [0, 1, 2, 3].map(|i| median(runs.iter().map(|r| r[i]).collect()));
            let size = path.metadata().expect("it was written").len() as f64 / 1e6;
            let kind = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            println!("| {name} | .{kind} | {size:.1} | {ms:.1} | {cpu:.1} | {mb:.1} | {saving:.1} |");
            times.push((ms, cpu));
        }
        let [(onnx_ms, onnx_cpu), (ms, cpu)] = times[..] else { continue };
        println!(
            "{name}: native in {:.1} % of the ONNX time, {:.1} % of its work",
            100.0 * ms / onnx_ms,
            100.0 * cpu / onnx_cpu
        );
    }
}
