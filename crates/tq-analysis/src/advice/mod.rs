//! Findings in words: which cause an error has, and which setting to change.

mod finding;

pub use finding::{Advice, Evidence, Finding, FindingKind};
