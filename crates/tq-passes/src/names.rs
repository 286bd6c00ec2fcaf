//! Names for what passes add to a graph.

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
