//! What a node is to be.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use annulus_codec::{
    address::{MAX_WORKERS, NodeId},
    hash::fold32,
};
use annulus_transport::{endpoint::Endpoint, io::Io, ring::RingConfig};

use crate::{config::Limits, entry::Entry, lanes};

use super::{
    Node, NodeError, NodeShared,
    host::HostedNode,
    life::{Bindings, Joining, Report, Start},
    threads::{self, Threads},
};

/// Endpoints of a node: what it says of itself to others has a limit, see
/// [`MAX_HELLO`](annulus_codec::handshake::MAX_HELLO).
const MAX_ENDPOINTS: usize = 64;

/// Where a node's workers run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// Wherever the operating system puts them.
    #[default]
    None,
    /// Worker `n` on the `n`th of these cores; there must be one for each worker. If each has another core, a worker that
    /// sleeps is woken before the ask or answer for it is made.
    Cores(Vec<usize>),
}

/// Says what a node is to be. See [`Node::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct NodeBuilder {
    pub(super) name: String,
    cluster: String,
    secret: Vec<u8>,
    workers: usize,
    pinning: Pinning,
    spin: Option<Duration>,
    stack_size: usize,
    listen: Vec<String>,
    advertise: Vec<String>,
    join: Vec<String>,
    datagrams: Option<String>,
    limits: Limits,
    ring: RingConfig,
}

impl NodeBuilder {
    pub(super) fn new(name: String) -> Self {
        NodeBuilder {
            name,
            cluster: "annulus".into(),
            secret: Vec::new(),
            workers: 1,
            pinning: Pinning::None,
            spin: None,
            stack_size: 2 << 20,
            listen: Vec::new(),
            advertise: Vec::new(),
            join: Vec::new(),
            datagrams: None,
            limits: Limits::default(),
            ring: RingConfig::default(),
        }
    }

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

    /// How long an idle worker looks for work before it sleeps in the kernel. Unless this says otherwise it sleeps
    /// at once, but for one that has not had to wait long for other workers lately: that looks on for 50 µs at most.
    /// A worker that looks on uses a whole core. It pays where a core is there for each worker and a few
    /// microseconds count.
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = Some(spin);
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

    /// The settings of each worker's ring: the sizes of its queues, and
    /// [`park_fuse`](RingConfig::park_fuse), which ends every sleep after a while.
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
        let settings =
            Threads { ring: self.ring.clone(), stack_size: self.stack_size, spin: self.spin };
        threads::start(&self, plan, &settings)
    }

    /// Makes the node without threads or rings: the caller drives its workers, on these drivers, one
    /// for each worker. The settings of the ring and of threads count for nothing, and that of cores only for how workers
    /// wake each other; there must be enough of them all the same.
    ///
    /// # Errors
    /// If a setting makes no sense, or a socket cannot be bound.
    pub fn host(mut self, drivers: Vec<Io>) -> Result<HostedNode, NodeError> {
        self.workers = drivers.len();
        let plan = self.check()?;
        HostedNode::new(&self, plan, drivers)
    }

    fn check(&self) -> Result<Plan, NodeError> {
        let setting = |text: String| Err(NodeError::Setting(text));
        if self.name.is_empty() || self.name.len() > 255 {
            return setting("a node's name has 1 to 255 bytes".into());
        }
        if self.cluster.len() > 255 {
            return setting("a cluster's name has 255 bytes at most".into());
        }
        if self.listen.len().max(self.advertise.len()) > MAX_ENDPOINTS {
            return setting(format!("a node listens at {MAX_ENDPOINTS} endpoints at most"));
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
        Ok(Plan { workers: self.workers, cores, listen, advertise, join, datagrams })
    }

    /// What the workers share, and what each of them needs besides, now that their sockets are bound.
    pub(super) fn share(
        &self,
        plan: Plan,
        reports: &[Report],
        entries: Vec<Arc<Entry>>,
    ) -> (Arc<NodeShared>, Vec<Start>) {
        let incarnation = reports[0].wall_nanos;
        let endpoints: Vec<String> = reports[0].endpoints.iter().map(Endpoint::to_string).collect();
        let rings_ahead = plan.pins_apart();
        let advertise = if plan.advertise.is_empty() { endpoints.clone() } else { plan.advertise };
        let shared = Arc::new(NodeShared {
            name: self.name.clone(),
            id: NodeId::from_name(&self.name),
            cluster: self.cluster.clone(),
            secret: self.secret.clone(),
            incarnation,
            incarnation_tag: fold32(incarnation),
            endpoints,
            datagrams: reports.iter().filter_map(|report| report.datagrams).collect(),
            rings_ahead,
            limits: self.limits,
            loads: entries.iter().map(|_| AtomicUsize::new(0)).collect(),
            entries,
        });
        let lanes = lanes::connect(self.workers, shared.limits.lane_chunks);
        let mut joining = Some(Joining { advertise, joins: plan.join });
        let start = |lanes| Start { shared: shared.clone(), lanes, joining: joining.take() };
        let starts = lanes.into_iter().map(start).collect();
        tracing::info!(
            target: "annulus",
            node = shared.name,
            workers = self.workers,
            memory_max = shared.limits.memory_in_all(self.workers),
            "node started"
        );
        (shared, starts)
    }
}

/// The settings, as far as they could be checked before anything is started.
pub(super) struct Plan {
    pub(super) workers: usize,
    pub(super) cores: Vec<usize>,
    listen: Vec<Endpoint>,
    advertise: Vec<String>,
    join: Vec<Endpoint>,
    datagrams: Option<SocketAddr>,
}

impl Plan {
    /// Whether each worker is pinned to a core that no other one is pinned to.
    fn pins_apart(&self) -> bool {
        let used: BTreeSet<&usize> = self.cores.iter().take(self.workers).collect();
        used.len() == self.workers
    }

    /// The sockets of one worker. The first one accepts connections for all.
    pub(super) fn bindings(&self, worker: usize) -> Bindings {
        Bindings {
            listen: if worker == 0 { self.listen.clone() } else { Vec::new() },
            datagrams: self.datagrams.map(|at| nth_port(at, worker)),
        }
    }
}

fn nth_port(at: SocketAddr, worker: usize) -> SocketAddr {
    let port = if at.port() == 0 { 0 } else { at.port().saturating_add(worker as u16) };
    SocketAddr::new(at.ip(), port)
}
