//! Operators that pick, place, repeat and make elements.

use super::operator::{Result, dtype, malformed, unsupported};
use crate::attributes::Attributes;
use tq_graph::op::{Op, ScatterReduction};

/// The operator of this name, if it is one of these.
pub(super) fn operator(name: &str, attributes: &Attributes, opset: i64) -> Result<Option<Op>> {
    Ok(Some(match name {
        "Gather" => Op::Gather { axis: attributes.int("axis", 0)? },
        "GatherElements" => Op::GatherElements { axis: attributes.int("axis", 0)? },
        "GatherND" => Op::GatherND { batch_dims: size(attributes.int("batch_dims", 0)?, "batch_dims", 0)? },
        "ScatterElements" => {
            Op::ScatterElements { axis: attributes.int("axis", 0)?, reduction: reduction(attributes, opset)? }
        }
        "ScatterND" => Op::ScatterND { reduction: reduction(attributes, opset)? },
        "Expand" => Op::Expand,
        "Tile" => Op::Tile,
        "Trilu" => Op::Trilu { upper: attributes.flag("upper", true)? },
        "DepthToSpace" => Op::DepthToSpace {
            block: block(attributes)?,
            channel_first: match attributes.text("mode")?.unwrap_or("DCR") {
                "CRD" if opset < 11 => return malformed("mode \"CRD\" needs opset 11".into()),
                "DCR" => false,
                "CRD" => true,
                other => return malformed(format!("mode is {other:?}")),
            },
        },
        "SpaceToDepth" => Op::SpaceToDepth { block: block(attributes)? },
        "Size" => Op::Size,
        "NonZero" => Op::NonZero,
        "Range" => Op::Range,
        "OneHot" => Op::OneHot { axis: attributes.int("axis", -1)? },
        "EyeLike" => Op::EyeLike {
            dtype: attributes.int_opt("dtype")?.map(dtype).transpose()?,
            k: attributes.int("k", 0)?,
        },
        _ => return Ok(None),
    }))
}

fn size(n: i64, name: &str, least: usize) -> Result<usize> {
    match usize::try_from(n) {
        Ok(n) if n >= least => Ok(n),
        _ => malformed(format!("{name} is {n}")),
    }
}

fn block(attributes: &Attributes) -> Result<usize> {
    match attributes.int_opt("blocksize")? {
        Some(n) => size(n, "blocksize", 1),
        None => malformed("blocksize is missing".into()),
    }
}

fn reduction(attributes: &Attributes, opset: i64) -> Result<ScatterReduction> {
    if opset < 16 {
        return Ok(ScatterReduction::None);
    }
    match attributes.text("reduction")?.unwrap_or("none") {
        "none" => Ok(ScatterReduction::None),
        "add" => Ok(ScatterReduction::Add),
        "mul" => Ok(ScatterReduction::Mul),
        name @ ("max" | "min") if opset < 18 => unsupported(format!("reduction {name} needs opset 18")),
        "max" => Ok(ScatterReduction::Max),
        "min" => Ok(ScatterReduction::Min),
        other => malformed(format!("reduction is {other:?}")),
    }
}
