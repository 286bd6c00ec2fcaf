//! The `tq` program: a thin face over the library.
#![forbid(unsafe_code)]

mod args;
mod arrays;
mod commands;
mod files;
mod npy;
mod output;
mod pictures;
mod progress;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = args::Args::parse();
    match output::caught(|| commands::run(args.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::report_error(&error);
            ExitCode::FAILURE
        }
    }
}
