//! A transformer and a recurrent network, read from the folder that `TQ_MODELS_DIR` names; skipped, visibly, where it is
//! not set. Quantized statically they hold to the judge, and every node says how it runs and why.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;

use common::sessions;
use ndarray_npy::{ReadNpyExt, ReadableElement};
use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use tq_graph::{Element, Op, Tensor};
use tq_passes::{QuantConfig, convert, prepare_static};
use tq_runtime::{Execution, JudgeReport, judge};

fn folder(model: &str) -> Option<PathBuf> {
    match std::env::var_os("TQ_MODELS_DIR") {
        Some(root) => Some(PathBuf::from(root).join(model)),
        None => {
            eprintln!("SKIPPED: TQ_MODELS_DIR is not set");
            None
        }
    }
}

/// Rows `first..first + count` of an array.
fn rows<T: Element + ReadableElement>(path: PathBuf, first: usize, count: usize) -> Tensor {
    let all = ndarray::ArrayD::<T>::read_npy(File::open(path).unwrap()).unwrap();
    let row: usize = all.shape()[1..].iter().product();
    let mut dims = all.shape().to_vec();
    dims[0] = count;
    let data = all.into_iter().skip(first * row).take(count * row).collect();
    Tensor::new(&dims, data).unwrap()
}

fn hold(
    name: &str,
    model: PathBuf,
    calibration: &[Vec<Tensor>],
    evaluation: &[Vec<Tensor>],
    integer: &[&str],
) {
    let prepared = prepare_static(tq_onnx::import(&model).unwrap(), QuantConfig::default()).unwrap();
    for batch in calibration {
        prepared.forward(batch).unwrap();
    }
    let planned = prepared.placements();
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes, "{name}: the plan did not come true");
    let all = sessions(&quantized.graph);
    let mut report = JudgeReport::default();
    for inputs in evaluation {
        let expected = all[0].run(inputs).unwrap();
        // Float products depend on the processor, so that only what is reproducible can be compared to the bit.
        if all[0].explain().reproducible() {
            assert!(all.iter().all(|s| s.run(inputs).unwrap() == expected), "{name}: kernels differ");
        }
        report.merge(judge(all.last().unwrap(), inputs).unwrap());
    }
    println!("{name}: {report}");
    let explanation = all[0].explain();
    println!("{explanation}");
    assert!(report.holds(), "{name}: {report}");
    let listed: HashSet<&str> = explanation.nodes.iter().map(|n| n.node.as_str()).collect();
    for node in &quantized.graph.nodes {
        let border = matches!(node.op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. });
        assert!(border || listed.contains(node.name.as_str()), "{name}: {} is not listed", node.name);
    }
    for n in explanation.floats() {
        assert!(n.reason.is_some(), "{name}: {} {} gives no reason", n.op, n.node);
    }
    for op in integer {
        let runs = |n: &&tq_runtime::NodeReport| n.op == *op && n.execution == Execution::Integer;
        assert!(explanation.nodes.iter().any(|n| runs(&n)), "{name}: no {op} runs in integers");
    }
}

#[test]
fn a_transformer_holds() {
    let Some(dir) = folder("minilm_l3_sts") else { return };
    let batch = |part: &str, first| {
        let file = |what: &str| {
            dir.join(
                format!("{part}_{what}_i64.npy")
                    .replace("eval_ids", "eval_ids_a")
                    .replace("eval_mask", "eval_mask_a"),
            )
        };
        vec![rows::<i64>(file("ids"), first, 2), rows::<i64>(file("mask"), first, 2)]
    };
    let calibration: Vec<_> = (0..4).map(|i| batch("calib", 2 * i)).collect();
    let evaluation: Vec<_> = (0..2).map(|i| batch("eval", 2 * i)).collect();
    hold("minilm_l3_sts", dir.join("model.onnx"), &calibration, &evaluation, &["MatMul"]);
}

#[test]
fn a_recurrent_network_holds() {
    let Some(dir) = folder("silero_vad_lstm") else { return };
    let zeros = || Tensor::new(&[1, 1, 128], vec![0.0f32; 128]).unwrap();
    let batch = |part: &str, first| {
        let clip = rows::<f32>(dir.join(format!("{part}_frames_f32.npy")), first, 1);
        let frames = clip.dims()[1..].to_vec();
        vec![clip.reshape(&frames).unwrap(), zeros(), zeros()]
    };
    let calibration: Vec<_> = (0..4).map(|i| batch("calib", i)).collect();
    let evaluation: Vec<_> = (0..2).map(|i| batch("eval", 5 * i)).collect();
    hold("silero_vad_lstm", dir.join("model.onnx"), &calibration, &evaluation, &["Conv"]);
}
