//! Operations as futures.
//!
//! [`Io`] is the handle that everything on a worker shares. What a future is about belongs to the
//! driver, not to the future: dropping one cancels its operation and frees nothing early.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use crate::{
    driver::{
        Abandoned, Cause, Descriptor, Doorbell, Driver, DriverCounters, DriverError, Mono,
        Operation, OperationError, OperationKey, OperationName, Output, Wait,
    },
    endpoint::Endpoint,
};

/// A worker's [`Driver`], shared by all that runs on the worker. Clones are the same driver.
///
/// The driver is borrowed only while it works, never while a waker is woken or dropped: user code that
/// runs then may use the handle.
#[derive(Clone)]
pub struct Io(Rc<RefCell<Box<dyn Driver>>>);

impl Io {
    /// A handle on a driver.
    pub fn new(driver: impl Driver + 'static) -> Self {
        Io(Rc::new(RefCell::new(Box::new(driver))))
    }

    /// Starts an operation. It fails with [`Cause::TimedOut`] if it has not ended after `deadline`.
    ///
    /// For [`Operation::Accept`] use [`accept`](Self::accept).
    pub fn run(&self, operation: Operation, deadline: Option<Duration>) -> Pending {
        let key = self.0.borrow_mut().start(operation, deadline);
        Pending { io: self.clone(), key: Some(key) }
    }

    /// Accepts connections.
    pub fn accept(&self, listener: &Descriptor) -> Accepting {
        Accepting { io: self.clone(), listener: listener.clone(), key: None }
    }

    fn poll(
        &self,
        key: OperationKey,
        context: &Context<'_>,
    ) -> Poll<Result<Output, OperationError>> {
        let mut driver = self.0.borrow_mut();
        let polled = driver.poll(key, context.waker());
        let retired = driver.retired();
        drop(driver);
        drop(retired);
        polled
    }

    fn forget(&self, key: OperationKey) {
        let mut driver = self.0.borrow_mut();
        driver.forget(key);
        let retired = driver.retired();
        drop(driver);
        drop(retired);
    }

    /// Submits, waits and takes in completions: [`Driver::enter`]. The caller wakes what is in `woken`.
    ///
    /// # Errors
    /// Only for faults after which the driver is of no more use.
    pub fn enter(&self, wait: Wait, woken: &mut Vec<Waker>) -> Result<(), DriverError> {
        self.0.borrow_mut().enter(wait, woken)
    }

    /// Whether [`enter`](Self::enter) would find something to do.
    pub fn has_news(&self) -> bool {
        self.0.borrow_mut().has_news()
    }

    /// Rings the doorbell of another worker with the next [`enter`](Self::enter).
    pub fn ring_doorbell(&self, worker: usize) {
        self.0.borrow_mut().ring_doorbell(worker);
    }

    /// Whether a doorbell that a thread rings itself is no slower: [`Driver::rings_at_once`].
    pub fn rings_at_once(&self) -> bool {
        self.0.borrow().rings_at_once()
    }

    /// This worker's own doorbell, for other threads.
    pub fn doorbell(&self) -> Arc<dyn Doorbell> {
        self.0.borrow().doorbell()
    }

    /// Operations in flight.
    pub fn in_flight(&self) -> usize {
        self.0.borrow().in_flight()
    }

    /// Waits that a fuse has ended, if any may be: [`Driver::fuses`].
    pub fn fuses(&self) -> Option<u64> {
        self.0.borrow().fuses()
    }

    /// Counters since the start.
    pub fn counters(&self) -> DriverCounters {
        self.0.borrow().counters()
    }

    /// Cancels everything in flight: [`Driver::quiesce`].
    ///
    /// # Errors
    /// With the number of operations that did not end within `patience`.
    pub fn quiesce(&self, patience: Duration) -> Result<(), Abandoned> {
        self.0.borrow_mut().quiesce(patience)
    }

    /// A stream socket that can be connected to `to`.
    ///
    /// # Errors
    /// As socket(2).
    pub fn stream_socket(&self, to: &Endpoint) -> io::Result<Descriptor> {
        self.0.borrow_mut().stream_socket(to)
    }

    /// A listening stream socket, and where it listens: [`Driver::listen`].
    ///
    /// # Errors
    /// As socket(2), bind(2) and listen(2).
    pub fn listen(&self, at: &Endpoint, backlog: u32) -> io::Result<(Descriptor, Endpoint)> {
        self.0.borrow_mut().listen(at, backlog)
    }

    /// A bound datagram socket with about `buffer` bytes of room each way, and where it is bound.
    ///
    /// # Errors
    /// As socket(2) and bind(2).
    pub fn datagram_socket(
        &self,
        at: SocketAddr,
        buffer: usize,
    ) -> io::Result<(Descriptor, SocketAddr)> {
        self.0.borrow_mut().datagram_socket(at, buffer)
    }

    /// Who is at the other end of a connection over IP.
    ///
    /// # Errors
    /// As getpeername(2); `EAFNOSUPPORT` for a Unix socket.
    pub fn peer_address(&self, socket: &Descriptor) -> io::Result<SocketAddr> {
        self.0.borrow_mut().peer_address(socket)
    }

    /// Removes the path of a Unix socket that this driver bound: [`Driver::remove_socket`].
    ///
    /// # Errors
    /// As unlink(2); [`NotFound`](io::ErrorKind::NotFound) if the driver has not bound this path.
    pub fn remove_socket(&self, path: &Path) -> io::Result<()> {
        self.0.borrow_mut().remove_socket(path)
    }

    /// The time now.
    pub fn now(&self) -> Mono {
        self.0.borrow().now()
    }

    /// The time since the Unix epoch. Never for deadlines.
    pub fn wall(&self) -> Duration {
        self.0.borrow().wall()
    }

    /// Random bytes that nobody can guess.
    pub fn entropy(&self, out: &mut [u8]) {
        self.0.borrow_mut().entropy(out);
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").finish_non_exhaustive()
    }
}

/// An operation in flight. Dropping it cancels the operation.
#[derive(Debug)]
#[must_use = "dropping it cancels the operation"]
pub struct Pending {
    io: Io,
    /// `None` when it is over.
    key: Option<OperationKey>,
}

impl Future for Pending {
    type Output = Result<Output, OperationError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled after it was over");
        let result = ready!(self.io.poll(key, context));
        self.key = None;
        Poll::Ready(result)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.io.forget(key);
        }
    }
}

/// Connections as they come in. Dropping it stops accepting; connections not yet taken are closed.
#[derive(Debug)]
pub struct Accepting {
    io: Io,
    listener: Descriptor,
    /// `None` before the first call of `next`, and after an error.
    key: Option<OperationKey>,
}

impl Accepting {
    /// The next connection. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    /// As accept(2). The next call tries again; if the error is one that stays, such as too many open
    /// files, wait a while before.
    pub async fn next(&mut self) -> Result<Descriptor, OperationError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &Context<'_>) -> Poll<Result<Descriptor, OperationError>> {
        let Accepting { io, listener, key } = self;
        let current = *key.get_or_insert_with(|| {
            let listener = listener.clone();
            io.0.borrow_mut().start(Operation::Accept { listener }, None)
        });
        Poll::Ready(match ready!(io.poll(current, context)) {
            Ok(Output::Accepted(connection)) => Ok(connection),
            Ok(other) => unreachable!("accepting brought {other:?}"),
            Err(error) => {
                *key = None;
                Err(error)
            }
        })
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.io.forget(key);
        }
    }
}

/// As an error of an operation, what a plain system call said.
pub(crate) fn failed(operation: OperationName, error: &io::Error) -> OperationError {
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    OperationError { operation, cause: Cause::Os(errno) }
}

/// A driver answers each operation with the output of its name.
#[track_caller]
pub(crate) fn mismatch(output: &Output) -> ! {
    unreachable!("the driver answered with {output:?}")
}
