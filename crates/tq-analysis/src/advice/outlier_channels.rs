//! Few channels of an activation that leave the others no codes.

use super::activations::Activation;
use super::seen::Channel;
use super::survey::Survey;
use super::suspect::{ONE_BIT, Suspect, short, some};
use super::{Evidence, FindingKind};

/// A channel this many times as large as the typical one takes three of eight bits from it.
const RATIO: f32 = 8.0;
/// More than a quarter of the channels are no outliers.
const FEW: usize = 4;

pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    survey.activations.iter().filter_map(of).collect()
}

fn of(a: &Activation) -> Option<Suspect> {
    let sizes: Vec<f32> = a.seen.channels.iter().map(Channel::size).collect();
    let means: Vec<f32> = a.seen.channels.iter().map(Channel::mean).collect();
    let found = outliers(&sizes)?;
    // A channel as a whole, not for the sake of a value or two.
    let typical = median(&means)?;
    if means[found.channels[0]] < RATIO / 2.0 * typical {
        return None;
    }
    let (largest, ratio) = (found.channels[0], found.ratio);
    let after = a.seen.params_per_channel()?;
    let at = some(&found.channels.iter().map(usize::to_string).collect::<Vec<_>>());
    Some(Suspect {
        kind: FindingKind::OutlierChannels,
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        says: format!(
            "Of the {} channels of {} number {at} reach up to {} times as far as the typical one ({} against {}), and one scale \
             serves all: the others have few codes left.",
            sizes.len(),
            a.tensor,
            short(f64::from(ratio)),
            short(f64::from(sizes[largest])),
            short(f64::from(sizes[largest] / ratio)),
        ),
        evidence: vec![
            Evidence { what: "largest channel over the median one", value: f64::from(ratio), unit: "x" },
            Evidence { what: "outlier channels", value: found.channels.len() as f64, unit: "" },
            Evidence { what: "largest channel", value: largest as f64, unit: "" },
            Evidence { what: "channels", value: sizes.len() as f64, unit: "" },
        ],
        // What helps is tried once it is known that this is the cause.
        advice: String::new(),
        before: vec![a.as_it_is()],
        after: vec![a.with(after)],
        lessens: ONE_BIT,
    })
}

/// Channels that are much larger than the typical one.
pub(super) struct Outliers {
    /// They, the largest first.
    pub(super) channels: Vec<usize>,
    /// How many times as large as the median one the largest is.
    pub(super) ratio: f32,
}

/// Channels of zeros alone suffer nothing and do not count.
pub(super) fn outliers(sizes: &[f32]) -> Option<Outliers> {
    let (median, all) = (median(sizes)?, sizes.iter().filter(|s| **s > 0.0).count());
    let mut channels: Vec<usize> = (0..sizes.len()).filter(|c| sizes[*c] >= RATIO * median).collect();
    channels.sort_by(|a, b| sizes[*b].total_cmp(&sizes[*a]));
    let first = *channels.first()?;
    (channels.len() * FEW <= all).then(|| Outliers { ratio: sizes[first] / median, channels })
}

/// The middle one of those that are not zero.
pub(super) fn median(sizes: &[f32]) -> Option<f32> {
    let mut sorted: Vec<f32> = sizes.iter().copied().filter(|s| *s > 0.0).collect();
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_large_channels_are_outliers_and_many_are_not() {
        let found = outliers(&[1.0, 50.0, 0.9, 0.0, 1.0, 8.0, 1.0, 1.0, 1.2]).unwrap();
        assert_eq!((found.channels, found.ratio), (vec![1, 5], 50.0));
        // Two of five are a half of the tensor's business.
        assert!(outliers(&[1.0, 1.0, 1.0, 50.0, 50.0]).is_none());
        assert!(outliers(&[1.0, 7.9, 1.0, 1.0, 1.0]).is_none());
        assert!(outliers(&[0.0; 4]).is_none() && outliers(&[]).is_none());
    }
}
