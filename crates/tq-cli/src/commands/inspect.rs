//! `tq inspect`.

use super::quantize::fused;
use super::{file_bytes, load};
use crate::args::Inspect;
use crate::output::{bytes, emit, table};
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use torsh_quantization::analysis::{OverflowCertificate, overflow_certificates, parameter_bytes};
use torsh_quantization::model::{DType, Dim, Graph, ValueId};
use torsh_quantization::ptq::{FusionEntry, PassError, Placement, prepare_static};
use torsh_quantization::runtime::{Execution, LayerDepths, Session, SessionOptions};

#[derive(Serialize)]
struct Report {
    model: String,
    file_bytes: u64,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    nodes: usize,
    operators: BTreeMap<&'static str, usize>,
    parameters: u64,
    parameter_bytes: u64,
    already_quantized: bool,
    quantizable: Vec<Item>,
    not_quantizable: Vec<Item>,
    /// Nodes that become part of others before anything is quantized.
    fused: Vec<Item>,
    /// What is proved of the sums of layers that run in integers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<OverflowCertificate>,
}

/// An input or output. Free dimensions are their names.
#[derive(Serialize)]
struct Port {
    name: String,
    dtype: Option<&'static str>,
    shape: Option<Vec<Extent>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Extent {
    Known(i64),
    Free(String),
}

#[derive(Serialize)]
struct Item {
    node: String,
    op: String,
    reason: String,
    /// How its products run, on kernels that add some of them in 16 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    depths: Option<LayerDepths>,
}

pub(crate) fn inspect(args: &Inspect) -> Result<()> {
    let graph = load(&args.model)?;
    let mut report = Report {
        model: args.model.display().to_string(),
        file_bytes: file_bytes(&args.model)?,
        inputs: ports(&graph, &graph.inputs),
        outputs: ports(&graph, &graph.outputs),
        nodes: graph.nodes.len(),
        operators: BTreeMap::new(),
        parameters: parameters(&graph),
        parameter_bytes: parameter_bytes(&graph),
        already_quantized: false,
        quantizable: Vec::new(),
        not_quantizable: Vec::new(),
        fused: Vec::new(),
        certificates: Vec::new(),
    };
    for node in &graph.nodes {
        *report.operators.entry(node.op.name()).or_default() += 1;
    }
    match prepare_static(graph.clone(), args.backend.config()) {
        Ok(prepared) => {
            report.fused = fused(prepared.fusion_report())
                .map(|e| Item { node: e.node.clone(), op: e.op.clone(), reason: outcome(e), depths: None })
                .collect();
            for n in prepared.placements() {
                let (list, reason) = match &n.placement {
                    Placement::Float { reason } => (&mut report.not_quantizable, reason.clone()),
                    Placement::Data | Placement::Dequantized { .. } => {
                        (&mut report.not_quantizable, n.placement.to_string())
                    }
                    placement => (&mut report.quantizable, placement.to_string()),
                };
                list.push(Item { node: n.node, op: n.op, reason, depths: None });
            }
        }
        Err(PassError::AlreadyQuantized { .. }) => executed(&graph, &mut report)?,
        Err(e) => return Err(e).with_context(|| args.model.display().to_string()),
    }
    emit(args.json, &report, || text(&report))
}

/// What became of the node, without its name.
fn outcome(entry: &FusionEntry) -> String {
    let text = entry.to_string();
    text.strip_prefix(&format!("{} {}: ", entry.op, entry.node)).unwrap_or(&text).to_owned()
}

/// For a model that is quantized already: how a session runs it.
fn executed(graph: &Graph, report: &mut Report) -> Result<()> {
    report.already_quantized = true;
    report.certificates = overflow_certificates(graph);
    let session = Session::new(graph, SessionOptions::default()).context(report.model.clone())?;
    for n in session.explain().nodes {
        let list = match n.execution {
            Execution::Integer | Execution::Fused => &mut report.quantizable,
            _ => &mut report.not_quantizable,
        };
        let reason = match (n.kernel, n.reason) {
            (Some(kernel), Some(reason)) => format!("{kernel} ({reason})"),
            (Some(text), None) | (None, Some(text)) => text,
            (None, None) => n.execution.name().to_owned(),
        };
        list.push(Item { node: n.node, op: n.op.to_owned(), reason, depths: n.depths });
    }
    Ok(())
}

fn ports(graph: &Graph, ids: &[ValueId]) -> Vec<Port> {
    let extent = |d: &Dim| d.known().map_or_else(|| Extent::Free(d.to_string()), Extent::Known);
    ids.iter()
        .map(|id| graph.value(*id))
        .map(|v| Port {
            name: v.name.clone(),
            dtype: v.dtype.map(DType::name),
            shape: v.shape.as_ref().map(|s| s.iter().map(extent).collect()),
        })
        .collect()
}

/// Numbers that were learnt: all constants but scalars, which are bounds and scales, and but 64-bit integers and truth
/// values, which say shapes and indices.
fn parameters(graph: &Graph) -> u64 {
    graph
        .values
        .iter()
        .filter_map(|v| v.constant.as_ref())
        .filter(|t| t.rank() > 0 && !matches!(t.dtype(), DType::I64 | DType::U64 | DType::Bool))
        .map(|t| t.len() as u64)
        .sum()
}

fn text(r: &Report) -> String {
    let mut out = format!(
        "{}: {}, {} nodes, {} parameters in {}\n",
        r.model,
        bytes(r.file_bytes),
        r.nodes,
        r.parameters,
        bytes(r.parameter_bytes)
    );
    for (kind, ports) in [("input", &r.inputs), ("output", &r.outputs)] {
        for p in ports {
            let dims = p.shape.as_ref().map_or("?".to_owned(), |s| {
                let dims: Vec<String> = s
                    .iter()
                    .map(|d| match d {
                        Extent::Known(n) => n.to_string(),
                        Extent::Free(name) => name.clone(),
                    })
                    .collect();
                format!("[{}]", dims.join(", "))
            });
            out.push_str(&format!("{kind} {}: {} {dims}\n", p.name, p.dtype.unwrap_or("?")));
        }
    }
    let operators: Vec<String> = r.operators.iter().map(|(op, n)| format!("{op} {n}")).collect();
    out.push_str(&format!("operators: {}\n", operators.join(", ")));
    let (yes, no) = if r.already_quantized {
        ("runs in integers", "runs in float")
    } else {
        ("would be quantized", "would not be quantized")
    };
    for (title, items) in [(yes, &r.quantizable), (no, &r.not_quantizable), ("fused before", &r.fused)] {
        if !items.is_empty() {
            let mut table = table(&[title, "operator", "how or why"]);
            for i in items {
                let proof =
                    |d: LayerDepths| format!("\nany codes: {}\nup to 127: {}", d.any_codes, d.codes_to_127);
                let reason = i.reason.clone() + &i.depths.map_or_else(String::new, proof);
                table.add_row([&i.node, &i.op, &reason]);
            }
            out.push_str(&format!("{table}\n"));
        }
    }
    out.push_str(&sums(&r.certificates));
    out
}

/// What is proved of sums, in a line.
pub(super) fn sums(certificates: &[OverflowCertificate]) -> String {
    if certificates.is_empty() {
        return String::new();
    }
    let channels: usize = certificates.iter().map(|c| c.channels).sum();
    let wide: usize = certificates.iter().map(|c| c.wide_channels).sum();
    let pairs = certificates.iter().filter_map(|c| c.pairs);
    let (all, beyond) = pairs.fold((0, 0), |(all, beyond), p| (all + p.all, beyond + p.overflowing_255));
    let fit = match wide {
        0 => format!("the accumulators of all {channels} channels fit 32 bits"),
        n => format!("{n} of {channels} channels accumulate in 64 bits"),
    };
    let share = 100.0 * beyond as f64 / f64::max(all as f64, 1.0);
    let elsewhere = match all {
        0 => String::new(),
        _ => format!(
            "; {share:.2} % of {all} pairs of weights can saturate 16 bits on kernels that add pairs in these"
        ),
    };
    format!("sums: {fit}{elsewhere}\n")
}
