//! `tq quantize --recipe auto`: the search for a recipe, and what it says.

use crate::args::DataArgs;
use crate::arrays::DEFAULT_BATCH;
use crate::output::{bytes, decibels, say, table};
use anyhow::Result;
use torsh_quantization::analysis::{Dataset, RecommendOptions, Recommendation, recommend};
use torsh_quantization::model::Graph;

/// Searches for the recipe. What is short of what was asked for is told on stderr.
pub(super) fn recommended(
    graph: &Graph,
    data: &Dataset,
    args: &DataArgs,
    options: RecommendOptions,
) -> Result<Recommendation> {
    let options = RecommendOptions { batch: Some(args.batch().unwrap_or(DEFAULT_BATCH)), ..options };
    let recommendation = recommend(graph, data, &options, |_| ())?;
    if recommendation.same_rows {
        say("the data is one batch: recipes were judged on what they were calibrated with");
    }
    if !recommendation.met {
        say(&format!(
            "no recipe keeps {:.1} dB on this model; {} is the most faithful",
            recommendation.min_sqnr_db, recommendation.chosen
        ));
    }
    Ok(recommendation)
}

/// What was tried, what came of it, and why.
pub(super) fn text(r: &Recommendation) -> String {
    let mut table = table(&["recipe", "SQNR", "same decision", "in integers", "parameters", "verdict"]);
    for t in &r.trials {
        let verdict = t.verdict.to_string();
        match &t.figures {
            Some(f) => table.add_row([
                t.name.as_str(),
                &decibels(f.fidelity.sqnr_db, 2),
                &format!("{:.2} %", f.decisions.unwrap_or(f.fidelity.agreement)),
                &format!("{:.1} %", 100.0 * f.integer_share),
                &bytes(f.parameter_bytes),
                &verdict,
            ]),
            None => table.add_row([t.name.as_str(), "", "", "", "", &verdict]),
        };
    }
    let by = r.judged_by.join(", ");
    format!("{table}\nrecipe {}, judged by {by} on {} calibration samples\n", r.chosen, r.rows)
}
