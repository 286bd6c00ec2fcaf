//! Fake quantization against vectors recorded from PyTorch: forward to the last bit, gradients within 1e-6 of the sum of
//! their terms' magnitudes. They are read from the folder `TQ_GOLDEN_DIR` when that is set, and from `tests/data` otherwise.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::PathBuf;
use tq_graph::Tensor;
use tq_qat::fake::learnable::{self, Compatibility, rounded_zero_points};
use tq_qat::fake::straight_through;
use tq_qtypes::{AffineParams, DType, Granularity, Rounding};

fn cases() -> Vec<Value> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let folder = std::env::var_os("TQ_GOLDEN_DIR").map_or_else(|| own.into(), PathBuf::from);
    let path = folder.join("fake_quantize.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let json: Value = serde_json::from_str(&text).unwrap();
    let cases = json["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

/// Numbers, with the words for those that JSON lacks.
fn floats(v: &Value) -> Vec<f32> {
    let one = |v: &Value| match v.as_str() {
        None => v.as_f64().unwrap() as f32,
        Some(text) => text.to_lowercase().parse().unwrap(),
    };
    match v.get("data").unwrap_or(v) {
        Value::Array(list) => list.iter().map(one).collect(),
        v => vec![one(v)],
    }
}

fn tensor(v: &Value) -> Tensor {
    let dims: Vec<usize> =
        v["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    Tensor::new(&dims, floats(v)).unwrap()
}

struct Case {
    name: String,
    learnable: bool,
    per_channel: bool,
    params: AffineParams,
    x: Tensor,
    gradient: Tensor,
    y: Vec<f32>,
    dx: Vec<f32>,
}

fn read(number: usize, case: &Value) -> Case {
    let op = case["op"].as_str().unwrap();
    let (lo, hi) = (floats(&case["quant_min"])[0] as i32, floats(&case["quant_max"])[0] as i32);
    let holds = |d: &DType| d.quant_range().is_some_and(|(min, max)| min <= lo && hi <= max);
    let dtype = [DType::U8, DType::I8, DType::U16, DType::I16, DType::I32].into_iter().find(holds).unwrap();
    let per_channel = op.ends_with("per_channel");
    let granularity = match per_channel {
        true => Granularity::PerChannel { axis: case["axis"].as_u64().unwrap() as usize },
        false => Granularity::PerTensor,
    };
    let zero_point = rounded_zero_points(&floats(&case["zero_point"]), lo, hi);
    let scale = floats(&case["scale"]);
    Case {
        name: format!("case {number} ({op})"),
        learnable: op.starts_with("learnable"),
        per_channel,
        params: AffineParams { dtype, quant_min: lo, quant_max: hi, granularity, scale, zero_point },
        x: tensor(&case["x"]),
        gradient: tensor(&case["grad_out"]),
        y: floats(&case["y"]),
        dx: floats(&case["grad_x"]),
    }
}

/// PyTorch maps what is not finite, or beyond 64 bits once it is scaled, to the smallest code; here NaN stays NaN and the
/// rest saturates.
fn is_ordinary(x: f32) -> bool {
    x.is_finite() && x.abs() < 1e16
}

#[test]
fn golden_forward_is_pytorchs_to_the_last_bit() {
    for (number, case) in cases().iter().enumerate() {
        let c = read(number, case);
        let y = straight_through::forward(&c.x, &c.params.clone().into(), Rounding::Reciprocal).unwrap();
        let x = c.x.as_slice::<f32>().unwrap();
        for (i, (got, want)) in y.as_slice::<f32>().unwrap().iter().zip(&c.y).enumerate() {
            if is_ordinary(x[i]) {
                assert_eq!(got.to_bits(), want.to_bits(), "{}, element {i}: {got} {want}", c.name);
            } else if x[i].is_nan() {
                assert!(got.is_nan(), "{}, element {i}", c.name);
            }
        }
    }
}

#[test]
fn golden_gradient_of_x_is_pytorchs() {
    for (number, case) in cases().iter().enumerate() {
        let c = read(number, case);
        let x = c.x.as_slice::<f32>().unwrap();
        let got = if c.learnable {
            // `fake_quantize_learnable_per_tensor_affine` rounds a negative zero point otherwise when it goes back.
            let compatibility = if c.per_channel { Compatibility::Native } else { Compatibility::PyTorch };
            learnable::backward(&c.x, &c.params, Rounding::Reciprocal, &c.gradient, 1.0, compatibility)
                .unwrap()
                .x
        } else {
            straight_through::backward(&c.x, &c.params.clone().into(), Rounding::Reciprocal, &c.gradient)
                .unwrap()
        };
        for (i, (got, want)) in got.as_slice::<f32>().unwrap().iter().zip(&c.dx).enumerate() {
            // A masked gradient is +0 or -0.
            if is_ordinary(x[i]) {
                assert!(got == want, "{}, element {i}, x {}: {got} {want}", c.name, x[i]);
            }
        }
    }
}

#[test]
fn golden_gradients_of_scale_and_zero_point_are_pytorchs() {
    let (mut checked, mut negative) = (0, 0);
    for (number, case) in cases().iter().enumerate() {
        let c = read(number, case);
        let finite = c.x.as_slice::<f32>().unwrap().iter().all(|x| is_ordinary(*x));
        if !c.learnable || !finite {
            continue;
        }
        let factor = floats(&case["grad_factor"])[0];
        let of = |compatibility| {
            learnable::backward(&c.x, &c.params, Rounding::Reciprocal, &c.gradient, factor, compatibility)
                .unwrap()
        };
        let compatible = if c.per_channel { Compatibility::Native } else { Compatibility::PyTorch };
        let got = of(compatible);
        // The magnitudes of the terms: those for the absolute gradient have the signs of the terms, so they are computed here.
        let sizes = magnitudes(&c, factor, compatible);
        let pairs = [
            (&got.scale, floats(&case["grad_scale"]), &sizes.0),
            (&got.zero_point, floats(&case["grad_zero_point"]), &sizes.1),
        ];
        for (got, want, sizes) in pairs {
            assert_eq!(got.len(), want.len(), "{}", c.name);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let difference = (f64::from(*got) - f64::from(*want)).abs();
                assert!(
                    difference <= 1e-6 * sizes[i] + 1e-30,
                    "{}, channel {i}: {got} {want} ({:e})",
                    c.name,
                    sizes[i]
                );
            }
        }
        // A negative zero point, for which the native gradients are those of the forward pass and PyTorch's are not.
        if !c.per_channel && c.params.zero_point[0] < 0 && of(Compatibility::Native) != got {
            negative += 1;
        }
        checked += 1;
    }
    assert!(checked >= 10 && negative > 0, "{checked} cases, {negative} with other native gradients");
}

/// For each channel the sum of the magnitudes of the terms of the gradients of scale and zero point, by their definition.
fn magnitudes(c: &Case, factor: f32, compatibility: Compatibility) -> (Vec<f64>, Vec<f64>) {
    let p = &c.params;
    let (lo, hi) = (f64::from(p.quant_min), f64::from(p.quant_max));
    let mut sums = (vec![0.0; p.scale.len()], vec![0.0; p.scale.len()]);
    let channel = |i: usize| match p.granularity {
        Granularity::PerChannel { axis } => {
            let inner: usize = c.x.dims()[axis + 1..].iter().product();
            i / inner % c.x.dims()[axis]
        }
        _ => 0,
    };
    let (x, g) = (c.x.as_slice::<f32>().unwrap(), c.gradient.as_slice::<f32>().unwrap());
    for (i, (x, g)) in x.iter().zip(g).enumerate() {
        let k = channel(i);
        let (s, z) = (f64::from(p.scale[k]), f64::from(p.zero_point[k]));
        let z = if compatibility == Compatibility::PyTorch { (z + 0.5).trunc() } else { z };
        let (x, g) = (f64::from(*x), f64::from((*g * factor).abs()));
        let code = (x / s).round_ties_even() + z;
        if code < lo || code > hi {
            sums.0[k] += g * (code.clamp(lo, hi) - z).abs();
            sums.1[k] += g * s;
        } else {
            // The difference of two numbers of this size, in f32.
            sums.0[k] += g * (((code - z) * s - x) / s).abs().max(f64::from(f32::EPSILON) * x.abs() / s);
        }
    }
    sums
}
