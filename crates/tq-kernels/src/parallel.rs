//! Splitting work over the ambient rayon pool. Small work stays serial and never touches the pool.

use rayon::prelude::*;
use std::cell::Cell;

thread_local! {
    static SERIAL: Cell<bool> = const { Cell::new(false) };
}

/// From so many grains a thread on, there are two tasks for it: that threads begin at different times costs more than another task.
const MUCH: usize = 16;

/// Runs `f` with every kernel called by this thread staying on this thread.
///
/// For emulators without threads and for single-thread measurements.
pub fn serially<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SERIAL.with(|s| s.set(self.0));
        }
    }
    let _restore = Restore(SERIAL.with(|s| s.replace(true)));
    f()
}

/// Into how many tasks work of `cost` is cut when each should cost at least `grain`: one per thread, or two where there is much work, as
/// threads do not all come at the same time.
pub(crate) fn task_count(cost: usize, grain: usize) -> usize {
    let by_cost = cost / grain.max(1);
    // The pool is not asked about before it is known to be needed: asking starts the global one.
    if by_cost < 2 || SERIAL.with(Cell::get) {
        return 1;
    }
    match rayon::current_num_threads() {
        1 => 1,
        threads if by_cost < threads.saturating_mul(MUCH) => by_cost.min(threads),
        threads => threads.saturating_mul(2),
    }
}

/// Calls `f(index of the first item, items)` on consecutive runs of items of `out`, each item `width` elements
/// long (the last may be shorter), in about `tasks` tasks whose lengths are multiples of `multiple` items.
pub(crate) fn for_each_run<T: Send>(
    out: &mut [T],
    width: usize,
    multiple: usize,
    tasks: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    let width = width.max(1);
    let items = out.len().div_ceil(width);
    let multiple = multiple.max(1);
    let run = items.div_ceil(tasks.max(1)).div_ceil(multiple).saturating_mul(multiple);
    if tasks <= 1 || run >= items {
        f(0, out);
        return;
    }
    out.par_chunks_mut(run * width).enumerate().for_each(|(i, chunk)| f(i * run, chunk));
}

/// Calls `f(index of the part, part)` for the consecutive parts of `out` that end at `ends`, or at its end where that comes before: several
/// at a time over the ambient pool where `out` is long enough to be worth threads.
///
/// # Errors
/// Those of `f`; which one where there are several is not said. Parts behind an error may be left as they are.
pub fn for_each_part<T: Send, E: Send>(
    out: &mut [T],
    ends: &[usize],
    f: &(impl Fn(usize, &mut [T]) -> Result<(), E> + Sync),
) -> Result<(), E> {
    /// Elements below which a task is not worth a thread.
    const GRAIN: usize = 16 * 1024;
    fn halves<T: Send, E: Send>(
        (out, start): (&mut [T], usize),
        (ends, first): (&[usize], usize),
        tasks: usize,
        f: &(impl Fn(usize, &mut [T]) -> Result<(), E> + Sync),
    ) -> Result<(), E> {
        if tasks > 1 && ends.len() > 1 {
            let (left_ends, right_ends) = ends.split_at(ends.len() / 2);
            let middle = left_ends.last().map_or(0, |end| end.saturating_sub(start)).min(out.len());
            let (left, right) = out.split_at_mut(middle);
            let behind = (right_ends, first + left_ends.len());
            let (a, b) = rayon::join(
                || halves((left, start), (left_ends, first), tasks / 2, f),
                || halves((right, start + middle), behind, tasks.div_ceil(2), f),
            );
            return a.and(b);
        }
        let (mut rest, mut start) = (out, start);
        for (i, end) in ends.iter().enumerate() {
            let (part, next) = rest.split_at_mut(end.saturating_sub(start).min(rest.len()));
            start += part.len();
            f(first + i, part)?;
            rest = next;
        }
        Ok(())
    }
    let tasks = task_count(out.len(), GRAIN);
    halves((out, 0), (ends, 0), tasks, f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_work_is_cut_finer() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for (grains, tasks) in [(0, 1), (1, 1), (2, 2), (31, 2), (32, 4), (1000, 4)] {
            assert_eq!(pool.install(|| task_count(grains * 100 + 99, 100)), tasks, "{grains} grains");
        }
        assert_eq!(pool.install(|| serially(|| task_count(1000, 1))), 1);
    }

    #[test]
    fn runs_cover_everything_once() {
        for (len, width, multiple, tasks) in [(100, 7, 3, 4), (5, 1, 1, 9), (64, 8, 4, 2), (1, 3, 2, 5)] {
            let mut out = vec![0u8; len];
            for_each_run(&mut out, width, multiple, tasks, |first, chunk| {
                assert_eq!(first % multiple, 0);
                for (i, x) in chunk.iter_mut().enumerate() {
                    *x += u8::try_from(first * width + i).unwrap() + 1;
                }
            });
            assert!(out.iter().enumerate().all(|(i, &x)| usize::from(x) == i + 1));
        }
    }

    #[test]
    fn parts_are_called_once_each_and_end_where_they_should() {
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for ends in [&[][..], &[200_000], &[0, 0, 7, 90_000, 90_000, 100_001, 250_000], &[5; 9]] {
                    let mut out = vec![9u8; 200_000];
                    let set = |i: usize, part: &mut [u8]| -> Result<(), usize> {
                        part.fill(i as u8);
                        if i == 8 { Err(part.len()) } else { Ok(()) }
                    };
                    let result = for_each_part(&mut out, ends, &set);
                    assert_eq!(result, if ends.len() == 9 { Err(0) } else { Ok(()) });
                    let part_of = |at: usize| ends.iter().position(|end| at < *end).unwrap_or(9) as u8;
                    assert!(out.iter().enumerate().all(|(at, &part)| part == part_of(at)), "{ends:?}");
                }
            });
        }
    }

    #[test]
    fn serial_work_is_one_task() {
        assert_eq!(serially(|| task_count(usize::MAX, 1)), 1);
        assert_eq!(task_count(10, 100), 1);
    }
}
