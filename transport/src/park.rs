//! How a worker falls asleep without missing what others send it.
//!
//! A worker that has nothing to do waits in the kernel, where it does not see its lanes. Whoever sends
//! to it must then ring its doorbell, which costs a system call; to a worker that is awake nobody should
//! ring. One flag, the [`Parker`], says which it is. No other code touches that flag.
//!
//! ```text
//!   worker                                     sender
//!   prepare: raise the flag (a store)          publish: put a value in the lane (a store)
//!            fence                             claim:   fence
//!   look at the lanes (a load)                          look at the flag (a load)
//!   all empty: wait in the kernel, unpark               up: lower it; who did so rings the doorbell
//!   otherwise: cancel
//! ```
//!
//! # Why no wake-up is lost
//!
//! Each side stores, then loads what the other side stores. Processors let such a load overtake the
//! store before it, and `Release` and `Acquire` do not forbid that: both loads could find the old value,
//! the worker would sleep and nobody would ring. The `SeqCst` fences between store and load forbid it.
//! All such fences have one order that everybody agrees on, so take a worker that parks, with its fence,
//! and any sender to it, with its own:
//!
//! - The sender's fence is first. Then the worker's look at the lanes finds the value, and the worker
//!   does not sleep.
//! - The worker's fence is first. Then the sender's look at the flag finds it raised by this park, or
//!   what came after that. If it is still up, the sender lowers it and rings. If it is down although the
//!   worker has not taken it down, somebody has claimed *this* park, another sender or this one ahead of
//!   its message, and rings after that. This park ends then, and for the next one all this holds again.
//!
//! A claim is one atomic exchange of raised for lowered, so each time that the flag is raised at most one
//! sender claims it.
//!
//! # A ring ahead
//!
//! To wake up takes a worker that has a core to itself much longer than it takes a sender to make a message. So a sender
//! that knows that it will publish something may claim the park before, ring, and make the message meanwhile. For the
//! proof it is one more claim: it is followed by its ring, as each is, and the sender claims again when it has
//! published, with a fence in between, as each sender does. If the worker was faster it sleeps again, and that park is
//! claimed like any other.
//!
//! # A late ring
//!
//! A doorbell may be late: the worker wakes up for another reason, and the ring comes when it is awake
//! or sleeps again. It then wakes up for nothing, once. Users of a doorbell must allow for that.
//!
//! # What it costs
//!
//! A sender pays one fence and one load when the worker is awake, so it should claim once per batch. Only
//! a claim of a parked worker writes to the flag; while the worker is awake, its cache line stays shared
//! among all senders. The worker pays two stores and one fence per park.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Says whether a worker is asleep. The worker and all who send to it share one.
///
/// The worker calls [`prepare`](Self::prepare), looks at all its lanes once more, and then either calls
/// [`cancel`](Self::cancel) or waits in the kernel and calls [`unpark`](Self::unpark) when it is back.
/// Senders call [`claim`](Self::claim). The module's text says why this loses nothing.
// Two cache lines, since processors fetch them in pairs: senders load the flag all the time, and what
// lies beside it must not take it away from them.
#[derive(Debug)]
#[repr(align(128))]
pub struct Parker {
    /// Raised by the worker; lowered by the worker or by the one sender that claims it.
    parked: AtomicBool,
}

impl Parker {
    /// The flag of a worker that is awake.
    pub fn new() -> Self {
        Parker { parked: AtomicBool::new(false) }
    }

    /// The worker is about to park. It must now look at its lanes, all of them, before it waits.
    pub fn prepare(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The worker stays awake after all: its last look found something.
    ///
    /// A sender may have claimed the park already. Its doorbell will then ring for nothing.
    pub fn cancel(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// The worker is back from the kernel, for whatever reason.
    pub fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether the worker sleeps, or is about to. It may have changed by the time that this returns.
    #[inline]
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Relaxed)
    }

    /// A sender is about to publish something. If this is true, it must ring the worker's doorbell: the worker wakes up
    /// while the sender goes on. Once it has published, the sender must [claim](Self::claim) all the same: the worker may
    /// have been faster, and sleep again.
    ///
    /// Of all senders at most one gets true from this or from [`claim`](Self::claim), each time that the worker parks.
    #[inline]
    #[must_use = "the worker sleeps on unless the sender that claims it rings the doorbell"]
    pub fn claim_ahead(&self) -> bool {
        self.lower()
    }

    /// A sender has published something. If this is true, it must ring the worker's doorbell.
    ///
    /// Call it after publishing, once for everything published since the last call.
    #[inline]
    #[must_use = "the worker sleeps on unless the sender that claims it rings the doorbell"]
    pub fn claim(&self) -> bool {
        fence(Ordering::SeqCst);
        self.lower()
    }

    /// Lowers the flag for a sender, if it is raised.
    #[inline]
    fn lower(&self) -> bool {
        // The load is there so that senders to an awake worker only read. Nor does a failed exchange
        // write: whoever lowers the flag is the worker or rings. Relaxed will do: values come through
        // the lanes, and what orders flag and lanes are the fences.
        self.parked.load(Ordering::Relaxed)
            && self
                .parked
                .compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Default for Parker {
    fn default() -> Self {
        Parker::new()
    }
}

// That no wake-up is lost is shown by the models in `tests/loom_park.rs`.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_awake_worker_is_not_claimed() {
        let parker = Parker::new();
        assert!(!parker.claim());
        parker.prepare();
        parker.cancel();
        assert!(!parker.claim());
        parker.prepare();
        parker.unpark();
        assert!(!parker.claim());
    }

    #[test]
    fn each_park_is_claimed_once() {
        let parker = Parker::new();
        for _ in 0..3 {
            for claim in [Parker::claim, Parker::claim_ahead] {
                parker.prepare();
                assert!(claim(&parker));
                assert!(!parker.claim() && !parker.claim_ahead());
                parker.unpark();
            }
        }
    }
}
