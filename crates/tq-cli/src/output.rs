//! What the program says: one object or text on stdout, one line of error on stderr.

use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::{Arc, Mutex, PoisonError};
#[cfg(feature = "full")]
use torsh_quantization::analysis::EXACT_DB;

/// Prints to stdout. A reader that has gone away, as `head` does, is no error.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(e).context("stdout"),
        _ => Ok(()),
    }
}

/// Prints one JSON object, or the text that is made for people.
pub(crate) fn emit(json: bool, object: &impl serde::Serialize, text: impl FnOnce() -> String) -> Result<()> {
    if json {
        print(&serde_json::to_string_pretty(object).context("result")?)
    } else {
        print(&harmless(text().trim_end()))
    }
}

/// The text without what terminals obey, which names in a model may hold: control characters but the ends of lines, and
/// marks that turn the direction of writing.
fn harmless(text: &str) -> String {
    let obeyed = |c: char| {
        (c.is_control() && c != '\n') || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if obeyed(c) { '\u{FFFD}' } else { c }).collect()
}

/// The error with all its causes in one line.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        // Many errors print what caused them already.
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    let words: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Prints the one `error:` line.
pub(crate) fn report_error(error: &anyhow::Error) {
    // When stderr is gone there is nobody to tell; the exit status still does.
    let _ = writeln!(std::io::stderr().lock(), "error: {}", one_line(error));
}

/// Tells on stderr what the result does not show.
pub(crate) fn say(text: &str) {
    let words: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(std::io::stderr().lock(), "note: {words}");
}

/// Runs the program so that even a bug ends in one `error:` line.
pub(crate) fn caught(run: impl FnOnce() -> Result<()>) -> Result<()> {
    let place = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&place);
    set_hook(Box::new(move |info| {
        *seen.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
    }));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let what = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Err(anyhow::anyhow!("internal error, please report it: {what}"))
    })
}

/// A number of bytes for people.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// What became of a size.
pub(crate) fn size_change(before: u64, after: u64) -> String {
    let (before, after) = (before.max(1) as f64, after.max(1) as f64);
    if after > before {
        format!("{:.2}x larger", after / before)
    } else {
        format!("{:.2}x smaller", before / after)
    }
}

/// A table for people.
#[cfg(feature = "full")]
pub(crate) struct Table(comfy_table::Table);

/// A table with these titles.
#[cfg(feature = "full")]
pub(crate) fn table(titles: &[&str]) -> Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_header(titles.iter());
    Table(table)
}

#[cfg(feature = "full")]
impl Table {
    /// Adds a row of one line: names in a model may hold ends of lines, which would look like more rows.
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item: AsRef<str>>) -> &mut Self {
        self.add_lines(cells.into_iter().map(|cell| on_one_line(cell.as_ref())))
    }

    /// Adds a row whose cells may have several lines.
    pub(crate) fn add_lines(&mut self, cells: impl IntoIterator<Item: AsRef<str>>) -> &mut Self {
        self.0.add_row(cells.into_iter().map(|cell| cell.as_ref().to_owned()));
        self
    }
}

#[cfg(feature = "full")]
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The text without ends of lines.
pub(crate) fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Signal to noise, with so many digits; what is beyond the rounding of f32 is exact.
#[cfg(feature = "full")]
pub(crate) fn decibels(db: f64, digits: usize) -> String {
    if db >= EXACT_DB { "exact".to_owned() } else { format!("{db:.digits$} dB") }
}

#[cfg(all(test, feature = "full"))]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_in_one_line_and_only_once() {
        let inner = std::io::Error::other("disk\nfull");
        let error = anyhow::Error::new(inner).context("writing: disk\nfull").context("model\r\n x");
        assert_eq!(one_line(&error), "model x: writing: disk full");
    }

    #[test]
    fn what_terminals_obey_is_not_printed() {
        assert_eq!(
            harmless("a\u{1b}[31m\u{202e}b\r\n\u{9b}ü│"),
            "a\u{FFFD}[31m\u{FFFD}b\u{FFFD}\n\u{FFFD}ü│"
        );
    }

    #[test]
    fn a_name_makes_no_row_of_a_table() {
        let rows = |name: &str| table(&["node"]).add_row([name]).to_string().lines().count();
        assert_eq!(rows("a\nb\r\nc"), rows("a"));
        assert_eq!(table(&["node"]).add_lines(["a\nb"]).to_string().lines().count(), rows("a") + 1);
    }

    #[test]
    fn panics_become_errors() {
        let error = caught(|| panic!("two\nlines")).unwrap_err();
        let line = one_line(&error);
        assert!(line.starts_with("internal error") && line.ends_with("two lines"), "{line}");
    }

    #[test]
    fn sizes_have_units() {
        let all = [0, 1023, 1024, 1 << 20, 3 << 30].map(bytes);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.00 MiB", "3.00 GiB"]);
    }
}
