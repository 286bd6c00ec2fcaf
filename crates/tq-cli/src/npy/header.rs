//! The header of an `.npy` file: a Python dictionary of three entries.

use super::{Header, Kind, NpyError};
use std::io::Read;

/// Headers of plain arrays take some hundred bytes; numpy itself refuses more than 10,000.
const MAX_HEADER: usize = 65_536;

/// Numpy's own limit is 64.
const MAX_RANK: usize = 64;

/// Reads magic bytes, version and header. Returns the header and the bytes it took.
pub(super) fn read_header(source: &mut impl Read) -> Result<(Header, u64), NpyError> {
    let mut start = [0u8; 8];
    source.read_exact(&mut start).map_err(|_| NpyError::Magic)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(NpyError::Magic);
    }
    let truncated = |_| NpyError::Header("the file ends inside of it".into());
    let (length, prefix) = match start[6] {
        1 => {
            let mut b = [0u8; 2];
            source.read_exact(&mut b).map_err(truncated)?;
            (usize::from(u16::from_le_bytes(b)), 10)
        }
        2 | 3 => {
            let mut b = [0u8; 4];
            source.read_exact(&mut b).map_err(truncated)?;
            (usize::try_from(u32::from_le_bytes(b)).unwrap_or(usize::MAX), 12)
        }
        major => return Err(NpyError::Version(major, start[7])),
    };
    if length > MAX_HEADER {
        return Err(NpyError::Header(format!("{length} bytes long, at most {MAX_HEADER} are read")));
    }
    let mut text = vec![0u8; length];
    source.read_exact(&mut text).map_err(truncated)?;
    let text = String::from_utf8(text).map_err(|_| NpyError::Header("it is not text".into()))?;
    Ok((parse(&text)?, prefix + length as u64))
}

/// Parses the dictionary.
pub(super) fn parse(text: &str) -> Result<Header, NpyError> {
    let mut p = Parser { rest: text };
    let (mut descr, mut order, mut shape) = (None, None, None);
    p.expect('{')?;
    while !p.accept('}') {
        let key = p.string()?;
        p.expect(':')?;
        let fresh = match key.as_str() {
            "descr" => descr.replace(p.descr()?).is_none(),
            "fortran_order" => order.replace(p.boolean()?).is_none(),
            "shape" => shape.replace(p.shape()?).is_none(),
            _ => return Err(NpyError::Header(format!("unknown key {key:?}"))),
        };
        if !fresh {
            return Err(NpyError::Header(format!("two entries {key:?}")));
        }
        if !p.accept(',') {
            p.expect('}')?;
            break;
        }
    }
    if !p.rest.trim().is_empty() {
        return Err(NpyError::Header("text after the dictionary".into()));
    }
    let missing = |key: &str| NpyError::Header(format!("no entry {key:?}"));
    let (kind, big_endian) = descr.ok_or_else(|| missing("descr"))?;
    Ok(Header {
        kind,
        big_endian,
        fortran_order: order.ok_or_else(|| missing("fortran_order"))?,
        dims: shape.ok_or_else(|| missing("shape"))?,
    })
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn accept(&mut self, c: char) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, c: char) -> Result<(), NpyError> {
        if self.accept(c) { Ok(()) } else { Err(NpyError::Header(format!("expected {c:?}"))) }
    }

    fn string(&mut self) -> Result<String, NpyError> {
        let quote = if self.accept('\'') {
            '\''
        } else {
            self.expect('"')?;
            '"'
        };
        let (text, rest) =
            self.rest.split_once(quote).ok_or_else(|| NpyError::Header("a string without end".into()))?;
        self.rest = rest;
        Ok(text.to_owned())
    }

    fn word(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        match self.word() {
            "True" => Ok(true),
            "False" => Ok(false),
            other => Err(NpyError::Header(format!("{other:?} is neither True nor False"))),
        }
    }

    fn descr(&mut self) -> Result<(Kind, bool), NpyError> {
        if self.rest.trim_start().starts_with('[') {
            return Err(NpyError::DType("record".into()));
        }
        let text = self.string()?;
        let unsupported = || NpyError::DType(text.clone());
        let mut chars = text.chars();
        let (order, name) = match chars.next() {
            Some(c @ ('<' | '>' | '|' | '=')) => (c, chars.as_str()),
            _ => ('=', text.as_str()),
        };
        let kind = match name {
            "b1" | "?" => Kind::Bool,
            "f2" => Kind::F16,
            "f4" => Kind::F32,
            "f8" => Kind::F64,
            "i1" => Kind::I8,
            "i2" => Kind::I16,
            "i4" => Kind::I32,
            "i8" => Kind::I64,
            "u1" => Kind::U8,
            "u2" => Kind::U16,
            "u4" => Kind::U32,
            "u8" => Kind::U64,
            _ => return Err(unsupported()),
        };
        let native_big = cfg!(target_endian = "big");
        Ok((kind, order == '>' || (matches!(order, '=' | '|') && native_big)))
    }

    fn shape(&mut self) -> Result<Vec<usize>, NpyError> {
        self.expect('(')?;
        let mut dims = Vec::new();
        while !self.accept(')') {
            let word = self.word();
            // Python 2 wrote long integers with an L.
            let digits = word.strip_suffix('L').unwrap_or(word);
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(NpyError::Header(format!("{word:?} is no dimension")));
            }
            let dim =
                digits.parse().map_err(|_| NpyError::Header(format!("dimension {digits} is too large")))?;
            dims.push(dim);
            if dims.len() > MAX_RANK {
                return Err(NpyError::Header(format!("more than {MAX_RANK} dimensions")));
            }
            if !self.accept(',') {
                self.expect(')')?;
                break;
            }
        }
        Ok(dims)
    }
}
