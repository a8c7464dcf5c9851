//! A system of actix with as many arbiters as the work has workers.

use std::{future::poll_fn, task::Poll};

use actix_rt::{Arbiter, ArbiterHandle, System};
use tokio::runtime::{Builder, Runtime};

use crate::pin;

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
        arbiters.iter().for_each(|arbiter| assert!(arbiter.spawn(spin())));
    }
    system.block_on(main(arbiters.leak()))
}

fn runtime(setup: Setup) -> Runtime {
    let mut builder = Builder::new_current_thread();
    if setup.tuned {
        builder.enable_time()
    } else {
        builder.enable_all()
    };
    builder.build().expect("a runtime can be made")
}

/// Keeps an arbiter from going to sleep: a task that is always ready.
async fn spin() {
    poll_fn(|context| {
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
