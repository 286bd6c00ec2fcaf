//! `tq quantize` under a budget: bits layer by layer, and what was measured for it.

use crate::args::DataArgs;
use crate::arrays::DEFAULT_BATCH;
use crate::output::{bytes, decibels, say, table};
use anyhow::Result;
use std::collections::BTreeMap;
use torsh_quantization::analysis::{
    Budget, Dataset, MixedSearch, SearchOptions, SearchPoint, mixed_precision_search,
};
use torsh_quantization::model::Graph;

/// Searches. What misses the budget is told on stderr.
pub(super) fn searched(
    graph: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    args: &DataArgs,
    (budget, options): (Budget, SearchOptions),
) -> Result<MixedSearch> {
    let options = SearchOptions { batch: Some(args.batch().unwrap_or(DEFAULT_BATCH)), ..options };
    let search = mixed_precision_search(graph, data, labels, budget, &options, |_| ())?;
    if search.same_rows {
        say("the data is one batch: models were measured on what they were calibrated with");
    }
    if !search.met {
        let nearest = search.point().map_or("", |p| p.name.as_str());
        say(&format!("no assignment keeps the budget on this model; the nearest is {nearest}"));
    }
    Ok(search)
}

/// What was measured, and what each layer gets.
pub(super) fn text(s: &MixedSearch) -> String {
    let timed = s.points.iter().any(|p| p.latency_ms.is_some());
    let mut titles = vec!["layers", "parameters", "answers lost", "output", "same decision"];
    titles.extend(timed.then_some("one sample"));
    titles.push("");
    let mut table = table(&titles);
    for (i, p) in s.points.iter().enumerate() {
        let mut row = vec![
            p.name.clone(),
            bytes(p.bytes),
            format!("{:+.2} ± {:.2} points", p.drop, p.drop_error),
            decibels(p.sqnr_db, 1),
            format!("{:.2} %", p.agreement),
        ];
        row.extend(p.latency_ms.map(|ms| format!("{ms:.3} ms")));
        row.push(
            if i == s.chosen {
                "chosen"
            } else if p.pareto {
                ""
            } else {
                "beaten"
            }
            .to_owned(),
        );
        table.add_row(row);
    }
    let mut out = format!("{table}\nmeasured on {} calibration samples\n", s.rows);
    out += &s.point().map_or(String::new(), assignment);
    for (node, reason) in &s.skipped {
        out += &format!("not chosen for: {node}: {reason}\n");
    }
    out
}

/// The layers by what they get.
fn assignment(point: &SearchPoint) -> String {
    let mut by_candidate: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (layer, candidate) in &point.layers {
        by_candidate.entry(candidate).or_default().push(layer);
    }
    by_candidate.iter().map(|(candidate, layers)| format!("{candidate}: {}\n", layers.join(", "))).collect()
}
