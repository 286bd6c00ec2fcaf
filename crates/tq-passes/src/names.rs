//! Names: new ones for what passes add to a graph, and known ones for what somebody misspelled.

use std::collections::HashSet;

/// A name that is not `taken` yet: `base`, or `base` with a number. It is taken from then on.
pub(crate) fn fresh(base: &str, taken: &mut HashSet<String>) -> String {
    let mut name = base.to_owned();
    let mut i = 0usize;
    while !taken.insert(name.clone()) {
        i += 1;
        name = format!("{base}_{i}");
    }
    name
}

/// At most three of `known` that differ from `name` by a few letters, the most similar first.
pub(crate) fn most_like<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Vec<&'k str> {
    let lower = name.to_lowercase();
    let mut close: Vec<(usize, &str)> = known
        .filter_map(|k| {
            let d = edits(&lower, &k.to_lowercase());
            (d <= 2 && d * 3 <= name.len().max(3)).then_some((d, k))
        })
        .collect();
    close.sort_unstable();
    close.dedup();
    close.into_iter().take(3).map(|(_, k)| k).collect()
}

/// " (did you mean A or B?)", or nothing.
pub(crate) fn did_you_mean(close: &[&str]) -> String {
    match close {
        [] => String::new(),
        _ => format!(" (did you mean {}?)", close.join(" or ")),
    }
}

/// Letters to change, add or take away to get from `a` to `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        assert_eq!([edits("", "abc"), edits("kitten", "sitting"), edits("same", "same")], [3, 3, 0]);
        assert_eq!(most_like("histogramm", ["histogram", "entropy"].into_iter()), ["histogram"]);
    }
}
