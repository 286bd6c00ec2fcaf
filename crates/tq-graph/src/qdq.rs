//! The view of a QDQ graph as quantized operators.
