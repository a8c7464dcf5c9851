//! The driver on io_uring. All `unsafe` code of the crate's I/O is in here.
//!
//! ```text
//!  start ──► slots ──► prepare ──► submit ──► kernel
//!  poll  ◄── slots ◄── complete ◄── enter ◄─────┘
//! ```
//!
//! - `slots` keeps every operation in flight, with all memory that the kernel uses for it.
//! - `prepare` writes the entries that ask the kernel for it, `complete` reads the results.
//! - `submit` is the ring: the queues, and the one system call.
//! - `operations` drives all these; `doorbell` wakes rings; `alarm` ends waits; `clock` tells time.
//! - `sockets` makes sockets, `unix_path` keeps their paths.
//! - `start` sets a ring up, [`probe`] asks the kernel what it has.
//! - `fault` lets system calls go wrong, for tests.
//!
//! # The kernel and memory
//! The one rule that everything leans on: what an entry points to belongs to a slot, and a slot is freed
//! by its last completion only. Not by the future, which can be dropped at any time; not by a failed
//! system call, as the kernel may have taken the entry before; not by closing the ring, since the kernel
//! goes on writing after that. A driver that cannot wait any longer leaks ring and slots.
//!
//! # What it needs
//! Linux 6.1: `DEFER_TASKRUN` and all before it. Newer features are used where they are.
//!
//! # Why a wait always ends
//! The wait asks for one completion. Every operation, every failed doorbell and every doorbell that
//! comes in is one; the deadline of the wait is the system call's own timeout, or an alarm that rings
//! no later and is a completion too. Should a wake-up be lost all the same, [`RingConfig::park_fuse`]
//! helps to find out.

mod abi;
mod address;
mod affinity;
mod alarm;
mod clock;
mod complete;
mod doorbell;
mod fault;
mod operations;
mod prepare;
pub mod probe;
mod slots;
mod sockets;
mod start;
mod submit;
mod unix_path;

use std::{
    fmt, io,
    marker::PhantomData,
    mem::ManuallyDrop,
    net::SocketAddr,
    os::fd::BorrowedFd,
    path::Path,
    sync::Arc,
    task::{Poll, Waker},
    time::Duration,
};

use io_uring::cqueue;

use self::{
    abi::Kind,
    alarm::Alarm,
    doorbell::Bell,
    operations::Operations,
    submit::{Entered, Submission, Unit},
    unix_path::BoundPath,
};
pub use self::{
    affinity::pin_to_core,
    doorbell::RingDoorbell,
    fault::EnterFault,
    start::{RingConfig, StartError},
};
use crate::{
    driver::{
        Abandoned, Descriptor, Detached, Doorbell, Driver, DriverCounters, DriverError, Mono,
        Operation, OperationError, OperationKey, Output, Wait,
    },
    endpoint::Endpoint,
};

/// System calls in a row to submit what found no room in the queue, and to fetch what the kernel holds
/// back: about 20 completions each.
const ROUNDS_MAX: usize = 64;

/// How long [`Driver::quiesce`] waits at most before it cancels once more.
const CANCEL_EVERY: Duration = Duration::from_millis(100);

/// How long a driver that is dropped waits for what is in flight.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

/// A [`Driver`] on a ring of its own. It stays on the thread that made it.
pub struct RingDriver {
    /// The ring and the slots: leaked together if the kernel does not let go of them.
    operations: ManuallyDrop<Operations>,
    bell: Arc<Bell>,
    /// Whether the poll of the doorbell's eventfd is armed.
    hearing: bool,
    peers: Vec<Option<Arc<RingDoorbell>>>,
    /// The bells that entries name which the kernel may not have seen yet.
    ringing: Vec<Arc<Bell>>,
    /// Workers whose doorbell is to be rung again.
    owed: Vec<usize>,
    /// Paths of Unix sockets that this driver has bound.
    paths: Vec<BoundPath>,
    alarm: Alarm,
    /// How long a park may last: see [`RingConfig::park_fuse`].
    fuse: Option<Duration>,
    counters: DriverCounters,
    abandoned: bool,
    /// The ring belongs to one thread, whatever the `io-uring` crate says.
    _one_thread: PhantomData<*const ()>,
}

impl RingDriver {
    /// Sets up a ring for the current thread.
    ///
    /// # Errors
    /// If the kernel is too old or does not allow it; see [`StartError`].
    pub fn new(config: &RingConfig) -> Result<Self, StartError> {
        let mut ring = start::start(config)?;
        let directly = !config.force_eventfd && doorbell::can_send_without_ring(&mut ring);
        let submission = Submission::new(ring, config.enter_faults.clone());
        // SAFETY: the ring is open for as long as `submission` lives, which is longer than the borrow.
        let ring = unsafe { BorrowedFd::borrow_raw(submission.fd()) };
        let bell = Bell::new(ring, directly).map_err(|error| start::explain(error, config))?;
        Ok(RingDriver {
            operations: ManuallyDrop::new(Operations::new(submission)),
            bell: Arc::new(bell),
            hearing: false,
            peers: Vec::new(),
            ringing: Vec::new(),
            owed: Vec::new(),
            paths: Vec::new(),
            alarm: Alarm::default(),
            fuse: config.park_fuse,
            counters: DriverCounters::default(),
            abandoned: false,
            _one_thread: PhantomData,
        })
    }

    /// This ring's doorbell, to be given to the other workers of the node.
    pub fn ring_bell(&self) -> Arc<RingDoorbell> {
        Arc::new(RingDoorbell::of(&self.bell))
    }

    /// Says how the other workers are rung: each at its index, `None` for this one.
    pub fn set_peers(&mut self, peers: Vec<Option<Arc<RingDoorbell>>>) {
        self.peers = peers;
    }

    /// Submits, waits and takes in completions: see [`Driver::enter`].
    fn turn(&mut self, wait: Wait) -> Result<(), DriverError> {
        self.ring_again();
        self.hear();
        let news = self.reap() > 0 || !self.operations.ready.is_empty();
        let ring = &mut self.operations.submission;
        ring.check()?;
        match wait {
            Wait::Until(time) if !news => self.park(time)?,
            _ if ring.has_entries() || ring.has_deferred() => {
                self.submit_and_wait(0, None)?;
            }
            _ => return Ok(()),
        }
        for _ in 0..ROUNDS_MAX {
            if !self.operations.submission.has_deferred() {
                break;
            }
            self.submit_and_wait(0, None)?;
        }
        if !self.operations.submission.has_entries() {
            self.ringing.clear();
        }
        Ok(())
    }

    /// Submits and waits until `time`, or until the fuse ends it.
    fn park(&mut self, time: Option<Mono>) -> Result<(), DriverError> {
        self.counters.parks += 1;
        let ending = self.operations.ending;
        let until = match time {
            Some(time) if !ending => self.alarmed(time),
            _ => time,
        };
        let fuse = self.fuse.filter(|_| !ending).map(|fuse| clock::now().after(fuse));
        let fuse = fuse.filter(|fuse| until.is_none_or(|until| *fuse < until));
        let seen = self.submit_and_wait(1, fuse.or(until))?;
        if time.is_some() {
            self.alarm.waited(seen);
        }
        let burnt = seen == 0 && fuse.is_some_and(|fuse| clock::now() >= fuse);
        self.counters.fuses += u64::from(burnt);
        Ok(())
    }

    /// Sets the alarm, if that is worth while. Returns until when to wait for something else than it.
    fn alarmed(&mut self, time: Mono) -> Option<Mono> {
        if let Some(entry) = self.alarm.entry(time) {
            // SAFETY: what the entry points to belongs to the alarm, which does not change it until the
            // entry's completion is in. If the driver goes before, nobody submits for it any more.
            unsafe { self.operations.submission.push(Unit::single(entry)) };
        }
        (!self.alarm.rings_by(time)).then_some(time)
    }

    /// One system call, and the completions that it brought; more than one only if a signal came first
    /// or the kernel was short of something. Whatever is to be submitted has been, then. It waits
    /// for `want` completions, until `until` at most. Returns how many came.
    fn submit_and_wait(&mut self, want: u32, until: Option<Mono>) -> Result<usize, DriverError> {
        let mut seen = 0;
        loop {
            let want = if seen == 0 { want } else { 0 };
            let entered = self.operations.submission.enter(want, until)?;
            seen += self.reap();
            let submitted = !self.operations.submission.has_entries();
            if entered == Entered::Done || (seen > 0 && submitted) {
                return Ok(seen);
            }
        }
    }

    /// Takes in the completions that are there. Returns how many.
    fn reap(&mut self) -> usize {
        let max = self.operations.submission.completions_max();
        for seen in 0..max {
            let Some(entry) = self.operations.submission.next() else {
                return seen;
            };
            let more = cqueue::more(entry.flags());
            self.take_in(entry.user_data(), entry.result(), more);
        }
        max
    }

    fn take_in(&mut self, user_data: u64, result: i32, more: bool) {
        match abi::parse(user_data) {
            Some((kind @ (Kind::Operation | Kind::Deadline), key)) => {
                self.operations.completed(kind, key, result, more);
            }
            Some((Kind::Cancel, key)) => self.operations.cancel_failed(key, result),
            Some((Kind::Doorbell, _)) => self.counters.doorbells_heard += 1,
            Some((Kind::Rung, key)) => {
                self.counters.doorbells_failed += 1;
                if matches!(-result, libc::ENOMEM | libc::EAGAIN) {
                    self.owed.push(key.index as usize);
                }
            }
            Some((Kind::Eventfd, _)) => {
                self.bell.clear_eventfd();
                self.hearing = more;
                self.counters.doorbells_heard += u64::from(result > 0);
            }
            // Too late: the timeout has fired, and its own completion says so.
            Some((Kind::Removal, _)) => {}
            Some((Kind::Alarm, _)) => self.alarm.rang(),
            // It was not taken in when the ring was made: no wake for anybody.
            Some((Kind::Trial, _)) => {}
            None => self.operations.strays += 1,
        }
    }

    /// Arms the poll of the doorbell's eventfd, if it is not armed.
    fn hear(&mut self) {
        if self.hearing || self.operations.ending {
            return;
        }
        let entry = self.bell.poll_entry();
        // SAFETY: a poll points to nothing, and the kernel holds on to the eventfd itself; until it
        // does, `bell` keeps it open.
        unsafe { self.operations.submission.push(Unit::single(entry)) };
        self.hearing = true;
    }

    /// Rings once more where the kernel had no memory for it.
    fn ring_again(&mut self) {
        for worker in std::mem::take(&mut self.owed) {
            self.ring_doorbell(worker);
        }
    }
}

impl Driver for RingDriver {
    fn start(&mut self, operation: Operation, deadline: Option<Duration>) -> OperationKey {
        let deadline = deadline.map(|deadline| clock::now().after(deadline));
        self.operations.start(operation, deadline)
    }

    fn poll(&mut self, key: OperationKey, waker: &Waker) -> Poll<Result<Output, OperationError>> {
        self.operations.poll(key, waker)
    }

    fn forget(&mut self, key: OperationKey) {
        self.operations.forget(key);
    }

    fn retired(&mut self) -> Option<Waker> {
        self.operations.retired.take()
    }

    fn enter(&mut self, wait: Wait, woken: &mut Vec<Waker>) -> Result<(), DriverError> {
        let result = self.turn(wait);
        woken.append(&mut self.operations.ready);
        result
    }

    fn has_news(&mut self) -> bool {
        self.operations.submission.has_completions() || self.operations.submission.has_deferred()
    }

    fn ring_doorbell(&mut self, worker: usize) {
        let peer = self.peers.get(worker).and_then(Option::as_ref);
        let Some(bell) = peer.and_then(|peer| peer.bell()) else {
            self.counters.doorbells_failed += 1;
            return;
        };
        let entry = bell.entry(worker as u32);
        self.ringing.push(bell);
        self.counters.doorbells_rung += 1;
        // SAFETY: a MSG_RING points to nothing. The descriptor that it names stays open: `ringing` owns
        // a share of it until the kernel has taken the entry.
        unsafe { self.operations.submission.push(Unit::single(entry)) };
    }

    fn rings_at_once(&self) -> bool {
        self.bell.rings_directly()
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        self.ring_bell()
    }

    fn in_flight(&self) -> usize {
        self.operations.in_flight()
    }

    fn fuses(&self) -> Option<u64> {
        self.fuse.map(|_| self.counters.fuses)
    }

    fn counters(&self) -> DriverCounters {
        DriverCounters {
            enters: self.operations.submission.enters,
            operations: self.operations.started,
            strays: self.operations.strays,
            ..self.counters
        }
    }

    fn quiesce(&mut self, patience: Duration) -> Result<(), Abandoned> {
        let until = clock::now().after(patience);
        self.operations.ending = true;
        loop {
            // What the kernel has not seen it cannot cancel.
            let mut result = self.turn(Wait::No);
            if result.is_ok() && self.in_flight() > 0 {
                self.operations.submission.cancel_all();
                let pause = clock::now().after(CANCEL_EVERY).min(until);
                result = self.turn(Wait::Until(Some(pause)));
            }
            if self.in_flight() == 0 && !self.operations.submission.lost {
                self.operations.ending = false;
                return Ok(());
            }
            if result.is_err() || clock::now() >= until {
                self.abandoned = true;
                return Err(Abandoned { operations: self.in_flight() });
            }
        }
    }

    fn stream_socket(&mut self, to: &Endpoint) -> io::Result<Descriptor> {
        sockets::stream(to).map(Descriptor::from)
    }

    fn listen(&mut self, at: &Endpoint, backlog: u32) -> io::Result<(Descriptor, Endpoint)> {
        let listening = sockets::listen(at, backlog)?;
        self.paths.extend(listening.path);
        Ok((listening.socket.into(), listening.at))
    }

    fn datagram_socket(
        &mut self,
        at: SocketAddr,
        buffer: usize,
    ) -> io::Result<(Descriptor, SocketAddr)> {
        let (socket, bound) = sockets::datagram(at, buffer)?;
        Ok((socket.into(), bound))
    }

    fn peer_address(&mut self, socket: &Descriptor) -> io::Result<SocketAddr> {
        match socket.inner() {
            Detached::Os(socket) => sockets::peer_address(socket),
            Detached::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn remove_socket(&mut self, path: &Path) -> io::Result<()> {
        let index = self.paths.iter().position(|bound| bound.path() == path);
        let index = index.ok_or(io::ErrorKind::NotFound)?;
        self.paths.swap_remove(index).remove()
    }

    fn now(&self) -> Mono {
        clock::now()
    }

    fn wall(&self) -> Duration {
        clock::wall()
    }

    fn entropy(&mut self, out: &mut [u8]) {
        clock::entropy(out);
    }
}

impl Drop for RingDriver {
    fn drop(&mut self) {
        let idle = !self.abandoned && self.quiesce(DROP_PATIENCE).is_ok();
        if idle {
            // SAFETY: this is the only place that drops it, and it runs once. Nothing is in flight.
            unsafe { ManuallyDrop::drop(&mut self.operations) };
        } else {
            let operations = self.in_flight();
            tracing::error!(operations, "a ring is leaked: it did not become idle");
        }
    }
}

impl fmt::Debug for RingDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingDriver")
            .field("in_flight", &self.in_flight())
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
