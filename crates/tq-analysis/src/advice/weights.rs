//! Channels of weights that one scale does not suit.

use super::outlier_channels::{median, outliers};
use super::survey::{Survey, Weights};
use super::suspect::{ONE_BIT, Suspect, short};
use super::trial::Edit;
use super::{Evidence, FindingKind};
use crate::AnalysisError;
use tq_qtypes::{AffineParams, Granularity, QScheme, QuantSpec};

pub(super) fn detect(survey: &Survey<'_>) -> Result<Vec<Suspect>, AnalysisError> {
    let mut found = Vec::new();
    for w in &survey.weights {
        found.extend(of(survey, w)?);
    }
    Ok(found)
}

fn of(survey: &Survey<'_>, w: &Weights) -> Result<Option<Suspect>, AnalysisError> {
    let (Some(values), dims) = (w.values(survey), &w.dims[..]) else { return Ok(None) };
    if w.params.granularity != Granularity::PerTensor || dims.get(w.channel_axis).is_none_or(|d| *d < 2) {
        return Ok(None);
    }
    let sizes = channel_sizes(&values, dims, w.channel_axis);
    let largest = sizes.iter().fold(0.0f32, |m, s| m.max(*s));
    // Steps are in proportion to the range, and noise to the square of the step: what would be left of it.
    let square = |s: &f32| f64::from(*s / largest) * f64::from(*s / largest);
    let left = sizes.iter().map(square).sum::<f64>() / sizes.len() as f64;
    let found = outliers(&sizes);
    let kind = match &found {
        _ if left.is_nan() || left > 1.0 - ONE_BIT => return Ok(None),
        _ if w.depthwise => FindingKind::DepthwisePerTensor,
        Some(_) => FindingKind::OutlierWeights,
        None => return Ok(None),
    };
    let Some(median) = median(&sizes) else { return Ok(None) };
    let ratio = f64::from(largest) / f64::from(median);
    let spec = spec_of(&w.params, Granularity::PerChannel { axis: w.channel_axis });
    let after = AffineParams::from_data(&values, dims, &spec)?;
    let what = if w.depthwise { "The depthwise weights" } else { "The weights" };
    let outlying = found.map_or(0, |f| f.channels.len());
    let reach = if outlying > 0 {
        format!(
            "{outlying} of {} channels reach up to {} times as far as the typical one",
            sizes.len(),
            short(ratio)
        )
    } else {
        format!(
            "the ranges of their {} channels differ, the largest being {} times the median",
            sizes.len(),
            short(ratio)
        )
    };
    Ok(Some(Suspect {
        kind,
        nodes: vec![w.node.clone()],
        tensor: Some(w.tensor.clone()),
        says: format!("{what} of {} share one scale, but {reach}.", w.node),
        evidence: vec![
            Evidence { what: "largest channel over the median one", value: ratio, unit: "x" },
            Evidence { what: "outlier channels", value: outlying as f64, unit: "" },
            Evidence { what: "channels", value: sizes.len() as f64, unit: "" },
            Evidence { what: "expected noise with a scale a channel", value: 100.0 * left, unit: "%" },
        ],
        advice: format!(
            "Give the weights of {} one scale a channel: the default of `--backend fbgemm`, `--recipe int8`, or a rule with \
             `PerChannelMinMaxObserver` (`weight = {{ observer = \"per_channel_min_max\", spec = {{ dtype = \"i8\", scheme = \
             \"symmetric\", granularity = {{ per_channel = {{ axis = {} }} }} }} }}` in files).",
            w.node, w.channel_axis
        ),
        before: vec![Edit::quantized_operand(w.float, &values, dims, &w.params)?],
        after: vec![Edit::quantized_operand(w.float, &values, dims, &after)?],
        lessens: ONE_BIT,
    }))
}

/// Largest absolute value of each channel.
pub(super) fn channel_sizes(values: &[f32], dims: &[usize], axis: usize) -> Vec<f32> {
    let count = dims.get(axis).copied().unwrap_or(1);
    let inner = dims.get(axis + 1..).map_or(1, |d| d.iter().product::<usize>()).max(1);
    let mut sizes = vec![0.0f32; count];
    for (i, run) in values.chunks(inner).enumerate() {
        let own = &mut sizes[i % count];
        *own = run.iter().fold(*own, |m, v| m.max(v.abs()));
    }
    sizes
}

/// Codes of the same type and scheme, with other granularity.
pub(super) fn spec_of(params: &AffineParams, granularity: Granularity) -> QuantSpec {
    let symmetric = params.zero_point.iter().all(|z| *z == 0) && params.quant_min < 0;
    let (scheme, quant_min) = if symmetric {
        // Symmetric signed codes leave out the smallest, as everywhere here; two bits need it.
        let least = if params.quant_max > 1 { -params.quant_max } else { params.quant_min };
        (QScheme::Symmetric, least)
    } else {
        (QScheme::Affine, params.quant_min)
    };
    let (dtype, quant_max) = (params.dtype, params.quant_max);
    QuantSpec { dtype, quant_min, quant_max, scheme, granularity, power_of_two: false }
}
