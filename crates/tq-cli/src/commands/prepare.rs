//! From a model and what is asked for to observers, and from data to what they saw.

use crate::args::{PlanArgs, Shard};
use crate::output::say;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::path::Path;
use torsh_quantization::analysis::Dataset;
use torsh_quantization::model::Graph;
use torsh_quantization::ptq::{NodePlan, PassError, Prepared, prepare_static};
use torsh_quantization::qconfig::{Configuration, Rule};

/// The model with observers on it. Rules that are for nothing are told on stderr.
pub(super) fn prepared(graph: Graph, args: &PlanArgs, model: &Path) -> Result<Prepared> {
    prepared_as(graph, args.configuration()?, args, model)
}

/// As [`prepared`], with a configuration that was made of `args` in another way.
pub(super) fn prepared_as(
    graph: Graph,
    configuration: Configuration,
    args: &PlanArgs,
    model: &Path,
) -> Result<Prepared> {
    let prepared = prepare_static(graph, configuration).map_err(|e| {
        let file = match (&e, &args.config) {
            (
                PassError::Config { .. }
                | PassError::Rule { .. }
                | PassError::UnknownModuleType { .. }
                | PassError::Regex { .. },
                Some(file),
            ) => file,
            _ => model,
        };
        anyhow::Error::new(e).context(file.display().to_string())
    })?;
    let plans = prepared.explain();
    let excluded = args.exclude.iter().map(|name| ("--exclude", name, Rule::Name { name: name.clone() }));
    let only = args.only.iter().map(|name| ("--only", name, Rule::ModuleType { name: name.clone() }));
    for (option, name, rule) in excluded.chain(only) {
        let is_used = |p: &NodePlan| p.rule == rule || p.losers.contains(&rule);
        if !plans.iter().any(is_used) {
            let told = rule.to_string();
            let why = prepared.warnings().iter().find(|w| w.contains(&told));
            bail!(
                "{option} {name}: {}",
                why.cloned().unwrap_or_else(|| format!("the {told} is for no node"))
            );
        }
    }
    prepared.warnings().iter().for_each(|w| say(w));
    Ok(prepared)
}

/// Shows the data to the observers: all of it, or every `count`-th batch. Returns the rows shown.
pub(super) fn observe(prepared: &Prepared, data: &Dataset, batch: usize, shard: Shard) -> Result<usize> {
    let (index, count) = (shard.index - 1, shard.count);
    let total = data.shard_rows(Some(batch), index, count);
    if total == 0 {
        bail!(
            "shard {shard} has no data: there are {} batches of {batch} rows",
            data.batch_count(Some(batch))
        );
    }
    let mut progress = Progress::new("calibrating", total);
    let mut done = 0;
    for batch in data.shard(Some(batch), index, count) {
        let batch = batch?;
        prepared.forward(&batch)?;
        done += batch.rows;
        progress.set(done);
    }
    Ok(done)
}

/// Names what is to blame for an error of calibration: the data or the model.
pub(super) fn blame<T>(result: Result<T>, data: &[String], model: &Path) -> Result<T> {
    result.map_err(|e| {
        let data_is_wrong = matches!(e.downcast_ref(), Some(PassError::NonFinite { .. }));
        e.context(if data_is_wrong { data.join(", ") } else { model.display().to_string() })
    })
}
