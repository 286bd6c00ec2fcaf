//! Moving averages of ranges.

use crate::spec::{Serves, add_counts, check, params_in};
use crate::{Mode, ObserverError, Range};
use tq_qtypes::affine::DEFAULT_EPS;
use tq_qtypes::{AffineParams, QuantSpec};

/// The averaging constant where none is given: PyTorch's.
pub(crate) const DEFAULT_CONSTANT: f32 = 0.01;

/// What an observer of averages is asked to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) spec: QuantSpec,
    pub(crate) eps: f32,
    pub(crate) constant: f32,
    pub(crate) mode: Mode,
}

impl Settings {
    pub(crate) const fn of(spec: QuantSpec) -> Self {
        Self { spec, eps: DEFAULT_EPS, constant: DEFAULT_CONSTANT, mode: Mode::Native }
    }

    pub(crate) fn check(&self, observer: &'static str, serves: Serves) -> Result<(), ObserverError> {
        check(observer, &self.spec, self.eps, serves)?;
        if self.constant > 0.0 && self.constant <= 1.0 {
            return Ok(());
        }
        let (setting, allowed) = ("averaging_constant", "it must be above 0 and at most 1");
        Err(ObserverError::Setting { observer, setting, value: self.constant.to_string(), allowed })
    }

    pub(crate) fn params(&self, seen: &Averages) -> Result<AffineParams, ObserverError> {
        params_in(self.mode, seen.average.iter().copied(), &self.spec, self.eps)
    }
}

/// The moving average of the ranges of batches, one range a channel.
///
/// `average` of the first batch is its range; each further batch moves it by `constant` of the difference, in f32
/// arithmetic: `m + constant * (batch - m)`, as PyTorch does. Where that difference of finite numbers overflows, which
/// [`Mode::PyTorch`] lets happen, it is taken in f64.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Averages {
    pub(crate) count: u64,
    pub(crate) batches: u64,
    pub(crate) first: Vec<Range>,
    pub(crate) average: Vec<Range>,
}

impl Averages {
    pub(crate) const EMPTY: Averages =
        Averages { count: 0, batches: 0, first: Vec::new(), average: Vec::new() };

    /// Takes the ranges of one batch of `len` values; as many ranges as before.
    pub(crate) fn push(
        &mut self,
        name: &'static str,
        len: u64,
        ranges: Vec<Range>,
        (constant, mode): (f32, Mode),
    ) -> Result<(), ObserverError> {
        if ranges.is_empty() {
            return Ok(());
        }
        self.count = add_counts(name, self.count, len)?;
        self.batches = add_counts(name, self.batches, 1)?;
        if self.average.is_empty() {
            self.first.clone_from(&ranges);
            self.average = ranges;
            return Ok(());
        }
        let moved = |m: f32, batch: f32| {
            let next = m + constant * (batch - m);
            if next.is_finite() || mode == Mode::PyTorch {
                return next;
            }
            let (m, batch) = (f64::from(m), f64::from(batch));
            (m + f64::from(constant) * (batch - m)) as f32
        };
        for (m, r) in self.average.iter_mut().zip(&ranges) {
            m.min = moved(m.min, r.min);
            m.max = moved(m.max, r.max);
        }
        Ok(())
    }

    /// Goes on with the batches that `later` has seen.
    ///
    /// `later` began with its first batch where one observer of all batches would have had `self.average`. What a
    /// beginning is worth has been multiplied by `1 - constant` in each of its `n` batches, so what that one observer
    /// has is `later.average + (1 - constant)^n * (self.average - later.first)`, up to rounding.
    pub(crate) fn append(
        &mut self,
        name: &'static str,
        later: &Averages,
        constant: f32,
    ) -> Result<(), ObserverError> {
        if later.average.is_empty() {
            return Ok(());
        }
        let count = add_counts(name, self.count, later.count)?;
        let batches = add_counts(name, self.batches, later.batches)?;
        if self.average.is_empty() {
            *self = later.clone();
            return Ok(());
        }
        let kept = power(1.0 - f64::from(constant), later.batches);
        let join = |before: f32, first: f32, after: f32| {
            (f64::from(after) + kept * (f64::from(before) - f64::from(first))) as f32
        };
        for ((m, first), after) in self.average.iter_mut().zip(&later.first).zip(&later.average) {
            m.min = join(m.min, first.min, after.min);
            m.max = join(m.max, first.max, after.max);
        }
        (self.count, self.batches) = (count, batches);
        Ok(())
    }

    /// [`ObserverError::State`] unless some observer can have this state.
    pub(crate) fn check(&self, name: &'static str, mode: Mode) -> Result<(), ObserverError> {
        let wrong = |why: &str| Err(ObserverError::State { observer: name, why: why.to_owned() });
        if self.first.len() != self.average.len() {
            return wrong("the first batch and the average have different numbers of ranges");
        }
        if (self.batches == 0) != self.average.is_empty() || self.count < self.batches {
            return wrong("its numbers of batches and values do not belong to its ranges");
        }
        if mode == Mode::Native {
            self.first.iter().chain(&self.average).try_for_each(|r| r.check(name))?;
        }
        Ok(())
    }
}

/// `base^n` by repeated squaring: the same on every platform, unlike `powf`.
fn power(base: f64, mut n: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while n > 0 {
        if n & 1 == 1 {
            result *= square;
        }
        square *= square;
        n >>= 1;
    }
    result
}
