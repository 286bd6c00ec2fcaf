//! Large constants in a file beside the model.

use crate::OnnxError;
use crate::proto::tensor_proto::{DataLocation, DataType};
use crate::proto::{ModelProto, NodeProto, StringStringEntryProto};
use std::collections::HashSet;
use std::path::Path;

/// Constants begin at multiples of this, so that readers can use them where they lie.
const ALIGN: usize = 64;

/// Moves the data of constants of at least `least` bytes out of the model. What shapes are inferred from stays, as programs do
/// that before they read data beside the model: 64-bit integers, and what Resize, Pad and Range read beside their data.
///
/// Gives the name of the file to write beside the model at `path`, and its bytes; `None` where no constant is that
/// large. The name holds a digest of the bytes: another model's data is never overwritten, and a model that is replaced
/// keeps its own data until the new one stands.
pub(super) fn move_out(
    model: &mut ModelProto,
    path: &Path,
    least: usize,
) -> Result<Option<(String, Vec<u8>)>, OnnxError> {
    let mut data: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    let Some(graph) = &mut model.graph else { return Ok(None) };
    let of_shapes = |n: &&NodeProto| matches!(n.op_type(), "Resize" | "Pad" | "Range");
    let of_shapes = graph.node.iter().filter(of_shapes);
    let stays: HashSet<String> =
        of_shapes.flat_map(|n| n.input.iter().skip(usize::from(n.op_type() != "Range"))).cloned().collect();
    for (i, tensor) in graph.initializer.iter_mut().enumerate() {
        if tensor.data_type() == DataType::Int64 as i32 || stays.contains(tensor.name()) {
            continue;
        }
        let Some(raw) = tensor.raw_data.take_if(|raw| !raw.is_empty() && raw.len() >= least) else {
            continue;
        };
        data.resize(data.len().next_multiple_of(ALIGN), 0);
        places.push((i, data.len(), raw.len()));
        data.extend_from_slice(&raw);
    }
    if places.is_empty() {
        return Ok(None);
    }
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("model");
    let name = format!("{stem}.{:016x}.data", digest(&data));
    let entry =
        |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    for (i, offset, length) in places {
        let tensor = &mut graph.initializer[i];
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", name.clone()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }
    if name.contains(['\\', '\0']) {
        return Err(OnnxError::Io {
            path: path.to_owned(),
            message: "external data cannot be named after a file with a backslash in its name".into(),
        });
    }
    Ok(Some((name, data)))
}

/// FNV-1a, 64 bits: enough to tell one file of data from another.
fn digest(data: &[u8]) -> u64 {
    data.iter().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3))
}
