//! What a search for bits layer by layer has to keep to.

use super::export::size;
use super::plan::PlanArgs;
use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use std::path::PathBuf;
use torsh_quantization::analysis::{Budget, SearchOptions};

/// Bits layer by layer: float, int8 or int4 for each, within one of these.
#[derive(Debug, ClapArgs)]
pub(crate) struct BudgetArgs {
    /// The smallest model that loses at most so many percent points of right answers, on calibration data.
    #[arg(long, value_name = "POINTS", group = "budget", allow_hyphen_values = true)]
    pub(crate) max_drop: Option<f64>,
    /// The most faithful model with constants of at most SIZE bytes (64k, 1M and the like too).
    #[arg(long, value_name = "SIZE", group = "budget", value_parser = size)]
    pub(crate) max_size: Option<usize>,
    /// The most faithful model with a run of one row in at most so many milliseconds on this machine.
    #[arg(long, value_name = "MS", group = "budget", allow_hyphen_values = true)]
    pub(crate) max_latency: Option<f64>,
    /// One class for each row of the calibration data. Without it the float model's decisions are the right answers.
    #[arg(long, value_name = "FILE", requires = "budget")]
    pub(crate) labels: Option<PathBuf>,
}

impl BudgetArgs {
    /// The budget, where there is one. Checks that nothing else says what to quantize with.
    pub(crate) fn budget(&self, plan: &PlanArgs) -> Result<Option<(Budget, SearchOptions)>> {
        let budget = match (self.max_drop, self.max_size, self.max_latency) {
            (Some(points), _, _) => Budget::Drop(points),
            (_, Some(bytes), _) => Budget::Bytes(bytes as u64),
            (_, _, Some(ms)) => Budget::Latency(ms),
            _ => return Ok(None),
        };
        match budget {
            Budget::Drop(points) if !points.is_finite() => {
                bail!("--max-drop {points}: it is a number of percent points")
            }
            Budget::Bytes(0) => bail!("--max-size 0: no model is so small"),
            Budget::Latency(ms) if !(ms.is_finite() && ms > 0.0) => {
                bail!("--max-latency {ms}: it is a number of milliseconds above 0")
            }
            _ => {}
        }
        if plan.config.is_some()
            || plan.recipe.is_some()
            || plan.dynamic
            || plan.observer.is_some()
            || !plan.only.is_empty()
        {
            bail!(
                "a budget chooses what each layer is quantized with: it does not go with --config, --recipe, --dynamic, \
                 --observer or --only"
            );
        }
        let backend = plan.backend.unwrap_or_default().backend();
        let mut options = SearchOptions {
            backend: plan.backend_config(),
            exclude: plan.exclude.clone(),
            ..SearchOptions::default()
        };
        for candidate in &mut options.candidates {
            candidate.qconfig = candidate.qconfig.take().map(|q| q.on(backend));
        }
        Ok(Some((budget, options)))
    }
}
