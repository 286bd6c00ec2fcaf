//! Arrays of the cases as tensors, for what the program does not show.

use std::io::Read as _;
use torsh_quantization::model::Tensor;

/// Reads an `.npy` file, or an `.npz` one with one array, of the types that the cases have.
pub(crate) fn read(path: &str) -> Tensor {
    let mut bytes = std::fs::read(path).unwrap();
    if path.ends_with(".npz") {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        let mut inner = Vec::new();
        archive.by_index(0).unwrap().read_to_end(&mut inner).unwrap();
        bytes = inner;
    }
    let start = if bytes[6] == 1 { 10 } else { 12 };
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[start..start + length]).unwrap();
    assert!(header.contains("'fortran_order': False"), "{path}: {header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let dims: Vec<usize> =
        shape.split(',').filter(|d| !d.trim().is_empty()).map(|d| d.trim().parse().unwrap()).collect();
    let data = &bytes[start + length..];
    let type_name = header.split_once("'descr': '").unwrap().1.split_once('\'').unwrap().0;
    match type_name {
        "|u1" => Tensor::new(&dims, data.to_vec()),
        "|i1" => Tensor::new(&dims, data.iter().map(|b| *b as i8).collect()),
        "<f4" => Tensor::new(&dims, words(data).map(f32::from_le_bytes).collect()),
        "<i8" => Tensor::new(&dims, words(data).map(i64::from_le_bytes).collect()),
        other => panic!("{path}: {other}"),
    }
    .unwrap()
}

fn words<const N: usize>(data: &[u8]) -> impl Iterator<Item = [u8; N]> + '_ {
    data.chunks_exact(N).map(|b| b.try_into().unwrap())
}
