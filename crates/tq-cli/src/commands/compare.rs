//! `tq compare`.

use super::{file_bytes, is_same_file, load};
use crate::args::Compare;
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::{bytes, decibels, emit, say, size_change, table};
use crate::progress::Progress;
use anyhow::Result;
use torsh_quantization::analysis::{CompareOptions, Comparison, ModelFigures, compare_with_progress};

pub(crate) fn compare(args: &Compare) -> Result<()> {
    let (float, quantized) = (load(&args.float)?, load(&args.quantized)?);
    let given = arrays::load(&float, &args.input, &args.data)?.finite()?;
    let labels = given.labels(args.labels.as_deref())?;
    let data = given.data;
    let options = CompareOptions {
        output: args.output.clone(),
        batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)),
        file_bytes: Some((file_bytes(&args.float)?, file_bytes(&args.quantized)?)),
        ..CompareOptions::default()
    };
    let mut progress = Progress::new("comparing", data.rows());
    let result =
        compare_with_progress(&float, &quantized, &data, labels.as_deref(), &options, |n| progress.set(n));
    drop(progress);
    let comparison = result?;
    if is_same_file(&args.float, &args.quantized) || float == quantized {
        say("both are the same model: there is nothing to compare");
    }
    emit(args.json, &comparison, || text(&comparison))
}

/// The comparison as a table and a few lines.
pub(super) fn text(c: &Comparison) -> String {
    let mut table = table(&["", "float", "quantized", "change"]);
    let mut row = |name: &str, get: &dyn Fn(&ModelFigures) -> Option<String>, change: String| {
        if let (Some(f), Some(q)) = (get(&c.float), get(&c.quantized)) {
            table.add_row([name, &f, &q, &change]);
        }
    };
    let points = |get: fn(&ModelFigures) -> Option<f64>| {
        get(&c.float).zip(get(&c.quantized)).map_or(String::new(), |(f, q)| format!("{:+.2} points", q - f))
    };
    let top1 = |m: &ModelFigures| m.accuracy.map(|a| a.top1);
    let top5 = |m: &ModelFigures| m.accuracy.map(|a| a.top5);
    row("top-1", &|m| top1(m).map(|v| format!("{v:.2} %")), points(top1));
    row("top-5", &|m| top5(m).map(|v| format!("{v:.2} %")), points(top5));
    let ratio = |f: u64, q: u64| if q == 0 { String::new() } else { size_change(f, q) };
    row(
        "parameters",
        &|m| Some(bytes(m.parameter_bytes)),
        ratio(c.float.parameter_bytes, c.quantized.parameter_bytes),
    );
    let files = c.float.file_bytes.zip(c.quantized.file_bytes);
    row("file", &|m| m.file_bytes.map(bytes), files.map_or(String::new(), |(f, q)| ratio(f, q)));
    row(
        "latency, one sample",
        &|m| m.latency.map(|l| format!("{:.3} ms", l.median_ms)),
        c.speedup.map_or(String::new(), |s| format!("{s:.2}x faster")),
    );
    let agreement = c.argmax_agreement.map_or(String::new(), |a| format!(", same answer on {a:.2} %"));
    let interval = c.accuracy_drop_interval.map_or(String::new(), |(low, high)| {
        format!("\ntop-1 changes by {:+.2} to {:+.2} points on such data (95 %)", -high, -low)
    });
    format!(
        "{table}\n{} samples{agreement}{interval}\noutput: SQNR {}, cosine {:.6}, largest error {:.4}",
        c.n,
        decibels(c.sqnr_db, 2),
        c.cosine,
        c.max_error
    )
}
