//! The alarm: a timeout that stays in the kernel from wait to wait.
//!
//! A timeout that is given to a wait starts a timer of the kernel's and stops it again: a microsecond, for
//! each time that a worker sleeps. Mostly that is for nothing, since something comes first, and the next
//! wait may take as long: timers of a worker are far away, unlike messages. An alarm is set once, rings
//! once, and may ring too early, which wakes the worker for nothing.
//!
//! Where timeouts are what ends waits, each wait gets one of its own, which is exact and brings no
//! completion.

use std::time::Duration;

use io_uring::{opcode, squeue::Entry, types::Timespec};

use super::{
    abi::{self, Kind},
    clock,
};
use crate::driver::Mono;

/// How far away a time is for which an alarm is set. One that rings for nothing costs as much as ten or twenty
/// timeouts of waits.
const WORTH_WHILE: Duration = Duration::from_millis(5);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Alarm {
    /// When it rings, if it is set.
    set: Option<Mono>,
    /// The same for the kernel, which reads it when it takes the entry. It is not written to before the
    /// alarm has rung.
    time: Box<Timespec>,
    /// Whether a completion ended the last wait that had a time.
    interrupted: bool,
    /// Whether it has rung since the last such wait.
    rang: bool,
}

impl Alarm {
    /// The entry with which an alarm is to be set before a wait until `until`, if that is worth while.
    pub(super) fn entry(&mut self, until: Mono) -> Option<Entry> {
        if self.set.is_some() || !self.interrupted || until.since(clock::now()) < WORTH_WHILE {
            return None;
        }
        self.set = Some(until);
        let flags;
        (*self.time, flags) = clock::timeout(until);
        let entry = opcode::Timeout::new(&raw const *self.time).flags(flags).build();
        Some(entry.user_data(abi::user_data_of(Kind::Alarm, 0)))
    }

    /// Whether it rings by then.
    pub(super) fn rings_by(&self, until: Mono) -> bool {
        self.set.is_some_and(|set| set <= until)
    }

    /// A wait that had a time has ended; `seen` completions came.
    pub(super) fn waited(&mut self, seen: usize) {
        let rang = std::mem::take(&mut self.rang);
        self.interrupted = seen > 0 && !rang;
    }

    /// It has rung, or the kernel could not set it: the next wait has a timeout of its own.
    pub(super) fn rang(&mut self) {
        self.set = None;
        self.rang = true;
    }
}
