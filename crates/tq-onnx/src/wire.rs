//! A first look at protobuf bytes, before anything is decoded.
//!
//! Decoding turns an empty message of two bytes into a few hundred bytes of heap, so a small hostile file could ask
//! for a hundred times its size, or nest until the stack ends. The scan walks the messages as the decoder would,
//! adds up what they will take, and stops at a limit; what it accepts can be decoded.

use crate::proto;
use std::mem::size_of;

/// Messages nest at most this deep. The decoder's own limit is 100.
const MAX_DEPTH: usize = 90;

/// Heap that any file may take once decoded.
const FREE_HEAP: usize = 256 << 20;

/// Heap that a file may take for every byte it has. An attribute of 14 bytes decodes to some 300.
const HEAP_PER_BYTE: usize = 32;

/// The messages of an ONNX file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TypeTensor,
    TypeElement,
    TypeMap,
    Shape,
    Dimension,
    Training,
    Function,
    Annotation,
    /// Any message without messages inside: key and value, operator set, segment, opaque type.
    Leaf,
}

/// What a length-delimited field holds.
enum Field {
    Message(Message),
    /// Text or bytes, copied.
    Text,
    /// Bytes that stay a slice of the file.
    Slice,
    /// Packed numbers of which each takes at least one byte here and eight in memory.
    Packed,
}

impl Message {
    fn heap(self) -> usize {
        match self {
            Message::Model => size_of::<proto::ModelProto>(),
            Message::Graph => size_of::<proto::GraphProto>(),
            Message::Node => size_of::<proto::NodeProto>(),
            Message::Attribute => size_of::<proto::AttributeProto>(),
            Message::Tensor => size_of::<proto::TensorProto>(),
            Message::Sparse => size_of::<proto::SparseTensorProto>(),
            Message::ValueInfo => size_of::<proto::ValueInfoProto>(),
            Message::Type | Message::TypeTensor | Message::TypeElement | Message::TypeMap => {
                size_of::<proto::TypeProto>()
            }
            Message::Shape | Message::Dimension => size_of::<proto::tensor_shape_proto::Dimension>(),
            Message::Training => size_of::<proto::TrainingInfoProto>(),
            Message::Function => size_of::<proto::FunctionProto>(),
            Message::Annotation => size_of::<proto::TensorAnnotation>(),
            Message::Leaf => size_of::<proto::StringStringEntryProto>(),
        }
    }

    /// What the field of this number holds, by `onnx.proto`. Unknown fields are skipped by the decoder.
    fn field(self, number: u64) -> Field {
        use Message as M;
        let message = match (self, number) {
            (M::Model, 7) => M::Graph,
            (M::Model, 8 | 14) => M::Leaf,
            (M::Model, 20) => M::Training,
            (M::Model, 25) => M::Function,
            (M::Graph, 1) => M::Node,
            (M::Graph, 5) => M::Tensor,
            (M::Graph, 11..=13) => M::ValueInfo,
            (M::Graph, 14) => M::Annotation,
            (M::Graph, 15) => M::Sparse,
            (M::Graph, 16) => M::Leaf,
            (M::Node, 5) => M::Attribute,
            (M::Node, 9) => M::Leaf,
            (M::Attribute, 5 | 10) => M::Tensor,
            (M::Attribute, 6 | 11) => M::Graph,
            (M::Attribute, 22 | 23) => M::Sparse,
            (M::Attribute, 14 | 15) => M::Type,
            (M::Attribute, 7 | 8) => return Field::Packed,
            (M::Tensor, 3 | 13 | 16) => M::Leaf,
            (M::Tensor, 1 | 4 | 5 | 7 | 10 | 11) => return Field::Packed,
            (M::Tensor, 9) => return Field::Slice,
            (M::Sparse, 1 | 2) => M::Tensor,
            (M::Sparse, 3) => return Field::Packed,
            (M::ValueInfo, 2) => M::Type,
            (M::ValueInfo, 4) => M::Leaf,
            (M::Type, 1 | 8) => M::TypeTensor,
            (M::Type, 4 | 9) => M::TypeElement,
            (M::Type, 5) => M::TypeMap,
            (M::Type, 7) => M::Leaf,
            (M::TypeTensor, 2) => M::Shape,
            (M::TypeElement, 1) | (M::TypeMap, 2) => M::Type,
            (M::Shape, 1) => M::Dimension,
            (M::Training, 1 | 2) => M::Graph,
            (M::Training, 3 | 4) => M::Leaf,
            (M::Function, 7) => M::Node,
            (M::Function, 9 | 14) => M::Leaf,
            (M::Function, 11) => M::Attribute,
            (M::Function, 12) => M::ValueInfo,
            (M::Annotation, 2) => M::Leaf,
            _ => return Field::Text,
        };
        Field::Message(message)
    }
}

/// Checks that `bytes` are well-formed protobuf whose decoding takes bounded memory.
///
/// # Errors
/// What is wrong and at which byte.
pub(crate) fn check(bytes: &[u8], message: Message) -> Result<(), String> {
    let allowed = FREE_HEAP.saturating_add(bytes.len().saturating_mul(HEAP_PER_BYTE));
    Scan { bytes, at: 0, allowed, used: 0 }.message(message, bytes.len(), 0)
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    allowed: usize,
    used: usize,
}

impl Scan<'_> {
    fn message(&mut self, message: Message, end: usize, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("messages nest deeper than {MAX_DEPTH} at byte {}", self.at));
        }
        self.take(message.heap())?;
        while self.at < end {
            let start = self.at;
            let key = self.varint(end)?;
            let number = key >> 3;
            if number == 0 || number > 0x1fff_ffff {
                return Err(format!("field number {number} at byte {start}"));
            }
            match key & 7 {
                0 => {
                    self.varint(end)?;
                    self.take(8)?;
                }
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let len = self.varint(end)?;
                    let rest = end - self.at;
                    let len = usize::try_from(len).ok().filter(|n| *n <= rest).ok_or_else(|| {
                        format!("field {number} at byte {start} wants {len} bytes, {rest} are left")
                    })?;
                    let stop = self.at + len;
                    match message.field(number) {
                        Field::Message(inner) => self.message(inner, stop, depth + 1)?,
                        Field::Text => self.take(size_of::<String>().saturating_add(len))?,
                        Field::Packed => self.take(len.saturating_mul(8))?,
                        Field::Slice => {}
                    }
                    self.at = stop;
                }
                wire => return Err(format!("wire type {wire} at byte {start}")),
            }
        }
        Ok(())
    }

    fn take(&mut self, heap: usize) -> Result<(), String> {
        self.used = self.used.saturating_add(heap);
        if self.used > self.allowed {
            return Err(format!(
                "it would take more than {} MiB of memory, {} bytes into the file",
                self.allowed >> 20,
                self.at
            ));
        }
        Ok(())
    }

    fn skip(&mut self, n: usize, end: usize) -> Result<(), String> {
        if end - self.at < n {
            return Err(format!("truncated at byte {}", self.at));
        }
        self.at += n;
        self.take(n)
    }

    fn varint(&mut self, end: usize) -> Result<u64, String> {
        let start = self.at;
        let mut value = 0u64;
        for i in 0..10 {
            let byte = match self.bytes.get(self.at) {
                Some(b) if self.at < end => *b,
                _ => return Err(format!("truncated at byte {}", self.at)),
            };
            self.at += 1;
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("a number of more than 64 bits at byte {start}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn a_flood_of_empty_messages_is_stopped() {
        // Attributes without content: two bytes each.
        let node: Vec<u8> = [0x2a, 0x00].repeat(4 << 20);
        let error = check(&node, Message::Node).unwrap_err();
        assert!(error.contains("MiB"), "{error}");
    }

    #[test]
    fn depth_is_limited() {
        // A graph in an attribute of a node of a graph ...
        let mut bytes = Vec::new();
        for _ in 0..60 {
            let node = proto::NodeProto::decode(&[][..]).unwrap();
            drop(node);
            for tag in [6u8 << 3 | 2, 5 << 3 | 2, 1 << 3 | 2] {
                let mut outer = vec![tag];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.extend_from_slice(&bytes);
                bytes = outer;
            }
        }
        let error = check(&bytes, Message::Graph).unwrap_err();
        assert!(error.contains("deeper"), "{error}");
    }

    #[test]
    fn what_passes_the_scan_is_shorter_than_its_limits_say() {
        assert!(check(&[0x08, 0x07], Message::Model).is_ok());
        assert!(check(&[0x08], Message::Model).unwrap_err().contains("truncated"));
        assert!(check(&[0x3a, 0x05, 0x00], Message::Model).unwrap_err().contains("wants 5 bytes"));
        assert!(check(&[0x0b], Message::Model).unwrap_err().contains("wire type"));
    }
}
