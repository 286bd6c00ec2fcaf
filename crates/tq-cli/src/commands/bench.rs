//! `tq bench`.

use super::load;
use crate::args::Bench;
use crate::arrays::{self, assign, input_names};
use crate::output::{emit, table};
use anyhow::{Context as _, Result, anyhow, bail};
use serde::Serialize;
use torsh_quantization::analysis::{Latency, LatencyOptions, measure};
use torsh_quantization::model::{DType, Element, Graph, Tensor};
use torsh_quantization::runtime::{NodeProfile, Profile, Session, SessionOptions};

/// The most that an input may take.
const MAX_INPUT_BYTES: usize = 2 << 30;

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    latency: Latency,
    threads: usize,
    kernels: Vec<String>,
    library: String,
    input_shapes: Vec<Vec<usize>>,
    packed_weight_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// Runs that a profile is made of.
const PROFILED: usize = 21;

pub(crate) fn bench(args: &Bench) -> Result<()> {
    let graph = load(&args.model)?;
    let inputs = if args.input.is_empty() && args.data.pictures.is_none() {
        sampled(&graph, &shapes(&graph, &args.shape)?)?
    } else {
        first_batch(&graph, args)?
    };
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|tensor| tensor.dims().to_vec()).collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads.map_or(0, usize::from))
        .build()
        .context("threads")?;
    let threads = pool.current_num_threads();
    let session =
        Session::new(&graph, SessionOptions::default()).with_context(|| args.model.display().to_string())?;
    let mut options = LatencyOptions::default();
    if let Some(runs) = args.runs.and_then(|r| usize::try_from(r).ok()) {
        options = LatencyOptions { min_runs: runs, max_runs: runs, ..options };
    }
    let latency =
        pool.install(|| measure(&options, || session.run(&inputs).map(drop))).with_context(|| {
            format!("{}: input shapes {shapes:?} (--shape gives others)", args.model.display())
        })?;
    let profile = args
        .profile
        .then(|| pool.install(|| session.profile(&inputs, latency.runs.min(PROFILED))))
        .transpose()?;
    let explanation = session.explain();
    let report = Report {
        latency,
        threads,
        kernels: explanation.kernels(),
        library: explanation.library,
        input_shapes: shapes,
        packed_weight_bytes: session.memory().packed_weights,
        profile,
    };
    emit(args.json, &report, || {
        let nodes = report.profile.as_ref().map_or_else(String::new, by_node);
        format!(
            "median {:.3} ms, p10 {:.3} ms, p90 {:.3} ms, min {:.3} ms over {} runs on {} thread(s)\n\
             inputs {:?}\nkernels ({}): {}{nodes}",
            latency.median_ms,
            latency.p10_ms,
            latency.p90_ms,
            latency.min_ms,
            latency.runs,
            threads,
            report.input_shapes,
            report.library,
            if report.kernels.is_empty() { "none, float only".to_owned() } else { report.kernels.join(", ") }
        )
    })
}

/// The time of each node, the longest first.
fn by_node(profile: &Profile) -> String {
    let titles = [
        "node",
        "operator",
        "us",
        "%",
        "10^9 multiply-adds/s",
        "runs",
        "kernel, and how its products run at least",
    ];
    let mut table = table(&titles);
    let rate = |n: &NodeProfile| match n.macs {
        0 => String::new(),
        macs => format!("{:.1}", macs as f64 / n.seconds.max(1e-9) / 1e9),
    };
    for n in profile.slowest() {
        let depths = n.depths.map(|depths| depths.to_string());
        let parts: Vec<String> = n.kernel.clone().into_iter().chain(depths).collect();
        table.add_row([
            n.node.clone(),
            n.op.to_owned(),
            format!("{:.1}", n.seconds * 1e6),
            format!("{:.1}", 100.0 * n.seconds / profile.seconds.max(1e-12)),
            rate(n),
            n.execution.name().to_owned(),
            parts.join("; "),
        ]);
    }
    format!("\nby node (medians of {} runs, {:.3} ms in all)\n{table}", profile.runs, profile.seconds * 1e3)
}

/// Inputs of these shapes, the same in every program run.
fn sampled(graph: &Graph, shapes: &[Vec<usize>]) -> Result<Vec<Tensor>> {
    let inputs = graph.inputs.iter().zip(shapes).map(|(id, dims)| {
        let value = graph.value(*id);
        sample(value.dtype.unwrap_or(DType::F32), dims).with_context(|| format!("input {}", value.name))
    });
    inputs.collect()
}

/// The first batch of the data that is given: one row, where `--batch` does not say more.
fn first_batch(graph: &Graph, args: &Bench) -> Result<Vec<Tensor>> {
    let given = arrays::load(graph, &args.input, &args.data)?;
    given.data.require_whole_batches()?;
    // A run of a sequence is given to the model whole.
    let rows = (!args.data.sequences).then(|| args.data.batch().unwrap_or(1));
    let first = given.data.batches(rows).next().ok_or_else(|| anyhow!("the data has no rows"))??;
    Ok(first.inputs)
}

/// The shape of every input: as given, else as declared with 1 for every free dimension.
fn shapes(graph: &Graph, specs: &[String]) -> Result<Vec<Vec<usize>>> {
    let names = input_names(graph);
    let given = assign(&names, specs)?;
    graph
        .inputs
        .iter()
        .zip(given)
        .map(|(id, given)| {
            let value = graph.value(*id);
            match given[..] {
                [] => Ok(value
                    .shape
                    .as_ref()
                    .map_or_else(Vec::new, |s| s.iter().map(|d| d.known_usize().unwrap_or(1)).collect())),
                [text] => parse_dims(text).with_context(|| format!("--shape of input {}", value.name)),
                _ => Err(anyhow!("--shape of input {}: given {} times", value.name, given.len())),
            }
        })
        .collect()
}

/// `1x3x224x224` or `1,3,224,224`; nothing is the shape of a scalar.
fn parse_dims(text: &str) -> Result<Vec<usize>> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(['x', 'X', ','])
        .map(|d| d.trim().parse().map_err(|_| anyhow!("{text:?} is no shape, expected like 1x3x224x224")))
        .collect()
}

/// Data that is the same in every run: floats between -1 and 1; integers are 0 so that they are valid as indices.
fn sample(dtype: DType, dims: &[usize]) -> Result<Tensor> {
    let bytes = dims
        .iter()
        .try_fold(dtype.bits().div_ceil(8), |n, d| n.checked_mul(*d))
        .filter(|n| *n <= MAX_INPUT_BYTES)
        .ok_or_else(|| anyhow!("shape {dims:?} takes more than {MAX_INPUT_BYTES} bytes"))?;
    let count = bytes / dtype.bits().div_ceil(8);
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let floats = || {
        (0..count).map(move |_| {
            // Knuth's linear congruential generator; the upper bits are good enough for inputs.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
    };
    fn zeros<T: Element>(dtype: DType, dims: &[usize], count: usize) -> Result<Tensor> {
        Ok(Tensor::with_dtype(dtype, dims, vec![T::default(); count])?)
    }
    Ok(match dtype {
        DType::F32 => Tensor::new(dims, floats().collect::<Vec<f32>>())?,
        DType::F64 => Tensor::new(dims, floats().map(f64::from).collect::<Vec<f64>>())?,
        DType::F16 => Tensor::new(dims, floats().map(half::f16::from_f32).collect::<Vec<_>>())?,
        DType::BF16 => Tensor::new(dims, floats().map(half::bf16::from_f32).collect::<Vec<_>>())?,
        DType::Bool => zeros::<bool>(dtype, dims, count)?,
        DType::I2 | DType::I4 | DType::I8 => zeros::<i8>(dtype, dims, count)?,
        DType::U2 | DType::U4 | DType::U8 => zeros::<u8>(dtype, dims, count)?,
        DType::I16 => zeros::<i16>(dtype, dims, count)?,
        DType::U16 => zeros::<u16>(dtype, dims, count)?,
        DType::I32 => zeros::<i32>(dtype, dims, count)?,
        DType::U32 => zeros::<u32>(dtype, dims, count)?,
        DType::I64 => zeros::<i64>(dtype, dims, count)?,
        DType::U64 => zeros::<u64>(dtype, dims, count)?,
        other => bail!("inputs of type {other} cannot be made up"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_written_with_x_or_comma() {
        assert_eq!(parse_dims("1x3x224x224").unwrap(), [1, 3, 224, 224]);
        assert_eq!(parse_dims("1, 3,8").unwrap(), [1, 3, 8]);
        assert_eq!(parse_dims("").unwrap(), [0usize; 0]);
        for bad in ["1x", "-1", "axb", "1.5", "99999999999999999999"] {
            assert!(parse_dims(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn samples_are_bounded_and_repeatable() {
        assert!(sample(DType::F32, &[1 << 20, 1 << 20]).unwrap_err().to_string().contains("more than"));
        assert!(sample(DType::F32, &[usize::MAX, 2]).is_err());
        let a = sample(DType::F32, &[100]).unwrap();
        assert_eq!(a, sample(DType::F32, &[100]).unwrap());
        assert!(a.as_slice::<f32>().unwrap().iter().all(|v| (-1.0..1.0).contains(v)));
        assert_eq!(sample(DType::I64, &[2]).unwrap().as_slice::<i64>().unwrap(), [0, 0]);
        assert_eq!(sample(DType::Bool, &[]).unwrap().dims(), [0usize; 0]);
    }
}
