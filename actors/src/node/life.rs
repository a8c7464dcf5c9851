//! A worker's life, whoever drives it: its sockets, its core, and its end.

use std::{io, mem, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use annulus_transport::{
    datagram::DatagramSocket, driver::Wait, endpoint::Endpoint, io::Io, stream::Listener,
};

use crate::{
    cluster::Cluster,
    contain::discard,
    core::Core,
    datagram,
    error::SpawnError,
    lanes::{LaneEnds, Lanes},
    link::LinkEnd,
    names::Names,
    steward::Steward,
};

use super::{NodeError, NodeShared};

/// Where a worker's sockets are to be.
pub(super) struct Bindings {
    pub(super) listen: Vec<Endpoint>,
    pub(super) datagrams: Option<SocketAddr>,
}

/// The sockets of a worker, bound.
pub(super) struct Sockets {
    listeners: Vec<Listener>,
    datagrams: Option<DatagramSocket>,
}

/// What a worker with its sockets has to say.
pub(super) struct Report {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) datagrams: Option<SocketAddr>,
    pub(super) wall_nanos: u64,
}

/// What a worker needs to go on.
pub(super) struct Start {
    pub(super) shared: Arc<NodeShared>,
    pub(super) lanes: LaneEnds,
    /// For the first worker only.
    pub(super) joining: Option<Joining>,
}

/// How the node finds others, and they it.
pub(super) struct Joining {
    pub(super) advertise: Vec<String>,
    pub(super) joins: Vec<Endpoint>,
}

/// Binds a worker's sockets.
pub(super) fn bind(
    io: &Io,
    bindings: Bindings,
    patience: Duration,
) -> Result<(Sockets, Report), NodeError> {
    let mut listeners = Vec::new();
    for endpoint in bindings.listen {
        let listener = bind_listener(io, &endpoint, patience)
            .map_err(|source| NodeError::Bind { endpoint, source })?;
        listeners.push(listener);
    }
    let datagrams = match bindings.datagrams {
        Some(at) => Some(
            DatagramSocket::bind(io, at, datagram::socket_buffer())
                .map_err(|source| NodeError::Bind { endpoint: Endpoint::Udp(at), source })?,
        ),
        None => None,
    };
    let report = Report {
        endpoints: listeners.iter().map(|listener| listener.endpoint().clone()).collect(),
        datagrams: datagrams.as_ref().map(DatagramSocket::address),
        wall_nanos: io.wall().as_nanos() as u64,
    };
    Ok((Sockets { listeners, datagrams }, report))
}

/// How long an address that is in use is tried again. When a process is killed, the kernel closes the
/// sockets of its rings a little later than the process ends; a node that is started again at once
/// would find its own address taken.
pub(super) const BIND_PATIENCE: Duration = Duration::from_secs(2);

fn bind_listener(io: &Io, endpoint: &Endpoint, patience: Duration) -> io::Result<Listener> {
    let give_up = io.now().after(patience);
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

/// The core of a worker, with its first actors.
pub(super) fn begin(worker: usize, start: Start, io: Io, sockets: Sockets) -> Rc<Core> {
    let Start { shared, lanes, joining } = start;
    let limits = shared.limits.outbox();
    let entries = shared.entries.clone();
    let core = Core::new(worker, shared, io, |pool| Lanes::new(lanes, &entries, limits, pool));
    core.enter(|| {
        let started = spawn_system_actors(&core, sockets, joining);
        debug_assert!(started.is_ok(), "an empty worker has room");
    });
    core
}

fn spawn_system_actors(
    core: &Rc<Core>,
    sockets: Sockets,
    joining: Option<Joining>,
) -> Result<(), SpawnError> {
    core.spawn(Steward)?;
    if let Some(Joining { advertise, joins }) = joining {
        core.spawn(Cluster::new(core, sockets.listeners, advertise, &joins))?;
        core.spawn(Names::default())?;
    }
    if let Some(socket) = sockets.datagrams {
        core.open_datagrams(socket);
    }
    Ok(())
}

/// Ends a worker that will have no more turns.
pub(super) fn end(core: &Rc<Core>) {
    core.enter(|| core.drop_everything());
    if let Err(abandoned) = core.io.quiesce(Duration::from_secs(1)) {
        let worker = core.worker();
        tracing::error!(target: "annulus", worker, %abandoned, "a worker's ring did not come to rest");
    }
}

impl Core {
    /// Drops all actors, tasks and links, and ends all asks.
    fn drop_everything(self: &Rc<Self>) {
        self.ending.set(true);
        self.cancel_asks();
        for cell in self.actors.all() {
            self.kill_actor(&cell);
        }
        for link in self.links.all() {
            self.close_link(&link, LinkEnd::Dropped);
        }
        for task in self.tasks.take_all() {
            discard("a task", task.future.take());
        }
        let inbound = mem::take(&mut *self.inbound.borrow_mut());
        discard("messages of other nodes", inbound);
    }
}
