//! Nodes: a process's part in a cluster.
//!
//! [`builder`](NodeBuilder) says what a node is to be. Its workers run on threads of their own, each
//! with its ring, or are driven by the caller, on drivers of the caller's: see [`host`].

mod builder;
mod error;
mod handle;
pub mod host;
mod life;
mod shutdown;
mod threads;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use annulus_codec::address::NodeId;

use crate::{
    actor::Actor,
    config::Limits,
    core::Core,
    entry::Entry,
    error::{AskError, ShutdownError, SpawnError},
    reference::ActorRef,
    stats::WorkerStats,
};

pub use self::{
    builder::{NodeBuilder, Pinning},
    error::{NodeError, RunError},
    handle::NodeHandle,
};

/// What all workers of a node share. Nothing of it changes, but for the loads.
pub(crate) struct NodeShared {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
    pub(crate) secret: Vec<u8>,
    /// When the node started, in nanoseconds since the Unix epoch.
    pub(crate) incarnation: u64,
    /// The same, as it stands in addresses.
    pub(crate) incarnation_tag: u32,
    /// Where the node listens, with the ports that were taken.
    pub(crate) endpoints: Vec<String>,
    pub(crate) datagrams: Vec<SocketAddr>,
    /// Whether workers that sleep are rung before what is for them is made: each has a core that no other worker of the
    /// node runs on.
    pub(crate) rings_ahead: bool,
    pub(crate) limits: Limits,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Actors on each worker.
    pub(crate) loads: Vec<AtomicUsize>,
}

impl NodeShared {
    /// How many of a worker's actors belong to the node itself. They are started first, so they have
    /// the first slots.
    pub(crate) fn system_actors(&self, worker: usize) -> usize {
        if worker == 0 { 3 } else { 1 }
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed));
        loads.enumerate().min_by_key(|(_, load)| *load).map_or(0, |(worker, _)| worker)
    }

    /// Tells all workers to end after the turn that they are in.
    fn end_workers(&self) {
        for entry in &self.entries {
            entry.run(|core| core.ended.set(true));
        }
    }
}

impl fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} ({} workers)", self.name, self.entries.len())
    }
}

/// A running node, for the thread that started it: its methods block that thread. Actors and other
/// async code use a [`handle`](Self::handle).
///
/// Dropping it ends the node without waiting for what is queued; see [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    threads: Vec<JoinHandle<()>>,
}

impl Node {
    /// Describes a node. Its name must be unique in its cluster.
    pub fn builder(name: impl Into<String>) -> NodeBuilder {
        NodeBuilder::new(name.into())
    }

    /// A handle on the node that blocks nobody, to be given away.
    pub fn handle(&self) -> NodeHandle {
        self.handle.clone()
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.handle.name()
    }

    /// Where the node listens, with the ports that were taken.
    pub fn endpoints(&self) -> &[String] {
        self.handle.endpoints()
    }

    /// How many workers the node has.
    pub fn workers(&self) -> usize {
        self.handle.workers()
    }

    /// Starts an actor on the worker that has the fewest.
    ///
    /// # Errors
    /// If that worker has too many actors, the node shuts down, or the thread is a worker's.
    pub fn spawn<A: Actor + Send>(&self, actor: A) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(self.handle.shared().least_loaded(), move || actor)
    }

    /// Starts an actor on a given worker.
    ///
    /// # Errors
    /// If there is no such worker, it has too many actors, the node shuts down, or the thread is a
    /// worker's.
    pub fn spawn_on<A: Actor + Send>(
        &self,
        worker: usize,
        actor: A,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(worker, move || actor)
    }

    /// Starts an actor that is made on its worker, so that nothing of it has to be `Send`.
    ///
    /// # Errors
    /// As for [`spawn_on`](Self::spawn_on).
    pub fn spawn_with<A: Actor>(
        &self,
        worker: usize,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        if on_worker() {
            return Err(SpawnError::WouldBlock);
        }
        let spawned = self.handle.start_spawn(worker, make)?;
        spawned.recv().unwrap_or(Err(SpawnError::ShuttingDown))
    }

    /// Runs a future on the node's first worker and waits for it. In it, references work, and
    /// [`sleep`](crate::sleep) and the like.
    ///
    /// # Errors
    /// If the future panics, the node shuts down first, or the thread is a worker's.
    pub fn run<T: Send + 'static>(
        &self,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        self.run_on(0, task)
    }

    /// Runs a future on a worker and waits for it.
    ///
    /// # Errors
    /// If there is no such worker, the future panics, the node shuts down first, or the thread is a
    /// worker's.
    pub fn run_on<T: Send + 'static>(
        &self,
        worker: usize,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        if on_worker() {
            return Err(RunError::WouldBlock);
        }
        self.handle.start_run(worker, task)?.recv().map_err(|_| RunError::Ended)
    }

    /// Waits until a node is connected.
    ///
    /// # Errors
    /// [`AskError::Timeout`] if it is not within `patience`.
    pub fn wait_for(&self, node: &str, patience: Duration) -> Result<(), AskError> {
        let wait = handle::wait_for(node, patience);
        match self.run(wait) {
            Ok(outcome) => outcome,
            Err(RunError::WouldBlock) => Err(AskError::WouldBlock),
            Err(_) => Err(AskError::Cancelled),
        }
    }

    /// What each worker has done since it started, and what it holds now.
    ///
    /// # Errors
    /// If the node shuts down, or the thread is a worker's.
    pub fn stats(&self) -> Result<Vec<WorkerStats>, RunError> {
        if on_worker() {
            return Err(RunError::WouldBlock);
        }
        let stats = self.handle.start_stats().into_iter();
        stats.map(|worker| worker.recv().map_err(|_| RunError::Ended)).collect()
    }

    /// Ends the node in order: no new connections, every actor drained, everything sent, all rings at
    /// rest, all threads ended.
    ///
    /// # Errors
    /// If that takes longer than `within`; what was left then has been dropped. If the thread is a
    /// worker's, the node is ended as when it is dropped.
    pub fn shutdown(mut self, within: Duration) -> Result<(), ShutdownError> {
        if on_worker() {
            return Err(ShutdownError::WouldBlock);
        }
        let result = shutdown::blocking(&self.handle, within);
        self.join_threads();
        result
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "annulus", "a worker's thread panicked");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.handle.shared().end_workers();
        // A worker cannot wait for itself, nor for one that waits for it: its threads end alone.
        if !on_worker() {
            self.join_threads();
        }
    }
}

/// Whether this thread is a worker's: it must not be blocked.
fn on_worker() -> bool {
    Core::try_with(|_| ()).is_some()
}
