//! The search for the range that costs least.

use crate::Range;

/// How far below the ends of the data the search goes, in octaves.
const DEPTH: u32 = 12;
/// Steps an octave of the finest search.
const FINE: u32 = 128;
/// Starting points of the refinement.
const STARTS: usize = 3;

/// The best range `low..high` for `cost`, each end between that of the data and zero.
///
/// An end is the data's, times `2^-n * (1 - i/256)`. First every pair on a grid of `coarse` steps an octave is judged;
/// then, from the three best of them, ever smaller steps of either end and of both, until none is better. With
/// `symmetric` both ends move together. Of equally good ranges the first, and so the wider, is taken. An end on the
/// wrong side of zero does not move: parameters are chosen for the range that contains zero.
pub(crate) fn search(data: Range, symmetric: bool, coarse: u32, mut cost: impl FnMut(Range) -> f64) -> Range {
    let largest = data.max.max(-data.min);
    let at = |(low, high): (u32, u32)| {
        if symmetric {
            let end = shrunk(largest, high);
            Range { min: data.min.min(0.0).max(-end), max: data.max.max(0.0).min(end) }
        } else {
            Range { min: shrunk(data.min.min(0.0), low), max: shrunk(data.max.max(0.0), high) }
        }
    };
    let last = DEPTH * FINE;
    let (moves_low, moves_high) = (!symmetric && data.min < 0.0, symmetric || data.max > 0.0);
    let step = (FINE / coarse.clamp(1, FINE)) as usize;
    let places = |moves: bool| (0..=if moves { last } else { 0 }).step_by(step);
    let mut best: Vec<(f64, (u32, u32))> = Vec::new();
    for low in places(moves_low) {
        for high in places(moves_high) {
            best.push((cost(at((low, high))), (low, high)));
        }
    }
    // Stable: of equal costs the wider range stays first.
    best.sort_by(|a, b| a.0.total_cmp(&b.0));
    best.truncate(STARTS);
    for (cost_here, here) in &mut best {
        let mut step = step as u32 / 2;
        while step > 0 {
            let near = |x: u32, moves: bool| {
                let ends = if moves { [x, x.saturating_sub(step), (x + step).min(last)] } else { [x; 3] };
                ends.into_iter()
            };
            let (low, high) = *here;
            let mut better = None;
            for place in near(low, moves_low).flat_map(|l| near(high, moves_high).map(move |h| (l, h))) {
                if place == *here {
                    continue;
                }
                let cost = cost(at(place));
                if cost < better.map_or(*cost_here, |(c, _)| c) {
                    better = Some((cost, place));
                }
            }
            match better {
                Some(found) => (*cost_here, *here) = found,
                None => step /= 2,
            }
        }
    }
    best.sort_by(|a, b| a.0.total_cmp(&b.0));
    best.first().map_or(data, |(_, place)| at(*place))
}

/// `end` times `2^-(steps / 128) * (1 - (steps % 128) / 256)`: linear within an octave, so that it is exact.
fn shrunk(end: f32, steps: u32) -> f32 {
    let within = 1.0 - f64::from(steps % FINE) / f64::from(2 * FINE);
    (f64::from(end) * within / f64::from(1u32 << (steps / FINE))) as f32
}
