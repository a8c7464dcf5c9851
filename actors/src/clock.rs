//! The time of a turn: how long it has run, and who it is that runs for long.
//!
//! Reading the clock costs more than handling a message, so it is read every so many messages: often
//! while they take long, rarely while they do not.

use std::{cell::Cell, time::Duration};

use annulus_transport::driver::Mono;

use crate::core::Core;

/// How long other workers, other nodes, and what is ready here have a worker, each in turn.
const TURN: Duration = Duration::from_millis(4);

/// How long may pass, about, until the clock is read again.
const LOOK_AFTER: Duration = Duration::from_micros(200);
const LOOK_AFTER_NANOS: u64 = LOOK_AFTER.as_nanos() as u64;

/// Messages between two looks at the clock, at most.
const MOST: u32 = 128;

/// Looks at the clock in a turn, at most: where time stands still while a worker runs, in a simulation, this
/// is what ends a turn.
const LOOKS: u32 = 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct TurnClock {
    began: Cell<Mono>,
    looked: Cell<Mono>,
    /// Messages and polls until the next look.
    left: Cell<u32>,
    given: Cell<u32>,
    looks: Cell<u32>,
    over: Cell<bool>,
    /// Who has run since the last look, and whether others have as well.
    ran: Cell<&'static str>,
    others: Cell<bool>,
}

impl TurnClock {
    pub(crate) fn new(now: Mono) -> Self {
        TurnClock {
            began: Cell::new(now),
            looked: Cell::new(now),
            left: Cell::new(1),
            given: Cell::new(1),
            looks: Cell::new(0),
            over: Cell::new(false),
            ran: Cell::new(""),
            others: Cell::new(false),
        }
    }

    /// A part of a turn starts.
    pub(crate) fn begin(&self, now: Mono) {
        self.began.set(now);
        self.looks.set(0);
        self.over.set(false);
        self.look(now);
    }

    /// Whether the time of this part of the turn is up.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Whether one more message may be handled before the clock is read.
    #[inline]
    pub(crate) fn allows(&self) -> bool {
        let left = self.left.get();
        if left > 0 {
            self.left.set(left - 1);
        }
        left > 0
    }

    /// How many of so many messages may be handled before the clock is read.
    #[inline]
    pub(crate) fn grant(&self, wanted: u32) -> u32 {
        let left = self.left.get();
        let granted = left.min(wanted);
        self.left.set(left - granted);
        granted
    }

    /// Messages that were granted have not been handled.
    #[inline]
    pub(crate) fn give_back(&self, granted: u32) {
        self.left.set(self.left.get() + granted);
    }

    /// Somebody has run: reads the clock if it is time to. Returns whether that took long.
    #[inline(always)]
    pub(crate) fn ran(&self, core: &Core, name: &'static str) -> bool {
        if !std::ptr::eq(self.ran.get(), name) {
            self.others.set(!self.ran.replace(name).is_empty());
        }
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        left == 0 && self.read(core)
    }

    /// Reads the clock, and reports who ran for too long. Returns whether they ran for long.
    #[cold]
    pub(crate) fn read(&self, core: &Core) -> bool {
        core.refresh_now();
        let now = core.now();
        let nanos = now.0.saturating_sub(self.looked.get().0);
        let took = Duration::from_nanos(nanos);
        if took >= core.limits().slow_handler {
            self.report(took);
        }
        self.looks.set(self.looks.get() + 1);
        self.over.set(now.since(self.began.get()) >= TURN || self.looks.get() >= LOOKS);
        let handled = self.given.get().saturating_sub(self.left.get());
        if handled > 0 {
            self.given.set(batch_after(self.given.get(), handled, nanos));
        }
        self.look(now);
        took >= LOOK_AFTER
    }

    fn look(&self, now: Mono) {
        self.looked.set(now);
        self.left.set(self.given.get());
        self.ran.set("");
        self.others.set(false);
    }

    fn report(&self, took: Duration) {
        let (actor, among_others) = (self.ran.get(), self.others.get());
        tracing::warn!(
            target: "annulus", actor, among_others, ?took,
            "a handler holds up its worker"
        );
    }
}

/// How many messages may be handled before the next look, where `given` might have been before this one, and so many
/// were, in so many nanoseconds.
fn batch_after(given: u32, handled: u32, nanos: u64) -> u32 {
    // Who was fast says little about who comes next: the number grows slowly, and falls at once.
    let most = MOST.min(given * 2);
    // As many messages as would have taken the time; mostly there is no need to divide.
    let fits = LOOK_AFTER_NANOS * u64::from(handled);
    if fits >= nanos.saturating_mul(u64::from(most)) {
        most
    } else {
        u32::try_from(fits / nanos).unwrap_or(MOST).clamp(1, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: u64 = 10 * LOOK_AFTER_NANOS;

    #[test]
    fn after_fast_messages_twice_as_many_may_be_handled_until_it_is_the_most() {
        let batches = std::iter::successors(Some(1), |given| Some(batch_after(*given, *given, 0)));
        assert!(batches.take(10).eq([1, 2, 4, 8, 16, 32, 64, 128, 128, 128]));
        assert_eq!(batch_after(8, 3, LOOK_AFTER_NANOS / 1000), 16);
    }

    #[test]
    fn after_slow_messages_as_many_may_be_handled_as_take_the_time() {
        assert_eq!(batch_after(128, 128, SLOW), 12);
        assert_eq!(batch_after(128, 1, LOOK_AFTER_NANOS), 1);
        assert_eq!(batch_after(128, 1, u64::MAX), 1);
        assert_eq!(batch_after(2, 40, SLOW), 4);
    }
}
