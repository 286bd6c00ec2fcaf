//! Text of others on a page.

use std::fmt;

/// Text that stands for itself in an element and in a quoted attribute, whatever is in it.
pub(super) struct Escaped<'t>(&'t str);

pub(super) fn escape(text: &str) -> Escaped<'_> {
    Escaped(text)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Controls have no place in HTML, and those of direction would turn the text around them.
                c if c.is_control() || is_directional(c) => f.write_str("\u{fffd}")?,
                c => fmt::Write::write_char(f, c)?,
            }
        }
        Ok(())
    }
}

fn is_directional(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The end of a long name, which tells more than its beginning; `most` is in letters of common width.
pub(super) fn shortened(name: &str, most: usize) -> String {
    // Han, kana, hangul, full-width forms and pictures are twice as wide.
    let width = |c: char| if c >= '\u{1100}' { 2 } else { 1 };
    if name.chars().map(width).sum::<usize>() <= most {
        return name.to_owned();
    }
    let mut room = most.saturating_sub(1);
    let mut fits = |c: &char| room.checked_sub(width(*c)).map(|left| room = left).is_some();
    let end: Vec<char> = name.chars().rev().take_while(|c| fits(c)).collect();
    std::iter::once('\u{2026}').chain(end.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_markup() {
        let text = escape("</script><img src=x onerror='a'>&\"\u{202e}\n\u{0}é").to_string();
        assert_eq!(
            text,
            "&lt;/script&gt;&lt;img src=x onerror=&#39;a&#39;&gt;&amp;&quot;\u{fffd}\u{fffd}\u{fffd}é"
        );
        assert_eq!(shortened("漢字漢字", 5), "\u{2026}漢字");
        assert_eq!((shortened("abcdef", 4), shortened("äöü", 3)), ("\u{2026}def".into(), "äöü".into()));
    }
}
