//! Attributes of a node by their names, with errors that name node and attribute.

use super::names::Named;
use crate::FormatError;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Elements of a list. The longest are as long as tensors have axes.
const MAX_LIST: usize = 1024;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Attribute {
    Flag(bool),
    Int(i128),
    /// A float as a number with all its digits. One that is not finite is a text: its bits.
    Float(f64),
    Text(String),
    List(Vec<Attribute>),
}

impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Attribute::Flag(v) => v.serialize(serializer),
            Attribute::Int(v) => v.serialize(serializer),
            Attribute::Float(v) => v.serialize(serializer),
            Attribute::Text(v) => v.serialize(serializer),
            Attribute::List(v) => v.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Attribute;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a truth value, a number, a text, or a list of them")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Attribute, E> {
                Ok(Attribute::Flag(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Attribute, E> {
                Ok(Attribute::Int(v.into()))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Attribute, E> {
                Ok(Attribute::Int(v.into()))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Attribute, E> {
                Ok(Attribute::Float(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Attribute, E> {
                Ok(Attribute::Text(v.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Attribute, A::Error> {
                let mut list = Vec::new();
                while let Some(v) = seq.next_element()? {
                    if list.len() == MAX_LIST {
                        return Err(A::Error::custom(format_args!(
                            "a list of more than {MAX_LIST} elements"
                        )));
                    }
                    list.push(v);
                }
                Ok(Attribute::List(list))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl From<bool> for Attribute {
    fn from(v: bool) -> Self {
        Attribute::Flag(v)
    }
}

impl From<i64> for Attribute {
    fn from(v: i64) -> Self {
        Attribute::Int(v.into())
    }
}

impl From<u32> for Attribute {
    fn from(v: u32) -> Self {
        Attribute::Int(v.into())
    }
}

impl From<usize> for Attribute {
    fn from(v: usize) -> Self {
        Attribute::Int(v as i128)
    }
}

impl From<f32> for Attribute {
    fn from(v: f32) -> Self {
        match v.is_finite() {
            true => Attribute::Float(v.into()),
            false => Attribute::Text(format!("0x{:08x}", v.to_bits())),
        }
    }
}

impl From<&str> for Attribute {
    fn from(v: &str) -> Self {
        Attribute::Text(v.to_owned())
    }
}

impl<T: Copy + Into<Attribute>> From<&[T]> for Attribute {
    fn from(v: &[T]) -> Self {
        Attribute::List(v.iter().map(|e| (*e).into()).collect())
    }
}

/// What an attribute can be read as.
pub(super) trait FromAttribute: Sized {
    /// What is expected, for messages.
    const WHAT: &'static str;

    fn from_attribute(attribute: &Attribute) -> Option<Self>;
}

impl FromAttribute for bool {
    const WHAT: &'static str = "a truth value";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Flag(v) => Some(*v),
            _ => None,
        }
    }
}

macro_rules! integer {
    ($($ty:ty: $what:literal),*) => {
        $(impl FromAttribute for $ty {
            const WHAT: &'static str = $what;
            fn from_attribute(attribute: &Attribute) -> Option<Self> {
                match attribute {
                    Attribute::Int(v) => (*v).try_into().ok(),
                    _ => None,
                }
            }
        })*
    };
}
integer!(i64: "a 64-bit integer", usize: "a count", u32: "a count of 32 bits");

impl FromAttribute for f32 {
    const WHAT: &'static str = "a 32-bit float";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Float(v) => Some(*v as f32).filter(|f| f64::from(*f) == *v),
            // Programs that rewrite JSON may drop the point.
            Attribute::Int(v) => Some(*v as f32).filter(|f| *f as i128 == *v),
            Attribute::Text(v) => {
                let bits = u32::from_str_radix(v.strip_prefix("0x")?, 16).ok()?;
                Some(f32::from_bits(bits)).filter(|f| !f.is_finite())
            }
            _ => None,
        }
    }
}

impl FromAttribute for String {
    const WHAT: &'static str = "a text";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::Text(v) => Some(v.clone()),
            _ => None,
        }
    }
}

impl<T: FromAttribute> FromAttribute for Vec<T> {
    const WHAT: &'static str = "a list";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        match attribute {
            Attribute::List(v) => v.iter().map(T::from_attribute).collect(),
            _ => None,
        }
    }
}

impl FromAttribute for Attribute {
    const WHAT: &'static str = "anything";
    fn from_attribute(attribute: &Attribute) -> Option<Self> {
        Some(attribute.clone())
    }
}

/// The attributes of one node, on their way out or in.
pub(super) struct Attributes<'a> {
    pub(super) node: &'a str,
    pub(super) op: &'a str,
    pub(super) map: BTreeMap<String, Attribute>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a str, op: &'a str) -> Self {
        Self { node, op, map: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, key: &str, value: impl Into<Attribute>) {
        self.map.insert(key.to_owned(), value.into());
    }

    /// Only where there is one.
    pub(super) fn set_some(&mut self, key: &str, value: Option<impl Into<Attribute>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    pub(super) fn error(&self, attribute: &str, message: impl ToString) -> FormatError {
        FormatError::Attribute {
            node: self.node.to_owned(),
            op: self.op.to_owned(),
            attribute: attribute.to_owned(),
            message: message.to_string(),
        }
    }

    /// Takes the attribute out.
    pub(super) fn get<T: FromAttribute>(&mut self, key: &str) -> Result<T, FormatError> {
        self.get_some(key)?.ok_or_else(|| self.error(key, "it is missing"))
    }

    /// Takes the attribute out, if it is there.
    pub(super) fn get_some<T: FromAttribute>(&mut self, key: &str) -> Result<Option<T>, FormatError> {
        let Some(attribute) = self.map.remove(key) else { return Ok(None) };
        match T::from_attribute(&attribute) {
            Some(value) => Ok(Some(value)),
            None => {
                let text = serde_json::to_string(&attribute).unwrap_or_default();
                Err(self.error(key, format!("{text} is not {}", T::WHAT)))
            }
        }
    }

    /// Takes the attribute out, which names one of a set of values.
    pub(super) fn get_named<T: Named>(&mut self, key: &str) -> Result<T, FormatError> {
        let name: String = self.get(key)?;
        let found = T::ALL.iter().find(|v| v.word() == name);
        found.copied().ok_or_else(|| self.error(key, format!("there is no {name:?}")))
    }

    /// Checks that all attributes have been taken.
    pub(super) fn finish(self) -> Result<(), FormatError> {
        match self.map.first_key_value() {
            Some((key, _)) => Err(self.error(key, "the operator has no such attribute")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_float_survives(bits in any::<u32>()) {
            let text = serde_json::to_string(&Attribute::from(f32::from_bits(bits))).unwrap();
            let read: Attribute = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(f32::from_attribute(&read).unwrap().to_bits(), bits);
        }

        #[test]
        fn every_integer_survives(v in any::<i64>(), u in any::<usize>()) {
            let text = serde_json::to_string(&(Attribute::from(v), Attribute::from(u))).unwrap();
            let (a, b): (Attribute, Attribute) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(i64::from_attribute(&a), Some(v));
            prop_assert_eq!(usize::from_attribute(&b), Some(u));
        }
    }

    #[test]
    fn values_are_of_their_kind() {
        let mut a = Attributes::new("n", "Op");
        a.set("x", "0x3f800000");
        a.set("big", 1e300f64 as f32);
        a.map.insert("wide".into(), Attribute::Float(0.1));
        a.map.insert("list".into(), Attribute::List(vec![Attribute::Int(-1)]));
        assert!(a.get::<f32>("x").is_err());
        assert_eq!(a.get::<f32>("big").unwrap(), f32::INFINITY);
        assert!(a.get::<f32>("wide").is_err());
        assert_eq!(
            a.get::<Vec<usize>>("list").unwrap_err().to_string(),
            "node n (Op): attribute list: [-1] is not a list"
        );
        let long = format!("[{}0]", "0,".repeat(MAX_LIST));
        assert!(serde_json::from_str::<Attribute>(&long).is_err());
    }
}
