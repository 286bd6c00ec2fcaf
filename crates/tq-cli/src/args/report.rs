//! What `tq report` takes.

use super::DataArgs;
use clap::Args as ClapArgs;
use std::path::PathBuf;
use torsh_quantization::analysis::ReportOptions;

#[derive(Debug, ClapArgs)]
pub(crate) struct Report {
    /// Float model, .onnx or .tq.
    pub(crate) float: PathBuf,
    /// The model that was made of it, .onnx or .tq.
    pub(crate) quantized: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// One class a row, of any integer type. Pictures in folders of their classes need none.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Page to write (.html); it needs nothing beside itself.
    #[arg(short, long, value_name = "FILE", required_unless_present = "json")]
    pub(crate) output: Option<PathBuf>,
    /// Output of the models that is compared; the first one when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) model_output: Option<String>,
    /// Rows on which errors and histograms of layers are measured.
    #[arg(long, value_name = "N", default_value_t = rows(ReportOptions::default().layer_rows), value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) layer_rows: u32,
    /// Rows on which kernels that saturate or round otherwise are simulated.
    #[arg(long, value_name = "N", default_value_t = rows(ReportOptions::default().forecast_rows), value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) forecast_rows: u32,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print all facts as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

fn rows(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
