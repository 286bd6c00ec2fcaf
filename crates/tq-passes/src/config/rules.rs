//! Which rule of a configuration wins for which node.

use super::module_path::ModulePath;
use crate::module_type::Types;
use crate::names::did_you_mean;
use crate::{PassError, QConfig, QConfigDict, module_type};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use tq_graph::Node;

/// One rule of a [`QConfigDict`], by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// The global rule.
    Global,
    /// A rule for a module type or an ONNX operator.
    ModuleType {
        /// The type.
        name: String,
    },
    /// A rule for what a regular expression matches.
    Regex {
        /// The regular expression.
        pattern: String,
    },
    /// A rule for a module or a node.
    Name {
        /// The module path or the node's name.
        name: String,
    },
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Global => write!(f, "global rule"),
            Rule::ModuleType { name } => write!(f, "module type rule {:?}", shortened(name)),
            Rule::Regex { pattern } => write!(f, "regex rule \"{}\"", shortened(pattern)),
            Rule::Name { name } => write!(f, "name rule {:?}", shortened(name)),
        }
    }
}

/// A text of a file as a message quotes it: its beginning, where it is long.
pub(crate) fn shortened(text: &str) -> String {
    const MAX: usize = 200;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Bytes that one compiled regular expression may take: a hundred times what names of modules need.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Regular expressions of one configuration, each of which is tried on every node.
const MAX_REGEXES: usize = 1000;

/// What the rules say about one node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict<'d> {
    /// The dotted module path.
    pub(crate) path: String,
    /// The module type, where one fits.
    pub(crate) module_type: Option<&'static str>,
    /// The rule that wins.
    pub(crate) winner: Rule,
    /// What it says.
    pub(crate) qconfig: Option<&'d QConfig>,
    /// The rules that would be for the node too, the strongest first.
    pub(crate) losers: Vec<Rule>,
}

impl Verdict<'_> {
    /// Every rule that is for the node.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Rule> {
        std::iter::once(&self.winner).chain(&self.losers)
    }
}

/// The rules of a configuration, ready to be applied.
#[derive(Debug)]
pub(crate) struct Rules<'d> {
    dict: &'d QConfigDict,
    regexes: Vec<Regex>,
}

impl<'d> Rules<'d> {
    /// Checks types, regular expressions and names.
    ///
    /// # Errors
    /// [`PassError::UnknownModuleType`], [`PassError::Regex`], and [`PassError::Rule`] for rules given twice or empty.
    pub(crate) fn new(dict: &'d QConfigDict) -> Result<Self, PassError> {
        for rule in &dict.module_type {
            if !module_type::is_known(&rule.type_name) {
                let hint = did_you_mean(&module_type::suggestions(&rule.type_name));
                return Err(PassError::UnknownModuleType { name: rule.type_name.clone(), hint });
            }
        }
        let mut seen = HashSet::new();
        for (rule, _) in dict.rules() {
            let empty =
                matches!(&rule, Rule::Regex { pattern: text } | Rule::Name { name: text } if text.is_empty());
            if empty {
                return Err(PassError::Rule { rule, message: "names nothing".into() });
            }
            if !seen.insert(rule.clone()) {
                return Err(PassError::Rule { rule, message: "is given twice".into() });
            }
        }
        let wrong = |pattern: &str, message: &str| PassError::Regex {
            pattern: shortened(pattern),
            message: shortened(message),
        };
        if let Some(r) = dict.regex.get(MAX_REGEXES) {
            return Err(wrong(&r.pattern, &format!("more than {MAX_REGEXES} regex rules")));
        }
        let compile = |r: &super::dict::RegexRule| {
            let built = RegexBuilder::new(&r.pattern).size_limit(MAX_REGEX_BYTES).build();
            // The first lines of a syntax error repeat the whole pattern.
            built.map_err(|e| wrong(&r.pattern, e.to_string().lines().last().unwrap_or_default()))
        };
        let regexes = dict.regex.iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Self { dict, regexes })
    }

    /// Every rule.
    pub(crate) fn all(&self) -> impl Iterator<Item = Rule> {
        self.dict.rules().map(|(rule, _)| rule)
    }

    /// What the rules say about `node`.
    pub(crate) fn of(&self, types: &Types<'_>, node: &Node) -> Verdict<'d> {
        let path = ModulePath::of(types.graph, node);
        let module_type = types.of(node);
        let dict = self.dict;
        let mut found: Vec<(Rule, Option<&'d QConfig>)> = Vec::new();
        // The longest path first; of equally long ones the latest set, as setting a path again replaces it.
        let mut names: Vec<_> = dict.name.iter().filter_map(|r| Some((path.depth_of(&r.name)?, r))).collect();
        names.reverse();
        names.sort_by_key(|(depth, _)| Reverse(*depth));
        found.extend(names.into_iter().map(|(_, r)| (r.rule(), r.qconfig.as_ref())));
        let regexes =
            dict.regex.iter().zip(&self.regexes).filter(|(_, regex)| path.any(|p| begins_with(regex, p)));
        found.extend(regexes.map(|(r, _)| (r.rule(), r.qconfig.as_ref())));
        for name in module_type.into_iter().chain([node.op.name()]) {
            let by_type = dict.module_type.iter().find(|r| r.type_name == name);
            if let Some(r) = by_type
                && !found.iter().any(|(rule, _)| *rule == r.rule())
            {
                found.push((r.rule(), r.qconfig.as_ref()));
            }
        }
        found.push((Rule::Global, dict.global.as_ref()));
        let path = path.shown().to_owned();
        let mut found = found.into_iter();
        let (winner, qconfig) = found.next().unwrap_or((Rule::Global, None));
        Verdict { path, module_type, winner, qconfig, losers: found.map(|(rule, _)| rule).collect() }
    }
}

/// True when `regex` matches `text` from its beginning, as Python's `re.match` does.
fn begins_with(regex: &Regex, text: &str) -> bool {
    // The leftmost match is found, so that one at the beginning is never missed.
    regex.find(text).is_some_and(|m| m.start() == 0)
}

impl super::dict::TypeRule {
    fn rule(&self) -> Rule {
        Rule::ModuleType { name: self.type_name.clone() }
    }
}

impl super::dict::RegexRule {
    fn rule(&self) -> Rule {
        Rule::Regex { pattern: self.pattern.clone() }
    }
}

impl super::dict::NameRule {
    fn rule(&self) -> Rule {
        Rule::Name { name: self.name.clone() }
    }
}

impl QConfigDict {
    /// Every rule with what it says, the weakest kind first, each kind in the order set.
    pub fn rules(&self) -> impl Iterator<Item = (Rule, Option<&QConfig>)> {
        let types = self.module_type.iter().map(|r| (r.rule(), r.qconfig.as_ref()));
        let regexes = self.regex.iter().map(|r| (r.rule(), r.qconfig.as_ref()));
        let names = self.name.iter().map(|r| (r.rule(), r.qconfig.as_ref()));
        std::iter::once((Rule::Global, self.global.as_ref())).chain(types).chain(regexes).chain(names)
    }
}
