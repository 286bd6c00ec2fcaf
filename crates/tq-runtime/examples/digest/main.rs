//! SHA-256 of what quantized models answer, for every level of kernels that the processor at hand has.
//!
//!     digest make FOLDER     quantizes the demo model and those of TQ_MODELS_DIR, and writes each with real inputs to FOLDER
//!     digest run FOLDER      prints a line of JSON for each of them, each level and each number of threads
//!
//! `run` takes `--levels neon,dotprod` (all that are there), `--threads 1,4`, `--cases a,b` (all), `--inputs N` (the first ones, all),
//! and `--alone`, which starts no thread at all, for machines without.
//!
//! `cargo xtask digests` makes the models once and runs them as processors of both architectures: quantizing takes float
//! arithmetic, whose last bits depend on the processor; what a quantized model answers does not.
#![allow(clippy::unwrap_used, reason = "models with data are read by what tests share")]

mod case;
mod digest;
mod make;
#[path = "../../tests/common/models.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod models;

use case::Case;
use std::error::Error;
use std::path::{Path, PathBuf};
use tq_graph::Graph;
use tq_kernels::{Isa, parallel};
use tq_runtime::{RuntimeError, Session, SessionOptions};

const USAGE: &str = "usage: digest make FOLDER
       digest run FOLDER [--levels a,b] [--threads 1,4] [--cases a,b] [--inputs N] [--alone]";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match &args[..] {
        ["make", folder] => make::all(Path::new(folder)),
        ["run", folder, options @ ..] => Options::of(options)?.run(Path::new(folder)),
        _ => Err(USAGE.into()),
    }
}

/// What to run.
struct Options {
    levels: Vec<Isa>,
    /// Sizes of thread pools; 0 for the calling thread alone.
    threads: Vec<usize>,
    cases: Vec<String>,
    inputs: usize,
}

impl Options {
    fn of(words: &[&str]) -> Result<Self> {
        let mut options =
            Self { levels: Vec::new(), threads: vec![1, 4], cases: Vec::new(), inputs: usize::MAX };
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            if word == "--alone" {
                options.threads = vec![0];
                continue;
            }
            let value = *words.next().ok_or_else(|| format!("{word} takes a value\n{USAGE}"))?;
            let list = value.split(',');
            match word {
                "--levels" => options.levels = list.map(str::parse).collect::<tq_kernels::Result<_>>()?,
                "--threads" => {
                    options.threads = list.map(str::parse).collect::<std::result::Result<_, _>>()?;
                }
                "--cases" => options.cases = list.map(str::to_owned).collect(),
                "--inputs" => options.inputs = value.parse()?,
                _ => return Err(format!("{word}: unknown\n{USAGE}").into()),
            }
        }
        Ok(options)
    }

    fn run(&self, folder: &Path) -> Result<()> {
        if self.threads == [0] {
            // The calling thread is the pool: nothing is started, whoever asks for one.
            rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
        }
        for path in case_folders(folder, &self.cases)? {
            let case = Case::load(&path, self.inputs)?;
            for (isa, session) in self.sessions(&case)? {
                for &threads in &self.threads {
                    let found = on(threads, || digest::of(&session, &case))??;
                    println!("{}", found.line(&case, isa, threads));
                }
            }
        }
        Ok(())
    }

    /// One for each level asked for; where none is named, for all that this processor has.
    fn sessions(&self, case: &Case) -> Result<Vec<(Isa, Session)>> {
        if self.levels.is_empty() {
            return available(&case.graph);
        }
        let session = |isa: &Isa| Ok((*isa, Session::new(&case.graph, SessionOptions::with_isa(*isa))?));
        self.levels.iter().map(session).collect()
    }
}

/// A session of every level that this processor has.
fn available(graph: &Graph) -> Result<Vec<(Isa, Session)>> {
    let mut all = Vec::new();
    for isa in Isa::ALL {
        match Session::new(graph, SessionOptions::with_isa(isa)) {
            Ok(session) => all.push((isa, session)),
            Err(RuntimeError::IsaUnavailable(_)) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(all)
}

/// Calls `f` in a pool of so many threads.
fn on<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> Result<R> {
    if threads == 0 {
        return Ok(parallel::serially(f));
    }
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?.install(f))
}

/// The folders of all cases in `folder`, or of those named.
fn case_folders(folder: &Path, names: &[String]) -> Result<Vec<PathBuf>> {
    if !names.is_empty() {
        return Ok(names.iter().map(|name| folder.join(name)).collect());
    }
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            all.push(path);
        }
    }
    all.sort();
    Ok(all)
}

/// The demo model as it was quantized once, and what it answers on every processor.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_model_answers_as_recorded() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let graph = tq_format::load(&data.join("demo.tq")).unwrap();
        let case = Case { graph, ..make::demo().unwrap() };
        let recorded = std::fs::read_to_string(data.join("demo.sha256")).unwrap();
        let sessions = available(&case.graph).unwrap();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.allowed_by_env()) {
            let there = sessions.iter().any(|(level, _)| *level == isa);
            isa.exercise(there).unwrap();
        }
        for (level, session) in &sessions {
            for threads in [1, 4] {
                let found = on(threads, || digest::of(session, &case)).unwrap().unwrap();
                assert_eq!(found.results(), recorded.trim(), "{level}, {threads} threads");
                assert_eq!(found.outputs, (1, 1));
                assert_eq!(found.operators.0, found.operators.1);
            }
        }
    }

    #[test]
    fn another_code_is_another_digest() {
        let case = make::demo().unwrap();
        let session = Session::new(&case.graph, SessionOptions::default()).unwrap();
        let first = digest::of(&session, &case).unwrap();
        let mut runs = case.runs.clone();
        let values = runs[3][0].as_mut_slice::<f32>().unwrap();
        let pixel = values.iter_mut().find(|v| **v > 0.5).unwrap();
        *pixel = 0.0;
        let other = digest::of(&session, &Case { runs, ..case }).unwrap();
        assert_ne!(first.results(), other.results());
    }
}
