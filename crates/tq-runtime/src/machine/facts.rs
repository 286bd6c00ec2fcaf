//! What the processor and the system tell about themselves.

use serde::Serialize;
use std::fs;
use std::path::Path;

/// A cache of the first processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cache {
    /// 1 is the nearest.
    pub level: usize,
    /// `data`, `instruction` or `unified`.
    pub kind: String,
    /// Its size.
    pub bytes: usize,
}

/// What is known without measuring.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// What the processor calls itself.
    pub processor: Option<String>,
    /// Features that kernels ask for.
    pub features: Vec<&'static str>,
    /// Caches, nearest first.
    pub caches: Vec<Cache>,
    /// Load of the last minute.
    pub load: Option<f64>,
}

/// Asks processor and system. What they do not tell is left out.
#[must_use]
pub fn facts() -> Facts {
    Facts {
        processor: fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| model_name(&text)),
        features: features(),
        caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// A macro of the standard library asks, which wants the names as literals.
macro_rules! detected {
    ($detect:ident: $($name:tt),+) => {
        [$(($name, std::arch::$detect!($name))),+].into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    detected!(
        is_x86_feature_detected: "sse4.2", "avx", "fma", "avx2", "avxvnni", "avxvnniint8", "avx512f", "avx512bw",
        "avx512vl", "avx512vnni"
    )
}

#[cfg(target_arch = "aarch64")]
fn features() -> Vec<&'static str> {
    detected!(is_aarch64_feature_detected: "neon", "dotprod", "i8mm", "sve", "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// The caches that Linux lists in a folder.
fn caches(folder: &Path) -> Vec<Cache> {
    let mut caches: Vec<Cache> = (0..8).filter_map(|i| cache(&folder.join(format!("index{i}")))).collect();
    caches.sort_by(|a, b| (a.level, &a.kind).cmp(&(b.level, &b.kind)));
    caches
}

fn cache(folder: &Path) -> Option<Cache> {
    let read = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.trim().to_owned());
    let kind = read("type")?.to_lowercase();
    Some(Cache { level: read("level")?.parse().ok()?, kind, bytes: size(&read("size")?)? })
}

/// `32K` or `8M`.
fn size(text: &str) -> Option<usize> {
    let (number, unit) = match text.strip_suffix('K') {
        Some(number) => (number, 1 << 10),
        None => (text.strip_suffix('M')?, 1 << 20),
    };
    number.parse::<usize>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_is_read() {
        assert_eq!(
            (size("32K"), size("8M"), size("x"), size("")),
            (Some(32 << 10), Some(8 << 20), None, None)
        );
        let text = "processor\t: 0\nmodel name\t: A processor: fast\n";
        assert_eq!(model_name(text).as_deref(), Some("A processor: fast"));
        assert_eq!(model_name("flags: x"), None);
        assert!(caches(Path::new("/nowhere")).is_empty());
    }
}
