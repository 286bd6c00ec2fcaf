use super::header::parse;
use super::read::read_npy;
use super::*;
use half::f16;
use proptest::prelude::*;
use std::io::Write;
use torsh_quantization::model::{DType, Element, Tensor};

/// Files as numpy wrote them: `NAME HEX`, made by `tests/data/make_npy.py`.
const BY_NUMPY: &str = include_str!("../../tests/data/npy_by_numpy.txt");

fn by_numpy(name: &str) -> Vec<u8> {
    let line = BY_NUMPY.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    (0..line.len() / 2).map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn read(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let known = read_npy(&mut &bytes[..], Some(bytes.len() as u64));
    let blind = read_npy(&mut &bytes[..], None);
    assert_eq!(known.is_ok(), blind.is_ok());
    known
}

fn ramp<T: Element>(convert: impl Fn(f64) -> T) -> Tensor {
    Tensor::new(&[2, 3], [0.0, 1.0, 2.0, 3.0, 100.0, 7.0].map(convert).to_vec()).unwrap()
}

#[test]
fn every_numeric_type_of_numpy_is_read_in_every_order() {
    let expected = [
        ("f2", ramp(f16::from_f64)),
        ("f4", ramp(|v| v as f32)),
        ("f8", ramp(|v| v)),
        ("i1", ramp(|v| v as i8)),
        ("i2", ramp(|v| v as i16)),
        ("i4", ramp(|v| v as i32)),
        ("i8", ramp(|v| v as i64)),
        ("u1", ramp(|v| v as u8)),
        ("u2", ramp(|v| v as u16)),
        ("u4", ramp(|v| v as u32)),
        ("u8", ramp(|v| v as u64)),
        ("b1", ramp(|v| v != 0.0)),
    ];
    for (name, tensor) in expected {
        for variant in ["little", "big", "fortran"] {
            assert_eq!(read(&by_numpy(&format!("{name}-{variant}"))).unwrap(), tensor, "{name}-{variant}");
        }
        assert_eq!(npy_bytes(&tensor).unwrap(), by_numpy(&format!("{name}-little")), "{name}");
    }
}

#[test]
fn scalars_vectors_and_empty_arrays() {
    assert_eq!(read(&by_numpy("scalar")).unwrap(), Tensor::scalar(2.5f32));
    assert_eq!(read(&by_numpy("vector")).unwrap(), Tensor::vector(vec![1i64, 2]));
    assert_eq!(read(&by_numpy("empty")).unwrap().dims(), [0, 3]);
    assert_eq!(npy_bytes(&Tensor::scalar(2.5f32)).unwrap(), by_numpy("scalar"));
    assert_eq!(npy_bytes(&Tensor::vector(vec![1i64, 2])).unwrap(), by_numpy("vector"));
    assert_eq!(read(&by_numpy("version2")).unwrap(), Tensor::vector(vec![1i64, 2]));
}

#[test]
fn what_is_no_plain_array_is_refused() {
    for (name, words) in
        [("complex", "c16"), ("text", "U3"), ("record", "record"), ("object", "O"), ("long", "f16")]
    {
        let error = read(&by_numpy(name)).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let whole = by_numpy("f4-little");
    for n in 0..whole.len() {
        assert!(read(&whole[..n]).is_err(), "{n} bytes");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(read(&longer).unwrap_err().to_string().contains("takes 24 bytes"));
}

fn with_header(text: &str) -> Vec<u8> {
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

#[test]
fn declared_sizes_are_not_believed() {
    for shape in [
        "(18446744073709551615,)",
        "(18446744073709551616,)",
        "(4294967296, 4294967296)",
        "(0, 18446744073709551615, 2)",
        "(1099511627776,)",
        "(9223372036854775807, 9223372036854775807, 0)",
        "(-1,)",
    ] {
        let bytes = with_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"));
        assert!(read(&bytes).is_err(), "{shape}");
    }
    let deep = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': ({}), }}", "1,".repeat(65));
    assert!(read(&with_header(&deep)).unwrap_err().to_string().contains("64 dimensions"));
    let mut long = b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec();
    long.extend_from_slice(b"{}");
    assert!(read(&long).unwrap_err().to_string().contains("4294967295 bytes long"));
    assert!(read(b"\x93NUMPY\x04\x00\x00\x00").unwrap_err().to_string().contains("version 4.0"));
}

#[test]
fn headers_are_parsed_strictly() {
    let good = "{\"shape\": (2L, 3), 'descr':'>i2' , 'fortran_order':True}";
    let header = parse(good).unwrap();
    assert_eq!((header.dims, header.big_endian, header.fortran_order), (vec![2, 3], true, true));
    for bad in [
        "",
        "{",
        "{}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
        "{'descr': '<f4, 'fortran_order': False, 'shape': ()}",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

fn npz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn read_file(bytes: &[u8]) -> Result<Tensor, NpyError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    read_array(file.path())
}

#[test]
fn archives_hold_one_array() {
    let (array, tensor) = (by_numpy("vector"), Tensor::vector(vec![1i64, 2]));
    assert_eq!(read_file(&npz(&[("x.npy", &array)])).unwrap(), tensor);
    assert_eq!(read_file(&by_numpy("npz")).unwrap(), tensor);
    assert!(matches!(read_file(&npz(&[])), Err(NpyError::Count(0))));
    assert!(matches!(read_file(&npz(&[("x", &array), ("y", &array)])), Err(NpyError::Count(2))));
    assert!(matches!(read_file(&npz(&[("x", b"hello world")])), Err(NpyError::Magic)));
    let whole = npz(&[("x.npy", &array)]);
    for n in 0..whole.len() {
        assert!(read_file(&whole[..n]).is_err(), "{n} bytes");
    }
}

#[test]
fn wrong_files_are_errors() {
    assert!(matches!(read_array(std::path::Path::new("/dev/zero")), Err(NpyError::Magic)));
    assert!(matches!(read_array(&std::env::temp_dir()), Err(NpyError::Io(_))));
    assert!(matches!(read_array(std::path::Path::new("no such file")), Err(NpyError::Io(_))));
    assert!(matches!(read_file(b""), Err(NpyError::Magic)));
}

#[test]
fn types_without_a_name_in_numpy_are_written_as_what_holds_them() {
    let cases = [
        (Tensor::vector(vec![half::bf16::from_f32(1.5)]), Tensor::vector(vec![1.5f32])),
        (Tensor::with_dtype(DType::I4, &[1], vec![-8i8]).unwrap(), Tensor::vector(vec![-8i8])),
        (Tensor::with_dtype(DType::U4, &[1], vec![15u8]).unwrap(), Tensor::vector(vec![15u8])),
        (Tensor::with_dtype(DType::F8E5M2, &[1], vec![60u8]).unwrap(), Tensor::vector(vec![60u8])),
    ];
    for (tensor, back) in cases {
        assert_eq!(read(&npy_bytes(&tensor).unwrap()).unwrap(), back);
    }
}

proptest! {
    #[test]
    fn written_arrays_read_back(
        dims in proptest::collection::vec(0usize..5, 0..5),
        seed in any::<u32>(),
    ) {
        let count: usize = dims.iter().product();
        let bits = |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed);
        let ints = Tensor::new(&dims, (0..count).map(|i| bits(i) as i16).collect()).unwrap();
        prop_assert_eq!(read(&npy_bytes(&ints).unwrap()).unwrap(), ints);
        let floats: Vec<f32> = (0..count).map(|i| f32::from_bits(bits(i))).collect();
        let back = read(&npy_bytes(&Tensor::new(&dims, floats.clone()).unwrap()).unwrap()).unwrap();
        let same = back.as_slice::<f32>().unwrap().iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits());
        prop_assert!(same && back.dims() == dims);
    }

    #[test]
    fn garbage_is_an_error_or_an_array_but_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..120,
    ) {
        let mut broken = by_numpy("f4-fortran");
        for (i, b) in bytes.iter().enumerate().take(3) {
            if let Some(slot) = broken.get_mut(at + i) {
                *slot = *b;
            }
        }
        let _ = read(&broken);
        let _ = read(&bytes);
        let _ = read_file(&bytes);
    }
}
