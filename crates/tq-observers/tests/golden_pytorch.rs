//! Minimum, maximum, scale and zero point of PyTorch's range observers, to the last bit, in both modes.

mod pytorch;

use pytorch::{difference, expect_all_equal, observed};
use tq_observers::Mode;

#[test]
fn golden_range_observers() {
    expect_all_equal("observers.json", &[Mode::PyTorch, Mode::Native], |case, mode| {
        difference(observed(case, mode).as_ref(), case)
    });
}
