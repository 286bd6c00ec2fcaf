//! TensorRT's calibration cache.
//!
//! The first line names the version and the algorithm. Every other one is `NAME: HEX`: the bits of an f32 scale, the
//! largest magnitude over 127. A name may have `: ` in it, so that the last one counts.

use super::{Entry, file_error};
use crate::PassError;

/// The largest code.
const CODES: f32 = 127.0;

pub(super) fn parse(text: &str) -> Result<Vec<(String, Entry)>, PassError> {
    let mut lines = text.lines().enumerate();
    match lines.next() {
        Some((_, header)) if header.starts_with("TRT-") => {}
        _ => return Err(file_error(&"line 1: expected TensorRT's header, TRT-VERSION-ALGORITHM")),
    }
    let mut out = Vec::new();
    for (i, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fail = |what: &str| file_error(&format!("line {}: {what}", i + 1));
        let (name, hex) = line.rsplit_once(": ").ok_or_else(|| fail("expected NAME: HEX"))?;
        let hex = hex.trim_end();
        let digits = hex.len() <= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let bits = u32::from_str_radix(hex, 16).ok().filter(|_| digits);
        let bits = bits.ok_or_else(|| fail("the scale is not up to 8 hexadecimal digits"))?;
        let largest = f32::from_bits(bits) * CODES;
        out.push((name.to_owned(), Entry::Range(-largest, largest)));
    }
    Ok(out)
}
