//! A handle on a node, for async code anywhere.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use flume::Receiver;

use crate::{
    actor::Actor,
    cluster::{self, WaitForPeer},
    contain::panic_text,
    core::Core,
    error::{AskError, ShutdownError, SpawnError},
    reference::ActorRef,
    stats::WorkerStats,
};

use super::{NodeShared, RunError, shutdown};

type Spawned<A> = Result<ActorRef<<A as Actor>::Protocol>, SpawnError>;

/// A handle on a node: cheap to clone, good on any thread and in any executor, and it blocks nobody.
/// It does not keep the node running.
#[derive(Clone)]
pub struct NodeHandle {
    shared: Arc<NodeShared>,
}

impl NodeHandle {
    pub(crate) fn new(shared: Arc<NodeShared>) -> Self {
        NodeHandle { shared }
    }

    pub(super) fn shared(&self) -> &NodeShared {
        &self.shared
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where the node listens, with the ports that were taken.
    pub fn endpoints(&self) -> &[String] {
        &self.shared.endpoints
    }

    /// How many workers the node has.
    pub fn workers(&self) -> usize {
        self.shared.entries.len()
    }

    /// Starts an actor on the worker that has the fewest.
    ///
    /// # Errors
    /// If that worker has too many actors, or the node shuts down.
    pub async fn spawn<A: Actor + Send>(
        &self,
        actor: A,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(self.shared.least_loaded(), move || actor).await
    }

    /// Starts an actor on a given worker.
    ///
    /// # Errors
    /// If there is no such worker, it has too many actors, or the node shuts down.
    pub async fn spawn_on<A: Actor + Send>(
        &self,
        worker: usize,
        actor: A,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(worker, move || actor).await
    }

    /// Starts an actor that is made on its worker, so that nothing of it has to be `Send`.
    ///
    /// # Errors
    /// As for [`spawn_on`](Self::spawn_on).
    pub async fn spawn_with<A: Actor>(
        &self,
        worker: usize,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        let spawned = self.start_spawn(worker, make)?;
        spawned.recv_async().await.unwrap_or(Err(SpawnError::ShuttingDown))
    }

    /// Runs a future on a worker. It runs whether this one is awaited to its end or not.
    ///
    /// # Errors
    /// If there is no such worker, the future panics, or the node shuts down first.
    pub async fn run_on<T: Send + 'static>(
        &self,
        worker: usize,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        self.start_run(worker, task)?.recv_async().await.map_err(|_| RunError::Ended)
    }

    /// Waits until a node is connected.
    ///
    /// # Errors
    /// [`AskError::Timeout`] if it is not within `patience`.
    pub async fn wait_for(&self, node: &str, patience: Duration) -> Result<(), AskError> {
        self.run_on(0, wait_for(node, patience)).await.unwrap_or(Err(AskError::Cancelled))
    }

    /// What each worker has done since it started, and what it holds now.
    ///
    /// # Errors
    /// If the node shuts down.
    pub async fn stats(&self) -> Result<Vec<WorkerStats>, RunError> {
        let mut stats = Vec::with_capacity(self.workers());
        for worker in self.start_stats() {
            stats.push(worker.recv_async().await.map_err(|_| RunError::Ended)?);
        }
        Ok(stats)
    }

    /// Ends the node in order, as [`Node::shutdown`](crate::Node::shutdown) does; but the threads may
    /// not have ended yet when this has. A future that a worker of the node itself runs is dropped
    /// with the node.
    ///
    /// # Errors
    /// If a step takes longer than what is left of `within`; what was left then is dropped.
    /// [`ShutdownError::WouldBlock`] in a handler of one of the node's actors, which would wait for
    /// itself: leave it to a task.
    pub async fn shutdown(&self, within: Duration) -> Result<(), ShutdownError> {
        let own = |core: &Rc<Core>| Arc::ptr_eq(&core.shared, &self.shared) && core.runs_actor();
        if Core::try_with(own) == Some(true) {
            return Err(ShutdownError::WouldBlock);
        }
        shutdown::gently(self, within).await
    }

    // --- What the blocking and the async methods share ---------------------------------------------

    pub(super) fn start_spawn<A: Actor>(
        &self,
        worker: usize,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<Receiver<Spawned<A>>, SpawnError> {
        let workers = self.workers();
        let make = move || {
            catch_unwind(AssertUnwindSafe(make)).map_err(|panic| {
                let panic = panic_text(&panic);
                tracing::error!(target: "annulus", panic, "making an actor panicked");
                SpawnError::Panicked
            })
        };
        self.call(worker, move |core| core.spawn(make()?))
            .ok_or(SpawnError::NoSuchWorker { worker, workers })
    }

    pub(super) fn start_run<T: Send + 'static>(
        &self,
        worker: usize,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<Receiver<T>, RunError> {
        let workers = self.workers();
        let entry = self.shared.entries.get(worker);
        let entry = entry.ok_or(RunError::NoSuchWorker { worker, workers })?;
        let (done, result) = flume::bounded(1);
        entry.run(move |core| {
            core.spawn_task(async move {
                // Nobody waits any more only if the asker is gone.
                let _ = done.send(task().await);
            });
        });
        Ok(result)
    }

    pub(super) fn start_stats(&self) -> Vec<Receiver<WorkerStats>> {
        (0..self.workers()).filter_map(|worker| self.call(worker, |core| core.stats())).collect()
    }

    /// Runs something on a worker; `None` if there is no such worker. Nothing is received if it has
    /// ended.
    fn call<T: Send + 'static>(
        &self,
        worker: usize,
        job: impl FnOnce(&Rc<Core>) -> T + Send + 'static,
    ) -> Option<Receiver<T>> {
        let (done, result) = flume::bounded(1);
        self.shared.entries.get(worker)?.run(move |core| {
            let _ = done.send(job(core));
        });
        Some(result)
    }
}

impl fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

/// What waits on a worker until a node is connected.
pub(super) fn wait_for(
    node: &str,
    patience: Duration,
) -> impl AsyncFnOnce() -> Result<(), AskError> + Send + 'static {
    let wait = WaitForPeer { name: node.into(), patience };
    async move || {
        let core = Core::current().ok_or(AskError::NoWorker)?;
        cluster::here(&core).ask(wait).within(patience).await.map(|_| ())
    }
}
