//! `tq sensitivity`.

use super::load;
use crate::args::{Sensitivity as Args, TensorKindName};
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::{decibels, emit, table};
use crate::progress::Progress;
use anyhow::{Result, bail};
use torsh_quantization::analysis::{
    Sensitivity, SensitivityEstimate, SensitivityOptions, TensorKind, estimate_sensitivity,
    sensitivity_with_progress,
};
use torsh_quantization::qconfig::{QConfig, Rule};

pub(crate) fn sensitivity(args: &Args) -> Result<()> {
    let graph = load(&args.model)?;
    // What calibrates and what measures are one set of data where one alone is given.
    let (calib, input) = match args.calib.is_empty() && args.data.pictures.is_none() {
        true => (&args.input, &args.calib),
        false => (&args.calib, &args.input),
    };
    let given = arrays::load(&graph, calib, &args.data)?.finite()?;
    let test = match input.is_empty() {
        true => None,
        false => Some(arrays::load(&graph, input, &args.data)?.finite()?),
    };
    let configuration = args.plan.configuration()?;
    let for_type = |(rule, qconfig): (Rule, Option<&QConfig>)| {
        qconfig.is_some() && matches!(rule, Rule::Global | Rule::ModuleType { .. })
    };
    if !configuration.dict.rules().any(for_type) {
        bail!(
            "the configuration has no rule for everything or for a type of layers, which is what each layer would be quantized with"
        );
    }
    let options = SensitivityOptions {
        configuration,
        kinds: args.kinds.iter().map(|k| kind(*k)).collect(),
        batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)),
        ..SensitivityOptions::default()
    };
    if args.estimate {
        if args.labels.is_some() || test.is_some() {
            bail!(
                "--estimate looks at the noise of one set of data: it does not go with --labels, or --input beside --calib"
            );
        }
        let estimate = estimate_sensitivity(&graph, &given.data, &options)?;
        return emit(args.json, &estimate, || estimated_text(&estimate, args.top as usize));
    }
    let labels = test.as_ref().unwrap_or(&given).labels(args.labels.as_deref())?;
    let data = test.as_ref().map_or(&given.data, |t| &t.data);
    let progress = std::sync::Mutex::new(None);
    let tell = |done: usize, all: usize| {
        if let Ok(mut shown) = progress.lock() {
            shown.get_or_insert_with(|| Progress::new("measuring layers", all)).set(done);
        }
    };
    let result = sensitivity_with_progress(&graph, &given.data, data, labels.as_deref(), &options, tell);
    drop(progress);
    let measured = result?;
    emit(args.json, &measured, || measured_text(&measured, args.top as usize))
}

fn kind(name: TensorKindName) -> TensorKind {
    match name {
        TensorKindName::Both => TensorKind::Both,
        TensorKindName::Weights => TensorKind::Weights,
        TensorKindName::Activations => TensorKind::Activations,
    }
}

fn shown(kind: TensorKind) -> &'static str {
    match kind {
        TensorKind::Both => "both",
        TensorKind::Weights => "weights",
        TensorKind::Activations => "activations",
    }
}

fn measured_text(s: &Sensitivity, top: usize) -> String {
    let mut table = table(&["layer", "operator", "quantized", "answers lost", "output", "same decision"]);
    for (name, l) in s.layers.iter().take(top) {
        let lost = format!("{:+.2} ± {:.2} points", l.accuracy_drop * 100.0, l.drop_error * 100.0);
        let [noise, same] = [decibels(l.sqnr_db, 1), format!("{:.2} %", l.agreement)];
        table.add_row([name, &l.op, shown(l.kind), &lost, &noise, &same]);
    }
    format!("{table}\n{} measurements on {} samples", s.layers.len(), s.rows)
        + &rest(s.layers.len(), top, &s.skipped)
}

fn estimated_text(s: &SensitivityEstimate, top: usize) -> String {
    let mut table = table(&["layer", "operator", "quantized", "its own error", "output"]);
    for (name, l) in s.layers.iter().take(top) {
        let [own, output] = [l.introduced_db, l.sqnr_db].map(|d| decibels(d, 1));
        table.add_row([name, &l.op, shown(l.kind), &own, &output]);
    }
    format!("{table}\n{} estimates from {} samples", s.layers.len(), s.rows)
        + &rest(s.layers.len(), top, &s.skipped)
}

fn rest(all: usize, top: usize, skipped: &[(String, String)]) -> String {
    let mut out = String::new();
    if all > top {
        out += &format!(", the {top} that do most harm; --top shows more");
    }
    for (node, reason) in skipped {
        out += &format!("\nnot looked at: {node}: {reason}");
    }
    out
}
