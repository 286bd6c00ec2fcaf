//! What is written is read, and others read it too.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Source, from_bytes, ops, to_bytes};
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeSet, HashMap};
use tq_graph::{Dim, Graph, Node, Op, Tensor};
use tq_qtypes::DType;

/// A graph of one node, whose inputs are graph inputs.
fn of_one(op: Op) -> Graph {
    let mut g = Graph::new("g");
    let inputs = (0..op.input_arity().0).map(|i| Some(g.add_input(format!("x{i}"), DType::F32, vec![])));
    let inputs = inputs.collect();
    let outputs = (0..op.output_arity().0).map(|i| Some(g.add_value(format!("y{i}"), None, None)));
    let outputs = outputs.collect();
    g.nodes.push(Node { name: "n".into(), op, inputs, outputs });
    g
}

#[test]
fn every_operator_with_any_attributes() {
    let mut names = BTreeSet::new();
    let mut s = Source(1);
    for n in 0..ops::COUNT {
        for _ in 0..40 {
            let op = ops::nth(n, &mut s);
            assert!(ops::is_made(&op));
            names.insert(op.name());
            let g = of_one(op);
            assert_eq!(from_bytes(&to_bytes(&g)).unwrap(), g);
        }
    }
    // Every number is another operator.
    assert_eq!(names.len(), ops::COUNT);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_graph(seed: u64) {
        let g = Source(seed).graph();
        let bytes = to_bytes(&g);
        let read = from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &g);
        // The same bytes again, from what was read too.
        prop_assert_eq!(&to_bytes(&read), &bytes);
        let others = SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(others.len(), g.values.iter().filter(|v| v.constant.is_some()).count());
    }
}

fn of_constants(tensors: &[(&str, Tensor)]) -> Graph {
    let mut g = Graph::new("g");
    for (name, tensor) in tensors {
        let v = g.add_constant(*name, tensor.clone());
        g.outputs.push(v);
    }
    g
}

#[test]
fn others_read_the_tensors_under_their_names() {
    let mut s = Source(5);
    let tensors: Vec<(&str, Tensor)> =
        DType::ALL.into_iter().map(|d| (d.name(), s.tensor(d, &[3, 5]))).collect();
    let bytes = to_bytes(&of_constants(&tensors));
    let others = SafeTensors::deserialize(&bytes).unwrap();
    for (name, tensor) in &tensors {
        let view = others.tensor(name).unwrap();
        let native = |expected: Dtype| {
            assert_eq!((view.dtype(), view.shape()), (expected, &[3usize, 5][..]), "{name}");
            assert_eq!(view.data(), &*tensor.le_bytes(), "{name}");
        };
        match tensor.dtype() {
            DType::F16 => native(Dtype::F16),
            DType::BF16 => native(Dtype::BF16),
            DType::F32 => native(Dtype::F32),
            DType::F64 => native(Dtype::F64),
            DType::I8 => native(Dtype::I8),
            DType::I16 => native(Dtype::I16),
            DType::U16 => native(Dtype::U16),
            DType::I32 => native(Dtype::I32),
            DType::U32 => native(Dtype::U32),
            DType::I64 => native(Dtype::I64),
            DType::U64 => native(Dtype::U64),
            DType::Bool => native(Dtype::BOOL),
            DType::F8E4M3FN => native(Dtype::F8_E4M3),
            DType::F8E5M2 => native(Dtype::F8_E5M2),
            DType::U8 | DType::F8E4M3FNUZ | DType::F8E5M2FNUZ => native(Dtype::U8),
            // Packed: the first code in the lowest bits.
            DType::I2 | DType::U2 => assert_eq!((view.dtype(), view.shape()), (Dtype::U8, &[4usize][..])),
            _ => {
                assert_eq!((view.dtype(), view.shape()), (Dtype::U8, &[8usize][..]));
                let codes = tensor.le_bytes();
                assert_eq!(view.data()[0], (codes[0] & 15) | (codes[1] << 4));
            }
        }
        // Aligned in the file too.
        let (begin, start) = (view.data().as_ptr() as usize, bytes.as_ptr() as usize);
        assert_eq!((begin - start) % (view.dtype().bitsize() / 8), 0, "{name}");
    }
}

#[test]
fn a_file_that_others_wrote_anew_is_read() {
    let mut s = Source(6);
    let tensors: Vec<(&str, Tensor)> =
        DType::ALL.into_iter().map(|d| (d.name(), s.tensor(d, &[7]))).collect();
    let g = of_constants(&tensors);
    let bytes = to_bytes(&g);
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let others = SafeTensors::deserialize(&bytes).unwrap();
    let views: HashMap<String, TensorView<'_>> = others.tensors().into_iter().collect();
    let mut metadata: HashMap<String, String> = metadata.metadata().clone().unwrap();
    metadata.insert("format".into(), "pt".into());
    let rewritten = safetensors::serialize(views, Some(metadata)).unwrap();
    assert_eq!(from_bytes(&rewritten).unwrap(), g);
    // In the order of names, as old writers had it: nothing is aligned then.
    let mut order: Vec<(String, TensorView<'_>)> = others.tensors();
    order.sort_by(|a, b| a.0.cmp(&b.0));
    let graph = serde_json::to_string(&SafeTensors::read_metadata(&bytes).unwrap().1.metadata()).unwrap();
    let (mut text, mut data) = (format!("{{\"__metadata__\":{graph}"), Vec::new());
    for (name, view) in order {
        let begin = data.len();
        data.extend_from_slice(view.data());
        let (dtype, shape) = (serde_json::to_string(&view.dtype()).unwrap(), view.shape());
        text += &format!(
            ",\"{name}\":{{\"dtype\":{dtype},\"shape\":{shape:?},\"data_offsets\":[{begin},{}]}}",
            data.len()
        );
    }
    text.push('}');
    let mut unaligned = (text.len() as u64).to_le_bytes().to_vec();
    unaligned.extend_from_slice(text.as_bytes());
    unaligned.extend_from_slice(&data);
    assert_eq!(from_bytes(&unaligned).unwrap(), g);
}

#[test]
fn tensors_lie_in_one_buffer() {
    let mut s = Source(7);
    let wide = [DType::F32, DType::F64, DType::I8, DType::I64, DType::F16, DType::U8];
    let tensors: Vec<(&str, Tensor)> = wide.into_iter().map(|d| (d.name(), s.tensor(d, &[64]))).collect();
    let read = from_bytes(&to_bytes(&of_constants(&tensors))).unwrap();
    let mut places: Vec<(usize, usize)> = read
        .values
        .iter()
        .map(|v| v.constant.as_ref().unwrap().le_bytes())
        .map(|bytes| (bytes.as_ptr() as usize, bytes.len()))
        .collect();
    places.sort_unstable();
    for pair in places.windows(2) {
        assert_eq!(pair[0].0 + pair[0].1, pair[1].0);
    }
    // A clone shares it, and what is written to leaves it.
    let mut copy = read.clone();
    let first = copy.values[0].constant.as_mut().unwrap();
    first.as_mut_slice::<f32>().unwrap()[0] = 42.0;
    assert_ne!(copy, read);
    assert_eq!(read, of_constants(&tensors));
}

#[test]
fn large_files_are_read_by_all_threads() {
    // Three times what a thread reads at once, in tensors of odd sizes, one of them packed.
    let sizes = [1, 9_000_001, 5, 7_999_999, 8_000_003];
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for (i, n) in sizes.into_iter().enumerate() {
        let codes = (0..n).map(|j: u32| (j.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        tensors.push((format!("t{i}"), Tensor::new(&[n as usize], codes).unwrap()));
    }
    tensors.push(("t2.packed".into(), Tensor::with_dtype(DType::U4, &[99_999], vec![9u8; 99_999]).unwrap()));
    let named: Vec<(&str, Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t.clone())).collect();
    let g = of_constants(&named);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.tq");
    tq_format::save(&g, &path).unwrap();
    assert!(tq_format::load(&path).unwrap() == g);
    assert!(from_bytes(&std::fs::read(&path).unwrap()).unwrap() == g);
    std::fs::File::options().write(true).open(&path).unwrap().set_len(20_000_000).unwrap();
    assert_eq!(tq_format::load(&path).unwrap_err().to_string(), "the file ends within its tensors");
}

#[test]
fn constants_know_their_types_and_shapes() {
    let g = of_constants(&[("a", Tensor::vector(vec![1i16, 2]))]);
    let mut unknown = g.clone();
    unknown.values[0].dtype = None;
    unknown.values[0].shape = None;
    assert_eq!(from_bytes(&to_bytes(&unknown)).unwrap(), g);
    // What is said beside that stays.
    let mut symbolic = g.clone();
    symbolic.values[0].shape = Some(vec![Dim::symbol("N")]);
    assert_eq!(from_bytes(&to_bytes(&symbolic)).unwrap(), symbolic);
}

#[test]
fn what_no_file_can_say_is_refused() {
    let mut g = of_constants(&[("a", Tensor::scalar(1u8))]);
    g.values[0].dtype = Some(DType::I8);
    let error = tq_format::write(&g, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "tensor a: it is u8 [], which is not what the graph says of the value");
    let mut g = of_constants(&[("a", Tensor::scalar(1u8)), ("a", Tensor::scalar(1u8))]);
    assert!(tq_format::write(&g, &mut Vec::new()).is_err());
    g.values.pop();
    g.outputs.pop();
    g.values[0].constant = Some(Tensor::new(&[1; 65], vec![1u8]).unwrap());
    g.values[0].shape = None;
    let error = tq_format::write(&g, &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "tensor a: 65 axes, at most 64 are written");
    let mut equation: tq_graph::op::EinsumEquation = "ij->ij".parse().unwrap();
    equation.result.head = vec!['é'];
    let error = tq_format::write(&of_one(Op::Einsum(equation)), &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("attribute equation"), "{error}");
}
