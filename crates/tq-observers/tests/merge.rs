//! What joining the states of observers gives, for every observer, through JSON as files do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_observers::{
    EntropyObserver, FixedQParamsObserver, HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver, MseObserver, Observer, ObserverConfig, ObserverState,
    PerChannelMinMaxObserver, PerGroupMinMaxObserver, PercentileObserver, RecordingObserver,
};

/// Shape of every batch: what observers of channels and groups ask for.
const DIMS: [usize; 2] = [3, 5];

/// Observers whose state does not depend on how the data came.
fn exact() -> Vec<ObserverConfig> {
    vec![
        MinMaxObserver::default().into(),
        PerChannelMinMaxObserver::with_args(1).into(),
        PerGroupMinMaxObserver::with_args(1, 2).into(),
        PerGroupMinMaxObserver::with_args(0, 2).into(),
        HistogramObserver::with_args(64).into(),
        PercentileObserver::default().into(),
        EntropyObserver::with_args(100).into(),
        MseObserver::default().into(),
        MseObserver::per_channel(1).into(),
        FixedQParamsObserver::default().into(),
    ]
}

fn batch() -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![
        4 => -10.0f32..10.0,
        2 => prop_oneof![Just(0.0), Just(-0.0)],
        1 => any::<f32>().prop_filter("finite", |v| v.is_finite()),
    ];
    proptest::collection::vec(value, DIMS[0] * DIMS[1])
}

fn observe(config: &ObserverConfig, batches: &[Vec<f32>]) -> Box<dyn Observer> {
    let mut observer = config.build().unwrap();
    for batch in batches {
        observer.observe(batch, &DIMS).unwrap();
    }
    observer
}

/// A state as it is written: two states that are equal but for the sign of a zero are not the same here.
fn written(observer: &dyn Observer) -> String {
    serde_json::to_string(&observer.state()).unwrap()
}

/// A state as another process would read it.
fn sent(observer: &dyn Observer) -> ObserverState {
    let state = observer.state();
    let read: ObserverState = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
    assert_eq!(read, state);
    read
}

/// An observer of nothing that the observers' states are merged into, in order.
fn join(config: &ObserverConfig, parts: &[&dyn Observer]) -> Box<dyn Observer> {
    let mut all = config.build().unwrap();
    for part in parts {
        all.merge_state(&sent(*part)).unwrap();
    }
    all
}

proptest! {
    #[test]
    fn no_split_and_no_order_changes_the_state(
        batches in proptest::collection::vec(batch(), 1..7),
        cuts in (0usize..7, 0usize..7),
    ) {
        let (a, b) = (cuts.0.min(cuts.1).min(batches.len()), cuts.0.max(cuts.1).min(batches.len()));
        for config in exact() {
            let whole = observe(&config, &batches);
            let mut reversed = batches.clone();
            reversed.reverse();
            prop_assert_eq!(written(observe(&config, &reversed).as_ref()), written(whole.as_ref()));
            let parts = [&batches[..a], &batches[a..b], &batches[b..]].map(|part| observe(&config, part));
            let [x, y, z] = [parts[0].as_ref(), parts[1].as_ref(), parts[2].as_ref()];
            for order in [[x, y, z], [z, x, y], [y, z, x], [z, y, x]] {
                prop_assert_eq!(written(join(&config, &order).as_ref()), written(whole.as_ref()));
            }
            // (x + y) + z and x + (y + z).
            let left = join(&config, &[join(&config, &[x, y]).as_ref(), z]);
            let right = join(&config, &[x, join(&config, &[y, z]).as_ref()]);
            prop_assert_eq!(written(left.as_ref()), written(right.as_ref()));
            // Parameters follow from state and configuration; the searches are too slow to run for each case.
            if !matches!(config, ObserverConfig::Entropy { .. } | ObserverConfig::Mse { .. }) {
                prop_assert_eq!(left.calculate_qparams(), whole.calculate_qparams());
            }
        }
    }

    /// Moving averages: merging means later, and rounds.
    #[test]
    fn moving_averages_go_on_where_the_first_shard_ended(
        batches in proptest::collection::vec(
            proptest::collection::vec(-10.0f32..10.0, DIMS[0] * DIMS[1]), 1..40),
        cuts in (0usize..40, 0usize..40),
        constant in 0.001f32..=1.0,
    ) {
        let (a, b) = (cuts.0.min(cuts.1).min(batches.len()), cuts.0.max(cuts.1).min(batches.len()));
        let spec = |o: ObserverConfig| *o.spec().unwrap();
        let tensor = spec(MovingAverageMinMaxObserver::default().into());
        let channels = spec(MovingAveragePerChannelMinMaxObserver::with_args(1).into());
        let configs: [ObserverConfig; 2] = [
            MovingAverageMinMaxObserver::new(tensor, f32::EPSILON, constant).unwrap().into(),
            MovingAveragePerChannelMinMaxObserver::with_spec(channels, f32::EPSILON, constant).unwrap().into(),
        ];
        for config in configs {
            let whole = observe(&config, &batches);
            let parts = [&batches[..a], &batches[a..b], &batches[b..]].map(|part| observe(&config, part));
            let [x, y, z] = [parts[0].as_ref(), parts[1].as_ref(), parts[2].as_ref()];
            let left = join(&config, &[join(&config, &[x, y]).as_ref(), z]);
            let right = join(&config, &[x, join(&config, &[y, z]).as_ref()]);
            for joined in [&left, &right] {
                prop_assert_eq!(joined.count(), whole.count());
                for (ours, theirs) in joined.channel_ranges().iter().zip(whole.channel_ranges()) {
                    // 1e-6 of the largest magnitude, as the documentation says.
                    prop_assert!((ours.min - theirs.min).abs() <= 1e-5, "{ours:?} {theirs:?}");
                    prop_assert!((ours.max - theirs.max).abs() <= 1e-5, "{ours:?} {theirs:?}");
                }
            }
        }
    }

    /// Recordings: any order of merging gives the same sample; how a stream is cut into batches does not matter.
    #[test]
    fn recordings_keep_the_same_sample_in_any_order(
        batches in proptest::collection::vec(batch(), 1..7),
        cut in 0usize..7,
        capacity in 1usize..60,
    ) {
        let cut = cut.min(batches.len());
        let config: ObserverConfig = RecordingObserver::with_args(capacity).into();
        let (x, y) = (observe(&config, &batches[..cut]), observe(&config, &batches[cut..]));
        let joined = join(&config, &[x.as_ref(), y.as_ref()]);
        prop_assert_eq!(joined.state(), join(&config, &[y.as_ref(), x.as_ref()]).state());
        let mut whole = RecordingObserver::with_args(capacity);
        let data = batches.concat();
        whole.observe(&data, &[data.len()]).unwrap();
        prop_assert_eq!(whole.state(), observe(&config, &batches).state());
        prop_assert_eq!(whole.sample().len(), capacity.min(data.len()));
        if capacity >= data.len() {
            prop_assert_eq!(whole.sample(), data);
        }
    }
}

#[test]
fn states_of_other_observers_are_refused() {
    let mut observer = MinMaxObserver::default();
    let other = observe(&PerChannelMinMaxObserver::with_args(1).into(), &[vec![1.0; 15]]);
    let message = observer.merge(other.as_ref()).unwrap_err().to_string();
    assert!(message.contains("per_channel_min_max") && message.contains("min_max observer"), "{message}");
}

/// A step whose difference f32 cannot hold.
#[test]
fn moving_averages_of_huge_finite_ranges_stay_finite() {
    let mut observer = MovingAverageMinMaxObserver::default();
    observer.observe(&[-3e38, 3e38], &[2]).unwrap();
    observer.observe(&[3e38, 3.1e38], &[2]).unwrap();
    let range = observer.range().unwrap();
    assert!((range.min - -2.94e38).abs() < 1e33 && (range.max - 3.001e38).abs() < 1e33, "{range}");
}
