//! Nodes whose workers the caller drives, one turn at a time, on drivers of its own, in one thread.
//!
//! This is how a simulator runs a cluster: everything above the driver is what runs in production.

use std::time::Duration;

use annulus_transport::{
    driver::{DriverError, Mono},
    io::Io,
};

use crate::{entry::Entry, stats::WorkerStats, worker::Worker};

use super::{NodeBuilder, NodeError, NodeHandle, builder::Plan, life};

/// A node that has been made by [`NodeBuilder::host`].
#[derive(Debug)]
pub struct HostedNode {
    /// The way to the node from outside. Its futures end when the workers have had their turns.
    pub handle: NodeHandle,
    /// The workers, to be driven.
    pub workers: Vec<HostedWorker>,
}

/// A worker without a thread.
#[derive(Debug)]
pub struct HostedWorker {
    worker: Worker,
}

/// What a worker wants after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextTurn {
    /// The next turn at once.
    Now,
    /// A turn when something has completed, its doorbell has rung, or at this time.
    Parked(Option<Mono>),
    /// No turn any more: the node has shut down.
    Never,
}

impl HostedNode {
    pub(super) fn new(
        builder: &NodeBuilder,
        plan: Plan,
        drivers: Vec<Io>,
    ) -> Result<Self, NodeError> {
        let (entries, commands): (Vec<_>, Vec<_>) = drivers.iter().map(|_| Entry::new()).unzip();
        let mut reports = Vec::new();
        let mut bound = Vec::new();
        for (worker, io) in drivers.iter().enumerate() {
            entries[worker].set_doorbell(io.doorbell());
            let (sockets, report) = life::bind(io, plan.bindings(worker), Duration::ZERO)?;
            reports.push(report);
            bound.push(sockets);
        }
        let (shared, starts) = builder.share(plan, &reports, entries);
        let parts = drivers.into_iter().zip(bound).zip(starts).zip(commands).enumerate();
        let workers = parts.map(|(worker, (((io, sockets), start), commands))| {
            let core = life::begin(worker, start, io, sockets);
            HostedWorker { worker: Worker::new(core, commands, Some(Duration::ZERO)) }
        });
        let workers = workers.collect();
        Ok(HostedNode { handle: NodeHandle::new(shared), workers })
    }
}

impl HostedWorker {
    /// Takes in completions and does what there is to do, within the budget of a turn.
    ///
    /// # Errors
    /// If the driver has failed: the worker gets no more turns.
    pub fn turn(&mut self) -> Result<NextTurn, DriverError> {
        self.worker.turn()
    }

    /// What the worker has done since it started, and what it holds now.
    pub fn stats(&self) -> WorkerStats {
        self.worker.core().stats()
    }
}

impl Drop for HostedWorker {
    fn drop(&mut self) {
        life::end(self.worker.core());
    }
}
