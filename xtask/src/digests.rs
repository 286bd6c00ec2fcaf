//! `cargo xtask digests`: whole quantized models answer with the same bits on every level of every processor.
//!
//! The program `digest` of tq-runtime quantizes the demo model and those of `TQ_MODELS_DIR` once, on this machine, and then runs
//! the files on 32 real inputs each: natively, in qemu as three ARM processors, and in Bochs as x86 processors with VNNI where
//! this one has not got it. What is compared is the SHA-256 of results and of what every integer operator gave.

use crate::level::{self, LEVELS, Machine};
use crate::{arm, record, vnni, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program.
const PROGRAM: &str = "examples/digest";

/// Models that are emulated instruction by instruction in minutes, by the beginnings of their names.
const SMALL: [&str; 6] = ["demo", "mnist", "kws", "cifar10_resnet8", "fsdd", "silero"];

/// What one level answered to one model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    level: String,
    threads: u64,
    sums: Sums,
}

/// Digests, and how much of the model they are of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Sums {
    inputs: u64,
    outputs: (u64, u64),
    operators: (u64, u64),
    of_outputs: String,
    of_operators: String,
}

/// All answers, by model, and why levels did not answer.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    answers: BTreeMap<String, Vec<Answer>>,
    /// The models that each level was run on.
    asked: BTreeMap<String, Vec<String>>,
    skipped: BTreeMap<&'static str, String>,
    failed: BTreeMap<&'static str, String>,
    /// True where no folder of other models was named.
    demo_alone: bool,
}

/// Runs all and shows the table; an error where two answers differ or a level failed.
pub(crate) fn run(with_record: bool) -> Result<()> {
    let digests = collect()?;
    eprintln!("{}", digests.table());
    if with_record {
        record::write("digests", &digests.table())?;
    }
    digests.judge()
}

/// Makes the models and runs them everywhere.
pub(crate) fn collect() -> Result<Digests> {
    let emulated = LEVELS.iter().any(|(level, _)| matches!(Machine::of(level), Ok(Machine::Bochs(_))));
    let native = build_native(emulated)?;
    let folder = workspace::target().join("digests");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    workspace::run(Command::new(&native).arg("make").arg(&folder).env_remove("TQ_CASE"))?;
    let mut built_for_arm = None;
    let demo_alone = std::env::var_os("TQ_MODELS_DIR").is_none();
    let mut digests = Digests { demo_alone, ..Digests::default() };
    for (level, _) in LEVELS {
        let machine = match Machine::of(level) {
            Ok(machine) => machine,
            Err(reason) => {
                let of = if level::is_required(level) { &mut digests.failed } else { &mut digests.skipped };
                of.insert(level, reason);
                continue;
            }
        };
        let program = match &machine {
            Machine::Qemu(tools, _) => {
                let build = || build_for_arm(tools).map_err(|e| e.to_string());
                match built_for_arm.get_or_insert_with(build) {
                    Ok(program) => program.clone(),
                    Err(error) => {
                        digests.failed.insert(level, error.clone());
                        continue;
                    }
                }
            }
            _ => native.clone(),
        };
        if let Err(error) = digests.add(level, &machine, &program, &folder) {
            digests.failed.insert(level, format!("{error:#}"));
        }
    }
    Ok(digests)
}

/// The program for this machine; linked statically where it is to be emulated as well.
fn build_native(emulated: bool) -> Result<PathBuf> {
    let mut cargo = if emulated { vnni::cargo() } else { workspace::cargo() };
    workspace::quick_release(cargo.args(["build", "--release", "-p", "tq-runtime", "--example", "digest"]));
    if emulated {
        cargo.args(["--target", vnni::TARGET]);
    }
    workspace::run(&mut cargo)?;
    let built = if emulated { vnni::built() } else { workspace::target() };
    Ok(built.join("release").join(PROGRAM))
}

fn build_for_arm(tools: &arm::Tools) -> Result<PathBuf> {
    let mut cargo = arm::cargo(tools, "max");
    workspace::quick_release(cargo.args(["build", "--release", "-p", "tq-runtime", "--example", "digest"]));
    workspace::run(cargo.args(["--target", arm::TARGET]))?;
    Ok(arm::built().join("release").join(PROGRAM))
}

impl Digests {
    /// Runs `program` on `machine` with the kernels of `level`.
    fn add(&mut self, level: &str, machine: &Machine, program: &Path, folder: &Path) -> Result<()> {
        let mut command = match machine {
            Machine::Native => Command::new(program),
            Machine::Qemu(tools, processor) => arm::emulator(tools, processor),
            Machine::Bochs(processor) => vnni::emulator(processor),
        };
        if !matches!(machine, Machine::Native) {
            command.arg(program);
        }
        let small = matches!(machine, Machine::Bochs(_));
        let mut models = Vec::new();
        for entry in fs::read_dir(folder)? {
            models.push(entry?.file_name().to_string_lossy().into_owned());
        }
        models.retain(|name| !small || SMALL.iter().any(|of| name.starts_with(of)));
        models.sort_unstable();
        command.arg("run").arg(folder).args(["--levels", level, "--cases", &models.join(",")]);
        if small {
            command.arg("--alone");
        }
        self.asked.insert(level.to_owned(), models);
        eprintln!("+ digests of {level}, {machine}");
        let output = command.env_remove("TQ_ISA").stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            bail!("{level}, {machine}: {}", output.status);
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let (model, answer) = Answer::of(line).with_context(|| line.to_owned())?;
            self.answers.entry(model).or_default().push(answer);
        }
        Ok(())
    }

    /// An error where two answers to one model differ, or a level failed or answered to fewer models than others.
    pub(crate) fn judge(&self) -> Result<()> {
        let mut wrong: Vec<String> = self.failed.iter().map(|(level, e)| format!("{level}: {e}")).collect();
        for (model, answers) in &self.answers {
            let sums: BTreeSet<&Sums> = answers.iter().map(|a| &a.sums).collect();
            if sums.len() > 1 {
                wrong.push(format!("{model}: {} different answers", sums.len()));
            }
            if sums.iter().any(|s| s.inputs == 0 || s.outputs.0 + s.operators.0 == 0) {
                wrong.push(format!("{model}: nothing was added up"));
            }
        }
        for (level, models) in &self.asked {
            let missing = models.iter().filter(|model| !self.has(level, model));
            wrong.extend(missing.map(|model| format!("{model}: no answer of {level}")));
        }
        if self.answers.is_empty() {
            wrong.push("no level answered".to_owned());
        }
        if !wrong.is_empty() {
            bail!("digests: {}", wrong.join("; "));
        }
        Ok(())
    }

    fn has(&self, level: &str, model: &str) -> bool {
        self.answers.get(model).is_some_and(|answers| answers.iter().any(|a| a.level == level))
    }

    /// What came of a level, in a few words.
    pub(crate) fn outcome(&self, level: &str) -> crate::level::Outcome {
        use crate::level::Outcome;
        if let Some(reason) = self.skipped.get(level) {
            return Outcome::Skipped(reason.clone());
        }
        if let Some(error) = self.failed.get(level) {
            return Outcome::Failed(error.clone());
        }
        // The first level is the scalar one, which decides.
        let differs = |answers: &Vec<Answer>| {
            let first = answers.first().map(|a| &a.sums);
            answers.iter().any(|a| a.level == level && Some(&a.sums) != first)
        };
        let of_level = self.asked.get(level).into_iter().flatten();
        let wrong: Vec<&str> = of_level
            .filter(|model| !self.has(level, model) || self.answers.get(*model).is_some_and(differs))
            .map(String::as_str)
            .collect();
        if wrong.is_empty() { Outcome::Passed } else { Outcome::Failed(wrong.join(", ")) }
    }

    /// The table in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut out = String::from(
            "| model | inputs | outputs | integer operators | SHA-256 of outputs | of operators | the same with |\n\
             |---|---|---|---|---|---|---|\n",
        );
        for (model, answers) in &self.answers {
            let mut by_sums: BTreeMap<&Sums, Vec<&Answer>> = BTreeMap::new();
            for answer in answers {
                by_sums.entry(&answer.sums).or_default().push(answer);
            }
            let differs = by_sums.len() > 1;
            for (sums, same) in by_sums {
                let share = |(of, all): (u64, u64)| format!("{of} of {all}");
                let short = |sum: &str, of: u64| match of {
                    0 => "-".to_owned(),
                    _ => format!("`{}`", &sum[..sum.len().min(16)]),
                };
                let _ = writeln!(
                    out,
                    "| {}{model} | {} | {} | {} | {} | {} | {} |",
                    if differs { "DIFFERS: " } else { "" },
                    sums.inputs,
                    share(sums.outputs),
                    share(sums.operators),
                    short(&sums.of_outputs, sums.outputs.0),
                    short(&sums.of_operators, sums.operators.0),
                    who(&same)
                );
            }
        }
        if self.demo_alone {
            let _ = writeln!(out, "\nSkipped all models but the demo: TQ_MODELS_DIR names no folder.");
        }
        for (level, reason) in &self.skipped {
            let _ = writeln!(out, "\nSkipped {level}: {reason}.");
        }
        for (level, error) in &self.failed {
            let _ = writeln!(out, "\nFAILED {level}: {error}.");
        }
        out
    }
}

/// Levels with their numbers of threads; levels of the same numbers together.
fn who(answers: &[&Answer]) -> String {
    let mut threads: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
    for answer in answers {
        threads.entry(&answer.level).or_default().insert(answer.threads);
    }
    let mut by_threads: BTreeMap<&BTreeSet<u64>, Vec<&str>> = BTreeMap::new();
    for (level, _) in LEVELS {
        if let Some(threads) = threads.get(level) {
            by_threads.entry(threads).or_default().push(level);
        }
    }
    let words = |(threads, levels): (&BTreeSet<u64>, Vec<&str>)| {
        let counts: Vec<String> = threads.iter().map(|n| n.max(&1).to_string()).collect();
        let thread = if counts == ["1"] { "thread" } else { "threads" };
        format!("{}: {} {thread}", levels.join(", "), counts.join(" and "))
    };
    by_threads.into_iter().rev().map(words).collect::<Vec<_>>().join("; ")
}

impl Answer {
    /// Model and answer of a line of the program.
    fn of(line: &str) -> Result<(String, Self)> {
        let line: Value = serde_json::from_str(line)?;
        let text = |key: &str| line[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
        let number = |key: &str| line[key].as_u64().with_context(|| format!("no {key}"));
        let pair = |key: &str| {
            let of = |i: usize| line[key][i].as_u64().with_context(|| format!("no {key}"));
            anyhow::Ok((of(0)?, of(1)?))
        };
        let sums = Sums {
            inputs: number("inputs")?,
            outputs: pair("outputs")?,
            operators: pair("operators")?,
            of_outputs: text("of_outputs")?,
            of_operators: text("of_operators")?,
        };
        Ok((text("case")?, Self { level: text("level")?, threads: number("threads")?, sums }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Outcome;

    fn line(level: &str, threads: u64, sum: &str) -> String {
        format!(
            r#"{{"case":"net","level":"{level}","threads":{threads},"inputs":32,"outputs":[1,1],"operators":[3,4],
                "of_outputs":"{sum}","of_operators":"b"}}"#
        )
    }

    fn digests(lines: &[String]) -> Digests {
        let mut all = Digests::default();
        for line in lines {
            let (model, answer) = Answer::of(line).unwrap();
            all.asked.entry(answer.level.clone()).or_default().push(model.clone());
            all.answers.entry(model).or_default().push(answer);
        }
        all
    }

    #[test]
    fn equal_answers_pass_and_others_fail() {
        let same = digests(&[line("scalar", 1, "a"), line("scalar", 4, "a"), line("neon", 0, "a")]);
        assert!(same.judge().is_ok());
        assert!(
            same.table().contains("| `a` | `b` | scalar: 1 and 4 threads; neon: 1 thread |"),
            "{}",
            same.table()
        );
        let other = digests(&[line("scalar", 1, "a"), line("neon", 1, "c")]);
        assert!(other.judge().is_err() && other.table().contains("DIFFERS"));
        assert!(matches!(other.outcome("neon"), Outcome::Failed(_)));
        assert!(matches!(other.outcome("scalar"), Outcome::Passed));
    }

    #[test]
    fn a_level_without_an_answer_fails() {
        let mut two = digests(&[line("scalar", 1, "a"), line("neon", 1, "a")]);
        two.asked.entry("neon".to_owned()).or_default().push("another".to_owned());
        assert!(two.judge().unwrap_err().to_string().contains("another: no answer of neon"));
        assert!(matches!(two.outcome("neon"), Outcome::Failed(_)));
        assert!(digests(&[]).judge().is_err());
        let nothing = line("scalar", 1, "a").replace("[1,1]", "[0,1]").replace("[3,4]", "[0,4]");
        assert!(digests(&[nothing]).judge().unwrap_err().to_string().contains("nothing was added up"));
    }
}
