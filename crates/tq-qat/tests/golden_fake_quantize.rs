//! Fake quantization against vectors recorded from PyTorch: forward to the last bit, gradients within 1e-6 of the sum of
//! their terms' magnitudes. They are read from the folder `TQ_GOLDEN_DIR` when that is set, and from `tests/data` otherwise.
//! `tests/data/fake_quantize_ties.json`, made by `make_ties.py` beside it, has values halfway between two codes.

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
    let ties = PathBuf::from(own).join("fake_quantize_ties.json");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let json: Value = serde_json::from_str(&text).unwrap();
        let cases = json["cases"].as_array().unwrap().clone();
        assert!(!cases.is_empty());
        cases
    };
    [folder.join("fake_quantize.json"), ties].into_iter().flat_map(read).collect()
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

impl Case {
    /// Which scale and zero point element `i` has.
    fn channel(&self, i: usize) -> usize {
        match self.params.granularity {
            Granularity::PerChannel { axis } => {
                let inner: usize = self.x.dims()[axis + 1..].iter().product();
                i / inner % self.x.dims()[axis]
            }
            _ => 0,
        }
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
            }
        }
    }
}

/// PyTorch's answers are no reference here: see [`is_ordinary`].
#[test]
fn what_is_not_finite_saturates_or_stays_nan() {
    let special = [f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, f32::NAN, f32::MAX, f32::MIN];
    for (number, case) in cases().iter().enumerate() {
        let mut c = read(number, case);
        let x: Vec<f32> = special.iter().copied().cycle().take(c.x.len()).collect();
        c.x = Tensor::new(c.x.dims(), x.clone()).unwrap();
        let params = c.params.clone().into();
        let y = straight_through::forward(&c.x, &params, Rounding::Reciprocal).unwrap();
        let dx = straight_through::backward(&c.x, &params, Rounding::Reciprocal, &c.gradient).unwrap();
        let learned = learnable::backward(
            &c.x,
            &c.params,
            Rounding::Reciprocal,
            &c.gradient,
            1.0,
            Compatibility::Native,
        );
        let learned = learned.unwrap();
        let gradient = c.gradient.as_slice::<f32>().unwrap();
        for (i, x) in x.iter().enumerate() {
            let of = |t: &Tensor| t.as_slice::<f32>().unwrap()[i];
            let k = c.channel(i);
            let code = if *x > 0.0 { c.params.quant_max } else { c.params.quant_min };
            let end = (code - c.params.zero_point[k]) as f32 * c.params.scale[k];
            // What saturates is beyond the codes, so no gradient passes; a NaN is not hidden.
            let (value, passes) = if x.is_nan() { (f32::NAN, gradient[i]) } else { (end, 0.0) };
            assert_eq!(of(&y).to_bits(), value.to_bits(), "{}, element {i}, x {x}", c.name);
            assert_eq!((of(&dx), of(&learned.x)), (passes, passes), "{}, element {i}, x {x}", c.name);
        }
        let with_nan: Vec<bool> = (0..c.params.scale.len())
            .map(|k| x.iter().enumerate().any(|(i, x)| x.is_nan() && c.channel(i) == k))
            .collect();
        for (k, nan) in with_nan.into_iter().enumerate() {
            assert_eq!(learned.scale[k].is_nan(), nan, "{}, channel {k}", c.name);
            assert!(learned.zero_point[k].is_finite(), "{}, channel {k}", c.name);
        }
    }
}

#[test]
fn golden_gradient_of_x_is_pytorchs() {
    for (number, case) in cases().iter().enumerate() {
        let c = read(number, case);
        let x = c.x.as_slice::<f32>().unwrap();
        let got = if c.learnable {
            // It rounds otherwise when it goes back.
            let compatible = Compatibility::PyTorch;
            learnable::backward(&c.x, &c.params, Rounding::Reciprocal, &c.gradient, 1.0, compatible)
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
    let (mut checked, mut negative, mut ties) = (0, 0, 0);
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
        let got = of(Compatibility::PyTorch);
        // The magnitudes of the terms: those for the absolute gradient have the signs of the terms, so they are computed here.
        let sizes = magnitudes(&c, factor);
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
        let differs = of(Compatibility::Native) != got;
        negative += usize::from(!c.per_channel && c.params.zero_point[0] < 0 && differs);
        // Zero points are the same here, so that ties are what differs.
        ties += usize::from(c.per_channel && differs);
        checked += 1;
    }
    assert!(
        checked >= 10 && negative > 0 && ties > 0,
        "{checked} cases, {negative} and {ties} with other native gradients"
    );
}

/// For each channel the sum of the magnitudes of the terms of PyTorch's gradients of scale and zero point.
fn magnitudes(c: &Case, factor: f32) -> (Vec<f64>, Vec<f64>) {
    let p = &c.params;
    let (lo, hi) = (f64::from(p.quant_min), f64::from(p.quant_max));
    let mut sums = (vec![0.0; p.scale.len()], vec![0.0; p.scale.len()]);
    let (x, g) = (c.x.as_slice::<f32>().unwrap(), c.gradient.as_slice::<f32>().unwrap());
    for (i, (x, g)) in x.iter().zip(g).enumerate() {
        let k = c.channel(i);
        let (s, z) = (f64::from(p.scale[k]), f64::from(p.zero_point[k]));
        let z = if c.per_channel { z } else { (z + 0.5).trunc() };
        let (x, g) = (f64::from(*x), f64::from((*g * factor).abs()));
        let code = f64::from((x * f64::from(1.0 / p.scale[k]) + z) as f32).round_ties_even();
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
