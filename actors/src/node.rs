//! Nodes: a process's part in a cluster.

use std::{
    fmt, io,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use annulus_codec::{
    address::{MAX_WORKERS, NodeId},
    hash::fold32,
};
use annulus_transport::{
    datagram::DatagramSocket,
    driver::{DriverError, Wait},
    endpoint::{Endpoint, EndpointError},
    io::Io,
    ring::{RingConfig, RingDoorbell, RingDriver, StartError, pin_to_core},
    stream::Listener,
};

use crate::{
    actor::{Actor, StopMode},
    cluster::{self, Cluster, Quiet, WaitForPeer},
    config::Limits,
    core::Core,
    datagram,
    entry::{Command, Entry},
    error::{AskError, ShutdownTimedOut, SpawnError},
    lanes::{self, LaneEnds, Lanes},
    names::Names,
    reference::ActorRef,
    stats::WorkerStats,
    steward::Steward,
    timers::timeout,
    worker::Worker,
};

/// What all workers of a node share. Nothing of it changes, but for the loads.
pub(crate) struct NodeShared {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) cluster: String,
    pub(crate) secret: Vec<u8>,
    /// When the node started, in nanoseconds since the Unix epoch.
    pub(crate) incarnation: u64,
    /// The same, as it stands in addresses.
    pub(crate) incarnation_tag: u32,
    pub(crate) datagrams: Vec<SocketAddr>,
    pub(crate) datagram_token: u64,
    pub(crate) limits: Limits,
    pub(crate) entries: Vec<Arc<Entry>>,
    /// Actors on each worker.
    pub(crate) loads: Vec<AtomicUsize>,
}

impl NodeShared {
    /// How many of a worker's actors belong to the node itself. They are started first, so they have
    /// the first generations.
    pub(crate) fn system_actors(&self, worker: usize) -> u32 {
        if worker == 0 { 3 } else { 1 }
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed));
        loads.enumerate().min_by_key(|(_, load)| *load).map_or(0, |(worker, _)| worker)
    }
}

/// Why a node did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum NodeError {
    /// The setting makes no sense; the text says which and why.
    Setting(String),
    /// An endpoint cannot be read.
    Endpoint(EndpointError),
    /// The kernel, or its limits, do not let io_uring work.
    Ring(StartError),
    /// A socket cannot be bound.
    Bind {
        /// Where it was to be bound.
        endpoint: Endpoint,
        /// What the operating system said.
        source: io::Error,
    },
    /// A worker's thread cannot be started.
    Thread(io::Error),
    /// A worker ended while the node was starting.
    WorkerLost(usize),
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::Setting(text) => f.write_str(text),
            NodeError::Endpoint(error) => error.fmt(f),
            NodeError::Ring(error) => error.fmt(f),
            NodeError::Bind { endpoint, source } => {
                write!(f, "cannot listen on {endpoint}: {source}")
            }
            NodeError::Thread(error) => write!(f, "cannot start a worker's thread: {error}"),
            NodeError::WorkerLost(worker) => write!(f, "worker {worker} ended while starting"),
        }
    }
}

impl std::error::Error for NodeError {}

impl From<EndpointError> for NodeError {
    fn from(error: EndpointError) -> Self {
        NodeError::Endpoint(error)
    }
}

/// A future given to a node did not end: it panicked, or the node shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunError;

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task panicked, or the node shut down")
    }
}

impl std::error::Error for RunError {}

/// Where a node's workers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// Wherever the operating system puts them.
    #[default]
    None,
    /// Worker `n` on the `n`th of these cores; there must be one for each worker.
    Cores(Vec<usize>),
}

/// Says what a node is to be. See [`Node::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct NodeBuilder {
    name: String,
    cluster: String,
    secret: Vec<u8>,
    workers: usize,
    pinning: Pinning,
    spin: Duration,
    stack_size: usize,
    listen: Vec<String>,
    advertise: Vec<String>,
    join: Vec<String>,
    datagrams: Option<String>,
    limits: Limits,
    ring: RingConfig,
}

impl NodeBuilder {
    /// How many workers the node has; one unless this says otherwise, 256 at most.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Where the workers run.
    pub fn pin(mut self, pinning: Pinning) -> Self {
        self.pinning = pinning;
        self
    }

    /// How long an idle worker asks for work again and again before it sleeps in the kernel. Zero
    /// unless this says otherwise: a worker that spins uses a whole core. It pays where a core is
    /// there for each worker and a few microseconds count.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// The name of the cluster: `annulus` unless this says otherwise. Nodes of different clusters
    /// refuse each other.
    pub fn cluster(mut self, cluster: impl Into<String>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// The cluster's secret. Every node proves that it knows it before anything that it sends is
    /// looked at. It does not hide what is sent. Without one, whoever reaches the node's endpoints and
    /// knows the cluster's name can join: set one wherever that is not just you.
    pub fn secret(mut self, secret: impl Into<Vec<u8>>) -> Self {
        self.secret = secret.into();
        self
    }

    /// Listens for other nodes: `tcp://host:port` or `unix:///path`. Port 0 takes a free one.
    pub fn listen(mut self, endpoint: impl Into<String>) -> Self {
        self.listen.push(endpoint.into());
        self
    }

    /// Where other nodes can reach this one, if that is not where it listens.
    pub fn advertise(mut self, endpoint: impl Into<String>) -> Self {
        self.advertise.push(endpoint.into());
        self
    }

    /// Joins the cluster of the node that listens there, now and whenever the link is lost.
    pub fn join(mut self, endpoint: impl Into<String>) -> Self {
        self.join.push(endpoint.into());
        self
    }

    /// Takes datagrams at `udp://host:port`: worker `n` at the `n`th port from there; port 0 takes
    /// free ones.
    pub fn datagrams(mut self, endpoint: impl Into<String>) -> Self {
        self.datagrams = Some(endpoint.into());
        self
    }

    /// The bounds of all queues, tables and times.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The stack of each worker's thread, in bytes: 2 MiB unless this says otherwise.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// The settings of each worker's ring.
    pub fn ring(mut self, ring: RingConfig) -> Self {
        self.ring = ring;
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// If a setting makes no sense, a socket cannot be bound, or io_uring cannot be used. Nothing of
    /// the node is left then.
    pub fn start(self) -> Result<Node, NodeError> {
        let plan = self.check()?;
        let workers = self.workers;
        let (entries, commands): (Vec<_>, Vec<_>) = (0..workers).map(|_| Entry::new()).unzip();
        let mut steps = Vec::new();
        let mut threads = Vec::new();
        for (worker, commands) in commands.into_iter().enumerate() {
            let (ours, theirs) = Steps::new();
            let prelude = Prelude {
                worker,
                ring: self.ring.clone(),
                core_id: plan.cores.get(worker).copied(),
                listen: if worker == 0 { plan.listen.clone() } else { Vec::new() },
                datagrams: plan.datagrams.map(|at| nth_port(at, worker)),
            };
            let spin = self.spin;
            let thread = std::thread::Builder::new()
                .name(format!("annulus-{worker}"))
                .stack_size(self.stack_size)
                .spawn(move || {
                    let _ = run_worker(prelude, &theirs, commands, spin);
                })
                .map_err(NodeError::Thread)?;
            threads.push(thread);
            steps.push(ours);
        }
        let bells = match collect(&steps, |step| step.ringing.recv()) {
            Ok(bells) => bells,
            Err(error) => return Err(give_up(steps, threads, error)),
        };
        for step in &steps {
            // A worker that has a ring waits for this, and for the next one.
            let _ = step.bells.send(bells.clone());
        }
        let reports = match collect(&steps, |step| step.bound.recv()) {
            Ok(reports) => reports,
            Err(error) => return Err(give_up(steps, threads, error)),
        };
        let shared = Arc::new(self.share(&reports, entries));
        let endpoints: Vec<String> = reports[0].endpoints.iter().map(Endpoint::to_string).collect();
        let advertise = if plan.advertise.is_empty() { endpoints.clone() } else { plan.advertise };
        let lanes = lanes::connect(workers, shared.limits.lane_chunks);
        for (step, lanes) in steps.iter().zip(lanes) {
            let (shared, advertise) = (shared.clone(), advertise.clone());
            let _ = step.start.send(Start { shared, lanes, advertise, joins: plan.join.clone() });
        }
        tracing::info!(
            target: "annulus",
            node = shared.name,
            workers,
            memory_max = shared.limits.memory_in_all(workers),
            "node started"
        );
        Ok(Node { shared, threads, endpoints })
    }

    fn check(&self) -> Result<Plan, NodeError> {
        let setting = |text: String| Err(NodeError::Setting(text));
        if self.name.is_empty() || self.name.len() > 255 {
            return setting("a node's name has 1 to 255 bytes".into());
        }
        if self.workers == 0 || self.workers > MAX_WORKERS {
            return setting(format!("a node has 1 to {MAX_WORKERS} workers, not {}", self.workers));
        }
        let cores = match &self.pinning {
            Pinning::None => Vec::new(),
            Pinning::Cores(cores) if cores.len() >= self.workers => cores.clone(),
            Pinning::Cores(cores) => {
                let (given, needed) = (cores.len(), self.workers);
                return setting(format!("{given} cores are named for {needed} workers"));
            }
        };
        let streams = |texts: &[String]| -> Result<Vec<Endpoint>, NodeError> {
            let parsed = texts.iter().map(|text| text.parse::<Endpoint>());
            let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
            match parsed.iter().find(|endpoint| matches!(endpoint, Endpoint::Udp(_))) {
                Some(udp) => {
                    Err(NodeError::Setting(format!("{udp}: links need tcp:// or unix://")))
                }
                None => Ok(parsed),
            }
        };
        let datagrams = match self.datagrams.as_ref().map(|text| text.parse()) {
            None => None,
            Some(Ok(Endpoint::Udp(at))) => Some(at),
            Some(Ok(other)) => return setting(format!("{other}: datagrams need udp://")),
            Some(Err(error)) => return Err(NodeError::Endpoint(error)),
        };
        self.limits.check().map_err(NodeError::Setting)?;
        // Other nodes get addresses, not names that they would have to look up.
        let advertise = streams(&self.advertise)?.iter().map(Endpoint::to_string).collect();
        let (listen, join) = (streams(&self.listen)?, streams(&self.join)?);
        Ok(Plan { cores, listen, advertise, join, datagrams })
    }

    fn share(&self, reports: &[Report], entries: Vec<Arc<Entry>>) -> NodeShared {
        let incarnation = reports[0].wall_nanos;
        NodeShared {
            name: self.name.clone(),
            id: NodeId::from_name(&self.name),
            cluster: self.cluster.clone(),
            secret: self.secret.clone(),
            incarnation,
            incarnation_tag: fold32(incarnation),
            datagrams: reports.iter().filter_map(|report| report.datagrams).collect(),
            datagram_token: reports[0].token,
            limits: self.limits,
            loads: entries.iter().map(|_| AtomicUsize::new(0)).collect(),
            entries,
        }
    }
}

fn nth_port(at: SocketAddr, worker: usize) -> SocketAddr {
    let port = if at.port() == 0 { 0 } else { at.port().saturating_add(worker as u16) };
    SocketAddr::new(at.ip(), port)
}

/// The settings, as far as they could be checked before anything is started.
struct Plan {
    cores: Vec<usize>,
    listen: Vec<Endpoint>,
    advertise: Vec<String>,
    join: Vec<Endpoint>,
    datagrams: Option<SocketAddr>,
}

/// What a worker's thread does first.
struct Prelude {
    worker: usize,
    ring: RingConfig,
    core_id: Option<usize>,
    listen: Vec<Endpoint>,
    datagrams: Option<SocketAddr>,
}

/// What a worker with its sockets has to say.
struct Report {
    endpoints: Vec<Endpoint>,
    datagrams: Option<SocketAddr>,
    wall_nanos: u64,
    token: u64,
}

/// What it needs to go on.
struct Start {
    shared: Arc<NodeShared>,
    lanes: LaneEnds,
    advertise: Vec<String>,
    joins: Vec<Endpoint>,
}

type Bell = Arc<RingDoorbell>;

/// The steps of a worker's start, as the starting thread sees them: first all workers set up their
/// rings, then they learn of each other's and bind their sockets, then they go.
struct Steps {
    ringing: flume::Receiver<Result<Bell, NodeError>>,
    bells: flume::Sender<Vec<Bell>>,
    bound: flume::Receiver<Result<Report, NodeError>>,
    start: flume::Sender<Start>,
}

/// The same, as the worker sees them.
struct WorkerSteps {
    ringing: flume::Sender<Result<Bell, NodeError>>,
    bells: flume::Receiver<Vec<Bell>>,
    bound: flume::Sender<Result<Report, NodeError>>,
    start: flume::Receiver<Start>,
}

impl Steps {
    fn new() -> (Steps, WorkerSteps) {
        let (ringing, ringing_to) = flume::bounded(1);
        let (bells, bells_to) = flume::bounded(1);
        let (bound, bound_to) = flume::bounded(1);
        let (start, start_to) = flume::bounded(1);
        let ours = Steps { ringing: ringing_to, bells, bound: bound_to, start };
        (ours, WorkerSteps { ringing, bells: bells_to, bound, start: start_to })
    }
}

/// Ends what has been started of a node that cannot start.
fn give_up(steps: Vec<Steps>, threads: Vec<JoinHandle<()>>, error: NodeError) -> NodeError {
    drop(steps);
    for thread in threads {
        // Its panic, if there was one, has been reported; the first error says why.
        let _ = thread.join();
    }
    error
}

/// Waits for all workers; the first error wins, and the workers end by themselves.
fn collect<T>(
    steps: &[Steps],
    wait: impl Fn(&Steps) -> Result<Result<T, NodeError>, flume::RecvError>,
) -> Result<Vec<T>, NodeError> {
    let results = steps.iter().enumerate();
    results.map(|(worker, step)| wait(step).unwrap_or(Err(NodeError::WorkerLost(worker)))).collect()
}

/// The sockets of a worker, bound.
struct Sockets {
    listeners: Vec<Listener>,
    datagrams: Option<DatagramSocket>,
}

/// A worker's thread. If the node does not start, the other ends of the steps are gone, and it ends.
fn run_worker(
    prelude: Prelude,
    steps: &WorkerSteps,
    commands: flume::Receiver<Command>,
    spin: Duration,
) -> Option<()> {
    let worker = prelude.worker;
    let mut driver = match set_up(&prelude) {
        Ok(driver) => driver,
        Err(error) => return steps.ringing.send(Err(error)).ok(),
    };
    let bell = driver.ring_bell();
    steps.ringing.send(Ok(bell.clone())).ok()?;
    let bells = steps.bells.recv().ok()?;
    let peers = bells.into_iter().enumerate();
    driver.set_peers(peers.map(|(at, bell)| (at != worker).then_some(bell)).collect());
    let io = Io::new(driver);
    let (sockets, report) = match bind(&io, prelude) {
        Ok(bound) => bound,
        Err(error) => return steps.bound.send(Err(error)).ok(),
    };
    steps.bound.send(Ok(report)).ok()?;
    let start = steps.start.recv().ok()?;
    start.shared.entries[worker].set_doorbell(bell);
    if let Err(error) = live(worker, start, io, sockets, commands, spin) {
        tracing::error!(target: "annulus", worker, %error, "a worker has failed");
    }
    Some(())
}

fn set_up(prelude: &Prelude) -> Result<RingDriver, NodeError> {
    if let Some(core) = prelude.core_id {
        pin_to_core(core)
            .map_err(|error| NodeError::Setting(format!("cannot pin to core {core}: {error}")))?;
    }
    RingDriver::new(&prelude.ring).map_err(NodeError::Ring)
}

fn bind(io: &Io, prelude: Prelude) -> Result<(Sockets, Report), NodeError> {
    let mut listeners = Vec::new();
    for endpoint in prelude.listen {
        let listener =
            bind_listener(io, &endpoint).map_err(|source| NodeError::Bind { endpoint, source })?;
        listeners.push(listener);
    }
    let datagrams = match prelude.datagrams {
        Some(at) => Some(
            DatagramSocket::bind(io, at, datagram::socket_buffer())
                .map_err(|source| NodeError::Bind { endpoint: Endpoint::Udp(at), source })?,
        ),
        None => None,
    };
    let mut token = [0; 8];
    io.entropy(&mut token);
    let report = Report {
        endpoints: listeners.iter().map(|listener| listener.endpoint().clone()).collect(),
        datagrams: datagrams.as_ref().map(DatagramSocket::address),
        wall_nanos: io.wall().as_nanos() as u64,
        token: u64::from_le_bytes(token),
    };
    Ok((Sockets { listeners, datagrams }, report))
}

/// How long an address that is in use is tried again. When a process is killed, the kernel closes the
/// sockets of its rings a little later than the process ends; a node that is started again at once
/// would find its own address taken.
const BIND_PATIENCE: Duration = Duration::from_secs(2);

fn bind_listener(io: &Io, endpoint: &Endpoint) -> io::Result<Listener> {
    let give_up = io.now().after(BIND_PATIENCE);
    loop {
        let bound = Listener::bind(io, endpoint);
        let taken = matches!(&bound, Err(error) if error.kind() == io::ErrorKind::AddrInUse);
        if !taken || io.now() >= give_up {
            return bound;
        }
        let pause = io.now().after(Duration::from_millis(20));
        io.enter(Wait::Until(Some(pause)), &mut Vec::new()).map_err(io::Error::other)?;
    }
}

/// A worker's life, from its core to its ring's end.
fn live(
    worker: usize,
    start: Start,
    io: Io,
    sockets: Sockets,
    commands: flume::Receiver<Command>,
    spin: Duration,
) -> Result<(), DriverError> {
    let Start { shared, lanes, advertise, joins } = start;
    let limits = shared.limits.outbox();
    let entries = shared.entries.clone();
    let core =
        Core::new(worker, shared, io.clone(), |pool| Lanes::new(lanes, &entries, limits, pool));
    core.enter(|| {
        let started = spawn_system_actors(&core, sockets, advertise, &joins);
        debug_assert!(started.is_ok(), "an empty worker has room");
    });
    let ran = Worker::new(core.clone(), commands, spin).run();
    core.enter(|| core.drop_everything());
    if let Err(abandoned) = io.quiesce(Duration::from_secs(1)) {
        tracing::error!(target: "annulus", worker, %abandoned, "a worker's ring did not come to rest");
    }
    ran
}

fn spawn_system_actors(
    core: &Rc<Core>,
    sockets: Sockets,
    advertise: Vec<String>,
    joins: &[Endpoint],
) -> Result<(), SpawnError> {
    core.spawn(Steward)?;
    if core.worker() == 0 {
        core.spawn(Cluster::new(sockets.listeners, advertise, joins))?;
        core.spawn(Names::default())?;
    }
    if let Some(socket) = sockets.datagrams {
        core.open_datagrams(socket);
    }
    Ok(())
}

/// A running node. Dropping it ends the node without waiting for what is queued; see
/// [`shutdown`](Self::shutdown).
#[derive(Debug)]
pub struct Node {
    shared: Arc<NodeShared>,
    threads: Vec<JoinHandle<()>>,
    endpoints: Vec<String>,
}

impl Node {
    /// Describes a node. Its name must be unique in its cluster.
    pub fn builder(name: impl Into<String>) -> NodeBuilder {
        NodeBuilder {
            name: name.into(),
            cluster: "annulus".into(),
            secret: Vec::new(),
            workers: 1,
            pinning: Pinning::None,
            spin: Duration::ZERO,
            stack_size: 2 << 20,
            listen: Vec::new(),
            advertise: Vec::new(),
            join: Vec::new(),
            datagrams: None,
            limits: Limits::default(),
            ring: RingConfig::default(),
        }
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Where the node listens, with the ports that were taken.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// How many workers the node has.
    pub fn workers(&self) -> usize {
        self.shared.entries.len()
    }

    /// Starts an actor on the worker that has the fewest.
    ///
    /// # Errors
    /// If that worker has too many actors, or the node shuts down.
    pub fn spawn<A: Actor + Send>(&self, actor: A) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(self.shared.least_loaded(), move || actor)
    }

    /// Starts an actor on a given worker.
    ///
    /// # Errors
    /// If there is no such worker, it has too many actors, or the node shuts down.
    pub fn spawn_on<A: Actor + Send>(
        &self,
        worker: usize,
        actor: A,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        self.spawn_with(worker, move || actor)
    }

    /// Starts an actor that is made on its worker, so that nothing of it has to be `Send`.
    ///
    /// # Errors
    /// As for [`spawn_on`](Self::spawn_on).
    pub fn spawn_with<A: Actor>(
        &self,
        worker: usize,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<ActorRef<A::Protocol>, SpawnError> {
        let workers = self.workers();
        if worker >= workers {
            return Err(SpawnError::NoSuchWorker { worker, workers });
        }
        let here = Core::current()
            .filter(|core| Arc::ptr_eq(&core.shared, &self.shared) && core.worker() == worker);
        if let Some(core) = here {
            return core.spawn(make());
        }
        self.call(worker, move |core| core.spawn(make())).unwrap_or(Err(SpawnError::ShuttingDown))
    }

    /// Runs a future on the node's first worker and waits for it. In it, references work, and
    /// [`sleep`](crate::sleep) and the like.
    ///
    /// # Errors
    /// If the future panics, or the node shuts down first.
    pub fn run<T: Send + 'static>(
        &self,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        self.run_on(0, task)
    }

    /// Runs a future on a worker and waits for it.
    ///
    /// # Errors
    /// If there is no such worker, the future panics, or the node shuts down first.
    pub fn run_on<T: Send + 'static>(
        &self,
        worker: usize,
        task: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> Result<T, RunError> {
        let entry = self.shared.entries.get(worker).ok_or(RunError)?;
        let (done, result) = flume::bounded(1);
        let started = entry.run(move |core| {
            core.spawn_task(async move {
                // Nobody waits any more only if the waiting thread is gone.
                let _ = done.send(task().await);
            });
        });
        if !started {
            return Err(RunError);
        }
        result.recv().map_err(|_| RunError)
    }

    /// Waits until a node is connected.
    ///
    /// # Errors
    /// [`AskError::Timeout`] if it is not within `patience`.
    pub fn wait_for(&self, node: &str, patience: Duration) -> Result<(), AskError> {
        let wait = WaitForPeer { name: node.into(), patience };
        self.run(async move || {
            let core = Core::current().ok_or(AskError::NoWorker)?;
            cluster::here(&core).ask(wait).within(patience).await.map(|_| ())
        })
        .unwrap_or(Err(AskError::Cancelled))
    }

    /// What each worker has done since it started, and what it holds now.
    ///
    /// # Errors
    /// If the node shuts down.
    pub fn stats(&self) -> Result<Vec<WorkerStats>, RunError> {
        (0..self.workers()).map(|w| self.call(w, |core| core.stats()).ok_or(RunError)).collect()
    }

    /// Ends the node in order: no new connections, every actor drained, everything sent, all rings at
    /// rest, all threads ended.
    ///
    /// # Errors
    /// If that takes longer than `within`; what was left then has been dropped.
    pub fn shutdown(mut self, within: Duration) -> Result<(), ShutdownTimedOut> {
        let result = self.end(within);
        self.join_threads();
        result
    }

    /// All steps together take `within` at most.
    fn end(&self, within: Duration) -> Result<(), ShutdownTimedOut> {
        let mut left = within;
        let mut well = self.on_all(&mut left, async |limit| {
            let Some(core) = Core::current() else { return true };
            core.worker() != 0 || cluster::here(&core).ask(Quiet).within(limit).await.is_ok()
        });
        well &= self.on_all(&mut left, async |limit| {
            let Some(core) = Core::current() else { return true };
            timeout(limit, core.drain_actors()).await.is_ok()
        });
        well &= self.on_all(&mut left, async |limit| {
            let Some(core) = Core::current() else { return true };
            timeout(limit, core.flush_everything()).await.is_ok()
        });
        for entry in &self.shared.entries {
            entry.run(|core| core.ended.set(true));
        }
        if well { Ok(()) } else { Err(ShutdownTimedOut { within }) }
    }

    /// Runs a step of the shutdown on all workers at the same time, and takes the time that it took
    /// off what is left. Returns whether it went well on all of them.
    fn on_all(
        &self,
        left: &mut Duration,
        step: impl AsyncFnOnce(Duration) -> bool + Send + Copy + 'static,
    ) -> bool {
        let limit = *left;
        let (done, results) = flume::unbounded();
        for entry in &self.shared.entries {
            let done = done.clone();
            entry.run(move |core| {
                core.spawn_task(async move {
                    let start = crate::now();
                    let well = step(limit).await;
                    let _ = done.send((well, crate::now().since(start)));
                });
            });
        }
        drop(done);
        for _ in 0..self.workers() {
            // A worker that is stuck in a handler does not get to its step.
            let Ok((well, took)) = results.recv_timeout(limit) else {
                *left = Duration::ZERO;
                return false;
            };
            *left = (*left).min(limit.saturating_sub(took));
            if !well {
                return false;
            }
        }
        true
    }

    /// Runs something on a worker and waits for its result; `None` if the worker has ended.
    fn call<T: Send + 'static>(
        &self,
        worker: usize,
        job: impl FnOnce(&Rc<Core>) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = flume::bounded(1);
        let entry = self.shared.entries.get(worker)?;
        entry.run(move |core| {
            let _ = done.send(job(core));
        });
        result.recv().ok()
    }

    fn join_threads(&mut self) {
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(target: "annulus", "a worker's thread panicked");
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for entry in &self.shared.entries {
            entry.run(|core| core.ended.set(true));
        }
        self.join_threads();
    }
}

impl fmt::Debug for NodeShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} ({} workers)", self.name, self.entries.len())
    }
}

impl Core {
    /// Lets all actors of users end after what waits for them.
    async fn drain_actors(self: Rc<Self>) {
        self.ending.set(true);
        let system = self.shared.system_actors(self.worker());
        let actors = self.actors.all().into_iter();
        let users: Vec<_> = actors.filter(|cell| cell.address.generation() > system).collect();
        for cell in &users {
            self.stop_actor(cell, StopMode::Drain);
        }
        for cell in users {
            crate::actors::Ended(cell).await;
        }
    }

    /// Waits until nothing is queued for anybody else.
    async fn flush_everything(self: Rc<Self>) {
        while !(self.links.is_flushed()
            && self.lanes.is_flushed()
            && self.inbox.borrow().is_empty())
        {
            crate::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Drops all actors, tasks and links, and ends all asks.
    fn drop_everything(self: &Rc<Self>) {
        self.ending.set(true);
        self.cancel_asks();
        for cell in self.actors.all() {
            self.stop_actor(&cell, StopMode::Kill);
        }
        for link in self.links.all() {
            self.close_link(&link, crate::link::LinkEnd::Dropped);
        }
        let tasks = self.tasks.take_all();
        for task in tasks {
            let future = task.future.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
        }
        // Local messages may answer, or send, when they are dropped; that is dropped in turn.
        for _ in 0..3 {
            let inbox = self.inbox.borrow_mut().take_all();
            let inbound = self.inbound.take();
            let _ = catch_unwind(AssertUnwindSafe(|| drop((inbox, inbound))));
        }
    }
}
