//! Doorbells: how a worker that is parked in its ring is woken.
//!
//! Another worker rings with a MSG_RING entry of its own ring. Any other thread rings with a system
//! call: MSG_RING without a ring where the kernel has it; else, or if the kernel has no memory for that,
//! a write to an eventfd that the ring polls.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::{Arc, Weak},
    time::Duration,
};

use io_uring::{
    IoUring, opcode,
    squeue::{Entry, Flags},
    types::{Fd, SubmitArgs, Timespec},
};

use super::abi::{self, Kind};
use crate::driver::Doorbell;

/// How often a thread tries again when the kernel has no memory for its MSG_RING.
const TRIES: usize = 100;

/// How long a message to a ring of this thread's own may take.
const TRIAL: Duration = Duration::from_secs(1);

/// How many signals may come before it.
const INTERRUPTIONS: usize = 1000;

/// The doorbell of a ring, for other workers and for other threads.
///
/// It keeps nothing of the ring: to ring after the driver is gone does nothing.
#[derive(Debug)]
pub struct RingDoorbell(Weak<Bell>);

impl RingDoorbell {
    /// A doorbell that rings this bell.
    pub(super) fn of(bell: &Arc<Bell>) -> Self {
        RingDoorbell(Arc::downgrade(bell))
    }

    /// A share of the bell, for as long as it takes to ring it; `None` if the driver is gone.
    pub(super) fn bell(&self) -> Option<Arc<Bell>> {
        self.0.upgrade()
    }
}

impl Doorbell for RingDoorbell {
    fn ring(&self) {
        if let Some(bell) = self.bell() {
            bell.ring();
        }
    }
}

/// What a ring is rung by. The driver owns it, and whoever rings has a share while that takes.
///
/// It has a descriptor of its own for the ring, so the number cannot come to mean something else while
/// somebody rings it. The last share to go closes it.
#[derive(Debug)]
pub(super) struct Bell {
    ring: OwnedFd,
    /// Whether threads try MSG_RING without a ring before they write to the eventfd.
    directly: bool,
    eventfd: OwnedFd,
}

impl Bell {
    /// The bell of the ring with this descriptor.
    pub(super) fn new(ring: BorrowedFd<'_>, directly: bool) -> io::Result<Self> {
        Ok(Bell { ring: ring.try_clone_to_owned()?, directly, eventfd: new_eventfd()? })
    }

    /// The entry with which worker number `worker` is rung. It completes only if it fails.
    pub(super) fn entry(&self, worker: u32) -> Entry {
        message(self.ring.as_raw_fd(), Kind::Doorbell)
            .flags(Flags::SKIP_SUCCESS)
            .user_data(abi::user_data_of(Kind::Rung, worker))
    }

    /// The multishot poll that the ring needs to hear threads.
    pub(super) fn poll_entry(&self) -> Entry {
        let eventfd = Fd(self.eventfd.as_raw_fd());
        let entry = opcode::PollAdd::new(eventfd, libc::POLLIN as u32).multi(true);
        let user_data = abi::user_data_of(Kind::Eventfd, 0);
        entry.build().user_data(user_data)
    }

    /// Whether threads ring it with MSG_RING.
    pub(super) fn rings_directly(&self) -> bool {
        self.directly
    }

    /// Rings, from any thread.
    fn ring(&self) {
        if !(self.directly && self.ring_directly()) {
            write_eventfd(&self.eventfd);
        }
    }

    /// Rings with MSG_RING. Returns whether the ring was told.
    fn ring_directly(&self) -> bool {
        let entry = message(self.ring.as_raw_fd(), Kind::Doorbell);
        for _ in 0..TRIES {
            match send_without_ring(&entry) {
                Ok(()) => return true,
                Err(libc::ENOMEM | libc::EAGAIN | libc::EINTR) => std::thread::yield_now(),
                Err(_) => return false,
            }
        }
        false
    }

    /// Resets the eventfd. Left as it is, it would keep the poll firing.
    pub(super) fn clear_eventfd(&self) {
        let mut count = 0u64;
        // SAFETY: reads 8 bytes into a u64. It does not block: the eventfd is non-blocking.
        unsafe { libc::read(self.eventfd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

/// A MSG_RING that arrives as this kind.
fn message(ring: RawFd, kind: Kind) -> Entry {
    let arrives_as = abi::user_data_of(kind, 0);
    opcode::MsgRingData::new(Fd(ring), 0, arrives_as, None).build()
}

fn send_without_ring(entry: &Entry) -> Result<(), i32> {
    // SAFETY: with this opcode the kernel reads one entry at the pointer and keeps nothing of it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            -1,
            abi::REGISTER_SEND_MSG_RING,
            std::ptr::from_ref(entry),
            1,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(())
}

/// Whether threads can ring this ring, which nobody uses yet, without a ring of their own. It sends a
/// message and takes it in: no error of a kernel says for sure that it would work otherwise.
pub(super) fn can_send_without_ring(ring: &mut IoUring) -> bool {
    if send_without_ring(&message(ring.as_raw_fd(), Kind::Trial)).is_err() {
        return false;
    }
    let patience = Timespec::from(TRIAL);
    let arguments = SubmitArgs::new().timespec(&patience);
    for _ in 0..INTERRUPTIONS {
        let waited = ring.submitter().submit_with_args(1, &arguments);
        if ring.completion().next().is_some() {
            return true;
        }
        if !waited.is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {
            break;
        }
    }
    // If the message still comes, it is ignored.
    false
}

fn new_eventfd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn write_eventfd(eventfd: &OwnedFd) {
    let one = 1u64;
    // SAFETY: writes the 8 bytes of a u64. It fails only if the counter is full, and then the ring has
    // been told already.
    unsafe { libc::write(eventfd.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn r54_a_thread_that_cannot_ring_directly_writes_to_the_eventfd() {
        // A descriptor that is no ring stands for a ring that refuses the message.
        let refuses = new_eventfd().unwrap();
        let bell = Bell::new(refuses.as_fd(), true).unwrap();
        assert!(!bell.ring_directly());
        bell.ring();
        let mut count = 0u64;
        // SAFETY: reads 8 bytes into a u64.
        let read = unsafe {
            libc::read(bell.eventfd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>())
        };
        assert_eq!((read, count), (8, 1));
    }

    #[test]
    fn the_entry_is_as_large_as_the_kernel_reads() {
        assert_eq!(size_of::<Entry>(), 64);
    }
}
