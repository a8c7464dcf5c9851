//! What can go wrong with a node as a whole.

use std::{fmt, io};

use annulus_transport::{
    endpoint::{Endpoint, EndpointError},
    ring::StartError,
};

/// Why a node did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// The setting makes no sense; the text says which and why.
    Setting(String),
    /// An endpoint cannot be read.
    Endpoint(EndpointError),
    /// The kernel, or its limits, do not let io_uring work.
    Ring(StartError),
    /// A socket cannot be bound.
    Bind {
        /// Where it was to be bound.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker's thread cannot be started.
    Thread(io::Error),
    /// A worker ended while the node was starting.
    WorkerLost(usize),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::Setting(text) => f.write_str(text),
            NodeError::Endpoint(error) => error.fmt(f),
            NodeError::Ring(error) => error.fmt(f),
            NodeError::Bind { endpoint, source } => {
                write!(f, "cannot listen on {endpoint}: {source}")
            }
            NodeError::Thread(error) => write!(f, "cannot start a worker's thread: {error}"),
            NodeError::WorkerLost(worker) => write!(f, "worker {worker} ended while starting"),
        }
    }
}

// Each message says all that its source says, so there is nothing to chain.
impl std::error::Error for NodeError {}

impl From<EndpointError> for NodeError {
    fn from(error: EndpointError) -> Self {
        NodeError::Endpoint(error)
    }
}

/// Why something given to a node to run brought no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The future panicked, or the node shut down.
    Ended,
    /// The node has no worker with this number.
    NoSuchWorker {
        /// The number asked for.
        worker: usize,
        /// The number of workers; they are numbered from zero.
        workers: usize,
    },
    /// The calling thread is a worker, which must not be blocked. Use a
    /// [`NodeHandle`](crate::NodeHandle).
    WouldBlock,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Ended => write!(f, "the task panicked, or the node shut down"),
            RunError::NoSuchWorker { worker, workers } => {
                write!(f, "there is no worker {worker}: the node has {workers}, counted from 0")
            }
            RunError::WouldBlock => {
                write!(f, "this would block a worker's thread: use the node's handle there")
            }
        }
    }
}

impl std::error::Error for RunError {}
