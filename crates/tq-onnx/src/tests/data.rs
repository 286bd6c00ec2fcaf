//! Tensor data in all its forms.

use super::*;
use crate::read_tensor;
use half::{bf16, f16};
use tq_graph::{Element, Tensor};
use tq_qtypes::DType;

fn tensor(t: &TensorProto) -> Result<Tensor, String> {
    read_tensor(&t.encode_to_vec()).map_err(|e| e.to_string())
}

fn typed(data_type: DataType, dims: &[i64]) -> TensorProto {
    TensorProto {
        data_type: Some(data_type as i32),
        dims: dims.to_vec(),
        name: Some("t".into()),
        ..TensorProto::default()
    }
}

/// Raw data and the typed field give the same tensor, which is the expected one.
fn both<T: Element>(
    data_type: DataType,
    raw_bytes: &[u8],
    field: TensorProto,
    dtype: DType,
    expected: Vec<T>,
) {
    let want = Tensor::with_dtype(dtype, &[expected.len()], expected).unwrap();
    let dims = [i64::try_from(want.len()).unwrap()];
    assert_eq!(tensor(&raw("t", data_type, &dims, raw_bytes)).unwrap(), want);
    let field = TensorProto { dims: dims.to_vec(), data_type: Some(data_type as i32), ..field };
    assert_eq!(tensor(&field).unwrap(), want);
    // What is written back is the packed form.
    let name = "t";
    assert_eq!(crate::tensor::write(&want, name).unwrap().raw_data.unwrap(), raw_bytes);
}

fn i32s(int32_data: Vec<i32>) -> TensorProto {
    TensorProto { int32_data, ..TensorProto::default() }
}

#[test]
fn every_element_type_from_both_fields() {
    let f = TensorProto { float_data: vec![1.5, -2.0], ..TensorProto::default() };
    both(DataType::Float, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0], f, DType::F32, vec![1.5f32, -2.0]);
    let d = TensorProto { double_data: vec![-1.0], ..TensorProto::default() };
    both(DataType::Double, &[0, 0, 0, 0, 0, 0, 0xf0, 0xbf], d, DType::F64, vec![-1.0f64]);
    both(DataType::Float16, &[0x00, 0x3c], i32s(vec![0x3c00]), DType::F16, vec![f16::ONE]);
    both(DataType::Bfloat16, &[0x80, 0xbf], i32s(vec![0xbf80]), DType::BF16, vec![bf16::NEG_ONE]);
    both(DataType::Int8, &[0x80, 0x7f], i32s(vec![-128, 127]), DType::I8, vec![-128i8, 127]);
    both(DataType::Uint8, &[0, 255], i32s(vec![0, 255]), DType::U8, vec![0u8, 255]);
    both(DataType::Int16, &[0, 0x80], i32s(vec![-32768]), DType::I16, vec![i16::MIN]);
    both(DataType::Uint16, &[0xff, 0xff], i32s(vec![65535]), DType::U16, vec![u16::MAX]);
    both(DataType::Int32, &[0, 0, 0, 0x80], i32s(vec![i32::MIN]), DType::I32, vec![i32::MIN]);
    both(DataType::Bool, &[1, 0], i32s(vec![1, 0]), DType::Bool, vec![true, false]);
    let u = |uint64_data| TensorProto { uint64_data, ..TensorProto::default() };
    both(DataType::Uint32, &[0xff; 4], u(vec![u64::from(u32::MAX)]), DType::U32, vec![u32::MAX]);
    both(DataType::Uint64, &[0xff; 8], u(vec![u64::MAX]), DType::U64, vec![u64::MAX]);
    let i = TensorProto { int64_data: vec![-1], ..TensorProto::default() };
    both(DataType::Int64, &[0xff; 8], i, DType::I64, vec![-1i64]);
    // Three 4-bit elements in two bytes, the first in the low half.
    both(DataType::Int4, &[0x78, 0x0f], i32s(vec![0x78, 0x0f]), DType::I4, vec![-8i8, 7, -1]);
    both(DataType::Uint4, &[0xf1, 0x02], i32s(vec![0xf1, 0x02]), DType::U4, vec![1u8, 15, 2]);
    for (data_type, dtype) in [
        (DataType::Float8e4m3fn, DType::F8E4M3FN),
        (DataType::Float8e4m3fnuz, DType::F8E4M3FNUZ),
        (DataType::Float8e5m2, DType::F8E5M2),
        (DataType::Float8e5m2fnuz, DType::F8E5M2FNUZ),
    ] {
        both(data_type, &[0x3c, 0xfe], i32s(vec![0x3c, 0xfe]), dtype, vec![0x3cu8, 0xfe]);
    }
}

#[test]
fn raw_data_need_not_be_aligned() {
    // One byte of a name more or less moves the data to any address.
    for name in ["", "a", "ab", "abc", "abcd"] {
        let t = raw(name, DataType::Double, &[1], &2.5f64.to_le_bytes());
        assert_eq!(tensor(&t).unwrap(), Tensor::vector(vec![2.5f64]));
    }
}

#[test]
fn lengths_are_checked_before_anything_is_made() {
    let short = raw("w", DataType::Float, &[2, 2], &[0; 12]);
    assert_eq!(tensor(&short).unwrap_err(), "tensor w: 12 bytes of data, shape [2, 2] of f32 needs 16");
    let huge = raw("w", DataType::Float, &[1 << 40, 1 << 10], &[0; 4]);
    assert!(tensor(&huge).unwrap_err().contains("needs"), "{:?}", tensor(&huge));
    let overflow = raw("w", DataType::Float, &[i64::MAX, i64::MAX], &[0; 4]);
    assert!(tensor(&overflow).unwrap_err().contains("too large"));
    let hidden = raw("w", DataType::Float, &[0, i64::MAX, i64::MAX], &[]);
    assert!(tensor(&hidden).unwrap_err().contains("too large"));
    let negative = raw("w", DataType::Float, &[-1], &[0; 4]);
    assert_eq!(tensor(&negative).unwrap_err(), "tensor w: shape [-1] has a negative dimension");
    let deep = raw("w", DataType::Float, &[1; 65], &[0; 4]);
    assert_eq!(tensor(&deep).unwrap_err(), "tensor w: 65 axes, at most 64 are read");
    let field = TensorProto { float_data: vec![1.0], ..typed(DataType::Float, &[2]) };
    assert_eq!(tensor(&field).unwrap_err(), "tensor t: 1 elements of data, shape [2] of f32 needs 2");
    assert_eq!(tensor(&typed(DataType::Float, &[0, 3])).unwrap().dims(), [0, 3]);
    assert!(tensor(&typed(DataType::Float, &[])).is_err());
}

#[test]
fn values_that_do_not_fit_their_type_are_errors() {
    let of = |data_type, v: i32| tensor(&TensorProto { int32_data: vec![v], ..typed(data_type, &[1]) });
    assert_eq!(of(DataType::Int8, 128).unwrap_err(), "tensor t: value 128 is not a i8");
    assert!(of(DataType::Uint8, -1).is_err());
    assert!(of(DataType::Float16, 0x10000).is_err());
    assert!(of(DataType::Float8e5m2, 256).is_err());
    let t = TensorProto { uint64_data: vec![1 << 32], ..typed(DataType::Uint32, &[1]) };
    assert!(tensor(&t).is_err());
}

#[test]
fn strange_tensors_are_named() {
    assert_eq!(
        tensor(&typed(DataType::String, &[0])).unwrap_err(),
        "tensor t: element type STRING is not supported"
    );
    assert!(tensor(&typed(DataType::Undefined, &[0])).unwrap_err().contains("missing"));
    let unknown = TensorProto { data_type: Some(99), ..TensorProto::default() };
    assert_eq!(tensor(&unknown).unwrap_err(), "tensor : element type 99 is not supported");
    assert!(read_tensor(b"hello").is_err());
}
