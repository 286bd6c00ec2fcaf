//! `cargo xtask gen-onnx`: the Rust types of the ONNX messages, from the protocol file that lies beside them.
//!
//! The result is committed, so that users of tq-onnx need neither a protocol compiler nor its crates; a test holds
//! it to the protocol file.

use crate::workspace;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

fn folder() -> PathBuf {
    workspace::root().join("crates/tq-onnx/src/proto")
}

pub(crate) fn run() -> Result<()> {
    let target = folder().join("onnx.rs");
    fs::write(&target, generate()?).with_context(|| target.display().to_string())
}

/// The source text of the generated file.
fn generate() -> Result<String> {
    let messages = protox::compile(["onnx.proto"], [folder()])?;
    let mut config = prost_build::Config::new();
    // Weights stay slices of the file.
    config.bytes([".onnx.TensorProto.raw_data"]);
    // Attributes are many and these fields are large and rare.
    for field in ["t", "g", "sparse_tensor", "tp"] {
        config.boxed(format!(".onnx.AttributeProto.{field}"));
    }
    config.disable_comments(["."]);
    let module = prost_build::Module::from_protobuf_package_name("onnx");
    let requests = messages.file.into_iter().map(|file| (module.clone(), file)).collect();
    let mut sources = config.generate(requests)?;
    sources.remove(&module).context("the protocol file made no source")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_messages_are_those_of_the_protocol_file() {
        let committed = fs::read_to_string(folder().join("onnx.rs")).unwrap();
        assert_eq!(generate().unwrap(), committed, "run `cargo xtask gen-onnx`");
    }
}
