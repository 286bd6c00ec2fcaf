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
    /// What the processor calls itself, and which model of its maker it is.
    pub processor: Option<String>,
    /// Whether the program seems to run in an emulator: the system tells of a processor of another architecture. An emulator that
    /// hides that stays unseen.
    pub emulated: bool,
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
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Facts {
        processor: processor(&cpuinfo),
        emulated: cfg!(target_arch = "aarch64") && field(&cpuinfo, "vendor_id").is_some(),
        features: features(),
        caches: caches(Path::new("/sys/devices/system/cpu/cpu0/cache")),
        load: fs::read_to_string("/proc/loadavg").ok().and_then(|text| text.split(' ').next()?.parse().ok()),
    }
}

/// What stands behind a name in Linux's list, for the first processor that has it.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// The name alone may say no more than the maker, so model numbers stand behind it. ARM processors have numbers alone.
fn processor(cpuinfo: &str) -> Option<String> {
    let field = |name| field(cpuinfo, name);
    if let Some(name) = field("model name") {
        return Some(match (field("cpu family"), field("model")) {
            (Some(family), Some(model)) => format!("{name}, family {family}, model {model}"),
            _ => name.to_owned(),
        });
    }
    let (implementer, part) = (field("CPU implementer")?, field("CPU part")?);
    let known = ARM_PARTS.iter().find(|(number, _)| implementer == "0x41" && part == *number);
    Some(known.map_or_else(
        || format!("ARM implementer {implementer}, part {part}"),
        |(_, name)| format!("Arm {name}"),
    ))
}

/// Arm's own cores by the number that they tell (MIDR_EL1 in their reference manuals).
const ARM_PARTS: [(&str, &str); 12] = [
    ("0xd03", "Cortex-A53"),
    ("0xd05", "Cortex-A55"),
    ("0xd08", "Cortex-A72"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd0d", "Cortex-A77"),
    ("0xd40", "Neoverse-V1"),
    ("0xd41", "Cortex-A78"),
    ("0xd44", "Cortex-X1"),
    ("0xd49", "Neoverse-N2"),
    ("0xd4f", "Neoverse-V2"),
    ("0xd84", "Neoverse-V3"),
];

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
        assert_eq!(processor(text).as_deref(), Some("A processor: fast"));
        assert_eq!(processor("flags: x"), None);
        let text = "cpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n";
        assert_eq!(processor(text).as_deref(), Some("AMD EPYC, family 25, model 17"));
        let arm =
            |implementer, part| processor(&format!("CPU implementer\t: {implementer}\nCPU part\t: {part}\n"));
        assert_eq!(arm("0x41", "0xd0c").as_deref(), Some("Arm Neoverse-N1"));
        assert_eq!(arm("0x61", "0xd0c").as_deref(), Some("ARM implementer 0x61, part 0xd0c"));
        assert!(caches(Path::new("/nowhere")).is_empty());
    }
}
