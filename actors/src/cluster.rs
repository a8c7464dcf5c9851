//! The cluster actor: which other nodes there are, and the connections to them.
//!
//! It lives on worker 0. It accepts and dials connections, takes them through the handshake, and gives
//! each to the worker that it is for. The connections between two lives of two nodes form a *session*:
//! one link for each worker, as many as the node with more workers has. When one link breaks, the
//! whole session ends, and a new one is made.
//!
//! Nodes tell each other which nodes they are connected to. Of two nodes that learn of each other that
//! way, the one with the lower number dials, or the one that listens nowhere; a node that was told to
//! join an endpoint always does.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    handshake::{Handshake, HandshakeError, Hello, Refusal, Step},
    hash::fold32,
};
use annulus_macros::{message, wire};
use annulus_transport::{
    driver::{Mono, OperationError},
    endpoint::Endpoint,
    stream::{Listener, Stream},
};

use crate::{
    actor::{Actor, Handler, Respond},
    context::{Access, Context},
    core::Core,
    delivery::Peer,
    link::{LinkEnd, LinkSetup},
    message::{Later, Msg, Reply, Responder},
    reference::ActorRef,
    steward::{self, Attach, DropPeer},
    timers::{sleep, timeout},
};

/// The cluster actor's index and generation on worker 0: it is the second actor there.
const INDEX: usize = 1;
const GENERATION: u32 = 2;

/// How many endpoints of a node others look at.
const ENDPOINTS_MAX: usize = 8;

pub(crate) type Protocol = (Members, LinkLost, WaitForPeer, Quiet);

/// The cluster actor of a node.
fn of(node: NodeId, incarnation: u32) -> ActorRef<Protocol> {
    ActorRef::from_address(Address::new(node, incarnation, Slot::new(0, INDEX), GENERATION))
}

/// The cluster actor of this node.
pub(crate) fn here(core: &Core) -> ActorRef<Protocol> {
    of(core.shared.id, core.shared.incarnation_tag)
}

/// A node that another node is connected to.
#[wire(crate = crate)]
pub(crate) struct Member {
    name: String,
    endpoints: Vec<String>,
}

/// The nodes that the sender is connected to.
#[message(name = "annulus.Members", crate = crate)]
pub(crate) struct Members {
    members: Vec<Member>,
}

/// A link of this node has ended.
#[message(local, crate = crate)]
pub(crate) struct LinkLost {
    peer: Peer,
    name: String,
    session: u64,
    index: u32,
    end: LinkEnd,
}

/// Wait until a node is connected.
#[message(local, reply = Connected, crate = crate)]
pub(crate) struct WaitForPeer {
    pub(crate) name: String,
    /// How long the asker waits.
    pub(crate) patience: Duration,
}

/// The node is connected; this is its incarnation.
#[message(local, crate = crate)]
pub(crate) struct Connected(pub(crate) u32);

/// Accept and dial no more.
#[message(local, crate = crate)]
pub(crate) struct Quiet;

/// Tells the cluster actor that a link has ended.
pub(crate) fn report_link_lost(
    core: &Rc<Core>,
    peer: Peer,
    name: &str,
    session: u64,
    index: u32,
    end: LinkEnd,
) {
    let lost = LinkLost { peer, name: name.into(), session, index, end };
    if let Err(error) = core.tell_system(here(core), lost) {
        tracing::error!(target: "annulus", %error, "the end of a link cannot be reported");
    }
}

/// Who dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialer {
    Us,
    Them,
}

/// The connections to one life of one node.
#[derive(Debug)]
struct Session {
    number: u64,
    dialer: Dialer,
    hello: Hello,
    peer: Peer,
    /// How many links there are to be.
    links: u32,
    attached: BTreeSet<u32>,
}

impl Session {
    fn is_up(&self) -> bool {
        self.attached.len() == self.links as usize
    }
}

/// An endpoint that is to be connected to.
#[derive(Debug, Default)]
struct Target {
    /// Whether a task is at it.
    dialing: bool,
    /// Whether its connection stands and the handshake is under way.
    shaking: bool,
    /// The node that answered there.
    node: Option<NodeId>,
}

pub(crate) struct Cluster {
    listeners: Vec<Listener>,
    /// Where this node can be dialled.
    endpoints: Vec<String>,
    targets: BTreeMap<Endpoint, Target>,
    sessions: BTreeMap<NodeId, Session>,
    last_session: u64,
    handshakes: usize,
    /// Who waits for which node, and until when.
    waiting: Vec<(String, Mono, Responder<Connected>)>,
    quiet: bool,
}

impl Cluster {
    pub(crate) fn new(
        listeners: Vec<Listener>,
        endpoints: Vec<String>,
        joins: &[Endpoint],
    ) -> Self {
        Cluster {
            listeners,
            endpoints,
            targets: joins.iter().map(|join| (join.clone(), Target::default())).collect(),
            sessions: BTreeMap::new(),
            last_session: 0,
            handshakes: 0,
            waiting: Vec::new(),
            quiet: false,
        }
    }

    /// What this node says of itself on one link.
    fn hello(core: &Core, endpoints: &[String], link: u32) -> Hello {
        let shared = &core.shared;
        Hello {
            cluster: shared.cluster.clone(),
            node: shared.name.clone(),
            incarnation: shared.incarnation,
            workers: shared.entries.len() as u32,
            link,
            endpoints: endpoints.to_vec(),
            datagrams: shared.datagrams.iter().map(SocketAddr::to_string).collect(),
            datagram_token: shared.datagram_token,
            max_payload: core.limits().max_payload as u32,
        }
    }

    /// Whether a connection that was accepted is wanted.
    fn consider(&mut self, core: &Rc<Core>, hello: &Hello) -> Result<u64, Refusal> {
        if self.quiet {
            return Err(Refusal::Unavailable);
        }
        let id = check_identity(core, hello)?;
        self.check_name(id, hello, core.limits().peers)?;
        if hello.link > 0 {
            let session = self.sessions.get(&id).filter(|session| {
                session.dialer == Dialer::Them
                    && session.hello.incarnation == hello.incarnation
                    && hello.link < session.links
                    && !session.attached.contains(&hello.link)
            });
            return session.map(|session| session.number).ok_or(Refusal::Duplicate);
        }
        // If both nodes dial each other, the connection of the one with the lower number stays.
        let dialing = self.targets.values().any(|t| t.shaking && t.node == Some(id))
            || hello.endpoints.iter().any(|endpoint| self.is_dialing(endpoint));
        if dialing && core.shared.id < id {
            return Err(Refusal::Duplicate);
        }
        self.open_session(core, Dialer::Them, id, hello)
    }

    fn is_dialing(&self, endpoint: &str) -> bool {
        let target = Endpoint::parse_numeric(endpoint).and_then(|at| self.targets.get(&at));
        target.is_some_and(|target| target.shaking)
    }

    fn check_name(&self, id: NodeId, hello: &Hello, max: usize) -> Result<(), Refusal> {
        match self.sessions.get(&id) {
            Some(session) if session.hello.node != hello.node => Err(Refusal::NameTaken),
            Some(session) if session.hello.incarnation > hello.incarnation => {
                Err(Refusal::Superseded)
            }
            None if self.sessions.len() >= max => Err(Refusal::Unavailable),
            _ => Ok(()),
        }
    }

    /// Starts a session. One with an earlier life of the node ends.
    fn open_session(
        &mut self,
        core: &Rc<Core>,
        dialer: Dialer,
        id: NodeId,
        hello: &Hello,
    ) -> Result<u64, Refusal> {
        if let Some(session) = self.sessions.get(&id) {
            if session.hello.incarnation >= hello.incarnation {
                return Err(Refusal::Duplicate);
            }
            self.end_session(core, id, "the node was started anew");
        }
        self.last_session += 1;
        let peer = Peer { node: id, incarnation: fold32(hello.incarnation) };
        let links = hello.workers.max(core.shared.entries.len() as u32);
        let session = Session {
            number: self.last_session,
            dialer,
            hello: hello.clone(),
            peer,
            links,
            attached: BTreeSet::new(),
        };
        self.sessions.insert(id, session);
        Ok(self.last_session)
    }

    /// Gives a connection that has passed its handshake to its worker. Returns whether the session is
    /// still wanted.
    fn attach(
        &mut self,
        core: &Rc<Core>,
        number: u64,
        link: u32,
        stream: Stream,
        rest: Vec<u8>,
    ) -> bool {
        let Some(session) = self.sessions.values_mut().find(|session| session.number == number)
        else {
            return false;
        };
        let Ok(stream) = stream.detach() else {
            tracing::error!(target: "annulus", "a connection is still in use after its handshake");
            return false;
        };
        let hello = &session.hello;
        let setup = LinkSetup {
            peer: session.peer,
            name: hello.node.clone(),
            session: number,
            index: link,
            max_payload: hello.max_payload as usize,
            datagrams: hello.datagrams.iter().filter_map(|at| at.parse().ok()).collect(),
            datagram_token: hello.datagram_token,
            rest,
        };
        let id = session.peer.node;
        let worker = link as usize % core.shared.entries.len();
        let attach = Attach { stream, setup };
        if let Err(error) = core.tell_system(steward::of_worker(core, worker), attach) {
            tracing::error!(target: "annulus", %error, "a link cannot be given to its worker");
            return false;
        }
        let session = self.sessions.get_mut(&id).filter(|session| session.number == number);
        if let Some(session) = session {
            session.attached.insert(link);
            if session.is_up() {
                self.session_is_up(id);
            }
        }
        true
    }

    fn session_is_up(&mut self, id: NodeId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let (name, peer) = (session.hello.node.clone(), session.peer);
        tracing::info!(target: "annulus", node = name, links = session.links, "connected");
        for (wanted, until, responder) in std::mem::take(&mut self.waiting) {
            if wanted == name {
                responder.reply(Connected(peer.incarnation));
            } else {
                self.waiting.push((wanted, until, responder));
            }
        }
        // Everybody hears of the new node, and the new node of everybody.
        let new = Members { members: vec![member(&session.hello)] };
        let mut known = Members { members: Vec::new() };
        for other in self.sessions.values().filter(|other| other.is_up() && other.peer != peer) {
            known.members.push(member(&other.hello));
            let news = Members { members: new.members.iter().map(Member::clone_of).collect() };
            tell_members(other.peer, news);
        }
        tell_members(peer, known);
    }

    /// Ends a session that has not all of its links.
    fn end_unless_up(&mut self, core: &Rc<Core>, number: u64) {
        let session = self.sessions.values().find(|session| session.number == number);
        if let Some(session) = session.filter(|session| !session.is_up()) {
            self.end_session(core, session.peer.node, "not all links came up");
        }
    }

    /// Ends a session on all workers.
    fn end_session(&mut self, core: &Rc<Core>, id: NodeId, why: &str) {
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        tracing::warn!(target: "annulus", node = session.hello.node, why, "disconnected");
        for worker in 0..core.shared.entries.len() {
            let order = DropPeer { peer: session.peer, session: session.number };
            if let Err(error) = core.tell_system(steward::of_worker(core, worker), order) {
                tracing::error!(target: "annulus", %error, "a link cannot be dropped");
            }
        }
    }

    /// Which endpoints are to be dialled now.
    fn due_targets(&mut self) -> Vec<Endpoint> {
        if self.quiet {
            return Vec::new();
        }
        let due = self.targets.iter().filter(|(_, target)| {
            !target.dialing && target.node.is_none_or(|node| !self.sessions.contains_key(&node))
        });
        due.map(|(endpoint, _)| endpoint.clone()).collect()
    }

    /// Starts a task for every endpoint that is to be dialled and is not.
    fn dial_targets(&mut self, context: &mut Context<Self>) {
        for endpoint in self.due_targets() {
            if let Some(target) = self.targets.get_mut(&endpoint) {
                target.dialing = true;
            }
            let core = context.core().clone();
            context.task(|cluster| dial_until_connected(core, cluster, endpoint));
        }
    }
}

fn member(hello: &Hello) -> Member {
    Member { name: hello.node.clone(), endpoints: hello.endpoints.clone() }
}

impl Member {
    fn clone_of(&self) -> Member {
        Member { name: self.name.clone(), endpoints: self.endpoints.clone() }
    }
}

fn tell_members(peer: Peer, members: Members) {
    if members.members.is_empty() {
        return;
    }
    if let Err(error) = of(peer.node, peer.incarnation).tell(members) {
        tracing::debug!(target: "annulus", %error, "a node was not told of the others");
    }
}

/// That a hello is from another node of this cluster. Returns its number.
fn check_identity(core: &Core, hello: &Hello) -> Result<NodeId, Refusal> {
    let id = NodeId::from_name(&hello.node);
    if hello.cluster != core.shared.cluster {
        return Err(Refusal::OtherCluster);
    }
    if id == core.shared.id {
        let itself = hello.node == core.shared.name && hello.incarnation == core.shared.incarnation;
        return Err(if itself { Refusal::Itself } else { Refusal::NameTaken });
    }
    let workers = hello.workers as usize;
    if workers == 0 || workers > annulus_codec::address::MAX_WORKERS {
        return Err(Refusal::Unavailable);
    }
    Ok(id)
}

impl Actor for Cluster {
    type Protocol = Protocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        for listener in self.listeners.drain(..) {
            let core = context.core().clone();
            context.task(|cluster| accept(core, cluster, listener));
        }
        self.dial_targets(context);
    }
}

impl Handler<Members> for Cluster {
    async fn handle(&mut self, members: Msg<Members>, context: &mut Context<Self>) {
        let own = context.core().shared.id;
        for member in members.members.iter() {
            let id = NodeId::from_name(&member.name);
            // Of two nodes that hear of each other, one dials: the one that has to, if the other
            // cannot, because this one listens nowhere.
            let ours = own < id || (own != id && self.endpoints.is_empty());
            if !ours || self.sessions.contains_key(&id) {
                continue;
            }
            let mut endpoints = member.endpoints.iter().take(ENDPOINTS_MAX);
            let Some(endpoint) = endpoints.find_map(|text| Endpoint::parse_numeric(text)) else {
                continue;
            };
            if self.targets.len() < context.core().limits().peers {
                let target: &mut Target = self.targets.entry(endpoint).or_default();
                target.node = Some(id);
            }
        }
        self.dial_targets(context);
    }
}

impl Handler<LinkLost> for Cluster {
    async fn handle(&mut self, lost: Msg<LinkLost>, context: &mut Context<Self>) {
        let LinkLost { peer, name, session, index, end } = lost.into_inner();
        let current = self.sessions.get(&peer.node).is_some_and(|known| known.number == session);
        if current {
            tracing::warn!(target: "annulus", node = name, link = index, %end, "a link was lost");
            let core = context.core().clone();
            self.end_session(&core, peer.node, &end.to_string());
            self.dial_targets(context);
        }
    }
}

impl Respond<WaitForPeer> for Cluster {
    async fn respond(
        &mut self,
        wait: Msg<WaitForPeer>,
        context: &mut Context<Self>,
    ) -> Reply<Connected> {
        let up = self.sessions.values().find(|s| s.hello.node == wait.name && s.is_up());
        if let Some(session) = up {
            return Connected(session.peer.incarnation).into();
        }
        let (later, responder): (Later, _) = context.defer(&wait);
        let now = context.now();
        // Those who have given up hear no answer.
        self.waiting.retain(|(_, until, _)| *until > now);
        if self.waiting.len() < context.core().limits().names {
            let WaitForPeer { name, patience } = wait.into_inner();
            self.waiting.push((name, now.after(patience), responder));
        }
        later.into()
    }
}

impl Handler<Quiet> for Cluster {
    async fn handle(&mut self, _: Msg<Quiet>, _: &mut Context<Self>) {
        self.quiet = true;
    }
}

/// Accepts connections as long as the node runs.
async fn accept(core: Rc<Core>, cluster: Access<Cluster>, mut listener: Listener) {
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely: connections wait in the backlog meanwhile.
                tracing::warn!(target: "annulus", %error, "accepting a connection failed");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let max = core.limits().handshakes;
        let admitted = cluster.with(move |cluster, context| {
            if cluster.quiet || cluster.handshakes >= max {
                return false;
            }
            cluster.handshakes += 1;
            let core = context.core().clone();
            context.task(|cluster| greet(core, cluster, stream));
            true
        });
        match admitted.await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(target: "annulus", "too many handshakes: connection closed")
            }
            Err(_) => return,
        }
    }
}

/// Takes one accepted connection through its handshake.
async fn greet(core: Rc<Core>, cluster: Access<Cluster>, stream: Stream) {
    let opened = Cell::new(None);
    let welcome = welcome(&core, &cluster, stream, &opened);
    let outcome = timeout(core.limits().handshake, welcome).await;
    let error = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(GreetError::TooSlow),
    };
    let failed = error.is_some();
    if let Some(error) = error {
        tracing::warn!(target: "annulus", %error, "a connection was closed in its handshake");
    }
    // The actor is there: it owns this task.
    let failed = opened.get().filter(|_| failed);
    let _ = cluster
        .with(move |cluster, context| {
            cluster.handshakes -= 1;
            if let Some(session) = failed {
                cluster.end_unless_up(&context.core().clone(), session);
            }
        })
        .await;
    // A session whose other links never come is no session.
    if let Some(session) = opened.get().filter(|_| failed.is_none()) {
        sleep(core.limits().handshake * 2).await;
        let end = move |cluster: &mut Cluster, context: &mut Context<Cluster>| {
            cluster.end_unless_up(&context.core().clone(), session);
        };
        let _ = cluster.with(end).await;
    }
}

async fn welcome(
    core: &Rc<Core>,
    cluster: &Access<Cluster>,
    stream: Stream,
    opened: &Cell<Option<u64>>,
) -> Result<(), GreetError> {
    let mut handshake = Handshake::accept(&core.shared.secret, nonce(core));
    let mut hello = match converse(&mut handshake, &stream).await? {
        Step::Decide(hello) => hello,
        _ => return Err(GreetError::Handshake(HandshakeError::BadHello)),
    };
    fill_in_addresses(&mut hello, &stream);
    let link = hello.link;
    let asked = hello.clone();
    let verdict = cluster
        .with(move |cluster, context| {
            let core = context.core().clone();
            let session = cluster.consider(&core, &asked)?;
            Ok((session, Cluster::hello(&core, &cluster.endpoints, asked.link)))
        })
        .await
        .map_err(|_| GreetError::Ending)?;
    match verdict {
        Ok((session, own)) => {
            opened.set(Some(session));
            stream.send_bytes(handshake.admit(&own)).await?;
            let rest = handshake.into_rest();
            let attached = cluster.with(move |cluster, context| {
                let core = context.core().clone();
                cluster.attach(&core, session, link, stream, rest)
            });
            attached.await.map_err(|_| GreetError::Ending)?;
            Ok(())
        }
        Err(refusal) => {
            stream.send_bytes(handshake.refuse(refusal)).await?;
            Err(GreetError::Refused(refusal, hello.node))
        }
    }
}

/// A node that listens on all its addresses does not know which one others reach it by: it is the one
/// that its connection comes from.
fn fill_in_addresses(hello: &mut Hello, stream: &Stream) {
    let Ok(seen) = stream.peer_address() else { return };
    let ip = seen.ip();
    hello.endpoints.truncate(ENDPOINTS_MAX);
    for endpoint in &mut hello.endpoints {
        if let Some(Endpoint::Tcp(mut at)) = Endpoint::parse_numeric(endpoint)
            && at.ip().is_unspecified()
        {
            at.set_ip(ip);
            *endpoint = Endpoint::Tcp(at).to_string();
        }
    }
    for datagrams in &mut hello.datagrams {
        if let Ok(mut at) = datagrams.parse::<SocketAddr>()
            && at.ip().is_unspecified()
        {
            at.set_ip(ip);
            *datagrams = at.to_string();
        }
    }
}

/// Passes bytes between a handshake and a stream until there is something to decide.
async fn converse(handshake: &mut Handshake, stream: &Stream) -> Result<Step, GreetError> {
    let mut step = handshake.input(&[])?;
    loop {
        match step {
            Step::Receive => {
                let (bytes, received) = stream.read_some(Vec::with_capacity(1024)).await?;
                if received == 0 {
                    return Err(GreetError::Closed);
                }
                step = handshake.input(&bytes)?;
            }
            Step::Send(bytes) => {
                stream.send_bytes(bytes).await?;
                step = handshake.input(&[])?;
            }
            Step::Decide(_) | Step::Done(_) => return Ok(step),
        }
    }
}

/// Dials an endpoint until the node there is connected, with growing pauses.
async fn dial_until_connected(core: Rc<Core>, cluster: Access<Cluster>, endpoint: Endpoint) {
    let (mut pause, longest) = core.limits().reconnect;
    loop {
        let outcome = dial_session(&core, &cluster, &endpoint).await;
        let connected = match &outcome {
            Ok(()) => true,
            Err(error) => {
                tracing::debug!(target: "annulus", %endpoint, %error, "not connected");
                false
            }
        };
        let refused = HandshakeError::Refused(Refusal::Itself);
        let itself = matches!(&outcome, Err(GreetError::Handshake(why)) if *why == refused);
        let at = endpoint.clone();
        let wanted = cluster.with(move |cluster, context| {
            if itself {
                cluster.targets.remove(&at);
            }
            let Some(target) = cluster.targets.get_mut(&at) else {
                return false;
            };
            target.shaking = false;
            target.dialing = !connected && !cluster.quiet;
            let node = target.node;
            // Somebody else may have brought the node in meanwhile.
            if node.is_some_and(|node| cluster.sessions.contains_key(&node))
                && let Some(target) = cluster.targets.get_mut(&at)
            {
                target.dialing = false;
            }
            let again = cluster.targets.get(&at).is_some_and(|target| target.dialing);
            if !again {
                // The session may have ended while this task was finishing.
                cluster.dial_targets(context);
            }
            again
        });
        if wanted.await != Ok(true) {
            return;
        }
        sleep(jittered(&core, pause)).await;
        pause = (pause * 2).min(longest);
    }
}

/// Makes all links of a session.
async fn dial_session(
    core: &Rc<Core>,
    cluster: &Access<Cluster>,
    endpoint: &Endpoint,
) -> Result<(), GreetError> {
    let (stream, hello, rest) = dial(core, cluster, endpoint, 0).await?;
    let (at, first) = (endpoint.clone(), hello.clone());
    let opened = cluster
        .with(move |cluster, context| {
            let core = context.core().clone();
            let id = check_identity(&core, &first)?;
            if let Some(target) = cluster.targets.get_mut(&at) {
                target.node = Some(id);
            }
            cluster.check_name(id, &first, core.limits().peers)?;
            let session = cluster.open_session(&core, Dialer::Us, id, &first)?;
            let links = cluster.sessions.get(&id).map_or(1, |session| session.links);
            cluster.attach(&core, session, 0, stream, rest);
            Ok((id, session, links))
        })
        .await
        .map_err(|_| GreetError::Ending)?;
    let (id, session, links) =
        opened.map_err(|refusal| GreetError::Refused(refusal, hello.node.clone()))?;
    for link in 1..links {
        let dialled =
            dial(core, cluster, endpoint, link).await.and_then(|(stream, again, rest)| {
                let same = again.node == hello.node && again.incarnation == hello.incarnation;
                if same { Ok((stream, rest)) } else { Err(GreetError::Changed) }
            });
        let failed = match dialled {
            Ok((stream, rest)) => {
                let attached = cluster.with(move |cluster, context| {
                    let core = context.core().clone();
                    cluster.attach(&core, session, link, stream, rest)
                });
                (attached.await != Ok(true)).then_some(GreetError::Changed)
            }
            Err(error) => Some(error),
        };
        if let Some(error) = failed {
            let why = error.to_string();
            let ended = cluster.with(move |cluster, context| {
                let core = context.core().clone();
                if cluster.sessions.get(&id).is_some_and(|known| known.number == session) {
                    cluster.end_session(&core, id, &why);
                }
            });
            ended.await.map_err(|_| GreetError::Ending)?;
            return Err(error);
        }
    }
    Ok(())
}

/// Connects, and takes the connection through its handshake.
async fn dial(
    core: &Rc<Core>,
    cluster: &Access<Cluster>,
    endpoint: &Endpoint,
    link: u32,
) -> Result<(Stream, Hello, Vec<u8>), GreetError> {
    let patience = core.limits().handshake;
    let endpoints = cluster.with(|cluster, _| cluster.endpoints.clone());
    let endpoints = endpoints.await.map_err(|_| GreetError::Ending)?;
    let hello = Cluster::hello(core, &endpoints, link);
    let shaken = async {
        let stream = Stream::connect(&core.io, endpoint, Some(patience)).await?;
        let at = endpoint.clone();
        let note = cluster.with(move |cluster, _| {
            if let Some(target) = cluster.targets.get_mut(&at) {
                target.shaking = true;
            }
        });
        note.await.map_err(|_| GreetError::Ending)?;
        let mut handshake = Handshake::dial(&core.shared.secret, nonce(core), hello);
        stream.send_bytes(handshake.greeting().to_vec()).await?;
        match converse(&mut handshake, &stream).await? {
            Step::Done(mut hello) => {
                fill_in_addresses(&mut hello, &stream);
                Ok((stream, hello, handshake.into_rest()))
            }
            _ => Err(GreetError::Handshake(HandshakeError::BadHello)),
        }
    };
    within(patience, shaken).await
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, GreetError>>,
) -> Result<T, GreetError> {
    timeout(limit, work).await.unwrap_or(Err(GreetError::TooSlow))
}

fn nonce(core: &Core) -> [u8; 32] {
    let mut nonce = [0; 32];
    core.io.entropy(&mut nonce);
    nonce
}

/// Between half of `pause` and all of it, so that nodes do not dial in step.
fn jittered(core: &Core, pause: Duration) -> Duration {
    let mut random = [0; 1];
    core.io.entropy(&mut random);
    pause / 2 + pause / 2 * u32::from(random[0]) / 255
}

/// Why a connection did not become a link.
#[derive(Debug)]
enum GreetError {
    Handshake(HandshakeError),
    Operation(OperationError),
    /// The other side closed the connection.
    Closed,
    /// The handshake took too long.
    TooSlow,
    /// This node did not want the connection from the node of this name.
    Refused(Refusal, String),
    /// The node was started anew, or the session ended, while its links were made.
    Changed,
    /// This node is ending.
    Ending,
}

impl std::fmt::Display for GreetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GreetError::Handshake(error) => error.fmt(f),
            GreetError::Operation(error) => error.fmt(f),
            GreetError::Closed => write!(f, "the other side closed the connection"),
            GreetError::TooSlow => write!(f, "the handshake took too long"),
            GreetError::Refused(refusal, node) => write!(f, "node {node} was refused: {refusal}"),
            GreetError::Changed => write!(f, "the other node changed meanwhile"),
            GreetError::Ending => write!(f, "this node is ending"),
        }
    }
}

impl From<HandshakeError> for GreetError {
    fn from(error: HandshakeError) -> Self {
        GreetError::Handshake(error)
    }
}

impl From<OperationError> for GreetError {
    fn from(error: OperationError) -> Self {
        GreetError::Operation(error)
    }
}
