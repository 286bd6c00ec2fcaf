//! What PyTorch's observers had gathered and chosen, to the last bit.

mod pytorch;

use pytorch::{difference, expect_all_equal, holds_non_finite, observed, same, tensor, try_observe};
use tq_observers::{Mode, ObserverError, ObserverState};

#[test]
fn golden_range_observers() {
    expect_all_equal("observers.json", &[Mode::PyTorch, Mode::Native], |case, mode| {
        if mode == Mode::Native && holds_non_finite(case) {
            // Natively such data is refused with its count.
            assert!(matches!(try_observe(case, mode), Err(ObserverError::NonFinite { .. })));
            return None;
        }
        difference(observed(case, mode).as_ref(), case)
    });
}

#[test]
fn golden_histogram_observer() {
    expect_all_equal("histogram_observer.json", &[Mode::PyTorch], |case, mode| {
        let observer = observed(case, mode);
        if let Some(theirs) = case.get("histogram") {
            let ObserverState::PytorchHistogram { counts, .. } = observer.state() else {
                return Some("another kind of state".to_owned());
            };
            let theirs = tensor(theirs).1;
            if !same(&counts, &theirs) {
                let at = counts.iter().zip(&theirs).position(|(a, b)| a != b);
                return Some(format!(
                    "histogram, first at bin {at:?}: {:?} {:?}",
                    at.map(|i| &counts[i..i + 2]),
                    at.map(|i| &theirs[i..i + 2])
                ));
            }
        }
        difference(observer.as_ref(), case)
    });
}
