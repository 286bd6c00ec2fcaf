//! The `tq` program: a thin face over the library.
//!
//! Without the feature `full` it is `tq run` for native files alone, as devices need it.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "full"), allow(dead_code, reason = "shared modules have parts for all commands"))]

#[cfg(feature = "full")]
mod args;
#[cfg(feature = "full")]
mod arrays;
#[cfg(feature = "full")]
mod commands;
mod files;
mod inputs;
mod npy;
mod output;
mod outputs;
#[cfg(feature = "full")]
mod pictures;
#[cfg(feature = "full")]
mod progress;
#[cfg(not(feature = "full"))]
mod run_only;

use clap::Parser;
use std::process::ExitCode;

#[cfg(feature = "full")]
fn run() -> anyhow::Result<()> {
    let args = args::Args::parse();
    output::caught(|| commands::run(args.command))
}

#[cfg(not(feature = "full"))]
fn run() -> anyhow::Result<()> {
    let args = run_only::Args::parse();
    output::caught(|| run_only::run(&args))
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output::report_error(&error);
            ExitCode::FAILURE
        }
    }
}
