//! External data, inside the model's folder and outside it.

use super::*;
use crate::import;
use crate::proto::tensor_proto::DataLocation;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A model that adds a constant of 4 elements, kept as the entries say.
fn with_entries(entries: &[(&str, &str)]) -> ModelProto {
    let mut m = model(13, vec![node("Add", &["x", "w"], &["y"], vec![])]);
    graph_of(&mut m).initializer.push(TensorProto {
        name: Some("w".into()),
        data_type: Some(DataType::Float as i32),
        dims: vec![1, 1, 1, 8],
        data_location: Some(DataLocation::External as i32),
        external_data: entries
            .iter()
            .map(|(k, v)| StringStringEntryProto { key: Some((*k).into()), value: Some((*v).into()) })
            .collect(),
        ..TensorProto::default()
    });
    m
}

/// A folder with the model in `sub/model.onnx` and data files inside `sub` and beside it.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/deeper")).unwrap();
    let data: Vec<u8> = (0..8u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    fs::write(dir.path().join("secret.bin"), &data).unwrap();
    fs::write(dir.path().join("sub/w.bin"), &data).unwrap();
    fs::write(dir.path().join("sub/deeper/long.bin"), [&[9; 16][..], &data, &[7; 5]].concat()).unwrap();
    dir
}

fn import_in(dir: &Path, entries: &[(&str, &str)]) -> Result<Graph, String> {
    let path = dir.join("sub/model.onnx");
    fs::write(&path, with_entries(entries).encode_to_vec()).unwrap();
    import(&path).map_err(|e| {
        let message = e.to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    })
}

#[test]
fn data_inside_the_folder_is_read() {
    let dir = folder();
    for entries in [
        &[("location", "w.bin")][..],
        &[("location", "./w.bin"), ("offset", "0"), ("length", "32"), ("checksum", "x")],
        &[("location", "deeper/long.bin"), ("offset", "16"), ("length", "32")],
        &[("location", "deeper/long.bin"), ("offset", "16")],
    ] {
        let g = import_in(dir.path(), entries).unwrap();
        let w = g.constant(g.find_value("w").unwrap()).unwrap();
        assert_eq!(w.as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    }
    let bytes = with_entries(&[("location", "w.bin")]).encode_to_vec();
    assert!(import_bytes(&bytes, Some(&dir.path().join("sub"))).is_ok());
    assert_eq!(
        import_bytes(&bytes, None).unwrap_err().to_string(),
        "tensor w: external data: the model has no folder, it came as bytes"
    );
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let dir = folder();
    let absolute = dir.path().join("sub/w.bin").display().to_string();
    for location in
        ["../secret.bin", "deeper/../../secret.bin", &absolute, "/etc/passwd", "", ".", "a\\b", "..\\w.bin"]
    {
        let error = import_in(dir.path(), &[("location", location)]).unwrap_err();
        assert!(error.contains("is not inside the model's folder"), "{location}: {error}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        symlink(dir.path().join("secret.bin"), dir.path().join("sub/link.bin")).unwrap();
        symlink(dir.path(), dir.path().join("sub/up")).unwrap();
        for location in ["link.bin", "up/secret.bin"] {
            let error = import_in(dir.path(), &[("location", location)]).unwrap_err();
            assert!(error.contains("leads out of the model's folder"), "{location}: {error}");
        }
        // A link that stays inside is fine.
        symlink("w.bin", dir.path().join("sub/inner.bin")).unwrap();
        assert!(import_in(dir.path(), &[("location", "inner.bin")]).is_ok());
    }
}

#[test]
fn offsets_and_lengths_are_checked() {
    let dir = folder();
    let of = |entries: &[(&str, &str)]| import_in(dir.path(), entries).unwrap_err();
    assert_eq!(of(&[]), "tensor w: external data: it has no location");
    assert!(of(&[("location", "none.bin")]).contains("none.bin"));
    assert!(of(&[("location", "deeper")]).contains("not a regular file"));
    assert_eq!(
        of(&[("location", "w.bin"), ("offset", "4")]),
        "tensor w: external data: bytes 4 to 4 + 32 of w.bin, which has 32"
    );
    let far = u64::MAX.to_string();
    assert!(of(&[("location", "w.bin"), ("offset", &far)]).contains("which has 32"));
    assert!(of(&[("location", "w.bin"), ("length", "31")]).contains("31 bytes, its shape needs 32"));
    assert!(of(&[("location", "w.bin"), ("offset", "-1")]).contains("offset is \"-1\""));
    assert!(of(&[("location", "deeper/long.bin")]).contains("has 53 bytes, its shape needs 32"));
}

#[test]
fn one_small_file_cannot_be_read_without_end() {
    let dir = folder();
    let mut m = with_entries(&[("location", "w.bin")]);
    let tensor = graph_of(&mut m).initializer[0].clone();
    for i in 0..5 {
        graph_of(&mut m).initializer.push(TensorProto { name: Some(format!("w{i}")), ..tensor.clone() });
    }
    let path = dir.path().join("sub/model.onnx");
    fs::write(&path, m.encode_to_vec()).unwrap();
    let error = import(&path).unwrap_err().to_string();
    assert!(error.contains("more than the files in question hold"), "{error}");
}

#[test]
fn what_is_no_file_is_named() {
    let dir = folder();
    let of = |path: &str| import(&dir.path().join(path)).unwrap_err().to_string();
    assert!(of("nothing.onnx").contains("nothing.onnx: "));
    assert!(of("sub").ends_with("sub: it is not a regular file"));
    #[cfg(unix)]
    assert_eq!(
        import(Path::new("/dev/zero")).unwrap_err().to_string(),
        "/dev/zero: it is not a regular file"
    );
}
