//! The JSON of ONNX Runtime's quantizer.
//!
//! `{"CLS": "TensorsData", "data": {NAME: {"lowest": L, "highest": H, ...}}, ...}`, where L and H are numbers or
//! `{"data": number or list, ...}`. Older versions wrote `{NAME: [L, H]}`.

use super::{Entry, file_error, json};
use crate::PassError;
use serde_json::Value;

pub(super) fn parse(text: &str) -> Result<Vec<(String, Entry)>, PassError> {
    let value = json::parse(text)?;
    let tensors = value.get("data").filter(|d| d.is_object()).unwrap_or(&value);
    let Some(tensors) = tensors.as_object() else {
        return Err(file_error(&"it holds no object of tensors"));
    };
    tensors
        .iter()
        .map(|(name, value)| match range(value) {
            Some((min, max)) => Ok((name.clone(), Entry::Range(min, max))),
            None => Err(file_error(&format!("tensor {name}: there is no lowest and highest value"))),
        })
        .collect()
}

fn range(value: &Value) -> Option<(f32, f32)> {
    if let Some(pair) = value.as_array() {
        let [min, max] = pair.as_slice() else { return None };
        return Some((json::number(min)?, json::number(max)?));
    }
    let all = |key: &str| {
        let value = value.get(key)?;
        let numbers = json::numbers(value.get("data").unwrap_or(value))?;
        (!numbers.is_empty()).then_some(numbers)
    };
    // One a channel where asked for so; together they are the tensor's. A NaN stays one.
    let widest = |numbers: Vec<f32>, pick: fn(f32, f32) -> f32| {
        numbers.into_iter().reduce(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { pick(a, b) })
    };
    Some((widest(all("lowest")?, f32::min)?, widest(all("highest")?, f32::max)?))
}
