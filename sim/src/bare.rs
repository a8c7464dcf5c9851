//! A world without nodes: hosts whose drivers a test works by hand. For tests of the simulator itself.

use std::{cell::RefCell, rc::Rc, task::Waker, time::Duration};

use annulus::{
    host::NextTurn,
    transport::{driver::Wait, io::Io},
};

use crate::{
    Faults, Leftovers,
    driver::SimDriver,
    world::{Step, World},
};

/// See the [module](self).
pub struct BareWorld {
    world: Rc<RefCell<World>>,
    workers: Vec<Io>,
}

impl BareWorld {
    /// A world with these faults and no hosts.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let world = World::new(seed, faults, false);
        BareWorld { world: Rc::new(RefCell::new(world)), workers: Vec::new() }
    }

    /// Adds a host. Returns the drivers of its workers.
    pub fn host(&mut self, workers: usize) -> Vec<Io> {
        let mut world = self.world.borrow_mut();
        let host = world.add_host();
        // Nobody else adds workers here: their numbers are places in the list.
        for worker in world.add_workers(host, workers) {
            self.workers.push(Io::new(SimDriver::new(self.world.clone(), worker)));
        }
        self.workers[self.workers.len() - workers..].to_vec()
    }

    /// The time that has passed in the world.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.borrow().now())
    }

    /// Lets the next thing happen, and wakes who waited for it. Returns `false` if nothing happens
    /// before `until`; then it is that time.
    pub fn step(&mut self, until: Duration) -> bool {
        let step = self.world.borrow_mut().step(until.as_nanos() as u64);
        match step {
            Step::Turn(worker) => {
                let mut woken = Vec::new();
                let entered = self.workers[worker].enter(Wait::No, &mut woken);
                entered.expect("a simulated driver does not fail");
                woken.into_iter().for_each(Waker::wake);
                self.world.borrow_mut().turned(worker, NextTurn::Parked(None));
                true
            }
            Step::Action(_) | Step::Other => true,
            Step::Idle => false,
        }
    }

    /// What is open in the world.
    pub fn leftovers(&mut self) -> Leftovers {
        let (sockets, pipes, files) = self.world.borrow_mut().held();
        Leftovers { sockets, pipes, files }
    }
}
