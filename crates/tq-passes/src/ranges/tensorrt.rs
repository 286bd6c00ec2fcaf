//! TensorRT's calibration cache: the one reader and writer of it.
//!
//! Text: a first line `TRT-VERSION-ALGORITHM`, then a line `TENSOR: HEX` for each tensor, where HEX are the bits of the f32
//! scale `amax / 127` as eight hexadecimal digits, most significant first. Names may hold `": "` themselves: the last one
//! separates. TensorRT 10 and older read it; one with another version or algorithm in its first line they reject, so both
//! are for the caller to say.

use super::{Entry, MAX_FILE_BYTES};
use crate::PassError;
use crate::config::rules::shortened;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::Path;
use tq_graph::qdq::node_params;
use tq_graph::save::replace_file;
use tq_graph::{Graph, Node, Op};

/// The largest code.
const CODES: f32 = 127.0;

/// How the ranges were found, as the first line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CacheAlgorithm {
    /// `EntropyCalibration2`.
    EntropyCalibration2,
    /// `MinMaxCalibration`.
    MinMaxCalibration,
}

impl CacheAlgorithm {
    const ALL: [CacheAlgorithm; 2] = [CacheAlgorithm::EntropyCalibration2, CacheAlgorithm::MinMaxCalibration];

    /// The name in the first line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CacheAlgorithm::EntropyCalibration2 => "EntropyCalibration2",
            CacheAlgorithm::MinMaxCalibration => "MinMaxCalibration",
        }
    }
}

/// The scales of a model's activations, in TensorRT's file format.
///
/// ```
/// use tq_passes::CalibrationCache;
/// let cache = CalibrationCache::parse("TRT-8601-EntropyCalibration2\nx: 3c010204\n")?;
/// assert_eq!(cache.scales, [("x".to_owned(), 1.0 / 127.0)]);
/// assert_eq!(cache.to_string(), "TRT-8601-EntropyCalibration2\nx: 3c010204\n");
/// # Ok::<(), tq_passes::PassError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationCache {
    /// The version in the first line: 8601 for 8.6.1, 100100 for 10.1.0.
    pub version: String,
    /// The algorithm in the first line.
    pub algorithm: CacheAlgorithm,
    /// Tensors with their scales, in the order of the file.
    pub scales: Vec<(String, f32)>,
}

impl CalibrationCache {
    /// The version that is written where no other is asked for: that of TensorRT 10.1.0.
    pub const DEFAULT_VERSION: &'static str = "100100";

    /// The scales of all activations of a quantized graph, under the names of the tensors before their Quantize.
    #[must_use]
    pub fn of_graph(graph: &Graph) -> Self {
        let mut scales: Vec<(String, f32)> = Vec::new();
        let consumers = graph.consumers();
        let behind = |quantize: &Node| {
            let codes = quantize.output(0)?;
            let outputs = consumers[codes.0].iter().filter_map(|id| graph.node(*id).output(0));
            outputs.into_iter().find(|v| graph.outputs.contains(v))
        };
        for node in graph.nodes.iter().filter(|n| matches!(n.op, Op::QuantizeLinear { .. })) {
            let Some(x) = node.input(0).filter(|v| graph.constant(*v).is_none()) else { continue };
            let Some((scale, _)) = node_params(graph, node).and_then(|p| p.uniform()) else { continue };
            // An output has its name behind its pair.
            let name = &graph.value(behind(node).unwrap_or(x)).name;
            if !scales.iter().any(|(n, _)| n == name) {
                scales.push((name.clone(), scale));
            }
        }
        let algorithm = CacheAlgorithm::EntropyCalibration2;
        Self { version: Self::DEFAULT_VERSION.into(), algorithm, scales }
    }

    /// With another first line.
    #[must_use]
    pub fn header(mut self, version: impl Into<String>, algorithm: CacheAlgorithm) -> Self {
        (self.version, self.algorithm) = (version.into(), algorithm);
        self
    }

    /// The largest magnitude of a tensor: its scale times 127.
    #[must_use]
    pub fn amax(&self, tensor: &str) -> Option<f32> {
        self.scales.iter().find(|(name, _)| name == tensor).map(|(_, scale)| scale * CODES)
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`PassError::File`] with the line and what is wrong there: another first line, no separator, no eight hexadecimal
    /// digits, a scale that is negative or not finite, a tensor twice. A scale of zero is read, as that of a tensor that
    /// never was anything else: `00000000`, or `0` as programs print it that do not pad.
    pub fn parse(text: &str) -> Result<Self, PassError> {
        let fail = |line: usize, message: String| file_error(&format!("line {line}: {message}"));
        let mut lines = text.lines().enumerate();
        let first = lines.next().map_or("", |(_, l)| l.trim_end());
        let header = first.strip_prefix("TRT-").and_then(|rest| rest.rsplit_once('-'));
        let wrong = || {
            let known = CacheAlgorithm::ALL.map(CacheAlgorithm::name).join(" or ");
            fail(1, format!("{:?} is not TRT-VERSION-ALGORITHM with {known}", shortened(first)))
        };
        let (version, algorithm) = header.ok_or_else(wrong)?;
        let algorithm = CacheAlgorithm::ALL.into_iter().find(|a| a.name() == algorithm).ok_or_else(wrong)?;
        let mut scales = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (i, line) in lines {
            let line = line.trim_end();
            if line.is_empty() {
                continue;
            }
            let (name, digits) = line
                .rsplit_once(": ")
                .ok_or_else(|| fail(i + 1, format!("{:?} has no separator \": \"", shortened(line))))?;
            let is_hex = digits == "0" || digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let bits = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
            let bits = bits.ok_or_else(|| {
                fail(i + 1, format!("{:?} are not eight hexadecimal digits", shortened(digits)))
            })?;
            let scale = f32::from_bits(bits);
            if !scale.is_finite() || scale.is_sign_negative() {
                return Err(fail(i + 1, format!("the scale of {} is {scale}", shortened(name))));
            }
            if !seen.insert(name) {
                return Err(fail(i + 1, format!("{} stands there a second time", shortened(name))));
            }
            scales.push((name.to_owned(), scale));
        }
        Ok(Self { version: version.to_owned(), algorithm, scales })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`PassError::File`] when it cannot be read or is larger than 256 MiB, and as [`CalibrationCache::parse`].
    pub fn load(path: &Path) -> Result<Self, PassError> {
        let io = |e: &dyn fmt::Display| file_error(&format!("{}: {e}", path.display()));
        let file = std::fs::File::open(path).map_err(|e| io(&e))?;
        let mut text = String::new();
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| io(&e))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(io(&format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Self::parse(&text)
    }

    /// Writes a file: whole, or not at all.
    ///
    /// # Errors
    /// [`PassError::File`] for a name with a line break, which the format cannot hold, and when the system cannot write.
    pub fn save(&self, path: &Path) -> Result<(), PassError> {
        if let Some((name, _)) = self.scales.iter().find(|(name, _)| name.contains(['\n', '\r'])) {
            return Err(file_error(&format!("the name {name:?} has a line break in it")));
        }
        replace_file::<std::io::Error>(path, |out| out.write_all(self.to_string().as_bytes()))
            .map_err(|e| file_error(&format!("{}: {e}", path.display())))
    }
}

fn file_error(message: &str) -> PassError {
    PassError::File { format: "TensorRT calibration cache", message: message.to_owned() }
}

/// The ranges of a cache: symmetric, 127 scales to each side.
pub(super) fn entries(text: &str) -> Result<Vec<(String, Entry)>, PassError> {
    let range = |(name, scale): (String, f32)| (name, Entry::Range(-scale * CODES, scale * CODES));
    Ok(CalibrationCache::parse(text)?.scales.into_iter().map(range).collect())
}

impl fmt::Display for CalibrationCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "TRT-{}-{}", self.version, self.algorithm.name())?;
        for (name, scale) in &self.scales {
            writeln!(f, "{name}: {:08x}", scale.to_bits())?;
        }
        Ok(())
    }
}
