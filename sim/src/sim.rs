//! The simulator, as a test sees it.

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    ops::Range,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use annulus::{
    Node, NodeBuilder, NodeHandle, Pinning, RunError, WorkerStats,
    host::{HostedWorker, NextTurn},
    transport::io::Io,
};

use crate::{
    disk::Disk,
    driver::SimDriver,
    faults::Faults,
    marks::Marks,
    net::{HostId, address_of},
    random::Random,
    world::{Step, WorkerId, World},
};

/// The port that nodes listen on.
const PORT: u16 = 7000;

/// How long in simulated time a call waits for a result before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(3600);

type Action = Box<dyn FnOnce(&mut Sim)>;
type Build = Rc<dyn Fn(NodeBuilder) -> NodeBuilder>;
type Setup = Rc<dyn Fn(&NodeHandle)>;

/// A node, and the host that it runs on. It outlives the lives of its process.
struct Place {
    name: String,
    host: HostId,
    workers: usize,
    build: Build,
    setup: Setup,
    life: Option<Life>,
    /// The disk as it was once, to be put back.
    old_disk: Option<Disk>,
    lives: usize,
    /// The statistics at the end of the last life.
    last_stats: Vec<WorkerStats>,
}

/// One run of a node's process.
struct Life {
    handle: NodeHandle,
    workers: Vec<HostedWorker>,
    ids: Range<WorkerId>,
    /// Workers that have not ended.
    running: usize,
}

impl Life {
    fn stats(&self) -> Vec<WorkerStats> {
        self.workers.iter().map(HostedWorker::stats).collect()
    }
}

/// A cluster in one thread, with a time and a chance of its own. The same seed gives the same run.
///
/// Nodes are declared with [`node`](Self::node); their actors are the ones that run in production. Time
/// passes only in [`run_for`](Self::run_for) and [`run_on`](Self::run_on).
pub struct Sim {
    seed: u64,
    world: Rc<RefCell<World>>,
    places: Vec<Place>,
    /// The place of each worker, and its number there.
    owners: Vec<(usize, usize)>,
    actions: Vec<Option<Action>>,
    random: Random,
}

impl Sim {
    /// A world without faults. The seed still chooses how long things take and what comes first.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Faults::default(), false)
    }

    /// A world with these faults. With `aloud` it prints what happens.
    pub fn with(seed: u64, faults: Faults, aloud: bool) -> Self {
        let mut random = Random::new(seed ^ 0x5bd1_e995_9d1b_54a5);
        let world = World::new(random.between(0, u64::MAX), faults, aloud);
        Sim {
            seed,
            world: Rc::new(RefCell::new(world)),
            places: Vec::new(),
            owners: Vec::new(),
            actions: Vec::new(),
            random,
        }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The time that has passed in the world.
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.world.borrow().now())
    }

    /// A stream of chance for the test itself.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    // --- Nodes -------------------------------------------------------------------------------------

    /// Adds a node with this many workers, on a host of its own, and starts it. It listens on its host's
    /// address and joins the nodes before it.
    ///
    /// `build` changes its settings; `setup` runs on its first worker, now and whenever it is started
    /// again, with a handle on the node: it spawns and registers actors.
    ///
    /// # Panics
    /// If the settings make no sense.
    pub fn node<S>(
        &mut self,
        name: &str,
        workers: usize,
        build: impl Fn(NodeBuilder) -> NodeBuilder + 'static,
        setup: S,
    ) -> &mut Self
    where
        S: AsyncFnOnce(NodeHandle) + Clone + Send + 'static,
    {
        let host = self.world.borrow_mut().add_host();
        let joins: Vec<String> =
            self.places.iter().take(3).map(|place| endpoint(place.host)).collect();
        let build = move |mut node: NodeBuilder| {
            for join in &joins {
                node = node.join(join);
            }
            build(node.listen(endpoint(host)))
        };
        let setup = move |handle: &NodeHandle| {
            let (setup, inner) = (setup.clone(), handle.clone());
            hand_over(handle, 0, async move || setup(inner).await);
        };
        self.places.push(Place {
            name: name.into(),
            host,
            workers,
            build: Rc::new(build),
            setup: Rc::new(setup),
            life: None,
            old_disk: None,
            lives: 0,
            last_stats: Vec::new(),
        });
        self.start(self.places.len() - 1);
        self
    }

    /// The names of all nodes.
    pub fn names(&self) -> Vec<String> {
        self.places.iter().map(|place| place.name.clone()).collect()
    }

    /// Whether a node's process runs.
    pub fn is_up(&self, node: &str) -> bool {
        self.places[self.place(node)].life.is_some()
    }

    #[track_caller]
    fn place(&self, node: &str) -> usize {
        let found = self.places.iter().position(|place| place.name == node);
        found.unwrap_or_else(|| panic!("there is no node `{node}`"))
    }

    fn start(&mut self, index: usize) {
        let (host, workers) = (self.places[index].host, self.places[index].workers);
        let ids = {
            let mut world = self.world.borrow_mut();
            world.power_on(host);
            world.add_workers(host, workers)
        };
        self.owners.extend((0..workers).map(|worker| (index, worker)));
        let io = |worker| Io::new(SimDriver::new(self.world.clone(), worker));
        let drivers = ids.clone().map(io).collect();
        // Half of the nodes wake their workers as those do that are pinned.
        let pinned = self.seed.wrapping_add(index as u64).is_multiple_of(2);
        let pinning = if pinned { Pinning::Cores((0..workers).collect()) } else { Pinning::None };
        let place = &mut self.places[index];
        let builder = Node::builder(&place.name).pin(pinning);
        let built = (place.build)(builder).host(drivers);
        let node = built.unwrap_or_else(|error| panic!("node `{}`: {error}", place.name));
        place.lives += 1;
        (place.setup)(&node.handle);
        let (name, lives) = (place.name.clone(), place.lives);
        place.life =
            Some(Life { handle: node.handle, workers: node.workers, ids, running: workers });
        self.world.borrow_mut().say(format_args!("{name} starts for the {lives}. time"));
    }

    /// A handle on a node that is up.
    pub fn handle(&self, node: &str) -> Option<NodeHandle> {
        Some(self.places[self.place(node)].life.as_ref()?.handle.clone())
    }

    /// What each worker of a node has done and holds; if the node is down, as of its end.
    pub fn stats(&self, node: &str) -> Vec<WorkerStats> {
        let place = &self.places[self.place(node)];
        place.life.as_ref().map_or_else(|| place.last_stats.clone(), Life::stats)
    }

    // --- Time --------------------------------------------------------------------------------------

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.world.borrow().now() + time.as_nanos() as u64;
        while self.step(until) {}
    }

    /// Lets time pass until `done` says so. Returns whether it did within `patience`.
    pub fn run_until(
        &mut self,
        patience: Duration,
        mut done: impl FnMut(&mut Sim) -> bool,
    ) -> bool {
        let end = self.now() + patience;
        while self.now() < end {
            if done(self) {
                return true;
            }
            self.run_for(Duration::from_millis(10).min(end - self.now()));
        }
        done(self)
    }

    /// Runs a future on the first worker of a node, and lets time pass until it has ended.
    ///
    /// # Errors
    /// If the node is down, or ends first.
    ///
    /// # Panics
    /// If it has not ended after an hour of simulated time.
    pub fn run_on<T: Send + 'static>(
        &mut self,
        node: &str,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        let Some(handle) = self.handle(node) else { return Err(RunError::Ended) };
        self.drive(async move { handle.run_on(0, task).await })
    }

    /// Starts a future on a worker of a node, and does not wait for it.
    pub fn start_on(
        &mut self,
        node: &str,
        worker: usize,
        task: impl AsyncFnOnce() + Send + 'static,
    ) {
        if let Some(handle) = self.handle(node) {
            hand_over(&handle, worker, task);
        }
    }

    /// Lets time pass until a future of the test's own has ended: one on a [`NodeHandle`], for example.
    ///
    /// # Panics
    /// If it has not ended after an hour of simulated time.
    pub fn drive<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let flag = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(flag.clone());
        let give_up = (self.now() + PATIENCE).as_nanos() as u64;
        loop {
            if flag.0.swap(false, Ordering::Relaxed)
                && let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return result;
            }
            assert!(self.step(give_up), "a future did not end within {PATIENCE:?}");
        }
    }

    /// Does something when this much time has passed since the beginning.
    pub fn at(&mut self, time: Duration, action: impl FnOnce(&mut Sim) + 'static) -> &mut Self {
        let delay = time.saturating_sub(self.now());
        self.after(delay, action)
    }

    /// Does something when this much time has passed from now.
    pub fn after(&mut self, delay: Duration, action: impl FnOnce(&mut Sim) + 'static) -> &mut Self {
        self.actions.push(Some(Box::new(action)));
        self.world.borrow_mut().schedule_action(delay, self.actions.len() - 1);
        self
    }

    /// Lets things happen until the next turn or action. Returns `false` if there is none before `until`.
    fn step(&mut self, until: u64) -> bool {
        let step = self.world.borrow_mut().run(until);
        match step {
            Step::Turn(worker) => self.turn(worker),
            Step::Action(action) => {
                if let Some(action) = self.actions[action].take() {
                    action(self);
                }
            }
            Step::Other => {}
            Step::Idle => return false,
        }
        true
    }

    fn turn(&mut self, id: WorkerId) {
        let (place, worker) = self.owners[id];
        let life = self.places[place].life.as_mut().filter(|life| life.ids.contains(&id));
        let Some(life) = life else { return };
        let next = life.workers[worker].turn();
        let next = next.unwrap_or_else(|error| panic!("a simulated driver failed: {error}"));
        self.world.borrow_mut().turned(id, next);
        if next == NextTurn::Never {
            life.running -= 1;
            if life.running == 0 {
                self.stop(place, "has shut down", World::close_all);
            }
        }
    }

    // --- What goes wrong ---------------------------------------------------------------------------

    /// How often things go wrong from now on.
    pub fn set_faults(&mut self, faults: Faults) -> &mut Self {
        *self.world.borrow_mut().faults_mut() = faults;
        self
    }

    /// Draws from the seed what goes wrong from now on, and how often: [`Faults::swarm`].
    pub fn swarm(&mut self) -> &mut Self {
        let faults = Faults::swarm(&mut self.random);
        self.set_faults(faults)
    }

    /// From now on nothing goes wrong: cuts heal, and faults end. Nodes that are down stay down.
    pub fn heal(&mut self) -> &mut Self {
        let mut world = self.world.borrow_mut();
        let healed = world.faults_mut().healed();
        *world.faults_mut() = healed;
        world.net_mut().join_all();
        world.say(format_args!("all is healed"));
        drop(world);
        self
    }

    /// Lets nothing through from the nodes in `from` to those in `to`; the other way stays open.
    pub fn cut(&mut self, from: &[&str], to: &[&str]) -> &mut Self {
        self.between(from, to, |world, from, to| world.net_mut().cut(from, to))
    }

    /// Lets nothing through between the nodes in `some` and those in `others`.
    pub fn partition(&mut self, some: &[&str], others: &[&str]) -> &mut Self {
        self.cut(some, others).cut(others, some)
    }

    /// Ends a [`cut`](Self::cut).
    pub fn join(&mut self, from: &[&str], to: &[&str]) -> &mut Self {
        self.between(from, to, |world, from, to| world.net_mut().join(from, to))
    }

    #[track_caller]
    fn between(
        &mut self,
        from: &[&str],
        to: &[&str],
        act: impl Fn(&mut World, HostId, HostId),
    ) -> &mut Self {
        for from in from {
            for to in to {
                let (from, to) = (self.place(from), self.place(to));
                let (from, to) = (self.places[from].host, self.places[to].host);
                act(&mut self.world.borrow_mut(), from, to);
            }
        }
        self
    }

    /// Kills a node's process. Its host goes on and closes its sockets; its disk keeps everything.
    pub fn kill(&mut self, node: &str) -> &mut Self {
        let index = self.place(node);
        self.stop(index, "is killed", |world, host| world.close_all(host));
        self
    }

    /// Cuts the power of a node's host: nobody hears a farewell, and its disk keeps what is durable.
    pub fn cut_power(&mut self, node: &str) -> &mut Self {
        let index = self.place(node);
        self.stop(index, "loses its power", World::lose_power);
        self
    }

    fn stop(&mut self, index: usize, how: &str, stop: impl Fn(&mut World, HostId)) {
        let (host, name) = (self.places[index].host, self.places[index].name.clone());
        let Some(life) = self.places[index].life.take() else { return };
        {
            let mut world = self.world.borrow_mut();
            world.say(format_args!("{name} {how}"));
            world.stop_workers(life.ids.clone());
            stop(&mut world, host);
        }
        self.places[index].last_stats = life.stats();
        drop(life);
    }

    /// Starts a node again, with its disk as it is. Nothing happens if it is up.
    pub fn restart(&mut self, node: &str) -> &mut Self {
        let index = self.place(node);
        if self.places[index].life.is_none() {
            self.start(index);
        }
        self
    }

    /// Keeps the disk of a node as it is now, for [`put_back_disk`](Self::put_back_disk).
    pub fn keep_disk(&mut self, node: &str) -> &mut Self {
        let index = self.place(node);
        let disk = self.world.borrow().disk_of(self.places[index].host);
        self.places[index].old_disk = Some(disk);
        self
    }

    /// Puts a disk that was kept back into a node's host; an empty one if none was.
    pub fn put_back_disk(&mut self, node: &str) -> &mut Self {
        let index = self.place(node);
        let disk = self.places[index].old_disk.take().unwrap_or_default();
        self.world.borrow_mut().put_disk(self.places[index].host, disk);
        self
    }

    /// Keeps a node from running for a while, as by SIGSTOP: its connections stand, and fill.
    pub fn pause(&mut self, node: &str, time: Duration) -> &mut Self {
        let host = self.places[self.place(node)].host;
        let mut world = self.world.borrow_mut();
        world.say(format_args!("{node} pauses for {time:?}"));
        world.pause(host, time);
        drop(world);
        self
    }

    /// Sets a node's wall clock forwards or backwards, in nanoseconds.
    pub fn step_clock(&mut self, node: &str, by: i64) -> &mut Self {
        let host = self.places[self.place(node)].host;
        self.world.borrow_mut().step_wall(host, by);
        self
    }

    // --- What came of it ---------------------------------------------------------------------------

    /// Notes that the test has reached something.
    pub fn mark(&mut self, mark: &'static str) {
        self.world.borrow_mut().marks_mut().hit(mark);
    }

    /// What has been reached.
    pub fn marks(&self) -> Marks {
        self.world.borrow().marks().clone()
    }

    /// A number that stands for everything that has happened, in order.
    pub fn trace_hash(&self) -> u64 {
        self.world.borrow().trace().hash()
    }

    /// How many things have happened.
    pub fn events(&self) -> u64 {
        self.world.borrow().trace().events()
    }

    /// Ends all nodes. Returns what they have left behind in the world: open sockets, pipes and files.
    /// All of it is to be zero.
    pub fn end(&mut self) -> Leftovers {
        for index in 0..self.places.len() {
            self.stop(index, "ends", |_, _| {});
        }
        // What is under way comes to its end.
        self.heal();
        self.run_for(Duration::from_secs(5));
        let (sockets, pipes, files) = self.world.borrow_mut().held();
        Leftovers { sockets, pipes, files }
    }
}

/// What is left in a world without nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Open sockets.
    pub sockets: usize,
    /// Directions of streams with something in them.
    pub pipes: usize,
    /// Open files.
    pub files: usize,
}

impl Drop for Sim {
    fn drop(&mut self) {
        // Workers let go of what they hold while there still is a world.
        for index in 0..self.places.len() {
            if let Some(life) = self.places[index].life.take() {
                self.world.borrow_mut().stop_workers(life.ids.clone());
                drop(life);
            }
        }
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sim(seed {}, {} nodes, {:?})", self.seed, self.places.len(), self.now())
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts a future on a worker of a node.
fn hand_over(handle: &NodeHandle, worker: usize, task: impl AsyncFnOnce() + Send + 'static) {
    // The first poll hands it over; it runs whether anybody waits for it or not.
    let _ = pin!(handle.run_on(worker, task)).poll(&mut Context::from_waker(Waker::noop()));
}

fn endpoint(host: HostId) -> String {
    format!("tcp://{}:{PORT}", address_of(host))
}
