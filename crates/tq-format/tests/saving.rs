//! A save that is stopped, at whatever moment and by whatever, leaves the old file or the new one, whole.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{from_bytes, to_bytes};
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tq_format::{FormatError, load, save, write};
use tq_graph::{Graph, Tensor};
use tq_qtypes::DType;

/// What tells a child of this test what to write, and where to.
const PATH: &str = "TQ_FORMAT_TEST_PATH";

/// A graph of 2 MB, all of whose elements are this number.
fn model(element: u8) -> Graph {
    let mut g = Graph::new(format!("{element}"));
    for (name, dtype) in [("a", DType::U8), ("b", DType::U4)] {
        let t = Tensor::with_dtype(dtype, &[1 << 20], vec![element; 1 << 20]).unwrap();
        let v = g.add_constant(name, t);
        g.outputs.push(v);
    }
    g
}

/// Runs this program again, `child` alone, through a shell that does `before` first.
fn child(before: &str, path: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    Command::new("sh")
        .args([
            "-c",
            &format!("{before} exec \"$0\" --exact saves_until_it_is_stopped --ignored --nocapture"),
        ])
        .arg(program)
        .env(PATH, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Not a test: what [`child`] runs. Saves two models, one over the other, until it is killed or a save fails.
#[test]
#[ignore = "run by other tests"]
fn saves_until_it_is_stopped() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let models = [model(1), model(2)];
    for i in 0.. {
        save(&models[i % 2], Path::new(&path)).unwrap();
        println!("saved");
    }
}

#[test]
fn killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tq");
    let models = [model(1), model(2)];
    let mut seen = [0, 0];
    let mut halves = 0;
    for i in 0..40u64 {
        let mut child = child("", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("saved")), "the child does not save");
        // Each time at another moment of the saves that follow.
        std::thread::sleep(Duration::from_micros(i * 570));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = load(&path).unwrap();
        let which = models.iter().position(|m| *m == found);
        seen[which.expect("the file is neither the old nor the new one")] += 1;
        // What a save that was cut off leaves behind, until the next one takes it away.
        let left = folder.path().read_dir().unwrap().count() - 1;
        assert!(left <= 1, "the save before took nothing away");
        halves += left;
    }
    println!(
        "40 kills, {halves} of them within a save: {} times the one file, {} the other",
        seen[0], seen[1]
    );
    assert!(halves > 0, "no kill was within a save");
}

#[test]
fn no_room_for_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.tq");
    save(&model(7), &path).unwrap();
    // The system refuses to let files grow beyond 1 MB, as it does where the disk is full.
    let run = child("trap '' XFSZ; ulimit -f 2048;", &path).wait_with_output().unwrap();
    assert!(!run.status.success());
    let said = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(said.contains("1 test") && !said.contains("saved"), "{said}");
    assert_eq!(load(&path).unwrap(), model(7));
    assert_eq!(folder.path().read_dir().unwrap().count(), 1, "a temporary file was left");
}

/// Takes so many bytes and no more.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.0);
        self.0 -= n;
        if n == 0 && !bytes.is_empty() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_is_full_after_any_number_of_bytes() {
    let mut g = Graph::new("small");
    g.add_constant("a", Tensor::with_dtype(DType::I4, &[9], vec![-8i8; 9]).unwrap());
    g.add_constant("b", Tensor::vector(vec![1.0f32, 2.0]));
    let bytes = to_bytes(&g);
    for n in 0..bytes.len() {
        let error = write(&g, &mut Full(n)).unwrap_err();
        assert!(matches!(error, FormatError::Io(_)), "{n}: {error}");
    }
    write(&g, &mut Full(bytes.len())).unwrap();
    assert_eq!(from_bytes(&bytes).unwrap(), g);
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("no\nfolder/m.tq");
    for error in [save(&model(1), &none).unwrap_err(), load(&none).unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("no\\nfolder/m.tq: No such file"), "{text}");
    }
    let device = save(&model(1), Path::new("/dev/full")).unwrap_err();
    assert_eq!(device.to_string(), "/dev/full: it is not a regular file");
    let device = load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(device.to_string(), "/dev/zero: it is not a regular file");
    assert!(load(folder.path()).unwrap_err().to_string().contains("not a regular file"));
}
