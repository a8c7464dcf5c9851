//! Doorbells: how a worker that is parked in its ring is woken.
//!
//! Another worker rings with a MSG_RING entry of its own ring. Any other thread rings with a system
//! call: MSG_RING without a ring where the kernel has it, else a write to an eventfd that the ring
//! polls.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use io_uring::{
    opcode,
    squeue::{Entry, Flags},
    types::Fd,
};

use super::abi::{self, Kind};
use crate::driver::Doorbell;

/// How often a thread tries again when the kernel has no memory for its MSG_RING.
const TRIES: usize = 100;

/// The doorbell of a ring, for other workers and for other threads.
///
/// It has a descriptor of its own for the ring, so the number can never come to mean something else
/// while somebody still rings it. To ring after the driver is gone does nothing.
#[derive(Debug)]
pub struct RingDoorbell {
    ring: OwnedFd,
    /// Where MSG_RING without a ring is missing.
    eventfd: Option<OwnedFd>,
    closed: AtomicBool,
}

impl RingDoorbell {
    /// The doorbell of the ring with this descriptor.
    pub(super) fn new(ring: BorrowedFd<'_>, with_eventfd: bool) -> io::Result<Self> {
        let eventfd = with_eventfd.then(new_eventfd).transpose()?;
        Ok(RingDoorbell {
            ring: ring.try_clone_to_owned()?,
            eventfd,
            closed: AtomicBool::new(false),
        })
    }

    /// Nobody listens any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Whether nobody listens any more.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The entry with which worker number `worker` is rung. It completes only if it fails.
    pub(super) fn entry(&self, worker: u32) -> Entry {
        message(self.ring.as_raw_fd())
            .flags(Flags::SKIP_SUCCESS)
            .user_data(abi::user_data_of(Kind::Rung, worker))
    }

    /// The multishot poll that the ring needs to hear threads, if it needs one.
    pub(super) fn poll_entry(&self) -> Option<Entry> {
        let eventfd = Fd(self.eventfd.as_ref()?.as_raw_fd());
        let entry = opcode::PollAdd::new(eventfd, libc::POLLIN as u32).multi(true);
        let user_data = abi::user_data_of(Kind::Eventfd, 0);
        Some(entry.build().user_data(user_data))
    }

    /// Resets the eventfd. Left as it is, it would keep the poll firing.
    pub(super) fn clear_eventfd(&self) {
        let Some(eventfd) = &self.eventfd else { return };
        let mut count = 0u64;
        // SAFETY: reads 8 bytes into a u64. It does not block: the eventfd is non-blocking.
        unsafe { libc::read(eventfd.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }
}

impl Doorbell for RingDoorbell {
    fn ring(&self) {
        if self.is_closed() {
            return;
        }
        match &self.eventfd {
            Some(eventfd) => write_eventfd(eventfd),
            None => {
                for _ in 0..TRIES {
                    match send_without_ring(self.ring.as_raw_fd()) {
                        Err(libc::ENOMEM | libc::EAGAIN | libc::EINTR) => std::thread::yield_now(),
                        _ => return,
                    }
                }
            }
        }
    }
}

/// A MSG_RING that arrives as a doorbell.
fn message(ring: RawFd) -> Entry {
    let arrives_as = abi::user_data_of(Kind::Doorbell, 0);
    opcode::MsgRingData::new(Fd(ring), 0, arrives_as, None).build()
}

fn send_without_ring(ring: RawFd) -> Result<(), i32> {
    let entry = message(ring);
    // SAFETY: with this opcode the kernel reads one entry at the pointer and keeps nothing of it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            -1,
            abi::REGISTER_SEND_MSG_RING,
            &raw const entry,
            1,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(())
}

/// Whether threads can ring without a ring of their own. Asked once per process.
pub(super) fn can_send_without_ring() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // A kernel that knows the call finds no ring at -1; one that does not finds the call invalid.
    *ANSWER.get_or_init(|| send_without_ring(-1) == Err(libc::EBADF))
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
    use super::*;

    #[test]
    fn the_entry_is_as_large_as_the_kernel_reads() {
        assert_eq!(size_of::<Entry>(), 64);
    }
}
