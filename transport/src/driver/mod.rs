//! The seam between a worker and the outside.
//!
//! A worker does nothing by itself that reaches beyond its own memory: it asks its [`Driver`]. There
//! is one on io_uring (see [`ring`](crate::ring)); a simulator can stand in its place.
//!
//! What goes through the seam is in modules of its own, and named here: operations and what they come to
//! in `operation`, their buffers in `memory`, open files and sockets in `descriptor`, time in `clock`.
//!
//! # How an operation runs
//!
//! [`Driver::start`] takes an [`Operation`] and everything that belongs to it: buffers, addresses,
//! descriptors. The driver owns all that until the *last* completion is in, so no caller can free what
//! the kernel still writes to. [`Driver::poll`] hands the completion out, once; the buffers come back
//! in it. [`Driver::forget`] cancels an operation that nobody waits for any more: its buffers are
//! freed by the driver, later, when the kernel is done with them.
//!
//! A contract for both drivers: completions come in any order; sends and receives may be short; a
//! multishot operation may end at any time; a cancel may lose the race against the completion.

mod clock;
mod descriptor;
mod memory;
mod operation;

use std::{
    fmt, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

pub use self::{
    clock::Mono,
    descriptor::{Descriptor, Detached, Simulated},
    memory::{Data, Fill, MAX_PIECES},
    operation::{
        Cause, Operation, OperationError, OperationKey, OperationName, Output, PeerAddress,
    },
};
use crate::endpoint::Endpoint;

/// How long [`Driver::enter`] may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// Until a completion, a doorbell, or this time. `None`: no time limit.
    Until(Option<Mono>),
}

/// A fault of the driver itself, after which the worker cannot go on.
#[derive(Debug)]
pub struct DriverError {
    /// What the worker was doing.
    pub doing: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.source)
    }
}

impl std::error::Error for DriverError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Operations that were still in flight when the driver had to stop. Their memory is never freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// How many.
    pub operations: usize,
}

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations did not end in time; their buffers are leaked", self.operations)
    }
}

impl std::error::Error for Abandoned {}

/// Wakes a worker that is parked in its driver, from any thread.
pub trait Doorbell: Send + Sync {
    /// Makes the worker's current or next wait end. Never blocks.
    fn ring(&self);
}

/// Counters of a driver, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// System calls that submit, wait, or both.
    pub enters: u64,
    /// Operations started.
    pub operations: u64,
    /// Doorbells rung for other workers: MSG_RING operations.
    pub doorbells_rung: u64,
    /// Doorbells that failed, because the other ring was gone or had no room.
    pub doorbells_failed: u64,
    /// Doorbells that came in.
    pub doorbells_heard: u64,
    /// Completions for operations that had been forgotten or were never known.
    pub strays: u64,
    /// Times that the worker was about to sleep in the kernel until something comes.
    pub parks: u64,
    /// Parks that nothing ended but the fuse, if there is one: see
    /// [`RingConfig::park_fuse`](crate::ring::RingConfig::park_fuse).
    pub fuses: u64,
}

/// A worker's only way to the outside. See the [module](self).
pub trait Driver {
    /// Starts an operation. If `deadline` passes first, it fails with [`Cause::TimedOut`]; that is
    /// not possible for [`Operation::Accept`]. If the kernel has no memory for the deadline, the
    /// operation does not go on without: it fails with `ENOMEM`.
    ///
    /// It never fails at once: errors come as completions.
    fn start(&mut self, operation: Operation, deadline: Option<Duration>) -> OperationKey;

    /// Takes the completion of an operation, or leaves the waker to be woken when there is one. After
    /// a completion the key is out of date, except for [`Operation::Accept`], which goes on until it
    /// fails.
    ///
    /// # Panics
    /// If the key is out of date: that is a fault of the caller.
    fn poll(&mut self, key: OperationKey, waker: &Waker) -> Poll<Result<Output, OperationError>>;

    /// Gives an operation up: cancels it if it is in flight, and frees what it owns when the kernel
    /// is done with it. A connection or file that it still brings is closed.
    fn forget(&mut self, key: OperationKey);

    /// The waker that the last [`poll`](Self::poll) or [`forget`](Self::forget) made useless. To drop
    /// it may run user code, which may call the driver: so the caller drops it, when it has let go of
    /// the driver.
    fn retired(&mut self) -> Option<Waker> {
        None
    }

    /// Submits what has been started, waits as `wait` says, and takes in all completions. Their
    /// wakers are put into `woken`, to be woken by the caller.
    ///
    /// # Errors
    /// Only for faults after which the driver is of no more use.
    fn enter(&mut self, wait: Wait, woken: &mut Vec<Waker>) -> Result<(), DriverError>;

    /// Whether [`enter`](Self::enter) would find something to do, without waiting. It is cheap: workers that
    /// spin ask all the time.
    fn has_news(&mut self) -> bool;

    /// Rings the doorbell of another worker of the node with the next [`enter`](Self::enter).
    fn ring_doorbell(&mut self, worker: usize);

    /// Whether a [`Doorbell`] that is rung by a thread itself wakes a worker no later than one that is rung with
    /// [`ring_doorbell`](Self::ring_doorbell).
    fn rings_at_once(&self) -> bool;

    /// This worker's own doorbell, for other threads.
    fn doorbell(&self) -> Arc<dyn Doorbell>;

    /// Operations in flight.
    fn in_flight(&self) -> usize;

    /// [`DriverCounters::fuses`], which is asked for after each wait; `None` if no wait is ended by a fuse.
    fn fuses(&self) -> Option<u64>;

    /// Counters since the start.
    fn counters(&self) -> DriverCounters;

    /// Cancels everything in flight and takes in completions until none is left or `patience` is over.
    ///
    /// # Errors
    /// With the number of operations that had to be left behind.
    fn quiesce(&mut self, patience: Duration) -> Result<(), Abandoned>;

    /// A stream socket that suits the endpoint, not connected yet.
    ///
    /// # Errors
    /// As socket(2).
    fn stream_socket(&mut self, to: &Endpoint) -> io::Result<Descriptor>;

    /// A listening stream socket, and the endpoint that it is bound to: the port is filled in if it
    /// was zero.
    ///
    /// The path of a Unix socket is kept from other listeners, with a lock on the file `<path>.lock`,
    /// until [`remove_socket`](Self::remove_socket) or the end of the driver. A socket that a dead
    /// process has left there is replaced. Neither waits for anybody, but both ask the file system: so
    /// this is for a start.
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2), and for the lock file as open(2) and flock(2).
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody listens there.
    fn listen(&mut self, at: &Endpoint, backlog: u32) -> io::Result<(Descriptor, Endpoint)>;

    /// A bound datagram socket with room for about `buffer` bytes in each direction, and the address
    /// that it is bound to.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    fn datagram_socket(
        &mut self,
        at: SocketAddr,
        buffer: usize,
    ) -> io::Result<(Descriptor, SocketAddr)>;

    /// Who is at the other end of a connection over IP.
    ///
    /// # Errors
    /// As getpeername(2); `EAFNOSUPPORT` for a Unix socket.
    fn peer_address(&mut self, socket: &Descriptor) -> io::Result<SocketAddr>;

    /// Removes the path of a Unix socket that this driver bound, unless it leads to another socket by
    /// now, and lets other listeners have it. The socket must still be open.
    ///
    /// # Errors
    /// As unlink(2); [`NotFound`](io::ErrorKind::NotFound) if the driver has not bound this path.
    fn remove_socket(&mut self, path: &Path) -> io::Result<()>;

    /// The time now.
    fn now(&self) -> Mono;

    /// The time since the Unix epoch. For names of incarnations and for logs, never for deadlines.
    fn wall(&self) -> Duration;

    /// Random bytes that nobody can guess.
    fn entropy(&mut self, out: &mut [u8]);
}
