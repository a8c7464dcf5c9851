//! The tokio runtimes that kameo, ractor, xtra and raw tokio tasks run on.

use std::{
    future::{Future, pending},
    sync::mpsc,
    thread,
};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{pin, works::Work};

use super::spin::spin;

/// What kind of runtime it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// As `#[tokio::main]` makes it, with as many threads as the work has workers. Where a work is about
    /// two places there are two runtimes of one thread each.
    Default,
    /// One runtime of one thread for each worker, without a driver for I/O: nobody pays for asking it.
    OnePerThread,
}

/// Where actors can be started: the runtime of each worker. With a runtime of several threads, that one
/// for all workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places(&'static [Handle]);

impl Places {
    pub(crate) fn of(self, worker: usize) -> &'static Handle {
        &self.0[worker]
    }

    /// Calls `make` in the runtime of a worker.
    pub(crate) async fn make_on<T: Send + 'static, M>(self, worker: usize, make: M) -> T
    where
        M: Future<Output = T> + Send + 'static,
    {
        self.of(worker).spawn(make).await.expect("making an actor does not panic")
    }
}

/// Runs a future on the thread that calls this, on the runtime of the first worker.
pub(crate) fn block_on<T>(flavor: Flavor, work: Work, main: impl AsyncFnOnce(Places) -> T) -> T {
    let shared = flavor == Flavor::Default && !work.needs_two_places() && work.workers() > 1;
    let first = if flavor == Flavor::Default && !work.needs_two_places() {
        several_threads(work.workers())
    } else {
        one_thread(flavor, work)
    };
    let mut handles = vec![first.handle().clone()];
    for worker in 1..work.workers() {
        let handle = if shared { handles[0].clone() } else { on_thread(flavor, work, worker) };
        handles.push(handle);
    }
    if work.spins() {
        handles.iter().for_each(|handle| drop(handle.spawn(spin())));
    }
    first.block_on(main(Places(handles.leak())))
}

fn several_threads(workers: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).on_thread_start(pin::next_of(workers)).enable_all();
    builder.build().expect("a runtime can be made")
}

/// While it spins, it looks at what other threads have sent after each task.
fn one_thread(flavor: Flavor, work: Work) -> Runtime {
    let mut builder = Builder::new_current_thread();
    match flavor {
        Flavor::Default => builder.enable_all(),
        Flavor::OnePerThread => builder.enable_time(),
    };
    if work.spins() {
        builder.global_queue_interval(1);
    }
    builder.build().expect("a runtime can be made")
}

/// A runtime on a thread of its own, which lasts as long as the process.
fn on_thread(flavor: Flavor, work: Work, worker: usize) -> Handle {
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        pin::to_core(worker);
        let runtime = one_thread(flavor, work);
        give.send(runtime.handle().clone()).expect("the handle is waited for");
        runtime.block_on(pending::<()>());
    });
    take.recv().expect("the runtime comes up")
}
