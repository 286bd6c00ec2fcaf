//! Vectors recorded from PyTorch. They are read from the folder `TQ_GOLDEN_DIR` when that is set, and from `tests/data`
//! otherwise.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams, dequantize, quantize};
use tq_qtypes::dynamic::fbgemm_qparams;
use tq_qtypes::fake_quantize::fake_quantize;
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QTensor, QuantSpec, Rounding};

/// The project's own copy of the vectors.
const OWN_COPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// The folder given from outside, if there is one.
fn given_folder() -> Option<PathBuf> {
    std::env::var_os("TQ_GOLDEN_DIR").map(PathBuf::from)
}

/// The cases of a file; a file that cannot be read is a failure.
fn golden_cases(file: &str) -> Vec<Value> {
    cases_of(&given_folder().unwrap_or_else(|| OWN_COPY.into()).join(file))
}

/// The cases of a file that a folder given from outside need not have: the project's own copy stands in, and says so.
fn golden_cases_or_own(file: &str) -> Vec<Value> {
    match given_folder() {
        Some(folder) if !folder.join(file).exists() => {
            eprintln!("SKIPPED: {} has no {file}, the project's own copy is used", folder.display());
            cases_of(&Path::new(OWN_COPY).join(file))
        }
        _ => golden_cases(file),
    }
}

fn cases_of(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|e| panic!("golden vectors {} cannot be read: {e}", path.display()));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases = json["cases"].as_array().unwrap_or_else(|| panic!("{}: no list of cases", path.display()));
    assert!(!cases.is_empty(), "{} has no cases", path.display());
    cases.clone()
}

/// A number; the files write those that JSON lacks as text.
fn number(v: &Value) -> f64 {
    match v.as_str() {
        None => v.as_f64().unwrap_or_else(|| panic!("{v} is not a number")),
        Some(text) => text.to_lowercase().parse().unwrap_or_else(|_| panic!("{v} is not a number")),
    }
}

fn numbers(v: &Value) -> Vec<f64> {
    match v.get("data").unwrap_or(v) {
        Value::Array(list) => list.iter().map(number).collect(),
        one => vec![number(one)],
    }
}

fn floats(v: &Value) -> Vec<f32> {
    numbers(v).into_iter().map(|v| v as f32).collect()
}

fn integers(v: &Value) -> Vec<i32> {
    numbers(v).into_iter().map(|v| v as i32).collect()
}

fn dims(v: &Value) -> Vec<usize> {
    v["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

/// The parameters of a case, per channel where it names an axis.
fn params(case: &Value, dtype: DType, quant_min: i32, quant_max: i32) -> AffineParams {
    let granularity = match case.get("axis").and_then(Value::as_u64) {
        Some(axis) => Granularity::PerChannel { axis: axis as usize },
        None => Granularity::PerTensor,
    };
    let (scale, zero_point) = (floats(&case["scale"]), integers(&case["zero_point"]));
    AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point }
}

/// The largest f32 number that fits an i32.
const LARGEST_I32: f32 = 2_147_483_520.0;

/// The magnitude at which f32 numbers stop fitting an i64.
const I64_LIMIT: f32 = 9_223_372_036_854_775_808.0;

/// What PyTorch 2.5 makes of `x * (1 / s)` on x86 (FBGEMM's vector code): the larger end is clamped in float, the
/// smaller one is not (the conversion gives the smallest i32), and the zero point is added with wrap-around.
/// A NaN takes the larger end.
///
/// The loop for codes narrower than a byte converts to i64 instead: what does not fit, on either side, becomes the
/// smallest i64, and thus the smallest code.
fn pytorch_code(scaled: f32, zero_point: i32, quant_min: i32, quant_max: i32, packed: bool) -> i32 {
    let fits = scaled.abs() < I64_LIMIT; // a NaN does not
    if packed && !fits {
        return quant_min;
    }
    let clamped = if scaled < LARGEST_I32 { scaled } else { LARGEST_I32 };
    // The cast saturates, as the conversion does at this end.
    let rounded = clamped.round_ties_even() as i32;
    rounded.wrapping_add(zero_point).clamp(quant_min, quant_max)
}

/// PyTorch's name of a quantized type.
fn dtype_of(name: &str, case: &Value) -> DType {
    match case["dtype"].as_str() {
        Some("quint2x4") => DType::U2,
        Some("quint4x2") => DType::U4,
        Some("quint8" | "uint8") => DType::U8,
        Some("qint8" | "int8") => DType::I8,
        Some("uint16") => DType::U16,
        Some("int16") => DType::I16,
        Some("qint32" | "int32") => DType::I32,
        other => panic!("{name}: no such type, {other:?}"),
    }
}

/// The codes of a case; those narrower than a byte are packed, the lowest bits first.
fn codes_of(case: &Value, dtype: DType, count: usize) -> Vec<i32> {
    let stored = integers(&case["q"]);
    if stored.len() == count || dtype.bits() >= 8 {
        return stored;
    }
    let (bits, mask) = (dtype.bits() as u32, (1 << dtype.bits()) - 1);
    let unpacked = stored.iter().flat_map(|byte| (0..8 / bits).map(move |i| byte >> (i * bits) & mask));
    unpacked.take(count).collect()
}

#[test]
fn golden_quantize_codes_and_values_equal_pytorch() {
    let wrapped = quantize_cases(&golden_cases("quantize.json"));
    if given_folder().is_none() {
        assert_eq!(wrapped, 21, "values of our own copy at which PyTorch wraps around");
    }
}

/// Codes of two and four bits.
#[test]
fn golden_quantize_narrow_codes_and_values_equal_pytorch() {
    quantize_cases(&golden_cases_or_own("quantize_narrow.json"));
}

/// Checks codes and values of all cases; gives the number of those at which PyTorch wraps around.
fn quantize_cases(cases: &[Value]) -> usize {
    let mut wrapped = 0;
    for (number, case) in cases.iter().enumerate() {
        let name = format!("case {number}: {} {}", case["op"], case["dtype"]);
        let dtype = dtype_of(&name, case);
        let (lo, hi) = dtype.quant_range().unwrap();
        let params = params(case, dtype, lo, hi);
        let (x, dims) = (floats(&case["x"]), dims(&case["x"]));
        let want = codes_of(case, dtype, x.len());
        let got = quantize(&x, &dims, &params, Rounding::Reciprocal).unwrap();
        assert_eq!(got.len(), want.len(), "{name}");
        let index = tq_qtypes::affine::ParamIndex::new(params.granularity, &dims).unwrap();
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            if got == want {
                continue;
            }
            // The one difference allowed: PyTorch wraps around where x / s is NaN or beyond i32. Here NaN becomes the
            // smallest code and everything else saturates.
            let (s, z) = (params.scale[index.of(i)], params.zero_point[index.of(i)]);
            let scaled = x[i] * (1.0 / s);
            let at = format!("{name}, element {i}: x {} scale {s} zero point {z}", x[i]);
            assert!(scaled.is_nan() || scaled.abs() >= LARGEST_I32, "{at}: {got}, PyTorch {want}");
            assert_eq!(
                *want,
                pytorch_code(scaled, z, lo, hi, dtype.bits() < 8),
                "{at}: not what wrapping gives"
            );
            assert_eq!(*got, if scaled > 0.0 { hi } else { lo }, "{at}: not saturated");
            wrapped += 1;
        }
        golden_values(&name, case, &want, &dims, &params);
        // The packed tensor holds the same.
        let tensor = QTensor::quantize(&x, &dims, &params.clone().into(), Rounding::Reciprocal).unwrap();
        assert_eq!(tensor.codes(), got, "{name}");
        assert_eq!(tensor.dequantize(), dequantize(&got, &dims, &params).unwrap(), "{name}");
    }
    wrapped
}

/// Checks `dq` of a case, from PyTorch's own codes.
///
/// Per tensor to the last bit. Per channel PyTorch keeps scales in f64, of which the files hold the f32 nearest: there
/// one f64 scale a channel must exist that rounds to the one of the file and gives every value of the channel to the
/// last bit, and ours are next to them.
fn golden_values(name: &str, case: &Value, codes: &[i32], dims: &[usize], params: &AffineParams) {
    let want = floats(&case["dq"]);
    let got = dequantize(codes, dims, params).unwrap();
    assert_eq!(got.len(), want.len(), "{name}");
    if params.granularity == Granularity::PerTensor {
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            assert_eq!(got.to_bits(), want.to_bits(), "{name}, element {i}: {got} {want}");
        }
        return;
    }
    let rounds_to = |v: f32| {
        let (v, below, above) = (f64::from(v), f64::from(v.next_down()), f64::from(v.next_up()));
        ((v + below) / 2.0, (v + above) / 2.0)
    };
    let index = tq_qtypes::affine::ParamIndex::new(params.granularity, dims).unwrap();
    let mut possible: Vec<(f64, f64)> = params.scale.iter().map(|s| rounds_to(*s)).collect();
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        let channel = index.of(i);
        let steps = f64::from(codes[i] - params.zero_point[channel]);
        assert!((got - want).abs() <= want.abs().next_up() - want.abs(), "{name}, element {i}: {got} {want}");
        if steps != 0.0 {
            assert_eq!(steps < 0.0, *want < 0.0, "{name}, element {i}");
            let (lo, hi) = rounds_to(want.abs());
            let range = &mut possible[channel];
            *range = (range.0.max(lo / steps.abs()), range.1.min(hi / steps.abs()));
        }
    }
    for (channel, (lo, hi)) in possible.iter().enumerate() {
        assert!(lo <= hi, "{name}: no scale gives the values of channel {channel}");
    }
}

#[test]
fn golden_fake_quantize_forward_equals_pytorch() {
    let mut checked = 0;
    for (number, case) in golden_cases_or_own("fake_quantize.json").iter().enumerate() {
        if !case["op"].as_str().unwrap().starts_with("fake_quantize_per_") {
            continue;
        }
        let (lo, hi) = (integers(&case["quant_min"])[0], integers(&case["quant_max"])[0]);
        let holds = |d: &DType| d.quant_range().is_some_and(|(min, max)| min <= lo && hi <= max);
        let types = [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32];
        let dtype = types.into_iter().find(holds).unwrap();
        let params = params(case, dtype, lo, hi);
        let x = floats(&case["x"]);
        let got = fake_quantize(&x, &dims(&case["x"]), &params.into(), Rounding::Reciprocal).unwrap();
        for (i, (got, want)) in got.iter().zip(floats(&case["y"])).enumerate() {
            // PyTorch maps what is not finite, or beyond 64 bits, to the smallest code; here NaN stays and the rest
            // saturates.
            if x[i].is_finite() && x[i].abs() < 1e18 {
                assert_eq!(got.to_bits(), want.to_bits(), "case {number}, element {i}: {got} {want}");
            }
        }
        checked += 1;
    }
    assert!(checked > 0);
}

/// A dynamically quantized linear layer, whose result tells the parameters of its input.
#[test]
fn golden_dynamic_linear_has_the_parameters_of_fbgemm() {
    let mut checked = 0;
    for (number, case) in golden_cases_or_own("dynamic.json").iter().enumerate() {
        if case["op"] != "dynamic_linear" {
            continue;
        }
        let (w, bias, x) = (floats(&case["weight"]), floats(&case["bias"]), floats(&case["x"]));
        let (rows, depth) = (dims(&case["x"])[0], dims(&case["x"])[1]);
        let range = |v: &[f32]| v.iter().fold((0f32, 0f32), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
        // Weights: symmetric over -128..=127. Input: reduced range, but codes up to 255.
        let spec = QuantSpec::i8_symmetric(Granularity::PerTensor);
        let spec = QuantSpec { quant_min: -128, scheme: QScheme::Symmetric, ..spec };
        let (w_scale, w_zero) = choose_qparams(range(&w).0, range(&w).1, &spec, DEFAULT_EPS).unwrap();
        let (x_scale, x_zero) = fbgemm_qparams(range(&x).0, range(&x).1, 0, 127).unwrap();
        let w_params = AffineParams::per_tensor(DType::I8, w_scale, w_zero).unwrap();
        let x_params = AffineParams::per_tensor(DType::U8, x_scale, x_zero).unwrap();
        let w_codes = quantize(&w, &[w.len()], &w_params, Rounding::Reciprocal).unwrap();
        let x_codes = quantize(&x, &[x.len()], &x_params, Rounding::Reciprocal).unwrap();
        let want = floats(&case["y"]);
        for (row, x) in x_codes.chunks_exact(depth).enumerate() {
            for (out, w) in w_codes.chunks_exact(depth).enumerate() {
                let sum: i32 = x.iter().zip(w).map(|(x, w)| (x - x_zero) * w).sum();
                // FBGEMM fuses the product with the bias.
                let y = (sum as f32).mul_add(x_scale * w_scale, bias[out]);
                let want = want[row * bias.len() + out];
                assert_eq!(y.to_bits(), want.to_bits(), "case {number}, row {row}, output {out}: {y} {want}");
            }
        }
        assert_eq!(x_codes.len(), rows * depth);
        checked += 1;
    }
    assert!(checked > 0);
}
