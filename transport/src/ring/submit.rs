//! The ring itself: entries in, one system call, completions out.

use std::{collections::VecDeque, io, os::fd::AsRawFd, time::Duration};

use io_uring::{
    EnterFlags, IoUring, cqueue, opcode,
    squeue::{Entry, Flags},
    types::{CancelBuilder, SubmitArgs, Timespec},
};

use super::{
    clock,
    fault::{self, EnterFault, EnterFaults},
};
use crate::driver::{DriverError, Mono};

/// How often in a row the kernel may be short of something before the driver gives up: after about ten
/// seconds.
const BUSY_MAX: u32 = 10_000;

/// After so many times in a row the driver takes a break before it tries again.
const BUSY_AT_ONCE: u32 = 16;

/// Entries that must reach the kernel together: an operation, and its timeout if it has one.
pub(super) struct Unit {
    entry: Entry,
    timeout: Option<Entry>,
}

impl Unit {
    /// An entry on its own.
    pub(super) fn single(entry: Entry) -> Self {
        Unit { entry, timeout: None }
    }

    /// An entry with a link timeout, which the kernel ties to it.
    pub(super) fn with_linked_timeout(entry: Entry, timeout: Entry) -> Self {
        Unit::with_timeout(entry.flags(Flags::IO_LINK), timeout)
    }

    /// An entry with a timeout of its own.
    pub(super) fn with_timeout(entry: Entry, timeout: Entry) -> Self {
        Unit { entry, timeout: Some(timeout) }
    }

    /// Completions that the kernel will owe for it.
    pub(super) fn completions(&self) -> u8 {
        1 + u8::from(self.timeout.is_some())
    }
}

/// How a system call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// It did what it could, or the time was over.
    Done,
    /// A signal came first, or may have.
    Interrupted,
    /// The kernel was short of something. Taking in completions may help.
    Busy,
}

/// The submission and completion queues of a ring.
pub(super) struct Submission {
    ring: IoUring,
    /// What found no room in the submission queue, in order.
    backlog: VecDeque<Unit>,
    flags: u32,
    /// Whether the kernel takes the time when a wait ends; else it is told how long that is from now.
    absolute: bool,
    /// How often in a row the kernel was short of something.
    busy: u32,
    faults: EnterFaults,
    /// System calls that submit, wait, or both.
    pub(super) enters: u64,
    /// The kernel dropped completions: nobody knows any more what is in flight.
    pub(super) lost: bool,
}

impl Submission {
    /// Takes over a ring.
    pub(super) fn new(ring: IoUring, faults: EnterFaults) -> Self {
        // With DEFER_TASKRUN nothing completes unless GETEVENTS is set, so it always is.
        let mut flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if ring.params().is_feature_no_iowait() {
            flags |= EnterFlags::NO_IOWAIT;
        }
        // Linux 6.12 brought both.
        let absolute = ring.params().is_feature_min_timeout() && !clock::is_shifted();
        if absolute {
            flags |= EnterFlags::ABS_TIMER;
        }
        Submission {
            ring,
            backlog: VecDeque::new(),
            flags: flags.bits(),
            absolute,
            busy: 0,
            faults,
            enters: 0,
            lost: false,
        }
    }

    /// Puts entries into the submission queue. If it is full, they wait for the next system call: this
    /// makes none, so it may be used while completions are taken in.
    ///
    /// # Safety
    /// - All memory and descriptors that the entries name stay valid until the last completion of the
    ///   unit is in.
    pub(super) unsafe fn push(&mut self, unit: Unit) {
        if !self.backlog.is_empty() || !self.try_push(&unit) {
            self.backlog.push_back(unit);
        }
    }

    fn try_push(&mut self, unit: &Unit) -> bool {
        let mut queue = self.ring.submission();
        // SAFETY: whoever made the unit answers for its memory: see `push`. Both entries of a pair
        // go in or neither does, so a link is never cut.
        let pushed = unsafe {
            match &unit.timeout {
                None => queue.push(&unit.entry),
                Some(timeout) => queue.push_multiple(&[unit.entry.clone(), timeout.clone()]),
            }
        };
        pushed.is_ok()
    }

    fn refill(&mut self) {
        while let Some(unit) = self.backlog.pop_front() {
            if !self.try_push(&unit) {
                self.backlog.push_front(unit);
                return;
            }
        }
    }

    /// Whether there are entries that the kernel has not seen.
    pub(super) fn has_entries(&mut self) -> bool {
        !self.backlog.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether completions are there.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether the kernel holds back completions until the next system call.
    pub(super) fn has_deferred(&mut self) -> bool {
        let queue = self.ring.submission();
        !self.backlog.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Whether the ring can go on.
    ///
    /// # Errors
    /// If the kernel dropped completions.
    pub(super) fn check(&self) -> Result<(), DriverError> {
        if self.lost {
            return Err(fault(io::Error::from_raw_os_error(libc::EBADR)));
        }
        Ok(())
    }

    /// The one system call: submits, and waits for `want` completions, at most until `until`. It does
    /// not wait while there are entries that find no room: the completion to wait for may be theirs.
    ///
    /// # Errors
    /// Only those after which the ring is of no more use.
    pub(super) fn enter(&mut self, want: u32, until: Option<Mono>) -> Result<Entered, DriverError> {
        self.refill();
        let want = if self.backlog.is_empty() { want } else { 0 };
        let (want, timeout) = self.timeout(want, until);
        let to_submit = self.ring.submission().len() as u32;
        let result = self.system_call(to_submit, want, timeout);
        // A short count is no error: the rest stays in the queue for the next call.
        match result {
            // The count hides how the wait went: a signal may have ended it.
            Ok(1..) if want > 0 => self.entered().map(|_| Entered::Interrupted),
            Ok(_) => self.entered(),
            Err(error) => self.entered_badly(error, want > 0),
        }
    }

    /// From now on waits are as on a kernel before 6.12.
    #[cfg(test)]
    pub(super) fn forget_absolute_times(&mut self) {
        self.absolute = false;
        self.flags &= !EnterFlags::ABS_TIMER.bits();
    }

    /// How many completions to wait for, and the timeout as the kernel takes it.
    fn timeout(&self, want: u32, until: Option<Mono>) -> (u32, Option<Timespec>) {
        match until {
            Some(until) if want > 0 && self.absolute => (want, Some(clock::timespec(until))),
            Some(until) if want > 0 => match until.since(clock::now()) {
                Duration::ZERO => (0, None),
                left => (want, Some(Timespec::from(left))),
            },
            _ => (want, None),
        }
    }

    fn system_call(
        &mut self,
        to_submit: u32,
        want: u32,
        timeout: Option<Timespec>,
    ) -> io::Result<usize> {
        let fault = fault::of(&self.faults, self.enters);
        self.enters += 1;
        let (to_submit, want) = match fault {
            Some(EnterFault::Refuse(errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(EnterFault::Short(most)) if most < to_submit => (most, 0),
            _ => (to_submit, want),
        };
        let mut arguments = SubmitArgs::new();
        if let Some(timeout) = &timeout {
            arguments = arguments.timespec(timeout);
        }
        let submitter = self.ring.submitter();
        // SAFETY: with EXT_ARG the argument is a `SubmitArgs`, which lives until the call returns.
        // What the submitted entries point to is valid by the contract of `push`.
        let result = unsafe { submitter.enter(to_submit, want, self.flags, Some(&arguments)) };
        match fault {
            Some(EnterFault::Deny(errno)) => Err(io::Error::from_raw_os_error(errno)),
            _ => result,
        }
    }

    fn entered(&mut self) -> Result<Entered, DriverError> {
        self.busy = 0;
        Ok(Entered::Done)
    }

    fn entered_badly(&mut self, error: io::Error, waited: bool) -> Result<Entered, DriverError> {
        const TRANSIENT: [i32; 4] = [libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::EINTR];
        match error.raw_os_error() {
            Some(libc::ETIME) => self.entered(),
            // A signal ends a wait: there may be any number of them until its time is over.
            Some(libc::EINTR) if waited => Ok(Entered::Interrupted),
            Some(errno) if TRANSIENT.contains(&errno) && self.busy < BUSY_MAX => {
                self.busy += 1;
                if self.busy > BUSY_AT_ONCE {
                    clock::pause(Duration::from_millis(1));
                }
                Ok(Entered::Busy)
            }
            errno => {
                self.lost |= errno == Some(libc::EBADR);
                Err(fault(error))
            }
        }
    }

    /// The next completion, if one is there.
    pub(super) fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// How many completions fit into the completion queue.
    pub(super) fn completions_max(&self) -> usize {
        self.ring.params().cq_entries() as usize
    }

    /// Cancels all that the kernel has. The completions come with later enters.
    pub(super) fn cancel_all(&mut self) {
        // Not waiting here at all; and to find nothing is fine.
        let all = CancelBuilder::any().all();
        let _ = self.ring.submitter().register_sync_cancel(Some(Timespec::new()), all);
    }

    /// The ring's descriptor.
    pub(super) fn fd(&self) -> std::os::fd::RawFd {
        self.ring.as_raw_fd()
    }
}

fn fault(source: io::Error) -> DriverError {
    DriverError { doing: "io_uring_enter", source }
}

/// An entry that removes the timeout with this user data. It completes only if it fails.
pub(super) fn remove_timeout_entry(target: u64) -> Entry {
    opcode::TimeoutRemove::new(target).build().flags(Flags::SKIP_SUCCESS)
}

/// An entry that cancels the operation with this user data. It completes only if it fails.
pub(super) fn cancel_entry(target: u64) -> Entry {
    opcode::AsyncCancel::new(target).build().flags(Flags::SKIP_SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use io_uring::types::Fd;

    use super::*;
    use crate::ring::start::{RingConfig, start};

    #[test]
    fn there_is_no_wait_while_entries_find_no_room() {
        let ring = start(&RingConfig { entries: 2, ..RingConfig::default() }).unwrap();
        let mut submission = Submission::new(ring, Vec::new());
        let (socket, _other) = UnixStream::pair().unwrap();
        for _ in 0..5 {
            let poll = opcode::PollAdd::new(Fd(socket.as_raw_fd()), libc::POLLIN as u32).build();
            submission.backlog.push_back(Unit::single(poll));
        }
        let before = clock::now();
        for left in [3, 1] {
            let until = before.after(Duration::from_secs(5));
            assert_eq!(submission.enter(1, Some(until)).unwrap(), Entered::Done);
            assert_eq!(submission.backlog.len(), left);
        }
        assert!(clock::now().since(before) < Duration::from_secs(2));
        let pause = Duration::from_millis(50);
        let before = clock::now();
        submission.enter(1, Some(before.after(pause))).unwrap();
        assert!(!submission.has_entries());
        assert!(clock::now().since(before) >= pause);
    }

    #[test]
    fn a_wait_ends_in_time_on_new_kernels_and_on_old_ones() {
        for old in [false, true] {
            let mut submission =
                Submission::new(start(&RingConfig::default()).unwrap(), Vec::new());
            if old {
                submission.forget_absolute_times();
            }
            let before = clock::now();
            let until = before.after(Duration::from_millis(20));
            submission.enter(1, Some(until)).unwrap();
            assert!(clock::now() >= until && clock::now() < before.after(Duration::from_secs(5)));
            // What is past ends it at once.
            submission.enter(1, Some(before)).unwrap();
            submission.enter(1, Some(Mono::default())).unwrap();
            assert!(clock::now() < before.after(Duration::from_secs(5)));
        }
    }

    #[test]
    fn r07_a_kernel_that_stays_short_of_something_is_given_up() {
        for errno in [libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::EINTR] {
            let ring = start(&RingConfig::default()).unwrap();
            let always = vec![(0..u64::MAX, EnterFault::Refuse(errno))];
            let mut submission = Submission::new(ring, always);
            submission.busy = BUSY_MAX - 3;
            for _ in 0..3 {
                assert_eq!(submission.enter(0, None).unwrap(), Entered::Busy);
            }
            let error = submission.enter(0, None).unwrap_err();
            assert_eq!(error.source.raw_os_error(), Some(errno));
            assert!(!submission.lost, "nothing was lost");
        }
    }
}
