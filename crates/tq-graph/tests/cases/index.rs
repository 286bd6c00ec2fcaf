//! Operators that pick, place, repeat and make elements.

use super::Attributes;
use tq_graph::Op;
use tq_graph::op::ScatterReduction;

/// The operator of this name, if it is one of these.
pub(super) fn op(name: &str, attributes: &Attributes<'_>) -> Option<Op> {
    let axis = attributes.int("axis", if name == "OneHot" { -1 } else { 0 });
    let size = |key: &str| usize::try_from(attributes.int(key, 0)).unwrap();
    let reduction = match attributes.0.get("reduction") {
        None | Some(&"none") => ScatterReduction::None,
        Some(&"add") => ScatterReduction::Add,
        Some(&"mul") => ScatterReduction::Mul,
        Some(&"max") => ScatterReduction::Max,
        Some(_) => ScatterReduction::Min,
    };
    // Numbers of element types are those of ONNX.
    let dtype = attributes.0.get("dtype").map(|code| match *code {
        "1" => tq_qtypes::DType::F32,
        "6" => tq_qtypes::DType::I32,
        "7" => tq_qtypes::DType::I64,
        other => panic!("type {other}"),
    });
    [
        Op::GatherElements { axis },
        Op::GatherND { batch_dims: size("batch_dims") },
        Op::ScatterElements { axis, reduction },
        Op::ScatterND { reduction },
        Op::Expand,
        Op::Tile,
        Op::Trilu { upper: attributes.flag("upper") },
        Op::DepthToSpace {
            block: size("blocksize"),
            channel_first: attributes.0.get("mode") == Some(&"CRD"),
        },
        Op::SpaceToDepth { block: size("blocksize") },
        Op::Size,
        Op::NonZero,
        Op::Range,
        Op::OneHot { axis },
        Op::EyeLike { dtype, k: attributes.int("k", 0) },
    ]
    .into_iter()
    .find(|op| op.name() == name)
}
