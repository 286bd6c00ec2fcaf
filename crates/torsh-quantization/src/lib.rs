//! Quantization of neural networks.
#![forbid(unsafe_code)]
