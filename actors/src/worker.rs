//! The worker: one thread, one ring, and the turn that it runs over and over.
//!
//! A turn, in order: enter the kernel, once, to submit and, if there was nothing else to do, to wait;
//! take in what other threads and workers have sent; hand on what links have received; run what is
//! ready, within a budget; let timers expire; publish what has been made for other
//! workers and nodes.

use std::{
    fmt,
    hint::spin_loop,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    sync::atomic::Ordering,
    task::Waker,
    time::Duration,
};

use annulus_transport::driver::{DriverError, Mono, Wait};

use crate::{
    contain::{contain, discard, panic_text, wake},
    core::Core,
    entry::Command,
    node::host::NextTurn,
    spin::Spin,
    tasks::{Runnable, Target, TaskKey},
};

/// Actors and tasks that run before timers and completions have their turn.
const STEPS_PER_TURN: usize = 256;

/// Commands from other threads that are taken in a turn.
const COMMANDS_PER_TURN: usize = 256;

/// How long a worker sleeps at most while another one does not take what is sent to it.
const FULL_LANE_PAUSE: Duration = Duration::from_micros(200);

/// How often a worker that spins looks for news in a row before it sees to its timers and to the commands of other
/// threads: about a microsecond.
const LOOKS: usize = 50;

/// See the [module](self).
pub(crate) struct Worker {
    core: Rc<Core>,
    commands: flume::Receiver<Command>,
    spin: Spin,
    /// Whether others have been told that this worker sleeps.
    parked: bool,
    /// Whether there is nothing to do, and it is too early to sleep.
    spinning: bool,
    woken: Vec<Waker>,
    /// The driver's count of fuses after the last sleep, if it has any.
    fuses: Option<u64>,
}

impl Worker {
    /// A worker that looks on for this long before it sleeps, or for as long as it finds best.
    pub(crate) fn new(
        core: Rc<Core>,
        commands: flume::Receiver<Command>,
        spin: Option<Duration>,
    ) -> Self {
        let spin = Spin::new(spin, core.now());
        let fuses = core.io.fuses();
        Worker { core, commands, spin, parked: false, spinning: false, woken: Vec::new(), fuses }
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.core
    }

    /// Runs turns until the node ends.
    pub(crate) fn run(mut self) -> Result<(), DriverError> {
        self.enter(|worker| {
            let mut wait = Wait::No;
            while !worker.core.ended.get() {
                worker.take_in(wait)?;
                wait = worker.work();
                if worker.spinning {
                    worker.look_out();
                }
            }
            worker.take_in(Wait::No)
        })
    }

    /// Does something as the thread's worker. A panic is a failure of the worker: what it was about
    /// may be half done.
    fn enter<T>(
        &mut self,
        run: impl FnOnce(&mut Self) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let core = self.core.clone();
        let ran = catch_unwind(AssertUnwindSafe(|| core.enter(|| run(self))));
        ran.unwrap_or_else(|panic| {
            let source = io::Error::other(panic_text(&panic).to_owned());
            Err(DriverError { doing: "a turn panicked", source })
        })
    }

    /// Runs one turn without blocking: for a worker that somebody else drives.
    pub(crate) fn turn(&mut self) -> Result<NextTurn, DriverError> {
        self.enter(|worker| {
            worker.take_in(Wait::No)?;
            let wait = worker.work();
            Ok(match wait {
                _ if worker.core.ended.get() => NextTurn::Never,
                Wait::No => NextTurn::Now,
                Wait::Until(until) => NextTurn::Parked(until),
            })
        })
    }

    /// Submits, waits as `wait` says, and takes in what has completed.
    fn take_in(&mut self, wait: Wait) -> Result<(), DriverError> {
        let parked = std::mem::take(&mut self.parked);
        let entered = if parked { self.sleep(wait) } else { self.enter_kernel(wait) };
        if parked {
            self.core.entry().parker.unpark();
        }
        entered?;
        if !self.woken.is_empty() {
            self.woken.drain(..).for_each(wake);
        }
        Ok(())
    }

    fn enter_kernel(&mut self, wait: Wait) -> Result<(), DriverError> {
        self.core.io.enter(wait, &mut self.woken)
    }

    /// Waits in the kernel. Where the fuse ends that although something has been sent, the doorbell may still
    /// be on its way. If it does not come for as long again, a wake-up was lost.
    fn sleep(&mut self, wait: Wait) -> Result<(), DriverError> {
        for _ in 0..2 {
            self.enter_kernel(wait)?;
            if self.fuses.is_none() {
                return Ok(());
            }
            let fuses = self.core.io.fuses();
            if std::mem::replace(&mut self.fuses, fuses) == fuses || !self.has_mail() {
                return Ok(());
            }
        }
        tracing::error!(target: "annulus", worker = self.core.worker(), "a wake-up was lost");
        self.core.entry().wakeups_lost.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether other workers or threads have sent anything that has not been taken in.
    fn has_mail(&self) -> bool {
        !self.core.lanes.is_empty() || self.core.entry().is_called()
    }

    /// Does what there is to do, within the budget of a turn. Returns how long to wait then.
    fn work(&mut self) -> Wait {
        let core = self.core.clone();
        core.refresh_now();
        let begun = core.now();
        core.clock.begin(begun);
        let mut busy = self.take_commands();
        let called = core.drain_lanes();
        busy |= called;
        core.clock.begin(core.now());
        busy |= core.walk_inbound();
        core.clock.begin(core.now());
        busy |= core.run_steps();
        // At once: other workers may wait for it. Doorbells ring when the kernel is entered, so that is next if
        // there is nothing else.
        core.flush_lanes();
        let mut rest = self.rest(busy, begun, called);
        if !rest.is_over(core.now()) {
            core.expire_timers();
            core.announce_room();
            // What links have received meanwhile: else it would cost a turn more, and a system call.
            busy |= core.walk_inbound();
            // A worker that is never out of work has not seen to it.
            core.flush_links();
            busy |= core.run_steps();
            core.flush_lanes();
            rest = self.rest(busy, begun, called);
        }
        self.park(rest)
    }

    /// What is left to do. It is looked for after the clock has been read: who hears of a slow handler then may run
    /// code of the user's.
    fn rest(&mut self, busy: bool, begun: Mono, called: bool) -> Rest {
        if busy {
            self.core.clock.read(&self.core);
            self.spin.was_busy(begun, self.core.now(), called);
        }
        // What is for other workers has just left, but for what such code has told them: that would wait as if for a
        // full lane.
        let idle = self.core.is_idle() && !self.core.lanes.are_touched();
        Rest { idle, next_timer: self.core.next_timer() }
    }

    /// Waits for a moment, or until something comes from another worker or the kernel.
    fn look_out(&self) {
        let core = &self.core;
        core.entry().set_looking(true);
        let has_news = |_: &usize| !core.lanes.is_empty() || core.io.has_news();
        (0..LOOKS).take_while(|look| !has_news(look)).for_each(|_| spin_loop());
        core.entry().set_looking(false);
    }

    fn take_commands(&mut self) -> bool {
        if !self.core.entry().hear_call() {
            return false;
        }
        let mut taken = 0;
        for command in self.commands.try_iter().take(COMMANDS_PER_TURN) {
            taken += 1;
            match command {
                Command::Wake(target) => self.core.push_ready(target),
                // The job is a user's: `spawn_with` makes an actor in it.
                Command::Run(job) => {
                    contain("a job for a worker", || job(&self.core));
                }
            }
        }
        if taken == COMMANDS_PER_TURN {
            // There may be more.
            self.core.entry().call();
        }
        taken > 0
    }

    /// Gets ready to sleep if there is nothing to do, perhaps after looking on for a while.
    fn park(&mut self, Rest { idle, next_timer }: Rest) -> Wait {
        let core = &self.core;
        self.spinning = idle && self.spin.looks_on(core.now());
        if !idle || self.spinning {
            return Wait::No;
        }
        let parker = &core.entry().parker;
        parker.prepare();
        // What was sent before the flag was up has rung no bell.
        if self.has_mail() {
            parker.cancel();
            return Wait::No;
        }
        self.parked = true;
        // A lane that is full says nothing when there is room again: look again soon.
        let full_lane = (!core.lanes.is_flushed()).then(|| core.now().after(FULL_LANE_PAUSE));
        Wait::Until([next_timer, full_lane].into_iter().flatten().min())
    }
}

/// What is left to do in a turn.
struct Rest {
    /// Nothing but to wait.
    idle: bool,
    next_timer: Option<Mono>,
}

impl Rest {
    /// Whether nothing is left that can be done now.
    fn is_over(&self, now: Mono) -> bool {
        self.idle && self.next_timer.is_none_or(|due| due > now)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of {:?}", self.core.worker(), self.core.shared)
    }
}

impl Core {
    /// Whether there is nothing to do but wait.
    fn is_idle(&self) -> bool {
        self.ready.borrow().is_empty()
            && self.inbound.borrow().is_empty()
            && !self.owes_room()
            && !self.links.any_dirty()
            && !self.ended.get()
    }

    /// Runs what is ready, within the budget of a turn. Returns whether there was anything.
    fn run_steps(self: &Rc<Self>) -> bool {
        for step in 0..STEPS_PER_TURN {
            let next = self.ready.borrow_mut().pop_front();
            if next.is_some() && self.lanes.are_touched() {
                self.wake_sleepers();
            }
            match next.map(Runnable::target) {
                Some(Target::Actor { index, generation }) => self.resume_actor(index, generation),
                Some(Target::Task(key)) => {
                    self.run_task(key);
                    self.clock.ran(self, "a task");
                }
                // Out of work: the writers of links get what has gathered meanwhile.
                None if !self.flush_links() => return step > 0,
                None => {}
            }
            if self.clock.is_over() {
                break;
            }
        }
        true
    }

    /// Starts a future on this worker.
    pub(crate) fn spawn_task(&self, future: impl Future<Output = ()> + 'static) -> TaskKey {
        self.spawn_boxed(Box::pin(future), false)
    }

    /// Starts a future of an actor on this worker.
    pub(crate) fn spawn_owned(&self, future: impl Future<Output = ()> + 'static) -> TaskKey {
        self.spawn_boxed(Box::pin(future), true)
    }

    fn spawn_boxed(&self, future: Pin<Box<dyn Future<Output = ()>>>, owned: bool) -> TaskKey {
        let key = self.tasks.insert(future, self.entry(), owned);
        self.push_ready(Runnable::task(key));
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
        let before = self.set_running(self.home());
        self.tasks.an_owned_one_runs.set(task.owned);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.poll_as(Runnable::task(key), &task.own, future.as_mut())
        }));
        self.set_running(before);
        self.tasks.an_owned_one_runs.set(false);
        match polled {
            Ok(polled) if polled.is_pending() => task.future.set(Some(future)),
            Ok(_) => {
                let task = self.tasks.remove(key);
                discard("a task", (task, future));
            }
            Err(panic) => {
                tracing::error!(target: "annulus", panic = panic_text(&panic), "a task panicked");
                let task = self.tasks.remove(key);
                discard("a task", (task, future));
            }
        }
    }
}
