//! What building for AArch64 and running it takes, and where it is.

use super::TARGET;
use anyhow::{Result, bail};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the cross compiler's C library lies; qemu looks there for the dynamic linker.
pub(super) const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// Debian's packages of the linker, the C library and qemu.
pub(super) const DEBIAN_PACKAGES: [&str; 3] =
    ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static"];

/// Where the standard library of the target comes from.
pub(super) enum Standard {
    /// The toolchain at hand has it.
    Toolchain,
    /// Another compiler, unpacked from Debian's packages by `cargo xtask setup-arm --debian`.
    Debian { rustc: PathBuf, rustdoc: PathBuf },
}

/// All of them.
pub(crate) struct Tools {
    pub(super) linker: &'static str,
    pub(super) qemu: &'static str,
    pub(super) standard: Standard,
}

impl Tools {
    /// Looks for them; an error says how to get what is missing.
    pub(super) fn find(home: &Path) -> Result<Self> {
        let mut missing = Vec::new();
        let linker = "aarch64-linux-gnu-gcc";
        if !system_is_there() {
            missing.push(format!(
                "no cross linker, C library of AArch64, or qemu. On Debian and Ubuntu:\n    apt-get install {}",
                DEBIAN_PACKAGES.join(" ")
            ));
        }
        let standard = standard(home);
        if standard.is_none() {
            missing.push(format!(
                "no standard library of {TARGET}:\n    rustup target add {TARGET}\n  or, where rustup cannot be used, \
                 Debian's compiler, unpacked to target/xarch:\n    cargo xtask setup-arm --debian"
            ));
        }
        match (qemu(), standard) {
            (Some(qemu), Some(standard)) if missing.is_empty() => Ok(Self { linker, qemu, standard }),
            _ => bail!("not all is there that tests on ARM take:\n  {}", missing.join("\n  ")),
        }
    }
}

impl fmt::Display for Tools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linker {}, emulator {}, ", self.linker, self.qemu)?;
        match &self.standard {
            Standard::Toolchain => write!(f, "standard library of the toolchain."),
            Standard::Debian { rustc, .. } => write!(f, "compiler {}.", rustc.display()),
        }
    }
}

/// True where the linker, its C library and qemu are installed.
pub(super) fn system_is_there() -> bool {
    in_path("aarch64-linux-gnu-gcc")
        && Path::new(LIBRARIES).join("lib/libc.so.6").exists()
        && qemu().is_some()
}

fn qemu() -> Option<&'static str> {
    ["qemu-aarch64-static", "qemu-aarch64"].into_iter().find(|name| in_path(name))
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Where the target's standard library is: the toolchain's own goes first.
pub(super) fn standard(home: &Path) -> Option<Standard> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let folder = asked.ok().filter(|output| output.status.success());
    let folder = folder.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let there = |folder: PathBuf| folder.read_dir().is_ok_and(|mut files| files.next().is_some());
    if folder.is_some_and(there) {
        return Some(Standard::Toolchain);
    }
    let (rustc, rustdoc) = (home.join("rustc"), home.join("rustdoc"));
    (rustc.exists() && rustdoc.exists()).then_some(Standard::Debian { rustc, rustdoc })
}
