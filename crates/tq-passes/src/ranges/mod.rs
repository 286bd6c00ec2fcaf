//! Ranges of tensors that another tool's calibration left in a file, in the place of calibrating.

mod aimet;
mod json;
mod load;
mod ort;
mod tensorrt;

pub use load::{IgnoredRange, RangesReport};
pub use tensorrt::{CacheAlgorithm, CalibrationCache};

use crate::PassError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// Files larger than this are not read: a line for each tensor of the largest models takes a hundredth of it.
const MAX_FILE_BYTES: u64 = 1 << 28;

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RangesFormat {
    /// The JSON of ONNX Runtime's quantizer (`calibration.json`, or what `calibration_cache_path` names): lowest and
    /// highest value of each tensor.
    Ort,
    /// TensorRT's calibration cache: a header, then `name: scale`, the scale as the hexadecimal digits of an f32. The
    /// range is symmetric, 127 scales to each side.
    TensorRt,
    /// AIMET's encodings, JSON of version 0.6.1 or 1.0.0. Those of parameters are not used: weights have their values.
    Aimet,
}

impl RangesFormat {
    /// All of them.
    pub const ALL: [RangesFormat; 3] = [RangesFormat::Ort, RangesFormat::TensorRt, RangesFormat::Aimet];

    /// The word for it: `ort`, `tensorrt` or `aimet`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RangesFormat::Ort => "ort",
            RangesFormat::TensorRt => "tensorrt",
            RangesFormat::Aimet => "aimet",
        }
    }
}

impl fmt::Display for RangesFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RangesFormat {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|f| f.name() == word);
        found.ok_or_else(|| format!("{word:?} is no format of ranges; there are ort, tensorrt and aimet"))
    }
}

/// What a file says of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    /// Smallest and largest value.
    Range(f32, f32),
    /// Why there is no range to use.
    Ignored(&'static str),
}

/// Ranges of tensors by name, as another tool's calibration left them.
///
/// ```
/// use tq_passes::{CalibrationRanges, RangesFormat};
/// // 127 * 0.0078125 to each side.
/// let ranges = CalibrationRanges::parse("TRT-8600-EntropyCalibration2\nx: 3c000000\n", None)?;
/// assert_eq!(ranges.format(), RangesFormat::TensorRt);
/// assert_eq!(ranges.ranges().collect::<Vec<_>>(), [("x", -0.9921875, 0.9921875)]);
/// # Ok::<(), tq_passes::PassError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CalibrationRanges {
    format: RangesFormat,
    tensors: BTreeMap<String, Entry>,
}

impl CalibrationRanges {
    /// Reads a file's text; without a format it is told by what the text begins with or has in it.
    ///
    /// # Errors
    /// [`PassError::File`] with the place and what is wrong there; [`PassError::Range`] naming a tensor whose range is
    /// not finite or ends before it begins, with the numbers.
    pub fn parse(text: &str, format: Option<RangesFormat>) -> Result<Self, PassError> {
        let format = match format {
            Some(format) => format,
            None => detect(text)?,
        };
        let entries = match format {
            RangesFormat::Ort => ort::parse(text)?,
            RangesFormat::TensorRt => tensorrt::entries(text)?,
            RangesFormat::Aimet => aimet::parse(text)?,
        };
        let mut tensors = BTreeMap::new();
        for (tensor, entry) in entries {
            if let Entry::Range(min, max) = entry
                && !(min.is_finite() && max.is_finite() && min <= max)
            {
                return Err(PassError::Range { tensor, min, max });
            }
            if tensors.insert(tensor.clone(), entry).is_some() {
                return Err(file_error(&format!("tensor {tensor} stands twice")));
            }
        }
        Ok(Self { format, tensors })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// As [`CalibrationRanges::parse`]; [`PassError::File`] when it cannot be read or is larger than 256 MiB.
    pub fn from_file(path: &Path, format: Option<RangesFormat>) -> Result<Self, PassError> {
        let fail = |e: &dyn fmt::Display| file_error(&format!("{}: {e}", path.display()));
        let mut text = String::new();
        let file = File::open(path).map_err(|e| fail(&e))?;
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| fail(&e))?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(fail(&format!("more than {MAX_FILE_BYTES} bytes")));
        }
        Self::parse(&text, format).map_err(|e| match e {
            PassError::File { message, .. } => fail(&message),
            e => e,
        })
    }

    /// Whose file it was.
    #[must_use]
    pub fn format(&self) -> RangesFormat {
        self.format
    }

    /// The tensors with a range: name, smallest and largest value, by name.
    pub fn ranges(&self) -> impl Iterator<Item = (&str, f32, f32)> {
        self.tensors.iter().filter_map(|(name, entry)| match entry {
            Entry::Range(min, max) => Some((name.as_str(), *min, *max)),
            Entry::Ignored(_) => None,
        })
    }
}

/// Whose file a text is.
fn detect(text: &str) -> Result<RangesFormat, PassError> {
    let text = text.trim_start();
    if text.starts_with("TRT-") {
        return Ok(RangesFormat::TensorRt);
    }
    if !text.starts_with('{') {
        return Err(file_error(&"it is neither JSON nor does it begin with TensorRT's header line"));
    }
    let value = json::parse(text)?;
    match value.get("activation_encodings") {
        Some(_) => Ok(RangesFormat::Aimet),
        None => Ok(RangesFormat::Ort),
    }
}

fn file_error(error: &dyn fmt::Display) -> PassError {
    PassError::File { format: "calibration ranges", message: error.to_string() }
}
