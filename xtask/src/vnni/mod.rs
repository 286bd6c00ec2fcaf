//! `cargo xtask setup-vnni` and `cargo xtask test-vnni`: the VNNI kernels on a processor that has none.
//!
//! Programs are linked statically and run in Bochs's processor, which comes as a Python package and knows all of AVX-512 and
//! AVX-VNNI. It has no system: `emulate.py` does the few system calls of a program on one thread, so tests that start threads are
//! left out, as `TQ_SERIAL` asks of them. Where this machine has a level itself, its tests run on it as well.

use crate::level::{self, Machine};
use crate::workspace;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The target that everything is built for.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The emulator. `emulate.py` changes the processor in a way that this version is known to allow.
const PACKAGE: &str = "bochscpu-python==0.3.1";

/// A processor to be emulated.
#[derive(Debug)]
pub(crate) struct Processor {
    /// The level that detection has to choose.
    pub(crate) level: &'static str,
    /// All that it has.
    pub(crate) levels: &'static str,
    /// Bochs's name of it.
    pub(crate) model: &'static str,
    /// The vector state that the system has switched on.
    vectors: &'static str,
}

/// Sapphire Rapids has both kinds of VNNI; where the system keeps no state of AVX-512, programs find AVX-VNNI alone.
pub(crate) const PROCESSORS: [Processor; 2] = [
    Processor { level: "avxvnni", levels: "avx2,avxvnni", model: "sapphire_rapids", vectors: "0x7" },
    Processor { level: "avx512vnni", levels: "avx2,avx512vnni", model: "tigerlake", vectors: "0xe7" },
];

fn home() -> PathBuf {
    workspace::root().join("target/xarch")
}

/// Where things built for emulation go.
fn target() -> PathBuf {
    home().join("static")
}

/// Where cargo puts them.
pub(crate) fn built() -> PathBuf {
    target().join(TARGET)
}

fn python() -> PathBuf {
    home().join("bochs/bin/python")
}

/// Installs the emulator into `target/xarch`.
pub(crate) fn setup() -> Result<()> {
    let venv = home().join("bochs");
    if !is_there() {
        workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut install = Command::new(venv.join("bin/pip"));
        workspace::run(install.args(["install", "--quiet", "--no-deps", PACKAGE]))?;
    }
    workspace::run(Command::new(python()).args(["-c", "import bochscpu"]))?;
    eprintln!("setup-vnni: all is there. {PACKAGE} in {}", venv.display());
    Ok(())
}

fn is_there() -> bool {
    let import = Command::new(python()).args(["-c", "import bochscpu"]).output();
    import.is_ok_and(|output| output.status.success())
}

/// An error where nothing can be emulated here.
pub(crate) fn find() -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        bail!("programs are built for emulation on x86-64 Linux alone");
    }
    if !is_there() {
        bail!(
            "no emulator: `cargo xtask setup-vnni` installs {PACKAGE} (Python 3.11 or so) into target/xarch"
        );
    }
    Ok(())
}

/// Sets what `emulate.py` and tests want to know of a processor.
fn describe(command: &mut Command, processor: &Processor) {
    command.env("TQ_CPU", processor.model).env("TQ_XCR0", processor.vectors).env("TQ_SERIAL", "1");
    command.env("TQ_REQUIRE_ISA", processor.levels).env("TQ_EXPECT_ISA", processor.level);
    command.env_remove("TQ_ISA");
}

/// The emulator as `processor`; the program and its arguments come behind.
pub(crate) fn emulator(processor: &Processor) -> Command {
    let mut emulator = Command::new(python());
    emulator.arg(workspace::root().join("xtask/src/vnni/emulate.py"));
    describe(&mut emulator, processor);
    emulator
}

/// Cargo, linking statically for [`TARGET`].
pub(crate) fn cargo() -> Command {
    let mut cargo = workspace::cargo();
    cargo.env("CARGO_TARGET_DIR", target());
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
    cargo
}

/// Cargo, testing on `processor` what one thread can run.
pub(crate) fn tests(processor: &Processor) -> Command {
    let mut cargo = cargo();
    describe(&mut cargo, processor);
    let script = workspace::root().join("xtask/src/vnni/emulate.py");
    let runner = format!("{} {}", python().display(), script.display());
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    cargo
}

/// Runs the tests of both levels, emulated, and natively where this machine has them.
pub(crate) fn test() -> Result<()> {
    find()?;
    let mut lines = Vec::new();
    let mut failed = 0;
    for processor in &PROCESSORS {
        let mut machines = vec![Machine::Bochs(processor)];
        if level::is_native(processor.level) {
            machines.push(Machine::Native);
        }
        for machine in machines {
            for suite in level::Suite::ALL {
                let outcome = suite.run(&machine, processor.level);
                failed += usize::from(outcome.is_failure());
                lines.push(format!("  {:12} {machine:44} {suite:12} {outcome}", processor.level));
            }
        }
    }
    eprintln!("test-vnni:\n{}", lines.join("\n"));
    if failed > 0 {
        bail!("test-vnni: {failed} of {} runs failed", lines.len());
    }
    Ok(())
}
