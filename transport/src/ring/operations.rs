//! Operations from start to end: slots on one side, the submission queue on the other.

use std::{
    os::fd::{FromRawFd, OwnedFd},
    task::{Poll, Waker},
};

use super::{
    abi::{self, Kind},
    complete::{self, Step, Timer},
    prepare::{prepare, runs_on_thread},
    slots::{Outcome, Slots},
    submit::{Submission, Unit, cancel_entry, remove_timeout_entry},
};
use crate::driver::{Cause, Mono, Operation, OperationError, OperationKey, OperationName, Output};

/// Connections that may wait in a listener's slot. When they are this many the multishot accept is
/// stopped, and started again when they are taken: the rest waits in the kernel's backlog.
const ACCEPTED_MAX: usize = 128;

/// How often a cancel may miss an operation that runs on a thread of the kernel or at a device. At a
/// device it is never found: it ends when the device is done.
const MISSES_MAX: u8 = 3;

/// Everything in flight on a ring.
pub(super) struct Operations {
    pub(super) submission: Submission,
    slots: Slots,
    /// Wakers of operations that ended, for the next enter to hand out.
    pub(super) ready: Vec<Waker>,
    /// A waker that is not needed any more, for the caller to drop.
    pub(super) retired: Option<Waker>,
    /// Operations started.
    pub(super) started: u64,
    /// Completions that nobody waited for.
    pub(super) strays: u64,
    /// Everything is being cancelled: nothing is started again by itself.
    pub(super) ending: bool,
}

impl Operations {
    pub(super) fn new(submission: Submission) -> Self {
        Operations {
            submission,
            slots: Slots::default(),
            ready: Vec::new(),
            retired: None,
            started: 0,
            strays: 0,
            ending: false,
        }
    }

    /// Operations for which the kernel owes completions.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.in_kernel()
    }

    /// Starts an operation.
    pub(super) fn start(&mut self, operation: Operation, deadline: Option<Mono>) -> OperationKey {
        self.started += 1;
        let key = self.slots.insert(operation, deadline);
        self.launch(key);
        key
    }

    /// Asks the kernel for the operation of a slot, or for what is left of it.
    fn launch(&mut self, key: OperationKey) {
        let slot = self.slots.get(key).expect("launched slots are in use");
        match prepare(slot, key) {
            Ok(unit) => {
                self.slots.lend(key, unit.completions());
                // SAFETY: the unit points to what its slot owns: the operation's buffers, at their
                // heap addresses, and the block. As the slot is lent now, it keeps all that in place
                // until `arrived` has counted the last completion; and slots that are still lent are
                // leaked rather than dropped.
                unsafe { self.submission.push(unit) };
            }
            Err(errno) => self.fail(key, Cause::Os(errno)),
        }
    }

    fn cancel(&mut self, key: OperationKey) {
        let entry = cancel_entry(abi::user_data(Kind::Operation, key));
        let entry = entry.user_data(abi::user_data(Kind::Cancel, key));
        // SAFETY: a cancel points to nothing.
        unsafe { self.submission.push(Unit::single(entry)) };
    }

    fn remove_timeout(&mut self, key: OperationKey) {
        let entry = remove_timeout_entry(abi::user_data(Kind::Deadline, key));
        let entry = entry.user_data(abi::user_data(Kind::Removal, key));
        // SAFETY: a removal points to nothing.
        unsafe { self.submission.push(Unit::single(entry)) };
    }

    /// Takes the outcome of an operation, or keeps the waker.
    pub(super) fn poll(&mut self, key: OperationKey, waker: &Waker) -> Poll<Outcome> {
        let slot = self.slots.get(key).expect("polled an operation that is over");
        if let Some(connection) = slot.accepted.pop_front() {
            let idle = !slot.in_kernel() && slot.outcome.is_none();
            if idle && slot.accepted.is_empty() {
                slot.pausing = false;
                self.launch(key);
            }
            return Poll::Ready(Ok(Output::Accepted(connection.into())));
        }
        if let Some(outcome) = slot.outcome.take() {
            self.retired = self.slots.release(key);
            return Poll::Ready(outcome);
        }
        if !slot.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.retired = slot.waker.replace(waker.clone());
        }
        Poll::Pending
    }

    /// Gives an operation up.
    pub(super) fn forget(&mut self, key: OperationKey) {
        let Some(slot) = self.slots.get(key) else {
            return;
        };
        if !slot.in_kernel() {
            self.retired = self.slots.release(key);
            return;
        }
        self.retired = slot.waker.take();
        slot.orphaned = true;
        slot.accepted.clear();
        self.cancel(key);
    }

    /// Takes in a completion of an operation or of its timeout.
    pub(super) fn completed(&mut self, kind: Kind, key: OperationKey, result: i32, more: bool) {
        let Some(slot) = self.slots.get(key).filter(|slot| slot.in_kernel()) else {
            self.strays += 1;
            return;
        };
        if slot.accepts() {
            return self.accepted(key, result, more);
        }
        let own_timeout = slot.operation.as_ref().is_some_and(runs_on_thread);
        if kind == Kind::Deadline {
            slot.timer = Some(result);
            let unfinished = match Timer::of(slot.timer) {
                Timer::Quiet => false,
                // A timeout of its own cancels nothing by itself. A linked one does, unless it did not
                // find the operation, on its way between two queues.
                Timer::Fired => own_timeout || result == -libc::ENOENT,
                // It would go on without a deadline.
                Timer::Lost(_) => true,
            };
            if unfinished && slot.is_pending() {
                self.cancel(key);
            }
        } else {
            slot.result = Some(result);
            if own_timeout && slot.completions_due() > 1 {
                self.remove_timeout(key);
            }
        }
        if self.slots.arrived(key) {
            self.finish(key);
        }
    }

    fn finish(&mut self, key: OperationKey) {
        let slot = self.slots.get(key).expect("checked by the caller");
        let give_up = self.ending || slot.orphaned;
        match complete::conclude(slot, give_up) {
            Step::Again => self.launch(key),
            Step::Done(outcome) => self.settle(key, outcome),
        }
    }

    /// A completion of a multishot accept.
    fn accepted(&mut self, key: OperationKey, result: i32, more: bool) {
        // SAFETY: a successful accept brings a new descriptor, which nobody else knows of. It has an
        // owner from here on, whatever happens.
        let connection = (result >= 0).then(|| unsafe { OwnedFd::from_raw_fd(result) });
        if !more {
            self.slots.arrived(key);
        }
        let slot = self.slots.get(key).expect("checked by the caller");
        if slot.orphaned {
            self.strays += 1;
            if !more {
                self.slots.release(key);
            }
            return;
        }
        if let Some(connection) = connection {
            slot.accepted.push_back(connection);
            self.ready.extend(slot.waker.take());
        }
        let enough = slot.accepted.len() >= ACCEPTED_MAX;
        if more {
            if enough && !slot.pausing {
                slot.pausing = true;
                self.cancel(key);
            }
        } else if result < 0 && !may_accept_again(-result) {
            self.fail(key, Cause::Os(-result));
        } else if self.ending {
            self.fail(key, Cause::Canceled);
        } else if !enough {
            slot.pausing = false;
            self.launch(key);
        }
    }

    /// A cancel failed.
    pub(super) fn cancel_failed(&mut self, key: OperationKey, result: i32) {
        // The kernel did not find it, though it has not completed: it was on its way from one queue to
        // another just then.
        let Some(slot) = self.slots.get(key).filter(|slot| slot.is_pending()) else {
            return;
        };
        let unwanted = slot.orphaned || slot.pausing || slot.timer.is_some();
        if !unwanted || result != -libc::ENOENT {
            return;
        }
        slot.misses = slot.misses.saturating_add(1);
        let at_device = slot.operation.as_ref().is_some_and(runs_on_thread);
        if !at_device || slot.misses < MISSES_MAX {
            self.cancel(key);
        }
    }

    /// An operation that never completes.
    #[cfg(test)]
    pub(super) fn start_lost(&mut self, operation: Operation) -> OperationKey {
        let key = self.slots.insert(operation, None);
        self.slots.lend(key, 1);
        key
    }

    fn fail(&mut self, key: OperationKey, cause: Cause) {
        let slot = self.slots.get(key).expect("checked by the caller");
        let operation =
            slot.operation.take().map_or(OperationName::Accept, |operation| operation.name());
        self.settle(key, Err(OperationError { operation, cause }));
    }

    /// Keeps an outcome for whoever waits; if nobody does, it is dropped, and what it brought closed.
    fn settle(&mut self, key: OperationKey, outcome: Outcome) {
        let slot = self.slots.get(key).expect("checked by the caller");
        if slot.orphaned {
            self.strays += 1;
            self.slots.release(key);
            return;
        }
        slot.outcome = Some(outcome);
        self.ready.extend(slot.waker.take());
    }
}

/// Errors of single connections that never came to be, and interruptions. Anything else, such as too
/// many open files, would come again at once: the user decides when to try again.
fn may_accept_again(errno: i32) -> bool {
    matches!(errno, libc::ECONNABORTED | libc::EPROTO | libc::EINTR | libc::ECANCELED)
}
