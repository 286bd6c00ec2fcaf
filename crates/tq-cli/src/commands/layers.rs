//! `tq layers`.

use super::inspect::sums;
use super::{is_same_file, load};
use crate::args::Layers;
use crate::arrays;
use crate::files::{check_target, has_extension};
use crate::output::{decibels, emit, say, table};
use crate::progress::Progress;
use anyhow::{Result, bail};
use torsh_quantization::analysis::overflow_certificates;
use torsh_quantization::debug::{
    LayerError, LayerErrors, QuantizationDebugger, plot_histograms, plot_weight_ranges, weight_ranges,
};

pub(crate) fn layers(args: &Layers) -> Result<()> {
    let pictures: Vec<_> = [&args.heatmap, &args.histograms, &args.weights].into_iter().flatten().collect();
    for (i, path) in pictures.iter().enumerate() {
        if !has_extension(path, "png") {
            bail!("{}: a picture is a .png file", path.display());
        }
        check_target(path)?;
        if pictures[..i].iter().any(|other| other == path || is_same_file(other, path)) {
            bail!("{}: named for two pictures, of which one would replace the other", path.display());
        }
    }
    let (float, quantized) = (load(&args.float)?, load(&args.quantized)?);
    let data = arrays::load(&float, &args.input, &args.data)?.finite()?.data;
    let mut debugger = QuantizationDebugger::new(&float, &quantized, &data)?;
    if let Some(rows) = args.data.batch() {
        debugger = debugger.batch(rows);
    }
    let mut progress = Progress::new("measuring layers", data.rows());
    let result = match args.histograms {
        Some(_) => debugger.calculate_all(|n| progress.set(n)),
        None => debugger.calculate_with_progress(|n| progress.set(n)).map(|errors| (errors, Vec::new())),
    };
    drop(progress);
    let (errors, histograms) = result?;
    if let Some(path) = &args.histograms {
        plot_histograms(&histograms, path)?;
    }
    if let Some(path) = &args.weights {
        plot_weight_ranges(&weight_ranges(&quantized), path)?;
    }
    if let Some(path) = &args.heatmap {
        errors.plot_heatmap(path)?;
    }
    if errors.layers.is_empty() && errors.unmatched.is_empty() {
        say("the second model has no quantized layer");
    }
    emit(args.json, &errors, || {
        format!("{}\n{}", text(&errors, args.top as usize), sums(&overflow_certificates(&quantized)))
    })
}

fn text(errors: &LayerErrors, top: usize) -> String {
    let titles =
        ["layer", "operator", "its own error", "inherited", "in all", "saturated", "underflow", "dead codes"];
    let mut table = table(&titles);
    let worst = errors.worst_first();
    for l in worst.iter().take(top) {
        let [own, inherited, total] = [l.introduced_db, l.inherited_db, l.total_db].map(|s| decibels(s, 1));
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
