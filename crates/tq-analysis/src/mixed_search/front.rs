//! The assignments of least noise for their cost, and the walk along them.

use super::bench::Bench;
use super::layers::{Choice, Layers, uniform};
use super::{Budget, SearchPoint};
use crate::AnalysisError;
use std::collections::BTreeMap;

/// One layer made cheaper.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    layer: usize,
    candidate: usize,
    /// Cost that is saved, above zero.
    saved: f64,
    /// Noise that is added for it.
    added: f64,
}

/// Assignments from the most faithful to the cheapest, and those of them that have been measured.
pub(super) struct Front<'a> {
    bench: &'a Bench<'a>,
    layers: &'a Layers,
    budget: Budget,
    start: Vec<usize>,
    steps: Vec<Step>,
    /// Measured points by the number of steps taken.
    measured: BTreeMap<usize, SearchPoint>,
    uniform: Vec<SearchPoint>,
}

impl<'a> Front<'a> {
    pub(super) fn new(bench: &'a Bench<'a>, layers: &'a Layers, budget: Budget) -> Self {
        let (mut start, mut steps) = (Vec::new(), Vec::new());
        for (i, layer) in layers.layers.iter().enumerate() {
            let hull = hull(&layer.choices);
            start.extend(hull.first().map(|c| c.candidate));
            steps.extend(hull.windows(2).map(|pair| Step {
                layer: i,
                candidate: pair[1].candidate,
                saved: pair[0].cost - pair[1].cost,
                added: pair[1].noise - pair[0].noise,
            }));
        }
        // Least noise for what is saved first. Steps of one layer are in that order already, as its hull is convex; the sort
        // is stable, so that equal ones stay so.
        steps.sort_by(|a, b| (a.added / a.saved).total_cmp(&(b.added / b.saved)));
        Self { bench, layers, budget, start, steps, measured: BTreeMap::new(), uniform: Vec::new() }
    }

    fn timed(&self) -> bool {
        matches!(self.budget, Budget::Latency(_))
    }

    fn left(&self) -> usize {
        self.bench.options.measurements.saturating_sub(self.measured.len() + self.uniform.len())
    }

    /// Measures one candidate for all layers, where that can be done.
    pub(super) fn measure_uniform(
        &mut self,
        candidate: usize,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), AnalysisError> {
        let options = self.bench.options;
        let name = format!("all {}", options.candidates[candidate].name);
        progress(&name);
        let configuration = uniform(options, candidate);
        // What the candidate does not quantize is in float.
        let float = options.candidates.iter().position(|c| c.qconfig.is_none());
        let of = |choices: &[Choice]| {
            choices.iter().find(|c| c.candidate == candidate).map_or(float, |c| Some(c.candidate))
        };
        let layers = self.layers.layers.iter().map(|l| {
            let name = of(&l.choices).map_or("float", |c| options.candidates[c].name.as_str());
            (l.node.clone(), name.to_owned())
        });
        let layers = layers.collect();
        let measured = self.bench.measure(&configuration, self.timed())?;
        self.uniform.push(point(name, layers, configuration, &measured));
        Ok(())
    }

    /// Finds by halving where the budget begins to be kept (of a cost) or ceases to be (of a drop).
    pub(super) fn approach_budget(&mut self, progress: &mut impl FnMut(&str)) -> Result<(), AnalysisError> {
        let (mut low, mut high) = (0, self.steps.len());
        // A quarter of the measurements shows the rest of the front.
        let spare = self.bench.options.measurements / 4;
        while low <= high && self.left() > spare {
            let middle = low + (high - low) / 2;
            let point = self.at(middle, progress)?;
            let go_on = match self.budget {
                Budget::Drop(most) => point.drop <= most && !point.sqnr_db.is_nan(),
                Budget::Bytes(most) => point.bytes > most,
                Budget::Latency(most) => point.latency_ms.is_none_or(|ms| ms > most),
            };
            if go_on {
                low = middle + 1;
            } else if middle == 0 {
                break;
            } else {
                high = middle - 1;
            }
        }
        Ok(())
    }

    /// Measures between the points that are furthest apart, until nothing is left to measure or to spend.
    pub(super) fn fill(&mut self, progress: &mut impl FnMut(&str)) -> Result<(), AnalysisError> {
        for end in [0, self.steps.len()] {
            if self.left() > 0 {
                self.at(end, progress)?;
            }
        }
        while self.left() > 0 {
            let places: Vec<usize> = self.measured.keys().copied().collect();
            let widest = places.windows(2).map(|p| (self.saved(p[0], p[1]), p[0], p[1]));
            let widest = widest.filter(|(_, a, b)| b - a > 1).max_by(|a, b| a.0.total_cmp(&b.0));
            let Some((all, from, to)) = widest else { break };
            // The step by which half of what is saved between them has been saved.
            let half = (from + 1..to).find(|k| self.saved(from, *k) * 2.0 >= all).unwrap_or(to - 1);
            self.at(half, progress)?;
        }
        Ok(())
    }

    fn saved(&self, from: usize, to: usize) -> f64 {
        self.steps[from..to].iter().map(|s| s.saved).sum()
    }

    /// The assignment after so many steps, measured.
    fn at(&mut self, steps: usize, progress: &mut impl FnMut(&str)) -> Result<SearchPoint, AnalysisError> {
        if let Some(point) = self.measured.get(&steps) {
            return Ok(point.clone());
        }
        let mut chosen = self.start.clone();
        self.steps[..steps].iter().for_each(|s| chosen[s.layer] = s.candidate);
        let candidates = &self.bench.options.candidates;
        let count = |c: usize| chosen.iter().filter(|x| **x == c).count();
        let counts: Vec<String> = (0..candidates.len())
            .filter(|c| count(*c) > 0)
            .map(|c| format!("{} {}", count(c), candidates[c].name))
            .collect();
        let name = counts.join(", ");
        progress(&name);
        let named =
            |(layer, c): (&super::layers::Layer, &usize)| (layer.node.clone(), candidates[*c].name.clone());
        let layers = self.layers.layers.iter().zip(&chosen).map(named).collect();
        let configuration = self.layers.configuration(self.bench.options, &chosen);
        let measured = self.bench.measure(&configuration, self.timed())?;
        let point = point(name, layers, configuration, &measured);
        self.measured.insert(steps, point.clone());
        Ok(point)
    }

    pub(super) fn into_points(self) -> Vec<SearchPoint> {
        self.uniform.into_iter().chain(self.measured.into_values()).collect()
    }
}

fn point(
    name: String,
    layers: Vec<(String, String)>,
    configuration: tq_passes::Configuration,
    measured: &super::bench::Measured,
) -> SearchPoint {
    let figures = measured.kept.fidelity.figures();
    let (drop, drop_error) = measured.kept.changed().drop();
    SearchPoint {
        name,
        layers,
        bytes: measured.bytes,
        drop: drop * 100.0,
        drop_error: drop_error * 100.0,
        sqnr_db: figures.sqnr_db,
        agreement: figures.agreement,
        latency_ms: measured.latency_ms,
        pareto: false,
        configuration,
    }
}

/// The lower convex hull of (cost, noise), from the least noise on to the least cost.
fn hull(choices: &[Choice]) -> Vec<Choice> {
    let mut sorted = choices.to_vec();
    // The cheapest of equal noise first, so that the others are no steps.
    sorted.sort_by(|a, b| a.noise.total_cmp(&b.noise).then(a.cost.total_cmp(&b.cost)));
    let mut hull: Vec<Choice> = Vec::new();
    for c in sorted {
        if hull.last().is_some_and(|last| c.cost >= last.cost) {
            continue;
        }
        while let [.., a, b] = hull[..] {
            // b is above the line from a to c.
            let slope = |p: Choice, q: Choice| (q.noise - p.noise) / (p.cost - q.cost);
            if slope(a, b) < slope(b, c) {
                break;
            }
            hull.pop();
        }
        hull.push(c);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(candidate: usize, cost: f64, noise: f64) -> Choice {
        Choice { candidate, cost, noise }
    }

    #[test]
    fn a_hull_has_what_is_worth_its_cost() {
        let all = [
            choice(0, 32.0, 0.0),
            choice(1, 8.0, 1.0),
            choice(2, 4.0, 10.0),
            // Dearer and worse than candidate 1; then above the line from 0 to 1.
            choice(3, 9.0, 2.0),
            choice(4, 20.0, 0.9),
        ];
        let names = |choices: &[Choice]| hull(choices).iter().map(|c| c.candidate).collect::<Vec<_>>();
        assert_eq!(names(&all), [0, 1, 2]);
        assert_eq!(names(&all[1..3]), [1, 2]);
        // One that costs less and errs less is the only one.
        assert_eq!(names(&[choice(0, 5.0, 1.0), choice(1, 4.0, 0.5)]), [1]);
        // Noise without end is the last step, not the first.
        assert_eq!(names(&[choice(0, 8.0, 0.1), choice(1, 4.0, f64::INFINITY)]), [0, 1]);
    }
}
