//! Padding nodes into the windows that follow them.

use super::clamp::bounds_of;
use super::edit::{At, Editor};
use tq_graph::op::{PadMode, Padding, PoolAttrs};
use tq_graph::{Op, ValueId};

/// Elements before and after every axis that a Pad node with constant amounts adds.
#[derive(Debug)]
struct Amounts {
    begin: Vec<usize>,
    end: Vec<usize>,
}

/// What a Pad node adds; says otherwise why that is not known or not padding with zeros.
fn amounts(ed: &Editor, at: At) -> Result<Amounts, String> {
    let node = ed.node(at);
    let Op::Pad { mode } = node.op else { return Err("not a padding".into()) };
    let x = node.input(0).ok_or("it has no input")?;
    let rank = ed.rank(x).ok_or("the rank of its input is not known")?;
    let pads = node.input(1).and_then(|v| ed.graph.constant(v)).and_then(|t| t.to_i64_vec());
    let pads = pads.ok_or("its amounts are not constant")?;
    let axes: Vec<usize> = match node.input(3) {
        None => (0..rank).collect(),
        Some(v) => {
            let axes =
                ed.graph.constant(v).and_then(|t| t.to_i64_vec()).ok_or("its axes are not constant")?;
            let fix = |a: i64| usize::try_from(if a < 0 { a + rank as i64 } else { a }).ok();
            axes.into_iter().map(fix).collect::<Option<_>>().ok_or("its axes are out of range")?
        }
    };
    if pads.len() != 2 * axes.len() || axes.iter().any(|a| *a >= rank) {
        return Err("its amounts do not fit its axes".into());
    }
    let mut found = Amounts { begin: vec![0; rank], end: vec![0; rank] };
    for (i, axis) in axes.iter().enumerate() {
        let amount = |v: i64| usize::try_from(v).map_err(|_| "it crops instead of padding".to_owned());
        found.begin[*axis] = amount(pads[i])?;
        found.end[*axis] = amount(pads[i + axes.len()])?;
    }
    let none = found.begin.iter().chain(&found.end).all(|p| *p == 0);
    if none {
        return Ok(found);
    }
    if mode != PadMode::Constant {
        return Err(format!("it pads in mode {mode:?}"));
    }
    if let Some(v) = node.input(2)
        && !matches!(ed.constant_f32(v), Some(([0.0], _)))
    {
        return Err("it pads with a value that is not known to be zero".into());
    }
    Ok(found)
}

/// True when the Pad node adds nothing at all.
pub(super) fn is_noop(ed: &Editor, at: At) -> bool {
    amounts(ed, at).is_ok_and(|a| a.begin.iter().chain(&a.end).all(|p| *p == 0))
}

/// The padding of a window with the spatial amounts added; `None` for automatic paddings.
fn added(padding: &Padding, begin: &[usize], end: &[usize]) -> Option<Padding> {
    let Padding::Explicit { begin: b, end: e } = padding else { return None };
    let sum = |a: &[usize], b: &[usize]| -> Option<Vec<usize>> {
        (a.len() == b.len()).then(|| a.iter().zip(b).map(|(x, y)| x.checked_add(*y)).collect())?
    };
    Some(Padding::Explicit { begin: sum(b, begin)?, end: sum(e, end)? })
}

/// True when `v` never is negative, because a clamp made it so.
fn is_non_negative(ed: &Editor, v: ValueId) -> bool {
    ed.producer(v).is_some_and(|p| bounds_of(ed.graph, ed.node(p)).is_ok_and(|(lo, _)| lo >= 0.0))
}

/// Every window must keep at least one real element, or what it gives is not defined the same way.
fn smaller_than_kernel(attrs: &PoolAttrs, padding: &Padding) -> bool {
    let Padding::Explicit { begin, end } = padding else { return false };
    !attrs.ceil_mode
        && attrs.dilations.iter().all(|d| *d == 1)
        && attrs.kernel.iter().zip(begin).all(|(k, p)| p < k)
        && attrs.kernel.iter().zip(end).all(|(k, p)| p < k)
}

/// The operator of node `reader` with the padding of `x` inside, or why it cannot take it.
fn absorbed(ed: &Editor, reader: At, x: ValueId, pads: &Amounts) -> Result<Op, String> {
    let node = ed.node(reader);
    let name = &node.name;
    let (begin, end) = (&pads.begin[2..], &pads.end[2..]);
    let no = |why: &str| Err(format!("{name}, which follows, {why}"));
    match &node.op {
        Op::Conv(attrs) => match added(&attrs.padding, begin, end) {
            Some(padding) => {
                let mut attrs = attrs.clone();
                attrs.padding = padding;
                Ok(Op::Conv(attrs))
            }
            None => no("pads automatically"),
        },
        Op::AveragePool { attrs, count_include_pad } => {
            let padding = added(&attrs.padding, begin, end);
            match padding {
                Some(padding) if *count_include_pad || !attrs.padding.is_any() => {
                    if !smaller_than_kernel(attrs, &padding) {
                        return no("has windows that would hold nothing but padding");
                    }
                    let mut attrs = attrs.clone();
                    attrs.padding = padding;
                    Ok(Op::AveragePool { attrs, count_include_pad: true })
                }
                _ => no("does not count its own padding"),
            }
        }
        Op::MaxPool { attrs, column_major } if node.output(1).is_none() => {
            if !is_non_negative(ed, x) {
                return no("would not count the zeros, and values may be negative");
            }
            match added(&attrs.padding, begin, end) {
                Some(padding) if smaller_than_kernel(attrs, &padding) => {
                    let mut attrs = attrs.clone();
                    attrs.padding = padding;
                    Ok(Op::MaxPool { attrs, column_major: *column_major })
                }
                _ => no("has windows that would hold nothing but padding"),
            }
        }
        op => no(&format!("is a {}", op.name())),
    }
}

/// Moves a padding with zeros into all the windows that read it; gives their names.
pub(super) fn fold(ed: &mut Editor, at: At) -> Result<Vec<String>, String> {
    let pads = amounts(ed, at)?;
    let (Some(x), Some(out)) = (ed.node(at).input(0), ed.node(at).output(0)) else {
        return Err("it has no input or output".into());
    };
    if ed.is_output(out) {
        return Err(format!("{} is an output of the model", ed.name_of(out)));
    }
    if pads.begin.len() < 3 || pads.begin.iter().take(2).chain(pads.end.iter().take(2)).any(|p| *p > 0) {
        return Err("it pads other axes than the spatial ones".into());
    }
    let mut readers = ed.readers(out).to_vec();
    readers.dedup();
    if readers.is_empty() {
        return Err("nobody reads it".into());
    }
    let mut ops = Vec::with_capacity(readers.len());
    for reader in &readers {
        let reads_once = ed.node(*reader).inputs.iter().filter(|i| **i == Some(out)).count() == 1;
        if ed.node(*reader).input(0) != Some(out) || !reads_once {
            return Err(format!("{}, which follows, does not read it as data", ed.node(*reader).name));
        }
        ops.push(absorbed(ed, *reader, x, &pads)?);
    }
    let mut names = Vec::with_capacity(readers.len());
    for (reader, op) in readers.into_iter().zip(ops) {
        ed.graph.nodes[reader].op = op;
        ed.set_input(reader, 0, Some(x));
        names.push(ed.node(reader).name.clone());
    }
    ed.prune(at);
    Ok(names)
}
