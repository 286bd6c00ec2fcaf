//! The ONNX messages, generated from `onnx.proto` (see `README.md` beside this file).
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!("onnx.rs");
