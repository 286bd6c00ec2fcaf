//! Levels of kernels, the machines that they run on, and the tests of each.

use crate::arm::{self, Tools};
use crate::vnni::{self, Processor};
use crate::workspace;
use std::fmt;
use std::process::Command;

/// All levels, with the package that has their kernels.
pub(crate) const LEVELS: [(&str, &str); 7] = [
    ("scalar", "tq-kernels"),
    ("avx2", "tq-x86"),
    ("avxvnni", "tq-x86"),
    ("avx512vnni", "tq-x86"),
    ("neon", "tq-arm"),
    ("dotprod", "tq-arm"),
    ("i8mm", "tq-arm"),
];

/// Tests of sessions that run in seconds and need no files of others.
const SESSIONS: [&str; 7] = [
    "operators",
    "products_and_pools",
    "run_time",
    "session",
    "narrow_weights",
    "golden_quantized_ops",
    "tflite",
];

/// True where this machine has the level itself.
pub(crate) fn is_native(level: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    let there = match level {
        "avx2" => is_x86_feature_detected!("avx2"),
        "avxvnni" => is_x86_feature_detected!("avxvnni"),
        "avx512vnni" => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
        _ => false,
    };
    #[cfg(target_arch = "aarch64")]
    let there = match level {
        "neon" => true,
        "dotprod" => std::arch::is_aarch64_feature_detected!("dotprod"),
        "i8mm" => std::arch::is_aarch64_feature_detected!("i8mm"),
        _ => false,
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let there = false;
    there || level == "scalar"
}

/// True where `TQ_REQUIRE_ISA` names the level: that it has no machine here is then a failure.
pub(crate) fn is_required(level: &str) -> bool {
    std::env::var("TQ_REQUIRE_ISA").is_ok_and(|names| names.split(',').any(|name| name.trim() == level))
}

/// What comes of a level that has no machine here.
pub(crate) fn absent(level: &str, reason: String) -> Outcome {
    if is_required(level) { Outcome::Failed(reason) } else { Outcome::Skipped(reason) }
}

/// What a level runs on.
pub(crate) enum Machine {
    /// This one.
    Native,
    /// An ARM processor in qemu's user mode.
    Qemu(Tools, &'static str),
    /// An x86 processor of Bochs.
    Bochs(&'static Processor),
}

impl Machine {
    /// The machine for a level, or why there is none.
    pub(crate) fn of(level: &str) -> Result<Self, String> {
        if is_native(level) {
            return Ok(Machine::Native);
        }
        if let Some(processor) = vnni::PROCESSORS.iter().find(|p| p.level == level) {
            return vnni::find().map(|()| Machine::Bochs(processor)).map_err(|e| e.to_string());
        }
        let has = |levels: &[&str]| levels.last() == Some(&level);
        match arm::PROCESSORS.iter().find(|(_, levels)| has(levels)) {
            Some((processor, _)) => {
                let reason =
                    |_| "what takes it to ARM is not there: `cargo xtask setup-arm` tells".to_owned();
                arm::tools().map(|tools| Machine::Qemu(tools, processor)).map_err(reason)
            }
            None => Err("this processor has not got it".to_owned()),
        }
    }

    /// Cargo, testing on it.
    fn tests(&self, level: &str) -> Command {
        let mut test = match self {
            Machine::Native => {
                let mut cargo = workspace::cargo();
                cargo.env("TQ_ISA", level).arg("test");
                if level != "scalar" {
                    cargo.env("TQ_REQUIRE_ISA", level).env("TQ_EXPECT_ISA", level);
                }
                cargo
            }
            Machine::Qemu(tools, processor) => {
                let mut cargo = arm::cargo(tools, processor);
                cargo.args(["test", "--target", arm::TARGET]);
                cargo.env("TQ_REQUIRE_ISA", level).env("TQ_EXPECT_ISA", level).env_remove("TQ_ISA");
                cargo
            }
            Machine::Bochs(processor) => {
                let mut cargo = vnni::tests(processor);
                cargo.args(["test", "--target", vnni::TARGET]);
                cargo
            }
        };
        // Whole models are what digests are for.
        test.env_remove("TQ_MODELS_DIR");
        test
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::Native => f.pad("natively"),
            Machine::Qemu(_, processor) => f.pad(&format!("in qemu as {processor}")),
            Machine::Bochs(processor) => f.pad(&format!("in Bochs as {}", processor.model)),
        }
    }
}

/// What came of a suite.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// With the reason.
    Skipped(String),
}

impl Outcome {
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Outcome::Failed(_))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Passed => f.write_str("passed"),
            Outcome::Failed(error) => write!(f, "FAILED: {error}"),
            Outcome::Skipped(reason) => write!(f, "skipped: {reason}"),
        }
    }
}

/// Tests of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Kernels against 64-bit references, and that detection chooses them.
    Conformance,
    /// The same with every buffer against an inaccessible page.
    GuardPages,
    /// Sessions of small graphs against the evaluator.
    Sessions,
}

impl Suite {
    pub(crate) const ALL: [Suite; 3] = [Suite::Conformance, Suite::GuardPages, Suite::Sessions];

    /// Runs it.
    pub(crate) fn run(self, machine: &Machine, level: &str) -> Outcome {
        let Some((_, package)) = LEVELS.iter().find(|(name, _)| *name == level) else {
            return Outcome::Failed(format!("no level {level}"));
        };
        let mut test = machine.tests(level);
        match self {
            Suite::GuardPages if level == "scalar" => {
                return Outcome::Skipped("it has no unsafe code".to_owned());
            }
            Suite::Conformance if level == "scalar" => test.args(["-p", package, "--lib", "--tests"]),
            Suite::Conformance => test.args(["-p", package, "--test", "conformance"]),
            Suite::GuardPages => test.args(["-p", package, "--test", "guard_pages"]),
            Suite::Sessions => {
                // Programs to be emulated are as they are for digests: they share what they are made of.
                if !matches!(machine, Machine::Native) {
                    workspace::quick_release(&mut test).arg("--release");
                }
                let tests = SESSIONS.iter().flat_map(|name| ["--test", name]);
                test.args(["-p", "tq-runtime"]).args(tests)
            }
        };
        if matches!(machine, Machine::Bochs(_)) {
            test.args(["--", "--test-threads=1"]);
            // Of the processor's levels the one that is looked for; AVX2 is tested natively.
            match self {
                Suite::Conformance => test.arg(format!("{level}_conforms")).arg("the_library_is"),
                Suite::GuardPages => test.arg(format!("{level}_stays_inside")),
                Suite::Sessions => &mut test,
            };
        }
        let outcome = workspace::run_tests(&mut test);
        let outcome = match self {
            Suite::GuardPages => outcome.and_then(|()| sees_outside(machine, level)),
            _ => outcome,
        };
        outcome.map_or_else(|e| Outcome::Failed(e.to_string()), |()| Outcome::Passed)
    }
}

/// That the machine ends a program that reads a byte outside a buffer. The test of this starts processes, which programs cannot
/// that are emulated: there each of them is started here.
fn sees_outside(machine: &Machine, level: &str) -> anyhow::Result<()> {
    let tests = |name: &str| {
        let mut test = machine.tests(level);
        test.args(["-p", "tq-kernel-tests", "--test", "guard_pages", "--", "--test-threads=1", name]);
        test
    };
    let ends = match machine {
        Machine::Native => return workspace::run_tests(&mut tests("")),
        Machine::Qemu(..) => "SIGSEGV",
        Machine::Bochs(_) => "access outside",
    };
    workspace::run_tests(&mut tests("buffers_lie_against_the_pages"))?;
    for side in ["before", "behind"] {
        let mut test = tests("a_byte_outside_ends_the_program");
        let output = test.env("TQ_TEST_READ_OUTSIDE", side).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains(ends) {
            anyhow::bail!("the emulator let a byte {side} a buffer be read: {said}");
        }
    }
    Ok(())
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Suite::Conformance => "conformance",
            Suite::GuardPages => "guard pages",
            Suite::Sessions => "sessions",
        })
    }
}
