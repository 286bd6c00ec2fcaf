//! Unique names.

use std::collections::{HashMap, HashSet};

/// Names in use, and new ones that are not.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: HashSet<String>,
    /// For a base the number to try next, so that many equal bases cost no quadratic search.
    next: HashMap<String, usize>,
}

impl Names {
    /// Takes `name`; false when it was taken before.
    pub(crate) fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// Takes `base`, or `base` with the first number that makes it new.
    pub(crate) fn fresh(&mut self, base: &str) -> String {
        if self.take(base) {
            return base.to_owned();
        }
        let mut n = self.next.get(base).copied().unwrap_or(1);
        loop {
            let name = format!("{base}_{n}");
            n += 1;
            if self.take(&name) {
                self.next.insert(base.to_owned(), n);
                return name;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_skip_what_is_taken() {
        let mut names = Names::default();
        assert!(names.take("Conv_1"));
        assert_eq!(names.fresh("Conv"), "Conv");
        assert_eq!(names.fresh("Conv"), "Conv_2");
        assert_eq!(names.fresh("Conv"), "Conv_3");
    }
}
