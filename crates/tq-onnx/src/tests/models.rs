//! The models that `TQ_MODELS_DIR` points at, where it is set.

use super::round_trip::assert_round_trip;
use super::*;
use crate::{MAX_OPSET, MIN_OPSET, import};
use tq_graph::op::{Op, Padding};

#[test]
fn real_models_come_back_the_same() {
    let Some(dir) = std::env::var_os("TQ_MODELS_DIR") else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return;
    };
    let mut read = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path().join("model.onnx");
        if !path.exists() {
            continue;
        }
        match import(&path) {
            Ok(mut graph) => {
                read += 1;
                // Whether padding counts is not written where there is none.
                for node in &mut graph.nodes {
                    if let Op::AveragePool { attrs, count_include_pad } = &mut node.op
                        && matches!(&attrs.padding, Padding::Explicit { begin, end } if begin.iter().chain(end).all(|n| *n == 0))
                    {
                        *count_include_pad = false;
                    }
                }
                // Exporters compute shapes at run time; nothing of that is left once the inputs have some.
                let shapes: Vec<Vec<usize>> = graph
                    .inputs
                    .iter()
                    .map(|v| {
                        graph
                            .value(*v)
                            .shape
                            .iter()
                            .flatten()
                            .map(|d| d.known_usize().unwrap_or(48))
                            .collect()
                    })
                    .collect();
                let bound = tq_graph::infer::bind(&graph, &shapes).unwrap();
                let reads_shapes = bound.nodes.iter().any(|n| matches!(n.op, Op::Shape { .. }));
                assert!(!reads_shapes, "{}", path.display());
                let mut lowest = MIN_OPSET;
                while let Err(OnnxError::NotExpressible { needs, .. }) = crate::export_bytes(
                    &graph,
                    &crate::ExportOptions { opset: Some(lowest), ..Default::default() },
                ) {
                    assert!(needs > lowest, "{} at {lowest} needs {needs}", path.display());
                    lowest = needs;
                }
                for opset in [lowest, MAX_OPSET] {
                    assert_round_trip(&graph, opset);
                }
            }
            Err(OnnxError::Unsupported(items)) => assert!(!items.is_empty()),
            Err(other) => panic!("{}: {other}", path.display()),
        }
    }
    assert!(read > 0);
}
