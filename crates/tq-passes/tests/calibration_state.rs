//! Calibration in shards: saved, loaded, merged in any order.
#![allow(clippy::unwrap_used)]

use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_observers::{
    EntropyObserver, HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver, MseObserver,
    ObserverConfig, PercentileObserver,
};
use tq_passes::{CalibrationState, PassError, Prepared, QuantConfig, convert, prepare_static};
use tq_qtypes::DType;

/// Two linear layers, a sum, and a concatenation with a constant that shares the scale of the data.
fn model(seed: usize) -> Graph {
    let values = |n: usize, k: usize| -> Vec<f32> {
        (0..n).map(|i| ((i * 37 + k + seed) % 101) as f32 / 50.0 - 1.0).collect()
    };
    let mut m = Graph::new("net");
    let x = m.add_input("x", DType::F32, vec![Dim::symbol("N"), 6usize.into()]);
    let w1 = m.add_constant("w1", Tensor::new(&[6, 8], values(48, 0)).unwrap());
    let w2 = m.add_constant("w2", Tensor::new(&[10, 4], values(40, 5)).unwrap());
    let extra = m.add_constant("extra", Tensor::new(&[1, 2], vec![9.0f32, -7.5]).unwrap());
    let h = m.add_node("first", Op::MatMul, &[x, w1], "h");
    let r = m.add_node("relu", Op::Unary(UnaryOp::Relu), &[h], "r");
    let s = m.add_node("sum", Op::Binary(BinaryOp::Add), &[r, h], "s");
    let c = m.add_node("join", Op::Concat { axis: 1 }, &[s, extra], "c");
    let y = m.add_node("last", Op::MatMul, &[c, w2], "y");
    m.outputs.push(y);
    m
}

/// One row a batch: the constant is concatenated as it is.
fn batches() -> Vec<Tensor> {
    (0..12)
        .map(|b| {
            let row = (0..6).map(|i| ((b * 6 + i) as f32 * 1.7).sin() * (b as f32 + 0.3)).collect();
            Tensor::new(&[1, 6], row).unwrap()
        })
        .collect()
}

fn prepared(observer: &ObserverConfig) -> Prepared {
    prepare_static(model(0), QuantConfig::default().activation(observer.clone())).unwrap()
}

fn state_of(observer: &ObserverConfig, batches: &[Tensor]) -> CalibrationState {
    let prepared = prepared(observer);
    batches.iter().for_each(|b| drop(prepared.forward(std::slice::from_ref(b)).unwrap()));
    let state = prepared.calibration_state();
    let text = state.to_json().unwrap();
    assert_eq!(CalibrationState::from_json(&text).unwrap(), state);
    state
}

#[test]
fn shards_in_any_order_give_the_model_of_all_data() {
    let observers: [ObserverConfig; 5] = [
        MinMaxObserver::default().into(),
        HistogramObserver::with_args(256).into(),
        PercentileObserver::with_args(95.0).into(),
        EntropyObserver::default().into(),
        MseObserver::default().into(),
    ];
    let data = batches();
    for observer in observers {
        let whole = prepared(&observer);
        data.iter().for_each(|b| drop(whole.forward(std::slice::from_ref(b)).unwrap()));
        let whole_state = whole.calibration_state();
        let whole = convert(whole).unwrap();
        let shards = [&data[..3], &data[3..4], &data[4..]].map(|part| state_of(&observer, part));
        for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0], [2, 1, 0]] {
            let mut joined = shards[order[0]].clone();
            joined.merge(&shards[order[1]]).unwrap();
            joined.merge(&shards[order[2]]).unwrap();
            assert_eq!(joined.to_json().unwrap(), whole_state.to_json().unwrap(), "{observer:?}");
            let loaded = prepared(&observer);
            loaded.load_calibration(&joined).unwrap();
            assert_eq!(loaded.batches(), 12);
            assert_eq!(convert(loaded).unwrap(), whole);
        }
        // Loading the shards one after the other is merging them; forward goes on from there.
        let loaded = prepared(&observer);
        loaded.load_calibration(&shards[2]).unwrap();
        loaded.load_calibration(&shards[0]).unwrap();
        loaded.forward(std::slice::from_ref(&data[3])).unwrap();
        assert_eq!(convert(loaded).unwrap(), whole);
    }
}

#[test]
fn other_codes_can_be_asked_of_the_same_state() {
    let state = state_of(&MinMaxObserver::default().into(), &batches());
    let few: ObserverConfig = MinMaxObserver::with_bits(4).unwrap().into();
    let loaded = prepared(&few);
    loaded.load_calibration(&state).unwrap();
    let direct = prepared(&few);
    batches().iter().for_each(|b| drop(direct.forward(std::slice::from_ref(b)).unwrap()));
    assert_eq!(convert(loaded).unwrap(), convert(direct).unwrap());
}

#[test]
fn what_does_not_belong_together_is_named_and_changes_nothing() {
    let data = batches();
    let min_max: ObserverConfig = MinMaxObserver::default().into();
    let state = state_of(&min_max, &data[..2]);

    let other_model = prepare_static(model(1), QuantConfig::default()).unwrap();
    other_model.forward(std::slice::from_ref(&data[0])).unwrap();
    let error = other_model.load_calibration(&state).unwrap_err();
    assert!(matches!(error, PassError::CalibrationModel { .. }), "{error}");
    let before = other_model.calibration_state();
    let mut merged = state.clone();
    assert!(matches!(merged.merge(&before), Err(PassError::CalibrationModel { .. })));
    assert_eq!(merged, state);
    assert_eq!(other_model.batches(), 1);

    let average = state_of(&MovingAverageMinMaxObserver::default().into(), &data[..2]);
    let error = merged.merge(&average).unwrap_err().to_string();
    assert!(error.contains("tensor ") && error.contains("different observers"), "{error}");
    assert_eq!(merged, state);
    let error = prepared(&min_max).load_calibration(&average).unwrap_err().to_string();
    assert!(error.contains("moving_average_min_max"), "{error}");
}

#[test]
fn forged_states_are_errors() {
    let state = state_of(&HistogramObserver::default().into(), &batches());
    let text = state.to_json().unwrap();
    let histogram: ObserverConfig = HistogramObserver::default().into();
    // Texts that no longer are a state at all, or a state that no observer can have written.
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"batches\":12", "\"batches\":-1"),
        ("\"batches\":12", "\"batches\":12,\"more\":1"),
        ("\"counts\":[", "\"counts\":[99,"),
        ("\"counts\":[", "\"counts\":[-1,"),
        ("\"bins_per_octave\":512", "\"bins_per_octave\":511"),
        ("\"bins_per_octave\":512", "\"bins_per_octave\":18446744073709551615"),
        ("\"min\":", "\"min\":1e30,\"min\":"),
        ("\"min\":-", "\"min\":1e300,\"was\":"),
        ("\"count\":", "\"count\":1,\"was\":"),
    ] {
        let forged = text.replacen(from, to, 1);
        assert_ne!(forged, text, "{from}");
        let result = CalibrationState::from_json(&forged).and_then(|s| {
            let mut joined = state.clone();
            let (loaded, merged) = (prepared(&histogram).load_calibration(&s), joined.merge(&s));
            assert_eq!(loaded.is_err(), merged.is_err(), "{to}");
            loaded
        });
        let message = result.unwrap_err().to_string();
        assert!(message.starts_with("calibration state"), "{message}");
    }
    for cut in [0, 1, text.len() / 2, text.len() - 1] {
        assert!(matches!(CalibrationState::from_json(&text[..cut]), Err(PassError::File { .. })));
    }
    let missing = std::path::Path::new("no/such/state.json");
    assert!(CalibrationState::from_file(missing).unwrap_err().to_string().contains("no/such/state.json"));
}

/// Settings that shape what is gathered must agree; those by which ranges are read out of it need not.
#[test]
fn states_gathered_with_other_settings_are_refused() {
    let averages = |constant: f32| -> ObserverConfig {
        let ObserverConfig::MovingAverageMinMax { spec, eps, mode, .. } =
            MovingAverageMinMaxObserver::default().into()
        else {
            unreachable!()
        };
        ObserverConfig::MovingAverageMinMax { spec, eps, averaging_constant: constant, mode }
    };
    let refused: [(ObserverConfig, ObserverConfig, &str); 3] = [
        (averages(0.5), averages(0.25), "averaging_constant 0.5 against 0.25"),
        (
            HistogramObserver::with_args(256).into(),
            HistogramObserver::with_args(512).into(),
            "bins 256 against 512",
        ),
        (
            MinMaxObserver::default().into(),
            EntropyObserver::default().into(),
            "observer \"min_max\" against \"entropy\"",
        ),
    ];
    for (theirs, ours, words) in refused {
        let state = state_of(&theirs, &batches());
        let prepared = prepared(&ours);
        let message = prepared.load_calibration(&state).unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!(prepared.batches(), 0);
    }
    let state = state_of(&PercentileObserver::with_args(95.0).into(), &batches());
    prepared(&PercentileObserver::with_args(99.0).into()).load_calibration(&state).unwrap();
}
