//! `tq calibrate` and `tq merge-calib`.

use super::prepare::{blame, observe, prepared};
use super::{is_same_file, load};
use crate::args::{Calibrate, MergeCalib};
use crate::arrays::{self, DEFAULT_BATCH};
use crate::files::{check_target, write_all};
use crate::output::{emit, say};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use torsh_quantization::ptq::CalibrationState;

#[derive(Serialize)]
struct Report {
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<usize>,
    batches: u64,
    tensors: usize,
}

pub(crate) fn calibrate(args: &Calibrate) -> Result<()> {
    check_state_target(&args.output)?;
    if is_same_file(&args.model, &args.output) {
        bail!("{}: would replace the model", args.output.display());
    }
    let graph = load(&args.model)?;
    let data = arrays::load(&graph, &args.calib, &args.data)?.data;
    let prepared = prepared(graph, &args.plan, &args.model)?;
    if prepared.observers().is_empty() {
        bail!("{}: nothing of it is calibrated with this configuration", args.model.display());
    }
    let batch = args.data.batch().unwrap_or(DEFAULT_BATCH);
    let rows = observe(&prepared, &data, batch, args.shard.unwrap_or_default());
    let rows = blame(rows, &args.data.sources(&args.calib), &args.model)?;
    let state = prepared.calibration_state();
    write_state(&state, &args.output)?;
    let report = Report {
        output: args.output.display().to_string(),
        shard: args.shard.map(|s| s.to_string()),
        rows: Some(rows),
        batches: state.batches(),
        tensors: state.tensors().count(),
    };
    emit(args.json, &report, || text(&report))
}

pub(crate) fn merge(args: &MergeCalib) -> Result<()> {
    check_state_target(&args.output)?;
    let state = joined(&args.states)?;
    write_state(&state, &args.output)?;
    let report = Report {
        output: args.output.display().to_string(),
        shard: None,
        rows: None,
        batches: state.batches(),
        tensors: state.tensors().count(),
    };
    emit(args.json, &report, || text(&report))
}

/// What several states have observed together.
pub(super) fn joined(paths: &[PathBuf]) -> Result<CalibrationState> {
    let [first, rest @ ..] = paths else { bail!("no calibration state is given") };
    let mut state = CalibrationState::from_file(first)?;
    // The same shard given twice counts its data twice, which is hardly ever meant.
    let mut seen = HashMap::from([(state.digest()?, first)]);
    for path in rest {
        let named = || format!("{} and {}", first.display(), path.display());
        let next = CalibrationState::from_file(path)?;
        state.merge(&next).with_context(named)?;
        if let Some(twin) = seen.insert(next.digest()?, path) {
            let (path, twin) = (path.display(), twin.display());
            say(&format!("{path} has observed just what {twin} has: that data counts twice"));
        }
    }
    Ok(state)
}

/// Checks before the work that a state can be put there; the extension keeps models and data from being replaced.
fn check_state_target(path: &Path) -> Result<()> {
    if !path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json")) {
        bail!("{}: the name of a calibration state ends in .json", path.display());
    }
    check_target(path)
}

fn write_state(state: &CalibrationState, path: &Path) -> Result<()> {
    let bytes = state.to_json().with_context(|| path.display().to_string())?.into_bytes();
    let name = path.file_name().with_context(|| path.display().to_string())?.to_string_lossy().into_owned();
    write_all(path.parent().unwrap_or(Path::new("")), &[(name, bytes)])
}

fn text(r: &Report) -> String {
    let rows = r.rows.map_or(String::new(), |n| format!("{n} samples in "));
    let shard = r.shard.as_ref().map_or(String::new(), |s| format!(", shard {s}"));
    format!("{}: {rows}{} batches, {} tensors{shard}", r.output, r.batches, r.tensors)
}
