//! Debian's own Rust compiler with the standard library of AArch64, for machines that rustup's server is closed to.
//!
//! Only asked for by name. The compiler is unpacked to `target/xarch` and goes with that folder: neither the toolchain of rustup
//! nor Debian's list of what is installed changes. The cross linker and qemu are installed as packages where they are missing.

use super::tools::{DEBIAN_PACKAGES, system_is_there};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The package of the standard library, one for each architecture.
const STANDARD: &str = "libstd-rust-web-dev";

/// Installs what is missing.
pub(super) fn install(home: &Path) -> Result<()> {
    if !system_is_there() {
        // Lists may be missing or old; where they cannot be had, those that are there have to do.
        let _ = workspace::run(Command::new("apt-get").args(["--quiet", "update"]));
        let mut install = Command::new("apt-get");
        install.args(["install", "--yes", "--no-install-recommends"]).args(DEBIAN_PACKAGES);
        workspace::run(&mut install).context("installing packages takes the rights of root")?;
    }
    if super::tools::standard(home).is_none() {
        unpack_compiler(home)?;
    }
    Ok(())
}

/// Downloads the compiler and unpacks it. What writes the wrappers comes last, and they go where they do not start: they stand for all of it.
fn unpack_compiler(home: &Path) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("Debian's compiler is unpacked for x86-64 alone");
    }
    let private = home.join("apt");
    let apt = PrivateApt::new(&private)?;
    // The library for programs is versioned by name, and so is the LLVM that it takes.
    let library = apt.dependency(STANDARD, "libstd-rust-web")?;
    let llvm = apt.dependency(&library, "libllvm")?;
    let debs = private.join("debs");
    let mut download = apt.command("apt-get");
    download.current_dir(&debs).args(["--quiet", "download", "rustc-web", &library, STANDARD]);
    workspace::run(download.arg(format!("{STANDARD}:arm64")).arg(llvm))?;
    let rust = home.join("rust");
    for deb in fs::read_dir(&debs)? {
        workspace::run(Command::new("dpkg").arg("--extract").arg(deb?.path()).arg(&rust))?;
    }
    fs::remove_dir_all(&private)?;
    for program in ["rustdoc", "rustc"] {
        wrap(home, &rust, program)?;
    }
    let starts = workspace::run(Command::new(home.join("rustc")).arg("-vV"));
    if starts.is_err() {
        fs::remove_file(home.join("rustc"))?;
    }
    starts
}

/// A script that starts `program` with the libraries that lie beside it.
fn wrap(home: &Path, rust: &Path, program: &str) -> Result<()> {
    let libraries = rust.join("usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH='{}'\nexport LD_LIBRARY_PATH\nexec '{}/usr/bin/{program}' \"$@\"\n",
        libraries.display(),
        rust.display()
    );
    let path = home.join(program);
    fs::write(&path, script)?;
    workspace::run(Command::new("chmod").arg("+x").arg(path))
}

/// Debian's package tool with lists of its own for both architectures, so that it takes no rights and changes nothing.
struct PrivateApt {
    configuration: std::path::PathBuf,
}

impl PrivateApt {
    fn new(folder: &Path) -> Result<Self> {
        for inner in ["state/lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(folder.join(inner))?;
        }
        fs::write(folder.join("state/status"), "")?;
        let configuration = folder.join("apt.conf");
        let shown = folder.display();
        let text = format!(
            "Dir::State \"{shown}/state\";\nDir::State::status \"{shown}/state/status\";\nDir::Cache \"{shown}/cache\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; \"arm64\"; }};\nAPT::Sandbox::User \"root\";\n"
        );
        fs::write(&configuration, text)?;
        let apt = Self { configuration };
        workspace::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.configuration);
        command
    }

    /// The package of this beginning that `package` depends on.
    fn dependency(&self, package: &str, beginning: &str) -> Result<String> {
        let output = self.command("apt-cache").args(["depends", package]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let name = names.into_iter().find(|name| name.starts_with(beginning));
        name.map(str::to_owned).with_context(|| format!("{package} depends on no {beginning}*"))
    }
}
