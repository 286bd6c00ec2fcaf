//! Attributes of a node, read by name and type.

use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use crate::tensor::Problem;
use std::cell::Cell;
use std::collections::HashSet;

/// The attributes of one node. Every attribute has to be asked for: what the operator does not know at the model's
/// opset must not be passed over, because it would change what the node computes.
pub(crate) struct Attributes<'a> {
    list: Vec<(&'a AttributeProto, Cell<bool>)>,
}

type Result<T> = std::result::Result<T, Problem>;

impl<'a> Attributes<'a> {
    pub(crate) fn new(node: &'a NodeProto) -> Result<Self> {
        let mut names = HashSet::new();
        for a in &node.attribute {
            if !names.insert(a.name()) {
                return Err(Problem::Malformed(format!("attribute {} stands twice", a.name())));
            }
            if !a.ref_attr_name().is_empty() {
                return Err(Problem::Malformed(format!(
                    "attribute {} refers to a function's attribute outside a function",
                    a.name()
                )));
            }
        }
        Ok(Self { list: node.attribute.iter().map(|a| (a, Cell::new(false))).collect() })
    }

    /// The attribute `name`, which must be of type `want`.
    fn get(&self, name: &str, want: AttributeType) -> Result<Option<&'a AttributeProto>> {
        let Some((attribute, used)) = self.list.iter().find(|(a, _)| a.name() == name) else {
            return Ok(None);
        };
        used.set(true);
        let code = attribute.r#type.unwrap_or_default();
        // The oldest files leave the type out.
        if code != want as i32 && code != AttributeType::Undefined as i32 {
            let got = AttributeType::try_from(code).map_or("unknown", |t| t.as_str_name());
            return Err(Problem::Malformed(format!(
                "attribute {name} is of type {got}, expected {}",
                want.as_str_name()
            )));
        }
        Ok(Some(attribute))
    }

    pub(crate) fn int_opt(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.get(name, AttributeType::Int)?.map(AttributeProto::i))
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int_opt(name)?.unwrap_or(default))
    }

    /// A number that must be 0 or 1.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        match self.int(name, i64::from(default))? {
            0 => Ok(false),
            1 => Ok(true),
            n => Err(Problem::Malformed(format!("attribute {name} is {n}, expected 0 or 1"))),
        }
    }

    pub(crate) fn float_opt(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.get(name, AttributeType::Float)?.map(AttributeProto::f))
    }

    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.float_opt(name)?.unwrap_or(default))
    }

    pub(crate) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>> {
        Ok(self.get(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }

    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>> {
        Ok(self.get(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>> {
        let Some(attribute) = self.get(name, AttributeType::Tensor)? else { return Ok(None) };
        match attribute.t.as_deref() {
            Some(t) => Ok(Some(t)),
            None => Err(Problem::Malformed(format!("attribute {name} holds no tensor"))),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(attribute) = self.get(name, AttributeType::String)? else { return Ok(None) };
        match std::str::from_utf8(attribute.s()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Problem::Malformed(format!("attribute {name} is not UTF-8 text"))),
        }
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&'a str>>> {
        let Some(attribute) = self.get(name, AttributeType::Strings)? else { return Ok(None) };
        match attribute.strings.iter().map(|s| std::str::from_utf8(s)).collect() {
            Ok(texts) => Ok(Some(texts)),
            Err(_) => Err(Problem::Malformed(format!("attribute {name} is not UTF-8 text"))),
        }
    }

    /// Checks that every attribute was asked for. The message says where the others are unknown.
    pub(crate) fn finish(&self, place: &str) -> Result<()> {
        match self.list.iter().find(|(_, used)| !used.get()) {
            None => Ok(()),
            Some((a, _)) => Err(Problem::Unsupported(format!("attribute {} is unknown {place}", a.name()))),
        }
    }
}
