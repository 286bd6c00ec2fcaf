//! Development tasks. `cargo xtask help` lists them.
#![forbid(unsafe_code)]

mod arm;
mod bench_counts;
mod bench_peers;
mod bench_x86;
mod ci;
mod digests;
mod gen_onnx;
mod level;
mod matrix;
mod model_table;
mod oracle;
mod record;
mod tidy;
mod train_demo;
mod vnni;
mod workspace;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask TASK

  ci              formatting, clippy with warnings denied, documentation, tidy, bench-counts where valgrind is installed, and
                  the conformance suite of ARM kernels where setup-arm finds all that it takes
  tidy            the rules that hold the workspace together (arrows, unsafe code, manifests, file lengths)
  bench-counts    counts the instructions of kernels and small sessions by valgrind and compares them with
                  benches/record/counts.json; with --update records them
  bench-x86       times every kernel family and whole networks on this processor, shows them beside its limits, checks that the
                  chosen kernels are the fastest ones, and writes benches/record/x86-PROCESSOR.json. With --quick the
                  small shapes alone, and no record; with --peers ONNX Runtime, and OpenVINO, PyTorch and LiteRT where
                  they are, beside ours (PYTHON names a Python that has them), and three networks of TQ_MODELS_DIR
  bench-arm       on ARM the same, to benches/record/arm-PROCESSOR.json. Elsewhere counts the instructions of kernels at every
                  level in qemu, measures no time, and compares with benches/record/counts-arm.json; with --update records
  gen-onnx        regenerates the ONNX messages of tq-onnx from their protocol file
  model-table     measures the models of TQ_MODELS_DIR and writes docs/MODELS.md
  train-demo      trains the model that `tq demo` embeds and writes it to crates/tq-cli/demo; with --check compares
  oracle          checks exported files with onnx.checker and ONNX Runtime; installs both into target/oracle.
                  Needs TQ_MODELS_DIR, or checks the embedded demo model alone
  setup-arm       says what tests on ARM take and what of it is missing; with --debian installs it: packages by apt-get,
                  and Debian's compiler into target/xarch
  test-arm        runs the tests of kernels as ARM processors of three levels (NEON, dot products, 8-bit matrix products)
                  in qemu; fails where a level did not run. Models quantized on this machine run there too and have to give
                  the same bytes, and so do the examples of backends. Words behind it choose tests of kernels alone
  build-arm       builds `tq run` with the runtime alone as a static program for AArch64, tells its size, and its time to
                  start in qemu beside that of the same program on this machine
  setup-vnni      installs Bochs's processor, a Python package, into target/xarch
  test-vnni       runs the tests of the AVX-VNNI and AVX-512 VNNI kernels in it, and natively where this processor has them
  test-scalar     runs the tests of kernels and sessions with scalar kernels. Words behind it choose tests
  digests         runs the demo model and those of TQ_MODELS_DIR, quantized once, at every level of every processor that is
                  there or emulated, and compares the SHA-256 of what they answer; with --record writes docs/MATRIX.md
  matrix          every level against every suite, digests among them: passed, failed, or skipped and why; with --record
                  writes docs/MATRIX.md
  oracle-rust     runs exported files in tract and rten, which it builds first (a hundred crates, into target/oracle)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let none = || takes(&args, "").map(|_| ());
    let has = |flag| takes(&args, flag);
    let result = match args.first().map(String::as_str) {
        Some("ci") => none().and_then(|()| ci::run()),
        Some("bench-counts") => has("--update").and_then(bench_counts::run),
        Some("bench-x86") if !cfg!(target_arch = "x86_64") => {
            Err(anyhow::anyhow!("bench-x86 runs on x86-64 alone"))
        }
        Some("bench-x86") => bench_x86::Options::of(&args[1..]).and_then(|o| bench_x86::run(&o)),
        Some("bench-arm") if cfg!(target_arch = "aarch64") => {
            bench_x86::Options::of(&args[1..]).and_then(|o| bench_x86::run(&o))
        }
        Some("bench-arm") => has("--update").and_then(arm::count),
        Some("tidy") => none().and_then(|()| tidy::run()),
        Some("gen-onnx") => none().and_then(|()| gen_onnx::run()),
        Some("model-table") => none().and_then(|()| model_table::run()),
        Some("train-demo") => has("--check").and_then(train_demo::run),
        Some("oracle") => none().and_then(|()| oracle::run()),
        Some("oracle-rust") => none().and_then(|()| oracle::run_rust()),
        Some("setup-arm") => has("--debian").and_then(arm::setup),
        Some("test-arm") => arm::test(&args[1..]),
        Some("build-arm") => none().and_then(|()| arm::build()),
        Some("setup-vnni") => none().and_then(|()| vnni::setup()),
        Some("test-vnni") => none().and_then(|()| vnni::test()),
        Some("test-scalar") => matrix::scalar(&args[1..]),
        Some("digests") => has("--record").and_then(digests::run),
        Some("matrix") => has("--record").and_then(matrix::run),
        Some("help") => {
            println!("{USAGE}");
            Ok(())
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// True where `flag`, the only word that the task takes, stands behind it; an error where another one does, as what was meant by
/// it would be left undone.
fn takes(args: &[String], flag: &str) -> anyhow::Result<bool> {
    match args {
        [task, words @ ..] => match words.iter().find(|word| *word != flag) {
            Some(word) if flag.is_empty() => anyhow::bail!("{task} takes no word behind it, not {word}"),
            Some(word) => anyhow::bail!("{task} takes {flag}, not {word}"),
            None => Ok(!words.is_empty()),
        },
        [] => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::takes;

    #[test]
    fn no_word_is_passed_over() {
        let of =
            |words: &[&str], flag| takes(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>(), flag);
        assert!(of(&["matrix", "--record"], "--record").unwrap());
        assert!(!of(&["matrix"], "--record").unwrap());
        assert!(of(&["matrix", "--recrod"], "--record").is_err());
        assert!(of(&["matrix", "--record", "now"], "--record").is_err());
        assert!(!of(&["tidy"], "").unwrap());
        assert!(of(&["tidy", "--all"], "").is_err());
    }
}
