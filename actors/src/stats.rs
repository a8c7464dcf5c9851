//! What a worker has done, in numbers.

use std::sync::atomic::Ordering;

use annulus_transport::driver::DriverCounters;

use crate::core::Core;

/// What a worker has done since it started, and what it holds now.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Actors that live.
    pub actors: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Messages that wait in mailboxes.
    pub mailbox_messages: usize,
    /// The bytes of their payloads.
    pub mailbox_bytes: usize,
    /// Links to workers of other nodes.
    pub links: usize,
    /// Messages that actors have handled.
    pub messages_handled: u64,
    /// Parcels taken in from other workers; one holds many messages under load.
    pub lane_parcels: u64,
    /// Asks that wait for their outcome.
    pub asks_open: usize,
    /// Watches of the worker's actors that are not over.
    pub watches: usize,
    /// Watchers that the worker's actors have, here or elsewhere.
    pub watchers: usize,
    /// Answers that came for asks that had ended.
    pub answers_late: u64,
    /// Messages that reached nobody.
    pub dead_letters: u64,
    /// Datagrams dropped by this worker.
    pub datagrams_dropped: u64,
    /// Bytes of message memory held now.
    pub message_memory: usize,
    /// The chunks that these bytes are in.
    pub chunks: usize,
    /// Operations that the driver has in flight.
    pub operations_in_flight: usize,
    /// System calls of the worker's loop.
    pub enters: u64,
    /// Times that the worker had nothing to do and slept in the kernel.
    pub parks: u64,
    /// Parks that nothing ended but the fuse, if there is one: see
    /// [`RingConfig::park_fuse`](annulus_transport::ring::RingConfig::park_fuse).
    pub fuses: u64,
    /// Times that something had been sent to the worker while it slept, and its doorbell was not rung. It is
    /// zero always, or there is a fault in annulus or the kernel; only with a fuse is it found, and the worker
    /// goes on then.
    pub wakeups_lost: u64,
    /// Operations started.
    pub operations: u64,
    /// MSG_RING operations sent to wake other workers.
    pub doorbells_rung: u64,
    /// MSG_RING operations that failed.
    pub doorbells_failed: u64,
    /// Times that this worker was woken by a doorbell.
    pub doorbells_heard: u64,
}

impl Core {
    pub(crate) fn stats(&self) -> WorkerStats {
        let DriverCounters {
            enters,
            parks,
            fuses,
            operations,
            doorbells_rung,
            doorbells_failed,
            doorbells_heard,
            ..
        } = self.io.counters();
        let (mailbox_messages, mailbox_bytes) = self.actors.waiting();
        WorkerStats {
            actors: self.actors.len(),
            tasks: self.tasks.len(),
            mailbox_messages,
            mailbox_bytes,
            links: self.links.len(),
            messages_handled: self.messages_handled.get(),
            lane_parcels: self.lanes.crossings(),
            asks_open: self.asks.len(),
            watches: self.watches.open(),
            watchers: self.watches.watchers(),
            answers_late: self.asks.late.get(),
            dead_letters: self.dead_letters.total(),
            datagrams_dropped: self.datagrams.dropped.get(),
            message_memory: self.pool.bytes_lent(),
            chunks: self.pool.chunks_lent(),
            operations_in_flight: self.io.in_flight(),
            enters,
            parks,
            fuses,
            wakeups_lost: self.entry().wakeups_lost.load(Ordering::Relaxed),
            operations,
            doorbells_rung: doorbells_rung + self.lanes.rung_early(),
            doorbells_failed,
            doorbells_heard,
        }
    }
}
