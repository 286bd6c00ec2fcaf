//! Channels as bars, as many as can be told apart.

use crate::distributions::ChannelRange;

/// Bars of a plot.
const MOST: usize = 180;

/// The channels, neighbours taken together where there are too many, and the largest magnitude of them and their codes.
pub(crate) fn columns(channels: &[ChannelRange]) -> (Vec<ChannelRange>, f64) {
    let each = channels.len().div_ceil(MOST).max(1);
    let union = |a: ChannelRange, b: &ChannelRange| ChannelRange {
        min: a.min.min(b.min),
        max: a.max.max(b.max),
        low: a.low.min(b.low),
        high: a.high.max(b.high),
    };
    let bars: Vec<ChannelRange> =
        channels.chunks(each).filter_map(|c| Some(c.iter().fold(*c.first()?, union))).collect();
    let reach =
        |c: &ChannelRange| [c.min, c.max, c.low, c.high].into_iter().fold(0f32, |m, v| m.max(v.abs()));
    let largest = bars.iter().map(reach).fold(0f32, f32::max);
    (bars, if largest > 0.0 { f64::from(largest) } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_channel_is_lost() {
        let channel = |i: usize| ChannelRange { min: -(i as f32), max: 1.0, low: -2000.0, high: 2000.0 };
        let all: Vec<ChannelRange> = (0..1281).map(channel).collect();
        let (bars, reach) = columns(&all);
        assert!(bars.len() <= MOST && bars.len() > MOST / 2, "{}", bars.len());
        assert_eq!((bars.iter().map(|b| b.min).fold(0.0, f32::min), reach), (-1280.0, 2000.0));
        assert_eq!(columns(&[]).1, 1.0);
    }
}
