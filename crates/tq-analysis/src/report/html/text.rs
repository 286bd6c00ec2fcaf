//! Numbers as people read them.

use crate::plot;

/// An error in dB; beyond what the rounding of f32 leaves it is exact.
pub(super) fn decibels(db: f64) -> String {
    match plot::decibels(db).0.as_str() {
        "exact" => "exact".into(),
        "NaN" => "not a number".into(),
        number => format!("{number} dB"),
    }
}

/// A percentage that is not rounded to 0 or 100 unless it is that.
pub(super) fn percent(p: f64) -> String {
    let text = format!("{p:.2}");
    match text.as_str() {
        _ if p.is_nan() => "not a number".into(),
        "0.00" if p > 0.0 => "&lt; 0.01 %".into(),
        "100.00" if p < 100.0 => "&gt; 99.99 %".into(),
        _ if p == p.trunc() => format!("{p:.0} %"),
        _ => format!("{text} %"),
    }
}

/// A number of bytes.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// A count with a space between thousands, which no end of a line may part.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(c);
    }
    out
}

/// One thing, or several.
pub(super) fn several(n: usize, one: &str, more: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_pretend() {
        assert_eq!(
            [0.0, 0.001, 12.345, 99.999, 100.0].map(percent),
            ["0 %", "&lt; 0.01 %", "12.35 %", "&gt; 99.99 %", "100 %"]
        );
        assert_eq!((count(7), count(1_234_567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!((decibels(12.34), decibels(300.0)), ("12.3 dB".into(), "exact".into()));
        assert_eq!(
            (bytes(10), bytes(2048), bytes(5 << 20)),
            ("10 B".into(), "2.0 KiB".into(), "5.00 MiB".into())
        );
    }
}
