//! A system of actix with as many arbiters as the work has workers.

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::{Builder, Runtime};

use crate::{pin, subjects::spin::spin};

/// Tasks that run before an arbiter that spins looks at what other threads have sent. Measured: fewer
/// and more make asks slower.
const LOOK_EVERY: u32 = 4;

/// How arbiters are set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) tuned: bool,
    pub(crate) spins: bool,
}

/// Runs a future on the first arbiter, which is the thread that calls this.
pub(crate) fn block_on<T>(
    setup: Setup,
    workers: usize,
    main: impl AsyncFnOnce(&'static [ArbiterHandle]) -> T,
) -> T {
    let system = System::with_tokio_rt(move || runtime(setup));
    let mut arbiters = vec![System::current().arbiter().clone()];
    for worker in 1..workers {
        let arbiter = Arbiter::with_tokio_rt(move || runtime(setup));
        arbiter.spawn_fn(move || pin::to_core(worker));
        arbiters.push(arbiter.handle());
    }
    if setup.spins {
        arbiters.iter().for_each(|arbiter| keep_awake(setup, arbiter));
    }
    system.block_on(main(arbiters.leak()))
}

/// Keeps an arbiter from going to sleep. It answers sooner if the task that does so is not among the
/// arbiter's own.
fn keep_awake(setup: Setup, arbiter: &ArbiterHandle) {
    let sent = if setup.tuned {
        arbiter.spawn_fn(|| drop(tokio::spawn(spin())))
    } else {
        arbiter.spawn(spin())
    };
    assert!(sent, "the arbiter is there");
}

fn runtime(setup: Setup) -> Runtime {
    let mut builder = Builder::new_current_thread();
    if setup.tuned {
        builder.enable_time()
    } else {
        builder.enable_all()
    };
    if setup.tuned && setup.spins {
        builder.event_interval(LOOK_EVERY).global_queue_interval(LOOK_EVERY);
    }
    builder.build().expect("a runtime can be made")
}
