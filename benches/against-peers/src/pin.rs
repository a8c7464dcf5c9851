//! Which core a thread runs on: the first worker of every subject on the first core, the second one on
//! the second.

use std::sync::atomic::{AtomicUsize, Ordering};

use core_affinity::CoreId;

/// The most workers that a work has.
pub(crate) const WORKERS_MAX: usize = 2;

/// Keeps the calling thread, and the threads that it starts from now on, on one core.
///
/// # Panics
/// If there is no such core: the numbers would mean nothing.
pub(crate) fn to_core(core: usize) {
    assert!(
        core_affinity::set_for_current(CoreId { id: core }),
        "there is no core {core} to pin to"
    );
}

/// For the threads of a pool, in the order in which they start: each gets the next core.
pub(crate) fn next_of(workers: usize) -> impl Fn() + Send + Sync + 'static {
    let started = AtomicUsize::new(0);
    move || to_core(started.fetch_add(1, Ordering::Relaxed) % workers)
}
