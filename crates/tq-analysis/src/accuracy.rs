//! Accuracy of a classifier on labelled data.

use crate::{AnalysisError, Dataset, Runner};
use tq_graph::{Graph, Tensor};

/// Hits among the largest scores, counted row by row.
///
/// Rows count in the order of their scores, the largest first and equal ones by the lower class: the answer does not
/// depend on how anything is sorted. A label hits among the top `k` when fewer than `k` classes come before it. A NaN
/// is the smallest score, and a label whose own score is NaN never hits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accuracy {
    n: usize,
    top1: usize,
    top5: usize,
}

/// Accuracy in percent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Evaluation {
    /// Rows evaluated.
    pub n: usize,
    /// Percent of rows whose label has the largest score.
    pub top1: f64,
    /// Percent of rows whose label is among the five largest scores; with fewer than five classes that is every row
    /// whose score is a number.
    pub top5: f64,
}

/// How a model is evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EvalOptions {
    /// Name of the output that holds the scores; the first one when not given.
    pub output: Option<String>,
    /// Rows a batch, where the model leaves that free; all at once when not given.
    pub batch: Option<usize>,
}

impl Accuracy {
    /// Takes rows of scores `[rows, classes]` in (further dimensions of 1 may follow), with their labels.
    /// Rows beyond the number of labels are ignored.
    ///
    /// # Errors
    /// [`AnalysisError::Output`] when the scores are no such array or hold no numbers, [`AnalysisError::Labels`] when
    /// a label is no class.
    pub fn add(&mut self, name: &str, scores: &Tensor, labels: &[i64]) -> Result<(), AnalysisError> {
        let (values, classes) = score_rows(name, scores, labels.len())?;
        for (row, (scores, label)) in values.chunks_exact(classes).zip(labels).enumerate() {
            let class = usize::try_from(*label).ok().filter(|c| *c < classes).ok_or_else(|| {
                AnalysisError::Labels(format!(
                    "row {} is labelled {label}, the model has {classes} classes",
                    self.n + row
                ))
            })?;
            let before = rank(scores, class);
            self.top1 += usize::from(before.is_some_and(|r| r < 1));
            self.top5 += usize::from(before.is_some_and(|r| r < 5));
        }
        self.n += labels.len();
        Ok(())
    }

    /// For each row whether its label has the largest score.
    pub(crate) fn hits(name: &str, scores: &Tensor, labels: &[i64]) -> Result<Vec<bool>, AnalysisError> {
        let row = |i: usize| -> Result<bool, AnalysisError> {
            let mut one = Self::default();
            let scores = crate::take_rows(scores, i, i + 1, 1)?;
            one.add(name, &scores, &labels[i..=i])?;
            Ok(one.top1 == 1)
        };
        (0..labels.len()).map(row).collect()
    }

    /// The figures in percent, zero when there were no rows.
    #[must_use]
    pub fn percent(&self) -> Evaluation {
        let of = |hits: usize| if self.n == 0 { 0.0 } else { hits as f64 * 100.0 / self.n as f64 };
        Evaluation { n: self.n, top1: of(self.top1), top5: of(self.top5) }
    }
}

/// Runs a model over labelled data. `progress` is told the rows done after every batch.
///
/// # Errors
/// [`AnalysisError::Labels`] when there are not as many labels as rows or one is no class, otherwise as
/// [`Accuracy::add`], [`Runner::run`] and [`Dataset::batches`].
pub fn evaluate(
    graph: &Graph,
    runner: &Runner,
    data: &Dataset,
    labels: &[i64],
    options: &EvalOptions,
    mut progress: impl FnMut(usize),
) -> Result<Evaluation, AnalysisError> {
    check_label_count(data, labels)?;
    let (index, name) = find_output(graph, options.output.as_deref())?;
    let (mut accuracy, mut done) = (Accuracy::default(), 0);
    for batch in data.batches(options.batch) {
        let batch = batch?;
        let outputs = runner.run(&batch.inputs)?;
        accuracy.add(name, nth(&outputs, index, name)?, &labels[done..done + batch.rows])?;
        done += batch.rows;
        progress(done);
    }
    Ok(accuracy.percent())
}

pub(crate) fn check_label_count(data: &Dataset, labels: &[i64]) -> Result<(), AnalysisError> {
    if labels.len() == data.rows() {
        return Ok(());
    }
    Err(AnalysisError::Labels(format!("{} labels for {} rows of data", labels.len(), data.rows())))
}

/// Index and name of the output asked for.
pub(crate) fn find_output<'a>(
    graph: &'a Graph,
    wanted: Option<&str>,
) -> Result<(usize, &'a str), AnalysisError> {
    let mut names = graph.outputs.iter().map(|id| graph.value(*id).name.as_str()).enumerate();
    let found = match wanted {
        None => names.next(),
        Some(w) => names.find(|(_, n)| *n == w),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = graph.outputs.iter().map(|id| graph.value(*id).name.as_str()).collect();
        AnalysisError::Output {
            name: wanted.unwrap_or("?").to_owned(),
            message: format!("the model has no such output, it has [{}]", names.join(", ")),
        }
    })
}

pub(crate) fn nth<'a>(outputs: &'a [Tensor], index: usize, name: &str) -> Result<&'a Tensor, AnalysisError> {
    outputs.get(index).ok_or_else(|| AnalysisError::Output {
        name: name.to_owned(),
        message: format!("the model gave {} outputs", outputs.len()),
    })
}

/// The scores as f64 and the number of classes.
pub(crate) fn score_rows(
    name: &str,
    scores: &Tensor,
    rows: usize,
) -> Result<(Vec<f64>, usize), AnalysisError> {
    let fail = |message: String| AnalysisError::Output { name: name.to_owned(), message };
    let dims = scores.dims();
    let classes = match dims {
        [n, classes, rest @ ..] if *n >= rows && *classes >= 2 && rest.iter().all(|d| *d == 1) => *classes,
        _ => return Err(fail(format!("shape {dims:?} is not [{rows}, classes] with at least two classes"))),
    };
    Ok((numbers(name, scores)?, classes))
}

/// All elements of an output, floats or integers, as f64.
pub(crate) fn numbers(name: &str, output: &Tensor) -> Result<Vec<f64>, AnalysisError> {
    output
        .to_f64_vec()
        .or_else(|| Some(output.to_i64_vec()?.into_iter().map(|v| v as f64).collect()))
        .ok_or_else(|| AnalysisError::Output {
            name: name.to_owned(),
            message: format!("{} holds no scores", output.dtype()),
        })
}

/// How many classes come before `class`; `None` when its score is NaN.
fn rank(scores: &[f64], class: usize) -> Option<usize> {
    let own = scores[class];
    if own.is_nan() {
        return None;
    }
    Some(scores.iter().enumerate().filter(|(i, s)| **s > own || (**s == own && *i < class)).count())
}

/// The class with the largest score, the lowest of equal ones; `None` when all are NaN.
pub(crate) fn argmax(scores: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, s) in scores.iter().enumerate() {
        if !s.is_nan() && best.is_none_or(|b| *s > scores[b]) {
            best = Some(i);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent(scores: &[f32], classes: usize, labels: &[i64]) -> (f64, f64) {
        let t = Tensor::new(&[scores.len() / classes, classes], scores.to_vec()).unwrap();
        let mut a = Accuracy::default();
        a.add("y", &t, labels).unwrap();
        (a.percent().top1, a.percent().top5)
    }

    #[test]
    fn ties_go_to_the_lower_class() {
        assert_eq!(percent(&[1.0, 1.0], 2, &[0]).0, 100.0);
        assert_eq!(percent(&[1.0, 1.0], 2, &[1]).0, 0.0);
        assert_eq!(percent(&[0.0; 6], 6, &[4]).1, 100.0);
        assert_eq!(percent(&[0.0; 6], 6, &[5]).1, 0.0);
    }

    #[test]
    fn nan_never_wins() {
        assert_eq!(percent(&[f32::NAN, 1.0], 2, &[1]), (100.0, 100.0));
        assert_eq!(percent(&[f32::NAN, 1.0], 2, &[0]), (0.0, 0.0));
        assert_eq!(argmax(&[f64::NAN, 1.0, 1.0]), Some(1));
        assert_eq!(argmax(&[f64::NAN]), None);
        assert_eq!(percent(&[f32::NEG_INFINITY, f32::INFINITY], 2, &[1]).0, 100.0);
    }

    #[test]
    fn wrong_labels_and_outputs_are_named() {
        let mut a = Accuracy::default();
        let scores = Tensor::new(&[2, 3], vec![0.0f32; 6]).unwrap();
        a.add("y", &scores, &[0, 1]).unwrap();
        let text = a.add("y", &scores, &[0, 3]).unwrap_err().to_string();
        assert_eq!(text, "labels: row 3 is labelled 3, the model has 3 classes");
        assert!(a.add("y", &scores, &[-1]).is_err());
        for dims in [&[6][..], &[6, 1], &[1, 6], &[2, 1, 3]] {
            let t = scores.clone().reshape(dims).unwrap();
            assert!(
                a.add("y", &t, &[0, 0]).unwrap_err().to_string().starts_with("output y: shape"),
                "{dims:?}"
            );
        }
        assert!(a.add("y", &scores.reshape(&[2, 3, 1, 1]).unwrap(), &[0, 0]).is_ok());
        assert_eq!(Accuracy::default().percent().top1, 0.0);
    }

    #[test]
    fn integer_scores_count_too() {
        let mut a = Accuracy::default();
        a.add("y", &Tensor::new(&[1, 3], vec![0u8, 200, 7]).unwrap(), &[1]).unwrap();
        assert_eq!(a.percent().top1, 100.0);
    }

    proptest! {
        #[test]
        fn ranks_are_those_of_a_stable_sort(
            scores in proptest::collection::vec(-3i32..3, 2..12),
            label in 0usize..12,
        ) {
            let label = label % scores.len();
            let floats: Vec<f32> = scores.iter().map(|s| *s as f32).collect();
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by_key(|i| std::cmp::Reverse(scores[*i]));
            let hit = |k: usize| if order[..k.min(order.len())].contains(&label) { 100.0 } else { 0.0 };
            prop_assert_eq!(percent(&floats, scores.len(), &[label as i64]), (hit(1), hit(5)));
        }
    }
}
