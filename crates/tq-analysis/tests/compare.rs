//! A figure of one's own beside the built-in ones.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::{data, model};
use tq_analysis::{CompareOptions, MetricError, Runner, compare_models, compare_with_metrics};
use tq_graph::Tensor;
use tq_passes::{Recipe, convert, prepare_static};

/// The class of the largest score of each row.
fn classes(scores: &Tensor) -> Vec<i64> {
    let scores = scores.as_slice::<f32>().unwrap();
    let largest = |row: &[f32]| (1..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i64;
    scores.chunks(5).map(largest).collect()
}

#[test]
fn a_metric_sees_the_rows_that_accuracy_sees() {
    let g = model();
    let data = data(&g);
    // Four bits change some decisions.
    let quantized = convert(prepare_static(g.clone(), Recipe::W4).unwrap()).unwrap().graph;
    let all = data.batches(None).next().unwrap().unwrap();
    let mut labels = classes(&Runner::session(&g).unwrap().run(&all.inputs).unwrap()[0]);
    labels[3] = (labels[3] + 1) % 5;
    let right = |outputs: &[Tensor], rows: &[usize]| -> Result<f64, MetricError> {
        let found = classes(&outputs[0]);
        Ok(rows.iter().filter(|r| found[**r] == labels[**r]).count() as f64 / rows.len() as f64)
    };
    let metric = ("right", right);
    // Batches of 7 leave one of 3 rows.
    let options = CompareOptions { batch: Some(7), latency: None, ..CompareOptions::default() };
    let c = compare_with_metrics(&g, &quantized, &data, Some(&labels), &[&metric], &options, |_| ()).unwrap();
    let (own, built_in) =
        (&c.metrics[0], (c.float.accuracy.unwrap().top1, c.quantized.accuracy.unwrap().top1));
    assert!(
        (own.float * 100.0 - built_in.0).abs() < 1e-9 && (own.quantized * 100.0 - built_in.1).abs() < 1e-9
    );
    assert!((own.float - 23.0 / 24.0).abs() < 1e-12 && own.drop == own.float - own.quantized, "{own:?}");
    let (low, high) = own.drop_interval.unwrap();
    assert!(low <= own.drop && own.drop <= high, "{own:?}");
    // The same again: nothing of it is left to chance or to threads.
    let again =
        compare_with_metrics(&g, &quantized, &data, Some(&labels), &[&metric], &options, |_| ()).unwrap();
    assert_eq!(again, c);
    let plain = compare_models(&g, &quantized, &data, Some(&labels), &options).unwrap();
    assert!(plain.metrics.is_empty() && plain.accuracy_drop == c.accuracy_drop);
}
