//! Operators that only move codes, as lists of where each code comes from.
//!
//! The operator itself is run once, when a plan is made, on a tensor that holds positions instead of codes:
//! what comes out says for every element of the result which element of the input it is. Layouts of input and
//! result are folded into the list, so that any movement between any two layouts is one copy, or none.

use crate::error::StepError;
use crate::layout::{Layout, from_layout, to_layout};
use tq_eval::{Precision, eval_op};
use tq_graph::{Op, Tensor};

/// Where the codes of a result come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum IndexMap {
    /// The result is the input as it lies in memory.
    Same,
    /// Runs that follow each other in the result.
    Runs(Runs),
    /// One position a code; [`FILL`] for the fill code.
    Each(Vec<i32>),
}

/// Runs, and parts of them that threads may share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    /// Runs of a part; the last one may have fewer.
    each: usize,
    /// Where each part ends in the result.
    ends: Vec<usize>,
}

/// Parts that runs are cut into: enough for several threads to end at nearly the same time.
const PARTS: usize = 16;

impl Runs {
    fn new(runs: Vec<Run>) -> Self {
        let each = runs.len().div_ceil(PARTS).max(1);
        let mut len = 0;
        let end = |part: &[Run]| {
            len += part.iter().map(|run| run.len).sum::<usize>();
            len
        };
        let ends = runs.chunks(each).map(end).collect();
        Self { runs, each, ends }
    }

    /// All of them.
    #[cfg(test)]
    pub(crate) fn all(&self) -> &[Run] {
        &self.runs
    }

    /// Where each part ends in the result.
    pub(crate) fn ends(&self) -> &[usize] {
        &self.ends
    }

    /// The runs of a part.
    pub(crate) fn part(&self, i: usize) -> &[Run] {
        self.runs.chunks(self.each).nth(i).unwrap_or_default()
    }
}

/// Consecutive codes of the input, or codes of padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// First position in the input, or [`FILL`].
    pub(crate) from: i32,
    /// Number of codes.
    pub(crate) len: usize,
}

/// The position of a code that is not in the input: padding.
pub(crate) const FILL: i32 = -1;

/// Runs of at least this mean length are copied as such.
const WORTH_RUNS: usize = 8;

impl IndexMap {
    /// The map that changes nothing but the layout of a value of shape `dims`.
    pub(crate) fn relayout(dims: &[usize], from: Layout, to: Layout) -> Option<Self> {
        let len = dims.iter().product::<usize>();
        let positions: Vec<i32> = (0..i32::try_from(len).ok()?).collect();
        let logical = from_layout(&positions, dims, from);
        Some(Self::new(to_layout(&logical, dims, to), len))
    }

    /// The map of these positions in an input of `input_len` codes, or [`FILL`].
    pub(crate) fn new(map: Vec<i32>, input_len: usize) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for &from in &map {
            match runs.last_mut() {
                Some(run) if run.from == FILL && from == FILL => run.len += 1,
                Some(run) if run.from != FILL && from as i64 == run.from as i64 + run.len as i64 => {
                    run.len += 1;
                }
                _ => {
                    if (runs.len() + 1) * WORTH_RUNS > map.len() + WORTH_RUNS {
                        return Self::Each(map);
                    }
                    runs.push(Run { from, len: 1 });
                }
            }
        }
        match runs.as_slice() {
            [] if input_len == 0 => Self::Same,
            [run] if run.from == 0 && run.len == input_len => Self::Same,
            _ => Self::Runs(Runs::new(runs)),
        }
    }
}

/// The maps of all outputs of `op`, for inputs of shape `dims` that lie in `from`.
pub(crate) struct Movement {
    outputs: Vec<(Vec<usize>, Vec<i32>)>,
    input_len: usize,
}

impl Movement {
    /// Runs `op` on positions. `others` are the inputs after the first, all constant.
    ///
    /// `None` when there are more elements than positions can count.
    pub(crate) fn trace(
        op: &Op,
        dims: &[usize],
        from: Layout,
        others: &[Option<&Tensor>],
        outputs: usize,
    ) -> Result<Option<Self>, StepError> {
        let len = dims.iter().product::<usize>();
        let Ok(count) = i32::try_from(len) else { return Ok(None) };
        let positions: Vec<i32> = (0..count).collect();
        let positions = Tensor::new(dims, from_layout(&positions, dims, from))?;
        let fill = Tensor::scalar(FILL);
        let mut inputs = vec![Some(&positions)];
        inputs.extend_from_slice(others);
        if let Op::Pad { .. } = op {
            // The third input is the padding value: here it marks what is padding.
            inputs.resize(inputs.len().max(3), None);
            inputs[2] = Some(&fill);
        }
        let outs = eval_op(op, &inputs, outputs, Precision::F32)?;
        let outputs = outs
            .into_iter()
            .map(|t| Ok((t.dims().to_vec(), t.as_slice::<i32>()?.to_vec())))
            .collect::<Result<Vec<_>, StepError>>()?;
        Ok(Some(Self { outputs, input_len: len }))
    }

    /// Shape of output `i`.
    pub(crate) fn dims(&self, i: usize) -> Option<&[usize]> {
        self.outputs.get(i).map(|(dims, _)| dims.as_slice())
    }

    /// The map of output `i` in layout `to`.
    pub(crate) fn map(&self, i: usize, to: Layout) -> Option<IndexMap> {
        let (dims, logical) = self.outputs.get(i)?;
        Some(IndexMap::new(to_layout(logical, dims, to), self.input_len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(map: &IndexMap, x: &[u8], fill: u8) -> Vec<u8> {
        let at = |i: i32| if i == FILL { fill } else { x[i as usize] };
        match map {
            IndexMap::Same => x.to_vec(),
            IndexMap::Each(m) => m.iter().map(|i| at(*i)).collect(),
            IndexMap::Runs(runs) => runs
                .all()
                .iter()
                .flat_map(|r| (0..r.len as i32).map(move |i| if r.from == FILL { FILL } else { r.from + i }))
                .map(at)
                .collect(),
        }
    }

    #[test]
    fn relayout_is_a_transpose() {
        let dims = [2, 3, 2, 5];
        let x: Vec<u8> = (0..60).collect();
        let map = IndexMap::relayout(&dims, Layout::First, Layout::Last).unwrap();
        assert_eq!(apply(&map, &x, 0), to_layout(&x, &dims, Layout::Last));
        assert_eq!(IndexMap::relayout(&[2, 1, 5], Layout::First, Layout::Last), Some(IndexMap::Same));
    }

    #[test]
    fn flatten_after_pooling_is_free_and_padding_is_marked() {
        let flat =
            Movement::trace(&Op::Flatten { axis: 1 }, &[2, 7, 1, 1], Layout::Last, &[], 1).unwrap().unwrap();
        assert_eq!(flat.map(0, Layout::First), Some(IndexMap::Same));
        let pads = Tensor::vector(vec![0i64, 0, 1, 1, 0, 0, 0, 1]);
        let op = Op::Pad { mode: tq_graph::op::PadMode::Constant };
        let m = Movement::trace(&op, &[1, 1, 2, 2], Layout::First, &[Some(&pads)], 1).unwrap().unwrap();
        assert_eq!(m.dims(0), Some([1, 1, 3, 4].as_slice()));
        let got = apply(&m.map(0, Layout::Last).unwrap(), &[1, 2, 3, 4], 9);
        assert_eq!(got, [9, 9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9]);
    }
}
