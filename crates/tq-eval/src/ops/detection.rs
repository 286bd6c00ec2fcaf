//! NonMaxSuppression.

use super::{Context, Inputs, integers, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_real};
use rayon::prelude::*;
use tq_graph::Tensor;

/// A box by its lower and upper corners.
#[derive(Clone, Copy)]
struct Rectangle<T> {
    low: [T; 2],
    high: [T; 2],
}

impl<T: Real> Rectangle<T> {
    fn new(numbers: &[T], center_point: bool) -> Self {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| numbers.get(i).copied().unwrap_or(T::ZERO));
        let (first, second) = if center_point {
            // Centre and extents, across first.
            let half = T::of_f32(0.5);
            let (across, down) = (half * c, half * d);
            ([b - down, a - across], [b + down, a + across])
        } else {
            ([a, b], [c, d])
        };
        let pick =
            |less: bool| [0, 1].map(|i| if (first[i] <= second[i]) == less { first[i] } else { second[i] });
        Self { low: pick(true), high: pick(false) }
    }

    fn area(&self) -> T {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether intersection over union is above `threshold`; never for boxes without area.
    fn overlaps(&self, other: &Self, threshold: T) -> bool {
        let low = [0, 1].map(|i| if self.low[i] > other.low[i] { self.low[i] } else { other.low[i] });
        let high = [0, 1].map(|i| if self.high[i] < other.high[i] { self.high[i] } else { other.high[i] });
        if !(high[0] > low[0] && high[1] > low[1]) {
            return false;
        }
        let both = Self { low, high }.area();
        let either = self.area() + other.area() - both;
        self.area() > T::ZERO && other.area() > T::ZERO && either > T::ZERO && both / either > threshold
    }
}

/// The only element of an optional parameter.
fn number(t: Option<&Tensor>, what: &str) -> Result<Option<f64>, OpError> {
    let Some(t) = t else { return Ok(None) };
    match t.to_f64_vec().as_deref() {
        Some([v]) => Ok(Some(*v)),
        _ => Err(OpError::Shape(format!(
            "{what} is {} of shape {:?}, expected one float",
            t.dtype(),
            t.dims()
        ))),
    }
}

/// `boxes, scores[, max_boxes[, iou_threshold[, score_threshold]]] -> indices`: rows of sample, class, box; samples
/// and classes in order, boxes from the highest score down, of equal ones the first first.
pub(crate) fn non_max_suppression(
    ctx: &Context,
    inputs: Inputs,
    center_point: bool,
) -> Result<Tensor, OpError> {
    let (boxes, scores) = (inputs.need(0)?, inputs.need(1)?);
    same_dtype(boxes, scores, "scores")?;
    let ([samples, count, 4], [s_samples, classes, s_count]) = (boxes.dims(), scores.dims()) else {
        return Err(OpError::Shape(format!("boxes {:?} and scores {:?}", boxes.dims(), scores.dims())));
    };
    if samples != s_samples || count != s_count {
        return Err(OpError::Shape(format!("boxes {:?} and scores {:?}", boxes.dims(), scores.dims())));
    }
    let most = match inputs.get(2).map(|t| integers(t, "max_output_boxes_per_class")).transpose()?.as_deref()
    {
        None => 0,
        Some([n]) => usize::try_from(*n).unwrap_or(0),
        Some(v) => return Err(OpError::Shape(format!("{} limits of boxes, expected one", v.len()))),
    };
    let iou = number(inputs.get(3), "iou_threshold")?.unwrap_or(0.0);
    let least = number(inputs.get(4), "score_threshold")?;
    let (count, classes) = (*count, *classes);
    let rows: Vec<[i64; 3]> = with_real!(boxes.dtype(), T => {
        let (boxes, scores) = (boxes.as_slice::<T>()?, scores.as_slice::<T>()?);
        let (iou, least) = (T::of_f64(iou), least.map(T::of_f64));
        let lists = (0..samples * classes).into_par_iter().map(|i| {
            let (sample, class) = (i / classes, i % classes);
            let boxes = &boxes[sample * count * 4..][..count * 4];
            let scores = &scores[i * count..][..count];
            let taken = select::<T>(boxes, scores, most, iou, least, center_point);
            taken.into_iter().map(|b| [sample, class, b].map(|v| v as i64)).collect::<Vec<_>>()
        });
        Ok(lists.collect::<Vec<_>>().concat())
    })?;
    ctx.numel::<i64>(&[rows.len(), 3])?;
    Ok(Tensor::new(&[rows.len(), 3], rows.concat())?)
}

/// Boxes of one class of one sample, the best first, of which no two overlap too much.
fn select<T: Real>(
    boxes: &[T],
    scores: &[T],
    most: usize,
    iou: T,
    least: Option<T>,
    center_point: bool,
) -> Vec<usize> {
    // NaN is no score.
    let counts = |v: T| least.map_or(v.partial_cmp(&v).is_some(), |least| v > least);
    let mut order: Vec<usize> = (0..scores.len()).filter(|i| counts(scores[*i])).collect();
    order.sort_by(|a, b| {
        let by_score = scores[*b].partial_cmp(&scores[*a]).unwrap_or(std::cmp::Ordering::Equal);
        by_score.then(a.cmp(b))
    });
    let mut taken: Vec<(usize, Rectangle<T>)> = Vec::new();
    for i in order {
        if taken.len() >= most {
            break;
        }
        let rectangle = Rectangle::new(&boxes[i * 4..], center_point);
        if !taken.iter().any(|(_, other)| rectangle.overlaps(other, iou)) {
            taken.push((i, rectangle));
        }
    }
    taken.into_iter().map(|(i, _)| i).collect()
}
