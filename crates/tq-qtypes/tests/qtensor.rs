//! Quantized tensors of every scheme: round trips, slices, requantization, bytes.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_qtypes::fake_quantize::fake_quantize;
use tq_qtypes::{
    AffineParams, BlockFormat, Codebook, DType, Granularity, QParams, QScheme, QTensor, QTypeError,
    QuantFormat, QuantSpec, Rounding,
};

/// Granularities of a tensor of three axes.
fn granularity() -> impl Strategy<Value = Granularity> {
    prop_oneof![
        Just(Granularity::PerTensor),
        (0usize..3).prop_map(|axis| Granularity::PerChannel { axis }),
        (0usize..3, 1usize..9).prop_map(|(axis, group_size)| Granularity::PerGroup { axis, group_size }),
    ]
}

fn spec() -> impl Strategy<Value = QuantSpec> {
    let scheme = prop_oneof![Just(QScheme::Symmetric), Just(QScheme::Affine)];
    let narrow = (any::<bool>(), 2u32..9, scheme.clone(), granularity(), any::<bool>()).prop_map(
        |(signed, bits, scheme, granularity, power_of_two)| QuantSpec {
            power_of_two,
            ..QuantSpec::bits(signed, bits, scheme, granularity).unwrap()
        },
    );
    let wide = (proptest::sample::select(vec![DType::I16, DType::U16, DType::I32]), scheme, granularity())
        .prop_map(|(dtype, scheme, granularity)| {
            let (quant_min, quant_max) = dtype.quant_range().unwrap();
            QuantSpec { dtype, quant_min, quant_max, scheme, granularity, power_of_two: false }
        });
    prop_oneof![3 => narrow, 1 => wide]
}

/// Formats of a tensor of three axes.
fn format() -> impl Strategy<Value = QuantFormat> {
    let floats = proptest::sample::select(vec![
        DType::F16,
        DType::BF16,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
    ]);
    let blocks = proptest::sample::select(vec![
        BlockFormat::MxFp4,
        BlockFormat::MxFp8E4M3,
        BlockFormat::MxFp8E5M2,
        BlockFormat::MxInt8,
    ]);
    prop_oneof![
        4 => spec().prop_map(QuantFormat::Affine),
        2 => (floats, proptest::option::of(granularity()))
            .prop_map(|(dtype, scaled)| QuantFormat::Float { dtype, scaled }),
        2 => granularity()
            .prop_map(|granularity| QuantFormat::Codebook { codebook: Codebook::Nf4, granularity }),
        2 => (blocks, 0usize..3).prop_map(|(format, axis)| QuantFormat::BlockFloat { format, axis }),
    ]
}

/// A tensor of three axes: its shape and its elements.
fn data() -> impl Strategy<Value = ([usize; 3], Vec<f32>)> {
    let long = prop_oneof![1 => Just(0usize), 10 => 1usize..8, 5 => 30usize..70];
    ([1usize..5, 1usize..5, 1usize..5], 0usize..3, long).prop_flat_map(|(mut dims, axis, len)| {
        dims[axis] = len;
        let numel = dims.iter().product::<usize>();
        let value = prop_oneof![6 => -4.0f32..4.0, 1 => Just(0.0), 1 => -1e4f32..1e4, 1 => -1e-3f32..1e-3];
        (Just(dims), proptest::collection::vec(value, numel))
    })
}

/// Row-major elements of a slice.
fn slice_data(x: &[f32], dims: &[usize; 3], axis: usize, range: std::ops::Range<usize>) -> Vec<f32> {
    let at = |i: usize| [i / (dims[1] * dims[2]), i / dims[2] % dims[1], i % dims[2]];
    x.iter().enumerate().filter(|(i, _)| range.contains(&at(*i)[axis])).map(|(_, x)| *x).collect()
}

/// The largest step between neighbouring values near `x` in the tensor's format, for bounds on errors.
fn step(params: &QParams, param: usize, x: f32) -> f32 {
    match params {
        QParams::Affine(p) => p.scale[param],
        // Half a unit in the last place of 10, 7, 3 and 2 stored bits, and the smallest numbers of each.
        QParams::Float(p) => {
            let (relative, smallest) = match p.dtype {
                DType::F16 => (2f32.powi(-10), 2f32.powi(-24)),
                DType::BF16 => (2f32.powi(-7), 0.0),
                DType::F8E4M3FN | DType::F8E4M3FNUZ => (0.125, 2f32.powi(-9)),
                _ => (0.25, 2f32.powi(-16)),
            };
            (x.abs() * relative).max(smallest * p.scale[param])
        }
        // The widest gap of the table is 0.304.
        QParams::Codebook(p) => 0.304 * p.scale[param],
        QParams::BlockFloat(p) => {
            let scale = tq_qtypes::block_float::scale_value(p.scale[param]);
            match p.format {
                // The largest of a block may lie above the largest element: up to 8 against 6, 512 against 448.
                BlockFormat::MxFp4 => 4.0 * scale,
                BlockFormat::MxInt8 => scale / 32.0,
                BlockFormat::MxFp8E4M3 => (x.abs() * 0.25).max(scale * 2f32.powi(-9)),
                _ => (x.abs() * 0.25).max(scale * 2f32.powi(-16)),
            }
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn values_survive_within_half_a_step((dims, x) in data(), format in format()) {
        let tensor = QTensor::from_data(&x, &dims, format, Rounding::Divide).unwrap();
        prop_assert_eq!(tensor.len(), x.len());
        let params = tensor.params();
        let index = tq_qtypes::affine::ParamIndex::new(params.granularity(), &dims).unwrap();
        let y = tensor.dequantize();
        // A cast to an 8-bit float may saturate; symmetric signed scales of PyTorch leave the ends half a code out,
        // and a rounded zero point shifts a range by half a code.
        let top = match format {
            QuantFormat::Float { dtype: DType::F8E4M3FN, scaled: None } => 448.0,
            QuantFormat::Float { dtype: DType::F8E4M3FNUZ, scaled: None } => 240.0,
            _ => f32::INFINITY,
        };
        for (i, (x, y)) in x.iter().zip(&y).enumerate() {
            let x = x.clamp(-top, top);
            let bound = step(params, index.of(i), x);
            let bound = if params.as_affine().is_some() { 1.01 * bound } else { 0.501 * bound };
            // Codes of 32 bits are finer than f32, in which scales and zero points are chosen.
            let wide = params.as_affine().is_some_and(|p| p.dtype == DType::I32);
            let bound = if wide { 512.0 * bound + x.abs() * 2f32.powi(-22) } else { bound };
            prop_assert!((x - y).abs() <= bound, "{:?} {} {} {}", format, x, y, bound);
        }
        // The same in one step, and again: quantized values are their own quantization.
        prop_assert_eq!(&fake_quantize(&x, &dims, params, Rounding::Divide).unwrap(), &y);
        if params.as_affine().is_none_or(|p| p.dtype.bits() <= 16) {
            let again = tensor.requantize(params).unwrap();
            prop_assert_eq!(&again, &tensor);
        }
        prop_assert_eq!(&QTensor::from_codes(&tensor.codes(), &dims, params.clone()).unwrap(), &tensor);
    }

    #[test]
    fn slicing_and_quantizing_commute(
        (dims, x) in data(),
        format in format(),
        axis in 0usize..3,
        ends in any::<[prop::sample::Index; 2]>(),
    ) {
        let tensor = QTensor::from_data(&x, &dims, format, Rounding::Reciprocal).unwrap();
        let ends = ends.map(|end| end.index(dims[axis] + 1));
        let range = ends[0].min(ends[1])..ends[0].max(ends[1]);
        let start = range.start;
        let cut = tensor.slice(axis, range.clone());
        if let Granularity::PerGroup { axis: along, group_size } = tensor.params().granularity()
            && along == axis
            && start % group_size != 0
            && range.end > (start / group_size + 1) * group_size
        {
            let error = QTypeError::CutsGroup { axis, start, end: range.end, group_size };
            prop_assert_eq!(cut, Err(error));
            return Ok(());
        }
        let cut = cut.unwrap();
        let mut new_dims = dims;
        new_dims[axis] = range.len();
        prop_assert_eq!(cut.dims(), &new_dims[..]);
        let data = slice_data(&x, &dims, axis, range.clone());
        // The slice's own parameters give the slice's own codes.
        let direct = QTensor::quantize(&data, &new_dims, cut.params(), Rounding::Reciprocal).unwrap();
        prop_assert_eq!(&cut, &direct);
        // They are the whole tensor's: the values are those of the whole.
        prop_assert_eq!(cut.dequantize(), slice_data(&tensor.dequantize(), &dims, axis, range));
    }

    #[test]
    fn requantization_is_that_of_real_numbers_but_for_ties(
        (dims, x) in data(),
        from in format(),
        to in spec(),
    ) {
        let tensor = QTensor::from_data(&x, &dims, from, Rounding::Divide).unwrap();
        let real = tensor.dequantize();
        let params = AffineParams::from_data(&real, &dims, &to).unwrap();
        let got = tensor.requantize(&params.clone().into()).unwrap();
        let index = tq_qtypes::affine::ParamIndex::new(params.granularity, &dims).unwrap();
        // What DequantizeLinear and QuantizeLinear give, exactly.
        let twice = QTensor::quantize(&real, &dims, got.params(), Rounding::Divide).unwrap();
        prop_assert_eq!(&got, &twice);
        let Some(source) = tensor.params().as_affine() else { return Ok(()) };
        let source_index = tq_qtypes::affine::ParamIndex::new(source.granularity, &dims).unwrap();
        for (i, (q, got)) in tensor.codes().iter().zip(got.codes()).enumerate() {
            let (s, z) = (source.scale[source_index.of(i)], source.zero_point[source_index.of(i)]);
            let exact = (f64::from(*q) - f64::from(z)) * f64::from(s);
            let (s, z) = (params.scale[index.of(i)], params.zero_point[index.of(i)]);
            let code = exact / f64::from(s);
            let want = (code.round_ties_even() + f64::from(z))
                .clamp(params.quant_min.into(), params.quant_max.into());
            // Three roundings to f32 may carry a quotient across a tie, and wide codes further.
            let near = (code.fract().abs() - 0.5).abs() <= code.abs() * 2f64.powi(-22);
            let off = (f64::from(got) - want).abs();
            prop_assert!(off == 0.0 || near && off <= 1.0 || off <= code.abs() * 2f64.powi(-22), "{} {} {}", q, got, want);
        }
    }

    #[test]
    fn bytes_and_json_give_the_tensor_back((dims, x) in data(), format in format()) {
        let tensor = QTensor::from_data(&x, &dims, format, Rounding::Divide).unwrap();
        let bytes = tensor.to_bytes();
        prop_assert_eq!(&QTensor::from_bytes(&bytes).unwrap(), &tensor);
        let json = serde_json::to_string(&tensor).unwrap();
        prop_assert_eq!(&serde_json::from_str::<QTensor>(&json).unwrap(), &tensor);
        let plan = serde_json::to_string(&format).unwrap();
        prop_assert_eq!(serde_json::from_str::<QuantFormat>(&plan).unwrap(), format);
        for cut in 0..bytes.len() {
            prop_assert!(QTensor::from_bytes(&bytes[..cut]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(QTensor::from_bytes(&longer).is_err());
    }

    /// Whatever is accepted is a tensor that works and writes the same bytes again.
    #[test]
    fn damaged_bytes_are_errors_or_tensors(
        (dims, x) in data(),
        format in format(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        axis in 0usize..4,
    ) {
        let mut bytes = QTensor::from_data(&x, &dims, format, Rounding::Divide).unwrap().to_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(tensor) = QTensor::from_bytes(&bytes) {
            prop_assert_eq!(tensor.to_bytes(), bytes);
            prop_assert_eq!(tensor.dequantize().len(), tensor.len());
            let _ = tensor.slice(axis, 1..2);
            let _ = tensor.requantize(tensor.params()).unwrap();
        }
    }

    #[test]
    fn random_bytes_are_errors(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), scheme in 0u8..4) {
        let _ = QTensor::from_bytes(&bytes);
        if bytes.len() >= 8 {
            bytes[..6].copy_from_slice(&[b'T', b'Q', b'Q', b'T', 1, scheme]);
            let _ = QTensor::from_bytes(&bytes);
        }
    }
}

/// A header with these fields; what follows it is zeros.
fn header(fields: [u8; 4], numbers: &[u64], zeros: usize) -> Vec<u8> {
    let mut bytes = b"TQQT".to_vec();
    bytes.extend(fields);
    bytes.extend(numbers.iter().flat_map(|n| n.to_le_bytes()));
    bytes.resize(bytes.len() + zeros, 0);
    bytes
}

#[test]
fn hostile_sizes_are_errors_before_anything_is_allocated() {
    let huge = u64::MAX;
    let message = |bytes: &[u8]| QTensor::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(message(b"TQ"), "serialized tensor: 4 bytes of the first word where 2 are left");
    assert_eq!(message(b"PNG\0...."), "serialized tensor: it does not begin with TQQT");
    assert_eq!(
        message(&header([2, 0, 2, 0], &[], 0)),
        "serialized tensor: version 2: 1 is the one that is read"
    );
    // Rank, dimensions, number of scales.
    let beyond = message(&header([1, 0, 2, 0], &[0, 0, huge], 0));
    assert_eq!(beyond, "serialized tensor: 18446744073709551615 dimensions");
    assert!(message(&header([1, 0, 2, 0], &[0, 0, 1 << 40], 16)).contains("where 16 are left"));
    let one_scale = |dims: &[u64]| {
        let mut bytes = header([1, 2, 0, 0], &[0, 0, dims.len() as u64], 0);
        bytes.extend(dims.iter().chain(&[1]).flat_map(|n| n.to_le_bytes()));
        bytes.extend(1f32.to_le_bytes());
        bytes
    };
    assert!(message(&one_scale(&[huge])).contains("does not fit memory"));
    assert!(message(&one_scale(&[1 << 40, 1 << 40, 0])).contains("does not fit memory"));
    assert!(message(&one_scale(&[1 << 50])).starts_with("bytes of packed codes: expected 562949953421312"));
    // As many channels as there are indices, in a tensor without elements.
    let mut channels = header([1, 2, 0, 1], &[1, 0, 2, 0, 1 << 45, 1 << 45], 0);
    assert!(message(&channels).contains("bytes of scales"));
    channels = header([1, 2, 0, 1], &[1, 0, 2, 0, 1 << 45, 0], 0);
    assert_eq!(message(&channels), "scales: expected 35184372088832, got 0");
    // Codes outside the range, bits beyond the last code, impossible parameters.
    let spec = QuantSpec::bits(true, 3, QScheme::Symmetric, Granularity::PerTensor).unwrap();
    let good = QTensor::from_data(&[1.0, -1.0], &[2], spec, Rounding::Divide).unwrap().to_bytes();
    let last = good.len() - 1;
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        QTensor::from_bytes(&bytes)
    };
    assert_eq!(with(last, 0b100), Err(QTypeError::CodeRange { index: 0, code: -4, min: -3, max: 3 }));
    assert_eq!(with(last, 0b1000_0000), Err(QTypeError::Padding));
    assert!(matches!(with(last - 5, 0xFF), Err(QTypeError::BadScale { .. })));
    assert!(matches!(with(last - 1, 0x7F), Err(QTypeError::BadZeroPoint { .. })));
}

#[test]
fn json_that_contradicts_itself_is_refused() {
    let tensor =
        QTensor::from_data(&[1.0, 2.0, 3.0], &[3], QuantSpec::u8_affine(), Rounding::Divide).unwrap();
    let json = serde_json::to_value(&tensor).unwrap();
    let refused = |edit: &dyn Fn(&mut serde_json::Value)| {
        let mut bad = json.clone();
        edit(&mut bad);
        serde_json::from_value::<QTensor>(bad).unwrap_err().to_string()
    };
    assert!(
        refused(&|j| j["dims"] = serde_json::json!([4])).contains("bytes of packed codes: expected 4, got 3")
    );
    assert!(refused(&|j| j["params"]["affine"]["scale"] = serde_json::json!([-1.0])).contains("scale -1"));
    assert!(refused(&|j| j["params"]["affine"]["quant_max"] = serde_json::json!(254)).contains("code 255"));
}

/// Special values under parameters that are given, in every scheme.
#[test]
fn fake_quantization_keeps_nan_and_saturates_infinities() {
    let sample: Vec<f32> = (0..64).map(|i| (i as f32 - 31.0) / 8.0).collect();
    let mut x = sample.clone();
    x[5] = f32::NAN;
    x[6] = f32::INFINITY;
    x[7] = f32::NEG_INFINITY;
    let group = Granularity::PerGroup { axis: 0, group_size: 48 };
    let formats = [
        QuantSpec::u8_affine().into(),
        QuantSpec::bits(true, 3, QScheme::Symmetric, group).unwrap().into(),
        QuantFormat::Float { dtype: DType::F16, scaled: None },
        QuantFormat::Float { dtype: DType::BF16, scaled: None },
        QuantFormat::Float { dtype: DType::F8E5M2FNUZ, scaled: Some(group) },
        QuantFormat::nf4(0, 48),
        QuantFormat::BlockFloat { format: BlockFormat::MxFp4, axis: 0 },
        QuantFormat::BlockFloat { format: BlockFormat::MxFp8E5M2, axis: 0 },
        QuantFormat::BlockFloat { format: BlockFormat::MxInt8, axis: 0 },
    ];
    for format in formats {
        let params = format.params_for(&sample, &[64]).unwrap();
        let y = fake_quantize(&x, &[64], &params, Rounding::Reciprocal).unwrap();
        assert!(y[5].is_nan(), "{format:?}");
        let mut huge = x.clone();
        (huge[6], huge[7]) = (f32::MAX, f32::MIN);
        let at_huge = fake_quantize(&huge, &[64], &params, Rounding::Reciprocal).unwrap();
        assert!(y[6].is_finite() && y[6] >= 3.0 && y[7].is_finite() && y[7] <= -3.0, "{format:?}: {y:?}");
        assert_eq!((y[6], y[7]), (at_huge[6], at_huge[7]), "{format:?}");
        // Everything else is as in a tensor of codes.
        let codes = QTensor::quantize(&x, &[64], &params, Rounding::Reciprocal).unwrap();
        let values = codes.dequantize();
        assert!((0..64).filter(|i| *i != 5).all(|i| values[i].to_bits() == y[i].to_bits()), "{format:?}");
    }
    // Data without a range has no affine parameters.
    let refused = QTensor::from_data(&x, &[64], QuantSpec::u8_affine(), Rounding::Divide);
    assert_eq!(refused, Err(QTypeError::NonFinite { count: 3, len: 64 }));
    let refused = QTensor::from_data(&x, &[64], QuantFormat::nf4(0, 64), Rounding::Divide);
    assert_eq!(refused, Err(QTypeError::NonFinite { count: 3, len: 64 }));
}

#[test]
fn scalars_and_empty_tensors_are_tensors() {
    let scalar = QTensor::from_data(&[2.0], &[], QuantSpec::u8_affine(), Rounding::Divide).unwrap();
    assert_eq!((scalar.len(), scalar.dequantize()), (1, vec![2.0]));
    assert_eq!(scalar.slice(0, 0..1), Err(QTypeError::BadAxis { axis: 0, rank: 0 }));
    let channel = QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 1 });
    let empty = QTensor::from_data(&[], &[0, 3], channel, Rounding::Divide).unwrap();
    assert!(empty.is_empty() && empty.codes().is_empty() && empty.packed().is_empty());
    assert_eq!(empty.slice(1, 0..2).unwrap().dims(), [0, 2]);
    assert_eq!(empty.slice(1, 2..4), Err(QTypeError::BadSlice { axis: 1, start: 2, end: 4, len: 3 }));
    assert_eq!(QTensor::from_bytes(&empty.to_bytes()).unwrap(), empty);
}
