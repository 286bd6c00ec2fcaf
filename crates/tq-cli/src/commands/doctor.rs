//! `tq doctor`.

use crate::args::Doctor;
use crate::output::{bytes, emit, table};
use anyhow::Result;
use std::time::Duration;
use torsh_quantization::runtime::machine::{Machine, MachineOptions, Rate};

pub(crate) fn doctor(args: &Doctor) -> Result<()> {
    let machine = Machine::measure(MachineOptions { each: Duration::from_millis(args.ms.into()) })?;
    emit(args.json, &machine, || text(&machine))
}

fn text(m: &Machine) -> String {
    let mut out = format!(
        "{}, {}, {} processor(s)\n",
        m.processor.as_deref().unwrap_or("processor of unknown name"),
        m.architecture,
        m.processors
    );
    let or_none = |parts: Vec<String>| if parts.is_empty() { "none known".into() } else { parts.join(", ") };
    let features = m.features.iter().map(|f| (*f).to_owned()).collect();
    out += &format!("features that kernels use: {}\n", or_none(features));
    let cache = |c: &torsh_quantization::runtime::machine::Cache| {
        format!("L{} {} {}", c.level, c.kind, bytes(c.bytes as u64))
    };
    out += &format!("caches: {}\n", or_none(m.caches.iter().map(cache).collect()));
    out += &format!("memory: {} GB/s read by one thread\n", rate(m.bandwidth));
    let limit = m.isa_limit.map_or_else(String::new, |limit| format!(", TQ_ISA allows {limit}"));
    out += &format!("\nsessions use the kernels of {}{limit}:\n", m.library);
    let mut kernels = table(&["operator", "kernel"]);
    for k in &m.kernels {
        let note = if k.fallback { " (the library has none: the scalar one stands in)" } else { "" };
        kernels.add_row([k.operator.to_owned(), format!("{}{note}", k.kernel)]);
    }
    out += &format!("{kernels}\n");
    if !m.peaks.is_empty() {
        let mut peaks =
            table(&["products from registers, one thread", "level", "10^9 multiply-adds a second"]);
        for p in &m.peaks {
            peaks.add_row([p.sequence.to_owned(), p.isa.to_owned(), rate(p.gmacs)]);
        }
        out += &format!("\n{peaks}\n");
    }
    let titles =
        ["rows x inner x columns", "codes up to", "kernel", "10^9 multiply-adds a second", "of its peak"];
    let mut products = table(&titles);
    for p in &m.products {
        let (rows, inner, columns) = p.shape;
        let mark = if p.chosen { " *" } else { "" };
        products.add_row([
            format!("{rows} x {inner} x {columns}"),
            p.largest_code.to_string(),
            format!("{}{mark}", p.kernel),
            rate(p.gmacs),
            p.of_peak.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", 100.0 * share)),
        ]);
    }
    out += &format!("\nmatrix products with requantization, one thread (*: what sessions use)\n{products}\n");
    for note in &m.notes {
        out += &format!("note: {note}\n");
    }
    out
}

/// The median, and the best where it is another.
fn rate(r: Rate) -> String {
    let (median, best) = (format!("{:.1}", r.median), format!("{:.1}", r.best));
    if median == best { median } else { format!("{median} (best {best})") }
}
