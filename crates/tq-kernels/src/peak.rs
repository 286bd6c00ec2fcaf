//! What a sequence of instructions reaches when all operands lie in registers: the limit of every kernel built on it. The
//! sequences are the architectures' own; how they are timed is not.

use crate::Isa;
use std::time::{Duration, Instant};

/// A sequence and how fast it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Peak {
    /// What it does.
    pub sequence: &'static str,
    /// The level whose kernels are made of it.
    pub isa: Isa,
    /// Multiply-adds a second of each burst, slowest first.
    pub macs_per_second: Vec<f64>,
}

impl Peak {
    /// Times `run`, which repeats the sequence as often as it is told, `macs` multiply-adds each time: `bursts` bursts of about
    /// `burst` each.
    #[must_use]
    pub fn measure(
        isa: Isa,
        sequence: &'static str,
        macs: f64,
        (burst, bursts): (Duration, usize),
        run: impl Fn(u64),
    ) -> Self {
        let seconds = |rounds: u64| {
            let start = Instant::now();
            run(rounds);
            start.elapsed().as_secs_f64().max(1e-9)
        };
        // The first call brings the processor to its clock for these instructions.
        let probe = 20_000;
        seconds(probe);
        let rounds = (burst.as_secs_f64() / seconds(probe) * probe as f64).clamp(1000.0, 1e9) as u64;
        let mut macs_per_second: Vec<f64> =
            (0..bursts.max(1)).map(|_| rounds as f64 * macs / seconds(rounds)).collect();
        macs_per_second.sort_by(f64::total_cmp);
        Self { sequence, isa, macs_per_second }
    }
}
