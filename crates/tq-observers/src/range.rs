//! Intervals of real values.

use crate::ObserverError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Closed interval of real values.
///
/// Both ends are finite, except in [`crate::Mode::PyTorch`], whose observers take what comes. JSON has no way to
/// write infinities and NaN, so those are written as the words `inf`, `-inf` and `nan`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Smallest value.
    #[serde(with = "any_float")]
    pub min: f32,
    /// Largest value.
    #[serde(with = "any_float")]
    pub max: f32,
}

impl fmt::Display for Range {
    /// `[min, max]`, with the precision asked for: `{:.3}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        fmt::Display::fmt(&self.min, f)?;
        f.write_str(", ")?;
        fmt::Display::fmt(&self.max, f)?;
        f.write_str("]")
    }
}

impl Range {
    /// The range of values whose ends were found by comparison. Adding zero turns -0 into 0, so that the state does not
    /// depend on which zero came first.
    pub(crate) fn found(min: f32, max: f32) -> Range {
        Range { min: min + 0.0, max: max + 0.0 }
    }

    /// The smallest interval that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    /// The same, where a NaN in one of them stays.
    pub(crate) fn union_with_nan(self, other: Range) -> Range {
        let pick = |a: f32, b: f32, c: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { c };
        let plain = self.union(other);
        Range { min: pick(self.min, other.min, plain.min), max: pick(self.max, other.max, plain.max) }
    }

    /// True when both ends are finite and in order.
    pub(crate) fn is_proper(self) -> bool {
        self.min.is_finite() && self.max.is_finite() && self.min <= self.max
    }

    /// [`ObserverError::State`] unless the range is one that an observer can have seen.
    pub(crate) fn check(self, observer: &'static str) -> Result<(), ObserverError> {
        if self.is_proper() {
            return Ok(());
        }
        let why = format!("its range {}..{} is not finite and in order", self.min, self.max);
        Err(ObserverError::State { observer, why })
    }
}

/// Joins what two observers have seen.
pub(crate) fn union(a: Option<Range>, b: Option<Range>) -> Option<Range> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.union_with_nan(b)),
        (a, b) => a.or(b),
    }
}

/// Writes finite values as numbers and the others as words.
mod any_float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f32),
        Word(String),
    }

    // The signature that serde asks for.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(v: &f32, s: S) -> Result<S::Ok, S::Error> {
        if v.is_finite() {
            v.serialize(s)
        } else if v.is_nan() {
            "nan".serialize(s)
        } else {
            (if *v > 0.0 { "inf" } else { "-inf" }).serialize(s)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f32, D::Error> {
        match Written::deserialize(d)? {
            Written::Number(v) => Ok(v),
            Written::Word(w) => match w.as_str() {
                "nan" => Ok(f32::NAN),
                "inf" => Ok(f32::INFINITY),
                "-inf" => Ok(f32::NEG_INFINITY),
                _ => Err(serde::de::Error::custom(format!("{w:?} is not a number, nan, inf or -inf"))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_with_the_precision_asked_for() {
        let range = Range { min: -0.5, max: 2.0 };
        assert_eq!(
            (format!("{range}"), format!("{range:.3}")),
            ("[-0.5, 2]".into(), "[-0.500, 2.000]".into())
        );
    }

    #[test]
    fn every_float_survives_json() {
        for v in [0.0, -0.0, 1e-45, 0.1, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let text = serde_json::to_string(&Range { min: v, max: 1.0 }).unwrap();
            let back: Range = serde_json::from_str(&text).unwrap();
            assert_eq!(back.min.to_bits(), v.to_bits(), "{text}");
        }
        assert!(serde_json::from_str::<Range>(r#"{"min":"many","max":1}"#).is_err());
    }

    #[test]
    fn a_nan_stays_where_pytorch_keeps_it() {
        let (one, nan) = (Range { min: 1.0, max: 1.0 }, Range { min: f32::NAN, max: f32::NAN });
        assert!(union(Some(one), Some(nan)).unwrap().min.is_nan());
        assert!(nan.union_with_nan(one).max.is_nan());
        assert!(nan.check("min_max").is_err() && one.check("min_max").is_ok());
    }
}
