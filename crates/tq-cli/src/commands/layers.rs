//! `tq layers`.

use super::load;
use crate::args::Layers;
use crate::arrays;
use crate::files::{check_target, has_extension};
use crate::output::{emit, say, table};
use crate::progress::Progress;
use anyhow::{Result, bail};
use torsh_quantization::debug::{LayerError, LayerErrors, QuantizationDebugger};

pub(crate) fn layers(args: &Layers) -> Result<()> {
    if let Some(path) = &args.heatmap {
        if !has_extension(path, "png") {
            bail!("{}: a heatmap is a .png file", path.display());
        }
        check_target(path)?;
    }
    let (float, quantized) = (load(&args.float)?, load(&args.quantized)?);
    let data = arrays::load(&float, &args.input, &args.data)?.data;
    let mut debugger = QuantizationDebugger::new(&float, &quantized, &data)?;
    if let Some(rows) = args.data.batch() {
        debugger = debugger.batch(rows);
    }
    let mut progress = Progress::new("measuring layers", data.rows());
    let result = debugger.calculate_with_progress(|n| progress.set(n));
    drop(progress);
    let errors = result?;
    if let Some(path) = &args.heatmap {
        errors.plot_heatmap(path)?;
    }
    if errors.layers.is_empty() && errors.unmatched.is_empty() {
        say("the second model has no quantized layer");
    }
    emit(args.json, &errors, || text(&errors, args.top))
}

fn text(errors: &LayerErrors, top: usize) -> String {
    let titles =
        ["layer", "operator", "its own error", "inherited", "in all", "saturated", "underflow", "dead codes"];
    let mut table = table(&titles);
    let worst = errors.worst_first();
    for l in worst.iter().take(top) {
        let [own, inherited, total] =
            [l.introduced_db, l.inherited_db, l.total_db].map(|s| format!("{s:.1} dB"));
        let [saturated, underflow, dead] = percents(l);
        table.add_row([&l.node, &l.op, &own, &inherited, &total, &saturated, &underflow, &dead]);
    }
    let mut out = format!("{table}\n{} layers on {} samples", errors.layers.len(), errors.rows);
    if worst.len() > top {
        out += &format!(", the {top} that err most; --top shows more");
    }
    for u in &errors.unmatched {
        out += &format!("\nnot measured: {} ({}): {}", u.node, u.op, u.reason);
    }
    out
}

fn percents(l: &LayerError) -> [String; 3] {
    [l.saturated, l.underflow, l.dead_codes].map(|p| p.map_or(String::new(), |p| format!("{p:.1} %")))
}
