//! Every form of a file computes the same bits as the graph it was made of.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{data, evaluate, quantized, run};
use tq_graph::qdq::{QOutput, QdqView};
use tq_graph::{Graph, Op};
use tq_onnx::{BiasForm, ExportOptions, OperatorForm, WeightForm, export_bytes, formed, import_bytes};

fn again(graph: &Graph, options: &ExportOptions) -> Graph {
    import_bytes(&export_bytes(graph, options).unwrap(), None).unwrap()
}

#[test]
fn files_of_every_form_and_operator_set_give_the_same_bits() {
    let graph = quantized();
    let x = data(2, 4);
    let expected = run(&graph, std::slice::from_ref(&x));
    for opset in [13, 19, 21, 25] {
        for weights in [None, Some(WeightForm::Codes), Some(WeightForm::FloatPair)] {
            for bias in [None, Some(BiasForm::Int32), Some(BiasForm::Float)] {
                let options = ExportOptions { weights, bias, ..ExportOptions::at(opset) };
                let read = again(&graph, &options);
                assert_eq!(run(&read, std::slice::from_ref(&x)), expected, "{options:?}");
            }
        }
    }
}

/// QLinear operators and integer products have their formulas in the standard, which the evaluator follows node by node.
#[test]
fn operators_on_codes_give_the_same_bits() {
    let graph = quantized();
    let x = data(3, 4);
    let expected = run(&graph, std::slice::from_ref(&x));
    let options = ExportOptions { form: OperatorForm::QOperator, ..ExportOptions::at(13) };
    let (written, _) = formed(&graph, &options).unwrap();
    let count = |name: &str| written.nodes.iter().filter(|n| n.op.name() == name).count();
    assert_eq!([count("QLinearConv"), count("MatMulInteger"), count("Conv")], [3, 1, 0]);
    assert!(!written.nodes.iter().any(|n| matches!(n.op, Op::MaxPool { .. }) && {
        let from = n.inputs[0].unwrap();
        written.value(from).dtype != Some(tq_qtypes::DType::U8)
    }));
    assert_eq!(evaluate(&written, std::slice::from_ref(&x)), expected);
    // Read back they are what they were, and run in integers again.
    let read = again(&graph, &options);
    assert_eq!(run(&read, &[x]), expected);
    let convs =
        QdqView::new(&read).operators.into_iter().filter(|o| matches!(read.node(o.node).op, Op::Conv(_)));
    assert_eq!(convs.filter(|o| matches!(o.outputs[0], QOutput::Codes(_))).count(), 3);
}

#[test]
fn a_linear_layer_without_bias_becomes_a_product_on_codes() {
    let mut graph = common::network();
    let fc1 = graph.nodes.iter_mut().find(|n| n.name == "fc1").unwrap();
    fc1.inputs.truncate(2);
    let graph = common::quantized_for(graph, tq_passes::Backend::Fbgemm);
    let x = data(4, 4);
    let options = ExportOptions { form: OperatorForm::QOperator, ..ExportOptions::default() };
    let (written, opset) = formed(&graph, &options).unwrap();
    assert_eq!(opset, 13);
    assert_eq!(written.nodes.iter().filter(|n| n.op == Op::QLinearMatMul).count(), 1);
    let expected = run(&graph, std::slice::from_ref(&x));
    assert_eq!(evaluate(&written, std::slice::from_ref(&x)), expected);
    assert_eq!(run(&again(&graph, &options), &[x]), expected);
}

#[test]
fn operators_on_codes_for_onnx_runtime_have_unsigned_activations() {
    let graph = common::quantized_for(common::network(), tq_passes::Backend::TensorRt);
    let x = data(5, 4);
    let expected = run(&graph, std::slice::from_ref(&x));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let mut options = tq_export::TargetOptions::new(tq_export::Target::ONNX_RUNTIME);
    let written = tq_export::export_for(&graph, &path, &options).unwrap();
    assert!(written.notes.is_empty(), "{:?}", written.notes);
    options.onnx.form = OperatorForm::QOperator;
    let written = tq_export::export_for(&graph, &path, &options).unwrap();
    assert!(written.notes[0].contains("tensors of i8 codes are written as u8"), "{:?}", written.notes);
    let read = tq_onnx::import(&path).unwrap();
    let inputs: Vec<_> = QdqView::new(&read).operators.into_iter().flat_map(|o| o.inputs).collect();
    assert!(inputs.len() > 5 && inputs.iter().all(|c| c.params.dtype == tq_qtypes::DType::U8));
    assert_eq!(run(&read, std::slice::from_ref(&x)), expected);
    // For others the file has the codes of the model.
    options.target = tq_export::Target::Onnx;
    assert!(tq_export::export_for(&graph, &path, &options).unwrap().notes.is_empty());
    let read = tq_onnx::import(&path).unwrap();
    assert!(
        QdqView::new(&read)
            .operators
            .iter()
            .flat_map(|o| &o.inputs)
            .all(|c| c.params.dtype == tq_qtypes::DType::I8)
    );
    assert_eq!(run(&read, &[x]), expected);
}
