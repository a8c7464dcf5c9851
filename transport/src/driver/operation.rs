//! What can be asked of the outside, and what comes of it.

use std::{ffi::CString, fmt, io, net::SocketAddr};

use super::{Data, Descriptor, Fill};
use crate::endpoint::Endpoint;

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
        /// A socket made by [`Driver::stream_socket`](super::Driver::stream_socket) for this endpoint.
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
