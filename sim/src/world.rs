//! The world: time, what happens when, and the kernels of all hosts.
//!
//! Everything that will happen is in one heap, ordered by time, then by chance, then by when it was put
//! there. The world happens until a worker is to have its turn; the turn itself is run by the
//! [simulator](crate::Sim), since the workers are its own.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
    task::Waker,
    time::Duration,
};

use annulus::{
    host::NextTurn,
    transport::{
        driver::{
            Cause, Data, Descriptor, Detached, DriverCounters, Fill, MAX_PIECES, Mono,
            Operation as Request, OperationError, OperationKey, OperationName, Output, Simulated,
        },
        endpoint::Endpoint,
    },
};
use slab::Slab;

use crate::{
    disk::{Disk, Opened},
    faults::Faults,
    marks::Marks,
    net::{HostId, Net, NetEvent, SocketId},
    random::Random,
    trace::Trace,
};

/// A worker of a node, in one of the node's lives. Numbers are not used again.
pub(crate) type WorkerId = usize;

/// Where the wall clock stands when a world begins.
const WALL_START: u64 = 1_700_000_000_000_000_000;

/// An operation in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    worker: WorkerId,
    key: OperationKey,
}

/// What happens at a certain time.
#[derive(Debug)]
pub(crate) enum Event {
    /// A worker has its turn.
    Turn(WorkerId),
    /// An operation is tried.
    Try(Operation),
    /// An operation's deadline has come.
    Deadline(Operation),
    /// A doorbell rings.
    Bell(WorkerId),
    /// Something happens in the network.
    Net(NetEvent),
    /// Something that the test wants to happen.
    Action(usize),
}

#[derive(Debug)]
struct Scheduled {
    at: u64,
    chance: u32,
    number: u64,
    event: Event,
}

impl Scheduled {
    fn order(&self) -> (u64, u32, u64) {
        (self.at, self.chance, self.number)
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

/// What the parts of a world share: time, chance, and the list of what is to happen.
#[derive(Debug)]
struct Common {
    now: u64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    descriptors: u64,
    faults: Faults,
    order: Random,
    marks: Marks,
    trace: Trace,
}

/// What a part of the world sees of the rest while something happens in it.
pub(crate) struct Scope<'a> {
    common: &'a mut Common,
    random: &'a mut Random,
}

impl Scope<'_> {
    pub(crate) fn now(&self) -> u64 {
        self.common.now
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.common.faults
    }

    pub(crate) fn mark(&mut self, mark: &'static str) {
        self.common.marks.hit(mark);
    }

    pub(crate) fn schedule(&mut self, delay: u64, event: Event) {
        self.common.schedule(delay, event);
    }

    pub(crate) fn next_descriptor(&mut self) -> u64 {
        self.common.descriptors += 1;
        self.common.descriptors
    }

    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.random.between(least, most)
    }

    /// Whether a fault happens, which is marked then.
    pub(crate) fn chance(&mut self, rate: impl FnOnce(&Faults) -> f64, mark: &'static str) -> bool {
        let happens = self.random.happens(rate(&self.common.faults));
        if happens {
            self.common.marks.hit(mark);
        }
        happens
    }

    /// `most`, or less.
    pub(crate) fn shorten(&mut self, most: usize, mark: &'static str) -> usize {
        if most > 1 && self.chance(|faults| faults.short, mark) {
            self.random.between(1, most as u64) as usize
        } else {
            most
        }
    }

    /// How long something is under way from one host to another.
    pub(crate) fn delay(&mut self, from: HostId, to: HostId) -> u64 {
        if from == to {
            return self.random.between(2_000, 30_000);
        }
        self.random.time(self.common.faults.latency)
    }

    /// What these operations wait for may have come.
    pub(crate) fn ready(&mut self, waiting: &mut Vec<Operation>) {
        for operation in waiting.drain(..) {
            let delay = self.random.time(self.common.faults.operation);
            self.common.schedule(delay, Event::Try(operation));
        }
    }
}

impl Common {
    fn schedule(&mut self, delay: u64, event: Event) {
        self.scheduled += 1;
        let chance = self.order.between(0, u64::from(u32::MAX)) as u32;
        let at = self.now.saturating_add(delay);
        self.heap.push(Reverse(Scheduled { at, chance, number: self.scheduled, event }));
    }
}

/// An operation of a worker.
#[derive(Debug)]
struct Slot {
    generation: u32,
    request: Option<Request>,
    /// Bytes of it that have been sent.
    sent: usize,
    /// Whether it is in the disk's hands, for which it waits no longer than that.
    begun: bool,
    results: std::collections::VecDeque<Result<Output, OperationError>>,
    waker: Option<Waker>,
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
    next_turn: Option<u64>,
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
            common: Common {
                now: 0,
                heap: BinaryHeap::new(),
                scheduled: 0,
                descriptors: 0,
                faults,
                order: random.fork(),
                marks: Marks::default(),
                trace: Trace::new(aloud),
            },
            net: Net::default(),
            net_random: random.fork(),
            disk_random: random.fork(),
            kernel_random: random.fork(),
            entropy: random.fork(),
            hosts: Vec::new(),
            workers: Vec::new(),
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
        now.saturating_add_signed(((now as i128 * i128::from(drift)) / 1_000_000) as i64)
    }

    /// When a host's monotonic clock will show `mono`, or a moment later.
    fn when(&self, host: HostId, mono: Mono) -> u64 {
        let rate = 1_000_000 + i128::from(self.hosts[host].drift);
        let at = i128::from(mono.0) * 1_000_000 / rate + 2;
        u64::try_from(at).unwrap_or(u64::MAX)
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
                next_turn: None,
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

    /// Lets the next thing happen, if it does before `until`.
    pub(crate) fn step(&mut self, until: u64) -> Step {
        self.hear();
        let next = self.common.heap.peek().map(|Reverse(next)| next.at);
        if next.is_none_or(|at| at > until) {
            self.common.now = self.common.now.max(until);
            return Step::Idle;
        }
        let Some(Reverse(Scheduled { at, event, .. })) = self.common.heap.pop() else {
            return Step::Idle;
        };
        self.common.now = at;
        match event {
            Event::Turn(worker) => return self.turn(worker),
            Event::Action(action) => return Step::Action(action),
            Event::Try(operation) => self.attempt(operation),
            Event::Deadline(operation) => self.time_out(operation),
            Event::Bell(worker) => {
                self.workers[worker].counters.doorbells_heard += 1;
                self.wake(worker);
            }
            Event::Net(event) => {
                self.common.trace.note(at, 1, 0);
                let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
                self.net.happen(&mut scope, event);
            }
        }
        Step::Other
    }

    /// Takes in what was closed and rung outside of the driver.
    fn hear(&mut self) {
        while let Ok(descriptor) = self.closed.try_recv() {
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            self.net.close(&mut scope, descriptor);
            self.files.remove(&descriptor);
        }
        while let Ok(worker) = self.rung.try_recv() {
            self.ring(worker);
        }
    }

    fn turn(&mut self, worker: WorkerId) -> Step {
        let now = self.common.now;
        let state = &mut self.workers[worker];
        if !state.alive || state.next_turn != Some(now) {
            return Step::Other;
        }
        state.next_turn = None;
        let resumes = self.hosts[state.host].paused_until;
        if resumes > now {
            self.turn_after(worker, resumes - now);
            return Step::Other;
        }
        self.common.trace.note(now, 2, worker as u64);
        Step::Turn(worker)
    }

    /// A worker has had its turn.
    pub(crate) fn turned(&mut self, worker: WorkerId, next: NextTurn) {
        let mut busy = self.kernel_random.time(self.common.faults.turn);
        if self.kernel_random.happens(self.common.faults.slow_turn) {
            self.common.marks.hit("turn was slow");
            busy *= 100;
        }
        let state = &self.workers[worker];
        match next {
            NextTurn::Never => {}
            NextTurn::Now => self.turn_after(worker, busy),
            NextTurn::Parked(_) if !state.woken.is_empty() => self.turn_after(worker, busy),
            NextTurn::Parked(Some(mono)) => {
                let at = self.when(state.host, mono);
                self.turn_after(worker, at.saturating_sub(self.common.now).max(busy));
            }
            NextTurn::Parked(None) => {}
        }
    }

    /// Gives a worker its next turn after `delay`, unless it has one sooner.
    fn turn_after(&mut self, worker: WorkerId, delay: u64) {
        let at = self.common.now + delay;
        let state = &mut self.workers[worker];
        if state.next_turn.is_none_or(|next| next > at) {
            state.next_turn = Some(at);
            self.common.schedule(delay, Event::Turn(worker));
        }
    }

    fn wake(&mut self, worker: WorkerId) {
        if self.workers[worker].alive {
            let delay = self.kernel_random.between(200, 5_000);
            self.turn_after(worker, delay);
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

    // --- The driver's side -------------------------------------------------------------------------

    pub(crate) fn ringer(&self) -> Sender<WorkerId> {
        self.ringer.clone()
    }

    pub(crate) fn ring_sibling(&mut self, worker: WorkerId, number: usize) {
        let state = &mut self.workers[worker];
        let sibling = state.siblings.clone().nth(number).filter(|sibling| *sibling != worker);
        let Some(sibling) = sibling else {
            state.counters.doorbells_failed += 1;
            return;
        };
        if state.alive {
            state.counters.doorbells_rung += 1;
            self.ring(sibling);
        }
    }

    pub(crate) fn counters(&self, worker: WorkerId) -> DriverCounters {
        self.workers[worker].counters
    }

    pub(crate) fn in_flight(&self, worker: WorkerId) -> usize {
        // What has ended and is not yet polled is not in flight.
        self.workers[worker].slots.iter().filter(|(_, slot)| slot.request.is_some()).count()
    }

    pub(crate) fn take_woken(&mut self, worker: WorkerId, woken: &mut Vec<Waker>) {
        let state = &mut self.workers[worker];
        state.counters.enters += 1;
        woken.append(&mut state.woken);
    }

    pub(crate) fn start(
        &mut self,
        worker: WorkerId,
        request: Request,
        deadline: Option<Duration>,
    ) -> OperationKey {
        let state = &mut self.workers[worker];
        state.generation = state.generation.wrapping_add(1);
        state.counters.operations += 1;
        let generation = state.generation;
        let index = state.slots.insert(Slot {
            generation,
            request: Some(request),
            sent: 0,
            begun: false,
            results: std::collections::VecDeque::new(),
            waker: None,
        });
        let key = OperationKey { index: index as u32, generation };
        let operation = Operation { worker, key };
        if state.alive {
            let delay = self.kernel_random.time(self.common.faults.operation);
            self.common.schedule(delay, Event::Try(operation));
            if let Some(deadline) = deadline {
                let after = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
                self.common.schedule(after, Event::Deadline(operation));
            }
        }
        key
    }

    fn slot(&mut self, operation: Operation) -> Option<&mut Slot> {
        let slots = &mut self.workers[operation.worker].slots;
        let slot = slots.get_mut(operation.key.index as usize)?;
        (slot.generation == operation.key.generation).then_some(slot)
    }

    /// The next result of an operation. If there is none, `waker` is kept; the one before comes back.
    pub(crate) fn poll(
        &mut self,
        worker: WorkerId,
        key: OperationKey,
        waker: &Waker,
    ) -> (Option<Result<Output, OperationError>>, Option<Waker>) {
        let slot = self.slot(Operation { worker, key }).expect("the key is out of date");
        match slot.results.pop_front() {
            None => (None, slot.waker.replace(waker.clone())),
            Some(result) => {
                let over = slot.request.is_none() && slot.results.is_empty();
                let old = slot.waker.take();
                if over {
                    self.workers[worker].slots.remove(key.index as usize);
                }
                (Some(result), old)
            }
        }
    }

    /// Gives an operation up.
    pub(crate) fn forget(&mut self, worker: WorkerId, key: OperationKey) -> Option<Waker> {
        let operation = Operation { worker, key };
        let slot = self.slot(operation)?;
        let waker = slot.waker.take();
        if let Some(Request::Receive { socket, .. }) = &slot.request
            && let Some(socket) = number_of(socket)
            && self.kernel_random.happens(self.common.faults.lost_receive)
        {
            // The cancel has lost the race: the operation has taken bytes, and nobody gets them.
            let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
            if let Some(Ok(bytes)) = self.net.receive(&mut scope, socket, 4096, operation)
                && !bytes.is_empty()
            {
                scope.mark("a dropped receive took bytes");
            }
        }
        self.workers[worker].slots.remove(key.index as usize);
        waker
    }

    /// Cancels all operations of a worker. Returns wakers that nobody will wake.
    pub(crate) fn quiesce(&mut self, worker: WorkerId) -> Vec<Waker> {
        let slots = self.workers[worker].slots.iter();
        let keys: Vec<OperationKey> = slots
            .map(|(index, slot)| (index as u32, slot.generation))
            .map(|(index, generation)| OperationKey { index, generation })
            .collect();
        for key in keys {
            self.end(Operation { worker, key }, Err(Cause::Canceled));
        }
        let state = &mut self.workers[worker];
        if state.alive { Vec::new() } else { std::mem::take(&mut state.woken) }
    }

    /// A worker's driver is gone. Returns what is left of it, to be dropped.
    pub(crate) fn end_worker(&mut self, worker: WorkerId) -> impl Sized + use<> {
        let state = &mut self.workers[worker];
        state.alive = false;
        (std::mem::take(&mut state.slots), std::mem::take(&mut state.woken))
    }

    fn finish(&mut self, operation: Operation, result: Result<Output, OperationError>) {
        let worker = operation.worker;
        let Some(slot) = self.slot(operation) else { return };
        slot.results.push_back(result);
        let waker = slot.waker.take();
        self.common.trace.note(self.common.now, 3, worker as u64);
        self.workers[worker].woken.extend(waker);
        self.wake(worker);
    }

    /// The operation is over with this.
    fn end(&mut self, operation: Operation, outcome: Result<Output, Cause>) {
        let Some(slot) = self.slot(operation) else { return };
        let Some(request) = slot.request.take() else { return };
        let name = request.name();
        drop(request);
        self.finish(operation, outcome.map_err(|cause| OperationError { operation: name, cause }));
    }

    fn time_out(&mut self, operation: Operation) {
        self.end(operation, Err(Cause::TimedOut));
    }

    /// Tries an operation. If it cannot be done yet, it is noted where it waits.
    fn attempt(&mut self, operation: Operation) {
        if !self.workers[operation.worker].alive {
            return;
        }
        let Some(slot) = self.slot(operation) else { return };
        let Some(mut request) = slot.request.take() else { return };
        let (mut sent, mut begun) = (slot.sent, slot.begun);
        let outcome = self.perform(operation, &mut request, &mut sent, &mut begun);
        if let Some(slot) = self.slot(operation) {
            slot.sent = sent;
            slot.begun = begun;
            slot.request = Some(request);
        }
        match outcome {
            None => {}
            Some(Ok(Output::Accepted(connection))) => {
                self.finish(operation, Ok(Output::Accepted(connection)));
                // More may have come.
                let delay = self.kernel_random.time(self.common.faults.operation);
                self.common.schedule(delay, Event::Try(operation));
            }
            Some(outcome) => self.end(operation, outcome),
        }
    }

    fn perform(
        &mut self,
        operation: Operation,
        request: &mut Request,
        sent: &mut usize,
        begun: &mut bool,
    ) -> Option<Result<Output, Cause>> {
        let name = request.name();
        let is_disk = matches!(
            name,
            OperationName::Open
                | OperationName::Read
                | OperationName::Write
                | OperationName::Sync
                | OperationName::Length
        );
        if !*begun && name != OperationName::Accept && self.is_short_of_memory() {
            return Some(Err(Cause::Os(libc::ENOMEM)));
        }
        if is_disk {
            if !std::mem::replace(begun, true) {
                self.wait_for_disk(operation);
                return None;
            }
            return Some(self.perform_on_disk(operation.worker, request));
        }
        self.perform_on_net(operation, request, sent)
    }

    fn is_short_of_memory(&mut self) -> bool {
        let short = self.kernel_random.happens(self.common.faults.no_memory);
        if short {
            self.common.marks.hit("no memory for an operation");
        }
        short
    }

    fn wait_for_disk(&mut self, operation: Operation) {
        let faults = &self.common.faults.disk;
        let mut delay = self.disk_random.time(faults.latency);
        if self.disk_random.happens(faults.stall) {
            self.common.marks.hit("disk stalled");
            delay *= 1000;
        }
        self.common.schedule(delay, Event::Try(operation));
    }

    fn perform_on_net(
        &mut self,
        operation: Operation,
        request: &mut Request,
        sent: &mut usize,
    ) -> Option<Result<Output, Cause>> {
        let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
        let net = &mut self.net;
        let name = request.name();
        let failed = |errno| cause(name, errno);
        match request {
            Request::Accept { listener } => {
                let accepted = net.accept(&mut scope, number_of(listener)?, operation)?;
                let closer = self.closer.clone();
                Some(accepted.map_err(failed).map(|socket| {
                    let detached = Detached::Simulated(Simulated::new(socket, closer));
                    Output::Accepted(Descriptor::new(detached))
                }))
            }
            Request::Connect { socket, to } => {
                let connected = net.connect(&mut scope, number_of(socket)?, to, operation)?;
                Some(connected.map(|()| Output::Connected).map_err(failed))
            }
            Request::Receive { socket, into } => {
                let room = into.room();
                if room == 0 {
                    return Some(Err(Cause::Os(libc::ENOBUFS)));
                }
                match net.receive(&mut scope, number_of(socket)?, room, operation)? {
                    Ok(bytes) => {
                        let mut into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                        let filled = into.fill(&bytes);
                        debug_assert!(filled, "no more was received than there is room for");
                        Some(Ok(Output::Received { into, bytes: bytes.len() }))
                    }
                    Err(errno) => Some(Err(failed(errno))),
                }
            }
            Request::Send { socket, data } => {
                let socket = number_of(socket)?;
                let whole = data.len();
                loop {
                    // To send nothing fails as well where nothing can be sent.
                    let piece = data.pieces(*sent).next().unwrap_or_default();
                    match net.send(&mut scope, socket, piece, operation)? {
                        Ok(taken) => *sent += taken,
                        Err(errno) => return Some(Err(failed(errno))),
                    }
                    if *sent == whole {
                        return Some(Ok(Output::Sent { bytes: whole }));
                    }
                }
            }
            Request::Shutdown { socket } => {
                let shut = net.shutdown(&mut scope, number_of(socket)?);
                Some(shut.map(|()| Output::ShutDown).map_err(failed))
            }
            _ => self.perform_with_datagrams(operation, request),
        }
    }

    fn perform_with_datagrams(
        &mut self,
        operation: Operation,
        request: &mut Request,
    ) -> Option<Result<Output, Cause>> {
        let mut scope = Scope { common: &mut self.common, random: &mut self.net_random };
        let net = &mut self.net;
        match request {
            Request::SendTo { socket, to, data } => {
                if matches!(data, Data::Leases(leases) if leases.len() > MAX_PIECES) {
                    return Some(Err(Cause::Os(libc::EMSGSIZE)));
                }
                let bytes: Vec<u8> = data.pieces(0).flatten().copied().collect();
                let sent = net.send_to(&mut scope, number_of(socket)?, *to, bytes);
                Some(sent.map(|bytes| Output::Sent { bytes }).map_err(Cause::Os))
            }
            Request::ReceiveFrom { socket, into } => {
                let room = into.room();
                if room == 0 {
                    return Some(Err(Cause::Os(libc::ENOBUFS)));
                }
                let received = net.receive_from(number_of(socket)?, operation)?;
                Some(received.map_err(Cause::Os).map(|(from, bytes)| {
                    let kept = bytes.len().min(room);
                    let mut into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                    into.fill(&bytes[..kept]);
                    Output::ReceivedFrom { into, bytes: kept, from, truncated: kept < bytes.len() }
                }))
            }
            _ => None,
        }
    }

    fn perform_on_disk(
        &mut self,
        worker: WorkerId,
        request: &mut Request,
    ) -> Result<Output, Cause> {
        let host = self.workers[worker].host;
        let mut scope = Scope { common: &mut self.common, random: &mut self.disk_random };
        let disk = &mut self.hosts[host].disk;
        let files = &mut self.files;
        let find = |descriptor: &Descriptor| {
            let number = number_of(descriptor);
            number.and_then(|number| files.get(&number)).copied().ok_or(libc::EBADF)
        };
        let done = match request {
            Request::Open { path, flags, .. } => disk.open(path.as_bytes(), *flags).map(|file| {
                let number = scope.next_descriptor();
                files.insert(number, file);
                let detached = Detached::Simulated(Simulated::new(number, self.closer.clone()));
                Output::Opened(Descriptor::new(detached))
            }),
            Request::Read { file, into, len, offset } => {
                let room = into.room().min(*len);
                if room == 0 && *len > 0 {
                    return Err(Cause::Os(libc::ENOBUFS));
                }
                check_offset(*offset)?;
                let read = find(file).and_then(|file| disk.read(&mut scope, file, *offset, room));
                read.map(|bytes| {
                    let mut into = std::mem::replace(into, Fill::Bytes(Vec::new()));
                    into.fill(&bytes);
                    Output::Read { into, bytes: bytes.len() }
                })
            }
            Request::Write { file, data, offset } => {
                check_offset(*offset)?;
                let written =
                    find(file).and_then(|file| disk.write(&mut scope, file, *offset, data));
                written.map(|bytes| {
                    let nothing = Data::Bytes(Vec::new());
                    Output::Written { bytes, data: std::mem::replace(data, nothing) }
                })
            }
            Request::Sync { file, .. } => {
                // What is no file is a socket.
                let file = find(file).map_err(|_| libc::EINVAL);
                file.and_then(|file| disk.sync(&mut scope, file)).map(|()| Output::Synced)
            }
            Request::Length { file } => {
                find(file).map_or(Ok(0), |file| disk.length(file)).map(Output::Length)
            }
            _ => Err(libc::EINVAL),
        };
        done.map_err(Cause::Os)
    }

    // --- Sockets -----------------------------------------------------------------------------------

    fn descriptor(&mut self) -> (SocketId, Descriptor) {
        self.common.descriptors += 1;
        let number = self.common.descriptors;
        let detached = Detached::Simulated(Simulated::new(number, self.closer.clone()));
        (number, Descriptor::new(detached))
    }

    pub(crate) fn stream_socket(
        &mut self,
        worker: WorkerId,
        to: &Endpoint,
    ) -> Result<Descriptor, i32> {
        let (id, descriptor) = self.descriptor();
        self.net.stream(id, self.workers[worker].host, to)?;
        Ok(descriptor)
    }

    pub(crate) fn listen(
        &mut self,
        worker: WorkerId,
        at: &Endpoint,
        backlog: u32,
    ) -> Result<(Descriptor, Endpoint), i32> {
        self.hear();
        let (id, descriptor) = self.descriptor();
        let host = self.workers[worker].host;
        let workers = &self.workers;
        let lives = |worker: WorkerId| workers[worker].alive;
        let at = self.net.listen(id, (host, worker), at, backlog, lives)?;
        Ok((descriptor, at))
    }

    /// Removes the path of a Unix socket that this worker has bound. Returns whether it has.
    pub(crate) fn remove_socket(&mut self, worker: WorkerId, path: &Path) -> bool {
        let host = self.workers[worker].host;
        self.net.remove_path(host, worker, path)
    }

    pub(crate) fn datagram_socket(
        &mut self,
        worker: WorkerId,
        at: std::net::SocketAddr,
    ) -> Result<(Descriptor, std::net::SocketAddr), i32> {
        self.hear();
        let (id, descriptor) = self.descriptor();
        let at = self.net.datagrams(id, self.workers[worker].host, at)?;
        Ok((descriptor, at))
    }

    pub(crate) fn peer_address(&self, socket: &Descriptor) -> Result<std::net::SocketAddr, i32> {
        number_of(socket).map_or(Err(libc::EBADF), |id| self.net.peer_address(id))
    }

    /// Sockets, pipes and files that are open.
    pub(crate) fn held(&mut self) -> (usize, usize, usize) {
        self.hear();
        let (sockets, pipes) = self.net.held();
        (sockets, pipes, self.files.len())
    }
}

/// What an error number means for an operation: as on io_uring.
fn cause(name: OperationName, errno: i32) -> Cause {
    use OperationName::{Receive, Send, Shutdown};
    match errno {
        libc::EPIPE | libc::ECONNRESET | libc::ECONNABORTED => Cause::Closed,
        libc::ENOTCONN if matches!(name, Receive | Send | Shutdown) => Cause::Closed,
        errno => Cause::Os(errno),
    }
}

/// Offsets from 2^63 on mean something else.
fn check_offset(offset: u64) -> Result<(), Cause> {
    if offset > i64::MAX as u64 { Err(Cause::Os(libc::EINVAL)) } else { Ok(()) }
}

fn number_of(descriptor: &Descriptor) -> Option<u64> {
    match descriptor.inner() {
        Detached::Simulated(simulated) => Some(simulated.number()),
        Detached::Os(_) => None,
    }
}
