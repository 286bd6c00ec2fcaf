//! Where things are, and running programs.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into)
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Has cargo build release code without what takes long and serves no test: linking optimization and debug information.
pub(crate) fn quick_release(cargo: &mut Command) -> &mut Command {
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_INCREMENTAL", "0")
}

/// Runs a program, showing its command line and its output; an error unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// [`run`] for a command that runs tests; an error too where none of them passed, as where words choose none.
pub(crate) fn run_tests(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?;
    let mut passed = 0;
    for line in BufReader::new(child.stdout.take().context("no output")?).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        passed += passed_tests(&line).unwrap_or(0);
        println!("{line}");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    if passed == 0 {
        bail!("{shown}: no test ran");
    }
    Ok(())
}

/// How many tests passed, of the line that a program of tests ends with.
fn passed_tests(line: &str) -> Option<usize> {
    let (count, _) = line.strip_prefix("test result: ok. ")?.split_once(" passed")?;
    count.parse().ok()
}

/// What the compiler says of itself.
pub(crate) fn rustc_version() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output().context("cannot run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_passed_are_counted() {
        let end =
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.00s";
        assert_eq!(passed_tests(end), Some(12));
        assert_eq!(passed_tests("running 12 tests"), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_run_without_a_test_is_an_error() {
        let says = |text: &str| run_tests(Command::new("echo").arg(text));
        assert!(says("test result: ok. 1 passed; 0 failed").is_ok());
        assert!(says("test result: ok. 0 passed; 0 failed; 4 filtered out").is_err());
    }
}
