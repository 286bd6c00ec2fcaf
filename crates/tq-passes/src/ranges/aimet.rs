//! AIMET's encodings.
//!
//! Version 0.6.1 has an object by name with a list of encodings each (`min`, `max`, or `offset`, `scale` and
//! `bitwidth`), 1.0.0 a list of objects with `name`, `offset`, `scale` and `bw`. A code `q` of 0 to `2^bits - 1` stands for
//! `(q + offset) * scale`.

use super::{Entry, file_error, json};
use crate::PassError;
use serde_json::Value;

const FLOAT: &str = "its encoding is of a float type";
const PARAMETER: &str = "weights are quantized by their own values";

pub(super) fn parse(text: &str) -> Result<Vec<(String, Entry)>, PassError> {
    let value = json::parse(text)?;
    let mut out = Vec::new();
    let Some(activations) = value.get("activation_encodings") else {
        return Err(file_error(&"there are no activation_encodings"));
    };
    for (name, encodings) in entries(activations)? {
        out.push((name.clone(), entry(&name, encodings)?));
    }
    if let Some(parameters) = value.get("param_encodings") {
        out.extend(entries(parameters)?.into_iter().map(|(name, _)| (name, Entry::Ignored(PARAMETER))));
    }
    Ok(out)
}

/// Names and encodings of a section, in either form.
fn entries(section: &Value) -> Result<Vec<(String, &Value)>, PassError> {
    match section {
        Value::Object(map) => Ok(map.iter().map(|(name, value)| (name.clone(), value)).collect()),
        Value::Array(list) => list
            .iter()
            .map(|value| match value.get("name").and_then(Value::as_str) {
                Some(name) => Ok((name.to_owned(), value)),
                None => Err(file_error(&"an encoding has no name")),
            })
            .collect(),
        _ => Err(file_error(&"a section of encodings is neither an object nor a list")),
    }
}

fn entry(name: &str, value: &Value) -> Result<Entry, PassError> {
    let fail = |what: &str| file_error(&format!("tensor {name}: {what}"));
    // Version 0.6.1 has a list, of one for a tensor without channels.
    let all: Vec<&Value> = match value {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    let mut whole: Option<(f32, f32)> = None;
    for one in all {
        let kind = one.get("dtype").and_then(Value::as_str).unwrap_or("int");
        if kind.eq_ignore_ascii_case("float") {
            return Ok(Entry::Ignored(FLOAT));
        }
        for (min, max) in ranges(one).ok_or_else(|| fail("neither min and max nor offset and scale"))? {
            whole = Some(match whole {
                Some((lo, hi)) if !(min.is_nan() || max.is_nan()) => (lo.min(min), hi.max(max)),
                _ => (min, max),
            });
            if min.is_nan() || max.is_nan() {
                return Ok(Entry::Range(min, max));
            }
        }
    }
    whole.map(|(min, max)| Entry::Range(min, max)).ok_or_else(|| fail("it has no encoding"))
}

/// The ranges of one encoding: one, or one a channel.
fn ranges(value: &Value) -> Option<Vec<(f32, f32)>> {
    if let (Some(min), Some(max)) = (value.get("min"), value.get("max")) {
        return Some(vec![(json::number(min)?, json::number(max)?)]);
    }
    let bits = value.get("bw").or(value.get("bitwidth"))?.as_u64().filter(|b| (1..=32).contains(b))?;
    let steps = (1u64 << bits) as f32 - 1.0;
    let (scale, offset) = (json::numbers(value.get("scale")?)?, json::numbers(value.get("offset")?)?);
    if scale.len() != offset.len() {
        return None;
    }
    let range = |(s, o): (f32, f32)| (s * o, s * (o + steps));
    Some(scale.into_iter().zip(offset).map(range).collect())
}
