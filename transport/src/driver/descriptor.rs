//! Open files and sockets.

use std::{os::fd::OwnedFd, rc::Rc, sync::mpsc::Sender};

/// An open file or socket. Clones share it; it is closed when the last one is dropped, and every
/// operation in flight holds one.
#[derive(Clone, Debug)]
pub struct Descriptor(Rc<Detached>);

/// A [`Descriptor`] without other owners, on its way to another thread.
#[derive(Debug)]
pub enum Detached {
    /// A descriptor of the operating system.
    Os(OwnedFd),
    /// A descriptor of a simulated world.
    Simulated(Simulated),
}

/// A descriptor of a simulated world: a number, which its world is told when it is closed.
#[derive(Debug)]
pub struct Simulated {
    number: u64,
    closed: Sender<u64>,
}

impl Simulated {
    /// The descriptor with this number. When it is dropped the number goes into `closed`.
    pub fn new(number: u64, closed: Sender<u64>) -> Self {
        Simulated { number, closed }
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // The world may have ended before the descriptor.
        let _ = self.closed.send(self.number);
    }
}

impl Descriptor {
    /// Takes over a descriptor.
    pub fn new(detached: Detached) -> Self {
        Descriptor(Rc::new(detached))
    }

    /// What it is.
    pub fn inner(&self) -> &Detached {
        &self.0
    }

    /// Detaches it from this thread.
    ///
    /// # Errors
    /// It comes back if others share it: operations in flight, for example.
    pub fn detach(self) -> Result<Detached, Descriptor> {
        Rc::try_unwrap(self.0).map_err(Descriptor)
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(fd: OwnedFd) -> Self {
        Descriptor::new(Detached::Os(fd))
    }
}
