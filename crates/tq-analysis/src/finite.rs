//! Data without NaN and infinities: what every comparison of a model with its float original begins with.
//!
//! A NaN makes every error NaN or nothing, and an infinity drowns the rest; neither tells anything of a model.

use crate::data::Group;
use crate::{AnalysisError, Batch, Dataset, Source};
use tq_graph::Tensor;

impl Dataset {
    /// Checks the arrays in memory. What is read when it is needed is checked as it comes, by [`Dataset::finite_batches`].
    ///
    /// # Errors
    /// [`AnalysisError::NotFinite`] naming the first NaN or infinity.
    pub fn require_finite(&self) -> Result<(), AnalysisError> {
        let mut base = 0;
        for group in self.groups() {
            for (i, source) in group.sources().iter().enumerate() {
                if let Source::Array(tensor) = source {
                    self.check_finite(i, tensor, if group.is_cut(i) { base } else { 0 })?;
                }
            }
            base += group.rows();
        }
        Ok(())
    }

    /// [`Dataset::batches`] of which none has a NaN or an infinity.
    ///
    /// # Errors
    /// Of each batch what that says, and [`AnalysisError::NotFinite`].
    pub fn finite_batches(
        &self,
        size: Option<usize>,
    ) -> impl Iterator<Item = Result<Batch, AnalysisError>> + '_ {
        let mut base = 0;
        self.batches(size).map(move |batch| {
            let batch = batch?;
            for (i, tensor) in batch.inputs.iter().enumerate() {
                // What goes through whole with every batch has rows of its own.
                let cut = self.groups().iter().any(|g: &Group| g.is_cut(i));
                self.check_finite(i, tensor, if cut { base } else { 0 })?;
            }
            base += batch.rows;
            Ok(batch)
        })
    }

    fn check_finite(&self, input: usize, tensor: &Tensor, base: usize) -> Result<(), AnalysisError> {
        let Some(values) = floats(tensor) else { return Ok(()) };
        let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
        let row = values.len() / tensor.dims().first().copied().unwrap_or(1).max(1);
        Err(AnalysisError::NotFinite {
            input,
            name: self.input_name(input).to_owned(),
            row: base + at / row.max(1),
            element: at % row.max(1),
            value: values[at],
        })
    }
}

/// The values of a tensor that can hold what is not finite.
fn floats(tensor: &Tensor) -> Option<Vec<f64>> {
    tensor.dtype().is_float().then(|| tensor.to_f64_vec()).flatten()
}

/// Refuses a float model's answers that hold NaN: there is nothing to compare with. Infinities, as of masks, stay.
pub(crate) fn require_answers(output: &str, answer: &Tensor, first_row: usize) -> Result<(), AnalysisError> {
    let Some(values) = floats(answer) else { return Ok(()) };
    let Some(at) = values.iter().position(|v| v.is_nan()) else { return Ok(()) };
    let row = values.len() / answer.dims().first().copied().unwrap_or(1).max(1);
    Err(AnalysisError::Output {
        name: output.to_owned(),
        message: format!("the float model answers NaN to row {} of the data", first_row + at / row.max(1)),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Preprocess;
    use tq_graph::{Dim, Graph};
    use tq_qtypes::DType;

    #[test]
    fn the_first_nan_is_named_by_its_row_in_all_the_data() {
        let mut g = Graph::new("g");
        g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into()]);
        g.add_input("h", DType::F32, vec![1usize.into(), 2usize.into()]);
        let with = |bad: Option<(usize, f32)>, state: f32| {
            let mut x = vec![0.5f32; 21];
            if let Some((at, v)) = bad {
                x[at] = v;
            }
            let x = Tensor::new(&[7, 3], x).unwrap();
            let h = Tensor::new(&[1, 2], vec![0.0, state]).unwrap();
            Dataset::with_segments(&g, vec![vec![x], vec![h]], Preprocess::default()).unwrap()
        };
        let place = |d: &Dataset| {
            let whole = d.require_finite().unwrap_err();
            let batch = d.finite_batches(Some(2)).find_map(Result::err).unwrap();
            assert_eq!(whole.to_string(), batch.to_string());
            whole.to_string()
        };
        let error = place(&with(Some((17, f32::NAN)), 0.0));
        assert_eq!(error, "input x: row 5 holds NaN (element 2 of it), and only finite data tells anything");
        let error = place(&with(Some((0, f32::NEG_INFINITY)), 0.0));
        assert_eq!(error, "input x: row 0 holds -inf (element 0 of it), and only finite data tells anything");
        assert!(place(&with(None, f32::INFINITY)).starts_with("input h: row 0 holds inf (element 1"));
        let fine = with(None, 1.0);
        assert!(fine.require_finite().is_ok() && fine.finite_batches(Some(2)).all(|b| b.is_ok()));
    }
}
