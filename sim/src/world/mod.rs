//! The world: time, what happens when, and the kernels of all hosts.
//!
//! Everything that will happen is ordered by time, then by chance, then by when it was scheduled: the
//! turns of workers in a tournament, all else in a heap. The world happens until a worker is to have its
//! turn; the turn itself is run by the [simulator](crate::Sim), since the workers are its own.

mod operations;
mod schedule;
mod turns;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    task::Waker,
    time::Duration,
};

use annulus::{
    host::NextTurn,
    transport::driver::{DriverCounters, Mono, OperationKey},
};
use slab::Slab;

use crate::{
    disk::{Disk, Opened},
    faults::Faults,
    marks::Marks,
    net::{HostId, Net},
    random::Random,
    trace::Trace,
};

pub(crate) use self::schedule::{Event, Scope};
use self::{
    operations::Slot,
    schedule::{Common, Place},
    turns::Turns,
};

/// A worker of a node, in one of the node's lives. Numbers are not used again.
pub(crate) type WorkerId = usize;

/// Where the wall clock stands when a world begins.
const WALL_START: u64 = 1_700_000_000_000_000_000;

/// Drift is in parts per million.
const MILLION: u64 = 1_000_000;

/// An operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    worker: WorkerId,
    key: OperationKey,
}

/// A worker, as its kernel sees it.
#[derive(Debug)]
struct WorkerState {
    host: HostId,
    /// The workers of the same life of the node.
    siblings: std::ops::Range<WorkerId>,
    alive: bool,
    slots: Slab<Slot>,
    generation: u32,
    woken: Vec<Waker>,
    counters: DriverCounters,
}

#[derive(Debug)]
struct Host {
    disk: Disk,
    /// What its wall clock shows beyond the time that has passed.
    wall: i64,
    /// How much faster its monotonic clock runs, in parts per million.
    drift: i64,
    paused_until: u64,
}

/// What the simulator has to do next.
#[derive(Debug)]
pub(crate) enum Step {
    /// This worker has its turn.
    Turn(WorkerId),
    /// The test's own action with this number.
    Action(usize),
    /// Nothing that concerns it; time may have passed.
    Other,
    /// Nothing happens until the time given.
    Idle,
}

/// See the [module](self).
pub(crate) struct World {
    common: Common,
    net: Net,
    net_random: Random,
    disk_random: Random,
    kernel_random: Random,
    entropy: Random,
    hosts: Vec<Host>,
    workers: Vec<WorkerState>,
    turns: Turns,
    files: std::collections::BTreeMap<u64, Opened>,
    closed: Receiver<u64>,
    closer: Sender<u64>,
    rung: Receiver<WorkerId>,
    ringer: Sender<WorkerId>,
}

impl World {
    pub(crate) fn new(seed: u64, faults: Faults, aloud: bool) -> Self {
        let mut random = Random::new(seed);
        let (closer, closed) = channel();
        let (ringer, rung) = channel();
        World {
            common: Common::new(random.fork(), faults, aloud),
            net: Net::default(),
            net_random: random.fork(),
            disk_random: random.fork(),
            kernel_random: random.fork(),
            entropy: random.fork(),
            hosts: Vec::new(),
            workers: Vec::new(),
            turns: Turns::default(),
            files: std::collections::BTreeMap::new(),
            closed,
            closer,
            rung,
            ringer,
        }
    }

    // --- Time and chance ---------------------------------------------------------------------------

    pub(crate) fn now(&self) -> u64 {
        self.common.now
    }

    pub(crate) fn faults_mut(&mut self) -> &mut Faults {
        &mut self.common.faults
    }

    pub(crate) fn marks_mut(&mut self) -> &mut Marks {
        &mut self.common.marks
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.common.marks
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.common.trace
    }

    pub(crate) fn say(&mut self, what: std::fmt::Arguments<'_>) {
        self.common.trace.say(self.common.now, what);
    }

    pub(crate) fn entropy(&mut self, out: &mut [u8]) {
        self.entropy.fill(out);
    }

    pub(crate) fn schedule_action(&mut self, delay: Duration, action: usize) {
        self.common.schedule(delay.as_nanos() as u64, Event::Action(action));
    }

    fn mono_of(&self, host: HostId) -> u64 {
        let (now, drift) = (self.common.now, self.hosts[host].drift);
        // By parts: a product would need 128 bits, and every turn asks for the time.
        let (millions, rest) = ((now / MILLION) as i64, (now % MILLION) as i64);
        now.saturating_add_signed(millions * drift + rest * drift / MILLION as i64)
    }

    /// When a host's monotonic clock will show `mono`, or a moment later.
    fn when(&self, host: HostId, mono: Mono) -> u64 {
        let rate = MILLION.saturating_add_signed(self.hosts[host].drift);
        let (whole, rest) = (mono.0 / rate, mono.0 % rate);
        whole.saturating_mul(MILLION).saturating_add(rest * MILLION / rate + 2)
    }

    pub(crate) fn mono(&self, worker: WorkerId) -> Mono {
        Mono(self.mono_of(self.workers[worker].host))
    }

    pub(crate) fn wall(&self, worker: WorkerId) -> Duration {
        let host = self.workers[worker].host;
        Duration::from_nanos(
            (WALL_START + self.common.now).saturating_add_signed(self.hosts[host].wall),
        )
    }

    // --- Hosts -------------------------------------------------------------------------------------

    pub(crate) fn add_host(&mut self) -> HostId {
        let most = self.common.faults.drift;
        let drift = self.kernel_random.between(0, 2 * most) as i64 - most as i64;
        self.hosts.push(Host { disk: Disk::default(), wall: 0, drift, paused_until: 0 });
        self.hosts.len() - 1
    }

    /// The workers of a new life of a host's node.
    pub(crate) fn add_workers(&mut self, host: HostId, count: usize) -> std::ops::Range<WorkerId> {
        let siblings = self.workers.len()..self.workers.len() + count;
        for _ in 0..count {
            self.workers.push(WorkerState {
                host,
                siblings: siblings.clone(),
                alive: true,
                slots: Slab::new(),
                generation: 0,
                woken: Vec::new(),
                counters: DriverCounters::default(),
            });
        }
        for worker in siblings.clone() {
            self.wake(worker);
        }
        siblings
    }

    pub(crate) fn net_mut(&mut self) -> &mut Net {
        &mut self.net
    }

    pub(crate) fn pause(&mut self, host: HostId, time: Duration) {
        self.hosts[host].paused_until = self.common.now + time.as_nanos() as u64;
    }

    pub(crate) fn step_wall(&mut self, host: HostId, by: i64) {
        self.hosts[host].wall += by;
    }

    /// A host's workers do nothing any more; nor do their operations.
    pub(crate) fn stop_workers(&mut self, workers: std::ops::Range<WorkerId>) {
        for worker in workers {
            self.workers[worker].alive = false;
            self.turns.set(worker, Place::NEVER);
        }
    }

    /// The process of a host has ended: its kernel closes its sockets.
    pub(crate) fn close_all(&mut self, host: HostId) {
        for socket in self.net.sockets_of(host) {
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            self.net.close(&mut scope, socket);
        }
    }

    /// A host loses its power.
    pub(crate) fn lose_power(&mut self, host: HostId) {
        self.net.vanish(host);
        self.net.set_down(host, true);
        let mut scope = Scope { common: &mut self.common, random: &mut self.disk_random };
        self.hosts[host].disk.lose_power(&mut scope);
    }

    pub(crate) fn power_on(&mut self, host: HostId) {
        self.net.set_down(host, false);
    }

    pub(crate) fn disk_of(&self, host: HostId) -> Disk {
        self.hosts[host].disk.clone()
    }

    pub(crate) fn put_disk(&mut self, host: HostId, disk: Disk) {
        self.hosts[host].disk = disk;
    }

    // --- What happens ------------------------------------------------------------------------------

    /// Lets things happen until one concerns the simulator, or until the time given.
    pub(crate) fn run(&mut self, until: u64) -> Step {
        self.hear();
        loop {
            match self.happen_next(until) {
                Step::Other => {}
                step => return step,
            }
        }
    }

    /// Lets the next thing happen, if it does before `until`.
    pub(crate) fn step(&mut self, until: u64) -> Step {
        self.hear();
        self.happen_next(until)
    }

    fn happen_next(&mut self, until: u64) -> Step {
        let (event, (turn, worker)) = (self.common.next(), self.turns.first());
        let at = event.min(turn).at;
        if at > until || at == Place::NEVER.at {
            self.common.now = self.common.now.max(until);
            return Step::Idle;
        }
        self.common.now = at;
        if turn < event {
            return if self.begin_turn(worker) { Step::Turn(worker) } else { Step::Other };
        }
        match self.common.pop() {
            Some(Event::Action(action)) => return Step::Action(action),
            Some(event) => self.happen(event),
            None => {}
        }
        Step::Other
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Try(operation) => self.attempt(operation),
            Event::Deadline(operation) => self.time_out(operation),
            Event::Bell(worker) => {
                self.workers[worker].counters.doorbells_heard += 1;
                self.wake(worker);
            }
            Event::Net(event) => {
                self.common.trace.note(self.common.now, 1, 0);
                let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
                self.net.happen(&mut scope, event);
            }
            // The simulator's own.
            Event::Action(_) => {}
        }
    }

    /// Takes in what was closed and rung outside of the driver.
    fn hear(&mut self) {
        self.hear_closed();
        while let Ok(worker) = self.rung.try_recv() {
            self.ring(worker);
        }
    }

    fn hear_closed(&mut self) {
        while let Ok(descriptor) = self.closed.try_recv() {
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            self.net.close(&mut scope, descriptor);
            self.files.remove(&descriptor);
        }
    }

    /// Returns whether the worker has its turn now.
    fn begin_turn(&mut self, worker: WorkerId) -> bool {
        let resumes = self.hosts[self.workers[worker].host].paused_until;
        if resumes > self.common.now {
            self.turns.set(worker, self.common.place_at(resumes));
            return false;
        }
        self.common.trace.note(self.common.now, 2, worker as u64);
        true
    }

    /// A worker has had its turn.
    pub(crate) fn turned(&mut self, worker: WorkerId, next: NextTurn) {
        let mut busy = self.kernel_random.time(self.common.faults.turn);
        if self.kernel_random.happens(self.common.faults.slow_turn) {
            self.common.marks.hit("turn was slow");
            busy *= 100;
        }
        let state = &self.workers[worker];
        let soonest = self.common.now + busy;
        let at = match next {
            NextTurn::Never => None,
            NextTurn::Now => Some(soonest),
            NextTurn::Parked(_) if !state.woken.is_empty() => Some(soonest),
            NextTurn::Parked(Some(mono)) => Some(self.when(state.host, mono).max(soonest)),
            NextTurn::Parked(None) => None,
        };
        let next = at.map_or(Place::NEVER, |at| self.common.place_at(at));
        self.turns.set(worker, next);
    }

    fn wake(&mut self, worker: WorkerId) {
        if self.workers[worker].alive {
            // Unless it has one sooner.
            let at = self.common.now + self.kernel_random.between(200, 5_000);
            if at < self.turns.of(worker).at {
                self.turns.set(worker, self.common.place_at(at));
            }
        }
    }

    fn ring(&mut self, worker: WorkerId) {
        let mut delay = self.kernel_random.between(200, 20_000);
        if self.kernel_random.happens(self.common.faults.late_bell) {
            self.common.marks.hit("doorbell was late");
            delay = self.kernel_random.between(20_000, 1_000_000);
        }
        self.common.schedule(delay, Event::Bell(worker));
    }
}
