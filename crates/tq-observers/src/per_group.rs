//! Smallest and largest value of every group.

use crate::observer::check_len;
use crate::range::union;
use crate::scan::{scan, scan_columns};
use crate::spec::{Serves, add_counts, check, params_of};
use crate::{Observer, ObserverConfig, ObserverError, ObserverState, Range};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, DType, Granularity, QScheme, QTypeError, QuantSpec};

const NAME: &str = "per_group_min_max";

/// Observes the smallest and largest value of every run of `group_size` indices of one axis, at each position of the
/// other axes: what group-wise weights want. The last group of an axis may be shorter.
///
/// All tensors must have the same shape. Memory grows with the number of groups, not with the data.
#[derive(Debug, Clone, PartialEq)]
pub struct PerGroupMinMaxObserver {
    spec: QuantSpec,
    eps: f32,
    count: u64,
    dims: Vec<usize>,
    ranges: Vec<Range>,
}

impl Default for PerGroupMinMaxObserver {
    /// Signed 4-bit, symmetric, codes -7..=7, groups of 32 along axis 1.
    fn default() -> Self {
        Self::with_args(1, 32)
    }
}

impl PerGroupMinMaxObserver {
    /// Signed 4-bit, symmetric, codes -7..=7, groups of `group_size` along `axis`. A group size of zero is an error
    /// when data comes or the configuration is built.
    #[must_use]
    pub const fn with_args(axis: usize, group_size: usize) -> Self {
        let granularity = Granularity::PerGroup { axis, group_size };
        let spec = QuantSpec {
            dtype: DType::I4,
            quant_min: -7,
            quant_max: 7,
            scheme: QScheme::Symmetric,
            ..QuantSpec::i8_symmetric(granularity)
        };
        Self { spec, eps: DEFAULT_EPS, count: 0, dims: Vec::new(), ranges: Vec::new() }
    }

    /// An observer for `spec`, whose scales are at least `eps`.
    ///
    /// # Errors
    /// [`ObserverError::Granularity`] unless `spec` is per group; those of [`QuantSpec::validate`].
    pub fn new(spec: QuantSpec, eps: f32) -> Result<Self, ObserverError> {
        check(NAME, &spec, eps, Serves::Groups)?;
        Ok(Self { spec, eps, count: 0, dims: Vec::new(), ranges: Vec::new() })
    }

    fn groups(&self) -> (usize, usize) {
        match self.spec.granularity {
            Granularity::PerGroup { axis, group_size } => (axis, group_size),
            _ => (0, 0),
        }
    }
}

impl Observer for PerGroupMinMaxObserver {
    fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), ObserverError> {
        check(NAME, &self.spec, self.eps, Serves::Groups)?;
        check_len(data, dims)?;
        let (axis, group_size) = self.groups();
        let len = *dims.get(axis).ok_or(QTypeError::BadAxis { axis, rank: dims.len() })?;
        if data.is_empty() {
            return Ok(());
        }
        if !self.dims.is_empty() && self.dims != dims {
            return Err(ObserverError::Shape { expected: self.dims.clone(), got: dims.to_vec() });
        }
        let inner: usize = dims.iter().skip(axis + 1).product();
        let mut ranges = Vec::with_capacity(self.spec.granularity.param_count(dims)?);
        let mut non_finite = 0;
        let (mut min, mut max) = (vec![0.0; inner], vec![0.0; inner]);
        // A whole axis at one position of the axes before it, cut into groups: rows of `inner` values.
        for rows in data.chunks_exact(len * inner) {
            for group in rows.chunks(group_size.saturating_mul(inner)) {
                if inner == 1 {
                    let seen = scan(group);
                    non_finite += seen.non_finite;
                    ranges.push(Range::found(seen.min, seen.max));
                    continue;
                }
                min.fill(f32::INFINITY);
                max.fill(f32::NEG_INFINITY);
                non_finite += scan_columns(group, &mut min, &mut max);
                ranges.extend(min.iter().zip(&max).map(|(&min, &max)| Range::found(min, max)));
            }
        }
        let count = data.len() as u64;
        if non_finite > 0 {
            return Err(ObserverError::NonFinite { count: non_finite, len: count });
        }
        self.merge_state(&ObserverState::PerGroupMinMax { count, dims: dims.to_vec(), ranges })
    }

    fn calculate_qparams(&self) -> Result<AffineParams, ObserverError> {
        params_of(self.ranges.iter().copied(), &self.spec, self.eps)
    }

    fn range(&self) -> Option<Range> {
        self.ranges.iter().copied().map(Some).fold(None, union)
    }

    fn channel_ranges(&self) -> Vec<Range> {
        self.ranges.clone()
    }

    fn count(&self) -> u64 {
        self.count
    }

    fn spec(&self) -> Option<&QuantSpec> {
        Some(&self.spec)
    }

    fn config(&self) -> ObserverConfig {
        ObserverConfig::PerGroupMinMax { spec: self.spec, eps: self.eps }
    }

    fn state(&self) -> ObserverState {
        let (dims, ranges) = (self.dims.clone(), self.ranges.clone());
        ObserverState::PerGroupMinMax { count: self.count, dims, ranges }
    }

    fn merge_state(&mut self, state: &ObserverState) -> Result<(), ObserverError> {
        let ObserverState::PerGroupMinMax { count, dims, ranges } = state else {
            return Err(ObserverError::Merge { observer: NAME, other: state.observer_name() });
        };
        if (*count == 0) != ranges.is_empty() {
            let why = format!("{count} values do not belong to {} ranges", ranges.len());
            return Err(ObserverError::State { observer: NAME, why });
        }
        if ranges.is_empty() {
            return Ok(());
        }
        ranges.iter().try_for_each(|r| r.check(NAME))?;
        // The product of a forged shape must not overflow, whichever axes it is taken over.
        if dims.contains(&0)
            || dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).is_none()
            || self.spec.granularity.param_count(dims)? != ranges.len()
        {
            let why = format!("{} ranges do not belong to shape {dims:?}", ranges.len());
            return Err(ObserverError::State { observer: NAME, why });
        }
        if !self.dims.is_empty() && self.dims != *dims {
            return Err(ObserverError::Shape { expected: self.dims.clone(), got: dims.clone() });
        }
        self.count = add_counts(NAME, self.count, *count)?;
        if self.dims.is_empty() {
            self.dims.clone_from(dims);
            self.ranges.clone_from(ranges);
        } else {
            for (mine, other) in self.ranges.iter_mut().zip(ranges) {
                *mine = mine.union(*other);
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.count = 0;
        self.dims.clear();
        self.ranges.clear();
    }

    fn boxed_clone(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}
