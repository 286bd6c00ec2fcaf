//! The header of a safetensors file: which tensors there are, where their bytes stand, and the metadata.
//!
//! A file is a number of eight bytes, little-endian, a JSON object of so many bytes, and the bytes of the tensors, one
//! right after the other. The object has for each tensor `"NAME": {"dtype": …, "shape": […], "data_offsets": [BEGIN,
//! END]}`, offsets counted from the end of the header, and perhaps `"__metadata__"`, an object of texts.

use crate::source::Source;
use crate::{FormatError, MAX_HEADER};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tq_qtypes::DType;

/// The key under which the metadata stands, which therefore no tensor can have as its name.
pub(crate) const METADATA: &str = "__metadata__";

/// Tensors have at most this many axes.
const MAX_RANK: usize = 64;

/// What the format calls a type; `None` for types that it does not have, or that not all its readers know.
pub(crate) const fn name_of(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "F64",
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::U64 => "U64",
        DType::I32 => "I32",
        DType::U32 => "U32",
        DType::I16 => "I16",
        DType::U16 => "U16",
        DType::I8 => "I8",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
        DType::F8E4M3FN => "F8_E4M3",
        DType::F8E5M2 => "F8_E5M2",
        _ => return None,
    })
}

fn dtype_of(name: &str) -> Option<DType> {
    match name {
        // Written by others, never here.
        "F8_E4M3FNUZ" => Some(DType::F8E4M3FNUZ),
        "F8_E5M2FNUZ" => Some(DType::F8E5M2FNUZ),
        _ => DType::ALL.into_iter().find(|d| name_of(*d) == Some(name)),
    }
}

/// One tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<usize>,
    /// How many bytes it has. They follow those of the entry before.
    pub(crate) bytes: usize,
}

impl Entry {
    /// How tensors are ordered: those of wider elements first, so that all are aligned, then by name.
    pub(crate) fn order(a: &Entry, b: &Entry) -> Ordering {
        b.dtype.bits().cmp(&a.dtype.bits()).then_with(|| a.name.cmp(&b.name))
    }
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, String>,
    /// In the order of their bytes.
    pub(crate) entries: Vec<Entry>,
}

impl Header {
    /// Reads the header of a file, and checks that it describes all of it. Says where it ends, too.
    pub(crate) fn read(source: &impl Source) -> Result<(Self, u64), FormatError> {
        let mut size = [0; 8];
        source.exact(&mut size, 0, "the length of its header")?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER {
            return Err(FormatError::HeaderSize(size));
        }
        let Some(data) = source.len().checked_sub(8).and_then(|n| n.checked_sub(size)) else {
            return Err(FormatError::Truncated("its header"));
        };
        let mut text = vec![0; usize::try_from(size).map_err(|_| FormatError::HeaderSize(size))?];
        source.exact(&mut text, 8, "its header")?;
        Ok((Self::parse(&text, data)?, 8 + size))
    }

    fn parse(text: &[u8], data: u64) -> Result<Self, FormatError> {
        let container = |m: String| FormatError::Container(m);
        let raw: Raw = serde_json::from_slice(text).map_err(|e| container(format!("its header: {e}")))?;
        let mut tensors = raw.tensors;
        tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
        let mut at = 0;
        let mut entries = Vec::with_capacity(tensors.len());
        for (name, info) in tensors {
            let bad = |message: String| Err(FormatError::Tensor { name: name.clone(), message });
            let Some(dtype) = dtype_of(&info.dtype) else {
                return bad(format!("elements of type {} are not read", info.dtype));
            };
            let dims = info.shape;
            if dims.len() > MAX_RANK {
                return bad(format!("{} axes, at most {MAX_RANK} are read", dims.len()));
            }
            let Some(numel) = dtype.checked_numel(&dims) else {
                return bad(format!("shape {dims:?} of {dtype} is too large"));
            };
            let bytes = dtype.packed_bytes(numel);
            let (begin, end) = info.data_offsets;
            if begin != at {
                let how = if begin < at { "overlaps" } else { "leaves a gap after" };
                return bad(format!(
                    "it begins at byte {begin}, which {how} the tensor before, ending at {at}"
                ));
            }
            if end.checked_sub(begin) != Some(bytes as u64) {
                return bad(format!("bytes {begin} to {end}, shape {dims:?} of {dtype} needs {bytes}"));
            }
            at = end;
            entries.push(Entry { name, dtype, dims, bytes });
        }
        match at.cmp(&data) {
            Ordering::Greater => Err(FormatError::Truncated("its tensors")),
            Ordering::Less => Err(container(format!("{} bytes follow the last tensor", data - at))),
            Ordering::Equal => Ok(Header { metadata: raw.metadata, entries }),
        }
    }

    /// The number and the JSON object that stand before the bytes of the tensors. The tensors begin at a multiple of
    /// eight bytes.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let json =
            |value: &str| serde_json::to_string(value).map_err(|e| FormatError::Container(e.to_string()));
        let mut text = String::from("{");
        if !self.metadata.is_empty() {
            text += &format!("\"{METADATA}\":{{");
            for (i, (key, value)) in self.metadata.iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                text += &format!("{comma}{}:{}", json(key)?, json(value)?);
            }
            text.push('}');
        }
        let mut at = 0u64;
        for entry in &self.entries {
            let comma = if text.len() == 1 { "" } else { "," };
            let dtype = name_of(entry.dtype)
                .ok_or_else(|| FormatError::tensor(&entry.name, format!("no type for {}", entry.dtype)))?;
            if entry.dims.len() > MAX_RANK {
                let axes = entry.dims.len();
                return Err(FormatError::tensor(
                    &entry.name,
                    format!("{axes} axes, at most {MAX_RANK} are written"),
                ));
            }
            let end = at + entry.bytes as u64;
            let dims: Vec<String> = entry.dims.iter().map(ToString::to_string).collect();
            text += &format!(
                "{comma}{}:{{\"dtype\":\"{dtype}\",\"shape\":[{}],\"data_offsets\":[{at},{end}]}}",
                json(&entry.name)?,
                dims.join(",")
            );
            at = end;
        }
        text.push('}');
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let size = text.len() as u64;
        if size > MAX_HEADER {
            return Err(FormatError::HeaderSize(size));
        }
        let mut bytes = size.to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        Ok(bytes)
    }
}

#[derive(Deserialize)]
struct Info {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

/// The object as it stands, without names that come twice.
struct Raw {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw { metadata: BTreeMap::new(), tensors: Vec::new() };
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("two entries are named {name:?}")));
                    }
                    if name == METADATA {
                        raw.metadata = map.next_value::<Unique<String>>()?.0;
                    } else {
                        raw.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What has names, none of which comes twice.
pub(crate) struct Unique<T>(pub(crate) BTreeMap<String, T>);

impl<T> Default for Unique<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(Unique<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Unique<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Unique<T>, A::Error> {
                while let Some((name, value)) = map.next_entry::<String, T>()? {
                    if self.0.0.contains_key(&name) {
                        return Err(A::Error::custom(format_args!("two entries are named {name:?}")));
                    }
                    self.0.0.insert(name, value);
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_map(Object(Unique::default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, data: u64) -> String {
        match Header::parse(text.as_bytes(), data) {
            Ok(header) => format!("{} tensors", header.entries.len()),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn what_a_header_may_not_say() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let two = |a: &str, b: &str| {
            let t = |o: &str| format!(r#"{{"dtype":"U8","shape":[4],"data_offsets":{o}}}"#);
            format!(r#"{{"a":{},"b":{}}}"#, t(a), t(b))
        };
        let table = [
            (one("F32", "[2]", "[0,8]"), 8, "1 tensors"),
            (one("F32", "[2]", "[0,8]"), 7, "the file ends within its tensors"),
            (one("F32", "[2]", "[0,8]"), 9, "1 bytes follow"),
            (one("F32", "[2]", "[0,4]"), 4, "needs 8"),
            (one("F32", "[2]", "[8,0]"), 8, "leaves a gap"),
            (one("F32", "[]", "[0,4]"), 4, "1 tensors"),
            (one("F32", "[0]", "[0,0]"), 0, "1 tensors"),
            (one("F33", "[2]", "[0,8]"), 8, "type F33 are not read"),
            (one("F32", "[-2]", "[0,8]"), 8, "header"),
            (one("F32", "[4294967296,4294967296]", "[0,8]"), 8, "too large"),
            (one("F32", "[0,4294967296,4294967296]", "[0,0]"), 0, "too large"),
            (one("F32", "[18446744073709551616]", "[0,8]"), 8, "header"),
            (one("F32", "[2]", "[0,18446744073709551615]"), 8, "needs 8"),
            (one("U8", &format!("[{}1]", "1,".repeat(64)), "[0,1]"), 1, "65 axes"),
            (two("[0,4]", "[4,8]"), 8, "2 tensors"),
            (two("[4,8]", "[0,4]"), 8, "2 tensors"),
            (two("[0,4]", "[0,4]"), 8, "tensor b: it begins at byte 0, which overlaps"),
            (two("[0,4]", "[3,7]"), 8, "overlaps"),
            (two("[0,4]", "[5,9]"), 9, "gap"),
            (two("[0,4]", "[4,8]").replace("\"b\"", "\"a\""), 8, "two entries are named \"a\""),
            (r#"{"__metadata__":{"a":"b","a":"c"}}"#.into(), 0, "two entries are named \"a\""),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "header"),
            ("{}".into(), 0, "0 tensors"),
            ("{}   ".into(), 0, "0 tensors"),
            ("{} x".into(), 0, "header"),
            ("[]".into(), 0, "header"),
            (String::new(), 0, "header"),
            ("[".repeat(100_000), 0, "header"),
            (format!(r#"{{"t":{}"#, "[".repeat(100_000)), 0, "header"),
        ];
        for (text, data, want) in table {
            let got = parse(&text, data);
            assert!(got.contains(want), "{text:.200}: {got}, expected {want}");
        }
        assert!(Header::parse(&[b'{', b'"', 0xff, b'"', b'}'], 0).is_err());
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        let read = |bytes: &[u8]| Header::read(&bytes).unwrap_err();
        assert_eq!(read(&u64::MAX.to_le_bytes()), FormatError::HeaderSize(u64::MAX));
        assert_eq!(read(&MAX_HEADER.to_le_bytes()), FormatError::Truncated("its header"));
        assert_eq!(read(&[1, 0, 0]), FormatError::Truncated("the length of its header"));
    }
}
