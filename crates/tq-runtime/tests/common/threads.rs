//! Pools of threads that tests run in.

use std::sync::Once;

/// True where `TQ_SERIAL` is set, as by `cargo xtask test-vnni`: the machine has one thread and starts no other.
pub(crate) fn is_serial() -> bool {
    std::env::var_os("TQ_SERIAL").is_some_and(|value| !value.is_empty())
}

/// How many of so many random cases are run: a machine of one thread is an emulated one, where each takes seconds.
pub(crate) fn fewer(cases: u64) -> u64 {
    if is_serial() { cases.div_ceil(8) } else { cases }
}

/// Makes the calling thread the pool of all where there is no other; before the first session runs.
pub(crate) fn prepare() {
    static POOL: Once = Once::new();
    if is_serial() {
        POOL.call_once(|| {
            rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().unwrap();
        });
    }
}

/// Calls `f` in a pool of so many threads; on the calling one where there is no other.
pub(crate) fn on<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    if is_serial() {
        return f();
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}
