//! Parts of `docs/MATRIX.md` that tasks write.

use crate::workspace;
use anyhow::{Context, Result};
use std::fs;

/// Puts `text` between the two marks of the part `name`.
pub(crate) fn write(name: &str, text: &str) -> Result<()> {
    let path = workspace::root().join("docs/MATRIX.md");
    let before = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let after =
        replace(&before, name, text).with_context(|| format!("{}: no marks of {name}", path.display()))?;
    fs::write(&path, after)?;
    eprintln!("wrote {}", path.display());
    Ok(())
}

fn replace(before: &str, name: &str, text: &str) -> Option<String> {
    let (first, last) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let start = before.find(&first)? + first.len();
    let end = start + before[start..].find(&last)?;
    Some(format!("{}{}\n{}", &before[..start], text.trim_end(), &before[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_nothing_else() {
        let before = "head\n<!-- a -->\nold\n<!-- end of a -->\ntail\n";
        let after = replace(before, "a", "new\n\n").unwrap();
        assert_eq!(after, "head\n<!-- a -->\nnew\n<!-- end of a -->\ntail\n");
        assert_eq!(replace(before, "b", "new"), None);
    }
}
