//! Real models, from the folder that `TQ_MODELS_DIR` names; skipped, visibly, where it is not set. Their quantized forms
//! are in the program's own test on real models.
#![allow(clippy::unwrap_used)]

mod common;

use common::{from_bytes, to_bytes};
use std::path::PathBuf;

#[test]
fn real_models_survive() {
    let Some(root) = std::env::var_os("TQ_MODELS_DIR").map(PathBuf::from) else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return;
    };
    let mut seen = 0;
    for entry in root.read_dir().unwrap() {
        let path = entry.unwrap().path().join("model.onnx");
        if !path.exists() {
            continue;
        }
        let graph = tq_onnx::import(&path).unwrap();
        let bytes = to_bytes(&graph);
        let read = from_bytes(&bytes).unwrap();
        assert!(read == graph && to_bytes(&read) == bytes, "{}", path.display());
        let small = to_bytes(&tq_format::strip(&graph));
        assert!(small.len() < bytes.len(), "{}", path.display());
        let size = path.metadata().unwrap().len();
        println!(
            "{}: {size} bytes as ONNX, {} native, {} stripped",
            path.display(),
            bytes.len(),
            small.len()
        );
        seen += 1;
    }
    assert!(seen > 0, "there is no model in {}", root.display());
}
