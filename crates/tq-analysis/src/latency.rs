//! How long a model takes.

use std::time::{Duration, Instant};

/// How many runs are timed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyOptions {
    /// Runs before the clock counts: the first ones make plans and warm caches.
    pub warmup: usize,
    /// Fewest timed runs, however long they take.
    pub min_runs: usize,
    /// Most timed runs.
    pub max_runs: usize,
    /// After this time no run beyond `min_runs` begins.
    pub budget: Duration,
}

impl Default for LatencyOptions {
    fn default() -> Self {
        Self { warmup: 3, min_runs: 10, max_runs: 1000, budget: Duration::from_secs(2) }
    }
}

/// Run times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Latency {
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// One run in ten was faster.
    pub p10_ms: f64,
    /// Nine runs in ten were faster.
    pub p90_ms: f64,
    /// The fastest run.
    pub min_ms: f64,
    /// How many runs were timed.
    pub runs: usize,
}

impl Latency {
    /// The figures of these run times (nearest rank; the median of an even number is the mean of the middle two);
    /// all zero when there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let n = times.len();
        let ms = |i: usize| times.get(i).map_or(0.0, |d| d.as_secs_f64() * 1e3);
        let rank = |percent: usize| ms((percent * n).div_ceil(100).saturating_sub(1));
        Self {
            median_ms: if n == 0 { 0.0 } else { (ms((n - 1) / 2) + ms(n / 2)) / 2.0 },
            p10_ms: rank(10),
            p90_ms: rank(90),
            min_ms: ms(0),
            runs: n,
        }
    }
}

/// Times `run` again and again.
///
/// # Errors
/// The first error of `run`.
pub fn measure<E>(options: &LatencyOptions, mut run: impl FnMut() -> Result<(), E>) -> Result<Latency, E> {
    for _ in 0..options.warmup {
        run()?;
    }
    let (begin, mut times) = (Instant::now(), Vec::new());
    while more(options, times.len(), begin.elapsed()) {
        times.push(timed(&mut run)?);
    }
    Ok(Latency::of(times))
}

/// Times two things in turns, so that what else the machine does strikes both alike.
///
/// # Errors
/// The first error of `a` or `b`.
pub fn measure_pair<E>(
    options: &LatencyOptions,
    mut a: impl FnMut() -> Result<(), E>,
    mut b: impl FnMut() -> Result<(), E>,
) -> Result<(Latency, Latency), E> {
    for _ in 0..options.warmup {
        a()?;
        b()?;
    }
    let (begin, mut times_a, mut times_b) = (Instant::now(), Vec::new(), Vec::new());
    while more(options, times_a.len(), begin.elapsed()) {
        times_a.push(timed(&mut a)?);
        times_b.push(timed(&mut b)?);
    }
    Ok((Latency::of(times_a), Latency::of(times_b)))
}

fn more(options: &LatencyOptions, runs: usize, spent: Duration) -> bool {
    runs < options.min_runs || (runs < options.max_runs && spent < options.budget)
}

fn timed<E>(run: &mut impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let begin = Instant::now();
    run()?;
    Ok(begin.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let times = (1..=10).rev().map(Duration::from_millis).collect();
        let l = Latency::of(times);
        assert_eq!((l.min_ms, l.p10_ms, l.median_ms, l.p90_ms, l.runs), (1.0, 1.0, 5.5, 9.0, 10));
        let one = Latency::of(vec![Duration::from_millis(7)]);
        assert_eq!((one.min_ms, one.p10_ms, one.median_ms, one.p90_ms), (7.0, 7.0, 7.0, 7.0));
        assert_eq!(Latency::of(Vec::new()).median_ms, 0.0);
    }

    #[test]
    fn run_counts_follow_the_options() {
        let options = LatencyOptions { warmup: 2, min_runs: 4, max_runs: 9, budget: Duration::ZERO };
        let mut calls = 0;
        let l = measure::<()>(&options, || {
            calls += 1;
            Ok(())
        });
        assert_eq!((l.unwrap().runs, calls), (4, 6));
        let options = LatencyOptions { budget: Duration::from_secs(3600), ..options };
        let (a, b) = measure_pair::<()>(&options, || Ok(()), || Ok(())).unwrap();
        assert_eq!((a.runs, b.runs), (9, 9));
        assert_eq!(measure(&options, || Err("no")), Err("no"));
    }
}
