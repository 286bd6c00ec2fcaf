//! The conformance suite: holds any [`KernelLibrary`] to the exact results.
//!
//! Every family is compared bit for bit with a naive reference of its own, written as plain loops over `i64` that
//! share nothing with the drivers. Inputs cover the full range of codes (0 and 255 against -128 and 127, whole
//! matrices of them), all tails, odd strides, padding, zero points on both sides, channels that need 64 bits,
//! every output stage, and several numbers of threads. Elements between rows must stay untouched. Operands and outputs
//! fill the memory that they were given: an allocator that puts it beside inaccessible pages shows reads and writes outside.
//!
//! ```
//! use tq_kernels::{ScalarLibrary, conformance::Suite};
//! let report = Suite::default().check(&ScalarLibrary::new())?;
//! assert!(report.cases > 100);
//! # Ok::<(), tq_kernels::conformance::Failure>(())
//! ```

mod data;
mod depthwise;
mod elementwise;
mod gemm;
mod group_wise;
mod pool;
mod reference;

use crate::parallel::serially;
use crate::{KernelError, KernelLibrary, Lookup, QBinary, QConvert, QDepthwise, QGemm, QGroupWise, QPool};
use data::Data;
use std::fmt::{Debug, Display};

/// A kernel that is not exact.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("kernel `{kernel}` fails conformance at {case}: {detail}")]
pub struct Failure {
    /// Name of the kernel.
    pub kernel: String,
    /// The case: sizes, patterns, stage.
    pub case: String,
    /// What differs.
    pub detail: String,
}

/// What a successful check covered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Comparisons made.
    pub cases: usize,
    /// Families that the library lacks, which were not checked.
    pub missing: Vec<&'static str>,
}

/// How to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// Sizes of the rayon pools to run every case in, besides the calling thread alone. Empty for machines
    /// without threads, such as instruction-set emulators.
    pub threads: Vec<usize>,
    /// Seed of the random inputs.
    pub seed: u64,
}

impl Default for Suite {
    /// One thread and four.
    fn default() -> Self {
        Self { threads: vec![1, 4], seed: 1 }
    }
}

impl Suite {
    /// Everything on the calling thread, rayon left alone.
    #[must_use]
    pub fn serial() -> Self {
        Self { threads: Vec::new(), ..Self::default() }
    }

    /// Pools of `threads`; none of them where the environment variable `TQ_SERIAL` is set, as by `cargo xtask test-vnni`, whose
    /// emulator has no threads.
    #[must_use]
    pub fn from_env(seed: u64, threads: &[usize]) -> Self {
        let serial = std::env::var_os("TQ_SERIAL").is_some_and(|value| !value.is_empty());
        Self { threads: if serial { Vec::new() } else { threads.to_vec() }, seed }
    }

    /// Checks every family that `library` has.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check(&self, library: &dyn KernelLibrary) -> Result<Report, Failure> {
        let mut report = Report::default();
        macro_rules! family {
            ($name:ident, $check:ident) => {
                match library.$name() {
                    Some(family) => report.cases += self.$check(family)?,
                    None => report.missing.push(stringify!($name)),
                }
            };
        }
        family!(gemm, check_gemm);
        family!(group_wise, check_group_wise);
        family!(depthwise, check_depthwise);
        family!(binary, check_binary);
        family!(pool, check_pool);
        family!(convert, check_convert);
        family!(lookup, check_lookup);
        Ok(report)
    }

    /// Checks matrix products; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_gemm(&self, gemm: &dyn QGemm) -> Result<usize, Failure> {
        self.run(gemm.name(), |check| gemm::check(gemm, check))
    }

    /// Checks products with 4-bit weights in groups; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_group_wise(&self, group_wise: &dyn QGroupWise) -> Result<usize, Failure> {
        self.run(group_wise.name(), |check| group_wise::check(group_wise, check))
    }

    /// Checks depthwise convolutions; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_depthwise(&self, depthwise: &dyn QDepthwise) -> Result<usize, Failure> {
        self.run(depthwise.name(), |check| depthwise::check(depthwise, check))
    }

    /// Checks binary operators; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_binary(&self, binary: &dyn QBinary) -> Result<usize, Failure> {
        self.run(binary.name(), |check| elementwise::check_binary(binary, check))
    }

    /// Checks pools; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_pool(&self, pool: &dyn QPool) -> Result<usize, Failure> {
        self.run(pool.name(), |check| pool::check(pool, check))
    }

    /// Checks conversions; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_convert(&self, convert: &dyn QConvert) -> Result<usize, Failure> {
        self.run(convert.name(), |check| elementwise::check_convert(convert, check))
    }

    /// Checks table lookups; gives the number of comparisons.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn check_lookup(&self, lookup: &dyn Lookup) -> Result<usize, Failure> {
        self.run(lookup.name(), |check| elementwise::check_lookup(lookup, check))
    }

    fn run(
        &self,
        kernel: &'static str,
        f: impl FnOnce(&mut Check) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let pools = self.threads.iter().map(|&n| rayon::ThreadPoolBuilder::new().num_threads(n).build());
        let pools = pools.collect::<Result<Vec<_>, _>>().map_err(|error| Failure {
            kernel: kernel.to_owned(),
            case: "starting threads".to_owned(),
            detail: error.to_string(),
        })?;
        let mut check = Check { kernel, pools, data: Data::new(self.seed), cases: 0 };
        f(&mut check)?;
        Ok(check.cases)
    }
}

/// State of one family's check.
struct Check {
    kernel: &'static str,
    pools: Vec<rayon::ThreadPool>,
    data: Data,
    cases: usize,
}

impl Check {
    fn failure(&self, case: &dyn Display, detail: impl Into<String>) -> Failure {
        Failure { kernel: self.kernel.to_owned(), case: case.to_string(), detail: detail.into() }
    }

    /// Runs `f` on a copy of `before`, serially and in each pool, and compares each outcome with `expected`.
    fn compare<T: Bits + Clone + Debug + Send>(
        &mut self,
        case: &dyn Display,
        before: &[T],
        expected: &[T],
        f: impl Fn(&mut [T]) -> Result<(), KernelError> + Sync,
    ) -> Result<(), Failure> {
        for pool in 0..=self.pools.len() {
            let mut out = before.to_vec();
            let result = match pool {
                0 => serially(|| f(&mut out)),
                _ => self.pools[pool - 1].install(|| f(&mut out)),
            };
            let threads = if pool == 0 { 0 } else { self.pools[pool - 1].current_num_threads() };
            if let Err(error) = result {
                return Err(self.failure(case, format!("error `{error}` ({threads} threads)")));
            }
            if let Some(i) = (0..expected.len()).find(|&i| out[i].bits() != expected[i].bits()) {
                let detail =
                    format!("element {i} is {:?}, expected {:?} ({threads} threads)", out[i], expected[i]);
                return Err(self.failure(case, detail));
            }
            self.cases += 1;
        }
        Ok(())
    }

    /// Expects an error for bad arguments.
    fn expect_error(
        &mut self,
        case: &dyn Display,
        result: Result<(), KernelError>,
        is_right: impl FnOnce(&KernelError) -> bool,
    ) -> Result<(), Failure> {
        self.cases += 1;
        match result {
            Err(error) if is_right(&error) => Ok(()),
            Err(error) => Err(self.failure(case, format!("wrong error `{error}`"))),
            Ok(()) => Err(self.failure(case, "bad arguments were taken")),
        }
    }
}

/// Bit equality of outputs.
trait Bits {
    fn bits(&self) -> u32;
}

impl Bits for u8 {
    fn bits(&self) -> u32 {
        u32::from(*self)
    }
}

impl Bits for i32 {
    fn bits(&self) -> u32 {
        self.cast_unsigned()
    }
}

impl Bits for f32 {
    /// All NaNs are one: which of them an operation gives differs between processors.
    fn bits(&self) -> u32 {
        if self.is_nan() { f32::NAN.to_bits() } else { self.to_bits() }
    }
}
