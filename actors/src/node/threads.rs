//! A node on threads: one for each worker, each with its ring.

use std::{io, sync::Arc, thread::JoinHandle, time::Duration};

use annulus_transport::{
    io::Io,
    ring::{RingConfig, RingDoorbell, RingDriver, pin_to_core},
};

use crate::{
    entry::{Command, Entry},
    worker::Worker,
};

use super::{
    Node, NodeBuilder, NodeError, NodeHandle, NodeShared,
    builder::Plan,
    life::{self, BIND_PATIENCE, Bindings, Report, Start},
};

/// The settings that only threads have.
pub(super) struct Threads {
    pub(super) ring: RingConfig,
    pub(super) stack_size: usize,
    pub(super) spin: Option<Duration>,
}

/// What a worker's thread does first.
struct Prelude {
    worker: usize,
    ring: RingConfig,
    core_id: Option<usize>,
    bindings: Bindings,
    spin: Option<Duration>,
}

/// Starts all threads, and takes them together through the steps of their start.
pub(super) fn start(
    builder: &NodeBuilder,
    plan: Plan,
    settings: &Threads,
) -> Result<Node, NodeError> {
    let (entries, commands): (Vec<_>, Vec<_>) = (0..plan.workers).map(|_| Entry::new()).unzip();
    let mut steps = Vec::new();
    let mut threads = Vec::new();
    for (worker, commands) in commands.into_iter().enumerate() {
        let (ours, theirs) = Steps::new();
        let prelude = Prelude {
            worker,
            ring: settings.ring.clone(),
            core_id: plan.cores.get(worker).copied(),
            bindings: plan.bindings(worker),
            spin: settings.spin,
        };
        match spawn(settings.stack_size, prelude, theirs, commands) {
            Ok(thread) => threads.push(thread),
            Err(error) => return Err(give_up(steps, threads, NodeError::Thread(error))),
        }
        steps.push(ours);
    }
    let bells = match collect(&steps, |step| step.ringing.recv()) {
        Ok(bells) => bells,
        Err(error) => return Err(give_up(steps, threads, error)),
    };
    for step in &steps {
        // A worker that has a ring waits for this, and for the next one.
        let _ = step.bells.send(bells.clone());
    }
    let reports = match collect(&steps, |step| step.bound.recv()) {
        Ok(reports) => reports,
        Err(error) => return Err(give_up(steps, threads, error)),
    };
    let (shared, starts) = builder.share(plan, &reports, entries);
    for (step, start) in steps.iter().zip(starts) {
        let _ = step.start.send(start);
    }
    Ok(Node { handle: NodeHandle::new(shared), threads })
}

fn spawn(
    stack_size: usize,
    prelude: Prelude,
    steps: WorkerSteps,
    commands: flume::Receiver<Command>,
) -> io::Result<JoinHandle<()>> {
    let thread = std::thread::Builder::new().name(format!("annulus-{}", prelude.worker));
    thread.stack_size(stack_size).spawn(move || {
        let _ = run_worker(prelude, &steps, commands);
    })
}

type Bell = Arc<RingDoorbell>;

/// The steps of a worker's start, as the starting thread sees them: first all workers set up their
/// rings, then they learn of each other's and bind their sockets, then they go.
struct Steps {
    ringing: flume::Receiver<Result<Bell, NodeError>>,
    bells: flume::Sender<Vec<Bell>>,
    bound: flume::Receiver<Result<Report, NodeError>>,
    start: flume::Sender<Start>,
}

/// The same, as the worker sees them.
struct WorkerSteps {
    ringing: flume::Sender<Result<Bell, NodeError>>,
    bells: flume::Receiver<Vec<Bell>>,
    bound: flume::Sender<Result<Report, NodeError>>,
    start: flume::Receiver<Start>,
}

impl Steps {
    fn new() -> (Steps, WorkerSteps) {
        let (ringing, ringing_to) = flume::bounded(1);
        let (bells, bells_to) = flume::bounded(1);
        let (bound, bound_to) = flume::bounded(1);
        let (start, start_to) = flume::bounded(1);
        let ours = Steps { ringing: ringing_to, bells, bound: bound_to, start };
        (ours, WorkerSteps { ringing, bells: bells_to, bound, start: start_to })
    }
}

/// Ends what has been started of a node that cannot start.
fn give_up(steps: Vec<Steps>, threads: Vec<JoinHandle<()>>, error: NodeError) -> NodeError {
    drop(steps);
    for thread in threads {
        // Its panic, if there was one, has been reported; the first error says why.
        let _ = thread.join();
    }
    error
}

/// Waits for all workers; the first error wins, and the workers end by themselves.
fn collect<T>(
    steps: &[Steps],
    wait: impl Fn(&Steps) -> Result<Result<T, NodeError>, flume::RecvError>,
) -> Result<Vec<T>, NodeError> {
    let results = steps.iter().enumerate();
    results.map(|(worker, step)| wait(step).unwrap_or(Err(NodeError::WorkerLost(worker)))).collect()
}

/// A worker's thread. If the node does not start, the other ends of the steps are gone, and it ends.
fn run_worker(
    prelude: Prelude,
    steps: &WorkerSteps,
    commands: flume::Receiver<Command>,
) -> Option<()> {
    let (worker, spin) = (prelude.worker, prelude.spin);
    let mut driver = match set_up(&prelude) {
        Ok(driver) => driver,
        Err(error) => return steps.ringing.send(Err(error)).ok(),
    };
    let bell = driver.ring_bell();
    steps.ringing.send(Ok(bell.clone())).ok()?;
    let bells = steps.bells.recv().ok()?;
    let peers = bells.into_iter().enumerate();
    driver.set_peers(peers.map(|(at, bell)| (at != worker).then_some(bell)).collect());
    let io = Io::new(driver);
    let (sockets, report) = match life::bind(&io, prelude.bindings, BIND_PATIENCE) {
        Ok(bound) => bound,
        Err(error) => return steps.bound.send(Err(error)).ok(),
    };
    steps.bound.send(Ok(report)).ok()?;
    let start = steps.start.recv().ok()?;
    start.shared.entries[worker].set_doorbell(bell);
    let _last = EndsNode(start.shared.clone());
    let core = life::begin(worker, start, io, sockets);
    if let Err(error) = Worker::new(core.clone(), commands, spin).run() {
        tracing::error!(target: "annulus", worker, %error, "a worker has failed: the node ends");
    }
    life::end(&core);
    Some(())
}

/// A node does not go on without one of its workers, however that one came to its end.
struct EndsNode(Arc<NodeShared>);

impl Drop for EndsNode {
    fn drop(&mut self) {
        self.0.end_workers();
    }
}

fn set_up(prelude: &Prelude) -> Result<RingDriver, NodeError> {
    if let Some(core) = prelude.core_id {
        pin_to_core(core)
            .map_err(|error| NodeError::Setting(format!("cannot pin to core {core}: {error}")))?;
    }
    RingDriver::new(&prelude.ring).map_err(NodeError::Ring)
}
