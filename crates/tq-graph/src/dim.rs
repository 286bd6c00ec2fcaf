//! Dimensions that may be symbolic.
//!
//! A [`Dim`] is an integer polynomial over named symbols and over quotients of polynomials, in one normal form,
//! so that equal expressions compare equal: `N * 4 / 2`, `2 * N` and `N + N` are the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Shape of a tensor.
pub type Shape = Vec<Dim>;

/// The shape with these known dimensions.
#[must_use]
pub fn shape_of(dims: &[usize]) -> Shape {
    dims.iter().map(|d| Dim::from(*d)).collect()
}

/// The dimensions, if all of them are known and none is negative.
#[must_use]
pub fn known_shape(shape: &[Dim]) -> Option<Vec<usize>> {
    shape.iter().map(Dim::known_usize).collect()
}

/// Terms of a polynomial are kept below this number; beyond it a fresh symbol stands for the value.
const MAX_TERMS: usize = 64;

/// Atoms of an expression, those inside quotients included, are kept at or below this number. A quotient holds
/// its operands, so a few shape operators could otherwise double an expression at every step, and nest it without
/// end.
const MAX_WEIGHT: usize = 256;

/// An integer: a known one, or a polynomial over symbols.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Known(i64),
    /// Monomial (sorted factors, repeated for powers) -> coefficient; never empty, no zero coefficient,
    /// and not only the constant monomial.
    Poly(BTreeMap<Vec<Atom>, i64>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Arc<str>),
    /// Quotient rounded down.
    Floor(Box<Dim>, Box<Dim>),
}

/// One summand of a [`Dim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term<'a> {
    /// The number that the factors are multiplied by.
    pub coefficient: i64,
    /// What is multiplied; a power has its base several times.
    pub factors: Vec<Factor<'a>>,
}

/// What is multiplied in a [`Term`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Factor<'a> {
    /// A named unknown.
    Symbol(&'a str),
    /// The first over the second, rounded down.
    Floor(&'a Dim, &'a Dim),
}

impl Atom {
    fn weight(&self) -> usize {
        match self {
            Atom::Symbol(_) => 1,
            Atom::Floor(a, b) => 1 + a.weight() + b.weight(),
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Self {
        // Dimensions beyond i64 do not exist: the tensor would not fit memory.
        Dim(Repr::Known(i64::try_from(n).unwrap_or(i64::MAX)))
    }
}

impl From<i64> for Dim {
    fn from(n: i64) -> Self {
        Dim(Repr::Known(n))
    }
}

impl Dim {
    /// A named unknown.
    #[must_use]
    pub fn symbol(name: impl Into<String>) -> Self {
        Dim(Repr::Poly(BTreeMap::from([(vec![Atom::Symbol(name.into().into())], 1)])))
    }

    /// The name, if this is a named unknown and nothing else.
    #[must_use]
    pub fn as_symbol(&self) -> Option<&str> {
        let Repr::Poly(terms) = &self.0 else { return None };
        match terms.first_key_value() {
            Some((m, 1)) if terms.len() == 1 => match m.as_slice() {
                [Atom::Symbol(name)] => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// True when no symbol, all of them being dimensions and so not negative, can make this negative.
    #[must_use]
    pub fn never_negative(&self) -> bool {
        let atom = |a: &Atom| match a {
            Atom::Symbol(_) => true,
            Atom::Floor(a, b) => a.never_negative() && b.never_negative(),
        };
        match &self.0 {
            Repr::Known(n) => *n >= 0,
            Repr::Poly(terms) => terms.iter().all(|(m, c)| *c >= 0 && m.iter().all(atom)),
        }
    }

    /// The summands, in an order that depends on the value alone; a known number is one without factors, or none
    /// where it is 0.
    ///
    /// [`Dim::checked_add`], [`Dim::checked_mul`] and [`Dim::checked_div_floor`] make the same dimension of them again.
    #[must_use]
    pub fn summands(&self) -> Vec<Term<'_>> {
        fn factor(atom: &Atom) -> Factor<'_> {
            match atom {
                Atom::Symbol(name) => Factor::Symbol(name),
                Atom::Floor(a, b) => Factor::Floor(a, b),
            }
        }
        match &self.0 {
            Repr::Known(0) => Vec::new(),
            Repr::Known(n) => vec![Term { coefficient: *n, factors: Vec::new() }],
            Repr::Poly(terms) => terms
                .iter()
                .map(|(m, c)| Term { coefficient: *c, factors: m.iter().map(factor).collect() })
                .collect(),
        }
    }

    /// How many atoms stand in the expression, inside quotients too.
    fn weight(&self) -> usize {
        let Repr::Poly(terms) = &self.0 else { return 0 };
        terms.keys().flatten().map(Atom::weight).sum()
    }

    /// The integer, if it is known.
    #[must_use]
    pub fn known(&self) -> Option<i64> {
        match self.0 {
            Repr::Known(n) => Some(n),
            Repr::Poly(_) => None,
        }
    }

    /// The integer, if it is known and not negative.
    #[must_use]
    pub fn known_usize(&self) -> Option<usize> {
        self.known().and_then(|n| usize::try_from(n).ok())
    }

    fn terms(&self) -> BTreeMap<Vec<Atom>, i64> {
        match &self.0 {
            Repr::Known(0) => BTreeMap::new(),
            Repr::Known(n) => BTreeMap::from([(Vec::new(), *n)]),
            Repr::Poly(t) => t.clone(),
        }
    }

    fn from_terms(mut terms: BTreeMap<Vec<Atom>, i64>) -> Option<Self> {
        terms.retain(|_, c| *c != 0);
        if terms.len() > MAX_TERMS || terms.keys().flatten().map(Atom::weight).sum::<usize>() > MAX_WEIGHT {
            return None;
        }
        Some(match terms.len() {
            0 => Dim::from(0i64),
            1 if terms.contains_key(&Vec::new()) => Dim::from(terms[&Vec::new()]),
            _ => Dim(Repr::Poly(terms)),
        })
    }

    /// Sum; `None` when it overflows or grows too long.
    #[must_use]
    pub fn checked_add(&self, other: &Dim) -> Option<Dim> {
        let mut terms = self.terms();
        for (m, c) in other.terms() {
            let slot = terms.entry(m).or_insert(0);
            *slot = slot.checked_add(c)?;
        }
        Dim::from_terms(terms)
    }

    /// Difference; `None` as for the sum.
    #[must_use]
    pub fn checked_sub(&self, other: &Dim) -> Option<Dim> {
        self.checked_add(&other.checked_mul(&Dim::from(-1i64))?)
    }

    /// Product; `None` as for the sum.
    #[must_use]
    pub fn checked_mul(&self, other: &Dim) -> Option<Dim> {
        let mut terms: BTreeMap<Vec<Atom>, i64> = BTreeMap::new();
        for (m1, c1) in self.terms() {
            for (m2, c2) in other.terms() {
                let mut m: Vec<Atom> = m1.iter().chain(m2.iter()).cloned().collect();
                if m.len() > MAX_TERMS {
                    return None;
                }
                m.sort();
                let slot = terms.entry(m).or_insert(0);
                *slot = slot.checked_add(c1.checked_mul(c2)?)?;
            }
        }
        Dim::from_terms(terms)
    }

    /// Quotient rounded down; `None` for a divisor known to be zero, and on overflow.
    ///
    /// Exact quotients of polynomials by a number or by one monomial are carried out: `4 * N / 2` is `2 * N`,
    /// `N * H / N` is `H`. Anything else becomes an opaque quotient.
    #[must_use]
    pub fn checked_div_floor(&self, other: &Dim) -> Option<Dim> {
        match (self.known(), other.known()) {
            (_, Some(0)) => return None,
            (Some(a), Some(b)) => {
                let q = a.checked_div(b)?;
                return Some(Dim::from(if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }));
            }
            (_, Some(1)) => return Some(self.clone()),
            (Some(0), _) => return Some(self.clone()),
            _ => {}
        }
        if let Some(exact) = self.div_exact(other) {
            return Some(exact);
        }
        if self.weight() + other.weight() >= MAX_WEIGHT {
            return None;
        }
        let atom = Atom::Floor(Box::new(self.clone()), Box::new(other.clone()));
        Some(Dim(Repr::Poly(BTreeMap::from([(vec![atom], 1)]))))
    }

    /// `self / other` when it is a polynomial with integer coefficients and `other` is a single term.
    #[must_use]
    pub fn div_exact(&self, other: &Dim) -> Option<Dim> {
        let divisor = other.terms();
        if divisor.len() != 1 {
            return if self == other { Some(Dim::from(1i64)) } else { None };
        }
        let (dm, dc) = divisor.iter().next()?;
        let mut out = BTreeMap::new();
        for (m, c) in self.terms() {
            if c.checked_rem(*dc)? != 0 {
                return None;
            }
            let mut rest = m.clone();
            for atom in dm {
                let at = rest.iter().position(|a| a == atom)?;
                rest.remove(at);
            }
            out.insert(rest, c.checked_div(*dc)?);
        }
        Dim::from_terms(out)
    }

    /// The value under `bindings` of symbols to numbers; symbols without a binding stay.
    #[must_use]
    pub fn bind(&self, bindings: &BTreeMap<String, i64>) -> Option<Dim> {
        let Repr::Poly(terms) = &self.0 else { return Some(self.clone()) };
        let mut sum = Dim::from(0i64);
        for (m, c) in terms {
            let mut product = Dim::from(*c);
            for atom in m {
                let factor = match atom {
                    Atom::Symbol(name) => match bindings.get(&**name) {
                        Some(n) => Dim::from(*n),
                        None => Dim::symbol(&**name),
                    },
                    Atom::Floor(a, b) => a.bind(bindings)?.checked_div_floor(&b.bind(bindings)?)?,
                };
                product = product.checked_mul(&factor)?;
            }
            sum = sum.checked_add(&product)?;
        }
        Some(sum)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms = match &self.0 {
            Repr::Known(n) => return write!(f, "{n}"),
            Repr::Poly(t) => t,
        };
        for (i, (m, c)) in terms.iter().rev().enumerate() {
            let sign = if *c < 0 { "-" } else { "+" };
            match (i, *c < 0) {
                (0, false) => {}
                (0, true) => write!(f, "-")?,
                _ => write!(f, " {sign} ")?,
            }
            let magnitude = c.unsigned_abs();
            if m.is_empty() {
                write!(f, "{magnitude}")?;
                continue;
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (j, atom) in m.iter().enumerate() {
                if j > 0 {
                    write!(f, "*")?;
                }
                match atom {
                    Atom::Symbol(s) => write!(f, "{s}")?,
                    Atom::Floor(a, b) => write!(f, "floor(({a})/({b}))")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn n() -> Dim {
        Dim::symbol("N")
    }
    fn k(v: i64) -> Dim {
        Dim::from(v)
    }

    #[test]
    fn equal_expressions_have_one_form() {
        let twice = n().checked_add(&n()).unwrap();
        let four = n().checked_mul(&k(4)).unwrap();
        assert_eq!(four.checked_div_floor(&k(2)).unwrap(), twice);
        assert_eq!(twice.checked_sub(&n()).unwrap().checked_sub(&n()).unwrap(), k(0));
        let area = n().checked_mul(&Dim::symbol("H")).unwrap();
        assert_eq!(area.checked_div_floor(&n()).unwrap(), Dim::symbol("H"));
        assert_eq!(twice.to_string(), "2*N");
    }

    #[test]
    fn expressions_do_not_grow_without_limit() {
        // Each step holds the last expression twice.
        let mut x = Some(n());
        for _ in 0..40 {
            let third = |d: &Dim| d.checked_div_floor(&k(3));
            x = x.and_then(|x| third(&x)?.checked_add(&third(&x.checked_add(&k(1))?)?));
        }
        assert_eq!(x, None);
        let mut deep = n();
        let mut steps = 0;
        while let Some(next) = deep.checked_add(&k(1)).and_then(|d| d.checked_div_floor(&k(2))) {
            (deep, steps) = (next, steps + 1);
        }
        assert!((100..=256).contains(&steps), "{steps} halvings");
    }

    #[test]
    fn signs_and_names_are_seen() {
        assert_eq!(n().as_symbol(), Some("N"));
        assert_eq!(n().checked_mul(&n()).unwrap().as_symbol(), None);
        assert_eq!(n().checked_add(&k(1)).unwrap().as_symbol(), None);
        assert!(n().checked_add(&k(1)).unwrap().never_negative());
        assert!(!n().checked_sub(&k(1)).unwrap().never_negative());
    }

    #[test]
    fn what_does_not_divide_stays_a_quotient_and_binds_later() {
        let half = n().checked_add(&k(1)).unwrap().checked_div_floor(&k(2)).unwrap();
        assert_eq!(half.known(), None);
        let at = |v| half.bind(&BTreeMap::from([("N".to_owned(), v)])).unwrap().known();
        assert_eq!((at(7), at(8)), (Some(4), Some(4)));
        assert_eq!(k(5).checked_div_floor(&k(0)), None);
        assert_eq!(k(-7).checked_div_floor(&k(2)), Some(k(-4)));
        assert_eq!(k(i64::MAX).checked_add(&k(1)), None);
    }

    #[test]
    fn summands_make_the_same_dimension_again() {
        fn again(d: &Dim) -> Dim {
            let mut sum = k(0);
            for term in d.summands() {
                let mut product = k(term.coefficient);
                for factor in term.factors {
                    product = product
                        .checked_mul(&match factor {
                            Factor::Symbol(name) => Dim::symbol(name),
                            Factor::Floor(a, b) => again(a).checked_div_floor(&again(b)).unwrap(),
                        })
                        .unwrap();
                }
                sum = sum.checked_add(&product).unwrap();
            }
            sum
        }
        let n1 = n().checked_add(&k(1)).unwrap();
        let half = n1.checked_mul(&n1).unwrap().checked_div_floor(&k(2)).unwrap();
        let nested = half.checked_sub(&k(3)).unwrap().checked_div_floor(&Dim::symbol("M")).unwrap();
        for d in [k(0), k(-7), n(), n1, half.clone(), nested.checked_mul(&half).unwrap(), nested] {
            assert_eq!(again(&d), d);
        }
    }

    proptest! {
        #[test]
        fn binding_commutes_with_arithmetic(a in -50i64..50, b in -50i64..50, v in 1i64..40, d in 1i64..9) {
            let env = BTreeMap::from([("N".to_owned(), v)]);
            let x = n().checked_mul(&k(a)).unwrap().checked_add(&k(b)).unwrap();
            let y = x.checked_mul(&x).unwrap().checked_div_floor(&k(d)).unwrap();
            let real = (a * v + b).pow(2).div_euclid(d);
            prop_assert_eq!(y.bind(&env).unwrap().known(), Some(real));
        }
    }
}
