//! Arrays, taken in batches.

use crate::{AnalysisError, Preprocess, Source, concat_rows, take_rows};
use std::ops::Range;
use tq_graph::{Graph, Tensor, ValueId};
use tq_qtypes::DType;

/// Inputs of one call of a model.
#[derive(Debug, Clone)]
pub struct Batch {
    /// One tensor a graph input, in the graph's order.
    pub inputs: Vec<Tensor>,
    /// Rows of axis 0 that are data; those after them repeat the last one to fill a fixed batch.
    pub rows: usize,
    /// Rows of axis 0 that the inputs hold.
    pub padded_rows: usize,
}

impl Batch {
    /// An output without the rows that belong to the filling.
    ///
    /// # Errors
    /// [`AnalysisError::Rows`] when the batch was filled up and the output does not have a row for each of its rows.
    pub fn trim(&self, output: Tensor) -> Result<Tensor, AnalysisError> {
        if self.rows == self.padded_rows {
            return Ok(output);
        }
        match output.dims().first() {
            Some(n) if *n == self.padded_rows => take_rows(&output, 0, self.rows, self.rows),
            n => Err(AnalysisError::Rows {
                start: 0,
                end: self.padded_rows,
                available: n.copied().unwrap_or(0),
            }),
        }
    }
}

impl AsRef<[Tensor]> for Batch {
    fn as_ref(&self) -> &[Tensor] {
        &self.inputs
    }
}

/// Rows for the inputs of a model. Bytes stay bytes, and what is not in memory stays where it is, until a batch of them
/// is asked for.
///
/// An input whose first dimension is free takes any number of rows. Where it is fixed to `b`, and the array has rank 2
/// or more and more than `b` rows, the data goes through in batches of `b`, the last one filled up by repeating its last
/// row (which is cut off the outputs again). Where the array has exactly the `b` rows and another input has more, it is
/// given again with every batch, as the initial state of a recurrent network is.
#[derive(Debug, Clone)]
pub struct Dataset {
    inputs: Vec<Input>,
    /// Each holds one source a graph input; several where arrays could not be joined.
    groups: Vec<Group>,
    preprocess: Preprocess,
}

#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    /// Declared dimensions, `None` where free.
    pub(crate) dims: Vec<Option<usize>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Group {
    sources: Vec<Source>,
    /// For each source whether it is cut into rows.
    cut: Vec<bool>,
    rows: usize,
    /// The batch that the model insists on.
    fixed: Option<usize>,
    /// Whether it is one batch, whatever size is asked for.
    whole: bool,
}

/// What a graph declares of its inputs, of which at least `given` are given something.
pub(crate) fn inputs_of(graph: &Graph, given: usize) -> Result<Vec<Input>, AnalysisError> {
    let declared = |id: &ValueId| {
        let value = graph.value(*id);
        let unknown = || fail(&value.name, "the model declares no type or rank for it".into());
        let shape = value.shape.as_ref().ok_or_else(unknown)?;
        Ok(Input {
            name: value.name.clone(),
            dtype: value.dtype.ok_or_else(unknown)?,
            dims: shape.iter().map(tq_graph::Dim::known_usize).collect(),
        })
    };
    let inputs = graph.inputs.iter().map(declared).collect::<Result<Vec<_>, AnalysisError>>()?;
    if given > inputs.len() {
        let n = inputs.len();
        return Err(AnalysisError::Concat(format!("{given} arrays for a model of {n} inputs")));
    }
    Ok(inputs)
}

impl Dataset {
    /// One array a graph input, in the graph's order.
    ///
    /// # Errors
    /// As [`Dataset::with_segments`].
    ///
    /// ```
    /// use tq_analysis::Dataset;
    /// use tq_graph::{Dim, Graph, Tensor};
    /// use tq_qtypes::DType;
    ///
    /// let mut graph = Graph::new("g");
    /// let x = graph.add_input("x", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
    /// graph.outputs.push(x);
    /// let data = Dataset::new(&graph, vec![Tensor::new(&[3, 2], vec![0.0f32; 6])?])?;
    /// let rows: Vec<usize> = data.batches(Some(2)).map(|b| Ok::<_, tq_analysis::AnalysisError>(b?.rows)).collect::<Result<_, _>>()?;
    /// assert_eq!(rows, [2, 1]);
    /// # Ok::<(), tq_analysis::AnalysisError>(())
    /// ```
    pub fn new(graph: &Graph, arrays: Vec<Tensor>) -> Result<Self, AnalysisError> {
        Self::with_segments(graph, arrays.into_iter().map(|a| vec![a]).collect(), Preprocess::default())
    }

    /// Several arrays a graph input, one after the other, and what is done to those that hold bytes.
    ///
    /// Arrays of one input are joined along axis 0 where their other dimensions agree; where they do not, they stay
    /// batches of their own, and every input must have the same number of them.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] naming the graph input whose array is missing or has the wrong type, rank, dimensions
    /// or number of rows, [`AnalysisError::Preprocess`] for wrong parameters, [`AnalysisError::Empty`] when there are no rows.
    pub fn with_segments(
        graph: &Graph,
        segments: Vec<Vec<Tensor>>,
        preprocess: Preprocess,
    ) -> Result<Self, AnalysisError> {
        let sources = segments.into_iter().map(|s| s.into_iter().map(Source::from).collect()).collect();
        Self::with_sources(graph, sources, preprocess)
    }

    /// As [`Dataset::with_segments`], from arrays and from what is read when it is needed. Only arrays are joined.
    ///
    /// # Errors
    /// As [`Dataset::with_segments`].
    ///
    /// ```
    /// use std::error::Error;
    /// use std::sync::Arc;
    /// use tq_analysis::{Dataset, Preprocess, RowSource, Source};
    /// use tq_graph::{Dim, Graph, Tensor};
    /// use tq_qtypes::DType;
    ///
    /// /// A thousand rows, of which no more than a batch exists at a time.
    /// #[derive(Debug)]
    /// struct Ramp;
    ///
    /// impl RowSource for Ramp {
    ///     fn dtype(&self) -> DType {
    ///         DType::F32
    ///     }
    ///     fn dims(&self) -> &[usize] {
    ///         &[1000, 1]
    ///     }
    ///     fn read(&self, start: usize, end: usize) -> Result<Tensor, Box<dyn Error + Send + Sync>> {
    ///         Ok(Tensor::new(&[end - start, 1], (start..end).map(|v| v as f32).collect())?)
    ///     }
    /// }
    ///
    /// let mut graph = Graph::new("g");
    /// let x = graph.add_input("x", DType::F32, vec![Dim::symbol("N"), 1usize.into()]);
    /// graph.outputs.push(x);
    /// let data = Dataset::with_sources(&graph, vec![vec![Source::Rows(Arc::new(Ramp))]], Preprocess::default())?;
    /// assert_eq!((data.rows(), data.batches(Some(8)).count()), (1000, 125));
    /// # Ok::<(), tq_analysis::AnalysisError>(())
    /// ```
    pub fn with_sources(
        graph: &Graph,
        segments: Vec<Vec<Source>>,
        preprocess: Preprocess,
    ) -> Result<Self, AnalysisError> {
        preprocess.validate()?;
        let inputs = inputs_of(graph, segments.len())?;
        for (i, input) in inputs.iter().enumerate() {
            let arrays = segments.get(i).map_or(&[][..], Vec::as_slice);
            if arrays.is_empty() {
                return Err(fail(&input.name, "no array is given for it".into()));
            }
            arrays.iter().try_for_each(|a| check(input, a, &preprocess))?;
        }
        let groups = group(&inputs, segments)?
            .into_iter()
            .map(|sources| Group::new(&inputs, sources))
            .collect::<Result<Vec<_>, _>>()?;
        Self::of_groups(inputs, groups, preprocess)
    }

    /// The groups that hold data.
    pub(crate) fn of_groups(
        inputs: Vec<Input>,
        mut groups: Vec<Group>,
        preprocess: Preprocess,
    ) -> Result<Self, AnalysisError> {
        groups.retain(|g| g.rows > 0);
        if groups.is_empty() {
            return Err(AnalysisError::Empty);
        }
        Ok(Self { inputs, groups, preprocess })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.groups.iter().map(|g| g.rows).sum()
    }

    /// Checks that no batch has to be filled up: that the rows are a multiple of the batch that a model insists on.
    ///
    /// # Errors
    /// [`AnalysisError::Input`] naming the input and both numbers.
    pub fn require_whole_batches(&self) -> Result<(), AnalysisError> {
        for g in &self.groups {
            if let Some(b) = g.fixed.filter(|b| g.rows % b != 0) {
                let input =
                    self.inputs.iter().zip(&g.cut).find(|(_, cut)| **cut).map_or("?", |(i, _)| &i.name);
                return Err(fail(input, format!("{} rows do not fill batches of {b}", g.rows)));
            }
        }
        Ok(())
    }

    /// The data in batches of `size` rows, or of as many as the model insists on; `None` takes whole arrays.
    pub fn batches(&self, size: Option<usize>) -> impl Iterator<Item = Result<Batch, AnalysisError>> + '_ {
        self.shard(size, 0, 1)
    }

    /// Every `count`-th of these batches, from the one numbered `index` (from 0) on. The others are not read.
    ///
    /// All shards together are the whole data, each batch once, for as long as `size` is the same.
    pub fn shard(
        &self,
        size: Option<usize>,
        index: usize,
        count: usize,
    ) -> impl Iterator<Item = Result<Batch, AnalysisError>> + '_ {
        self.spans(size, index, count).map(|(group, rows)| self.batch(group, rows))
    }

    /// How many rows the batches of [`Dataset::shard`] hold together.
    #[must_use]
    pub fn shard_rows(&self, size: Option<usize>, index: usize, count: usize) -> usize {
        self.spans(size, index, count).map(|(_, rows)| rows.len()).sum()
    }

    /// Group and rows of every `count`-th batch.
    fn spans(
        &self,
        size: Option<usize>,
        index: usize,
        count: usize,
    ) -> impl Iterator<Item = (&Group, Range<usize>)> {
        let all = self.groups.iter().flat_map(move |g| {
            let step = g.step(size);
            (0..g.rows).step_by(step).map(move |start| (g, start..start.saturating_add(step).min(g.rows)))
        });
        all.skip(index).step_by(count.max(1))
    }

    fn batch(&self, group: &Group, rows: Range<usize>) -> Result<Batch, AnalysisError> {
        let padded_rows = group.fixed.unwrap_or(rows.len());
        let inputs = (self.inputs.iter().zip(&group.sources).zip(&group.cut))
            .map(|((input, source), cut)| {
                let part = match cut {
                    true => source.rows(rows.start, rows.end, padded_rows, &input.name)?,
                    false => source.whole(&input.name)?,
                };
                self.preprocess.apply(&part, input.dtype)
            })
            .collect::<Result<_, AnalysisError>>()?;
        Ok(Batch { inputs, rows: rows.len(), padded_rows })
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    pub(crate) fn input_name(&self, input: usize) -> &str {
        self.inputs.get(input).map_or("?", |i| &i.name)
    }

    /// How many batches [`Dataset::batches`] gives.
    #[must_use]
    pub fn batch_count(&self, size: Option<usize>) -> usize {
        self.groups.iter().map(|g| g.rows.div_ceil(g.step(size))).sum()
    }
}

impl Group {
    fn new(inputs: &[Input], sources: Vec<Source>) -> Result<Self, AnalysisError> {
        let declared = |i: usize| inputs[i].dims.first().copied().flatten();
        let rows_of = |s: &Source| s.dims().first().copied();
        // Inputs with exactly the rows they declare are not cut, unless all are like that.
        let mut cut: Vec<bool> = sources
            .iter()
            .enumerate()
            .map(|(i, s)| !s.dims().is_empty() && declared(i).is_none_or(|d| rows_of(s) != Some(d)))
            .collect();
        if !cut.contains(&true) {
            let first = sources.iter().find_map(rows_of).unwrap_or(1);
            cut = sources.iter().map(|s| rows_of(s) == Some(first)).collect();
        }
        let mut rows = None;
        let mut fixed = None;
        for (i, s) in sources.iter().enumerate().filter(|(i, _)| cut[*i]) {
            let n = rows_of(s).unwrap_or(0);
            if *rows.get_or_insert(n) != n {
                return Err(fail(
                    &inputs[i].name,
                    format!("{n} rows, but another input has {}", rows.unwrap_or(0)),
                ));
            }
            let Some(b) = declared(i) else { continue };
            if n < b || (n > b && s.dims().len() < 2) {
                return Err(wrong_shape(&inputs[i], s));
            }
            if b == 0 || *fixed.get_or_insert(b) != b {
                return Err(fail(&inputs[i].name, format!("{n} rows do not make batches of {b}")));
            }
        }
        // Rows without elements are no data, however many there are.
        if sources.iter().zip(&cut).any(|(s, cut)| *cut && s.dims().contains(&0)) {
            rows = Some(0);
        }
        Ok(Self { sources, cut, rows: rows.unwrap_or(1), fixed, whole: false })
    }

    /// Sources of `rows` rows that go through uncut in one batch.
    pub(crate) fn whole(sources: Vec<Source>, rows: usize) -> Self {
        Self { cut: vec![false; sources.len()], sources, rows, fixed: None, whole: true }
    }

    pub(crate) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether an input is cut into the rows of the data.
    pub(crate) fn is_cut(&self, input: usize) -> bool {
        self.cut.get(input).copied().unwrap_or(false)
    }

    /// Rows a batch.
    fn step(&self, size: Option<usize>) -> usize {
        let size = size.filter(|_| !self.whole);
        self.fixed.or(size).unwrap_or(self.rows).max(1)
    }
}

fn fail(name: &str, message: String) -> AnalysisError {
    AnalysisError::Input { name: name.to_owned(), message }
}

pub(crate) fn wrong_shape(input: &Input, array: &Source) -> AnalysisError {
    let declared: Vec<String> = input.dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
    fail(&input.name, format!("expected shape [{}], got {:?}", declared.join(", "), array.dims()))
}

/// Checks all but the number of rows.
pub(crate) fn check(input: &Input, array: &Source, preprocess: &Preprocess) -> Result<(), AnalysisError> {
    let applies = Preprocess::applies(array.dtype(), input.dtype);
    if array.dtype() != input.dtype && !applies {
        return Err(fail(&input.name, format!("expected {}, got {}", input.dtype, array.dtype())));
    }
    let fits = array.dims().len() == input.dims.len()
        && array
            .dims()
            .iter()
            .zip(&input.dims)
            .skip(1)
            .all(|(got, declared)| declared.is_none_or(|d| d == *got));
    if !fits {
        return Err(wrong_shape(input, array));
    }
    if applies { preprocess.check_dims(array.dims()) } else { Ok(()) }
}

/// Joins each input's arrays where that is possible for all of them, else pairs them up.
fn group(inputs: &[Input], segments: Vec<Vec<Source>>) -> Result<Vec<Vec<Source>>, AnalysisError> {
    if let Some(joined) = segments.iter().map(|s| join(s)).collect::<Option<Vec<_>>>() {
        return Ok(vec![joined.into_iter().collect::<Result<_, _>>()?]);
    }
    let count = segments.first().map_or(0, Vec::len);
    if let Some(i) = segments.iter().position(|s| s.len() != count) {
        return Err(fail(
            &inputs[i].name,
            format!(
                "{} arrays, but {} has {count}, and they cannot be joined",
                segments[i].len(),
                inputs[0].name
            ),
        ));
    }
    let mut columns: Vec<_> = segments.into_iter().map(Vec::into_iter).collect();
    Ok((0..count).map(|_| columns.iter_mut().filter_map(Iterator::next).collect()).collect())
}

/// One source for all of an input's, or `None` where they do not fit together.
fn join(sources: &[Source]) -> Option<Result<Source, AnalysisError>> {
    if let [only] = sources {
        return Some(Ok(only.clone()));
    }
    let arrays = sources.iter().map(|s| match s {
        Source::Array(t) if t.rank() > 0 => Some(t.clone()),
        _ => None,
    });
    let arrays = arrays.collect::<Option<Vec<Tensor>>>()?;
    let alike = |w: &[Tensor]| w[0].dtype() == w[1].dtype() && w[0].dims().get(1..) == w[1].dims().get(1..);
    arrays.windows(2).all(alike).then(|| concat_rows(&arrays).map(Source::Array))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_graph::Dim;

    fn graph(inputs: &[(&str, DType, &[i64])]) -> Graph {
        let mut g = Graph::new("g");
        for (name, dtype, dims) in inputs {
            let shape = dims
                .iter()
                .map(|d| if *d < 0 { Dim::symbol(format!("s{}", -d)) } else { Dim::from(*d) })
                .collect();
            g.add_input(*name, *dtype, shape);
        }
        g
    }

    fn rows(n: usize) -> Tensor {
        Tensor::new(&[n, 1], (0..n).map(|v| v as f32).collect()).unwrap()
    }

    fn sizes(d: &Dataset, size: Option<usize>) -> Vec<(usize, usize)> {
        let all: Vec<_> = d.batches(size).map(|b| b.unwrap()).map(|b| (b.rows, b.padded_rows)).collect();
        assert_eq!(all.len(), d.batch_count(size));
        all
    }

    fn message(r: Result<Dataset, AnalysisError>) -> String {
        r.unwrap_err().to_string()
    }

    #[test]
    fn free_axis_is_cut_as_asked() {
        let d = Dataset::new(&graph(&[("x", DType::F32, &[-1, 1])]), vec![rows(5)]).unwrap();
        assert_eq!(sizes(&d, None), [(5, 5)]);
        assert_eq!(sizes(&d, Some(2)), [(2, 2), (2, 2), (1, 1)]);
        assert_eq!(sizes(&d, Some(100)), [(5, 5)]);
    }

    #[test]
    fn fixed_axis_decides_and_is_filled_up() {
        let d = Dataset::new(&graph(&[("x", DType::F32, &[2, 1])]), vec![rows(5)]).unwrap();
        assert_eq!(sizes(&d, Some(4)), [(2, 2), (2, 2), (1, 2)]);
        let last = d.batches(None).last().unwrap().unwrap();
        assert_eq!(last.inputs[0].as_slice::<f32>().unwrap(), [4.0, 4.0]);
        let text = d.require_whole_batches().unwrap_err().to_string();
        assert_eq!(text, "input x: 5 rows do not fill batches of 2");
        let four = Dataset::new(&graph(&[("x", DType::F32, &[2, 1])]), vec![rows(4)]).unwrap();
        assert!(four.require_whole_batches().is_ok());
    }

    #[test]
    fn state_is_given_with_every_batch() {
        let g = graph(&[("x", DType::F32, &[-1, 1]), ("h", DType::F32, &[1, 1])]);
        let d = Dataset::new(&g, vec![rows(4), rows(1)]).unwrap();
        assert_eq!(sizes(&d, Some(3)), [(3, 3), (1, 1)]);
        assert!(d.batches(Some(3)).all(|b| b.unwrap().inputs[1].dims() == [1, 1]));
    }

    #[test]
    fn segments_are_joined_or_kept_apart() {
        let g = graph(&[("x", DType::F32, &[-1, -2])]);
        let joined = Dataset::with_segments(&g, vec![vec![rows(2), rows(3)]], Preprocess::default()).unwrap();
        assert_eq!(sizes(&joined, None), [(5, 5)]);
        let wide = Tensor::new(&[1, 2], vec![0.0f32; 2]).unwrap();
        let apart = Dataset::with_segments(&g, vec![vec![rows(2), wide]], Preprocess::default()).unwrap();
        assert_eq!((apart.rows(), sizes(&apart, None)), (3, vec![(2, 2), (1, 1)]));
    }

    /// Counts what is read.
    #[derive(Debug, Default)]
    struct Counted(std::sync::Mutex<Vec<(usize, usize)>>);

    impl crate::RowSource for Counted {
        fn dtype(&self) -> DType {
            DType::F32
        }
        fn dims(&self) -> &[usize] {
            &[5, 1]
        }
        fn read(&self, a: usize, b: usize) -> Result<Tensor, Box<dyn std::error::Error + Send + Sync>> {
            self.0.lock().unwrap().push((a, b));
            if b == 5 {
                return Err("row 4 is torn".into());
            }
            Ok(take_rows(&rows(5), a, b, b - a)?)
        }
    }

    #[test]
    fn rows_are_read_when_their_batch_is() {
        let source = std::sync::Arc::new(Counted::default());
        let sources = || vec![vec![Source::Rows(source.clone())]];
        let free = graph(&[("x", DType::F32, &[-1, 1])]);
        let d = Dataset::with_sources(&free, sources(), Preprocess::default()).unwrap();
        assert_eq!((d.rows(), d.batch_count(Some(2)), source.0.lock().unwrap().len()), (5, 3, 0));
        let second: Vec<_> = d.shard(Some(2), 1, 3).collect();
        assert_eq!(second[0].as_ref().unwrap().inputs[0].as_slice::<f32>().unwrap(), [2.0, 3.0]);
        assert_eq!((second.len(), source.0.lock().unwrap().as_slice()), (1, &[(2, 4)][..]));
        let text = d.batches(Some(2)).last().unwrap().unwrap_err().to_string();
        assert_eq!(text, "input x: row 4 is torn");
        // A fixed batch is filled up all the same.
        let fixed = graph(&[("x", DType::F32, &[4, 1])]);
        let d = Dataset::with_sources(&fixed, sources(), Preprocess::default()).unwrap();
        assert_eq!((d.shard_rows(None, 0, 2), d.shard_rows(None, 1, 2)), (4, 1));
        assert_eq!(d.batches(None).next().unwrap().unwrap().inputs[0].dims(), [4, 1]);
    }

    #[test]
    fn shards_are_the_whole_without_overlap() {
        let d = Dataset::new(&graph(&[("x", DType::F32, &[-1, 1])]), vec![rows(23)]).unwrap();
        for count in 1..6 {
            let mut seen = Vec::new();
            for index in 0..count {
                let shard: Vec<Batch> = d.shard(Some(4), index, count).map(|b| b.unwrap()).collect();
                assert_eq!(shard.iter().map(|b| b.rows).sum::<usize>(), d.shard_rows(Some(4), index, count));
                seen.extend(shard.iter().flat_map(|b| b.inputs[0].as_slice::<f32>().unwrap().to_vec()));
            }
            seen.sort_by(f32::total_cmp);
            assert_eq!(seen, rows(23).as_slice::<f32>().unwrap());
        }
    }

    #[test]
    fn bytes_become_floats_batch_by_batch() {
        let g = graph(&[("x", DType::F32, &[-1, 1])]);
        let bytes = Tensor::new(&[2, 1], vec![0u8, 255]).unwrap();
        let p = Preprocess { scale: 1.0 / 255.0, ..Preprocess::default() };
        let d = Dataset::with_segments(&g, vec![vec![bytes]], p).unwrap();
        let last = d.batches(Some(1)).last().unwrap().unwrap();
        assert_eq!(last.inputs[0].as_slice::<f32>().unwrap(), [1.0]);
    }

    #[test]
    fn wrong_data_is_named() {
        let g = graph(&[("x", DType::F32, &[-1, 3])]);
        assert!(message(Dataset::new(&g, vec![])).contains("input x: no array"));
        assert!(message(Dataset::new(&g, vec![rows(2)])).contains("expected shape [?, 3], got [2, 1]"));
        let ints = Tensor::new(&[1, 3], vec![0i64; 3]).unwrap();
        assert!(message(Dataset::new(&g, vec![ints])).contains("expected f32, got i64"));
        let none = Tensor::new(&[0, 3], Vec::<f32>::new()).unwrap();
        assert!(message(Dataset::new(&g, vec![none])).contains("no rows"));
        let large = graph(&[("x", DType::F32, &[1 << 40, 1])]);
        assert!(message(Dataset::new(&large, vec![rows(1)])).contains("got [1, 1]"));
        let vector = graph(&[("x", DType::F32, &[2])]);
        assert!(
            message(Dataset::new(&vector, vec![Tensor::vector(vec![0.0f32; 4])]))
                .contains("shape [2], got [4]")
        );
        let hollow = Tensor::new(&[1 << 40, 0], Vec::<f32>::new()).unwrap();
        assert!(
            message(Dataset::new(&graph(&[("x", DType::F32, &[-1, -2])]), vec![hollow])).contains("no rows")
        );
        let two = graph(&[("a", DType::F32, &[-1, 1]), ("b", DType::F32, &[-1, 1])]);
        assert!(message(Dataset::new(&two, vec![rows(2), rows(3)])).contains("input b: 3 rows"));
        let fixed = graph(&[("a", DType::F32, &[2, 1]), ("b", DType::F32, &[3, 1])]);
        assert!(message(Dataset::new(&fixed, vec![rows(6), rows(6)])).contains("batches of 3"));
    }

    #[test]
    fn scalar_inputs_and_no_inputs_are_one_batch() {
        let d = Dataset::new(&graph(&[("x", DType::F32, &[])]), vec![Tensor::scalar(1.0f32)]).unwrap();
        assert_eq!(sizes(&d, Some(8)), [(1, 1)]);
        let d = Dataset::new(&graph(&[]), vec![]).unwrap();
        assert_eq!(sizes(&d, None), [(1, 1)]);
    }
}
