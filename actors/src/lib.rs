//! An actor framework over io_uring.
//!
//! Actors are pinned to ring workers: one thread, one ring, one core. They exchange messages that
//! become bytes once, when they are sent, and stay the same bytes until they have been handled: on the
//! same worker, between workers, and between nodes.
//!
//! Define messages with [`#[message]`](message), an [`Actor`] with a [`Handler`] for each of them, and
//! start it on a [`Node`]. The [`prelude`] has what most programs need.
#![forbid(unsafe_code)]

mod actor;
mod actors;
mod answers;
mod ask;
mod ask_table;
mod broadcast;
mod cell;
mod clock;
mod cluster;
mod config;
mod contain;
mod context;
mod core;
mod datagram;
mod dead_letters;
mod delivery;
mod entry;
mod error;
pub mod file_actor;
mod here;
mod lanes;
mod link;
mod mailbox;
mod message;
mod names;
mod node;
#[cfg(not(planted))]
mod planted;
#[cfg(planted)]
#[doc(hidden)]
pub mod planted;
mod protocol;
mod reference;
mod respond;
mod session;
mod spin;
mod stats;
mod steward;
mod tasks;
mod timers;
mod walk;
mod watch;
mod worker;

pub use annulus_codec as codec;
pub use annulus_codec::bytes::Bytes;
pub use annulus_macros::{message, wire};
pub use annulus_transport as transport;

pub use crate::{
    actor::{Actor, Exit, Handler, MailboxLimits, Respond, StopMode},
    actors::spawn,
    ask::Ask,
    broadcast::{NotReached, broadcast},
    config::Limits,
    context::{Access, ActorGone, Context, With},
    datagram::DatagramRef,
    error::{AskError, Error, ShutdownError, SpawnError, TellError, Undelivered},
    file_actor::FileActor,
    message::{Later, Msg, Reply, Responder},
    names::{LookupError, Name, RegisterError},
    node::{Node, NodeBuilder, NodeError, NodeHandle, Pinning, RunError, host},
    protocol::{Accepts, At, Protocol, Serve},
    reference::{ActorRef, Sending},
    stats::WorkerStats,
    timers::{Elapsed, Sleep, TimerHandle, now, sleep, timeout},
    watch::{Down, DownReason, Watch, WatchError},
};

/// What most programs need: `use annulus::prelude::*;`.
pub mod prelude {
    pub use crate::{
        Actor, ActorRef, AskError, Context, Error, Handler, Msg, Name, Node, Reply, Respond,
        message, sleep, wire,
    };
    pub use std::time::Duration;
}
