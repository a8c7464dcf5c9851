//! The worker: one thread, one ring, and the turn that it runs over and over.
//!
//! A turn, in order: take in what other threads and workers have sent; hand on what links have
//! received; run the local inbox and what is ready, within a budget; let timers expire; publish what
//! has been made for other workers and nodes; and enter the kernel, once, to submit and, if there is
//! nothing else to do, to wait.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context as TaskContext, Waker},
    time::Duration,
};

use annulus_transport::driver::{DriverError, Mono, Wait};

use crate::{
    actors::panic_text,
    core::Core,
    entry::Command,
    tasks::{Runnable, TaskKey},
};

/// Parcels, actors and tasks that run before timers and completions have their turn.
const STEPS_PER_TURN: usize = 256;

/// Commands from other threads that are taken in a turn.
const COMMANDS_PER_TURN: usize = 256;

/// How long a worker sleeps at most while another one does not take what is sent to it.
const FULL_LANE_PAUSE: Duration = Duration::from_micros(200);

/// See the [module](self).
pub(crate) struct Worker {
    core: Rc<Core>,
    commands: flume::Receiver<Command>,
    spin: Duration,
    /// When there was last something to do.
    busy_at: Mono,
    woken: Vec<Waker>,
}

impl Worker {
    pub(crate) fn new(core: Rc<Core>, commands: flume::Receiver<Command>, spin: Duration) -> Self {
        let busy_at = core.now();
        Worker { core, commands, spin, busy_at, woken: Vec::new() }
    }

    /// Runs turns until the node ends.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        let core = self.core.clone();
        core.clone().enter(|| {
            while !core.ended.get() {
                self.turn()?;
            }
            Ok(())
        })
    }

    fn turn(&mut self) -> Result<(), DriverError> {
        let core = self.core.clone();
        core.refresh_now();
        let mut busy = self.take_commands();
        busy |= core.drain_lanes();
        busy |= core.walk_inbound();
        busy |= core.run_steps();
        core.expire_timers();
        core.announce_room();
        busy |= core.run_steps();
        core.flush_lanes();
        if busy {
            self.busy_at = core.now();
        }
        self.enter_kernel()?;
        for waker in self.woken.drain(..) {
            waker.wake();
        }
        Ok(())
    }

    fn take_commands(&mut self) -> bool {
        let mut any = false;
        for command in self.commands.try_iter().take(COMMANDS_PER_TURN) {
            any = true;
            match command {
                Command::Wake(target) => self.core.push_ready(target),
                Command::Run(job) => {
                    // The job is a user's: `spawn_with` makes an actor in it.
                    let ran = catch_unwind(AssertUnwindSafe(|| job(&self.core)));
                    if let Err(panic) = ran {
                        let panic = panic_text(&panic);
                        tracing::error!(target: "annulus", panic, "a job for a worker panicked");
                    }
                }
            }
        }
        any
    }

    /// Submits, and waits if there is nothing to do: for a while by asking again and again, then
    /// parked in the kernel.
    fn enter_kernel(&mut self) -> Result<(), DriverError> {
        let core = &self.core;
        let spinning = core.now().since(self.busy_at) < self.spin;
        if !core.is_idle() || spinning {
            return core.io.enter(Wait::No, &mut self.woken);
        }
        let parker = &core.entry().parker;
        parker.prepare();
        // What was sent before the flag was up has rung no bell.
        if !core.lanes.is_empty() || !self.commands.is_empty() {
            parker.cancel();
            return core.io.enter(Wait::No, &mut self.woken);
        }
        // A lane that is full says nothing when there is room again: look again soon.
        let full_lane = (!core.lanes.is_flushed()).then(|| core.now().after(FULL_LANE_PAUSE));
        let until = [core.next_timer(), full_lane].into_iter().flatten().min();
        let entered = core.io.enter(Wait::Until(until), &mut self.woken);
        parker.unpark();
        entered
    }
}

impl Core {
    /// Whether there is nothing to do but wait.
    fn is_idle(&self) -> bool {
        self.ready.borrow().is_empty()
            && self.inbox.borrow().is_empty()
            && self.inbound.borrow().is_empty()
            && !self.owes_room()
            && !self.links.any_dirty()
            && !self.ended.get()
    }

    /// Runs the local inbox and what is ready, within the budget of a turn. Returns whether there was
    /// anything.
    fn run_steps(self: &Rc<Self>) -> bool {
        for step in 0..STEPS_PER_TURN {
            let parcel = self.inbox.borrow_mut().pop();
            let had_parcel = parcel.is_some();
            if let Some(parcel) = parcel {
                self.walk(parcel, true);
                self.inbox.borrow_mut().rewind();
                self.room_made.set(true);
            }
            let next = self.ready.borrow_mut().pop_front();
            match next {
                Some(Runnable::Actor { index, generation }) => self.resume_actor(index, generation),
                Some(Runnable::Task(key)) => self.run_task(key),
                // Out of work: the writers of links get what has gathered meanwhile.
                None if !had_parcel && !self.flush_links() => return step > 0,
                None => {}
            }
        }
        true
    }

    /// Starts a future on this worker.
    pub(crate) fn spawn_task(&self, future: impl Future<Output = ()> + 'static) -> TaskKey {
        let key = self.tasks.insert(Box::pin(future), self.entry());
        self.push_ready(Runnable::Task(key));
        key
    }

    fn run_task(&self, key: TaskKey) {
        let Some(task) = self.tasks.find(key) else {
            return;
        };
        let Some(mut future) = task.future.take() else {
            return;
        };
        task.own.wake.disarm();
        let before = self.running.take();
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut TaskContext::from_waker(&task.own.waker))
        }));
        self.running.replace(before);
        match polled {
            Ok(polled) if polled.is_pending() => task.future.set(Some(future)),
            Ok(_) => drop(self.tasks.remove(key)),
            Err(panic) => {
                tracing::error!(target: "annulus", panic = panic_text(&panic), "a task panicked");
                drop(self.tasks.remove(key));
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            }
        }
    }
}
