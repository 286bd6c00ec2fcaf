//! The equation of Einsum.

use std::collections::BTreeMap;
use std::fmt;

/// Letters that a term may have.
const MAX_LETTERS: usize = 64;

/// One operand's axes, or those of the result: letters, and perhaps an ellipsis between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EinsumTerm {
    /// Letters before the ellipsis; all of them when there is none.
    pub head: Vec<char>,
    /// Whether there is an ellipsis, which stands for any axes that have no letters.
    pub ellipsis: bool,
    /// Letters after the ellipsis.
    pub tail: Vec<char>,
}

impl EinsumTerm {
    /// All letters, in order.
    pub fn letters(&self) -> impl Iterator<Item = char> + '_ {
        self.head.iter().chain(&self.tail).copied()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut term = EinsumTerm::default();
        let mut rest = text.trim();
        while let Some(c) = rest.chars().next() {
            rest = match rest.strip_prefix("...") {
                Some(after) if !term.ellipsis => {
                    term.ellipsis = true;
                    after
                }
                Some(_) => return Err("a term has two ellipses".into()),
                None if c.is_ascii_alphabetic() => {
                    if term.ellipsis { &mut term.tail } else { &mut term.head }.push(c);
                    &rest[1..]
                }
                None if c == ' ' => &rest[1..],
                None => return Err(format!("{c:?} is neither a letter nor an ellipsis")),
            };
        }
        if term.letters().count() > MAX_LETTERS {
            return Err(format!("a term of more than {MAX_LETTERS} letters"));
        }
        Ok(term)
    }
}

impl fmt::Display for EinsumTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |letters: &[char]| letters.iter().collect::<String>();
        write!(f, "{}{}{}", text(&self.head), if self.ellipsis { "..." } else { "" }, text(&self.tail))
    }
}

/// Which axes of the operands of Einsum are the same, and which of them the result has. All others are summed over.
///
/// ```
/// use tq_graph::op::EinsumEquation;
/// let product: EinsumEquation = "bij, bjk -> bik".parse().unwrap();
/// assert_eq!(product.to_string(), "bij,bjk->bik");
/// // Without an arrow: every letter that stands once, in order of the alphabet.
/// assert_eq!("kj...,ij".parse::<EinsumEquation>().unwrap().to_string(), "kj...,ij->...ik");
/// assert!("ij->ik".parse::<EinsumEquation>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EinsumEquation {
    /// One term an operand.
    pub operands: Vec<EinsumTerm>,
    /// The result.
    pub result: EinsumTerm,
}

impl std::str::FromStr for EinsumEquation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (operands, result) = match text.split_once("->") {
            Some((operands, result)) => (operands, Some(EinsumTerm::parse(result)?)),
            None => (text, None),
        };
        let operands = operands.split(',').map(EinsumTerm::parse).collect::<Result<Vec<_>, _>>()?;
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        for c in operands.iter().flat_map(EinsumTerm::letters) {
            *counts.entry(c).or_default() += 1;
        }
        let result = match result {
            Some(result) => {
                for (i, c) in result.letters().enumerate() {
                    if !counts.contains_key(&c) {
                        return Err(format!("{c} of the result stands in no operand"));
                    }
                    if result.letters().take(i).any(|l| l == c) {
                        return Err(format!("{c} stands twice in the result"));
                    }
                }
                match (operands.iter().any(|o| o.ellipsis), result.ellipsis) {
                    (false, true) => return Err("only the result has an ellipsis".into()),
                    (true, false) => return Err("the result lacks the ellipsis of the operands".into()),
                    _ => result,
                }
            }
            None => {
                // The map is in order of the alphabet, capitals first.
                let once: Vec<char> = counts.iter().filter(|(_, n)| **n == 1).map(|(c, _)| *c).collect();
                let ellipsis = operands.iter().any(|o| o.ellipsis);
                let (head, tail) = if ellipsis { (Vec::new(), once) } else { (once, Vec::new()) };
                EinsumTerm { head, ellipsis, tail }
            }
        };
        Ok(Self { operands, result })
    }
}

impl fmt::Display for EinsumEquation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, operand) in self.operands.iter().enumerate() {
            write!(f, "{}{operand}", if i == 0 { "" } else { "," })?;
        }
        write!(f, "->{}", self.result)
    }
}
