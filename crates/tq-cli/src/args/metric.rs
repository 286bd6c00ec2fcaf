//! What `tq eval` can measure.

use clap::ValueEnum;

/// Figures of a model on data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MetricName {
    /// Percent of rows whose label has the largest score.
    #[default]
    Top1,
    /// Area under the ROC curve of scores labelled 0 and 1.
    Auc,
    /// Percent of decisions that are those of the model given by --against.
    Agreement,
    /// Spearman's rank correlation of gold scores with the cosines of pairs of outputs.
    Spearman,
    /// Mean cosine of the rows of the output with those of the model given by --against.
    Cosine,
}
