//! The distribution that a histogram stands for, and the squared error of quantizing it.

use crate::octaves::{Grid, Octaves};
use tq_qtypes::QuantSpec;

/// With more codes than this to a side, what rounding costs is taken as a twelfth of the squared step.
const MANY: u64 = 4096;

/// Mass, first and second moment of a part of a distribution.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Moments {
    mass: f64,
    first: f64,
    second: f64,
}

impl Moments {
    /// Those of `mass` spread evenly from `low` to `high`.
    fn even(mass: f64, low: f64, high: f64) -> Self {
        let second = (low * low + low * high + high * high) / 3.0;
        Self { mass, first: mass * (low + high) / 2.0, second: mass * second }
    }

    fn plus(self, o: Moments) -> Self {
        Self { mass: self.mass + o.mass, first: self.first + o.first, second: self.second + o.second }
    }

    fn minus(self, o: Moments) -> Self {
        Self { mass: self.mass - o.mass, first: self.first - o.first, second: self.second - o.second }
    }

    /// The integral of the squared distance to `x`.
    fn around(self, x: f64) -> f64 {
        // Rounding can leave a little less than nothing.
        (self.second - 2.0 * x * self.first + x * x * self.mass).max(0.0)
    }
}

/// One side of zero, by magnitude. Slot `i + 1` of the grid is bin `i`.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    grid: Grid,
    /// Where the bins begin, and where the last one ends.
    edges: Vec<f64>,
    /// What is between zero and the beginning of each bin, and between zero and the end of the last one.
    before: Vec<Moments>,
}

impl Side {
    /// `counts` of slots 1, 2, …; no value is below `smallest` or above `largest`.
    fn new(grid: Grid, counts: impl Iterator<Item = u64>, smallest: f64, largest: f64) -> Self {
        let mut edges = vec![grid.edge(1).clamp(smallest, largest)];
        let mut before = vec![Moments::default()];
        let mut all = Moments::default();
        for (count, slot) in counts.zip(2..) {
            let low = edges.last().copied().unwrap_or(smallest);
            let high = grid.edge(slot).clamp(smallest, largest);
            if count > 0 {
                all = all.plus(Moments::even(count as f64, low, high));
            }
            edges.push(high);
            before.push(all);
        }
        Self { grid, edges, before }
    }

    /// What is between zero and `x`.
    fn within(&self, x: f64) -> Moments {
        let bin = self.grid.slot(x as f32) - 1;
        let Ok(bin) = usize::try_from(bin) else { return Moments::default() };
        let (Some(&[low, high]), Some([below, up_to])) = (
            self.edges.get(bin..).and_then(|e| e.first_chunk()),
            self.before.get(bin..).and_then(|b| b.first_chunk::<2>()),
        ) else {
            return self.all();
        };
        if x >= high {
            return *up_to;
        }
        let mass = up_to.mass - below.mass;
        if x <= low || mass == 0.0 {
            return *below;
        }
        below.plus(Moments::even(mass * ((x - low) / (high - low)), low, x))
    }

    fn all(&self) -> Moments {
        self.before.last().copied().unwrap_or_default()
    }

    /// How much is between zero and `x`.
    pub(crate) fn mass_within(&self, x: f64) -> f64 {
        self.within(x).mass
    }

    /// How much there is.
    pub(crate) fn mass(&self) -> f64 {
        self.all().mass
    }

    /// The sum of squared differences between the values and the nearest of `0, step, …, last * step`.
    fn squared_error(&self, step: f64, last: u64) -> f64 {
        let all = self.all();
        if last > MANY {
            let inside = self.within((last as f64 + 0.5) * step);
            return inside.mass * step * step / 12.0 + all.minus(inside).around(last as f64 * step);
        }
        let mut error = 0.0;
        let mut below = Moments::default();
        for code in 0..last {
            if below.mass >= all.mass {
                return error;
            }
            let up_to = self.within((code as f64 + 0.5) * step);
            error += up_to.minus(below).around(code as f64 * step);
            below = up_to;
        }
        error + all.minus(below).around(last as f64 * step)
    }
}

/// A distribution of even density within the bins of a histogram, and an atom at zero.
///
/// The bin around zero is the atom: zero has a code of its own, and the bin is narrower than any step between codes.
#[derive(Debug, Clone)]
pub(crate) struct Mass {
    pub(crate) negative: Side,
    pub(crate) positive: Side,
}

impl Mass {
    /// The distribution of all data seen, or nothing before any.
    pub(crate) fn new(octaves: &Octaves) -> Option<Self> {
        let (grid, first, counts) = octaves.slots()?;
        let range = octaves.range()?;
        let (min, max) = (f64::from(range.min), f64::from(range.max));
        let last = first + counts.len() as i32 - 1;
        // What is missing between zero and a range that begins away from it counts as empty.
        let of = |slot: i32| counts.get((slot - first) as usize).copied().unwrap_or(0);
        let positive = Side::new(grid, (1..=last).map(of), min.max(0.0), max.max(0.0));
        let negative = Side::new(grid, (1..=-first).map(|slot| of(-slot)), (-max).max(0.0), (-min).max(0.0));
        Some(Self { negative, positive })
    }

    /// The sum of squared differences between the values and what they become when quantized.
    pub(crate) fn squared_error(&self, spec: &QuantSpec, scale: f32, zero_point: i32) -> f64 {
        let step = f64::from(scale);
        let codes = |a: i32, b: i32| (i64::from(a) - i64::from(b)).max(0) as u64;
        self.positive.squared_error(step, codes(spec.quant_max, zero_point))
            + self.negative.squared_error(step, codes(zero_point, spec.quant_min))
    }
}
