//! Bits layer by layer: within the budget, and as good as trying everything.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{data, model};
use tq_analysis::{
    AnalysisError, Budget, Candidate, MixedSearch, SearchOptions, SearchPoint, mixed_precision_search,
};
use tq_passes::{QConfigDict, int4_qconfig, int8_qconfig};

const LAYERS: [&str; 5] = ["conv0", "conv1", "conv2", "conv3", "head"];

fn search(budget: Budget, options: &SearchOptions) -> MixedSearch {
    let g = model();
    mixed_precision_search(&g, &data(&g), None, budget, options, |_| ()).unwrap()
}

/// What was measured, without the configurations.
fn shown(s: &MixedSearch) -> String {
    let points =
        s.points.iter().map(|p| format!("{} ({} bytes, {:.1} dB, {})", p.name, p.bytes, p.sqnr_db, p.pareto));
    format!("met {}, chosen {} of {:?}", s.met, s.chosen, points.collect::<Vec<_>>())
}

fn named<'s>(s: &'s MixedSearch, name: &str) -> &'s SearchPoint {
    s.points.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no {name} in {}", shown(s)))
}

fn integers() -> SearchOptions {
    let candidates = vec![Candidate::new("int8", int8_qconfig()), Candidate::new("int4", int4_qconfig())];
    SearchOptions { candidates, ..SearchOptions::default() }
}

/// What each of the 32 assignments of int8 and int4 comes to: a search with one candidate for each layer measures it.
fn everything() -> Vec<(u64, f64)> {
    let g = model();
    let measured = |mask: usize| {
        let layers = LAYERS.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        let dict = layers.fold(QConfigDict::from(int8_qconfig()), |d, (_, l)| {
            d.set_module_name(*l, int4_qconfig()).set_module_name(l.replace("conv", "relu"), int4_qconfig())
        });
        let config = tq_passes::Configuration { dict, ..Default::default() };
        let (mut fidelity, mut bytes) = (tq_analysis::Fidelity::new(0.5), 0);
        let all: Vec<_> = data(&g).batches(Some(8)).map(Result::unwrap).collect();
        let float = tq_analysis::Runner::session(&g).unwrap();
        for half in 0..2 {
            let prepared = tq_passes::prepare_static(g.clone(), config.clone()).unwrap();
            for batch in all.iter().skip(1 - half).step_by(2) {
                prepared.forward(batch).unwrap();
            }
            let graph = tq_passes::convert(prepared).unwrap().graph;
            let session = tq_analysis::Runner::session(&graph).unwrap();
            for batch in all.iter().skip(half).step_by(2) {
                let (x, y) = (float.run(&batch.inputs).unwrap(), session.run(&batch.inputs).unwrap());
                fidelity.add("y", &x[0], &y[0], batch.rows).unwrap();
            }
            bytes = tq_analysis::parameter_bytes(&graph);
        }
        (bytes, fidelity.figures().sqnr_db)
    };
    (0..32).map(measured).collect()
}

#[test]
fn of_a_size_nothing_is_much_better_than_what_is_found() {
    let all = everything();
    let uniform = search(Budget::Drop(0.0), &integers());
    let (small, large) = (named(&uniform, "all int4"), named(&uniform, "all int8"));
    assert_eq!((all[31], all[0]), ((small.bytes, small.sqnr_db), (large.bytes, large.sqnr_db)));
    for quarter in 1..4 {
        let most = small.bytes + (large.bytes - small.bytes) * quarter / 4;
        let s = search(Budget::Bytes(most), &integers());
        let found = s.point().unwrap();
        assert!(s.met && found.bytes <= most && found.pareto, "{}", shown(&s));
        let best = all.iter().filter(|(bytes, _)| *bytes <= most).map(|(_, db)| *db).fold(0.0, f64::max);
        // Errors of this small net cancel in part, which no sum of noises knows.
        assert!(found.sqnr_db > best - 2.0, "{most}: {} of {best}: {}", found.sqnr_db, shown(&s));
        let of_size: Vec<f64> =
            all.iter().filter(|(bytes, _)| *bytes <= most && *bytes > small.bytes).map(|a| a.1).collect();
        let mean = of_size.iter().sum::<f64>() / of_size.len() as f64;
        assert!(found.sqnr_db > mean, "{most}: {} in the mean {mean}: {}", found.sqnr_db, shown(&s));
        assert!(found.sqnr_db > small.sqnr_db + 0.5, "{}", shown(&s));
    }
}

#[test]
fn budgets_are_kept_or_missed_aloud() {
    let all = SearchOptions::default();
    // Anything goes: the smallest.
    let s = search(Budget::Drop(100.0), &all);
    assert!(s.met, "{}", shown(&s));
    assert_eq!(s.point().unwrap().bytes, s.points[0].bytes, "{}", shown(&s));
    // Nothing may change: at worst the float model, which is a candidate.
    let s = search(Budget::Drop(0.0), &all);
    assert!(s.met && s.point().unwrap().drop <= 0.0, "{}", shown(&s));
    assert!(s.points.len() <= all.measurements && s.points.windows(2).all(|p| p[0].bytes <= p[1].bytes));
    let least = s.pareto().next().unwrap();
    assert_eq!(least.bytes, s.points[0].bytes, "{}", shown(&s));
    // Two integers a layer cannot be this small.
    let s = search(Budget::Bytes(10), &all);
    assert!(!s.met, "{}", shown(&s));
    assert_eq!(s.point().unwrap().bytes, s.points[0].bytes, "{}", shown(&s));
    let s = search(Budget::Latency(1e6), &all);
    assert!(s.met && s.points.iter().all(|p| p.latency_ms.is_some_and(|ms| ms > 0.0)), "{}", shown(&s));
    assert!(!search(Budget::Latency(0.0), &all).met);
}

#[test]
fn a_planted_layer_keeps_its_bits() {
    // One weight of conv2 is so large that four bits leave nothing of the others.
    let mut g = model();
    let w = g.find_value("w2").unwrap();
    let tensor = g.constant(w).unwrap();
    let (dims, mut weights) = (tensor.dims().to_vec(), tensor.to_f32_vec().unwrap());
    let channel = weights.len() / dims[0];
    weights.iter_mut().step_by(channel).for_each(|v| *v = 30.0);
    g.values[w.0].constant = Some(tq_graph::Tensor::new(&dims, weights).unwrap());
    let options = integers();
    let full =
        mixed_precision_search(&g, &data(&g), None, Budget::Bytes(u64::MAX), &options, |_| ()).unwrap();
    let most = full.points.last().unwrap().bytes - 250;
    let s = mixed_precision_search(&g, &data(&g), None, Budget::Bytes(most), &options, |_| ()).unwrap();
    let of = |layer: &str| &s.point().unwrap().layers.iter().find(|(n, _)| n == layer).unwrap().1;
    assert_eq!(of("conv2"), "int8", "{}", shown(&s));
    assert!(LAYERS.iter().any(|l| of(l) == "int4"), "{}", shown(&s));
}

#[test]
fn what_cannot_be_searched_is_an_error() {
    let g = model();
    let float = SearchOptions { candidates: vec![Candidate::new("float", None)], ..SearchOptions::default() };
    let e = mixed_precision_search(&g, &data(&g), None, Budget::Drop(1.0), &float, |_| ()).unwrap_err();
    assert!(matches!(e, AnalysisError::Search(_)), "{e}");
    let excluded = SearchOptions {
        exclude: LAYERS.iter().map(|l| (*l).to_owned()).collect(),
        ..SearchOptions::default()
    };
    let e = mixed_precision_search(&g, &data(&g), None, Budget::Drop(1.0), &excluded, |_| ()).unwrap_err();
    assert!(matches!(e, AnalysisError::Search(_)), "{e}");
    let e =
        mixed_precision_search(&g, &data(&g), Some(&[1, 2]), Budget::Drop(1.0), &float, |_| ()).unwrap_err();
    assert!(matches!(e, AnalysisError::Labels(_)), "{e}");
}
