//! Data in which every item is a run of its own, and inputs that are all zeros.

use crate::data::{Group, check, inputs_of, wrong_shape};
use crate::{AnalysisError, Dataset, Preprocess, Source, take_rows};
use half::{bf16, f16};
use tq_graph::{Graph, Tensor};
use tq_qtypes::DType;

impl Dataset {
    /// Arrays whose axis 0 counts runs: the model is given `data[0]`, then `data[1]`, each whole, however many rows it
    /// has. This is how a model is fed whose own axis 0 is time: a recurrent network over frames `[frames, features]`
    /// takes clips `[clips, frames, features]` one by one, each from the same initial state.
    ///
    /// An array has one dimension more than its input then. One of the input's own rank is given again with every run,
    /// as an initial state is. Several arrays of an input follow each other, and may differ in all but their rank.
    ///
    /// # Errors
    /// As [`Dataset::with_segments`]; [`AnalysisError::Input`] too when inputs have different numbers of runs, or when
    /// no array counts them.
    ///
    /// ```
    /// use tq_analysis::{Dataset, Preprocess, zeros_of};
    /// use tq_graph::{Dim, Graph, Tensor};
    /// use tq_qtypes::DType;
    ///
    /// let mut graph = Graph::new("g");
    /// let frames = graph.add_input("frames", DType::F32, vec![Dim::symbol("T"), 2usize.into()]);
    /// graph.add_input("h", DType::F32, vec![1usize.into(), 4usize.into()]);
    /// graph.outputs.push(frames);
    /// let clips = Tensor::new(&[3, 5, 2], vec![0.0f32; 30])?;
    /// let state = zeros_of(&graph, "h")?;
    /// let data = Dataset::with_sequences(&graph, vec![vec![clips], vec![state]], Preprocess::default())?;
    /// let shapes: Vec<_> = data.batches(Some(1)).map(|b| b.map(|b| b.inputs[0].dims().to_vec())).collect::<Result<_, _>>()?;
    /// assert_eq!(shapes, vec![vec![5, 2]; 3]);
    /// # Ok::<(), tq_analysis::AnalysisError>(())
    /// ```
    pub fn with_sequences(
        graph: &Graph,
        segments: Vec<Vec<Tensor>>,
        preprocess: Preprocess,
    ) -> Result<Self, AnalysisError> {
        preprocess.validate()?;
        let inputs = inputs_of(graph, segments.len())?;
        let fail = |name: &str, message: String| AnalysisError::Input { name: name.to_owned(), message };
        // What each input is given: in every run another, or in all the same.
        let mut columns: Vec<(bool, Vec<Tensor>)> = Vec::new();
        for (i, input) in inputs.iter().enumerate() {
            let rank = input.dims.len();
            match segments.get(i).map_or(&[][..], Vec::as_slice) {
                [] => return Err(fail(&input.name, "no array is given for it".into())),
                [state] if state.rank() == rank => columns.push((false, vec![state.clone()])),
                arrays => {
                    let mut items = Vec::new();
                    for array in arrays {
                        if array.rank() != rank + 1 {
                            let dims = array.dims();
                            let why =
                                format!("its sequences have rank {rank}, so {dims:?} does not count them");
                            return Err(fail(&input.name, why));
                        }
                        for k in 0..array.dims()[0] {
                            items.push(take_rows(array, k, k + 1, 1)?.reshape(&array.dims()[1..])?);
                        }
                    }
                    columns.push((true, items));
                }
            }
        }
        let Some(lead) = columns.iter().position(|(counts, _)| *counts) else {
            return Err(fail(
                inputs.first().map_or("?", |i| &i.name),
                "no array has the one dimension more that counts sequences".into(),
            ));
        };
        let runs = columns[lead].1.len();
        for (input, (counts, items)) in inputs.iter().zip(&columns) {
            if *counts && items.len() != runs {
                let why = format!("{} sequences, but {} has {runs}", items.len(), inputs[lead].name);
                return Err(fail(&input.name, why));
            }
        }
        let mut groups = Vec::with_capacity(runs);
        for run in 0..runs {
            let item = |(counts, items): &(bool, Vec<Tensor>)| items[if *counts { run } else { 0 }].clone();
            let sources: Vec<Source> = columns.iter().map(|c| item(c).into()).collect();
            for (input, source) in inputs.iter().zip(&sources) {
                check(input, source, &preprocess)?;
                let (declared, found) = (input.dims.first().copied().flatten(), source.dims().first());
                if declared.is_some_and(|d| found != Some(&d)) {
                    return Err(wrong_shape(input, source));
                }
            }
            let rows = sources[lead].dims().first().copied().unwrap_or(1);
            groups.push(Group::whole(sources, rows));
        }
        Self::of_groups(inputs, groups, preprocess)
    }
}

/// An input's worth of zeros, as the initial state of a recurrent network usually is: of the declared type and shape,
/// with 1 for what is free in it.
///
/// # Errors
/// [`AnalysisError::Input`] when there is no such input, or it declares no type or rank.
pub fn zeros_of(graph: &Graph, input: &str) -> Result<Tensor, AnalysisError> {
    let fail = |message: String| AnalysisError::Input { name: input.to_owned(), message };
    let values = graph.inputs.iter().map(|id| graph.value(*id));
    let value = values.clone().find(|v| v.name == input).ok_or_else(|| {
        let names: Vec<&str> = values.clone().map(|v| v.name.as_str()).collect();
        fail(format!("the model has no such input, it has [{}]", names.join(", ")))
    })?;
    let unknown = || fail("the model declares no type or rank for it".into());
    let dims: Vec<usize> =
        value.shape.as_ref().ok_or_else(unknown)?.iter().map(|d| d.known_usize().unwrap_or(1)).collect();
    let n = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MAX_ZEROS);
    let n = n.ok_or_else(|| fail(format!("zeros of shape {dims:?} are too many")))?;
    Ok(match value.dtype.ok_or_else(unknown)? {
        DType::F32 => Tensor::new(&dims, vec![0.0f32; n])?,
        DType::F64 => Tensor::new(&dims, vec![0.0f64; n])?,
        DType::F16 => Tensor::new(&dims, vec![f16::ZERO; n])?,
        DType::BF16 => Tensor::new(&dims, vec![bf16::ZERO; n])?,
        DType::I64 => Tensor::new(&dims, vec![0i64; n])?,
        DType::I32 => Tensor::new(&dims, vec![0i32; n])?,
        DType::I8 => Tensor::new(&dims, vec![0i8; n])?,
        DType::U8 => Tensor::new(&dims, vec![0u8; n])?,
        DType::Bool => Tensor::new(&dims, vec![false; n])?,
        other => return Err(fail(format!("zeros of type {other} are not made"))),
    })
}

/// No state is larger; a file that declares one is not believed.
const MAX_ZEROS: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;
    use tq_graph::Dim;

    /// `x [T, 2]`, `h [1, 3]`.
    fn graph() -> Graph {
        let mut g = Graph::new("g");
        let x = g.add_input("x", DType::F32, vec![Dim::symbol("T"), 2usize.into()]);
        g.add_input("h", DType::F32, vec![1usize.into(), 3usize.into()]);
        g.outputs.push(x);
        g
    }

    fn t(dims: &[usize]) -> Tensor {
        Tensor::new(dims, (0..dims.iter().product()).map(|v| v as f32).collect()).unwrap()
    }

    fn data(x: Vec<Tensor>, h: Vec<Tensor>) -> Result<Dataset, AnalysisError> {
        Dataset::with_sequences(&graph(), vec![x, h], Preprocess::default())
    }

    #[test]
    fn every_item_is_a_run_of_its_own() {
        let d = data(vec![t(&[2, 4, 2]), t(&[1, 7, 2])], vec![t(&[1, 3])]).unwrap();
        let batches: Vec<_> = d.batches(Some(1)).map(Result::unwrap).collect();
        let shapes: Vec<&[usize]> = batches.iter().map(|b| b.inputs[0].dims()).collect();
        assert_eq!(shapes, [&[4, 2][..], &[4, 2], &[7, 2]]);
        assert_eq!(
            batches[1].inputs[0].as_slice::<f32>().unwrap(),
            [8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
        );
        assert!(batches.iter().all(|b| b.inputs[1] == t(&[1, 3]) && b.rows == b.padded_rows));
        assert_eq!((d.rows(), d.batch_count(None)), (15, 3));
    }

    #[test]
    fn states_may_differ_from_run_to_run() {
        let d = data(vec![t(&[2, 4, 2])], vec![t(&[2, 1, 3])]).unwrap();
        let second = d.batches(None).nth(1).unwrap().unwrap();
        assert_eq!(second.inputs[1].as_slice::<f32>().unwrap(), [3.0, 4.0, 5.0]);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let text = |r: Result<Dataset, AnalysisError>| r.unwrap_err().to_string();
        let h = || vec![t(&[1, 3])];
        assert!(text(data(vec![t(&[4, 2])], h())).contains("no array has the one dimension more"));
        assert!(text(data(vec![t(&[2, 4, 3])], h())).contains("expected shape [?, 2], got [4, 3]"));
        assert!(text(data(vec![t(&[2, 4, 2])], vec![t(&[3, 1, 3])])).contains("3 sequences, but x has 2"));
        assert!(
            text(data(vec![t(&[2, 4, 2])], vec![t(&[2, 2, 3])]))
                .contains("expected shape [1, 3], got [2, 3]")
        );
        assert!(text(data(vec![t(&[2, 4, 2])], vec![])).contains("input h: no array"));
        assert!(text(data(vec![t(&[2, 4, 2]), t(&[4, 2])], h())).contains("rank 2"));
    }

    #[test]
    fn zeros_are_as_declared() {
        let z = zeros_of(&graph(), "x").unwrap();
        assert_eq!((z.dims(), z.as_slice::<f32>().unwrap()), (&[1, 2][..], &[0.0, 0.0][..]));
        assert!(zeros_of(&graph(), "c").unwrap_err().to_string().contains("it has [x, h]"));
    }
}
