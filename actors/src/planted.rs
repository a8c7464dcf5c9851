//! Faults that are put in on purpose, to show that a simulation finds them.
//!
//! They are compiled in only with `--cfg planted`, and then one at most is at work. Without it nothing
//! is left of them.
#![cfg_attr(not(planted), allow(unreachable_pub, reason = "only what plants faults sees them"))]

/// The faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A frame that is passed on to another worker is passed on twice.
    RelayTwice,
    /// A worker that sleeps is not woken for what another one sends it.
    ForgetDoorbell,
    /// The last piece of a batch that fills more than one chunk is not sent.
    DropPiece,
    /// Asks to a lost node are left to time out.
    LeaveAsks,
    /// Timers fire a little early.
    EarlyTimer,
    /// A cancelled timer fires all the same.
    CancelNothing,
    /// Answers are given to whoever has the place of the asker now.
    StaleAnswer,
    /// Messages reach whoever has the place of the receiver now.
    StaleActor,
    /// A mailbox takes more than it may.
    EndlessMailbox,
    /// A link that is lost while frames wait to be handled is never reported.
    SilentLoss,
    /// What was not sent over a link that has ended is kept.
    KeepUnsent,
    /// The socket of a link is never closed.
    LeakSocket,
    /// A new node is told of the others before it can be told anything.
    EarlyNews,
    /// Nobody remembers where a node is that is connected already.
    ForgetEndpoints,
    /// A datagram is handled as often as it comes.
    DatagramTwice,
    /// A connection that fails late leaves its session behind.
    OrphanSession,
    /// A watcher is told twice.
    DownTwice,
    /// A watch goes on when it has been called off.
    DownAfterUnwatch,
    /// That an actor is down overtakes what it has sent.
    EarlyDown,
    /// That a node is lost overtakes what has come from it.
    EarlyLoss,
    /// References outlive the session that they were got in.
    OldReferences,
    /// A broadcast overtakes what waits in the mailboxes.
    EarlyBroadcast,
    /// What an actor tells itself overtakes what waits in its mailbox.
    OvertakeItself,
    /// An ask is handed over before what its receiver has been told before.
    EarlyHandOver,
    /// A message that says more than its header overtakes what waits in the mailbox.
    JumpMailbox,
}

/// All of them, for whoever plants them.
#[cfg(planted)]
pub const BUGS: &[Bug] = &[
    Bug::RelayTwice,
    Bug::ForgetDoorbell,
    Bug::DropPiece,
    Bug::LeaveAsks,
    Bug::EarlyTimer,
    Bug::CancelNothing,
    Bug::StaleAnswer,
    Bug::StaleActor,
    Bug::EndlessMailbox,
    Bug::SilentLoss,
    Bug::KeepUnsent,
    Bug::LeakSocket,
    Bug::EarlyNews,
    Bug::ForgetEndpoints,
    Bug::DatagramTwice,
    Bug::OrphanSession,
    Bug::DownTwice,
    Bug::DownAfterUnwatch,
    Bug::EarlyDown,
    Bug::EarlyLoss,
    Bug::OldReferences,
    Bug::EarlyBroadcast,
    Bug::OvertakeItself,
    Bug::EarlyHandOver,
    Bug::JumpMailbox,
];

/// Whether a fault is at work.
#[cfg(not(planted))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(planted)]
static PLANTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(usize::MAX);

/// Whether a fault is at work.
#[cfg(planted)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as usize
}

/// Puts a fault to work, in this whole process.
#[cfg(planted)]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as usize, std::sync::atomic::Ordering::Relaxed);
}
