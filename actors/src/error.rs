//! What can go wrong, and what to do about it.

use std::{fmt, time::Duration};

use annulus_codec::outbox::PushError;
use annulus_transport::driver::OperationError;

use crate::{
    context::ActorGone,
    names::{LookupError, RegisterError},
    node::{NodeError, RunError},
    timers::Elapsed,
    watch::WatchError,
};

/// Why a message was not taken. The message comes back with it: see [`Undelivered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TellError {
    /// The actor has stopped, or the reference is older than its node's last start, or than the last
    /// loss of the link to its node. Look it up again.
    Dead,
    /// The mailbox, or the queue to the actor's worker or node, is full. Try again later, or use
    /// `send`, which waits for room.
    Full,
    /// There is no link to the actor's node now. Try again when the node is back.
    Unreachable,
    /// The message is larger than this many bytes, the most that the way to the actor takes.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The message passes by value and the actor lives on another node.
    LocalOnly,
    /// The message's own serialisation failed.
    Unserializable,
    /// The calling thread is no worker of a node. Use [`Node::run`](crate::Node::run).
    NoWorker,
}

impl From<PushError> for TellError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full | PushError::NoMemory(_) => TellError::Full,
            PushError::TooLarge { max } => TellError::TooLarge { max },
            PushError::Unserializable => TellError::Unserializable,
            PushError::LocalOnly => TellError::LocalOnly,
            // Asks are checked for this before they are sent, and nothing else has a chain.
            PushError::ChainTooLong => TellError::Unserializable,
        }
    }
}

impl fmt::Display for TellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TellError::Dead => write!(f, "the actor has stopped"),
            TellError::Full => write!(f, "the queue to the actor is full"),
            TellError::Unreachable => write!(f, "there is no link to the actor's node"),
            TellError::TooLarge { max } => write!(f, "the message is larger than {max} bytes"),
            TellError::LocalOnly => write!(f, "a local message cannot go to another node"),
            TellError::Unserializable => write!(f, "the message cannot be serialised"),
            TellError::NoWorker => write!(f, "the calling thread is no worker of a node"),
        }
    }
}

impl std::error::Error for TellError {}

/// A message that was not taken, and why.
pub struct Undelivered<M> {
    /// The message, as it was given.
    pub message: M,
    /// Why it was not taken.
    pub reason: TellError,
}

impl<M> fmt::Debug for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Undelivered({:?})", self.reason)
    }
}

impl<M> fmt::Display for Undelivered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl<M> std::error::Error for Undelivered<M> {}

/// What an ask ends in when it does not end in a reply. Every ask ends exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// No reply came in time. The actor may have handled the message, or may still do so.
    Timeout,
    /// The actor has stopped, or had stopped before, or the reference is
    /// [out of date](TellError::Dead). If it stopped within its handler, the message may have had
    /// effects.
    Dead,
    /// The link to the actor's node was lost. The message may have been handled.
    NodeDown,
    /// There was no link to the actor's node: nothing was sent.
    Unreachable,
    /// A queue or the actor's mailbox was full: nothing was handled. Try again later.
    Overloaded,
    /// The asking node shut down before the reply came.
    Cancelled,
    /// The actor's protocol lacks the message: nothing was handled.
    Unknown,
    /// The two nodes were built from different versions of the message, or of its reply.
    Incompatible,
    /// The bytes that arrived are no valid message. A fault of one of the two nodes.
    Invalid,
    /// The actor waits, directly or over others, for the asker: this ask would never have ended.
    Cycle,
    /// The ask was made within an ask within an ask, and so on, deeper than this.
    ChainTooLong {
        /// How many actors may wait for each other.
        max: usize,
    },
    /// The handler dropped its [`Responder`](crate::Responder) without a reply.
    NoReply,
    /// The message is larger than this many bytes, the most that the way to the actor takes.
    TooLarge {
        /// The limit, in bytes.
        max: usize,
    },
    /// The message passes by value and the actor lives on another node.
    LocalOnly,
    /// The message's own serialisation failed.
    Unserializable,
    /// The calling thread is no worker of a node. Use [`Node::run`](crate::Node::run).
    NoWorker,
    /// The calling thread is a worker, which must not be blocked. Use a
    /// [`NodeHandle`](crate::NodeHandle).
    WouldBlock,
}

impl From<TellError> for AskError {
    fn from(error: TellError) -> Self {
        match error {
            TellError::Dead => AskError::Dead,
            TellError::Full => AskError::Overloaded,
            TellError::Unreachable => AskError::Unreachable,
            TellError::TooLarge { max } => AskError::TooLarge { max },
            TellError::LocalOnly => AskError::LocalOnly,
            TellError::Unserializable => AskError::Unserializable,
            TellError::NoWorker => AskError::NoWorker,
        }
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Timeout => write!(f, "no reply came in time"),
            AskError::Dead => write!(f, "the actor has stopped"),
            AskError::NodeDown => write!(f, "the link to the actor's node was lost"),
            AskError::Unreachable => write!(f, "there is no link to the actor's node"),
            AskError::Overloaded => write!(f, "the actor's mailbox or the queue to it is full"),
            AskError::Cancelled => write!(f, "the asking node shut down"),
            AskError::Unknown => write!(f, "the actor does not take this message"),
            AskError::Incompatible => {
                write!(f, "the nodes were built from different versions of the message")
            }
            AskError::Invalid => write!(f, "the bytes that arrived are no valid message"),
            AskError::Cycle => write!(f, "the actor waits for the asker already"),
            AskError::ChainTooLong { max } => {
                write!(f, "more than {max} actors would wait for each other")
            }
            AskError::NoReply => write!(f, "the actor dropped the ask without a reply"),
            AskError::TooLarge { max } => write!(f, "the message is larger than {max} bytes"),
            AskError::LocalOnly => write!(f, "a local message cannot go to another node"),
            AskError::Unserializable => write!(f, "the message cannot be serialised"),
            AskError::NoWorker => write!(f, "the calling thread is no worker of a node"),
            AskError::WouldBlock => {
                write!(f, "this would block a worker's thread: use the node's handle there")
            }
        }
    }
}

impl std::error::Error for AskError {}

/// The failures that travel in a frame, in place of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Dead,
    Unknown,
    Incompatible,
    Invalid,
    Overloaded,
    NoReply,
    Expired,
}

impl Failure {
    pub(crate) fn code(self) -> u64 {
        match self {
            Failure::Dead => 1,
            Failure::Unknown => 2,
            Failure::Incompatible => 3,
            Failure::Invalid => 4,
            Failure::Overloaded => 5,
            Failure::NoReply => 6,
            Failure::Expired => 7,
        }
    }

    /// A code that this version does not know comes from a later one: the ask failed, and that is all
    /// that can be said.
    pub(crate) fn from_code(code: u64) -> AskError {
        match code {
            1 => AskError::Dead,
            2 => AskError::Unknown,
            3 => AskError::Incompatible,
            4 => AskError::Invalid,
            5 => AskError::Overloaded,
            7 => AskError::Timeout,
            _ => AskError::NoReply,
        }
    }
}

/// Why an actor was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpawnError {
    /// The worker has as many actors as it may have.
    TooManyActors {
        /// The limit.
        max: usize,
    },
    /// The node has no worker with this number.
    NoSuchWorker {
        /// The number asked for.
        worker: usize,
        /// The number of workers; they are numbered from zero.
        workers: usize,
    },
    /// The node is shutting down.
    ShuttingDown,
    /// Making the actor panicked; the log says how.
    Panicked,
    /// The calling thread is a worker, which must not be blocked. Use
    /// [`Context::spawn`](crate::Context::spawn), [`spawn`](crate::spawn()), or a
    /// [`NodeHandle`](crate::NodeHandle).
    WouldBlock,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::TooManyActors { max } => write!(f, "the worker has {max} actors already"),
            SpawnError::NoSuchWorker { worker, workers } => {
                write!(f, "there is no worker {worker}: the node has {workers}, counted from 0")
            }
            SpawnError::ShuttingDown => write!(f, "the node is shutting down"),
            SpawnError::Panicked => write!(f, "making the actor panicked"),
            SpawnError::WouldBlock => {
                write!(f, "this would block a worker's thread: use the node's handle there")
            }
        }
    }
}

impl std::error::Error for SpawnError {}

/// Anything that this crate can report: what to return from code that does several things.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// An ask did not end in a reply.
    Ask(AskError),
    /// A message was not taken.
    Tell(TellError),
    /// An actor was not started.
    Spawn(SpawnError),
    /// An actor was not found.
    Lookup(LookupError),
    /// A name was not given.
    Register(RegisterError),
    /// A node was not started.
    Node(NodeError),
    /// A future given to a node did not end.
    Run(RunError),
    /// A file was not opened.
    Operation(OperationError),
    /// A node did not end in time.
    Shutdown(ShutdownError),
    /// Something did not end in time.
    Elapsed(Elapsed),
    /// An actor had ended.
    ActorGone(ActorGone),
    /// An actor is not watched.
    Watch(WatchError),
}

macro_rules! errors {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::$variant(error)
            }
        })*

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Error::$variant(error) => error.fmt(f),)*
                }
            }
        }

        impl std::error::Error for Error {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                // The text is the inner error's own, so its cause is this one's too.
                match self {
                    $(Error::$variant(error) => error.source(),)*
                }
            }
        }
    };
}

errors! {
    Ask(AskError),
    Tell(TellError),
    Spawn(SpawnError),
    Lookup(LookupError),
    Register(RegisterError),
    Node(NodeError),
    Run(RunError),
    Operation(OperationError),
    Shutdown(ShutdownError),
    Elapsed(Elapsed),
    ActorGone(ActorGone),
    Watch(WatchError),
}

impl<M> From<Undelivered<M>> for Error {
    fn from(undelivered: Undelivered<M>) -> Self {
        Error::Tell(undelivered.reason)
    }
}

/// Why a node did not end in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownError {
    /// It took too long; what was left was dropped.
    TimedOut {
        /// The time that was given.
        within: Duration,
    },
    /// The calling thread is a worker, which must not be blocked: the node was ended at once. Use a
    /// [`NodeHandle`](crate::NodeHandle).
    WouldBlock,
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShutdownError::TimedOut { within } => {
                write!(f, "the node did not come to rest within {within:?}")
            }
            ShutdownError::WouldBlock => {
                write!(f, "this would block a worker's thread: the node was ended at once")
            }
        }
    }
}

impl std::error::Error for ShutdownError {}
