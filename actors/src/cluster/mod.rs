//! The cluster actor: which other nodes there are, and the connections to them.
//!
//! It lives on worker 0. It accepts and dials connections, takes them through the handshake, and gives
//! each to the worker that it is for. The connections between two lives of two nodes form a
//! [session](sessions). When one link breaks, the whole session ends, and a new one is made.
//!
//! Nodes tell each other which nodes they are connected to, when a session is up and now and then again.
//! Of two nodes that learn of each other that way, the one with the lower number dials, or the one that
//! listens nowhere; a node that was told to join an endpoint always does. What is to be dialled is kept in
//! [`targets`].

mod dial;
mod greet;
mod sessions;
mod targets;

use std::{collections::BTreeMap, net::SocketAddr, rc::Rc, time::Duration};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    handshake::{Hello, Refusal},
};
use annulus_macros::{message, wire};
use annulus_transport::{
    driver::{Detached, Mono},
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
    planted::{Bug, planted},
    reference::ActorRef,
    steward::{self, Attach, DropPeer, ReadLinks},
    timers::sleep,
};

use self::{
    greet::Handshakes,
    sessions::{Dialer, Kept, Own, Parted, Session, Sessions},
    targets::{Target, Targets},
};

/// The cluster actor's index and generation on worker 0: it is the second actor there.
const INDEX: usize = 1;
const GENERATION: u32 = 2;

/// How often a node tells one of the others again which nodes it is connected to. What a list says may have been
/// refused, or been taken for something else: the next one makes it good.
const REMINDER: Duration = Duration::from_secs(10);

/// How many endpoints of a node others look at.
const ENDPOINTS_MAX: usize = 8;

pub(crate) type Protocol = (Members, Attached, LinkLost, SessionOver, WaitForPeer, Quiet);

/// The cluster actor of a node.
fn of(node: NodeId, tag: u32) -> ActorRef<Protocol> {
    ActorRef::new(Address::new(node, tag, Slot::new(0, INDEX), GENERATION))
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

/// One of the connections of a session is a link of its worker.
#[message(local, crate = crate)]
pub(crate) struct Attached {
    session: u64,
}

/// A link of this node has ended.
#[message(local, crate = crate)]
pub(crate) struct LinkLost {
    name: String,
    session: u64,
    index: u32,
    end: LinkEnd,
}

/// A worker has handled all of a session that has ended.
#[message(local, crate = crate)]
pub(crate) struct SessionOver {
    pub(crate) session: u64,
}

/// Wait until a node is connected.
#[message(local, reply = Connected, crate = crate)]
pub(crate) struct WaitForPeer {
    pub(crate) name: String,
    /// How long the asker waits.
    pub(crate) patience: Duration,
}

/// The node is connected; addresses on it have this in place of an incarnation.
#[message(local, crate = crate)]
pub(crate) struct Connected(pub(crate) u32);

/// Accept and dial no more.
#[message(local, crate = crate)]
pub(crate) struct Quiet;

/// Tells the cluster actor that a connection is a link.
pub(crate) fn report_attached(core: &Rc<Core>, session: u64) {
    if let Err(error) = core.tell_system(here(core), Attached { session }) {
        tracing::error!(target: "annulus", %error, "a new link cannot be reported");
    }
}

/// Tells the cluster actor that a link has ended.
pub(crate) fn report_link_lost(
    core: &Rc<Core>,
    name: &str,
    session: u64,
    index: u32,
    end: LinkEnd,
) {
    let lost = LinkLost { name: name.into(), session, index, end };
    if let Err(error) = core.tell_system(here(core), lost) {
        tracing::error!(target: "annulus", %error, "the end of a link cannot be reported");
    }
}

/// A connection that waits for the others of its session.
struct Connection {
    stream: Detached,
    /// What arrived behind the handshake.
    rest: Vec<u8>,
}

pub(crate) struct Cluster {
    listeners: Vec<Listener>,
    /// Where this node can be dialled.
    endpoints: Vec<String>,
    targets: Targets,
    sessions: Sessions<Connection>,
    handshakes: Handshakes,
    /// Who waits for which node, and until when.
    waiting: Vec<(String, Mono, Responder<Connected>)>,
    /// Whom this node has reminded last of the others.
    reminded: Option<Peer>,
    /// Whether a task does so.
    reminds: bool,
    quiet: bool,
}

impl Cluster {
    pub(crate) fn new(
        core: &Core,
        listeners: Vec<Listener>,
        endpoints: Vec<String>,
        joins: &[Endpoint],
    ) -> Self {
        let (shared, limits) = (&core.shared, core.limits());
        let own = Own {
            cluster: shared.cluster.clone(),
            name: shared.name.clone(),
            id: shared.id,
            incarnation: shared.incarnation,
            workers: shared.entries.len() as u32,
        };
        Cluster {
            listeners,
            endpoints,
            targets: Targets::new(joins, limits.peers, limits.reconnect),
            sessions: Sessions::new(own, limits.peers),
            handshakes: Handshakes::default(),
            waiting: Vec::new(),
            reminded: None,
            reminds: false,
            quiet: false,
        }
    }

    /// What this node says of itself on one connection.
    fn hello(&self, core: &Core, link: u32, token: u64) -> Hello {
        let shared = &core.shared;
        Hello {
            cluster: shared.cluster.clone(),
            node: shared.name.clone(),
            incarnation: shared.incarnation,
            workers: shared.entries.len() as u32,
            link,
            endpoints: self.endpoints.clone(),
            datagrams: shared.datagrams.iter().map(SocketAddr::to_string).collect(),
            datagram_token: token,
            max_payload: core.limits().max_payload as u32,
        }
    }

    /// Whether a connection that was accepted is wanted: its session, and what to answer. `None` if that
    /// cannot be said before another session is over.
    fn consider(
        &mut self,
        context: &mut Context<Self>,
        hello: &Hello,
    ) -> Result<Option<(u64, Hello)>, Refusal> {
        if self.quiet {
            return Err(Refusal::Unavailable);
        }
        let core = context.core().clone();
        let id = self.sessions.check(hello)?;
        if hello.link > 0 {
            let session = self.sessions.expecting(id, hello)?;
            return Ok(Some((session.number, self.hello(&core, hello.link, session.token))));
        }
        // If both nodes dial each other, the connection of the one with the lower number stays.
        if core.shared.id < id && self.targets.is_shaking_with(id, &hello.endpoints) {
            return Err(self.sessions.duplicate());
        }
        if !self.makes_way(context, id, hello) {
            return Ok(None);
        }
        let mut token = [0; 8];
        context.random(&mut token);
        let token = u64::from_le_bytes(token);
        let (number, _) = self.sessions.open(Dialer::Them, id, hello, token)?;
        Ok(Some((number, self.hello(&core, 0, token))))
    }

    /// Whether no other session is in the way of one with this node. One with an earlier life of it is
    /// ended.
    fn makes_way(&mut self, context: &mut Context<Self>, id: NodeId, hello: &Hello) -> bool {
        if let Some(outlived) = self.sessions.outlived(id, hello) {
            self.end_session(context, outlived, "the node was started anew");
        }
        !self.sessions.is_ending(id)
    }

    /// Starts the session of a connection that was dialled.
    fn open_dialled(
        &mut self,
        context: &mut Context<Self>,
        target: &Target,
        hello: &Hello,
        token: u64,
    ) -> Result<(u64, u32), Refusal> {
        if self.quiet {
            return Err(Refusal::Unavailable);
        }
        let id = self.sessions.check(hello)?;
        self.targets.answered(target, id);
        if !self.makes_way(context, id, hello) {
            // It is dialled again, after a pause.
            return Err(Refusal::Unavailable);
        }
        self.sessions.open(Dialer::Us, id, hello, token)
    }

    /// Keeps a connection that has passed its handshake; when all of its session have come, gives them
    /// to their workers. Returns whether the session is still wanted.
    fn keep(
        &mut self,
        context: &mut Context<Self>,
        number: u64,
        link: u32,
        stream: Stream,
        rest: Vec<u8>,
    ) -> bool {
        let Ok(stream) = stream.detach() else {
            tracing::error!(target: "annulus", "a connection is still in use after its handshake");
            return false;
        };
        match self.sessions.keep(number, link, Connection { stream, rest }) {
            Kept::TooLate => false,
            Kept::Waiting => true,
            Kept::Complete(connections) => self.attach_all(context, number, connections),
        }
    }

    fn attach_all(
        &mut self,
        context: &mut Context<Self>,
        number: u64,
        connections: BTreeMap<u32, Connection>,
    ) -> bool {
        let core = context.core().clone();
        let Some(session) = self.sessions.by_number(number) else { return false };
        for (link, connection) in connections {
            if let Err(error) = attach(&core, session, link, connection) {
                tracing::error!(target: "annulus", %error, "a link cannot be given to its worker");
                self.end_session(context, number, "a link cannot be given to its worker");
                return false;
            }
        }
        if planted(Bug::EarlyNews) {
            self.announce(context, number);
        }
        true
    }

    /// All workers have their links of a session. Now they may read, as they all can answer.
    fn bring_up(&mut self, context: &mut Context<Self>, number: u64) {
        let Some(session) = self.sessions.by_number(number) else { return };
        let order = || ReadLinks { peer: session.peer() };
        steward::tell_all(context.core(), order, "links cannot be read");
        if !planted(Bug::EarlyNews) {
            self.announce(context, number);
        }
    }

    /// A session is up: whoever waits for the node goes on, everybody hears of the new node, and the
    /// new node of everybody.
    fn announce(&mut self, context: &mut Context<Self>, number: u64) {
        let Some(session) = self.sessions.by_number(number) else { return };
        let (name, peer) = (session.hello.node.clone(), session.peer());
        tracing::info!(target: "annulus", node = name, links = session.links, "connected");
        for (wanted, until, responder) in std::mem::take(&mut self.waiting) {
            if wanted == name {
                responder.reply(Connected(peer.tag()));
            } else {
                self.waiting.push((wanted, until, responder));
            }
        }
        for other in self.others(peer) {
            tell_members(other.peer(), vec![member(&session.hello)]);
        }
        tell_members(peer, self.others(peer).map(|other| member(&other.hello)).collect());
        // Faults that are made good would not be found.
        let planted = planted(Bug::EarlyNews) || planted(Bug::ForgetEndpoints);
        if !self.reminds && !planted {
            self.reminds = true;
            context.task(remind_others);
        }
    }

    /// The sessions that are up, but for the one with this peer.
    fn others(&self, peer: Peer) -> impl Iterator<Item = &Session<Connection>> {
        self.sessions.iter().filter(move |other| other.is_up() && other.peer() != peer)
    }

    /// Tells the next node in turn of all others. Returns whether there is one.
    fn remind(&mut self) -> bool {
        let mut up = self.sessions.iter().filter(|session| session.is_up()).map(Session::peer);
        let first = up.next();
        let next = first.into_iter().chain(up).find(|peer| Some(*peer) > self.reminded).or(first);
        if let Some(peer) = next {
            tell_members(peer, self.others(peer).map(|other| member(&other.hello)).collect());
        }
        self.reminded = next;
        self.reminds = next.is_some();
        self.reminds
    }

    /// Ends a session on all workers. The node is dialled again when it is over.
    fn end_session(&mut self, context: &mut Context<Self>, number: u64, why: &str) {
        let Some(session) = self.sessions.end(number) else { return };
        drop_session(context.core(), &session, why);
        if !session.has_links() {
            self.dial_targets(context);
        }
    }

    /// Starts a task for everything that is to be dialled and is not.
    fn dial_targets(&mut self, context: &mut Context<Self>) {
        if self.quiet {
            return;
        }
        let busy = |node| self.sessions.with(node).is_some() || self.sessions.is_ending(node);
        for target in self.targets.begin(busy) {
            let core = context.core().clone();
            context.task(|cluster| dial::dial_until_connected(core, cluster, target));
        }
    }

    /// An attempt to connect has come to its end. Returns how long to wait before the next one.
    fn dial_ended(
        &mut self,
        context: &mut Context<Self>,
        target: &Target,
        dialled: Result<(), Option<Refusal>>,
    ) -> Option<Duration> {
        match dialled {
            Err(Some(Refusal::Itself)) => self.targets.misled(target),
            // The node over there is known now, and its own connection stands, or is on its way.
            Err(Some(Refusal::Duplicate { node })) => self.targets.answered(target, node),
            _ => {}
        }
        let connected = |node| self.sessions.with(node).is_some();
        let pause = self.targets.ended(target, dialled.is_ok(), context.now(), connected);
        if pause.is_none() {
            // The session may have ended while the attempt was finishing.
            self.dial_targets(context);
        }
        pause.filter(|_| !self.quiet)
    }
}

/// Why a session ends in order.
const FAREWELL: &str = "the other node closed it";

/// A node that closes one link closes all, and soon; if it does not, the session ends all the same.
fn end_parting_session_later(context: &mut Context<Cluster>, session: u64) {
    let patience = context.core().limits().silence;
    context.task(|cluster| async move {
        sleep(patience).await;
        let end = move |cluster: &mut Cluster, context: &mut Context<Cluster>| {
            cluster.end_session(context, session, FAREWELL);
        };
        let _ = cluster.with(end).await;
    });
}

/// Reminds one node after the other, as long as there are any.
async fn remind_others(cluster: Access<Cluster>) {
    loop {
        sleep(REMINDER).await;
        if !cluster.with(|cluster, _| cluster.remind()).await.unwrap_or(false) {
            return;
        }
    }
}

/// Makes a connection a link of its worker.
fn attach(
    core: &Rc<Core>,
    session: &Session<Connection>,
    link: u32,
    connection: Connection,
) -> Result<(), crate::TellError> {
    let hello = &session.hello;
    let setup = LinkSetup {
        binding: session.binding,
        name: hello.node.clone(),
        session: session.number,
        index: link,
        max_payload: hello.max_payload as usize,
        datagrams: hello.datagrams.iter().filter_map(|at| at.parse().ok()).collect(),
        datagram_token: hello.datagram_token,
        own_datagram_token: session.token,
        rest: connection.rest,
    };
    let worker = link as usize % core.shared.entries.len();
    let attach = Attach { stream: connection.stream, setup };
    core.tell_system(steward::of_worker(core, worker), attach)
}

/// Tells all workers that a session has ended.
fn drop_session(core: &Rc<Core>, session: &Session<Connection>, why: &str) {
    let node = &session.hello.node;
    if why == FAREWELL {
        tracing::info!(target: "annulus", node, why, "disconnected");
    } else {
        tracing::warn!(target: "annulus", node, why, "disconnected");
    }
    if !session.has_links() {
        return;
    }
    let order = || DropPeer { peer: session.peer(), session: session.number };
    steward::tell_all(core, order, "a link cannot be dropped");
}

fn member(hello: &Hello) -> Member {
    Member { name: hello.node.clone(), endpoints: hello.endpoints.clone() }
}

fn tell_members(peer: Peer, members: Vec<Member>) {
    if members.is_empty() {
        return;
    }
    if let Err(error) = of(peer.node(), peer.tag()).tell(Members { members }) {
        tracing::debug!(target: "annulus", %error, "a node was not told of the others");
    }
}

impl Actor for Cluster {
    type Protocol = Protocol;

    async fn started(&mut self, context: &mut Context<Self>) {
        for listener in self.listeners.drain(..) {
            let core = context.core().clone();
            context.task(|cluster| greet::accept(core, cluster, listener));
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
            let forgets = planted(Bug::ForgetEndpoints) && self.sessions.with(id).is_some();
            if !ours || forgets {
                continue;
            }
            // Nodes that are connected count too: the session may be with an earlier life, or end.
            let endpoints = member.endpoints.iter().take(ENDPOINTS_MAX);
            let endpoints = endpoints.filter_map(|text| Endpoint::parse_numeric(text)).collect();
            self.targets.learn(id, endpoints);
        }
        self.dial_targets(context);
    }
}

impl Handler<Attached> for Cluster {
    async fn handle(&mut self, attached: Msg<Attached>, context: &mut Context<Self>) {
        if self.sessions.attached(attached.session) {
            self.bring_up(context, attached.session);
        }
    }
}

impl Handler<LinkLost> for Cluster {
    async fn handle(&mut self, lost: Msg<LinkLost>, context: &mut Context<Self>) {
        let LinkLost { name, session, index, end } = lost.into_inner();
        if self.sessions.by_number(session).is_none() {
            return;
        }
        if end != LinkEnd::Closed {
            tracing::warn!(target: "annulus", node = name, link = index, %end, "a link was lost");
            return self.end_session(context, session, &end.to_string());
        }
        match self.sessions.part(session) {
            Parted::All => self.end_session(context, session, FAREWELL),
            Parted::First => end_parting_session_later(context, session),
            Parted::Some => {}
        }
    }
}

impl Handler<SessionOver> for Cluster {
    async fn handle(&mut self, over: Msg<SessionOver>, context: &mut Context<Self>) {
        if self.sessions.emptied(over.session) {
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
        let shared = &context.core().shared;
        if wait.name == shared.name {
            return Connected(shared.incarnation_tag).into();
        }
        let up = self.sessions.iter().find(|s| s.hello.node == wait.name && s.is_up());
        if let Some(session) = up {
            return Connected(session.peer().tag()).into();
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
