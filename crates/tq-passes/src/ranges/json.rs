//! JSON as Python writes it: with NaN and Infinity, which are no JSON.

use super::file_error;
use crate::PassError;
use serde_json::Value;

/// Words that Python writes for numbers, and which become texts here.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

pub(super) fn parse(text: &str) -> Result<Value, PassError> {
    serde_json::from_str(&quoted(text)).map_err(|e| file_error(&e))
}

/// The text with those words in quotes, so that the tensor that has them can be named.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_text, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_text && let Some(word) = WORDS.into_iter().find(|w| rest.starts_with(w)) {
            out.push('"');
            out.push_str(word);
            out.push('"');
            rest = &rest[word.len()..];
            continue;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// A number, one of Python's words for those that are not finite among them.
pub(super) fn number(value: &Value) -> Option<f32> {
    match value {
        Value::Number(n) => n.as_f64().map(|v| v as f32),
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f32::NAN),
            "Infinity" => Some(f32::INFINITY),
            "-Infinity" => Some(f32::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number, or a list of numbers; in the order of the list.
pub(super) fn numbers(value: &Value) -> Option<Vec<f32>> {
    match value {
        Value::Array(list) => list.iter().map(number).collect(),
        value => number(value).map(|n| vec![n]),
    }
}
