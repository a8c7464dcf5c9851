//! From the kernel's result to what an operation came to.

use std::os::fd::{FromRawFd, OwnedFd};

use super::slots::{Outcome, Slot};
use crate::driver::{Cause, Fill, Operation, OperationError, OperationName, Output, PeerAddress};

/// How an operation goes on after its last completion.
pub(super) enum Step {
    /// A send moved only a part: the rest is to be sent.
    Again,
    /// It is over.
    Done(Outcome),
}

/// Looks at the results of a slot whose last completion is in. Not for accepts.
///
/// With `give_up`, what is only half done is not taken further.
pub(super) fn conclude(slot: &mut Slot, give_up: bool) -> Step {
    let result = slot.result.take().expect("the completion left it");
    let timer = Timer::of(slot.timer);
    let operation = slot.operation.take().expect("kept until now");
    let name = operation.name();
    let fail = |cause| Step::Done(Err(OperationError { operation: name, cause }));
    if result < 0 {
        return fail(cause(name, -result, timer, give_up));
    }
    let count = result as usize;
    if let Operation::Send { data, .. } = &operation {
        slot.sent += count;
        if slot.sent < data.len() {
            return match (timer, give_up, count) {
                (Timer::Fired, _, _) => fail(Cause::TimedOut),
                (_, true, _) => fail(Cause::Canceled),
                // The kernel takes at least a byte or says why not.
                (_, _, 0) => fail(Cause::Os(libc::EIO)),
                // An error that stopped it comes again, and alone; so does the deadline, if it was lost.
                _ => {
                    slot.operation = Some(operation);
                    Step::Again
                }
            };
        }
    }
    match output(operation, count, slot) {
        Ok(output) => Step::Done(Ok(output)),
        Err(cause) => fail(cause),
    }
}

/// What became of an operation's timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// There was none, or the operation ended first.
    Quiet,
    /// It cancelled the operation, interrupted it, or could not find it.
    Fired,
    /// The kernel did not set it, for this reason: the operation was cancelled because of that.
    Lost(i32),
}

impl Timer {
    /// What this result of a timeout means, if there is one.
    pub(super) fn of(result: Option<i32>) -> Self {
        match result.map_or(0, |result| -result) {
            ..=0 | libc::ECANCELED => Timer::Quiet,
            libc::ETIME | libc::EALREADY | libc::ENOENT => Timer::Fired,
            // It was linked, and to nothing: the kernel takes a pair one by one if it has no memory for
            // both at once.
            libc::EINVAL => Timer::Lost(libc::ENOMEM),
            errno => Timer::Lost(errno),
        }
    }
}

fn output(operation: Operation, count: usize, slot: &mut Slot) -> Result<Output, Cause> {
    Ok(match operation {
        Operation::Accept { .. } => unreachable!("accepts go their own way"),
        Operation::Connect { .. } => Output::Connected,
        Operation::Receive { into, .. } => {
            Output::Received { into: filled(into, count), bytes: count }
        }
        Operation::Send { .. } => Output::Sent { bytes: slot.sent },
        Operation::ReceiveFrom { into, .. } => {
            let (from, truncated) = sender(slot)?;
            Output::ReceivedFrom { into: filled(into, count), bytes: count, from, truncated }
        }
        Operation::SendTo { .. } => Output::Sent { bytes: count },
        Operation::Shutdown { .. } => Output::ShutDown,
        Operation::Open { .. } => {
            // SAFETY: a successful open returns a new descriptor, which nobody else knows of.
            let file = unsafe { OwnedFd::from_raw_fd(count as i32) };
            Output::Opened(file.into())
        }
        Operation::Read { into, .. } => Output::Read { into: filled(into, count), bytes: count },
        Operation::Write { data, .. } => Output::Written { bytes: count, data },
        Operation::Sync { .. } => Output::Synced,
        Operation::Length { .. } => Output::Length(slot.block.memory().statx.stx_size),
    })
}

/// Counts what the kernel wrote as filled.
fn filled(mut into: Fill, count: usize) -> Fill {
    match &mut into {
        // SAFETY: the kernel's result says that it wrote this many bytes from the start of the spare
        // room; `commit` checks that there are as many.
        Fill::Chunk(chunk) => unsafe { chunk.commit(count) },
        Fill::Bytes(bytes) => {
            let len = bytes.len() + count;
            assert!(len <= bytes.capacity(), "more bytes than there was room for");
            // SAFETY: as above, and just checked to lie within the capacity.
            unsafe { bytes.set_len(len) };
        }
    }
    into
}

/// Who sent the datagram that was just received, and whether it was cut.
fn sender(slot: &mut Slot) -> Result<(PeerAddress, bool), Cause> {
    let memory = slot.block.memory();
    memory.address.set_len(memory.message.msg_namelen);
    let truncated = memory.message.msg_flags & libc::MSG_TRUNC != 0;
    let from = memory.address.to_ip().ok_or(Cause::Os(libc::EAFNOSUPPORT))?;
    Ok((from, truncated))
}

/// What an error number means for an operation.
fn cause(name: OperationName, errno: i32, timer: Timer, cancelled: bool) -> Cause {
    use OperationName::{Receive, Send, Shutdown};
    match errno {
        // What a system call would have been restarted after shows through from the kernel's threads.
        512..=516 => cause(name, libc::EINTR, timer, cancelled),
        // Work that ran on another thread of the kernel ends with EINTR when it is cancelled.
        libc::ECANCELED | libc::EINTR if timer == Timer::Fired => Cause::TimedOut,
        libc::ECANCELED | libc::EINTR if let Timer::Lost(reason) = timer => Cause::Os(reason),
        libc::ECANCELED => Cause::Canceled,
        libc::EINTR if cancelled => Cause::Canceled,
        libc::EPIPE | libc::ECONNRESET | libc::ECONNABORTED => Cause::Closed,
        libc::ENOTCONN | libc::ESHUTDOWN if matches!(name, Receive | Send | Shutdown) => {
            Cause::Closed
        }
        errno => Cause::Os(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r08_timed_out_is_not_cancelled() {
        let of = |errno, timer| cause(OperationName::Receive, errno, timer, false);
        assert_eq!(of(libc::ECANCELED, Timer::Fired), Cause::TimedOut);
        assert_eq!(of(libc::ECANCELED, Timer::Quiet), Cause::Canceled);
        assert_eq!(of(libc::EINTR, Timer::Fired), Cause::TimedOut);
        assert_eq!(of(libc::EINTR, Timer::Quiet), Cause::Os(libc::EINTR));
    }

    #[test]
    fn r73_what_the_kernel_is_short_of_is_not_cancelled() {
        for errno in [libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN] {
            for timer in [Timer::Quiet, Timer::Fired, Timer::Lost(libc::EIO)] {
                for cancelled in [false, true] {
                    let cause = cause(OperationName::Send, errno, timer, cancelled);
                    assert_eq!(cause, Cause::Os(errno));
                }
            }
        }
        // The kernel cancels an operation if it has no memory for its timeout.
        let timer = Timer::of(Some(-libc::ENOMEM));
        for errno in [libc::ECANCELED, libc::EINTR] {
            let cause = cause(OperationName::Send, errno, timer, false);
            assert_eq!(cause, Cause::Os(libc::ENOMEM));
        }
        assert_eq!(Timer::of(Some(-libc::ECANCELED)), Timer::Quiet);
    }

    #[test]
    fn a_connection_that_is_gone_is_closed() {
        for errno in [libc::EPIPE, libc::ECONNRESET, libc::ENOTCONN] {
            let cause = cause(OperationName::Send, errno, Timer::Quiet, false);
            assert_eq!(cause, Cause::Closed);
        }
        let refused = cause(OperationName::Connect, libc::ECONNREFUSED, Timer::Quiet, false);
        assert_eq!(refused, Cause::Os(libc::ECONNREFUSED));
    }
}
