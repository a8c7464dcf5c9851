//! The end of a node, in order.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use flume::Receiver;

use crate::{
    actor::StopMode,
    actors::Ended,
    cluster::{self, Quiet},
    core::Core,
    error::ShutdownError,
    timers::{sleep, timeout},
};

use super::NodeHandle;

/// The steps. Each runs on all workers at the same time; the next one starts when it is done on all.
#[derive(Clone, Copy)]
enum Step {
    /// No new connections.
    Quieten,
    /// All actors of users end after what waits for them.
    Drain,
    /// Everything leaves.
    Flush,
    /// The other nodes have all of it and close their links.
    Part,
}

const STEPS: [Step; 4] = [Step::Quieten, Step::Drain, Step::Flush, Step::Part];

/// Whether a step went well on one worker, and how long it took.
type Report = (bool, Duration);

impl Step {
    async fn run(self, core: Rc<Core>, limit: Duration) -> bool {
        match self {
            Step::Quieten if core.worker() != 0 => true,
            Step::Quieten => cluster::here(&core).ask(Quiet).within(limit).await.is_ok(),
            Step::Drain => timeout(limit, core.drain_actors()).await.is_ok(),
            Step::Flush => timeout(limit, core.flush_everything()).await.is_ok(),
            Step::Part => timeout(limit, core.part_from_peers()).await.is_ok(),
        }
    }

    /// Starts the step on all workers.
    fn start(self, node: &NodeHandle, limit: Duration) -> Receiver<Report> {
        let (done, reports) = flume::unbounded();
        for entry in &node.shared().entries {
            let done = done.clone();
            entry.run(move |core| {
                let step = self.run(core.clone(), limit);
                core.spawn_task(async move {
                    let start = crate::now();
                    let well = step.await;
                    let _ = done.send((well, crate::now().since(start)));
                });
            });
        }
        reports
    }
}

/// Runs all steps and waits for them. They take `within` at most, all together.
#[allow(clippy::disallowed_methods, reason = "the thread that waits has no other clock")]
pub(super) fn blocking(node: &NodeHandle, within: Duration) -> Result<(), ShutdownError> {
    let begun = Instant::now();
    let left = || within.saturating_sub(begun.elapsed());
    let mut well = true;
    for step in STEPS {
        let reports = step.start(node, left());
        for _ in 0..node.workers() {
            // A worker that is stuck in a handler does not get to its step.
            well &= reports.recv_timeout(left()).is_ok_and(|(well, _)| well);
        }
    }
    end(node, well, within)
}

/// The same, for whoever must not block. A worker that is stuck in a handler is waited for.
pub(super) async fn gently(node: &NodeHandle, within: Duration) -> Result<(), ShutdownError> {
    let mut left = within;
    let mut well = true;
    for step in STEPS {
        let reports = step.start(node, left);
        let mut took = Some(Duration::ZERO);
        for _ in 0..node.workers() {
            let report = reports.recv_async().await.ok();
            took = took.and_then(|took| slowest(took, report));
        }
        well &= took.is_some();
        left = took.map_or(Duration::ZERO, |took| left.saturating_sub(took));
    }
    end(node, well, within)
}

fn slowest(so_far: Duration, report: Option<Report>) -> Option<Duration> {
    report.filter(|(well, _)| *well).map(|(_, took)| so_far.max(took))
}

fn end(node: &NodeHandle, well: bool, within: Duration) -> Result<(), ShutdownError> {
    node.shared().end_workers();
    if well { Ok(()) } else { Err(ShutdownError::TimedOut { within }) }
}

impl Core {
    /// Lets all actors of users end after what waits for them.
    async fn drain_actors(self: Rc<Self>) {
        self.ending.set(true);
        let system = self.shared.system_actors(self.worker());
        let actors = self.actors.all().into_iter();
        let users: Vec<_> = actors.filter(|cell| cell.address.slot().index() >= system).collect();
        for cell in &users {
            self.order_actor(cell.address, StopMode::Drain);
        }
        for cell in users {
            Ended(cell).await;
        }
    }

    /// Waits until nothing is queued for anybody else.
    async fn flush_everything(self: Rc<Self>) {
        while !(self.links.is_flushed() && self.lanes.is_flushed() && self.datagrams.is_flushed()) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
