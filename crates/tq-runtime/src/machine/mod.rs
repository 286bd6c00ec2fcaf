//! What this machine is, which kernels it runs, and what they reach on it.
//!
//! [`Machine::measure`] takes a second or two. Its figures are those of the moment: it says how far the repetitions of each
//! measurement lie apart, and what else the machine was doing.

mod facts;
mod products;

use crate::options::KernelChoice;
use crate::session::choose_kernels;
use serde::Serialize;
use std::hint::black_box;
use std::time::{Duration, Instant};
use tq_kernels::{Isa, KernelError, Kernels};
use tq_qtypes::OperatorKind;

pub use facts::{Cache, facts};
pub use products::ProductFigures;

/// How long things are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineOptions {
    /// Time of each measurement. A measurement is at least three repetitions, however long they take.
    pub each: Duration,
}

impl Default for MachineOptions {
    /// 40 ms.
    fn default() -> Self {
        Self { each: Duration::from_millis(40) }
    }
}

/// A rate in 10⁹ a second: the best repetition and the middle one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Of the fastest repetition: what the machine can do.
    pub best: f64,
    /// Of the middle one: what it did.
    pub median: f64,
}

impl Rate {
    /// The rate of repetitions that each did `work` in so many seconds.
    fn of(work: f64, mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let rate = |i: usize| seconds.get(i).map_or(0.0, |s| work / s.max(1e-12) / 1e9);
        Self { best: rate(0), median: rate(seconds.len() / 2) }
    }

    /// Best over median: 1 on a quiet machine.
    #[must_use]
    pub fn spread(&self) -> f64 {
        if self.median > 0.0 { self.best / self.median } else { 1.0 }
    }
}

/// The kernel of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FamilyKernel {
    /// The operator.
    pub operator: &'static str,
    /// Its kernel.
    pub kernel: &'static str,
    /// True where the chosen library has none and the scalar one stands in.
    pub fallback: bool,
}

/// What a sequence of instructions reaches from registers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SequencePeak {
    /// The sequence.
    pub sequence: &'static str,
    /// The level whose kernels are made of it.
    pub isa: &'static str,
    /// 10⁹ multiply-adds a second.
    pub gmacs: Rate,
}

/// What this machine is, and what it reached when it was asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Architecture of the program.
    pub architecture: &'static str,
    /// What the processor calls itself, where that is known.
    pub processor: Option<String>,
    /// Whether the program seems to run in an emulator.
    pub emulated: bool,
    /// Features of the processor that kernels ask for.
    pub features: Vec<&'static str>,
    /// Caches, where the system tells.
    pub caches: Vec<Cache>,
    /// Processors that this program may use.
    pub processors: usize,
    /// Processes that wanted a processor over the last minute, on average, where the system tells.
    pub load: Option<f64>,
    /// What `TQ_ISA` allows, where it is set.
    pub isa_limit: Option<&'static str>,
    /// The library that sessions use.
    pub library: &'static str,
    /// Which kernel runs which operator.
    pub kernels: Vec<FamilyKernel>,
    /// Reading memory that is in no cache, one thread, in 10⁹ bytes a second.
    pub bandwidth: Rate,
    /// The limits of one processor.
    pub peaks: Vec<SequencePeak>,
    /// Matrix products with requantization, one thread.
    pub products: Vec<ProductFigures>,
    /// What to keep in mind about these figures.
    pub notes: Vec<String>,
}

impl Machine {
    /// Asks and measures.
    ///
    /// # Errors
    /// Those of the kernels: none where they are what they should be.
    pub fn measure(options: MachineOptions) -> Result<Self, KernelError> {
        let facts = facts();
        let kernels = chosen();
        let bandwidth = bandwidth(&facts.caches, options.each);
        let peaks = peaks(options.each);
        let products = products::measure(&peaks, options.each)?;
        let mut machine = Self {
            architecture: std::env::consts::ARCH,
            processor: facts.processor,
            emulated: facts.emulated,
            features: facts.features,
            caches: facts.caches,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            load: facts.load,
            isa_limit: Isa::limit_from_env().ok().flatten().map(Isa::name),
            library: kernels.library().name(),
            kernels: families(&kernels),
            bandwidth,
            peaks,
            products,
            notes: Vec::new(),
        };
        machine.notes = machine.doubts();
        Ok(machine)
    }

    /// What speaks against taking the figures for what the machine can do.
    fn doubts(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.emulated {
            notes.push(
                "the program is emulated: no figure says anything about a processor of its kind".to_owned(),
            );
        }
        let half = self.processors as f64 / 2.0;
        if let Some(load) = self.load.filter(|load| *load > half) {
            notes.push(format!(
                "other work is on the machine (load {load:.1} on {} processors): figures may be too low",
                self.processors
            ));
        }
        let rates = self.peaks.iter().map(|p| p.gmacs).chain(self.products.iter().map(|p| p.gmacs));
        let all: Vec<f64> = rates.chain([self.bandwidth]).map(|rate| rate.spread()).collect();
        let apart = all.iter().filter(|spread| **spread > 1.15).count();
        if apart > 0 {
            notes.push(format!(
                "{apart} of {} measurements have a best repetition more than 15 % above the middle one",
                all.len()
            ));
        }
        for product in &self.products {
            let same = |other: &&ProductFigures| {
                (other.shape, other.largest_code) == (product.shape, product.largest_code)
            };
            let best = self.products.iter().filter(same).max_by(|a, b| a.gmacs.best.total_cmp(&b.gmacs.best));
            let Some(best) = best.filter(|best| product.chosen && best.kernel != product.kernel) else {
                continue;
            };
            // Less than that is noise.
            if best.gmacs.best > 1.05 * product.gmacs.best {
                let (m, k, n) = product.shape;
                notes.push(format!(
                    "at {m} x {k} x {n} (codes up to {}) `{}`, which is not chosen, is faster than `{}`",
                    product.largest_code, best.kernel, product.kernel
                ));
            }
        }
        notes
    }
}

/// The kernels that sessions use when nothing else is asked for.
fn chosen() -> Kernels {
    choose_kernels(KernelChoice::Auto).unwrap_or_else(|_| Kernels::scalar())
}

fn families(kernels: &Kernels) -> Vec<FamilyKernel> {
    use OperatorKind as Op;
    let kinds = [
        Op::Linear,
        Op::GroupWiseLinear,
        Op::Conv,
        Op::DepthwiseConv,
        Op::Add,
        Op::Mul,
        Op::MaxPool,
        Op::AveragePool,
        Op::Lookup,
    ];
    let family = |kind: Op| {
        let choice = kernels.choice(kind)?;
        Some(FamilyKernel { operator: kind.name(), kernel: choice.kernel, fallback: choice.fallback })
    };
    let convert = FamilyKernel {
        operator: "quantize",
        kernel: kernels.convert().name(),
        fallback: kernels.library().convert().is_none(),
    };
    kinds.into_iter().filter_map(family).chain([convert]).collect()
}

/// What the sequences of instructions that products are made of reach from registers, one thread, for each level of this processor
/// that `TQ_ISA` allows. Takes about `each` for a sequence.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[must_use]
pub fn peaks(each: Duration) -> Vec<SequencePeak> {
    #[cfg(target_arch = "aarch64")]
    use tq_arm::peak as native;
    #[cfg(target_arch = "x86_64")]
    use tq_x86::peak as native;
    let bursts = 8;
    let of = |peak: tq_kernels::peak::Peak| SequencePeak {
        sequence: peak.sequence,
        isa: peak.isa.name(),
        gmacs: Rate::of(1.0, peak.macs_per_second.iter().map(|speed| 1.0 / speed).collect()),
    };
    native::peaks(each / bursts, bursts as usize).into_iter().map(of).collect()
}

/// The limits of sequences of instructions, of which none is known for this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[must_use]
pub fn peaks(_: Duration) -> Vec<SequencePeak> {
    Vec::new()
}

/// Reads memory four times as large as the largest of `caches`, 64 to 512 MiB, from end to end: 10⁹ bytes a second of one thread. Takes
/// about `each`, and three readings at least.
#[must_use]
pub fn bandwidth(caches: &[Cache], each: Duration) -> Rate {
    const MIB: usize = 1 << 20;
    let largest = caches.iter().map(|cache| cache.bytes).max().unwrap_or(0);
    let words = vec![1u64; largest.saturating_mul(4).clamp(64 * MIB, 512 * MIB) / 8];
    let read = || {
        // Several sums: one alone would wait for itself.
        let mut sums = [0u64; 16];
        for chunk in black_box(&words).as_chunks::<16>().0 {
            for (sum, word) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*word);
            }
        }
        black_box(sums);
    };
    Rate::of((words.len() * 8) as f64, repeat(each, read))
}

/// Seconds of each of at least three repetitions, after one that is not counted.
fn repeat(each: Duration, mut f: impl FnMut()) -> Vec<f64> {
    f();
    let begin = Instant::now();
    let mut seconds = Vec::new();
    while seconds.len() < 3 || begin.elapsed() < each {
        let start = Instant::now();
        f();
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_best_and_median() {
        let rate = Rate::of(2e9, vec![4.0, 1.0, 2.0]);
        assert_eq!((rate.best, rate.median, rate.spread()), (2.0, 1.0, 2.0));
        assert_eq!(Rate::of(1.0, Vec::new()), Rate { best: 0.0, median: 0.0 });
    }

    #[test]
    fn what_makes_figures_doubtful_is_told() {
        let steady = Rate { best: 10.0, median: 10.0 };
        let product = |kernel, chosen, best| ProductFigures {
            shape: (1, 2, 3),
            largest_code: 255,
            kernel,
            chosen,
            gmacs: Rate { best, median: best },
            of_peak: None,
        };
        let machine = Machine {
            architecture: "x86_64",
            processor: None,
            emulated: false,
            features: Vec::new(),
            caches: Vec::new(),
            processors: 2,
            load: Some(0.2),
            isa_limit: None,
            library: "fast",
            kernels: Vec::new(),
            bandwidth: steady,
            peaks: Vec::new(),
            products: vec![product("fast", true, 50.0), product("slow", false, 52.0)],
            notes: Vec::new(),
        };
        assert!(machine.doubts().is_empty(), "{:?}", machine.doubts());
        let noisy = Machine {
            load: Some(3.0),
            emulated: true,
            bandwidth: Rate { best: 10.0, median: 5.0 },
            products: vec![product("fast", true, 50.0), product("slow", false, 60.0)],
            ..machine
        };
        let doubts = noisy.doubts().join("\n");
        for part in
            ["load 3.0 on 2", "1 of 3", "is emulated", "`slow`, which is not chosen, is faster than `fast`"]
        {
            assert!(doubts.contains(part), "{part}: {doubts}");
        }
    }
}
