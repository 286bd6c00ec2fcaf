//! Pad.

use super::{Context, Inputs, integers, same_dtype};
use crate::OpError;
use crate::number::with_storage;
use crate::shape::{axis_indices, strides};
use tq_graph::op::PadMode;
use tq_graph::{Element, Tensor};

/// Pads, and crops where a pad is negative. Cropping comes first: what is cropped is never mirrored.
pub(crate) fn pad(ctx: &Context, inputs: Inputs, mode: PadMode) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let pads = integers(inputs.need(1)?, "pads")?;
    let axes = match inputs.get(3) {
        Some(axes) => axis_indices(&integers(axes, "axes")?, x.rank())?,
        None => (0..x.rank()).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(OpError::Shape(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mut both = vec![(0, 0); x.rank()];
    for (i, axis) in axes.iter().enumerate() {
        both[*axis] = (pads[i], pads[axes.len() + i]);
    }
    if let Some(value) = inputs.get(2) {
        same_dtype(x, value, "the constant")?;
        if value.len() != 1 {
            return Err(OpError::Shape(format!(
                "the constant has shape {:?}, expected a scalar",
                value.dims()
            )));
        }
    }
    let axes: Vec<Padded> = both
        .iter()
        .zip(x.dims())
        .enumerate()
        .map(|(axis, (&(begin, end), &len))| Padded::new(axis, len, begin, end, mode))
        .collect::<Result<_, _>>()?;
    with_storage!(x.dtype(), T => {
        let fill = match inputs.get(2) {
            Some(value) => value.as_slice::<T>()?.first().copied().unwrap_or_default(),
            None => T::default(),
        };
        let dims: Vec<usize> = axes.iter().map(|a| a.output).collect();
        let data = pad_as::<T>(ctx, x, &axes, &dims, fill, mode)?;
        Ok(Tensor::with_dtype(x.dtype(), &dims, data)?)
    })
}

/// One axis of a padded tensor.
struct Padded {
    /// First index kept.
    first: usize,
    /// Number of indices kept.
    kept: usize,
    /// Indices added before those kept.
    begin: usize,
    /// Length of the output.
    output: usize,
}

impl Padded {
    fn new(axis: usize, len: usize, begin: i64, end: i64, mode: PadMode) -> Result<Self, OpError> {
        let bad = |why: &str| {
            OpError::Shape(format!("{why}: pads {begin} and {end} of axis {axis} of length {len}"))
        };
        let size = |v: u64| usize::try_from(v).map_err(|_| bad("too large"));
        let crop = |v: i64| if v < 0 { size(v.unsigned_abs()) } else { Ok(0) };
        let grow = |v: i64| if v > 0 { size(v.unsigned_abs()) } else { Ok(0) };
        let first = crop(begin)?;
        let kept = len
            .checked_sub(first)
            .and_then(|n| n.checked_sub(crop(end).ok()?))
            .ok_or_else(|| bad("more cropped than there is"))?;
        let begin_added = grow(begin)?;
        let output = kept
            .checked_add(begin_added)
            .and_then(|n| n.checked_add(grow(end).ok()?))
            .ok_or_else(|| bad("too large"))?;
        if kept == 0 && output > 0 && mode != PadMode::Constant {
            return Err(bad("nothing to fill with"));
        }
        Ok(Self { first, kept, begin: begin_added, output })
    }

    /// The input index that output index `o` shows; `None` for the constant. `kept` is not zero.
    fn source(&self, o: usize, mode: PadMode) -> Option<usize> {
        let n = self.kept;
        let inside = match mode {
            PadMode::Constant => o.checked_sub(self.begin).filter(|i| *i < n)?,
            PadMode::Edge => o.saturating_sub(self.begin).min(n - 1),
            // Distances to the kept part are counted modulo the period of the continued signal.
            PadMode::Wrap if o < self.begin => (n - (self.begin - o) % n) % n,
            PadMode::Wrap => (o - self.begin) % n,
            PadMode::Reflect => {
                let period = (2 * (n - 1)).max(1);
                let distance = o.abs_diff(self.begin) % period;
                distance.min(period - distance).min(n - 1)
            }
        };
        Some(self.first + inside)
    }
}

fn pad_as<T: Element>(
    ctx: &Context,
    x: &Tensor,
    axes: &[Padded],
    dims: &[usize],
    fill: T,
    mode: PadMode,
) -> Result<Vec<T>, OpError> {
    let mut out = ctx.filled(dims, fill)?;
    let data = x.as_slice::<T>()?;
    if out.is_empty() || data.is_empty() {
        return Ok(out);
    }
    let Some((last, outer)) = axes.split_last() else { return Ok(data.to_vec()) };
    if axes.iter().any(|a| a.kept == 0) {
        return Ok(out);
    }
    let own = strides(x.dims());
    // Where each index of the outer axes points, so that rows need no modulo.
    let tables: Vec<Vec<Option<usize>>> = outer
        .iter()
        .enumerate()
        .map(|(i, a)| (0..a.output).map(|o| a.source(o, mode).map(|s| s * own[i])).collect())
        .collect();
    let columns: Vec<Option<usize>> = (0..last.output).map(|o| last.source(o, mode)).collect();
    let mut index = vec![0usize; outer.len()];
    for row in out.chunks_mut(last.output) {
        let base = tables.iter().zip(&index).try_fold(0, |at, (t, i)| t[*i].map(|s| at + s));
        if let Some(base) = base {
            if mode == PadMode::Constant {
                row[last.begin..][..last.kept].copy_from_slice(&data[base + last.first..][..last.kept]);
            } else {
                for (o, column) in row.iter_mut().zip(&columns) {
                    if let Some(c) = column {
                        *o = data[base + c];
                    }
                }
            }
        }
        for (i, a) in index.iter_mut().zip(outer).rev() {
            *i += 1;
            if *i < a.output {
                break;
            }
            *i = 0;
        }
    }
    Ok(out)
}
