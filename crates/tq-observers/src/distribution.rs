//! What observers of the whole tensor's distribution have in common.

use crate::histogram::{check_bins, octaves};
use crate::observer::check_len;
use crate::octaves::Octaves;
use crate::spec::{Serves, check};
use crate::{BinCounts, ObserverError};
use tq_qtypes::QuantSpec;

/// A request, and the histogram of all data seen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Distribution {
    pub(crate) spec: QuantSpec,
    pub(crate) eps: f32,
    pub(crate) bins: usize,
    pub(crate) seen: Octaves,
}

impl Distribution {
    pub(crate) const fn new(spec: QuantSpec, eps: f32, bins: usize) -> Self {
        Self { spec, eps, bins, seen: octaves(bins) }
    }

    pub(crate) fn check(&self, observer: &'static str) -> Result<(), ObserverError> {
        check(observer, &self.spec, self.eps, Serves::Tensor)?;
        check_bins(observer, self.bins)
    }

    pub(crate) fn observe(
        &mut self,
        observer: &'static str,
        data: &[f32],
        dims: &[usize],
    ) -> Result<(), ObserverError> {
        check_len(data, dims)?;
        self.seen.observe(observer, data)
    }

    pub(crate) fn merge(&mut self, observer: &'static str, counts: &BinCounts) -> Result<(), ObserverError> {
        self.seen.merge(observer, counts)
    }
}

/// [`crate::Observer`] for a type with a field `all: Distribution` and the methods `check`, `choose` (the range, once
/// there is data) and `config`; its state is one [`BinCounts`].
macro_rules! observe_distribution {
    ($observer:ident, $name:expr, $state:ident) => {
        impl $crate::Observer for $observer {
            fn observe(&mut self, data: &[f32], dims: &[usize]) -> Result<(), $crate::ObserverError> {
                self.check()?;
                self.all.observe($name, data, dims)
            }

            fn calculate_qparams(&self) -> Result<tq_qtypes::AffineParams, $crate::ObserverError> {
                self.check()?;
                $crate::spec::params_of(self.choose().into_iter(), &self.all.spec, self.all.eps)
            }

            fn range(&self) -> Option<$crate::Range> {
                self.all.seen.range()
            }

            fn count(&self) -> u64 {
                self.all.seen.count()
            }

            fn spec(&self) -> Option<&tq_qtypes::QuantSpec> {
                Some(&self.all.spec)
            }

            fn config(&self) -> $crate::ObserverConfig {
                self.as_config()
            }

            fn state(&self) -> $crate::ObserverState {
                $crate::ObserverState::$state(self.all.seen.state())
            }

            fn merge_state(&mut self, state: &$crate::ObserverState) -> Result<(), $crate::ObserverError> {
                self.check()?;
                match state {
                    $crate::ObserverState::$state(counts) => self.all.merge($name, counts),
                    other => {
                        Err($crate::ObserverError::Merge { observer: $name, other: other.observer_name() })
                    }
                }
            }

            fn reset(&mut self) {
                self.all.seen.reset();
            }

            fn boxed_clone(&self) -> Box<dyn $crate::Observer> {
                Box::new(self.clone())
            }
        }
    };
}
pub(crate) use observe_distribution;
