//! What holds for every observer: errors, defaults, saved configurations, forged states.
#![allow(clippy::unwrap_used)]

use tq_observers::{Observer, ObserverConfig, ObserverError, ObserverState};

/// Every observer by name alone, as a configuration file may give it.
const NAMES: [&str; 13] = [
    "min_max",
    "per_channel_min_max",
    "moving_average_min_max",
    "moving_average_per_channel_min_max",
    "per_group_min_max",
    "histogram",
    "percentile",
    "entropy",
    "mse",
    "fixed_qparams",
    "placeholder",
    "no_op",
    "recording",
];

fn by_name(name: &str) -> ObserverConfig {
    serde_json::from_str(&format!(r#"{{"observer":"{name}"}}"#)).unwrap()
}

fn parsed(text: &str) -> Result<ObserverConfig, serde_json::Error> {
    serde_json::from_str(text)
}

/// Those that give scales from what they see.
fn measuring() -> impl Iterator<Item = (ObserverConfig, Box<dyn Observer>)> {
    NAMES
        .iter()
        .map(|n| by_name(n))
        .filter(|c| {
            !matches!(
                c,
                ObserverConfig::FixedQParams { .. }
                    | ObserverConfig::Placeholder { .. }
                    | ObserverConfig::NoOp
            )
        })
        .map(|c| (c.clone(), c.build().unwrap()))
}

#[test]
fn a_name_alone_is_a_whole_configuration() {
    for name in NAMES {
        let config = by_name(name);
        let observer = config.build().unwrap();
        assert_eq!(observer.config(), config);
        assert_eq!(observer.spec(), config.spec());
        assert_eq!(observer.state().observer_name(), name);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(parsed(&text).unwrap(), config);
        let state = serde_json::to_value(observer.state()).unwrap();
        assert_eq!(state["observer"], name);
    }
}

#[test]
fn what_a_configuration_does_not_know_is_an_error() {
    for name in NAMES.iter().filter(|n| **n != "no_op") {
        let text = format!(r#"{{"observer":"{name}","averaging_konstant":1}}"#);
        assert!(parsed(&text).is_err(), "{name}");
    }
    assert!(parsed(r#"{"observer":"maximum"}"#).is_err());
    assert!(parsed(r#"{"observer":"min_max","mode":"numpy"}"#).is_err());
    for spec in [
        r#"{"dtype":"u8","power_of_2":true}"#,
        r#"{"quant_min":0,"quant_max":255}"#,
        r#"{"dtype":"i8","bits":4,"quant_min":-7}"#,
        r#"{"dtype":"i8","bits":9}"#,
        r#"{"dtype":"f32"}"#,
        r#"{"dtype":"i8","granularity":{"per_group":{"axis":1,"group_size":32,"foo":2}}}"#,
    ] {
        assert!(parsed(&format!(r#"{{"observer":"min_max","spec":{spec}}}"#)).is_err(), "{spec}");
    }
}

#[test]
fn settings_that_cannot_be_are_errors_when_built() {
    for text in [
        r#"{"observer":"moving_average_min_max","averaging_constant":0}"#,
        r#"{"observer":"moving_average_min_max","averaging_constant":-0.5}"#,
        r#"{"observer":"moving_average_per_channel_min_max","averaging_constant":1.01}"#,
        r#"{"observer":"min_max","eps":0}"#,
        r#"{"observer":"recording","capacity":0}"#,
        r#"{"observer":"recording","capacity":1000000000000}"#,
        r#"{"observer":"placeholder","dtype":"i32"}"#,
    ] {
        assert!(matches!(parsed(text).unwrap().build(), Err(ObserverError::Setting { .. })), "{text}");
    }
    for text in
        [r#"{"observer":"fixed_qparams","scale":0}"#, r#"{"observer":"fixed_qparams","zero_point":256}"#]
    {
        assert!(matches!(parsed(text).unwrap().build(), Err(ObserverError::QType(_))), "{text}");
    }
}

#[test]
fn no_data_is_an_error_and_so_is_what_is_not_finite() {
    for (config, mut observer) in measuring() {
        assert_eq!(observer.calculate_qparams(), Err(ObserverError::NoData), "{config:?}");
        observer.observe(&[], &[0, 4]).unwrap();
        assert_eq!(observer.calculate_qparams(), Err(ObserverError::NoData), "{config:?}");
        assert!(matches!(observer.observe(&[1.0], &[2, 1]), Err(ObserverError::DataLength { .. })));

        observer.observe(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let before = observer.state();
        let bad = [1e9, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let error = observer.observe(&bad, &[2, 2]).unwrap_err();
        assert_eq!(error, ObserverError::NonFinite { count: 3, len: 4 }, "{config:?}");
        assert_eq!(observer.state(), before, "{config:?}");
        assert_eq!(observer.count(), 4);
        observer.reset();
        assert_eq!(observer.state(), config.build().unwrap().state());
    }
}

#[test]
fn tensors_that_stay_in_float_have_no_parameters() {
    for name in ["placeholder", "no_op"] {
        let mut observer = by_name(name).build().unwrap();
        observer.observe(&[f32::NEG_INFINITY, 0.0], &[2]).unwrap();
        assert!(matches!(observer.calculate_qparams(), Err(ObserverError::NoParams { .. })));
        assert_eq!((observer.count(), observer.range(), observer.spec()), (2, None, None));
    }
}

#[test]
fn fixed_parameters_need_no_data() {
    let observer = by_name("fixed_qparams").build().unwrap();
    assert_eq!(observer.calculate_qparams().unwrap().uniform(), Some((1.0 / 256.0, 0)));
}

#[test]
fn shapes_that_do_not_go_together_are_errors() {
    for name in ["per_channel_min_max", "moving_average_per_channel_min_max"] {
        let mut observer = by_name(name).along(1).build().unwrap();
        assert!(matches!(observer.observe(&[1.0; 2], &[2]), Err(ObserverError::QType(_))));
        observer.observe(&[1.0; 6], &[2, 3]).unwrap();
        let error = observer.observe(&[1.0; 6], &[3, 2]).unwrap_err();
        assert_eq!(error, ObserverError::Channels { axis: 1, expected: 3, got: 2 });
    }
    let mut observer = by_name("per_group_min_max").build().unwrap();
    observer.observe(&[1.0; 6], &[2, 3]).unwrap();
    let error = observer.observe(&[1.0; 6], &[2, 3, 1]).unwrap_err();
    assert_eq!(error, ObserverError::Shape { expected: vec![2, 3], got: vec![2, 3, 1] });
}

#[test]
fn forged_states_are_errors_and_change_nothing() {
    let range = r#"{"min":-1,"max":1}"#;
    let max = u64::MAX;
    let forged = [
        r#"{"observer":"min_max","count":1,"range":{"min":"nan","max":1}}"#.to_owned(),
        r#"{"observer":"min_max","count":1,"range":{"min":2,"max":1}}"#.to_owned(),
        r#"{"observer":"min_max","count":1,"range":{"min":-1e300,"max":1}}"#.to_owned(),
        format!(r#"{{"observer":"min_max","count":{max},"range":{range}}}"#),
        format!(r#"{{"observer":"min_max","count":0,"range":{range}}}"#),
        r#"{"observer":"min_max","count":7,"range":null}"#.to_owned(),
        r#"{"observer":"per_channel_min_max","count":7,"ranges":[]}"#.to_owned(),
        r#"{"observer":"per_group_min_max","count":7,"dims":[],"ranges":[]}"#.to_owned(),
        format!(r#"{{"observer":"per_channel_min_max","count":{max},"ranges":[{range},{range}]}}"#),
        r#"{"observer":"per_channel_min_max","count":1,"ranges":[{"min":0,"max":"inf"}]}"#.to_owned(),
        format!(r#"{{"observer":"per_channel_min_max","count":1,"ranges":[{range}]}}"#),
        format!(
            r#"{{"observer":"moving_average_min_max","count":1,"batches":0,"first":null,"average":{range}}}"#
        ),
        format!(
            r#"{{"observer":"moving_average_min_max","count":{max},"batches":1,"first":{range},"average":{range}}}"#
        ),
        format!(
            r#"{{"observer":"moving_average_min_max","count":0,"batches":1,"first":{range},"average":{range}}}"#
        ),
        format!(
            r#"{{"observer":"moving_average_per_channel_min_max","count":9,"batches":1,"first":[],"average":[{range}]}}"#
        ),
        format!(
            r#"{{"observer":"per_group_min_max","count":1,"dims":[2,{max}],"ranges":[{range},{range}]}}"#
        ),
        format!(
            r#"{{"observer":"per_group_min_max","count":1,"dims":[0,{max},{max}],"ranges":[{range},{range}]}}"#
        ),
        format!(r#"{{"observer":"per_group_min_max","count":1,"dims":[2],"ranges":[{range}]}}"#),
        format!(r#"{{"observer":"per_group_min_max","count":1,"dims":[2,2],"ranges":[{range}]}}"#),
        format!(r#"{{"observer":"fixed_qparams","count":{max},"range":{range}}}"#),
        r#"{"observer":"recording","count":0,"range":null,"sample":[{"key":0,"index":0,"value":1}]}"#
            .to_owned(),
        format!(
            r#"{{"observer":"recording","count":5,"range":{range},"sample":[{{"key":0,"index":0,"value":7}}]}}"#
        ),
        format!(r#"{{"observer":"placeholder","count":{max}}}"#),
        format!(r#"{{"observer":"no_op","count":{max}}}"#),
    ];
    for text in forged {
        let state: ObserverState = serde_json::from_str(&text).unwrap();
        let mut observer = by_name(state.observer_name()).build().unwrap();
        observer.observe(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let before = observer.state();
        let error = observer.merge_state(&state).unwrap_err();
        assert!(!matches!(error, ObserverError::Merge { .. }), "{text}: {error}");
        assert_eq!(observer.state(), before, "{text}");
    }
}
