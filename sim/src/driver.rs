//! A worker's way into the world: the other driver behind the seam.

use std::{
    cell::RefCell,
    io,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{Arc, mpsc::Sender},
    task::{Poll, Waker},
    time::Duration,
};

use annulus::transport::{
    driver::{
        Abandoned, Descriptor, Doorbell, Driver, DriverCounters, DriverError, Mono, Operation,
        OperationError, OperationKey, Output, Wait,
    },
    endpoint::Endpoint,
};

use crate::world::{WorkerId, World};

/// See the [module](self).
pub(crate) struct SimDriver {
    world: Rc<RefCell<World>>,
    worker: WorkerId,
    retired: Option<Waker>,
}

impl SimDriver {
    pub(crate) fn new(world: Rc<RefCell<World>>, worker: WorkerId) -> Self {
        SimDriver { world, worker, retired: None }
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        // What waits for operations may hold on to anything, and lets go of it outside of the world.
        let left = self.world.try_borrow_mut().map(|mut world| world.end_worker(self.worker));
        drop(left);
    }
}

/// Rings by a word to the world.
struct Bell {
    ringer: Sender<WorkerId>,
    worker: WorkerId,
}

impl Doorbell for Bell {
    fn ring(&self) {
        // A world that has ended hears nothing.
        let _ = self.ringer.send(self.worker);
    }
}

impl Driver for SimDriver {
    fn start(&mut self, operation: Operation, deadline: Option<Duration>) -> OperationKey {
        self.world.borrow_mut().start(self.worker, operation, deadline)
    }

    fn poll(&mut self, key: OperationKey, waker: &Waker) -> Poll<Result<Output, OperationError>> {
        let (result, retired) = self.world.borrow_mut().poll(self.worker, key, waker);
        self.retired = retired;
        result.map_or(Poll::Pending, Poll::Ready)
    }

    fn forget(&mut self, key: OperationKey) {
        self.retired = self.world.borrow_mut().forget(self.worker, key);
    }

    fn retired(&mut self) -> Option<Waker> {
        self.retired.take()
    }

    fn enter(&mut self, _: Wait, woken: &mut Vec<Waker>) -> Result<(), DriverError> {
        self.world.borrow_mut().take_woken(self.worker, woken);
        Ok(())
    }

    fn has_news(&mut self) -> bool {
        // Only those who spin ask, and here time does not pass by that.
        true
    }

    fn ring_doorbell(&mut self, worker: usize) {
        self.world.borrow_mut().ring_sibling(self.worker, worker);
    }

    fn rings_at_once(&self) -> bool {
        true
    }

    fn doorbell(&self) -> Arc<dyn Doorbell> {
        Arc::new(Bell { ringer: self.world.borrow().ringer(), worker: self.worker })
    }

    fn in_flight(&self) -> usize {
        self.world.borrow().in_flight(self.worker)
    }

    fn fuses(&self) -> Option<u64> {
        // Nobody has to wait for what is lost: nothing is.
        None
    }

    fn counters(&self) -> DriverCounters {
        self.world.borrow().counters(self.worker)
    }

    fn quiesce(&mut self, _: Duration) -> Result<(), Abandoned> {
        let useless = self.world.borrow_mut().quiesce(self.worker);
        drop(useless);
        Ok(())
    }

    fn stream_socket(&mut self, to: &Endpoint) -> io::Result<Descriptor> {
        let socket = self.world.borrow_mut().stream_socket(self.worker, to);
        socket.map_err(io::Error::from_raw_os_error)
    }

    fn listen(&mut self, at: &Endpoint, backlog: u32) -> io::Result<(Descriptor, Endpoint)> {
        let listening = self.world.borrow_mut().listen(self.worker, at, backlog);
        listening.map_err(io::Error::from_raw_os_error)
    }

    fn datagram_socket(
        &mut self,
        at: SocketAddr,
        _: usize,
    ) -> io::Result<(Descriptor, SocketAddr)> {
        let bound = self.world.borrow_mut().datagram_socket(self.worker, at);
        bound.map_err(io::Error::from_raw_os_error)
    }

    fn peer_address(&mut self, socket: &Descriptor) -> io::Result<SocketAddr> {
        self.world.borrow().peer_address(socket).map_err(io::Error::from_raw_os_error)
    }

    fn remove_socket(&mut self, path: &Path) -> io::Result<()> {
        let removed = self.world.borrow_mut().remove_socket(self.worker, path);
        if removed { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn now(&self) -> Mono {
        self.world.borrow().mono(self.worker)
    }

    fn wall(&self) -> Duration {
        self.world.borrow().wall(self.worker)
    }

    fn entropy(&mut self, out: &mut [u8]) {
        self.world.borrow_mut().entropy(out);
    }
}
