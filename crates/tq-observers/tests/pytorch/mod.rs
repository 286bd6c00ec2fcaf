//! Reads what PyTorch computed, and what it was asked.
#![allow(clippy::unwrap_used)]

use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;
use tq_observers::{Mode, Observer, ObserverConfig, ObserverError};
use tq_qtypes::{DType, Granularity, QScheme, QTypeError, QuantSpec};

/// The cases of one file: from `TQ_GOLDEN_DIR` when that is set, else from the project's copy.
pub(crate) fn cases(file: &str) -> Vec<Value> {
    let text = match std::env::var_os("TQ_GOLDEN_DIR") {
        Some(folder) => {
            let path = Path::new(&folder).join(file);
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        }
        None => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pytorch_observers.zip");
            let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
            let mut text = String::new();
            archive.by_name(file).unwrap().read_to_string(&mut text).unwrap();
            text
        }
    };
    let Value::Array(cases) = serde_json::from_str::<Value>(&text).unwrap()["cases"].take() else {
        panic!("{file} has no list of cases")
    };
    assert!(!cases.is_empty());
    cases
}

/// A number, or one of the words for what JSON cannot write. PyTorch's f32 values are written as doubles.
fn float(value: &Value) -> f32 {
    match value.as_str() {
        None => value.as_f64().unwrap_or_else(|| panic!("{value} is not a number")) as f32,
        Some("inf" | "Infinity") => f32::INFINITY,
        Some("-inf" | "-Infinity") => f32::NEG_INFINITY,
        Some("nan" | "NaN") => f32::NAN,
        Some(other) => panic!("{other} is not a number"),
    }
}

/// The shape and the elements of a tensor.
pub(crate) fn tensor(value: &Value) -> (Vec<usize>, Vec<f32>) {
    let dims = value["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    (dims, value["data"].as_array().unwrap().iter().map(float).collect())
}

/// The elements of a tensor of integers.
pub(crate) fn integers(value: &Value) -> Vec<i32> {
    value["data"].as_array().unwrap().iter().map(|v| i32::try_from(v.as_i64().unwrap()).unwrap()).collect()
}

/// Equal to the last bit, where all NaN are one and both zeros are one.
pub(crate) fn same(a: &[f32], b: &[f32]) -> bool {
    let equal = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
    a.len() == b.len() && a.iter().zip(b).all(equal)
}

fn dtype(name: &str) -> DType {
    match name.trim_start_matches("torch.") {
        "quint8" | "uint8" => DType::U8,
        "qint8" | "int8" => DType::I8,
        "quint4x2" => DType::U4,
        "int16" => DType::I16,
        "uint16" => DType::U16,
        "qint32" | "int32" => DType::I32,
        other => panic!("unknown dtype {other}"),
    }
}

/// The observer that a case asks for. An argument that is not known fails: it must not be passed over.
pub(crate) fn config(case: &Value, mode: Mode) -> ObserverConfig {
    let mut args: Map<String, Value> = case["args"].as_object().unwrap().clone();
    let rank = case["batches"][0]["shape"].as_array().unwrap().len() as i64;
    let mut take = |name: &str| args.remove(name).filter(|v| !v.is_null());

    let scheme_name = take("qscheme").unwrap_or_else(|| "per_tensor_affine".into());
    let scheme_name = scheme_name.as_str().unwrap().trim_start_matches("torch.").to_owned();
    let scheme = match scheme_name.trim_start_matches("per_tensor_").trim_start_matches("per_channel_") {
        "affine" => QScheme::Affine,
        "symmetric" => QScheme::Symmetric,
        other => panic!("unknown scheme {other}"),
    };
    let granularity = if scheme_name.starts_with("per_channel") {
        let axis = take("ch_axis").map_or(0, |v| v.as_i64().unwrap());
        Granularity::PerChannel { axis: usize::try_from(axis.rem_euclid(rank)).unwrap() }
    } else {
        Granularity::PerTensor
    };
    let dtype = dtype(take("dtype").unwrap_or_else(|| "quint8".into()).as_str().unwrap());
    let (lo, hi) = dtype.quant_range().unwrap();
    let mut bound = |name: &str| take(name).map(|v| i32::try_from(v.as_i64().unwrap()).unwrap());
    let custom = match (bound("quant_min"), bound("quant_max")) {
        (Some(a), Some(b)) => Some((a, b)),
        (None, None) => None,
        _ => panic!("half a quantization range"),
    };
    let (mut quant_min, mut quant_max) = custom.unwrap_or(match dtype {
        // PyTorch takes the codes of 4 bits for a type that it does not list.
        DType::I16 => (0, 15),
        _ => (lo, hi),
    });
    // PyTorch halves the range, rounding down; those of types other than 8 bits only when given.
    let reduced = take("reduce_range").is_some_and(|v| v.as_bool().unwrap());
    if reduced && (custom.is_some() || dtype.bits() == 8) {
        (quant_min, quant_max) = (quant_min.div_euclid(2), quant_max.div_euclid(2));
    }
    let mut spec = QuantSpec::u8_affine();
    (spec.dtype, spec.scheme, spec.granularity) = (dtype, scheme, granularity);
    (spec.quant_min, spec.quant_max) = (quant_min, quant_max);
    assert_eq!(i64::from(quant_min), case["quant_min"].as_i64().unwrap());
    assert_eq!(i64::from(quant_max), case["quant_max"].as_i64().unwrap());

    // Settings that say where PyTorch keeps its tensors, and that dynamic quantization is not meant.
    assert!(take("factory_kwargs").is_none_or(|v| v.as_object().is_some_and(Map::is_empty)));
    assert!(take("is_dynamic").is_none_or(|v| v == false), "dynamic quantization observes nothing");
    assert!(take("upsample_rate").is_none_or(|v| v == 16), "PyTorch 2.5 has 16 parts a bin");
    let eps = take("eps").map_or(f32::EPSILON, |v| float(&v));
    let mut averaging_constant = || take("averaging_constant").map_or(0.01, |v| float(&v));
    let config = match case["observer"].as_str().unwrap() {
        "MinMaxObserver" => ObserverConfig::MinMax { spec, eps, mode },
        "PerChannelMinMaxObserver" => ObserverConfig::PerChannelMinMax { spec, eps, mode },
        "MovingAverageMinMaxObserver" => {
            let averaging_constant = averaging_constant();
            ObserverConfig::MovingAverageMinMax { spec, eps, averaging_constant, mode }
        }
        "MovingAveragePerChannelMinMaxObserver" => {
            let averaging_constant = averaging_constant();
            ObserverConfig::MovingAveragePerChannelMinMax { spec, eps, averaging_constant, mode }
        }
        "HistogramObserver" => {
            let bins = take("bins").map_or(2048, |v| v.as_u64().unwrap() as usize);
            ObserverConfig::Histogram { spec, eps, bins, mode }
        }
        other => panic!("unknown observer {other}"),
    };
    assert!(args.is_empty(), "unknown arguments {args:?}");
    config
}

/// True for a case whose type cannot hold its codes, which PyTorch does not check and which is an error here.
pub(crate) fn codes_do_not_fit(case: &Value, mode: Mode) -> bool {
    let config = config(case, mode);
    let spec = config.spec().unwrap();
    let (lo, hi) = spec.dtype.quant_range().unwrap();
    if lo <= spec.quant_min && spec.quant_max <= hi {
        return false;
    }
    let error = config.build().unwrap_err();
    assert!(matches!(error, ObserverError::QType(QTypeError::BadRange { .. })), "{error}");
    true
}

/// True when a value of the batches is NaN or infinite.
pub(crate) fn holds_non_finite(case: &Value) -> bool {
    case["batches"].as_array().unwrap().iter().any(|b| tensor(b).1.iter().any(|v| !v.is_finite()))
}

/// The observer of a case after its batches, or why it refuses one.
pub(crate) fn try_observe(case: &Value, mode: Mode) -> Result<Box<dyn Observer>, ObserverError> {
    let mut observer = config(case, mode).build()?;
    for batch in case["batches"].as_array().unwrap() {
        let (dims, data) = tensor(batch);
        observer.observe(&data, &dims)?;
    }
    Ok(observer)
}

/// The observer of a case after its batches.
pub(crate) fn observed(case: &Value, mode: Mode) -> Box<dyn Observer> {
    try_observe(case, mode).unwrap()
}

/// True where PyTorch's zero point is a fault that only [`Mode::PyTorch`] repeats: 0 for symmetric codes of other types
/// than u8 and u16, wherever their middle is, and a 32-bit overflow for affine ones of 32 bits.
fn is_a_known_fault(observer: &dyn Observer) -> bool {
    let spec = observer.spec().unwrap();
    let mode = serde_json::to_value(observer.config()).unwrap()["mode"].take();
    mode == "native"
        && match spec.scheme {
            QScheme::Symmetric => !matches!(spec.dtype, DType::U8 | DType::U16),
            QScheme::Affine => spec.dtype == DType::I32,
        }
}

/// What differs between an observer and its case, in words.
pub(crate) fn difference(observer: &dyn Observer, case: &Value) -> Option<String> {
    let ranges = observer.channel_ranges();
    let params = observer.calculate_qparams();
    let theirs = tensor(&case["scale"]).1;
    if ranges.is_empty() {
        // Where no value came PyTorch has scale 1 and zero point 0, with a warning; here that is an error.
        assert!(theirs == [1.0] && integers(&case["zero_point"]) == [0], "parameters without any value");
        assert_eq!(params, Err(ObserverError::NoData));
        return None;
    }
    // An infinite value gives PyTorch an infinite scale; here the range is the same, and has no parameters.
    let infinite = theirs.iter().any(|s| s.is_infinite());
    let params = match params {
        Ok(params) if !infinite => Some(params),
        Err(ObserverError::QType(QTypeError::BadFloatRange { .. })) if infinite => None,
        other => return Some(format!("{other:?} where PyTorch has scale {theirs:?}")),
    };
    let min: Vec<f32> = ranges.iter().map(|r| r.min).collect();
    let max: Vec<f32> = ranges.iter().map(|r| r.max).collect();
    let scale = params.as_ref().map_or(&theirs, |p| &p.scale);
    for (what, ours) in [("min_val", &min), ("max_val", &max), ("scale", scale)] {
        let theirs = tensor(&case[what]).1;
        if !same(ours, &theirs) {
            return Some(format!("{what}: {ours:?} where PyTorch has {theirs:?}"));
        }
    }
    let params = params?;
    let theirs = integers(&case["zero_point"]);
    let spec = observer.spec().unwrap();
    let given = case["args"].get("quant_min").is_some_and(|v| !v.is_null());
    let whole = spec.dtype == DType::U8 && (spec.quant_min, spec.quant_max) == (0, 255);
    if given && whole && spec.scheme == QScheme::Symmetric {
        // The whole range of u8, given in numbers: PyTorch then takes the middle rounded down, 127. Here a range is
        // the same range however it was given, and its middle is 128.
        assert!(params.zero_point.iter().all(|z| *z == 128) && theirs.iter().all(|z| *z == 127));
        return None;
    }
    if is_a_known_fault(observer) {
        return None;
    }
    if spec.scheme == QScheme::Symmetric && spec.dtype == DType::U8 && !given && spec.quant_max == 127 {
        // torch.uint8 with reduce_range: a zero point beyond the codes, which torch.quint8 refuses. Ours is the middle.
        assert!(theirs.iter().all(|z| *z == 128));
        return (!params.zero_point.iter().all(|z| *z == 63)).then(|| format!("{params:?}"));
    }
    (params.zero_point != theirs)
        .then(|| format!("zero_point: {:?} where PyTorch has {theirs:?}", params.zero_point))
}

/// Fails with every case that differs.
pub(crate) fn expect_all_equal(file: &str, modes: &[Mode], compare: impl Fn(&Value, Mode) -> Option<String>) {
    let cases = cases(file);
    let mut wrong = Vec::new();
    for mode in modes {
        for (i, case) in cases.iter().enumerate() {
            if codes_do_not_fit(case, *mode) {
                continue;
            }
            if let Some(difference) = compare(case, *mode) {
                wrong.push(format!("{i} {} {} {mode:?}: {difference}", case["observer"], case["input_kind"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
