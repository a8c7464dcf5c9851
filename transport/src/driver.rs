//! The seam between a worker and the outside.
//!
//! A worker does nothing by itself that reaches beyond its own memory: it asks its [`Driver`]. There
//! is one on io_uring (see [`ring`](crate::ring)); a simulator can stand in its place.
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

use std::{
    ffi::CString,
    fmt, io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::Path,
    rc::Rc,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use annulus_codec::chunk::{ChunkWriter, Lease};

use crate::endpoint::Endpoint;

/// A point on the worker's monotonic clock, in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The point `duration` later; the end of time if that is beyond it.
    pub fn after(self, duration: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// An open file or socket. Clones share it; it is closed when the last one is dropped, and every
/// operation in flight holds one.
#[derive(Clone, Debug)]
pub struct Descriptor(Rc<Detached>);

/// A [`Descriptor`] without other owners, on its way to another thread.
#[derive(Debug)]
pub enum Detached {
    /// A descriptor of the operating system.
    Os(OwnedFd),
    /// A descriptor of a simulated world.
    Simulated(u64),
}

impl Descriptor {
    /// Takes over a descriptor.
    pub fn new(detached: Detached) -> Self {
        Descriptor(Rc::new(detached))
    }

    /// What it is.
    pub fn inner(&self) -> &Detached {
        &self.0
    }

    /// Detaches it from this thread.
    ///
    /// # Errors
    /// It comes back if others share it: operations in flight, for example.
    pub fn detach(self) -> Result<Detached, Descriptor> {
        Rc::try_unwrap(self.0).map_err(Descriptor)
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Descriptor::new(Detached::Os(fd))
    }
}

/// Memory for incoming bytes.
#[derive(Debug)]
pub enum Fill {
    /// The free end of a chunk. The driver commits what has arrived.
    Chunk(ChunkWriter),
    /// The spare capacity of a vector. The driver extends its length by what has arrived.
    Bytes(Vec<u8>),
}

impl Fill {
    /// The chunk, if it is one.
    pub fn into_chunk(self) -> Option<ChunkWriter> {
        match self {
            Fill::Chunk(chunk) => Some(chunk),
            Fill::Bytes(_) => None,
        }
    }

    /// The vector, if it is one.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        match self {
            Fill::Bytes(bytes) => Some(bytes),
            Fill::Chunk(_) => None,
        }
    }
}

/// Outgoing bytes.
#[derive(Debug)]
pub enum Data {
    /// Leases, gathered in order; at most [`MAX_PIECES`].
    Leases(Vec<Lease>),
    /// One vector.
    Bytes(Vec<u8>),
}

impl Data {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        match self {
            Data::Leases(leases) => leases.iter().map(|lease| lease.len()).sum(),
            Data::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many pieces one operation gathers at most.
pub const MAX_PIECES: usize = 64;

/// The other end of a datagram.
pub type PeerAddress = SocketAddr;

/// What can be asked of the outside.
#[derive(Debug)]
pub enum Operation {
    /// Accepts connections until it is forgotten or fails; each is an [`Output::Accepted`].
    Accept {
        /// A listening socket.
        listener: Descriptor,
    },
    /// Connects a stream socket.
    Connect {
        /// A socket made by [`Driver::stream_socket`] for this endpoint.
        socket: Descriptor,
        /// Where to.
        to: Endpoint,
    },
    /// Receives some bytes: at least one, unless the stream has ended.
    Receive {
        /// A connected stream.
        socket: Descriptor,
        /// Where they go.
        into: Fill,
    },
    /// Sends all the bytes, or fails.
    Send {
        /// A connected stream.
        socket: Descriptor,
        /// What to send.
        data: Data,
    },
    /// Receives one datagram.
    ReceiveFrom {
        /// A datagram socket.
        socket: Descriptor,
        /// Where it goes.
        into: Fill,
    },
    /// Sends one datagram.
    SendTo {
        /// A datagram socket.
        socket: Descriptor,
        /// Where to.
        to: PeerAddress,
        /// What to send.
        data: Data,
    },
    /// Ends the sending direction of a stream, so that the other side sees its end.
    Shutdown {
        /// A connected stream.
        socket: Descriptor,
    },
    /// Opens a file.
    Open {
        /// Which.
        path: CString,
        /// `O_*` flags of open(2); `O_CLOEXEC` is added.
        flags: i32,
        /// The permission bits of a file that this creates.
        mode: u32,
    },
    /// Reads bytes of a file: fewer than asked for at its end, none beyond it.
    Read {
        /// An open file.
        file: Descriptor,
        /// Where they go.
        into: Fill,
        /// How many at most. Never more than the room there is; if there is none though `len` is not
        /// zero, it fails with `ENOBUFS`.
        len: usize,
        /// Where in the file, in bytes from its start.
        offset: u64,
    },
    /// Writes bytes to a file. May be short: see [`Output::Written`].
    Write {
        /// An open file.
        file: Descriptor,
        /// What to write.
        data: Data,
        /// Where in the file, in bytes from its start.
        offset: u64,
    },
    /// Makes what has been written to a file durable: fsync(2), or fdatasync(2).
    Sync {
        /// An open file.
        file: Descriptor,
        /// Whether metadata that reading does not need may be left out.
        data_only: bool,
    },
    /// Asks for the length of a file, in bytes.
    Length {
        /// An open file.
        file: Descriptor,
    },
}

impl Operation {
    /// The operation's name, for errors.
    pub fn name(&self) -> OperationName {
        match self {
            Operation::Accept { .. } => OperationName::Accept,
            Operation::Connect { .. } => OperationName::Connect,
            Operation::Receive { .. } => OperationName::Receive,
            Operation::Send { .. } => OperationName::Send,
            Operation::ReceiveFrom { .. } => OperationName::ReceiveFrom,
            Operation::SendTo { .. } => OperationName::SendTo,
            Operation::Shutdown { .. } => OperationName::Shutdown,
            Operation::Open { .. } => OperationName::Open,
            Operation::Read { .. } => OperationName::Read,
            Operation::Write { .. } => OperationName::Write,
            Operation::Sync { .. } => OperationName::Sync,
            Operation::Length { .. } => OperationName::Length,
        }
    }
}

/// The kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "see the variants of `Operation` with the same names")]
pub enum OperationName {
    Accept,
    Connect,
    Receive,
    Send,
    ReceiveFrom,
    SendTo,
    Shutdown,
    Open,
    Read,
    Write,
    Sync,
    Length,
}

/// What an operation came to.
#[derive(Debug)]
pub enum Output {
    /// A connection came in.
    Accepted(Descriptor),
    /// The connection stands.
    Connected,
    /// Bytes came in.
    Received {
        /// The memory given, with the bytes committed.
        into: Fill,
        /// How many; zero at the end of the stream.
        bytes: usize,
    },
    /// A datagram came in.
    ReceivedFrom {
        /// The memory given, with the bytes committed.
        into: Fill,
        /// How many of them were kept.
        bytes: usize,
        /// Who sent it.
        from: PeerAddress,
        /// Whether it was longer than the room for it.
        truncated: bool,
    },
    /// All of it is in the kernel's hands.
    Sent {
        /// How many bytes.
        bytes: usize,
    },
    /// The sending direction has ended.
    ShutDown,
    /// The file is open.
    Opened(Descriptor),
    /// Bytes of a file.
    Read {
        /// The memory given, with the bytes committed.
        into: Fill,
        /// How many.
        bytes: usize,
    },
    /// Bytes went to the file.
    Written {
        /// How many of them. If these are not all, the data comes back for another try.
        bytes: usize,
        /// The data as given.
        data: Data,
    },
    /// It is durable.
    Synced,
    /// The length of the file, in bytes.
    Length(u64),
}

/// Why an operation failed. Its buffers are gone; its descriptor is as usable as the error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationError {
    /// What was tried.
    pub operation: OperationName,
    /// What happened.
    pub cause: Cause,
}

/// What can happen to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its deadline came first.
    TimedOut,
    /// It was cancelled, or the worker shut down.
    Canceled,
    /// The other side closed or reset the connection.
    Closed,
    /// The kernel said this error number.
    Os(i32),
}

impl OperationError {
    /// The error as the standard library tells it.
    pub fn to_io(self) -> io::Error {
        let kind = match self.cause {
            Cause::TimedOut => io::ErrorKind::TimedOut,
            // Not `Interrupted`: whoever sees that tries again.
            Cause::Canceled => return io::Error::from_raw_os_error(libc::ECANCELED),
            Cause::Closed => io::ErrorKind::ConnectionReset,
            Cause::Os(errno) => return io::Error::from_raw_os_error(errno),
        };
        io::Error::new(kind, self)
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation;
        match self.cause {
            Cause::TimedOut => write!(f, "{operation:?}: timed out"),
            Cause::Canceled => write!(f, "{operation:?}: cancelled"),
            Cause::Closed => write!(f, "{operation:?}: the other side closed the connection"),
            Cause::Os(errno) => write!(f, "{operation:?}: {}", io::Error::from_raw_os_error(errno)),
        }
    }
}

impl std::error::Error for OperationError {}

/// Names an operation in flight. A key that is out of date names nothing: slots are numbered anew
/// each time they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OperationKey {
    /// The slot.
    pub index: u32,
    /// Which use of it.
    pub generation: u32,
}

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

    /// Rings the doorbell of another worker of the node with the next [`enter`](Self::enter).
    fn ring_doorbell(&mut self, worker: usize);

    /// This worker's own doorbell, for other threads.
    fn doorbell(&self) -> Arc<dyn Doorbell>;

    /// Operations in flight.
    fn in_flight(&self) -> usize;

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
