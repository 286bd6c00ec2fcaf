//! Tests of the whole crate, on models written message by message.

mod attributes;
mod data;
mod detectors;
mod export;
mod external;
mod forms;
mod hostile;
mod import;
mod models;
mod networks;
mod operators;
mod round_trip;

use crate::proto::attribute_proto::AttributeType;
use crate::proto::tensor_proto::DataType;
use crate::proto::tensor_shape_proto::{Dimension, dimension};
use crate::proto::*;
use crate::{OnnxError, import_bytes};
use bytes::Bytes;
use prost::Message as _;
use tq_graph::Graph;

/// A model of `opset` with these nodes, from the input `x` (f32, `[N, 3, 8, 8]`) to the output `y`.
fn model(opset: i64, nodes: Vec<NodeProto>) -> ModelProto {
    let graph = GraphProto {
        name: Some("test".into()),
        node: nodes,
        input: vec![info("x", DataType::Float, &["N", "3", "8", "8"])],
        output: vec![info("y", DataType::Float, &[])],
        ..GraphProto::default()
    };
    ModelProto {
        ir_version: Some(7),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

fn graph_of(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

/// A typed name; dimensions are numbers or names.
fn info(name: &str, data_type: DataType, dims: &[&str]) -> ValueInfoProto {
    let dim = |d: &&str| Dimension {
        value: Some(match d.parse() {
            Ok(n) => dimension::Value::DimValue(n),
            Err(_) => dimension::Value::DimParam((*d).into()),
        }),
        denotation: None,
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(data_type as i32),
        shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }),
    };
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), denotation: None }),
        ..ValueInfoProto::default()
    }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|s| (*s).into()).collect(),
        output: outputs.iter().map(|s| (*s).into()).collect(),
        attribute,
        ..NodeProto::default()
    }
}

fn named(name: &str, mut node: NodeProto) -> NodeProto {
    node.name = Some(name.into());
    node
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i: Some(i), ..attribute(name, AttributeType::Int) }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f: Some(f), ..attribute(name, AttributeType::Float) }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: Some(s.into()), ..attribute(name, AttributeType::String) }
}

fn tensor_attribute(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(Box::new(t)), ..attribute(name, AttributeType::Tensor) }
}

/// A tensor with raw data.
fn raw(name: &str, data_type: DataType, dims: &[i64], data: &[u8]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type as i32),
        dims: dims.to_vec(),
        raw_data: Some(Bytes::copy_from_slice(data)),
        ..TensorProto::default()
    }
}

/// A tensor of zeros.
fn zeros(name: &str, dims: &[i64]) -> TensorProto {
    let numel = usize::try_from(dims.iter().product::<i64>()).unwrap();
    raw(name, DataType::Float, dims, &vec![0; 4 * numel])
}

fn int64s(name: &str, values: &[i64]) -> TensorProto {
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    raw(name, DataType::Int64, &[i64::try_from(values.len()).unwrap()], &data)
}

fn read(model: &ModelProto) -> Result<Graph, OnnxError> {
    import_bytes(&model.encode_to_vec(), None)
}

/// The message of the error that reading gives.
fn error(model: &ModelProto) -> String {
    let message = read(model).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}
