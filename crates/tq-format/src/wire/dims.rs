//! Dimensions: numbers, names, and sums, which stand in a table, each made of those before it. So nothing is nested,
//! however deep an expression is.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use tq_graph::Dim;
use tq_graph::dim::Factor;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WireDim {
    Known(i64),
    Symbol(String),
    Sum { sum: usize },
}

/// `times` the product of all that it is `of`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireTerm {
    times: i64,
    of: Vec<WireFactor>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum WireFactor {
    Symbol(String),
    /// The first over the second, rounded down.
    Floor {
        floor: (WireDim, WireDim),
    },
}

/// The sums of a graph, each once, in the order in which they are met.
#[derive(Default)]
pub(super) struct DimTable {
    pub(super) sums: Vec<Vec<WireTerm>>,
    places: HashMap<Dim, usize>,
}

impl DimTable {
    pub(super) fn dim(&mut self, dim: &Dim) -> WireDim {
        match (dim.known(), dim.as_symbol(), self.places.get(dim)) {
            (Some(n), ..) => return WireDim::Known(n),
            (_, Some(name), _) => return WireDim::Symbol(name.to_owned()),
            (.., Some(sum)) => return WireDim::Sum { sum: *sum },
            _ => {}
        }
        // As deep as the expression is, which a `Dim` limits.
        let terms = dim.summands().into_iter().map(|term| {
            let of = term.factors.into_iter().map(|factor| match factor {
                Factor::Symbol(name) => WireFactor::Symbol(name.to_owned()),
                Factor::Floor(a, b) => WireFactor::Floor { floor: (self.dim(a), self.dim(b)) },
            });
            WireTerm { times: term.coefficient, of: of.collect() }
        });
        let terms = terms.collect();
        self.sums.push(terms);
        self.places.insert(dim.clone(), self.sums.len() - 1);
        WireDim::Sum { sum: self.sums.len() - 1 }
    }
}

/// The sums of a file.
pub(super) struct DimReader(Vec<Dim>);

impl DimReader {
    pub(super) fn new(sums: &[Vec<WireTerm>]) -> Result<Self, String> {
        let mut reader = DimReader(Vec::with_capacity(sums.len()));
        for (i, terms) in sums.iter().enumerate() {
            let sum = reader.sum(terms).map_err(|e| format!("dimension {i}: {e}"))?;
            reader.0.push(sum);
        }
        Ok(reader)
    }

    fn sum(&self, terms: &[WireTerm]) -> Result<Dim, String> {
        let too_long = || "its numbers or its expression are too large".to_owned();
        let mut sum = Dim::from(0i64);
        for term in terms {
            let mut product = Dim::from(term.times);
            for factor in &term.of {
                let factor = match factor {
                    WireFactor::Symbol(name) => Dim::symbol(name),
                    WireFactor::Floor { floor: (a, b) } => {
                        self.dim(a)?.checked_div_floor(&self.dim(b)?).ok_or_else(too_long)?
                    }
                };
                product = product.checked_mul(&factor).ok_or_else(too_long)?;
            }
            sum = sum.checked_add(&product).ok_or_else(too_long)?;
        }
        Ok(sum)
    }

    pub(super) fn dim(&self, dim: &WireDim) -> Result<Dim, String> {
        match dim {
            WireDim::Known(n) => Ok(Dim::from(*n)),
            WireDim::Symbol(name) => Ok(Dim::symbol(name)),
            WireDim::Sum { sum } => self
                .0
                .get(*sum)
                .cloned()
                .ok_or_else(|| format!("it refers to sum {sum}, which does not stand before it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_survive_however_deep() {
        let mut dim = Dim::symbol("N");
        for i in 0i64..80 {
            dim = dim.checked_add(&Dim::from(1i64)).unwrap().checked_div_floor(&Dim::symbol("M")).unwrap();
            dim = dim.checked_mul(&Dim::from(i + 2)).unwrap();
        }
        let mut table = DimTable::default();
        let wire = table.dim(&dim);
        assert_eq!(table.dim(&dim), wire);
        let text = serde_json::to_string(&table.sums).unwrap();
        let sums: Vec<Vec<WireTerm>> = serde_json::from_str(&text).unwrap();
        assert_eq!(DimReader::new(&sums).unwrap().dim(&wire).unwrap(), dim);
    }

    #[test]
    fn sums_refer_to_those_before_them() {
        let read = |text: &str| {
            let sums: Vec<Vec<WireTerm>> = serde_json::from_str(text).unwrap();
            DimReader::new(&sums).map(|r| r.0).map_err(|e| e.to_string())
        };
        let own = read(r#"[[{"times":1,"of":[{"floor":[{"sum":0},2]}]}]]"#).unwrap_err();
        assert!(own.contains("sum 0, which does not stand before it"), "{own}");
        assert!(read(r#"[[{"times":1,"of":[{"floor":["N",0]}]}]]"#).unwrap_err().contains("too large"));
        assert_eq!(read(r#"[[{"times":2,"of":["N"]},{"times":-2,"of":["N"]}]]"#).unwrap(), [Dim::from(0i64)]);
    }
}
