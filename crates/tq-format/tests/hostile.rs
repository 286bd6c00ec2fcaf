//! Files that lie: an error that names what is wrong, no panic, and no more memory than the file is worth.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Source, from_bytes, to_bytes};
use proptest::prelude::*;
use tq_graph::op::{ConvAttrs, Padding};
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_qtypes::DType;

/// Memory that reading a file may take, as a multiple of its size, and beside that.
const MEMORY: (u64, u64) = (40, 1 << 20);

/// A small model with a bit of everything.
fn model() -> Graph {
    let mut g = Graph::new("m");
    let n1 = Dim::symbol("N").checked_add(&Dim::from(1usize)).unwrap();
    let x = g.add_input("x", DType::F32, vec![n1, 1usize.into(), 4usize.into()]);
    let w = g.add_constant("w", Tensor::new(&[1, 1, 3], vec![0.5f32, 1.0, -2.0]).unwrap());
    let c = g.add_constant("codes", Tensor::with_dtype(DType::I4, &[3], vec![-8i8, 7, 1]).unwrap());
    let s = g.add_constant("scale", Tensor::scalar(0.25f32));
    g.add_constant("truth", Tensor::vector(vec![true, false]));
    let padding = Padding::Explicit { begin: vec![1], end: vec![1] };
    let attrs = ConvAttrs { strides: vec![1], dilations: vec![1], padding, groups: 1 };
    let y = g.add_node("conv", Op::Conv(attrs), &[x, w], "y");
    let d = g.add_node("deq", Op::DequantizeLinear { axis: 0, block_size: 0 }, &[c, s], "d");
    g.outputs = vec![y, d];
    g
}

/// Reads, and holds the memory that is taken against the size of the file.
fn read(bytes: &[u8]) -> Result<Graph, tq_format::FormatError> {
    let mut result = None;
    let info = allocation_counter::measure(|| result = Some(from_bytes(bytes)));
    let most = bytes.len() as u64 * MEMORY.0 + MEMORY.1;
    assert!(info.bytes_max <= most, "{} bytes for a file of {}", info.bytes_max, bytes.len());
    let result = result.unwrap();
    if let Err(e) = &result {
        let text = e.to_string();
        assert!(!text.is_empty() && !text.contains('\n') && text.len() < 2000, "{text:?}");
    }
    result
}

/// The header and the data of a file.
fn parts(bytes: &[u8]) -> (String, &[u8]) {
    let n = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    (String::from_utf8(bytes[8..8 + n].to_vec()).unwrap(), &bytes[8 + n..])
}

fn joined(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The model's file with other text in its header. Quotes of the graph's text stand behind backslashes there.
fn changed(from: &str, to: &str) -> Vec<u8> {
    let bytes = to_bytes(&model());
    let (header, data) = parts(&bytes);
    assert!(header.contains(from), "{from} is not in {header}");
    joined(&header.replacen(from, to, 1), data)
}

#[test]
fn files_cut_short_are_refused() {
    let bytes = to_bytes(&model());
    assert_eq!(read(&bytes).unwrap(), model());
    for n in 0..bytes.len() {
        let error = read(&bytes[..n]).unwrap_err();
        assert!(error.to_string().contains("the file ends within"), "{n}: {error}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(
        read(&longer).unwrap_err().to_string(),
        "not a safetensors file: 1 bytes follow the last tensor"
    );
}

#[test]
fn attacks() {
    let g = |from: &str, to: &str| changed(&from.replace('"', "\\\""), &to.replace('"', "\\\""));
    let empty = |text: &str| joined(text, &[]);
    let node = r#"{"name":"conv","op":"Conv","attributes":{"dilations":[1],"groups":1,"pad_begin":[1],"pad_end":[1],"strides":[1]},"inputs":[0,1],"outputs":[5]}"#;
    let table: Vec<(Vec<u8>, &str)> = vec![
        // The container. `header.rs` has more of these.
        (vec![], "ends within the length of its header"),
        (b"PK\x03\x04 not at all".to_vec(), "the header has"),
        (empty("{}"), "without a graph"),
        (empty(r#"{"__metadata__":{"torsh-quantization.graph":""}}"#), "graph: EOF"),
        (empty(r#"{"__metadata__":{"torsh-quantization.graph":"[]"}}"#), "graph: invalid"),
        (changed(r#""data_offsets":[4,16]"#, r#""data_offsets":[4,17]"#), "tensor w"),
        (changed(r#""data_offsets":[4,16]"#, r#""data_offsets":[3,15]"#), "tensor w"),
        (
            changed(r#""shape":[1,1,3],"data_o"#, r#""shape":[3,1,1],"data_o"#),
            "tensor w: the file has f32 [3, 1, 1]",
        ),
        (changed(r#""dtype":"F32","shape":[1,1,3]"#, r#""dtype":"I32","shape":[1,1,3]"#), "tensor w"),
        (changed(r#""truth":{"dtype":"BOOL""#, r#""truth":{"dtype":"U8""#), "tensor truth"),
        (changed(r#""truth":{"dtype":"BOOL""#, r#""truths":{"dtype":"BOOL""#), "truths: no value"),
        (changed(r#""truth":{"dtype":"BOOL""#, r#""w":{"dtype":"BOOL""#), "two entries are named"),
        // The graph.
        (g(r#""version":1"#, r#""version":3"#), "version 3 of the format is not read"),
        (g(r#""version":1"#, r#""version":2"#), "version 2 without requantization"),
        (
            g(r#""metadata":{}"#, r#""metadata":{},"requantization":"fixed_point""#),
            "version 1 has no requantization",
        ),
        (
            g(r#""version":1,"#, r#""version":2,"requantization":"fixed","#),
            "there is no requantization fixed",
        ),
        (g(r#""version":1"#, r#""version":0"#), "version 0"),
        (g(r#""version":1"#, r#""version":-1"#), "graph"),
        (g(r#""version":1,"#, ""), "missing field `version`"),
        (g(r#""version":1,"#, r#""version":1,"more":1,"#), "unknown field `more`"),
        (g(r#""version":1,"#, r#""version":1,"version":1,"#), "duplicate field"),
        (g(r#""metadata":{}"#, r#""metadata":{"a":"b","a":"b"}"#), "two entries are named"),
        (g(r#""op":"Conv""#, r#""op":"Convolution""#), "node conv: unknown operator Convolution"),
        (g(r#""op":"Conv""#, r#""op":"Relu""#), "node conv (Relu): attribute dilations"),
        (g(r#""groups":1,"#, ""), "node conv (Conv): attribute groups: it is missing"),
        (g(r#""groups":1"#, r#""groups":-1"#), "attribute groups: -1 is not a count"),
        (g(r#""groups":1"#, r#""groups":18446744073709551616"#), "attribute groups"),
        (g(r#""groups":1"#, r#""groups":1e400"#), "graph"),
        (g(r#""groups":1"#, r#""groups":true"#), "attribute groups: true is not a count"),
        (g(r#""groups":1"#, r#""groups":1,"groups":2"#), "two entries are named \"groups\""),
        (g(r#""strides":[1]"#, r#""strides":[1.5]"#), "attribute strides"),
        (g(r#""pad_end":[1]"#, r#""pad_end":[1],"padding":"same_upper""#), "attribute pad_begin"),
        (g(r#""pad_end":[1]"#, r#""padding":"same""#), "there is no \"same\""),
        (g(r#""inputs":[0,1]"#, r#""inputs":[0,99]"#), "node conv: there is no value 99"),
        (g(r#""inputs":[0,1]"#, r#""inputs":[0,null]"#), "node conv (Conv): a required input is absent"),
        (g(r#""inputs":[0,1]"#, r#""inputs":[0]"#), "node conv (Conv): 1 inputs"),
        (g(r#""inputs":[0,1]"#, r#""inputs":[5,1]"#), "reads value y before it is defined"),
        (g(r#""outputs":[5]"#, r#""outputs":[6]"#), "defines value d a second time"),
        (g(r#""outputs":[5]"#, r#""outputs":[1]"#), "defines value w a second time"),
        (g(r#""outputs":[5,6]"#, r#""outputs":[5,7]"#), "an input or output is value 7"),
        (g(r#""inputs":[0],"outputs""#, r#""inputs":[],"outputs""#), "reads value x before"),
        (g(node, &format!("{node},{node}")), "two nodes are named conv"),
        (g(r#"{"name":"y"}"#, r#"{"name":"d"}"#), "two values are named d"),
        (g(r#"{"name":"codes","#, r#"{"name":"codes","type":"i8","#), "tensor codes: it is i4 [3]"),
        (g(r#"{"name":"codes","#, r#"{"name":"codes","shape":[4],"#), "tensor codes: it is i4 [3]"),
        (g(r#""type":"i4""#, r#""type":"i5""#), "value codes: there is no type i5"),
        (g(r#""data":{"type":"i4","shape":[3]}"#, r#""data":{"type":"i4","shape":[5]}"#), "tensor codes"),
        (g(r#""data":{"type":"i4","shape":[3]}"#, r#""data":{"type":"i8","shape":[3]}"#), "tensor codes"),
        (
            g(r#""data":{"type":"i4","shape":[3]}"#, r#""data":{"type":"i4","shape":[3],"tensor":"w"}"#),
            "tensor w: two values have it",
        ),
        (
            g(r#""data":{"type":"i4","shape":[3]}"#, r#""data":{"type":"i4","shape":[3],"tensor":"v"}"#),
            "tensor codes: no value",
        ),
        (
            g(r#"{"name":"y"}"#, r#"{"name":"y","data":{"type":"u8","shape":[]}}"#),
            "tensor y: the file does not have it",
        ),
        (
            g(
                r#"{"name":"y"}"#,
                r#"{"name":"y","data":{"type":"u8","shape":[1099511627776,1099511627776]}}"#,
            ),
            "tensor y",
        ),
        (g(r#""shape":[{"sum":0},1,4]"#, r#""shape":[{"sum":1},1,4]"#), "value x: it refers to sum 1"),
        (g(r#""shape":[{"sum":0},1,4]"#, r#""shape":[1.5,1,4]"#), "graph"),
        (g(r#""of":["N"]"#, r#""of":[{"floor":["N",0]}]"#), "dimension 0"),
        (g(r#""times":1,"of":["N"]"#, r#""times":1,"of":[{"floor":[{"sum":0},2]}]"#), "dimension 0"),
    ];
    for (bytes, want) in table {
        match read(&bytes) {
            Err(error) => assert!(error.to_string().contains(want), "{error}\n, expected {want}"),
            Ok(graph) => panic!("read although {want}:\n{graph}"),
        }
    }
}

#[test]
fn data_that_is_none() {
    let bytes = to_bytes(&model());
    let (header, data) = parts(&bytes);
    let with = |at: usize, byte: u8| {
        let mut data = data.to_vec();
        data[at] = byte;
        read(&joined(&header, &data)).unwrap_err().to_string()
    };
    // 12 bytes of weights, 4 of the scale, 2 of the codes, of which half a byte is none, 2 truth values.
    assert_eq!(data.len(), 20);
    assert_eq!(with(17, 0x11), "tensor codes: bits after its last element are set");
    assert_eq!(with(18, 2), "tensor truth: a byte of a tensor of truth values is neither 0 nor 1");
}

#[test]
fn great_claims_take_no_memory() {
    let header = |shape: &str, end: u64| {
        let tensor = format!(r#"{{"t":{{"dtype":"U8","shape":[{shape}],"data_offsets":[0,{end}]}}}}"#);
        joined(&tensor, &[])
    };
    let huge = header("1099511627776", 1 << 40);
    assert!(read(&huge).unwrap_err().to_string().contains("ends within its tensors"));
    // A file with a hole may be as long as it says.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hole.tq");
    std::fs::write(&path, &huge).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(huge.len() as u64 + (1 << 40)).unwrap();
    let mut error = None;
    let info = allocation_counter::measure(|| error = tq_format::load(&path).err());
    assert_eq!(error.unwrap().to_string(), "a safetensors file without a graph of torsh-quantization in it");
    assert!(info.bytes_max < 1 << 20);
    let deep = joined(&format!(r#"{{"__metadata__":{}"#, "[".repeat(1 << 20)), &[]);
    assert!(read(&deep).is_err());
    let long = |n: usize| format!("[{}0]", "0,".repeat(n)).replace('"', "\\\"");
    let list = changed("[1],\\\"groups", &format!("{},\\\"groups", long(2000)));
    assert!(read(&list).unwrap_err().to_string().contains("a list of more than"));
    let lists = format!("[{}[]]", "[],".repeat(100_000));
    assert!(read(&changed("\\\"nodes\\\":[", &format!("\\\"nodes\\\":{lists},\\\"n\\\":["))).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_changed_anywhere(seed: u64, changes in prop::collection::vec((any::<u32>(), any::<u8>()), 1..4)) {
        let mut bytes = to_bytes(&if seed % 2 == 0 { model() } else { Source(seed).graph() });
        for (at, byte) in changes {
            let n = bytes.len();
            bytes[at as usize % n] = byte;
        }
        // What is still a graph can be written again.
        if let Ok(graph) = read(&bytes) {
            prop_assert_eq!(from_bytes(&to_bytes(&graph)).unwrap(), graph);
        }
    }

    #[test]
    fn digits_changed_in_the_header(seed: u64) {
        let mut s = Source(seed);
        let mut bytes = to_bytes(&if seed % 2 == 0 { model() } else { s.graph() });
        let digits: Vec<usize> = (8..bytes.len()).filter(|i| bytes[*i].is_ascii_digit()).collect();
        for _ in 0..=s.below(3) {
            let at = s.pick(&digits);
            bytes[at] = b'0' + s.below(10) as u8;
        }
        let _ = read(&bytes);
    }
}
