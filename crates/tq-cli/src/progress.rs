//! How far long work has come, on stderr: a bar on a terminal, elsewhere a line now and then.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between lines where there is no terminal. Work shorter than this says nothing.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows how many of `total` rows are done.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    label: &'static str,
    total: usize,
    latest: Instant,
}

impl Progress {
    pub(crate) fn new(label: &'static str, total: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total as u64);
            if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} {elapsed}") {
                bar.set_style(style);
            }
            bar.set_message(label);
            bar
        });
        Self { bar, label, total, latest: Instant::now() }
    }

    pub(crate) fn set(&mut self, done: usize) {
        match &self.bar {
            Some(bar) => bar.set_position(done as u64),
            None if self.latest.elapsed() >= INTERVAL => {
                self.latest = Instant::now();
                let _ = writeln!(std::io::stderr().lock(), "{} {done}/{}", self.label, self.total);
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    /// Clears the bar, also when an error ends the work.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
